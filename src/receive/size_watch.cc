#include "receive/size_watch.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "archive/sizes.h"
#include "archive/timelines.h"
#include "base/error.h"
#include "base/left_behind.h"
#include "base/priority.h"
#include "base/units.h"
#include "io/posix_directory.h"

namespace weir::receive {

namespace {

using archive::Loss;
using archive::WrongSize;
using namespace std::chrono_literals;

/// Number of files between two rests.
constexpr int kAtOnce = 64;
constexpr auto kLongestRest = 1s;
/// After a failure, in units of Shared::check_again_after: usually a minute.
constexpr int kRestAfterFailure = 30;
/// For the current system call, at the end.
constexpr auto kPatience = 100ms;

}  // namespace

/// Shared by both threads; the worker keeps it alive.
struct SizeWatch::Shared {
  Archive archive;
  const std::chrono::milliseconds check_again_after;
  Hooks hooks;

  std::mutex mutex{};
  std::condition_variable changed{};
  /// The session continues or ends without the thread: `hooks` must not be used any more.
  bool over = false;

  /// Does nothing when it is over.
  template <typename Use>
  void with_hooks(Use use) {
    const std::lock_guard lock(mutex);
    if (!over) use(hooks);
  }
  /// Returns false if it is over.
  [[nodiscard]] bool rest(std::chrono::nanoseconds time) {
    std::unique_lock lock(mutex);
    return !changed.wait_for(lock, time, [this] { return over; });
  }
  [[nodiscard]] bool is_over() {
    const std::lock_guard lock(mutex);
    return over;
  }
};

/// Used by the thread only.
class SizeWatch::Work {
 public:
  explicit Work(Shared& shared) : shared_(shared), size_(shared.archive.segment_size) {}

  /// After a failure it checks again, until the thread is over or all is well.
  void run() {
    for (;;) {
      try {
        return check_until_all_is_well();
      } catch (const std::exception& error) {
        tell_failure(error);
      }
      if (!shared_.rest(shared_.check_again_after * kRestAfterFailure)) return;
    }
  }

 private:
  void check_until_all_is_well() {
    directory_ = io::open_existing_directory(shared_.archive.path);
    io::set_file_mode(*directory_, shared_.archive.file_mode);
    // Another directory may have this name meanwhile; writers of the old one detect that.
    const auto identity = io::identity_of_directory(*directory_);
    const auto& expected = shared_.archive.identity;
    if (!identity || identity->device != expected.device || identity->inode != expected.inode)
      return;
    if (!checked_all_ && !check_all()) return;
    checked_all_ = true;
    if (!wrong_.empty() || !shared_.archive.recorded.empty() || !shown_.empty()) show();
    while (!wrong_.empty() || !unsettled_.empty() || !shown_.empty()) {
      if (!shared_.rest(shared_.check_again_after)) return;
      if (check_again() || !unrecorded_.empty()) show();
    }
  }

  void tell_failure(const std::exception& error);
  [[nodiscard]] bool check_all();
  bool check_again();
  bool check(const archive::SegmentFileName& name);
  void show();
  bool record(Loss& loss);
  void report_new(const std::vector<Loss>& holes, const archive::Timelines& timelines);

  Shared& shared_;
  const wal::SegmentSize size_;
  std::unique_ptr<io::Directory> directory_;
  bool checked_all_ = false;
  std::map<wal::SegmentName, WrongSize> wrong_;
  std::map<wal::SegmentName, archive::SegmentFileName> unsettled_;  ///< possibly still being
                                                                    ///< written
  std::set<wal::SegmentName> told_;
  std::set<std::string> told_failures_;
  std::set<std::string> shown_;       ///< ids of open holes found by this watch
  std::set<std::string> closed_;      ///< …and closed ones: the session may not know that yet
  std::set<std::string> unrecorded_;  ///< of these, not recorded yet
};

/// Once for each message.
void SizeWatch::Work::tell_failure(const std::exception& error) {
  const Error* const own = dynamic_cast<const Error*>(&error);
  if (!told_failures_.insert(own != nullptr ? own->message() : error.what()).second) return;
  const auto pause = shared_.check_again_after * kRestAfterFailure;
  shared_.with_hooks([&](Hooks& hooks) {
    hooks.log.warning("the sizes of the segments could not be checked: {}; trying again every {}",
                      error.what(), format_duration(pause));
  });
}

/// Newest first, since they are needed first. Returns false if it is over.
bool SizeWatch::Work::check_all() {
  using Clock = std::chrono::steady_clock;
  auto listing = std::exchange(shared_.archive.listing, nullptr);
  if (!listing)
    listing = std::make_shared<const archive::Listing>(archive::list_archive_names(*directory_));
  const auto& segments = listing->segments;
  auto since = Clock::now();
  std::uint64_t count = 0;
  const auto* previous = static_cast<const wal::SegmentName*>(nullptr);
  for (auto entry = segments.rbegin(); entry != segments.rend(); ++entry) {
    const auto& segment = entry->name.segment;
    if (entry->name.partial || !segment.fits(size_)) continue;
    if (previous != nullptr && *previous == segment) continue;  // checked in all its forms
    previous = &segment;
    check(entry->name);
    if (++count % kAtOnce != 0) continue;
    if (!shared_.rest(std::min<std::chrono::nanoseconds>(Clock::now() - since, kLongestRest)))
      return false;
    since = Clock::now();
  }
  shared_.with_hooks(
      [&](Hooks& hooks) { hooks.log.debug("checked the sizes of {} complete segments", count); });
  return true;
}

/// Returns true if anything has changed.
bool SizeWatch::Work::check_again() {
  bool changed = false;
  std::vector<archive::SegmentFileName> names;
  for (const auto& [segment, wrong] : wrong_) names.push_back(wrong.name);
  for (const auto& [segment, name] : unsettled_) names.push_back(name);
  for (std::size_t i = 0; i < names.size(); ++i) {
    changed = check(names[i]) || changed;
    if ((i + 1) % kAtOnce == 0 && !shared_.rest(10ms)) break;
  }
  return changed;
}

bool SizeWatch::Work::check(const archive::SegmentFileName& name) {
  archive::SizeCheck found;
  try {
    found = archive::check_size(*directory_, name, size_, std::chrono::system_clock::now());
  } catch (const Error& error) {
    // A file that cannot be read does not affect the others; reported once for each error.
    if (told_failures_.insert(error.message()).second)
      shared_.with_hooks([&](Hooks& hooks) {
        hooks.log.warning("the size of a complete segment could not be checked: {}", error.what());
      });
    return false;
  }
  unsettled_.erase(name.segment);
  const bool was_wrong = wrong_.contains(name.segment);
  if (found.being_written && !was_wrong) {
    unsettled_.emplace(name.segment, name);
    return false;
  }
  if (found.wrong) {
    wrong_.insert_or_assign(name.segment, *found.wrong);
    return !was_wrong;
  }
  wrong_.erase(name.segment);
  if (was_wrong) told_.erase(name.segment);
  return was_wrong;
}

/// Records and reports new holes, and updates the board.
void SizeWatch::Work::show() {
  if (shared_.is_over()) return;
  const auto listing = archive::list_archive_names(*directory_);
  auto recorded = archive::read_losses(*directory_, listing);
  std::vector<WrongSize> wrong;
  for (const auto& [segment, each] : wrong_) wrong.push_back(each);
  const auto timelines = archive::Timelines::read(*directory_, listing);
  auto found = archive::find_wrong_size_holes(wrong, listing, timelines, size_, recorded);
  unrecorded_.clear();
  for (auto& loss : found) {
    if (shared_.is_over()) return;
    loss.system_identifier = shared_.archive.system_identifier;
    loss.found = format_time(std::chrono::system_clock::now());
    if (!record(loss)) unrecorded_.insert(loss.id());
    recorded.push_back(loss);
  }
  report_new(recorded, timelines);

  std::vector<Loss> open;
  std::set<std::string> closed = std::exchange(shared_.archive.recorded, {});
  closed.insert(shown_.begin(), shown_.end());
  for (auto& loss : recorded) {
    closed.erase(loss.id());
    const bool ours = shown_.contains(loss.id()) ||
                      std::any_of(wrong.begin(), wrong.end(), [&](const auto& each) {
                        return archive::lies_in_a_hole(each, timelines, size_, std::span(&loss, 1));
                      });
    if (!ours) continue;
    shown_.insert(loss.id());
    closed_.erase(loss.id());
    open.push_back(std::move(loss));
  }
  for (const auto& id : closed) shown_.erase(id);
  closed_.insert(closed.begin(), closed.end());
  shared_.with_hooks([&](Hooks& hooks) {
    hooks.board.set_watched_losses(std::move(open), closed_);
    for (const auto& id : closed)
      hooks.log.info("the loss {} is closed: its WAL was archived, or the archive starts after it",
                     id);
    if (!shown_.empty() && hooks.shown) hooks.shown();
  });
}

/// Returns false if it cannot be written now; it is reported anyway, and retried.
bool SizeWatch::Work::record(Loss& loss) {
  try {
    const bool is_new = archive::record_loss(*directory_, loss, archive::Longer::kept);
    loss.recorded = true;
    if (is_new)
      shared_.with_hooks([&](Hooks& hooks) {
        if (hooks.found) hooks.found(loss);
      });
    return true;
  } catch (const Error& error) {
    shared_.with_hooks([&](Hooks& hooks) {
      if (error.kind() == ErrorKind::durability) hooks.durability_lost(error);
      if (told_failures_.insert(error.message()).second)
        hooks.log.warning("the hole {} could not be recorded yet: {}", loss.id(), error.what());
    });
    return false;
  }
}

/// Each segment once, unless it is acknowledged.
void SizeWatch::Work::report_new(const std::vector<Loss>& holes,
                                 const archive::Timelines& timelines) {
  std::vector<WrongSize> fresh;
  std::set<std::string> ids;
  for (const auto& [segment, each] : wrong_) {
    bool known = !told_.insert(segment).second;
    for (const auto& loss : holes) {
      if (!archive::lies_in_a_hole(each, timelines, size_, std::span(&loss, 1))) continue;
      if (loss.acknowledged) known = true;
      if (!known) ids.insert(loss.id());
    }
    if (!known) fresh.push_back(each);
  }
  if (fresh.empty()) return;
  std::string as;
  constexpr std::size_t kMostIds = 3;
  for (const auto& id : ids) {
    as += (as.empty() ? "; recorded as " : ", ") + id;
    if (std::distance(ids.begin(), ids.find(id)) + 1 == kMostIds && ids.size() > kMostIds) {
      as += ", …";
      break;
    }
  }
  shared_.with_hooks([&](Hooks& hooks) {
    hooks.log.warning("{} complete segment{} the wrong size, so no recovery can pass: {}{}",
                      fresh.size(), fresh.size() == 1 ? " has" : "s have",
                      archive::text_of(fresh, size_), as);
    hooks.log.warning(
        "hint: Copy them again from another archive or from a server's pg_wal (\"pgweir verify\" "
        "checks them); the alarm then ends automatically. If no copy exists, take a base backup "
        "now, then run \"pgweir ack\".");
  });
}

SizeWatch::SizeWatch(Archive archive, Hooks hooks, std::chrono::milliseconds check_again_after)
    : shared_(new Shared{std::move(archive), check_again_after, std::move(hooks)}) {
  running_ = begin_left_behind([shared = shared_] {
    lowest_priority();
    Work(*shared).run();
  });
}

SizeWatch::~SizeWatch() {
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->over = true;
    shared_->changed.notify_all();
  }
  running_.wait_for(kPatience);
}

}  // namespace weir::receive

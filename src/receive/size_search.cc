#include "receive/size_search.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "base/units.h"

namespace weir::receive {

namespace {

using archive::Loss;
using archive::WrongSize;
using namespace std::chrono_literals;

/// Number of files between two rests.
constexpr int kChecksAtOnce = 64;
constexpr auto kLongestRest = 1s;
/// After a failure, in units of check_again_after: usually a minute.
constexpr int kRestAfterFailure = 30;

}  // namespace

void SizeSearch::run() {
  for (;;) {
    try {
      return check_until_all_is_well();
    } catch (const std::exception& error) {
      tell_failure(error);
    }
    if (!host_.rest(check_again_after_ * kRestAfterFailure)) return;
  }
}

void SizeSearch::check_until_all_is_well() {
  directory_ = host_.open();
  if (!directory_) return;
  if (!checked_all_ && !check_all()) return;
  checked_all_ = true;
  if (!wrong_.empty() || !archive_.recorded.empty() || !shown_.empty()) show();
  while (!wrong_.empty() || !unsettled_.empty() || !shown_.empty()) {
    if (!host_.rest(check_again_after_)) return;
    if (check_again() || !unrecorded_.empty()) show();
  }
}

/// Once for each message.
void SizeSearch::tell_failure(const std::exception& error) {
  const Error* const own = dynamic_cast<const Error*>(&error);
  if (!told_failures_.insert(own != nullptr ? own->message() : error.what()).second) return;
  const auto pause = check_again_after_ * kRestAfterFailure;
  host_.with_hooks([&](Hooks& hooks) {
    hooks.log.warning("the sizes of the segments could not be checked: {}; trying again every {}",
                      error.what(), format_duration(pause));
  });
}

/// Newest first, since they are needed first. Returns false if it is over.
bool SizeSearch::check_all() {
  auto listing = std::exchange(archive_.listing, nullptr);
  if (!listing)
    listing = std::make_shared<const archive::Listing>(archive::list_archive_names(*directory_));
  const auto& segments = listing->segments;
  auto since = host_.now();
  std::uint64_t count = 0;
  const auto* previous = static_cast<const wal::SegmentName*>(nullptr);
  for (auto entry = segments.rbegin(); entry != segments.rend(); ++entry) {
    const auto& segment = entry->name.segment;
    if (entry->name.partial || !segment.fits(size_)) continue;
    if (previous != nullptr && *previous == segment) continue;  // checked in all its forms
    previous = &segment;
    check(entry->name);
    if (++count % kChecksAtOnce != 0) continue;
    if (!host_.rest(std::min<std::chrono::nanoseconds>(host_.now() - since, kLongestRest)))
      return false;
    since = host_.now();
  }
  host_.with_hooks(
      [&](Hooks& hooks) { hooks.log.debug("checked the sizes of {} complete segments", count); });
  return true;
}

/// Returns true if anything has changed.
bool SizeSearch::check_again() {
  bool changed = false;
  std::vector<archive::SegmentFileName> names;
  for (const auto& [segment, wrong] : wrong_) names.push_back(wrong.name);
  for (const auto& [segment, name] : unsettled_) names.push_back(name);
  for (std::size_t i = 0; i < names.size(); ++i) {
    changed = check(names[i]) || changed;
    if ((i + 1) % kChecksAtOnce == 0 && !host_.rest(10ms)) break;
  }
  return changed;
}

bool SizeSearch::check(const archive::SegmentFileName& name) {
  archive::SizeCheck found;
  try {
    found = archive::check_size(*directory_, name, size_, host_.wall_clock());
  } catch (const Error& error) {
    // A file that cannot be read does not affect the others; reported once for each error.
    if (told_failures_.insert(error.message()).second)
      host_.with_hooks([&](Hooks& hooks) {
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
void SizeSearch::show() {
  if (!host_.rest(0ns)) return;
  const auto listing = archive::list_archive_names(*directory_);
  auto recorded = archive::read_losses(*directory_, listing);
  std::vector<WrongSize> wrong;
  for (const auto& [segment, each] : wrong_) wrong.push_back(each);
  const auto timelines = archive::Timelines::read(*directory_, listing);
  auto found = archive::find_wrong_size_holes(wrong, listing, timelines, size_, recorded);
  unrecorded_.clear();
  for (auto& loss : found) {
    if (!host_.rest(0ns)) return;
    loss.system_identifier = archive_.system_identifier;
    loss.found = format_time(host_.wall_clock());
    if (!record(loss)) unrecorded_.insert(loss.id());
    recorded.push_back(loss);
  }
  report_new(recorded, timelines);

  std::vector<Loss> open;
  std::set<std::string> closed = std::exchange(archive_.recorded, {});
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
  host_.with_hooks([&](Hooks& hooks) {
    hooks.board.set_watched_losses(std::move(open), closed_);
    for (const auto& id : closed)
      hooks.log.info("the loss {} is closed: its WAL was archived, or the archive starts after it",
                     id);
    if (!shown_.empty() && hooks.shown) hooks.shown();
  });
}

/// Returns false if it cannot be written now; it is reported anyway, and retried.
bool SizeSearch::record(Loss& loss) {
  try {
    const bool is_new = archive::record_loss(*directory_, loss, archive::Longer::kept);
    loss.recorded = true;
    if (is_new)
      host_.with_hooks([&](Hooks& hooks) {
        if (hooks.found) hooks.found(loss);
      });
    return true;
  } catch (const Error& error) {
    host_.with_hooks([&](Hooks& hooks) {
      if (error.kind() == ErrorKind::durability) hooks.durability_lost(error);
      if (told_failures_.insert(error.message()).second)
        hooks.log.warning("the hole {} could not be recorded yet: {}", loss.id(), error.what());
    });
    return false;
  }
}

/// Each segment once, unless it is acknowledged.
void SizeSearch::report_new(const std::vector<Loss>& holes, const archive::Timelines& timelines) {
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
  host_.with_hooks([&](Hooks& hooks) {
    hooks.log.warning("{} complete segment{} the wrong size, so no recovery can pass: {}{}",
                      fresh.size(), fresh.size() == 1 ? " has" : "s have",
                      archive::text_of(fresh, size_), as);
    hooks.log.warning(
        "hint: Copy them again from another archive or from a server's pg_wal (\"pgweir verify\" "
        "checks them); the alarm then ends automatically. If no copy exists, take a base backup "
        "now, then run \"pgweir ack\".");
  });
}

}  // namespace weir::receive

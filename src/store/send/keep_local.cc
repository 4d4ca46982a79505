#include "store/send/keep_local.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "archive/forms.h"
#include "archive/kept_slots.h"
#include "archive/listing.h"
#include "store/ledger/manifest_reader.h"

namespace weir::store {

namespace {

using namespace std::chrono_literals;

constexpr auto kKeepAgain = 10s;
constexpr auto kAtLeastEvery = 60s;
/// Checks take at most a hundredth of the time.
constexpr int kLookingShare = 100;
/// Positions that are checked before other work continues, which includes the mark.
constexpr std::size_t kRemovedAtOnce = 64;
/// Likewise a time: with another format in the store, a check compresses the segment.
constexpr auto kRemovesFor = 1s;

}  // namespace

std::vector<LocalSegments> local_segments(io::Shelf& archive, wal::SegmentSize size) {
  std::map<std::uint64_t, LocalSegments> numbers;
  std::optional<wal::SegmentName> partial;  // the first one of the newest timeline that has any
  wal::TimelineId newest = 0;               // of those with complete segments
  for (const auto& entry : archive.list()) {
    const auto name = archive::SegmentFileName::parse(entry.name);
    if (!name || !name->segment.fits(size) || entry.type != io::DirectoryEntry::Type::file)
      continue;
    if (name->partial) {
      if (!partial || name->segment.timeline() > partial->timeline() ||
          (name->segment.timeline() == partial->timeline() && name->segment < *partial))
        partial = name->segment;
      continue;
    }
    newest = std::max(newest, name->segment.timeline());
    const auto segno = name->segment.segno(size);
    auto& number = numbers[segno];
    number.segno = segno;
    if (std::find(number.segments.begin(), number.segments.end(), name->segment) ==
        number.segments.end())
      number.segments.push_back(name->segment);
    number.bytes += entry.size;
    number.written = std::max(number.written, entry.modified);
  }
  if (partial && partial->timeline() > newest)
    if (const auto before = numbers.find(partial->segno(size) - 1); before != numbers.end())
      before->second.before_newest_timeline = true;
  std::vector<LocalSegments> all;
  all.reserve(numbers.size());
  for (auto& [segno, number] : numbers) {
    std::sort(number.segments.begin(), number.segments.end());
    all.push_back(std::move(number));
  }
  return all;
}

MayGo may_go(std::vector<LocalSegments> all, const KeepLocal& keep, const Mark& mark,
             std::optional<wal::Lsn> held_from, std::chrono::system_clock::time_point now) {
  std::uint64_t bytes = 0;
  std::optional<wal::SegmentName> newest;
  for (const auto& number : all) {
    bytes += number.bytes;
    for (const auto& segment : number.segments)
      if (!newest || *newest < segment) newest = segment;
  }
  MayGo result;
  for (auto& number : all) {
    const bool too_much = keep.bytes && bytes > *keep.bytes;
    const bool too_old = keep.age && number.written < now - *keep.age;
    if ((!too_much && !too_old) || number.before_newest_timeline) break;
    for (const auto& segment : number.segments) {
      if (segment == newest) return result;  // there is always one to continue from
      if (!mark.has(segment)) {
        result.kept_for = fmt::format("{} is not in the store yet", segment);
        return result;
      }
    }
    result.kept_for = kept_for_slot(number.segno, held_from, mark.segment_size);
    if (!result.kept_for.empty()) return result;
    bytes -= number.bytes;
    result.numbers.push_back(std::move(number));
  }
  return result;
}

std::string kept_for_slot(std::uint64_t segno, std::optional<wal::Lsn> held_from,
                          wal::SegmentSize size) {
  if (!held_from || segno < size.segno(*held_from)) return "";
  return fmt::format("a replication slot of the relay needs WAL from {} on", *held_from);
}

std::optional<wal::Lsn> held_by_slots(io::Shelf& archive) {
  std::optional<wal::Lsn> held;
  const auto slots = archive::read_slots(archive);
  if (!slots) return held;
  for (const auto& slot : slots->slots) {
    if (slot.lost || slot.restart_lsn == wal::Lsn()) continue;
    if (!held || slot.restart_lsn < *held) held = slot.restart_lsn;
  }
  return held;
}

bool remove_local(io::Directory& archive, const LocalSegments& number,
                  const std::function<bool(wal::SegmentName)>& may_leave,
                  const std::function<bool(wal::SegmentName)>& is_received) {
  for (const auto& segment : number.segments)
    if (!may_leave(segment)) return false;
  // A remaining partial file would be the only WAL of that position. It is removed first: a
  // crash must not bring it back alone.
  bool left = false;
  for (const auto& segment : number.segments)
    for (const auto& form : archive::partial_names(segment)) {
      const auto name = form.to_string();
      if (!archive.find(name)) continue;
      if (form.method == codec::Method::none && is_received(segment)) continue;
      archive.remove(name);
      left = true;
    }
  if (left) archive.sync();
  // As prune does: the raw form first, since a running compressor checks for it right before it
  // publishes another form.
  for (const auto& segment : number.segments)
    for (const auto& form : archive::finished_names(segment)) archive.remove(form.to_string());
  // Names removed in one go may come back or stay away each on its own.
  archive.sync();
  return true;
}

LocalRemoval::LocalRemoval(io::Directory& archive, ObjectStore& store, const Layout& layout,
                           Options options, Threads& threads, FollowReport& report, Log& log)
    : archive_(archive),
      store_(store),
      layout_(layout),
      options_(std::move(options)),
      threads_(threads),
      report_(report),
      log_(log) {}

LocalRemoval::Time LocalRemoval::look(const SendTools& tools, const Mark& written) {
  // Age matters as well; without uploads there is nothing new to remove.
  next_ = threads_.now() + kAtLeastEvery;
  bool through = true;
  try {
    through = remove_stored(tools, written);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::durability || options_.stopping()) throw;
    report_.kept(error.what());
    next_ = threads_.now() + kKeepAgain;
  }
  not_before_ = threads_.now() +
                std::max<std::chrono::nanoseconds>(options_.every, kLookingShare * looking_took_);
  return through ? std::max(next_, not_before_) : threads_.now();
}

/// Returns false if it left off because of the time.
bool LocalRemoval::remove_stored(const SendTools& tools, const Mark& written) {
  const auto& size = tools.cluster.segment_size;
  const auto before = threads_.now();
  auto all = local_segments(archive_, size);
  looking_took_ = threads_.now() - before;
  auto plan = may_go(std::move(all), options_.keep, written, held_by_slots(archive_),
                     std::chrono::system_clock::now());
  if (plan.numbers.size() > kRemovedAtOnce) {
    plan.numbers.resize(kRemovedAtOnce);
    next_ = Time{};  // and soon again
  }
  if (!plan.numbers.empty() && options_.require_place) options_.require_place();
  std::vector<UploadItem> items;
  for (const auto& number : plan.numbers)
    for (const auto& segment : number.segments) items.push_back({segment.timeline(), segment});
  std::sort(items.begin(), items.end());
  const auto there = forms_there(items, size, layout_, [&](const auto& after) {
    return store_.list(layout_.wal_prefix(), after, kListingPage);
  });
  // As before a prune: a crash must not restore an earlier slots file, which needs more WAL.
  if (!plan.numbers.empty()) archive_.sync();
  // If the store were sent such a segment again, it would begin with it, followed by a hole.
  std::vector<wal::SegmentName> begins;
  bool asked = false;
  const auto was_pruned = [&](wal::SegmentName segment) {
    if (!there.at(segment).empty()) return false;
    if (!std::exchange(asked, true)) begins = read_begins(store_, layout_, options_.keys, kOnce);
    return is_pruned(segment, begins);
  };
  const auto may_go_now = [&](wal::SegmentName segment, std::string& stays) {
    PGWEIR_CHECK(written.has(segment));
    if (!was_pruned(segment) && !surely_stored(tools, segment, there, stays)) return false;
    // That took time: a slot may have been created, or moved back.
    stays = kept_for_slot(segment.segno(size), held_by_slots(archive_), size);
    return stays.empty();
  };
  bool through = true;
  const auto until = threads_.now() + kRemovesFor;
  for (const auto& number : plan.numbers) {
    if (&number != &plan.numbers.front() && threads_.now() >= until) {
      through = false;
      break;
    }
    std::string stays;
    if (options_.stopping() ||
        !remove_local(
            archive_, number, [&](wal::SegmentName segment) { return may_go_now(segment, stays); },
            [&](wal::SegmentName segment) { return is_received(segment, size); })) {
      plan.kept_for = stays;
      break;
    }
    log_.debug("removed from the archive, since {}: {}",
               was_pruned(number.segments.front()) ? "a prune has removed it from the store"
                                                   : "the store has it",
               number.segments.front());
    report_.change([&](StoreView& view) { view.removed_files += number.segments.size(); });
  }
  report_.change([&](StoreView& view) { view.kept_for = plan.kept_for; });
  return through;
}

/// Another program, such as an archive_command, has stored the segment in the archive before the
/// receiver got to its end.
bool LocalRemoval::is_received(wal::SegmentName segment, wal::SegmentSize size) const {
  const auto durable = options_.durable_end ? options_.durable_end() : std::nullopt;
  return durable && durable->timeline == segment.timeline() &&
         durable->flush < segment.start(size) + size.bytes();
}

/// Checked now, for the file that is about to be removed: read, verified, and compared with the
/// store's object. A segment missing there is sent again, and kept for now. `stays`: the reason.
bool LocalRemoval::surely_stored(const SendTools& tools, wal::SegmentName segment,
                                 const FormsThere& there, std::string& stays) {
  const UploadItem item{segment.timeline(), segment};
  using What = Uploader::Result::What;
  Uploader::Result result;
  try {
    result = tools.uploader.segment(segment, there.at(segment));
  } catch (const StoreError&) {
    throw;
  } catch (const Error& error) {
    report_.stuck(item, "stays in the archive, as does later WAL", error);
    stays = error.what();
    return false;
  }
  if (result.what == What::was_there && !result.compared) {
    stays = fmt::format(
        "{} is in the store, and cannot be compared with the local file: it is encrypted, and "
        "its archiver used another key to compare it (--manifest-key, .pgweir-store-key), or the "
        "store does not permit reading its oldest version (s3:GetObjectVersion), which readers use",
        segment);
    report_.kept(stays);
  }
  report_.unstuck(item);
  if (result.what != What::stored) return result.what == What::was_there && result.compared;
  if (result.entry) options_.sent_again(std::move(*result.entry));
  report_.change([](StoreView& view) { ++view.sent_again; });
  next_ = Time{};
  log_.warning("{} was sent, and was gone from the store: it was sent again", segment);
  return false;
}

}  // namespace weir::store

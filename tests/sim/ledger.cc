#include "ledger.h"

#include <algorithm>
#include <cstring>

#include "archive/listing.h"
#include "codec/codec.h"
#include "wal/page.h"

namespace weir::sim {

using wal::Lsn;

/// Within it a thread that need not wait has come to its next step.
constexpr std::chrono::milliseconds kOnItsWay{100};

void Ledger::on_process(bool confirms_stored) {
  confirms_stored_ = confirms_stored;
  process_over_ = false;
  accepted_.reset();
  sync_failed_.reset();
  last_.reset();
  // What was made durable and not reported the next one may begin again.
  told_durable_.clear();
  torn_before_.clear();
  found_rests_.clear();
  for (auto& [timeline, ranges] : served_)
    for (auto& range : ranges)
      range.end = std::max(range.begin, std::min(range.end, reported(timeline)));
}

void Ledger::on_stream(wal::TimelineId timeline, Lsn start) {
  timeline_ = timeline;
  stream_begin_ = start;
  received_ = start;
  last_.reset();
  durable_ = synced_ = start;
  damage_.reset();
  other_wal_.reset();
  // A new archive begins where the server is by then, and each server is somewhere else.
  if (!promised_anything() && start < most_told_) begun_before_ = most_told_;
  // A flush position speaks for everything before it: also for what earlier streams brought.
  auto begin = start;
  auto& ranges = promised_[timeline];
  for (const auto& range : ranges)
    if (range.begin < range.end) begin = std::min(begin, range.begin);
  if (copied_ && timeline == 1 && start >= *copied_ + kSegmentBytes)
    begin = std::min(begin, *copied_);
  for (const auto& hole : told_holes_) {
    if (hole.end <= start) begin = std::max(begin, hole.end);
    if (hole.begin >= start || hole.end <= start) continue;
    // Somebody has brought a part out of the middle of it, and the stream goes on behind that part:
    // what is still missing in front of it was told with the rest.
    auto brought = kSegment.start_of(start);
    const auto is_there = [&](Lsn segment) {
      const auto file = find(disk_, timeline, segment);
      return file && !file->ends_with(".partial");
    };
    while (brought > hole.begin && is_there(Lsn(brought.byte() - kSegmentBytes)))
      brought = Lsn(brought.byte() - kSegmentBytes);
    if (brought > hole.begin) begin = std::max(begin, brought);
  }
  ranges.push_back({begin, begin});
  std::erase_if(passed_holes_, [&](const Hole& hole) { return start < hole.end; });
  if (accepted_ && accepted_->end == start) passed_holes_.push_back(*accepted_);
  accepted_.reset();
}

void Ledger::on_losses_told(const std::vector<archive::Loss>& losses, const SimDisk& disk) const {
  std::vector<archive::SegmentFileName> files;
  for (const auto& name : disk.names())
    if (const auto file = archive::SegmentFileName::parse(name)) files.push_back(*file);
  check_losses(losses, files, "told when streaming begins");
}

void Ledger::check_losses(const archive::Listing& listing,
                          const std::vector<archive::Loss>& losses) const {
  std::vector<archive::SegmentFileName> files;
  for (const auto& entry : listing.segments) files.push_back(entry.name);
  if (!files.empty()) check_losses(losses, files, "recorded after a power loss");
}

/// P14: an accepted hole behind which WAL was streamed, and what was reported of a timeline behind
/// its fork, are told. What the archive begins behind is nobody's loss any more.
void Ledger::check_losses(const std::vector<archive::Loss>& losses,
                          const std::vector<archive::SegmentFileName>& files,
                          const char* where) const {
  using Kind = archive::Loss::Kind;
  Lsn archive_begin(files.empty() ? 0 : UINT64_MAX);
  for (const auto& file : files)
    archive_begin = std::min(archive_begin, file.segment.start(kSegment));
  for (const auto& hole : passed_holes_) {
    if (hole.end <= std::max(archive_begin, local_floor_) || !first_timeline()) continue;
    // Up to here; by more than one, where the server removed more and more, and where somebody has
    // brought a part of it. (What has come since may have left again, its front by a prune.)
    auto told = std::max({hole.begin, stored_floor_, archive_begin});
    for (bool more = true; more;) {
      more = false;
      const auto covers = [&](Lsn begin, Lsn end) {
        if (begin > told || end <= told) return;
        told = end;
        more = true;
      };
      for (const auto& loss : losses)
        if (loss.kind == Kind::hole) covers(loss.begin, loss.end);
      for (const auto& file : files)
        if (!file.partial)
          covers(file.segment.start(kSegment), file.segment.start(kSegment) + kSegmentBytes);
    }
    if (told < hole.end)
      throw Violation{"P14", fmt::format("the hole from {} to {} that was accepted is not {}",
                                         hole.begin, hole.end, where)};
  }
  const auto newest = std::max(timeline_, last_timeline());
  for (const auto& promised : promised_) {
    const auto timeline = promised.first;
    if (timeline >= newest) continue;
    const auto& truth = lineage_.timeline(timeline);
    const auto reported = reported_bytes(timeline);
    // (A record that was not complete is no loss; and damage may have come in its place.)
    if (!reported.valid() || !damages_.empty() || reported <= truth.switchpoint) continue;
    const auto end = truth.wal.complete_end(reported);
    if (end <= truth.switchpoint || end <= std::max(archive_begin, local_floor_)) continue;
    // Of a record that began before the archive did, or in a segment that is missing, nobody can
    // tell where it ends.
    const auto begin = truth.wal.complete_end(Lsn(end.byte() - 1));
    if (begin < std::max(archive_begin, first_promised(timeline))) continue;
    const auto is_there = [&](std::uint64_t segno) {
      return std::any_of(files.begin(), files.end(), [&](const auto& file) {
        return file.segment.timeline() == timeline && file.segment.segno(kSegment) == segno;
      });
    };
    bool whole = true;
    for (auto segno = kSegment.segno(begin); segno <= kSegment.segno(Lsn(end.byte() - 1)); ++segno)
      whole = whole && is_there(segno);
    if (!whole) continue;
    const auto told = std::any_of(losses.begin(), losses.end(), [&](const archive::Loss& loss) {
      return loss.kind == Kind::lost_branch && loss.timeline == timeline &&
             loss.begin == truth.switchpoint && loss.end >= end;
    });
    if (!told)
      throw Violation{"P14", fmt::format("{} to {} on timeline {} was reported as flushed, is not "
                                         "part of timeline {}, and that is not {}",
                                         truth.switchpoint, end, timeline, timeline + 1, where)};
  }
}

void Ledger::on_failed_sync(const std::string& name, receive::Time disk_hangs_until) {
  if (sync_failed_) return;
  sync_failed_ = std::max(story_.now, disk_hangs_until);
  failed_name_ = name;
}

/// A power loss now would leave all from what was reported last up to `flush`.
bool Ledger::is_durable(Lsn flush) {
  const auto reported = last_ && last_->flush.valid() ? last_->flush : stream_begin_;
  if (flush <= reported) return true;
  const auto disk = disk_.copy();
  disk->crash_losing_everything();
  const bool held_damage = holds_damage_;
  bool durable = true;
  for (auto at = reported; at < flush; at = kSegment.start_of(at) + kSegmentBytes) {
    const auto end = std::min(flush, kSegment.start_of(at) + kSegmentBytes);
    durable = durable && anybody_has(*disk, timeline_, at, end);
  }
  holds_damage_ = held_damage;  // that is said of the disk as it is
  return durable;
}

void Ledger::on_status(wire::StandbyStatus status) {
  story_.tell("status: write {} flush {}", status.write, status.flush);
  const auto failed = archive::SegmentFileName::parse(failed_name_);
  if (sync_failed_ && failed && !failed->partial && !disk_.exists(failed_name_))
    sync_failed_.reset();
  if (sync_failed_ && (story_.now > *sync_failed_ + kOnItsWay || !is_durable(status.flush)))
    throw Violation{"P6",
                    fmt::format("flush {} was reported after a sync had failed", status.flush)};
  if (status.flush > status.write || status.write > received_)
    throw Violation{"P1", fmt::format("flush {} <= write {} <= received {} does not hold",
                                      status.flush, status.write, received_)};
  if (status.apply > status.flush)
    throw Violation{"P1", fmt::format("apply {} is beyond flush {}", status.apply, status.flush)};
  // A server that shuts down is told of no flush position, so that it does not wait for the store.
  if (confirms_stored_ && last_ && !status.flush.valid()) status.flush = last_->flush;
  if (last_ && (status.flush < last_->flush || status.write < last_->write))
    throw Violation{"P1", fmt::format("the report goes back: flush {} after {}, write {} after {}",
                                      status.flush, last_->flush, status.write, last_->write)};
  if (damage_ && status.flush >= damage_->end && !seems_newer(status.flush))
    throw Violation{"P7", fmt::format("flush {} was reported, and the byte at {} had come damaged",
                                      status.flush, damage_->byte)};
  if (other_wal_ && status.flush >= other_wal_->end)
    throw Violation{"P3", fmt::format("flush {} was reported of WAL that is another server's from "
                                      "{} on, and does not continue this archive",
                                      status.flush, other_wal_->begin)};
  last_ = status;
  most_told_ = std::max(most_told_, status.flush);
  promise(status.flush);
}

/// A server of the newest known major version may write pages with a magic that is newer than the
/// table of versions. So a damaged magic that looks newer is accepted in the first page of a stream
/// if the archive has no WAL of that segment yet, and is found in the next page that has a header:
/// behind an xlog-switch there is none up to the segment's end.
bool Ledger::seems_newer(Lsn flush) const {
  const auto page = damage_->begin;
  if (!damage_->page_header || damage_->byte >= page + 2 || page != stream_begin_ ||
      lineage_.server_major() != wal::kNewestKnownMajor || reported(timeline_) > page)
    return false;
  auto next = page + wal::kPageSize;
  while (next < flush && lineage_.bytes(timeline_, next, next + 1)[0] == std::byte{0})
    next = next + wal::kPageSize;
  return flush <=
         next + (kSegment.offset(next) == 0 ? wal::kLongHeaderSize : wal::kShortHeaderSize);
}

void Ledger::promise(Lsn flush) {
  auto& range = promised_[timeline_].back();
  // Inside a record that is not complete yet nobody can know.
  auto end = damage_ ? std::min(flush, damage_->begin) : flush;
  if (other_wal_) end = range.begin;
  range.end = std::max(range.end, end);
}

/// (Nobody is told of a position inside the first header of a segment.)
void Ledger::on_durable(wal::TimelineId timeline, Lsn end) {
  if (process_over_) return;
  if (timeline == timeline_) synced_ = std::max(synced_, end);
  if (!confirms_stored_ || timeline != timeline_) return;
  durable_ = end;
  promise(kSegment.offset(end) < wal::kLongHeaderSize ? kSegment.start_of(end) : end);
}

bool Ledger::slot_may_be_ahead() const {
  return begun_before_ && std::all_of(promised_.begin(), promised_.end(), [&](const auto& each) {
           // (Behind a fork that is known is a lost branch: seed 116588 of 7a5e3135.)
           const auto fork = lineage_.timeline(each.first).switchpoint;
           const auto most = reported_bytes(each.first);
           const bool left = fork.valid() && has_left(each.first);
           return (left ? std::min(most, fork) : most) < *begun_before_;
         });
}

wal::Lsn Ledger::reported(wal::TimelineId timeline) const {
  Lsn most;
  const auto found = promised_.find(timeline);
  if (found != promised_.end())
    for (const auto& range : found->second) most = std::max(most, range.end);
  return most;
}

bool Ledger::was_reported(wal::TimelineId timeline, Lsn end) const {
  const auto found = promised_.find(timeline);
  return found != promised_.end() &&
         std::any_of(found->second.begin(), found->second.end(),
                     [&](const Range& range) { return range.begin < end && end <= range.end; });
}

wal::Lsn Ledger::reported_bytes(wal::TimelineId timeline) const {
  Lsn most;
  const auto found = promised_.find(timeline);
  if (found == promised_.end()) return most;  // no stream of it has begun
  for (const auto& range : found->second)
    if (range.begin < range.end) most = std::max(most, range.end);
  return most;
}

std::map<wal::TimelineId, Lsn> Ledger::all_reported_bytes() const {
  std::map<wal::TimelineId, Lsn> all;
  for (const auto& [timeline, _] : promised_) all[timeline] = reported_bytes(timeline);
  return all;
}

void Ledger::check(const SimDisk& disk, bool everything) {
  holds_damage_ = false;
  check_names(disk, everything);
  check_reported(disk);
  check_served(disk);
  check_continuity(disk);
}

std::optional<std::string> Ledger::find(const SimDisk& disk, wal::TimelineId timeline,
                                        Lsn segment) const {
  const auto name = wal::SegmentName(timeline, kSegment.segno(segment), kSegment).to_string();
  for (const auto* form : {"", ".zst", ".lz4", ".gz", ".partial", ".gz.partial", ".lz4.partial"})
    if (disk.exists(name + form)) return name + form;
  return std::nullopt;
}

/// P1: every byte below a position that was ever reported, on its timeline, equal to the cluster's.
void Ledger::check_reported(const SimDisk& disk) {
  for (const auto& [timeline, ranges] : promised_) {
    for (const auto& range : merged(ranges))
      for (auto at = std::max(range.begin, local_floor_); at < range.end;
           at = kSegment.start_of(at) + kSegmentBytes) {
        const auto segment = kSegment.start_of(at);
        const auto file = find(disk, timeline, segment);
        const auto end = std::min(range.end, segment + kSegmentBytes);
        if (!file)
          throw Violation{"P1", fmt::format("{} to {} on timeline {} was reported as flushed, and "
                                            "no file has it",
                                            at, end, timeline)};
        if (checked_.contains(*file)) continue;
        if (!holds_wal(disk, *file, timeline, at, end))
          throw Violation{"P1", fmt::format("{} to {} on timeline {} was reported as flushed, and "
                                            "{} does not hold it",
                                            at, end, timeline, *file)};
      }
  }
}

/// Streams overlap: each range is checked once.
std::vector<Ledger::Range> Ledger::merged(std::vector<Range> ranges) {
  std::sort(ranges.begin(), ranges.end(),
            [](const Range& a, const Range& b) { return a.begin < b.begin; });
  std::vector<Range> merged;
  for (const auto& range : ranges) {
    if (!merged.empty() && range.begin <= merged.back().end)
      merged.back().end = std::max(merged.back().end, range.end);
    else
      merged.push_back(range);
  }
  return merged;
}

void Ledger::on_sent(wal::TimelineId timeline, Lsn begin, Lsn end) {
  if (process_over_) return;
  constexpr std::size_t kMany = 100;
  end = std::min(end, std::max(reported(timeline), told_durable_[timeline]));
  if (end <= begin) return;
  auto& ranges = served_[timeline];
  if (!ranges.empty() && ranges.back().begin <= begin && begin <= ranges.back().end) {
    ranges.back().end = std::max(ranges.back().end, end);
    return;
  }
  if (ranges.size() > kMany) ranges = merged(std::move(ranges));
  ranges.push_back({begin, end});
}

void Ledger::on_announced(wal::TimelineId timeline, Lsn end) {
  // (Before a segment's first byte there may be nothing: an archive begins somewhere.)
  if (kSegment.offset(end) != 0) on_sent(timeline, kSegment.start_of(end), end);
}

/// Up to where a timeline was left its bytes are those of the next one, too, and may be in either's
/// file.
bool Ledger::anybody_has(const SimDisk& disk, wal::TimelineId timeline, Lsn from, Lsn to) {
  for (wal::TimelineId holder = 1; holder <= lineage_.newest(); ++holder) {
    const auto older = std::min(holder, timeline);
    if (holder != timeline && lineage_.timeline(older).switchpoint < to) continue;
    const auto file = find(disk, holder, from);
    if (file && (checked_.contains(*file) || holds_wal(disk, *file, holder, from, to))) return true;
  }
  return false;
}

void Ledger::check_found(const SimDisk& disk, wal::TimelineId timeline, Lsn end) {
  const auto begin = kSegment.start_of(end);
  if (begin == end || begin < local_floor_ || anybody_has(disk, timeline, begin, end)) return;
  // (What nobody reads may be torn: padding, or a record that begins before the archive does.)
  if (const auto file = find(disk, timeline, begin); file && file->ends_with(".partial")) {
    const auto content = disk.content(*file);
    // (Where nothing was promised yet, a power loss may have left this segment alone.)
    const bool is_first = !way() && begin.byte() >= kSegmentBytes &&
                          !find(disk, timeline, Lsn(begin.byte() - kSegmentBytes));
    const auto sound = std::span(content).first(std::min<std::size_t>(content.size(), end - begin));
    if (sound.size() == end - begin && !(is_first ? first_wrong(timeline, begin, sound, begin)
                                                  : first_wrong(timeline, begin, sound)))
      return;
  }
  throw Violation{"P10", fmt::format("the archive was served, or told to be durable, up to {} on "
                                     "timeline {}, and does not have that any more",
                                     end, timeline)};
}

/// P10: each byte that was sent downstream is still there.
void Ledger::check_served(const SimDisk& disk) {
  for (const auto& [timeline, ranges] : served_)
    for (const auto& range : merged(ranges))
      for (auto at = std::max(range.begin, local_floor_); at < range.end;
           at = kSegment.start_of(at) + kSegmentBytes) {
        const auto segment = kSegment.start_of(at);
        const auto end = std::min(range.end, segment + kSegmentBytes);
        const bool holds = anybody_has(disk, timeline, at, end);
        // (What an import has put into a hole is served when it has its name.)
        const bool in_a_hole =
            std::any_of(told_holes_.begin(), told_holes_.end(),
                        [&](const auto& hole) { return hole.begin < end && at < hole.end; });
        if (!holds && !in_a_hole)
          throw Violation{"P10", fmt::format("{} to {} on timeline {} was sent downstream, and is "
                                             "not in the archive",
                                             at, end, timeline)};
      }
}

/// P2: a final name means complete and correct. And before any segment of a timeline its history,
/// and those of its ancestors.
void Ledger::check_names(const SimDisk& disk, bool everything) {
  std::erase_if(checked_, [&](const std::string& name) { return !disk.exists(name); });
  for (const auto& name : disk.names()) {
    if (name.starts_with('.')) continue;
    if (const auto timeline = wal::parse_history_name(name)) {
      if (*timeline < 2 || *timeline > lineage_.newest())
        throw Violation{"P2", name + " is of no timeline of this cluster"};
      const auto& content = lineage_.history(*timeline);
      const auto bytes = std::as_bytes(std::span(content.data(), content.size()));
      if (disk.size(name) != content.size() || !disk.holds(name, 0, bytes))
        throw Violation{"P2", name + " has not the content of the server's file"};
      continue;
    }
    const auto file = archive::SegmentFileName::parse(name);
    if (!file) throw Violation{"P2", "a file with a strange name: " + name};
    const auto timeline = file->segment.timeline();
    for (auto each = timeline; each > 1; --each)
      if (!disk.exists(wal::history_name(each)))
        throw Violation{"P2",
                        fmt::format("{} is there before the history of timeline {}", name, each)};
    if (file->partial || (!everything && checked_.contains(name))) continue;
    const auto start = file->segment.start(kSegment);
    const auto end = start + kSegmentBytes;
    if (lineage_.end(timeline) < end || !holds_wal(disk, name, timeline, start, end))
      throw Violation{"P2", name + " has its final name and is not complete and correct"};
    if (!holds_damage_) checked_.insert(name);
  }
}

bool Ledger::told(Lsn begin, Lsn end) const {
  return std::any_of(told_holes_.begin(), told_holes_.end(),
                     [&](const auto& hole) { return hole.begin <= begin && end <= hole.end; });
}

wal::TimelineId Ledger::last_timeline() const {
  wal::TimelineId last = 0;
  for (const auto& [timeline, ranges] : promised_)
    if (reported_bytes(timeline).valid()) last = timeline;
  return last;
}

/// The archive begins with the first timeline of which anything was promised.
std::optional<wal::TimelineId> Ledger::first_timeline() const {
  for (const auto& [timeline, ranges] : promised_)
    for (const auto& range : ranges)
      if (range.begin < range.end) return timeline;
  return std::nullopt;
}

Lsn Ledger::first_promised(wal::TimelineId timeline) const {
  auto begin = reported_bytes(timeline);
  for (const auto& range : promised_.at(timeline))
    if (range.begin < range.end) begin = std::min(begin, range.begin);
  return begin;
}

std::optional<Lsn> Ledger::promised_from(wal::TimelineId timeline) const {
  std::optional<Lsn> begin;
  for (const auto& [promised, ranges] : promised_)
    if (promised <= timeline && reported_bytes(promised).valid())
      begin = std::min(begin.value_or(Lsn(UINT64_MAX)), first_promised(promised));
  return begin;
}

std::optional<Ledger::Way> Ledger::way_from(Lsn floor) const {
  const auto first = first_timeline();
  if (!first) return std::nullopt;
  Way way;
  way.first = *first;
  way.begin = std::max(kSegment.start_of(first_promised(*first)), floor);
  for (const auto& hole : told_holes_) way.begin = std::max(way.begin, hole.end);
  for (const auto& [timeline, ranges] : promised_)
    if (const auto end = reported_bytes(timeline); end.valid()) {
      way.last = timeline;
      way.end = end;
    }
  if (way.begin >= way.end) return std::nullopt;
  // A backup behind a hole is of the timeline that was the newest then.
  while (way.first < way.last && lineage_.timeline(way.first).switchpoint <= way.begin) ++way.first;
  return way;
}

void Ledger::on_serving() {
  looked_at_ = all_reported_bytes();
  const auto archive = way();
  const auto begin = archive ? std::optional(archive->begin) : first_file();
  if (!begin) return;
  for (wal::TimelineId timeline = 1; timeline <= lineage_.newest(); ++timeline) {
    const auto file = find(disk_, timeline, *begin);
    if (!file || *file != wal::SegmentName(timeline, kSegment.segno(*begin), kSegment).to_string() +
                              ".partial")
      continue;
    const auto before = lineage_.timeline(timeline).wal.complete_end(*begin);
    if (!before.valid() || before == *begin) continue;
    auto content = disk_.content(*file);
    content.resize(
        std::min<std::size_t>(content.size(), lineage_.record_end(timeline, *begin) - *begin));
    found_rests_[timeline] = {*begin, std::move(content)};
  }
}

std::optional<Lsn> Ledger::first_wrong(wal::TimelineId timeline, Lsn at,
                                       std::span<const std::byte> wal) {
  auto wrong = lineage_.first_wrong(timeline, at, wal);
  if (!wrong) return std::nullopt;
  // (The file had these bytes when the process started.)
  if (const auto rest = found_rests_.find(timeline);
      rest != found_rests_.end() && *wrong >= rest->second.begin &&
      *wrong < rest->second.begin + rest->second.bytes.size() &&
      wal[*wrong - at] == rest->second.bytes[*wrong - rest->second.begin])
    torn_before_[timeline] = lineage_.record_end(timeline, *wrong);
  if (const auto torn = torn_before_.find(timeline);
      torn != torn_before_.end() && *wrong < torn->second) {
    const auto rest = torn->second - at;
    return rest < wal.size() ? lineage_.first_wrong(timeline, torn->second, wal.subspan(rest))
                             : std::nullopt;
  }
  // (One of which nothing was reported yet begins where its files do: seed 129652.)
  const auto archive = way();
  const auto begin = archive ? archive->begin : first_file();
  const auto first = *wrong;
  if (begin) wrong = first_wrong(timeline, at, wal, *begin);
  // Its right bytes may have been reported since: what was read before stays in memory.
  const bool kept =
      begin && wrong == first && lineage_.timeline(timeline).wal.complete_end(first) < *begin;
  if (wrong != first || kept) torn_before_[timeline] = lineage_.record_end(timeline, first);
  return kept ? first_wrong(timeline, at, wal) : wrong;
}

/// Where the oldest file of WAL begins.
std::optional<Lsn> Ledger::first_file() const {
  std::optional<Lsn> first;
  for (const auto& name : disk_.names())
    if (const auto file = archive::SegmentFileName::parse(name))
      first = std::min(first.value_or(Lsn(UINT64_MAX)), file->segment.start(kSegment));
  return first;
}

std::optional<Lsn> Ledger::first_wrong(wal::TimelineId timeline, Lsn at,
                                       std::span<const std::byte> wal, Lsn archive_begin) const {
  const auto wrong = lineage_.first_wrong(timeline, at, wal);
  if (!wrong || *wrong < reported(timeline)) return wrong;
  const auto& truth = lineage_.timeline(timeline).wal;
  if (truth.complete_end(*wrong) >= archive_begin) return wrong;
  const auto behind = lineage_.record_end(timeline, *wrong);
  if (behind >= at + wal.size()) return std::nullopt;
  return first_wrong(timeline, behind, wal.subspan(behind - at), archive_begin);
}

/// P3: from the first byte of the archive to what was last reported on the newest timeline there is
/// no byte missing, unless somebody was told. The old timeline has its end under its own name. What
/// a prune has begun to remove begins somewhere, and from there on is whole.
void Ledger::check_continuity(const SimDisk& disk) {
  const auto first = first_timeline();
  if (!first) return;
  auto begin = first_promised(*first);
  const auto newest = last_timeline();
  std::optional<Lsn> oldest_kept;  // of those that may go
  for (auto timeline = *first; timeline <= newest; ++timeline) {
    const bool last = timeline == newest;
    const auto end = last ? reported_bytes(timeline) : lineage_.timeline(timeline).switchpoint;
    for (auto segment = kSegment.start_of(begin); segment < end;
         segment = segment + kSegmentBytes) {
      const auto from = std::max(segment, begin);
      const auto to = std::min(segment + kSegmentBytes, end);
      const auto file = find(disk, timeline, segment);
      if (segment < local_floor_) {
        // (What is unfinished is in no store, and stays.)
        const bool stays = file && segment < stored_floor_ && file->ends_with(".partial");
        if (file && !oldest_kept && !stays) oldest_kept = segment;
        if (!file && (!oldest_kept || *oldest_kept == segment)) continue;
        if (file && file->ends_with(".partial")) continue;
      }
      if (file && (checked_.contains(*file) || holds_wal(disk, *file, timeline, from, to)))
        continue;
      if (told(from, to)) continue;
      throw Violation{"P3", fmt::format("{} to {} on timeline {} is missing, and nobody was told",
                                        from, to, timeline)};
    }
    if (!last) begin = kSegment.start_of(lineage_.timeline(timeline).switchpoint);
  }
}

bool Ledger::holds_wal(const SimDisk& disk, const std::string& name, wal::TimelineId timeline,
                       Lsn from, Lsn to) {
  const auto same_up_to = [&](Lsn end) {
    return holds(disk, name, kSegment.offset(from), lineage_.bytes(timeline, from, end));
  };
  if (same_up_to(to)) return true;
  // pg_receivewal's form of an unfinished segment stays until the segment is finished.
  if (name.ends_with(".partial"))
    for (const auto* form : {".gz.partial", ".lz4.partial"})
      if (const auto other = name.substr(0, name.find('.')) + form;
          disk.exists(other) &&
          holds(disk, other, kSegment.offset(from), lineage_.bytes(timeline, from, to)))
        return true;
  for (const auto& damage : damages_) {
    // What comes again is compared with what is there, but not before the newest overwritten record
    // in the file: there damage may replace what was sound, until the segment has come once more.
    if (name.ends_with(".partial") && from <= damage.byte && damage.byte < to &&
        same_up_to(std::max(from, damage.begin)) &&
        (damage.end >= to || holds(disk, name, kSegment.offset(damage.end),
                                   lineage_.bytes(timeline, damage.end, to)))) {
      holds_damage_ = true;
      return true;
    }
    if (damage.byte < from || damage.byte >= to) continue;
    if (!same_up_to(std::max(from, damage.begin))) continue;
    if (same_up_to(std::min(to, damage.end))) continue;  // it is another one's
    if (reported(timeline) >= damage.end && name.ends_with(".partial")) continue;
    // (Behind a hole that somebody accepted, what is reported says nothing of what is before it.)
    const bool hole_behind = std::any_of(told_holes_.begin(), told_holes_.end(),
                                         [&](const Hole& hole) { return hole.end > damage.begin; });
    // (No recovery can use a record whose begin was pruned. In seed 334090 that happened
    // while the receiver asked for the damaged record again and again.)
    const bool front_is_gone = damage.begin < floor_;
    if (!hole_behind && !front_is_gone && reported(timeline) >= damage.end)
      throw Violation{"P7", fmt::format("{} holds the byte at {} as it came, damaged, and {} was "
                                        "reported as flushed",
                                        name, damage.byte, reported(timeline))};
    holds_damage_ = true;
    return true;
  }
  return false;
}

void Ledger::repair(SimDisk& disk) {
  holds_damage_ = false;
  for (const auto& name : disk.names()) {
    const auto file = archive::SegmentFileName::parse(name);
    if (!file || file->partial) continue;
    const auto timeline = file->segment.timeline();
    const auto start = file->segment.start(kSegment);
    const auto truth = lineage_.bytes(timeline, start, start + kSegmentBytes);
    if (holds(disk, name, 0, truth)) continue;
    story_.tell("{} is replaced by a sound copy", name);
    disk.erase(name);
    disk.put(file->segment.to_string(), truth);
  }
}

bool holds(const SimDisk& disk, const std::string& name, std::uint64_t offset,
           std::span<const std::byte> expected) {
  const auto file = archive::SegmentFileName::parse(name);
  if (!file || file->method == codec::Method::none) {
    if (file && !file->partial && disk.size(name) != kSegmentBytes) return false;
    return disk.holds(name, offset, expected);
  }
  const auto end = offset + expected.size();
  if (end > kSegmentBytes) return false;
  std::uint64_t at = 0;  // in the content
  const auto same = [&](std::span<const std::byte> bytes) {
    const auto from = std::max(at, offset);
    const auto to = std::min(at + bytes.size(), end);
    const bool equal = from >= to || std::memcmp(expected.data() + (from - offset),
                                                 bytes.data() + (from - at), to - from) == 0;
    at += bytes.size();
    return equal;
  };
  try {
    const auto decompressor = codec::make_decompressor(file->method);
    if (!decompressor->feed(disk.content(name), same)) return false;
    decompressor->finish();
  } catch (const Error&) {
    return false;
  }
  if (!file->partial) return at == kSegmentBytes;
  // (Zeros at the end of an unfinished one are left out.)
  const auto rest = at < end ? expected.subspan(std::max(at, offset) - offset) : expected.last(0);
  return std::all_of(rest.begin(), rest.end(), [](std::byte byte) { return byte == std::byte{0}; });
}

}  // namespace weir::sim

// `status` reads a limited amount, regardless of the archive's size: names, and the ends of the
// timelines until about 100 MB of WAL were read. Raw files are read near their end (pages record
// where they belong, so the end is found by bisection); compressed files cannot be entered in the
// middle.

#include "status/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <span>
#include <utility>

#include "archive/find_losses.h"
#include "archive/forms.h"
#include "archive/segment_reader.h"
#include "base/error.h"
#include "io/place.h"
#include "io/posix_directory.h"
#include "status/only_stored.h"
#include "wal/page.h"

namespace weir::status {

namespace {

/// WAL that is read to find the ends of the timelines, all together: a fraction of a second.
constexpr std::uint64_t kBudget = std::uint64_t{96} << 20;

std::optional<wal::SegmentSize> size_of_a_raw_segment(const archive::Listing& listing);
StatusReport report_once(io::Shelf& directory, std::uint64_t free_bytes,
                         const std::optional<archive::Identity>& told);
StatusReport make_settled_report(io::Shelf& directory, std::uint64_t free_bytes,
                                 const std::optional<archive::Identity>& told);
void add_files_in_holes(std::vector<archive::WrongSize>& files, const archive::Listing& listing,
                        const archive::Timelines& timelines,
                        const std::vector<archive::Loss>& losses, wal::SegmentSize size);
void read_all_ends(StatusReport& report, io::Shelf& directory, const archive::Listing& listing,
                   const archive::Timelines& timelines);
void add_unrecorded_branches(StatusReport& report, const archive::Timelines& timelines);
void extend(std::vector<SegnoRange>& ranges, std::uint64_t segno);
void merge(std::vector<SegnoRange>& ranges);
void add_missing(StatusReport& report, const std::optional<wal::TimelineHistory>& history,
                 wal::TimelineId timeline, wal::Lsn from, wal::Lsn to);

/// `finished` is the end of the finished segments in the window.
void add_window(StatusReport& report, const StatusReport::Window& window, wal::Lsn finished);

}  // namespace

StatusReport::Timeline& timeline_of(StatusReport& report, wal::TimelineId timeline) {
  auto& all = report.timelines;
  const auto at = std::lower_bound(
      all.begin(), all.end(), timeline,
      [](const StatusReport::Timeline& one, wal::TimelineId id) { return one.timeline < id; });
  if (at != all.end() && at->timeline == timeline) return *at;
  StatusReport::Timeline fresh;
  fresh.timeline = timeline;
  return *all.insert(at, std::move(fresh));
}

StatusReport make_report(const std::string& path) {
  const auto directory = io::open_existing_directory(path);
  auto report = make_report(*directory);
  report.disk_bytes = io::inspect_place(path).bytes;
  return report;
}

StatusReport make_report(io::Directory& directory) {
  auto report = make_report(directory, directory.free_bytes());
  add_mark(report, directory);
  add_own_records(report, directory);
  return report;
}

void add_own_records(StatusReport& report, io::Shelf& directory) {
  report.ended = archive::read_last_word(directory);
  using Kind = archive::LastCheck::Kind;
  report.last_verify = archive::read_last_check(directory, Kind::verify);
  report.last_drill = archive::read_last_check(directory, Kind::drill);
  report.taken = std::chrono::system_clock::now();
}

StatusReport make_report(io::Shelf& directory, std::uint64_t free_bytes) {
  return make_settled_report(directory, free_bytes, std::nullopt);
}

StatusReport make_report(io::Shelf& directory, const archive::Identity& cluster,
                         const std::vector<store::ManifestReport::Coverage>& coverage) {
  auto report = make_settled_report(directory, 0, cluster);
  for (const auto& line : coverage) {
    auto& end = timeline_of(report, line.timeline).ends.end;
    end = std::max(end, line.to);
  }
  describe_windows(report);
  for (auto& window : report.windows)
    for (const auto& line : coverage)
      if (line.timeline == window.timeline && window.newest && window.from < line.to &&
          line.to <= window.to)
        window.to_time = line.commit;
  return report;
}

namespace {

StatusReport make_settled_report(io::Shelf& directory, std::uint64_t free_bytes,
                                 const std::optional<archive::Identity>& told) {
  // A listing is not a snapshot: a file that is renamed or removed meanwhile may be missing in it,
  // and a listed file may no longer exist when it is opened. Therefore a hole, or damage, is
  // reported only if two successive listings show it.
  constexpr int kTries = 10;
  const auto moved = [](const StatusReport& report) {
    return std::any_of(report.timelines.begin(), report.timelines.end(),
                       [](const auto& timeline) { return timeline.ends.moved; });
  };
  auto report = report_once(directory, free_bytes, told);
  for (int i = 1; i < kTries && !(report.holes.empty() && report.damaged.empty() && !moved(report));
       ++i) {
    auto again = report_once(directory, free_bytes, told);
    const bool same = report.holes == again.holes && report.damaged == again.damaged;
    report = std::move(again);
    if (same && !moved(report)) break;
  }
  return report;
}

/// True if a receiver may be writing to the files that would be read.
bool may_be_written_to(const StatusReport& report) {
  return report.receiver_error || (report.receiver && report.receiver->is_streaming());
}

/// A recovery to that timeline, or on from it, meets the hole. (The end of another branch's hole is
/// not where this timeline continues.)
bool has_hole(const StatusReport& report, wal::TimelineId timeline,
              const StatusReport::Hole& hole) {
  if (timeline == hole.timeline) return true;
  const auto history = report.histories.history(hole.timeline);
  return history && history->contains(timeline);
}

/// Start of the newest timeline's partial WAL, by names: where a receiver would resume.
std::optional<wal::Lsn> begin_of_unfinished(const StatusReport& report,
                                            const StatusReport::Timeline& tip) {
  if (tip.unfinished.empty()) return std::nullopt;
  const auto& size = *report.segment_size;
  auto next = tip.finished.empty() ? tip.unfinished.front().begin : tip.finished.back().end;
  for (const auto& hole : report.holes) {
    if (!has_hole(report, tip.timeline, hole)) continue;
    const auto behind = size.segno(hole.to);
    for (const auto& row : tip.unfinished)
      if (behind > next && row.begin <= behind && behind < row.end) next = behind;
  }
  if (tip.unfinished.back().end <= next) return std::nullopt;
  return size.start(next);
}

}  // namespace

void look_for_break(StatusReport& report, io::Shelf& directory) {
  constexpr std::uint64_t kMost = std::uint64_t{128} << 20;
  // As with holes: another program may be writing, so two looks must show the same.
  constexpr int kLooks = 2;
  if (may_be_written_to(report) || !report.segment_size || report.timelines.empty()) return;
  auto& tip = report.timelines.back();
  const auto from = begin_of_unfinished(report, tip);
  if (!from) return;
  std::optional<archive::Break> found;
  for (int look = 0; look < kLooks; ++look) {
    std::optional<archive::Break> again;
    try {
      again = archive::find_break(directory, archive::list_archive(directory), tip.timeline, *from,
                                  *report.segment_size, kMost);
    } catch (const Error& error) {
      // With another name it is being written to.
      if (!archive::is_gone(error)) report.damaged.emplace_back(error.what());
      return;
    }
    if (!again || (look > 0 && again != found)) return;
    found = std::move(again);
  }
  report.breaks_off = std::move(found);
  tip.ends.end = std::min(tip.ends.end, report.breaks_off->at);
  if (tip.ends.last && tip.ends.last->end > tip.ends.end) tip.ends.last = std::nullopt;
  describe_windows(report);
}

std::optional<archive::Break> shown_break(const StatusReport& report) {
  return may_be_written_to(report) ? std::nullopt : report.breaks_off;
}

std::string text_of(const archive::Break& broken) {
  return fmt::format(
      "the unfinished WAL breaks off at {} (file {}, offset {}: {}), but more WAL follows: a "
      "receiver that can connect to its server writes it again; if none can, confirmed WAL may be "
      "damaged",
      broken.at, broken.file, broken.offset, broken.what);
}

archive::ServerPlace place_of(const Upstream& upstream) {
  return {.timeline = upstream.timeline,
          .position = upstream.position,
          .history = upstream.history,
          .standby = upstream.standby};
}

void add_upstream(StatusReport& report, Upstream upstream) {
  report.upstream = std::move(upstream);
  report.branch = std::nullopt;
  if (report.identity && report.identity->system_identifier != report.upstream->system_identifier)
    return;
  report.branch = archive::compare_with_server(report.histories, known_ends(report),
                                               place_of(*report.upstream));
}

void describe_listing(StatusReport& report, const archive::Listing& listing,
                      const archive::Timelines& timelines, const std::vector<archive::Loss>& losses,
                      const std::vector<archive::WrongSize>& wrong_sizes) {
  const auto size = report.segment_size;
  // Files that only their names identify as segments.
  auto no_segments = wrong_sizes;
  if (size) add_files_in_holes(no_segments, listing, timelines, losses, *size);
  std::set<wal::SegmentName> wrong;
  for (const auto& each : no_segments) wrong.insert(each.name.segment);
  const wal::SegmentName* previous = nullptr;
  for (const auto& entry : listing.segments) {
    const auto& name = entry.name.segment;
    auto& timeline = timeline_of(report, name.timeline());
    if (entry.name.partial) {
      timeline.partials.push_back(entry);
      if (size && name.fits(*size)) extend(timeline.unfinished, name.segno(*size));
      continue;
    }
    auto& form = timeline.forms[entry.name.method];
    ++form.count;
    form.bytes += entry.bytes.value();
    // Several forms of one segment stand side by side in the listing.
    if (previous == nullptr || *previous != name) ++timeline.segments;
    previous = &name;
    if (!size || !name.fits(*size) || wrong.contains(name)) continue;
    extend(timeline.finished, name.segno(*size));
    if (!timeline.from) timeline.from = name.start(*size);
    timeline.to = name.start(*size) + size->bytes();
  }
  for (const auto& history : listing.histories)
    timeline_of(report, history.timeline).history = true;
  for (const auto& complaint : timelines.complaints())
    report.damaged.push_back(fmt::format("{}: {}", complaint.file, complaint.what));
  for (const auto& [timeline, shown] : archive::missing_histories(listing, timelines))
    report.damaged.push_back(
        fmt::format("{}: the history file is missing, but {}", wal::history_name(timeline), shown));
  report.foreign = listing.foreign;
  for (const auto& loss : losses) {
    if (loss.kind == archive::Loss::Kind::lost_branch) report.lost_branches.push_back(loss);
    if (loss.kind == archive::Loss::Kind::minimal_wal) report.minimal_wal.push_back(loss);
    if (loss.complaint)
      report.damaged.push_back(
          fmt::format("the record of the loss {}: {}", loss.id(), *loss.complaint));
  }
  if (!size) return;

  if (no_segments.empty()) {
    report.coverage = archive::coverage(listing, timelines, *size);
  } else {
    auto sound = listing;
    archive::take_out(sound, no_segments);
    report.coverage = archive::coverage(sound, timelines, *size);
  }
  const auto add_hole = [&](const archive::Loss& loss) {
    auto to = loss.next_timeline;
    // (A way that has left that timeline before the hole's end is another branch.)
    for (const auto& way : report.coverage)
      if (const auto history = timelines.history(way.timeline);
          history && history->contains(loss.next_timeline) &&
          history->end_of(loss.next_timeline).value_or(loss.end) >= loss.end) {
        to = way.timeline;
        break;
      }
    for (const auto& range : loss.missing) {
      add_missing(report, timelines.history(to), to, range.begin, range.end);
      report.holes.push_back({to, range.begin, range.end,
                              (range.end - range.begin + size->bytes() - 1) / size->bytes(),
                              loss.id(), range.begin == loss.begin ? loss.sound_end : range.begin,
                              loss.cause, loss.acknowledged, loss.found});
    }
  };
  for (const auto& loss : losses)
    if (loss.kind == archive::Loss::Kind::hole) add_hole(loss);
  for (const auto& loss : archive::find_holes(listing, timelines, *size, losses)) add_hole(loss);
  const auto found = archive::find_wrong_size_holes(wrong_sizes, listing, timelines, *size, losses);
  for (const auto& loss : found) add_hole(loss);
  // At an end of the archive, such a file is neither a hole nor a segment.
  std::vector<archive::WrongSize> others;
  for (const auto& each : wrong_sizes)
    if (!archive::lies_in_a_hole(each, timelines, *size, losses) &&
        !archive::lies_in_a_hole(each, timelines, *size, found))
      others.push_back(each);
  if (!others.empty())
    report.damaged.push_back(fmt::format("complete segment{} of the wrong size: {}",
                                         others.size() == 1 ? "" : "s",
                                         archive::text_of(others, *size)));
  std::sort(report.holes.begin(), report.holes.end(),
            [](const auto& a, const auto& b) { return a.from < b.from; });
  for (auto& timeline : report.timelines) merge(timeline.missing);
}

void describe_windows(StatusReport& report) {
  report.windows.clear();
  for (const auto& way : report.coverage) {
    // The timelines whose commits are known, and that begin or end in the range.
    const auto& tip = timeline_of(report, way.timeline);
    auto ranges = way.ranges;
    // An archive that has just begun: all there is, is unfinished.
    if (ranges.empty() && report.segment_size && !tip.unfinished.empty()) {
      const bool before_a_hole =
          std::any_of(report.holes.begin(), report.holes.end(),
                      [&](const auto& hole) { return hole.timeline == way.timeline; });
      const auto first = before_a_hole ? tip.unfinished.front().begin : tip.unfinished.back().begin;
      ranges.push_back({report.segment_size->start(first), report.segment_size->start(first)});
    }
    // Behind a hole there may be nothing but what is unfinished. A timeline that begins in the hole
    // continues there.
    const auto history = report.histories.history(way.timeline);
    for (const auto& hole : report.holes) {
      auto to = hole.to;
      if (const auto left = history ? history->end_of(hole.timeline) : std::nullopt)
        to = std::min(to, report.segment_size->start_of(*left));
      else if (hole.timeline != way.timeline)
        continue;
      if (to > hole.from && !ranges.empty() && to > ranges.back().end) ranges.push_back({to, to});
    }
    for (auto range = ranges.rbegin(); range != ranges.rend(); ++range) {
      StatusReport::Window window;
      window.timeline = way.timeline;
      window.from = range->begin;
      window.to = range->end;
      window.newest = range == ranges.rbegin();
      for (const auto& hole : report.holes)
        if (!window.newest && hole.from == range->end && hole.sound_end > range->end) {
          window.to = hole.sound_end;
          window.with_partial = true;
        }
      if (window.newest && report.segment_size) {
        const auto next = report.segment_size->segno(range->end);
        const bool goes_on = std::any_of(tip.unfinished.begin(), tip.unfinished.end(),
                                         [&](const SegnoRange& unfinished) {
                                           return unfinished.begin <= next && next < unfinished.end;
                                         });
        if (goes_on && tip.ends.end > range->end) {
          window.to = tip.ends.end;
          window.with_partial = true;
        }
        for (const auto& each : report.padded)
          if (!window.with_partial && each.segment.timeline() == way.timeline &&
              each.segment.start(*report.segment_size) + report.segment_size->bytes() == window.to)
            window.to = each.end;
        if (tip.ends.last && tip.ends.last->start >= range->begin &&
            tip.ends.last->start < window.to)
          window.to_time = tip.ends.last->time;
      }
      if (window.from == window.to) continue;  // nothing in it yet
      for (const auto& one : report.timelines)
        if (one.from == range->begin && one.ends.first) window.from_time = one.ends.first->time;
      add_window(report, window, range->end);
    }
  }
}

bool is_store_alone(const StatusReport& report) {
  return report.store && report.directory == report.store->place;
}

std::optional<wal::Lsn> position_of(const StatusReport& report) {
  if (report.receiver && report.receiver->stream) return report.receiver->stream->flush;
  // (Of the newest timeline there may be nothing but its history yet.)
  const auto ends = known_ends(report);
  return ends.empty() ? std::nullopt : std::optional(ends.rbegin()->second);
}

std::optional<std::uint64_t> lag_of(const StatusReport& report) {
  if (report.upstream) {
    const auto position = position_of(report);
    if (!position) return std::nullopt;
    // Positions of two clusters have nothing to do with each other.
    if (report.identity && report.identity->system_identifier != report.upstream->system_identifier)
      return std::nullopt;
    // Positions on different branches cannot be compared.
    if (report.branch && report.branch->relation == archive::Branch::Relation::unknown)
      return std::nullopt;
    if (report.branch) return report.branch->missing();
    return report.upstream->position > *position ? report.upstream->position - *position : 0;
  }
  return report.receiver ? report.receiver->lag() : std::nullopt;
}

std::optional<double> compression_ratio(const StatusReport& report) {
  if (!report.segment_size) return std::nullopt;
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;
  for (const auto& one : report.timelines)
    for (const auto& [method, form] : one.forms) {
      if (method == codec::Method::none) continue;
      files += form.count;
      bytes += form.bytes;
    }
  if (bytes == 0) return std::nullopt;
  return static_cast<double>(files) * static_cast<double>(report.segment_size->bytes()) /
         static_cast<double>(bytes);
}

namespace {

/// What a store does not answer, or this user may not read, says nothing of the files.
void require_answer(Error& error) {
  if (error.kind() == ErrorKind::retry || error.kind() == ErrorKind::refused) throw;
  if (error.system_code() != EACCES && error.system_code() != EPERM) return;
  error.hint(
      "Run the command as the archive's owner, or as a member of its group if the group can read "
      "it.");
  throw;
}

std::optional<std::uint16_t> newer_magic(io::Shelf& directory,
                                         const std::optional<archive::Identity>& identity) {
  const auto name = identity ? archive::SegmentFileName::parse(identity->file) : std::nullopt;
  const auto page = name ? archive::read_first_page_header(directory, *name) : std::nullopt;
  if (!page || !wal::magic_is_newer_than_known(page->magic)) return std::nullopt;
  return page->magic;
}

/// The published segments that are padded here: each is read, and there is rarely one. The record
/// of a real segment exists until the segment is in the store.
std::vector<archive::PublishedOpen> padded_of(const StatusReport& report, io::Shelf& directory) {
  std::vector<archive::PublishedOpen> padded;
  for (const auto& each : report.published_open) {
    if (!report.segment_size || !each.segment.fits(*report.segment_size) || !each.end.valid())
      continue;
    try {
      const auto file = archive::find_finished(directory, each.segment);
      if (file && archive::has_zeros_behind(directory, *file, *report.segment_size, each.end))
        padded.push_back(each);
    } catch (const Error&) {
      // It cannot be read: `verify` and the ends of the timelines report that.
    }
  }
  return padded;
}

StatusReport report_once(io::Shelf& directory, std::uint64_t free_bytes,
                         const std::optional<archive::Identity>& told) {
  StatusReport report;
  report.directory = directory.path();
  report.free_bytes = free_bytes;
  const auto listing = archive::list_archive(directory);
  try {
    report.identity = told ? told : archive::read_identity(directory, listing);
    report.newer_magic = newer_magic(directory, report.identity);
  } catch (Error& error) {
    require_answer(error);
    report.damaged.emplace_back(error.what());
  }
  if (report.identity)
    report.segment_size = report.identity->segment_size;
  else
    report.segment_size = size_of_a_raw_segment(listing);
  report.histories = archive::Timelines::read(directory, listing);
  std::vector<archive::WrongSize> wrong_sizes;
  if (report.segment_size)
    wrong_sizes = archive::find_wrong_sizes(directory, listing, *report.segment_size,
                                            std::chrono::system_clock::now());
  describe_listing(report, listing, report.histories,
                   archive::read_losses(directory, listing, &report.recorded), wrong_sizes);
  report.unvouched = archive::read_unvouched(directory, listing);
  report.published_open = archive::read_published_open(directory, listing);
  report.padded = padded_of(report, directory);
  read_all_ends(report, directory, listing, report.histories);
  add_unrecorded_branches(report, report.histories);
  describe_windows(report);
  return report;
}

/// Adds the complete files in the missing ranges of recorded holes, which a receiver has checked.
void add_files_in_holes(std::vector<archive::WrongSize>& files, const archive::Listing& listing,
                        const archive::Timelines& timelines,
                        const std::vector<archive::Loss>& losses, wal::SegmentSize size) {
  const auto lies_in = [&](const archive::Loss& loss, const archive::WrongSize& file) {
    const auto start = file.name.segment.start(size);
    return std::any_of(
               loss.missing.begin(), loss.missing.end(),
               [&](const auto& range) { return range.begin <= start && start < range.end; }) &&
           archive::lies_in_a_hole(file, timelines, size, std::span(&loss, 1));
  };
  if (losses.empty()) return;
  for (const auto& entry : listing.segments) {
    if (entry.name.partial || !entry.name.segment.fits(size)) continue;
    const archive::WrongSize file{entry.name, 0};
    if (std::any_of(losses.begin(), losses.end(),
                    [&](const archive::Loss& loss) { return lies_in(loss, file); }))
      files.push_back(file);
  }
}

/// Without a readable header, the size of a raw segment is the segment size.
std::optional<wal::SegmentSize> size_of_a_raw_segment(const archive::Listing& listing) {
  for (const auto& entry : listing.segments)
    if (entry.name.method == codec::Method::none && entry.bytes.value() > 0)
      if (const auto size = wal::SegmentSize::of(*entry.bytes)) return size;
  return std::nullopt;
}

void read_all_ends(StatusReport& report, io::Shelf& directory, const archive::Listing& listing,
                   const archive::Timelines& timelines) {
  if (!report.identity) return;
  auto budget = kBudget;
  // The newest first: it counts most.
  auto end = listing.segments.end();
  while (end != listing.segments.begin()) {
    const auto timeline = std::prev(end)->name.segment.timeline();
    const auto begin = std::partition_point(listing.segments.begin(), end,
                                            [&](const archive::SegmentEntry& entry) {
                                              return entry.name.segment.timeline() < timeline;
                                            });
    std::vector<wal::Lsn> behind_holes;
    for (const auto& hole : report.holes)
      if (has_hole(report, timeline, hole)) behind_holes.push_back(hole.to);
    timeline_of(report, timeline).ends = read_ends(
        directory, std::span(begin, end), *report.segment_size, timelines, budget, behind_holes);
    end = begin;
  }
}

/// Adds the WAL that the newest timeline's history abandoned, by the ends that are known anyway, so
/// that it is reported even if no receiver has recorded it. (Its commits are not counted.)
void add_unrecorded_branches(StatusReport& report, const archive::Timelines& timelines) {
  if (!report.segment_size || report.timelines.empty()) return;
  const auto with_segments = [](const StatusReport::Timeline& one) {
    return one.segments > 0 || !one.partials.empty();
  };
  const auto newest =
      std::find_if(report.timelines.rbegin(), report.timelines.rend(), with_segments);
  if (newest == report.timelines.rend()) return;
  const auto history = timelines.history(newest->timeline);
  if (!history) return;
  for (const auto& one : report.timelines) {
    const auto switchpoint = history->end_of(one.timeline);
    const auto recorded = [&](const archive::Loss& loss) {
      return loss.timeline == one.timeline && loss.begin == switchpoint;
    };
    if (!switchpoint || !one.ends.end.valid() ||
        std::any_of(report.lost_branches.begin(), report.lost_branches.end(), recorded))
      continue;
    if (auto loss =
            archive::lost_branch(*history, one.timeline, one.ends.end, *report.segment_size))
      report.lost_branches.push_back(std::move(*loss));
  }
  std::sort(report.lost_branches.begin(), report.lost_branches.end(),
            [](const auto& a, const auto& b) { return a.begin < b.begin; });
}

void add_window(StatusReport& report, const StatusReport::Window& window, wal::Lsn finished) {
  const auto pieces = archive::without_minimal_wal(
      {window.from, window.to},
      report.histories.history(window.timeline).value_or(wal::TimelineHistory(window.timeline)),
      report.minimal_wal);
  for (auto piece = pieces.rbegin(); piece != pieces.rend(); ++piece) {
    if (piece->begin == piece->end) continue;
    auto part = window;
    part.from = piece->begin;
    if (part.from != window.from) part.from_time = std::nullopt;
    if (piece->end != window.to) {
      part.to = piece->end;
      part.to_time = std::nullopt;
      part.newest = false;
      part.before_minimal_wal = true;
      part.with_partial = part.to > finished;
    }
    report.windows.push_back(part);
  }
}

void extend(std::vector<SegnoRange>& ranges, std::uint64_t segno) {
  if (!ranges.empty() && ranges.back().end == segno)
    ranges.back().end = segno + 1;
  else if (ranges.empty() || segno >= ranges.back().end)
    ranges.push_back({segno, segno + 1});
}

void merge(std::vector<SegnoRange>& ranges) {
  std::sort(ranges.begin(), ranges.end(),
            [](const SegnoRange& a, const SegnoRange& b) { return a.begin < b.begin; });
  std::vector<SegnoRange> merged;
  for (const auto& one : ranges) {
    if (!merged.empty() && one.begin <= merged.back().end)
      merged.back().end = std::max(merged.back().end, one.end);
    else
      merged.push_back(one);
  }
  ranges = std::move(merged);
}

/// A hole may cross a switch: each timeline of the history misses its own part of it.
void add_missing(StatusReport& report, const std::optional<wal::TimelineHistory>& history,
                 wal::TimelineId timeline, wal::Lsn from, wal::Lsn to) {
  const auto& size = *report.segment_size;
  auto begin = size.segno(from);
  const auto behind = size.segno(to);
  const auto lineage = history.value_or(wal::TimelineHistory(timeline));
  for (const auto& ancestor : lineage.ancestors()) {
    // The segment with the switchpoint in it is the successor's.
    const auto end = std::min(behind, size.segno(ancestor.switchpoint));
    if (begin >= end) continue;
    timeline_of(report, ancestor.timeline).missing.push_back({begin, end});
    begin = end;
  }
  if (begin < behind) timeline_of(report, timeline).missing.push_back({begin, behind});
}

}  // namespace

archive::TimelineEnds known_ends(const StatusReport& report) {
  archive::TimelineEnds ends;
  for (const auto& one : report.timelines) {
    auto end = one.to.value_or(wal::Lsn());
    if (one.ends.end.valid()) end = std::max(end, one.ends.end);
    if (end.valid()) ends[one.timeline] = end;
  }
  // What a receiver has made durable is more than what the files' records show.
  if (report.receiver && report.receiver->stream && !ends.empty())
    ends[report.receiver->stream->timeline] = report.receiver->stream->flush;
  return ends;
}

}  // namespace weir::status

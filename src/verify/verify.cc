#include "verify/verify.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <map>
#include <mutex>
#include <optional>

#include "archive/backup_checkpoint.h"
#include "archive/content.h"
#include "archive/history_store.h"
#include "archive/identity.h"
#include "archive/look_again.h"
#include "archive/other_forms.h"
#include "archive/segment_reader.h"
#include "base/for_each_index.h"
#include "base/units.h"
#include "verify/run.h"

namespace weir::verify {

namespace {

using wal::Lsn;

constexpr std::size_t kSamples = 32;
constexpr std::size_t kMostChunkSegments = 32;

wal::TimelineId last_timeline_of(const Finding& gap) {
  const auto last = wal::SegmentName::parse(gap.to_file);
  return last ? last->timeline() : gap.timeline;
}

}  // namespace

Report Run::run() {
  const auto began = std::chrono::steady_clock::now();
  report_.path = directory_.path();
  look();
  check_histories();
  check_names();
  check_segments();
  find_minimal_wal();
  report_histories();
  find_unread_end();
  judge_gaps();
  judge_vanished();
  judge_losses();
  judge_backup();
  judge_end();
  accept();
  report_.elapsed = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - began);
  return std::move(report_);
}

// ---- listing

/// A listing is not atomic: a file that a receiver renames while the directory is read may appear
/// under neither name. A gap therefore counts only when it is seen twice.
void Run::look() {
  // Where a gap starts and ends: gaps with the same number of missing segments in the next listing
  // are different ones, if a prune is running.
  using Gaps = std::vector<std::pair<std::string, std::string>>;
  std::optional<Gaps> seen;
  for (int i = 0; i < archive::kMostListings; ++i) {
    listing_ = archive::list_archive(directory_);
    timelines_ = archive::Timelines::read(directory_, listing_);
    if (i == 0) {
      find_cluster();
      if (options_.timeline &&
          listing_.segments.end() == std::find_if(listing_.segments.begin(),
                                                  listing_.segments.end(), [&](const auto& entry) {
                                                    return entry.name.segment.timeline() ==
                                                           *options_.timeline;
                                                  }))
        throw Error(ErrorKind::usage, "the archive has no segment of this timeline")
            .with("timeline", *options_.timeline)
            .hint("Omit --timeline to check all timelines, or see \"pgweir status\".");
    }
    const auto chunk = std::clamp<std::size_t>(
        listing_.segments.size() / (std::max(1u, options_.jobs) * 8ul), 1, kMostChunkSegments);
    plan_ = make_plan(listing_, timelines_, cluster_.segment_size, scope(),
                      options_.jobs <= 1 ? SIZE_MAX : chunk);
    if (plan_.gaps.empty()) break;
    Gaps gaps;
    for (const auto& gap : plan_.gaps) gaps.emplace_back(gap.file, gap.to_file);
    if (seen == gaps) break;
    seen = std::move(gaps);
  }
  if (listing_.segments.empty()) {
    Finding finding;
    finding.kind = FindingKind::gap;
    finding.what = "there is no WAL segment in this directory";
    finding.hint =
        "Check that this is the archive's directory, and that its file system is mounted.";
    report_.findings.push_back(std::move(finding));
  }
}

/// True if there is a file in the range that the plan does not know.
bool Run::has_more_in(const Finding& gap, const archive::Listing& now) const {
  const auto last = last_timeline_of(gap);
  return std::any_of(now.segments.begin(), now.segments.end(), [&](const auto& entry) {
    const auto& segment = entry.name.segment;
    if (!segment.fits(cluster_.segment_size) || segment.timeline() < gap.timeline ||
        segment.timeline() > last)
      return false;
    const auto start = segment.start(cluster_.segment_size);
    return gap.loss->from <= start && start < gap.loss->to &&
           std::none_of(listing_.segments.begin(), listing_.segments.end(), [&](const auto& known) {
             return known.name.segment == segment && known.name.partial == entry.name.partial;
           });
  });
}

/// A gap that was there at the start and no longer exists: old segments were being removed, or a
/// segment was being renamed. Waits briefly until that is finished. If files were
/// added in it, they have not been read.
void Run::judge_gaps() {
  constexpr int kQuiet = 5;
  auto gaps = std::move(plan_.gaps);
  std::vector<Finding> filled;
  // (It may have grown. If earlier WAL was removed, or a history added, it may be none any more.)
  const auto still_there = [&](const Finding& gap, const Plan& plan) {
    return std::any_of(plan.gaps.begin(), plan.gaps.end(), [&](const Finding& other) {
      return other.timeline <= last_timeline_of(gap) && gap.timeline <= last_timeline_of(other) &&
             other.loss->from < gap.loss->to && gap.loss->from < other.loss->to;
    });
  };
  for (int i = 0; i < kQuiet && !gaps.empty(); ++i) {
    if (i > 0) std::this_thread::sleep_for(options_.look_again_after);
    const auto listing = archive::list_archive_names(directory_);
    const auto plan = make_plan(listing, archive::Timelines::read(directory_, listing),
                                cluster_.segment_size, scope(), SIZE_MAX);
    std::erase_if(gaps, [&](const Finding& gap) {
      if (has_more_in(gap, listing)) {
        filled.push_back(gap);
        return true;
      }
      if (still_there(gap, plan)) return false;
      report_.notes.push_back(
          fmt::format("{} was missing when verify started, and is no longer needed: other "
                      "processes have changed "
                      "the archive",
                      gap.file));
      return true;
    });
  }
  for (auto& gap : filled) {
    gap.what =
        "it was missing when verify started, and other processes have added files since, which "
        "have not been verified";
    gap.hint = "Run verify again.";
    gaps.push_back(std::move(gap));
    is_outdated_ = true;
  }
  for (auto& gap : gaps) report_.findings.push_back(std::move(gap));
}

/// Determines the archive's cluster, by majority: a single foreign file must not make all others
/// foreign.
void Run::find_cluster() {
  std::map<std::uint64_t, std::size_t> identifiers;
  std::map<std::uint64_t, std::size_t> sizes;
  std::map<std::uint16_t, std::size_t> magics;
  std::optional<Error> unread;
  const auto count = listing_.segments.size();
  const auto step = std::max<std::size_t>(1, count / kSamples);
  for (std::size_t i = 0; i < count; i += step) {
    try {
      const auto page = archive::read_first_page_header(directory_, listing_.segments[i].name);
      if (!page || page->page_size != wal::kPageSize || !wal::SegmentSize::of(page->segment_size))
        continue;
      ++identifiers[page->system_identifier];
      ++sizes[page->segment_size];
      ++magics[page->magic];
    } catch (const Error& error) {
      // Told when the segment is checked.
      if (error.kind() != ErrorKind::damage && error.kind() != ErrorKind::refused &&
          error.system_code() != EACCES)
        unread = error;
    }
  }
  const auto most = [](const auto& votes) {
    return std::max_element(votes.begin(), votes.end(),
                            [](const auto& a, const auto& b) { return a.second < b.second; })
        ->first;
  };
  if (!identifiers.empty()) {
    cluster_.system_identifier = most(identifiers);
    cluster_.segment_size = *wal::SegmentSize::of(most(sizes));
    cluster_.server_major = wal::major_version_of_magic(most(magics));
    report_.records_checked =
        cluster_.server_major || !wal::magic_is_newer_than_known(most(magics));
    if (!report_.records_checked)
      report_.notes.push_back(
          fmt::format("the WAL is of a newer PostgreSQL than this pgweir knows: it was checked as "
                      "far as its format is still that of PostgreSQL {}",
                      wal::kNewestKnownMajor));
  } else if (const auto told = options_.told_identity ? options_.told_identity() : std::nullopt) {
    cluster_.system_identifier = told->system_identifier;
    cluster_.segment_size = told->segment_size;
  } else {
    // If no page shows it, the sizes of raw files do.
    for (const auto& entry : listing_.segments)
      if (entry.name.method == codec::Method::none && wal::SegmentSize::of(entry.bytes.value()))
        ++sizes[*entry.bytes];
    if (!sizes.empty()) cluster_.segment_size = *wal::SegmentSize::of(most(sizes));
    // With a wrong size a valid segment would be reported as damaged.
    if (sizes.empty() && unread) throw Error(*unread);
  }
  report_.system_identifier = cluster_.system_identifier;
  report_.segment_size = cluster_.segment_size.bytes();
  report_.server_major = cluster_.server_major;
  const auto& backup = options_.backup;
  if (backup && backup->system_identifier != 0 && cluster_.system_identifier != 0 &&
      backup->system_identifier != cluster_.system_identifier)
    throw Error(ErrorKind::conflict, "the backup and the archive belong to different clusters")
        .with("backup's system identifier", backup->system_identifier)
        .with("archive's", cluster_.system_identifier)
        .hint("Specify the archive of the backup's cluster with -D.");
  if (backup && cluster_.system_identifier != 0) {
    archive::require_agreement(*backup, cluster_.segment_size);
    // (A checkpoint that cannot be read is a finding, or the archive ends before it.)
    static_cast<void>(archive::require_checkpoint(directory_, *backup, cluster_.segment_size));
  }
}

std::uint64_t Run::segno_of(const Position& position, bool end) const {
  const auto& size = cluster_.segment_size;
  if (const auto* const segment = std::get_if<wal::SegmentName>(&position)) {
    if (!segment->fits(size))
      throw Error(ErrorKind::usage, "there is no such segment with this archive's segment size")
          .with("segment", *segment)
          .with("segment size", size.bytes());
    return segment->segno(size);
  }
  const auto lsn = std::get<Lsn>(position);
  return size.segno(end && lsn.valid() ? Lsn(lsn.byte() - 1) : lsn);
}

Scope Run::scope() const {
  Scope scope;
  scope.timeline = options_.timeline;
  if (options_.backup) {
    const auto& backup = *options_.backup;
    // Its recovery needs its end, too: not a history that left that timeline before. Without an
    // end, it needs the first byte.
    scope.through = {backup.timeline, backup.start + 1};
    if (backup.end && backup.end_timeline != 0) scope.through = {backup.end_timeline, *backup.end};
    scope.first_segno = cluster_.segment_size.segno(backup.start);
  }
  if (options_.from) scope.first_segno = segno_of(*options_.from, false);
  if (options_.to) scope.last_segno = segno_of(*options_.to, true);
  if (scope.first_segno && scope.last_segno && *scope.first_segno > *scope.last_segno)
    throw Error(ErrorKind::usage, "the range to check ends before it starts")
        .hint("--from must not be after --to.");
  return scope;
}

// ---- histories

void Run::check_histories() {
  const auto add = [&](wal::TimelineId timeline, std::string file, std::string what,
                       std::string hint) {
    Finding finding;
    finding.kind = FindingKind::history;
    finding.timeline = timeline;
    finding.file = std::move(file);
    finding.what = std::move(what);
    finding.hint = std::move(hint);
    report_.findings.push_back(std::move(finding));
  };
  const auto fetch = [](wal::TimelineId timeline) {
    return fmt::format(
        "Copy {} from the pg_wal of a server of this timeline, or from another archive.",
        wal::history_name(timeline));
  };
  for (const auto& complaint : timelines_.complaints())
    add(complaint.timeline, complaint.file, complaint.what, fetch(complaint.timeline));

  const auto known = timelines_.known();
  const auto has_file = [&](wal::TimelineId timeline) {
    return std::find(known.begin(), known.end(), timeline) != known.end();
  };

  constexpr const char* kReceived =
      "A receiver stores it when it connects to a server of this timeline or of a descendant.";
  for (const auto& [timeline, shown] : archive::missing_histories(listing_, timelines_))
    add(timeline, wal::history_name(timeline),
        fmt::format("the history file is missing, but {}", shown),
        fmt::format("{} {} Without it, no recovery can begin on this timeline, or follow an older "
                    "one to it.",
                    fetch(timeline), kReceived));

  for (const auto timeline : known) {
    const auto history = timelines_.history(timeline);
    if (!history) continue;
    const auto& ancestors = history->ancestors();
    for (std::size_t i = 0; i < ancestors.size(); ++i) {
      const auto ancestor = ancestors[i].timeline;
      // As "pgweir restore" has it: each record starts at such a position.
      if (ancestors[i].switchpoint.byte() % 8 != 0)
        add(timeline, wal::history_name(timeline),
            fmt::format("invalid switchpoint {}: expected a multiple of 8",
                        ancestors[i].switchpoint),
            fetch(timeline));
      if (!has_file(ancestor)) continue;
      const auto theirs = timelines_.history(ancestor);
      if (!theirs) continue;
      // The ancestor's own list of ancestors is the start of its descendant's list.
      if (!std::equal(theirs->ancestors().begin(), theirs->ancestors().end(), ancestors.begin(),
                      ancestors.begin() + static_cast<std::ptrdiff_t>(i)))
        add(timeline, wal::history_name(timeline),
            fmt::format("it contradicts {} about the timelines before {}",
                        wal::history_name(ancestor), ancestor),
            "One of the two is wrong: compare both with those in the servers' pg_wal.");
    }
  }
  check_second_forms();
}

void Run::check_second_forms() {
  std::map<wal::TimelineId, std::vector<codec::Method>> forms;
  for (const auto& entry : listing_.histories) forms[entry.timeline].push_back(entry.method);
  for (const auto& [timeline, methods] : forms) {
    if (methods.size() < 2) continue;
    std::optional<wal::TimelineHistory> first;
    for (const auto method : methods) {
      const auto name = wal::history_name(timeline) + std::string(codec::suffix(method));
      std::string what;
      try {
        const auto file = directory_.open_bytes(name);
        if (!file) continue;
        std::string content;
        archive::read_content(*file, method, name, [&](std::span<const std::byte> bytes) {
          content.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
          return true;
        });
        const auto parsed = wal::TimelineHistory::parse(timeline, content);
        if (!parsed)
          what = "invalid timeline history";
        else if (first && *first != *parsed)
          what = "it contradicts the other file of this timeline";
        if (parsed && !first) first = parsed;
      } catch (const Error& error) {
        what = error.what();
      }
      const auto told =
          std::any_of(report_.findings.begin(), report_.findings.end(), [&](const Finding& known) {
            return known.kind == FindingKind::history && known.file == name;
          });
      if (what.empty() || told) continue;
      Finding finding;
      finding.kind = FindingKind::history;
      finding.timeline = timeline;
      finding.file = name;
      finding.what = what;
      finding.hint = "Compare both with the server's, and move the wrong one away.";
      report_.findings.push_back(std::move(finding));
    }
  }
}

void Run::check_names() {
  std::size_t foreign = 0;
  std::string example;
  std::size_t packed = 0;
  std::string example_packed;
  for (const auto& name : listing_.foreign) {
    if (archive::parse_other_form(name)) {
      if (packed++ == 0) example_packed = name;
      continue;
    }
    const bool segment = archive::SegmentFileName::parse(name).has_value();
    if (segment || wal::parse_history_name(name)) {
      Finding finding;
      finding.kind = FindingKind::not_a_file;
      finding.file = name;
      finding.what = segment ? "this segment's name is that of a directory, a device, or a "
                               "symbolic link without a target"
                             : "this history's name is that of a directory, a device, or a "
                               "symbolic link without a target";
      finding.hint = "Move it away, and replace it by the right file.";
      report_.findings.push_back(std::move(finding));
      continue;
    }
    ++foreign;
    if (example.empty()) example = name;
  }
  if (foreign > 0)
    report_.notes.push_back(fmt::format("{} {} not WAL and left alone, {}\"{}\"", foreign,
                                        foreign == 1 ? "entry is" : "entries are",
                                        foreign == 1 ? "" : "such as ", example));
  if (packed > 0)
    report_.notes.push_back(fmt::format("{} {} not checked: the format is not supported, {}\"{}\"",
                                        counted(packed, "file"), packed == 1 ? "is" : "are",
                                        packed == 1 ? "" : "such as ", example_packed));
  for (const auto& name : listing_.hidden)
    if (const auto copied = archive::parse_rsync_copy(name, listing_))
      report_.notes.push_back(
          fmt::format("\"{}\" is a copy that rsync has not finished: the archive does not have {}. "
                      "Unless rsync "
                      "is running, run it again",
                      name, copied->to_string()));
  const auto& size = cluster_.segment_size;
  for (const auto& entry : listing_.segments) {
    const auto& segment = entry.name.segment;
    Finding finding;
    finding.kind = FindingKind::wrong_name;
    finding.file = entry.name.to_string();
    finding.timeline = segment.timeline();
    if (!segment.fits(size)) {
      finding.what =
          fmt::format("no segment has this name with a segment size of {} bytes", size.bytes());
      finding.hint = "It belongs to a cluster with another segment size. Move it away.";
    } else {
      const auto history = timelines_.history(segment.timeline());
      const auto begin = history ? *history->begin_of(segment.timeline()) : wal::Lsn();
      if (segment.segno(size) >= size.segno(begin) || entry.bytes == 0) continue;
      // "pgweir restore" hands out no history that contradicts the WAL.
      finding.lsn = segment.start(size);
      finding.what = fmt::format("timeline {} begins after this segment, at {}, according to {}",
                                 segment.timeline(), begin, wal::history_name(segment.timeline()));
      finding.hint =
          "One of the two is wrong, and no recovery can follow the timeline until this is fixed. "
          "Compare the history with the one in the pg_wal of a server that was on this timeline; "
          "if it is right, move this file away.";
    }
    report_.findings.push_back(std::move(finding));
  }
}

// ---- segments

void Run::check_segments() {
  std::uint64_t total = 0;
  for (const auto& node : plan_.nodes)
    if (node.chosen) total += cluster_.segment_size.bytes();
  std::mutex progress_mutex;
  std::uint64_t done = 0;
  const auto advance = [&](std::uint64_t bytes) {
    if (!options_.progress) return;
    const std::lock_guard lock(progress_mutex);
    done += bytes;
    options_.progress(std::min(done, total), total);
  };
  results_ = std::make_unique<Results>(plan_.nodes.size(), advance, options_.stop);
  Context context(directory_, plan_, timelines_, cluster_,
                  options_.backup ? std::optional(options_.backup->start) : std::nullopt,
                  archive::read_published_open(directory_, listing_), *results_);
  ChunkCheck check(context);
  work(check);
  // What no task has looked at must not count as valid.
  for (std::size_t i = 0; i < plan_.nodes.size(); ++i)
    PGWEIR_CHECK(!plan_.nodes[i].chosen || !plan_.nodes[i].is_finished() ||
                 results_->outcome(i).state != Outcome::State::pending);
  for (auto& finding : results_->findings()) report_.findings.push_back(std::move(finding));
  for (auto& finding : results_->unread_borders()) report_.findings.push_back(std::move(finding));
  for (auto& note : results_->notes()) report_.notes.push_back(std::move(note));
  report_.segments = results_->files();
  report_.wal_bytes = results_->bytes();
  report_.records = results_->records();
}

void Run::work(ChunkCheck& check) {
  std::vector<std::function<void()>> tasks;
  for (const auto& chunk : plan_.chunks) tasks.emplace_back([&] { check.check_chunk(chunk); });
  for (const auto node : plan_.lone_partials)
    tasks.emplace_back([&check, node] { check.check_lone_partial(node); });
  for (const auto& copy : plan_.switch_copies)
    tasks.emplace_back([&] { check.check_switch_copy(copy); });

  for_each_index(tasks.size(), options_.jobs, [&](std::size_t task) {
    if (results_->stopped()) return false;
    tasks[task]();
    return true;
  });
  if (results_->stopped())
    throw Error(ErrorKind::retry, "stopped before everything was checked")
        .hint("Nothing was written. Run the command again, with --from for a later start.");
}

Report verify(io::Shelf& directory, const Options& options) {
  constexpr int kMostRuns = 3;
  for (int i = 1;; ++i) {
    Run run(directory, options);
    auto report = run.run();
    if (!run.is_outdated() || i == kMostRuns) return report;
  }
}

}  // namespace weir::verify

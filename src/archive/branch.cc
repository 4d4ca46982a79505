#include "archive/branch.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "archive/segment_reader.h"
#include "base/units.h"
#include "wal/record_verifier.h"

namespace weir::archive {

namespace {

constexpr wal::Lsn kNoEnd(UINT64_MAX);

/// Timelines in order, and where each ends.
std::vector<wal::TimelineHistory::Ancestor> way(const wal::TimelineHistory& history) {
  auto steps = history.ancestors();
  steps.push_back({history.timeline(), kNoEnd});
  return steps;
}

/// Position and timeline up to which two histories are the same. 0/0 if they never were.
wal::TimelineHistory::Ancestor common(const wal::TimelineHistory& left,
                                      const wal::TimelineHistory& right) {
  const auto a = way(left);
  const auto b = way(right);
  wal::TimelineHistory::Ancestor last{0, {}};
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    if (a[i].timeline != b[i].timeline) break;
    last = {a[i].timeline, std::min(a[i].switchpoint, b[i].switchpoint)};
    if (a[i].switchpoint != b[i].switchpoint) break;
  }
  return last;
}

}  // namespace

std::optional<Branch> compare_with_server(const Timelines& timelines, const TimelineEnds& ends,
                                          const ServerPlace& server) {
  if (ends.empty()) return std::nullopt;
  Branch branch;
  // The history that the archive follows: to the newest timeline that it has WAL of, or is known to
  // have followed that one.
  auto tip = ends.rbegin()->first;
  branch.archive_timeline = tip;
  branch.archive_end = ends.rbegin()->second;
  for (const auto later : timelines.known())
    if (const auto history = timelines.history(later);
        later > tip && history && history->contains(branch.archive_timeline))
      tip = later;
  const auto archived = timelines.history(tip).value_or(wal::TimelineHistory(tip));
  if (const auto end = archived.end_of(branch.archive_timeline))
    branch.archive_end = std::min(branch.archive_end, *end);

  // If a timeline has no known history file, only timeline 1 is certain to have no ancestors.
  auto own = server.history;
  const auto known = timelines.known();
  if (!own && (server.timeline == 1 ||
               std::find(known.begin(), known.end(), server.timeline) != known.end()))
    own = timelines.history(server.timeline);
  if (!own && server.timeline == tip) own = archived;
  if (!own) {
    branch.missing_from = branch.missing_to = server.position;
    return branch;
  }

  // The end of the archive's WAL on the server's own history, on any timeline's files.
  wal::Lsn have;
  for (const auto& [timeline, end] : ends) {
    const auto history = timelines.history(timeline).value_or(wal::TimelineHistory(timeline));
    have = std::max(have, std::min(end, common(history, *own).switchpoint));
  }
  branch.missing_to = server.position;
  branch.missing_from = std::min(have, server.position);

  const auto fork = common(archived, *own);
  branch.fork = fork.switchpoint;
  branch.fork_timeline = fork.timeline;
  if (branch.archive_end <= branch.fork &&
      (tip == branch.archive_timeline || server.position <= branch.fork || own->contains(tip))) {
    // The archive is on the server's history.
    branch.fork = {};
    branch.fork_timeline = 0;
    branch.relation = server.position > branch.archive_end   ? Branch::Relation::ahead
                      : server.position < branch.archive_end ? Branch::Relation::behind
                                                             : Branch::Relation::same;
    return branch;
  }
  branch.relation =
      server.position > branch.fork ? Branch::Relation::diverged : Branch::Relation::behind;
  return branch;
}

std::string_view to_string(Branch::Relation relation) {
  switch (relation) {
    case Branch::Relation::same:
      return "same";
    case Branch::Relation::ahead:
      return "ahead";
    case Branch::Relation::behind:
      return "behind";
    case Branch::Relation::diverged:
      return "diverged";
    case Branch::Relation::unknown:
      break;
  }
  return "unknown";
}

BranchRemark remark_on(const Branch& branch, const ServerPlace& server) {
  const auto missing = format_size(branch.missing());
  switch (branch.relation) {
    case Branch::Relation::diverged: {
      const auto where = fmt::format(
          "the server is on timeline {}, which diverged from the archive's timeline {} at {}",
          server.timeline, branch.archive_timeline, branch.fork);
      if (branch.missing() == 0)
        return {false,
                where + "; the archive has all of its WAL, on a branch that is not the newest one",
                fmt::format("To recover to that branch, set recovery_target_timeline = '{}'.",
                            server.timeline)};
      return {true,
              where + fmt::format("; its WAL from {} to {} ({}) is not in the archive, and it is "
                                  "unknown how many commits it contains",
                                  branch.missing_from, branch.missing_to, missing),
              "First copy its pg_wal, or archive it into a separate directory: pg_rewind, or "
              "rebuilding it as a standby, destroys the WAL that only this server has."};
    }
    case Branch::Relation::behind:
      // A standby, or a server that does not report its role, may just be slow.
      if (server.standby != false || server.timeline != branch.archive_timeline)
        return server.timeline == branch.archive_timeline || branch.archive_timeline == 0
                   ? BranchRemark{}
                   : BranchRemark{
                         false,
                         fmt::format("the server is on timeline {} at {}, and has not "
                                     "followed the archive to timeline {}",
                                     server.timeline, server.position, branch.archive_timeline),
                         "The archive has all of its WAL. As a standby, the server can follow; as "
                         "a primary, it must not accept writes."};
      return {false,
              fmt::format("the primary has less WAL ({}) than the archive ({}): it was reset to an "
                          "earlier state, or has lost WAL",
                          server.position, branch.archive_end),
              "Find out why before the server accepts writes: it lacks WAL that the archive has."};
    case Branch::Relation::unknown:
      return {false,
              fmt::format("the server is on timeline {}, whose history is neither in the archive "
                          "nor on the server: it is unknown which of its WAL is in the archive",
                          server.timeline),
              fmt::format("Copy {} from another node into the server's pg_wal.",
                          wal::history_name(server.timeline))};
    case Branch::Relation::same:
    case Branch::Relation::ahead:
      break;
  }
  return {};
}

TimelineEnds read_timeline_ends(io::Shelf& directory, const Listing& listing,
                                wal::SegmentSize size) {
  TimelineEnds ends;
  std::map<wal::TimelineId, SegmentFileName> open;  // newest partial segment after the complete
                                                    // ones
  for (const auto& entry : listing.segments) {
    const auto& name = entry.name.segment;
    if (!name.fits(size)) continue;
    auto& end = ends[name.timeline()];
    if (!entry.name.partial) {
      end = std::max(end, name.start(size) + size.bytes());
    } else if (name.start(size) >= end) {
      open.insert_or_assign(name.timeline(), entry.name);
      end = std::max(end, name.start(size));
    }
  }
  constexpr int kMostRead = 4;  // a segment each
  int read = 0;
  for (auto each = open.rbegin(); each != open.rend() && read < kMostRead; ++each, ++read) {
    const auto& [timeline, name] = *each;
    if (name.segment.start(size) < ends[timeline]) continue;  // completed, in another format
    wal::RecordVerifier verifier({.segment_size = size, .timeline = timeline},
                                 name.segment.start(size));
    try {
      read_segment(directory, name, size,
                   [&](std::span<const std::byte> wal) { return !verifier.feed(wal); });
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::damage && error.kind() != ErrorKind::io) throw;
    }
    ends[timeline] = std::max(ends[timeline], verifier.last_record_end());
  }
  return ends;
}

}  // namespace weir::archive

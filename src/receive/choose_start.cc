#include "receive/choose_start.h"

#include <algorithm>

#include "base/error.h"

namespace weir::receive {

namespace {

StartDecision start_empty_archive(const StartFacts& facts);
StartDecision continue_archive(const StartFacts& facts);
std::optional<Error> foreign_history(const StartFacts& facts);
StartDecision upstream_on_older_timeline(const StartFacts& facts);
Error went_back(const StartFacts& facts);

}  // namespace

StartDecision choose_start(const StartFacts& facts) {
  return facts.archive ? continue_archive(facts) : start_empty_archive(facts);
}

namespace {

/// True if WAL from `lsn` on is to be requested of the timeline that follows this one in the
/// server's history, which has it: at its end. If the server would send more of it
/// (Ancestor::is_cut), already in the segment with its end: what we received past that would be
/// confirmed.
bool is_left(const StartFacts& facts, wal::TimelineId timeline, wal::Lsn lsn) {
  const auto& history = *facts.server_history;
  const auto end = history.end_of(timeline);
  return end && lsn >= (history.is_cut(timeline) ? facts.segment_size.start_of(*end) : *end);
}

/// The timeline to request a segment on: that of its first byte. (The server sends the segment from
/// the newest of its timelines that has it, which includes the earlier bytes.)
wal::TimelineId timeline_at(const StartFacts& facts, wal::Lsn lsn) {
  if (!facts.server_history) return facts.server.timeline;
  const auto timeline = facts.server_history->timeline_of(lsn);
  return is_left(facts, timeline, lsn) ? *facts.server_history->successor_of(timeline) : timeline;
}

StartDecision start_empty_archive(const StartFacts& facts) {
  const auto& size = facts.segment_size;
  if (facts.requested) {
    const auto lsn = size.start_of(*facts.requested);
    if (lsn > facts.server.flush_position)
      return UpstreamBehind{fmt::format("--start asks for {}, the server is at {}", lsn,
                                        facts.server.flush_position)};
    return StartAt{timeline_at(facts, lsn), lsn};
  }
  if (facts.slot_restart_lsn) {
    const auto timeline =
        facts.slot_restart_timeline.value_or(timeline_at(facts, *facts.slot_restart_lsn));
    return StartAt{timeline, size.start_of(*facts.slot_restart_lsn)};
  }
  return StartAt{facts.server.timeline, size.start_of(facts.server.flush_position)};
}

StartDecision continue_archive(const StartFacts& facts) {
  const auto& archive = *facts.archive;
  const auto& server = facts.server;
  const auto& size = facts.segment_size;

  if (server.timeline < archive.timeline) return upstream_on_older_timeline(facts);
  if (auto error = foreign_history(facts)) return Refused{std::move(*error)};

  StartAt at{archive.timeline, archive.start};
  if (facts.requested && size.start_of(*facts.requested) > archive.start) {
    const auto requested = size.start_of(*facts.requested);
    if (facts.on_gap == OnGap::stop)
      return Refused{Error(ErrorKind::gap, "--start would leave a gap in the archive")
                         .with("archive ends at", archive.start)
                         .with("--start", requested)
                         .hint("Omit --start to resume where the archive ends, use an empty "
                               "directory, or add --on-gap continue to accept the hole.")};
    at = {timeline_at(facts, requested), requested};
  }

  // If the archive is past the end of a timeline, continue with the next one, from the segment that
  // contains the switchpoint. WAL that a standby had sent beyond the switchpoint stays under the
  // old timeline's name and is never part of the new one.
  while (at.timeline != server.timeline && is_left(facts, at.timeline, at.lsn))
    at = {*facts.server_history->successor_of(at.timeline),
          size.start_of(*facts.server_history->end_of(at.timeline))};

  const auto reach =
      facts.server_history && at.timeline != server.timeline
          ? std::max(server.flush_position, *facts.server_history->end_of(at.timeline))
          : server.flush_position;
  if (std::max(at.lsn, archive.sound_end) > reach && at.lsn == archive.start &&
      at.timeline == archive.timeline && at.timeline == server.timeline &&
      facts.server_is_standby == false)
    return Refused{went_back(facts)};
  if (at.lsn > reach)
    return UpstreamBehind{fmt::format("the archive ends at {} on timeline {}, the server is at {}",
                                      at.lsn, at.timeline, server.flush_position)};
  return at;
}

/// Returns an Error if the server's timelines do not continue the archive's.
std::optional<Error> foreign_history(const StartFacts& facts) {
  const auto& archive = *facts.archive;
  const auto& server = facts.server;
  constexpr std::string_view kHint =
      "The upstream belongs to another branch of this cluster's history (a server promoted "
      "separately, or restored to an earlier point). Connect to the branch that the archive "
      "follows, or archive this one into a separate directory.";

  // (tliSwitchPoint() in access/transam/timeline.c)
  const auto stock = fmt::format(
      "could not send replication command \"START_REPLICATION\": ERROR:  requested "
      "timeline {} is not in this server's history",
      archive.timeline);
  if (server.timeline == 1) return std::nullopt;
  if (!facts.server_history) {
    if (server.timeline == archive.timeline) return std::nullopt;  // nothing to compare with
    return Error(ErrorKind::conflict,
                 "the server cannot show how its timeline descends from the archive's")
        .with_stock_text(stock)
        .with("archive's timeline", archive.timeline)
        .with("server's timeline", server.timeline)
        .hint(
            "The server lacks its timeline history file; copy it into the server's pg_wal from "
            "another node or an archive.");
  }
  const auto& history = *facts.server_history;
  if (!history.contains(archive.timeline))
    return Error(ErrorKind::conflict,
                 "the server's history does not contain the archive's timeline")
        .with_stock_text(stock)
        .with("archive's timeline", archive.timeline)
        .with("server's timeline", server.timeline)
        .hint(kHint);

  if (!archive.history) return std::nullopt;
  // The archive's ancestors must be the first ones of the server's.
  const auto& ours = archive.history->ancestors();
  const auto& theirs = history.ancestors();
  const bool same_start =
      ours.size() <= theirs.size() && std::equal(ours.begin(), ours.end(), theirs.begin());
  if (same_start) return std::nullopt;
  return Error(ErrorKind::conflict,
               "the server's history and the archive's differ before the archive's timeline")
      .with("timeline", archive.timeline)
      .hint(kHint);
}

StartDecision upstream_on_older_timeline(const StartFacts& facts) {
  const auto& archive = *facts.archive;
  if (facts.server_is_standby.value_or(true))
    return UpstreamBehind{
        fmt::format("the archive is on timeline {}, the server still on timeline {}",
                    archive.timeline, facts.server.timeline)};
  return Refused{
      Error(ErrorKind::conflict, "the server is a primary on an older timeline than the archive")
          .with_stock_text(
              fmt::format("starting timeline {} is not present in the server", archive.timeline))
          .with("archive's timeline", archive.timeline)
          .with("server's timeline", facts.server.timeline)
          .hint("It appears to be an old primary that was restarted after a failover; its WAL is "
                "not part of the archive's history. Connect to the new primary or one of its "
                "standbys, and rewind or rebuild this server.")};
}

/// A primary only sends WAL that it has flushed, so it once had what the archive has.
Error went_back(const StartFacts& facts) {
  return Error(ErrorKind::conflict, "the primary has less WAL than it had sent to the archive")
      .with("archive ends at", std::max(facts.archive->start, facts.archive->sound_end))
      .with("server is at", facts.server.flush_position)
      .with("timeline", facts.server.timeline)
      .hint(
          "It has lost WAL (fsync = off, or a disk that lost flushed data), or was reset to an "
          "earlier state by a snapshot or a copy: its WAL does not continue this archive. Keep the "
          "archive, it may have commits that the server has lost; take a new base backup, and "
          "archive this server into a separate directory. (Or the newest segment in the archive "
          "was copied there from a pg_wal before it was complete: then move that file away.)");
}

}  // namespace

}  // namespace weir::receive

#include "sim_readers.h"

#include <algorithm>

#include "base/error.h"
#include "recovery.h"
#include "relay/archive_end.h"
#include "relay/checked_wal.h"
#include "verify/verify.h"

namespace weir::sim {

wal::Lsn promised_end(const status::StatusReport& report, const Ledger::Way& way) {
  wal::Lsn promised;
  for (const auto& window : report.windows) {
    const auto history = report.histories.history(window.timeline);
    if (history && history->contains(way.last) && window.from <= way.begin)
      promised = std::max(promised, window.to);
  }
  return promised;
}

void SimReaders::tick() {
  if (!random_.one_in(60)) return;
  const bool serves = random_.one_in(5);
  const bool recovers = random_.below(3) != 0;
  const bool partial = random_.coin();
  const auto way = world_.ledger.way();
  if (!way || world_.ledger.holds_damage() || world_.ledger.damage_was_sent()) return;
  if (serves && !world_.scheduler.running("serve alone"))
    world_.scheduler.start_beside("serve alone", [this, way] { serve(*way); });
  else if (recovers && !world_.scheduler.running("restore"))
    world_.scheduler.start_beside(
        "restore", [this, way, partial, before = floors()] { recover(*way, partial, before); });
  else if (!recovers && partial && !world_.scheduler.running("verify"))
    world_.scheduler.start_beside("verify", [this] { verify(); });
  else if (!recovers && !partial && !world_.scheduler.running("status"))
    world_.scheduler.start_beside("status",
                                  [this, way, before = floors()] { report(*way, before); });
}

/// P9: what was reported before it began is restored, whatever the receiver does meanwhile, or an
/// error stops the recovery.
void SimReaders::recover(const Ledger::Way& way, bool partial, const Floors& before) {
  const auto needed = world_.end_needed(way, partial);
  if (needed < way.begin) return;
  ++recoveries_;
  world_.story.tell("a recovery begins beside the receiver{}", partial ? ", with --partial" : "");
  const auto directory = world_.disk.open();
  const auto found = Recovery(world_.lineage, world_.story, world_.mutant)
                         .run(*directory, way, partial, world_.ask_receiver);
  if (found.error) {
    world_.story.tell("restore stops: {}", found.error->what());
    return;
  }
  // A prune, or a timeline that was left meanwhile.
  if (floors() != before || found.end >= std::min(needed, world_.end_needed(way, partial))) return;
  throw Violation{"P9",
                  fmt::format("a recovery beside the receiver ends at {} as if that were all, "
                              "and WAL up to {} was reported as flushed before",
                              found.end, way.end)};
}

/// P9: it promises no less than what was reported before it began.
void SimReaders::report(const Ledger::Way& way, const Floors& before) {
  const auto needed = world_.end_needed(way, true);
  if (needed <= world_.lineage.first_read_from(way.last, way.begin)) return;
  ++reported_;
  call_failed_ = false;
  const auto directory = world_.disk.open();
  try {
    const auto report = status::make_report(*directory);
    const auto promised = promised_end(report, way);
    world_.story.tell("status promises a recovery up to {}", promised);
    // A file that cannot be read tells nothing (seed 18491 of de7449a5).
    if (call_failed_) return;
    // A prune, or a timeline that was left meanwhile.
    if (floors() != before || promised >= std::min(needed, world_.end_needed(way, true))) return;
    // "restore --partial" rejects that; nothing ends there unnoticed (seed 11547 of 72677551).
    if (is_torn(report.timelines.back().timeline, promised)) return;
    // Nor there: a power loss has kept the name of a later unfinished segment and lost that of an
    // earlier one. Status reports the hole between them (seed 77033915 of 3de6adb2).
    if (std::any_of(report.holes.begin(), report.holes.end(), [&](const auto& hole) {
          return hole.found.empty() && hole.from <= needed && needed < hole.to;
        }))
      return;
    throw Violation{"P9", fmt::format("status promises a recovery up to {} only, and WAL up to {} "
                                      "was reported as flushed before",
                                      promised, way.end)};
  } catch (const Error& error) {
    world_.story.tell("status: {}", error.what());
  }
}

/// P11: what another process would send, as for a client that follows all timelines, was written.
/// It serves complete segments only, as beside a receiver that does not answer.
void SimReaders::serve(const Ledger::Way& way) {
  const auto directory = world_.disk.open();
  try {
    const auto cluster = relay::find_cluster(*directory);
    if (!cluster) return;
    const auto served =
        relay::find_served(*directory, cluster->segment_size, relay::Counts::finished);
    if (!served || !served->history.contains(way.last)) return;
    world_.story.tell("served by another process up to {}", served->end);
    auto from = way.begin;
    for (auto timeline = way.first; timeline <= served->timeline(); ++timeline) {
      const auto end = served->history.end_of(timeline).value_or(served->end);
      read_served(*directory, {*cluster, *served, timeline}, std::min(from, kSegment.start_of(end)),
                  way.begin);
      from = end;
    }
  } catch (const Error& error) {
    world_.story.tell("another process does not serve: {}", error.what());
  }
}

/// Throws Error if WAL is not sent: a prune may have removed it, and a call may fail.
void SimReaders::read_served(io::Directory& directory, const Stream& stream, wal::Lsn from,
                             wal::Lsn archive_begin) {
  const auto& history = stream.served.history;
  const auto end = history.end_of(stream.timeline).value_or(stream.served.end);
  relay::CheckedWal reader(directory, stream.cluster, history, from);
  for (auto at = from; at < end;) {
    const auto read = reader.read(end);
    if (read.trouble) throw read.trouble->error;
    if (read.wal.empty()) return;
    if (const auto wrong = world_.ledger.first_wrong(stream.timeline, at, read.wal, archive_begin))
      throw Violation{"P11", fmt::format("beside the receiver, {} to {} of timeline {} would be "
                                         "sent, and the byte at {} is not what was written",
                                         at, at + read.wal.size(), stream.timeline, *wrong)};
    at = at + read.wal.size();
    served_ += read.wal.size();
  }
}

/// The timeline's first segment, not yet flushed, has WAL after a place before the switchpoint
/// where some is missing: a power loss has torn it, or threads write pieces of it at the same time.
/// (Only here: segments of up to 16 MB are one piece. Seed 108467 of 2d4a74a3.)
bool SimReaders::is_torn(wal::TimelineId timeline, wal::Lsn end) const {
  const auto start = kSegment.start_of(end);
  const auto begin = world_.lineage.timeline(timeline).begin;
  const auto name =
      wal::SegmentName(timeline, kSegment.segno(end), kSegment).to_string() + ".partial";
  if (timeline == 1 || kSegment.start_of(begin) != start || end >= begin ||
      !world_.disk.exists(name))
    return false;
  const auto content = world_.disk.content(name);
  const auto truth = world_.lineage.bytes(
      timeline, start, std::min(world_.lineage.end(timeline), start + kSegmentBytes));
  const auto [torn, unused] =
      std::mismatch(content.begin(), content.end(), truth.begin(), truth.end());
  const auto page = (static_cast<std::size_t>(torn - content.begin()) + wal::kPageSize - 1) /
                    wal::kPageSize * wal::kPageSize;
  const auto behind = std::span(content).subspan(std::min(page, content.size()));
  return std::any_of(behind.begin(), behind.end(),
                     [](std::byte byte) { return byte != std::byte{}; });
}

/// P9: nothing is wrong with what is finished.
void SimReaders::verify() {
  const auto before = floors();
  ++verified_;
  const auto directory = world_.disk.open();
  try {
    const auto report = verify::verify(*directory, {.look_again_after = {}});
    if (floors() != before) return;
    for (const auto& finding : report.findings) {
      world_.story.tell("verify: {} {}: {}", verify::to_string(finding.kind), finding.file,
                        finding.what);
      // (What is unfinished the receiver writes to, what is missing it may have told of, and a call
      // may fail.)
      const auto file = archive::SegmentFileName::parse(finding.file);
      using Kind = verify::FindingKind;
      const bool of_content = finding.kind == Kind::damage || finding.kind == Kind::broken_file ||
                              finding.kind == Kind::wrong_name ||
                              finding.kind == Kind::other_cluster ||
                              finding.kind == Kind::forms_differ;
      const bool is_gone =
          finding.kind == Kind::unreadable && finding.what.find("gone") != std::string::npos;
      if (!file || file->partial || !(of_content || is_gone)) continue;
      throw Violation{"P9", fmt::format("verify beside the receiver finds fault with {}: {}",
                                        finding.file, finding.what)};
    }
  } catch (const Error& error) {
    world_.story.tell("verify: {}", error.what());
  }
}

}  // namespace weir::sim

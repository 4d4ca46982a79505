#include "recovery.h"

#include <algorithm>
#include <cstring>

#include "restore/restore.h"
#include "support/sim_disk.h"

namespace weir::sim {

using wal::Lsn;

Recovery::Result Recovery::run(restore::Shelves archives, const Ledger::Way& way, bool partial,
                               const AskReceiver& ask_receiver) {
  SimDisk server;
  const auto pg_wal = server.open();
  const std::string target = "RECOVERYXLOG";
  Result result{way.begin, way.begin, std::nullopt};
  restore::Options options;
  options.system_identifier = kSystem;
  options.partial = partial;
  if (ask_receiver) options.durable_end = [&](const std::string&) { return ask_receiver(); };
  if (archives.size() > 1) options.store = archives.size() - 1;
  options.verify = mutant_ != Mutant::restored_unchecked;

  // True: it was restored. False: absent, or (with result.error set) the end of everything.
  const auto ask = [&](const restore::Request& request) {
    try {
      return restore::restore_file(archives, request, *pg_wal, target, options, story_).restored;
    } catch (const Error& error) {
      if (mutant_ != Mutant::damage_restored_as_absence) result.error = error;
      return false;
    }
  };

  auto newest = way.first;
  while (ask(restore::HistoryRequest{newest + 1})) {
    ++newest;
    const auto& content = lineage_.history(newest);
    if (!server.holds(target, 0, std::as_bytes(std::span(content.data(), content.size()))))
      throw Violation{"P9", fmt::format("the history of timeline {} was restored wrong", newest)};
    // As readTimeLineHistory() in access/transam/timeline.c does.
    pg_wal->rename_replace(target, wal::history_name(newest));
  }
  if (result.error) return result;

  auto current = way.first;
  std::optional<Violation> wrong;
  Lsn wrong_record_end;
  for (auto segment = way.begin;; segment = segment + kSegmentBytes) {
    result.at = segment;
    bool restored = false;
    for (auto timeline = newest; timeline >= current && !restored; --timeline) {
      if (kSegment.start_of(lineage_.timeline(timeline).begin) > segment) continue;
      const wal::SegmentName name(timeline, kSegment.segno(segment), kSegment);
      restored = ask(name);
      if (result.error) return result;
      if (!restored) continue;
      current = timeline;
      if (wrong && segment + kSegmentBytes >= wrong_record_end) {
        // With --partial, a receiver may have rewritten the torn end of the segment before and have
        // begun this one: a server ends there, at a checksum (seed 78025587 of 3de6adb2).
        if (partial && ask_receiver) return result;
        throw Violation{*wrong};
      }
      const auto true_end = std::min(lineage_.end(timeline), segment + kSegmentBytes);
      const auto truth = lineage_.bytes(timeline, segment, true_end);
      // Nearly always.
      const bool right = truth.size() == kSegmentBytes && server.size(target) == kSegmentBytes &&
                         server.holds(target, 0, truth);
      auto got = right ? std::vector<std::byte>() : server.content(target);
      pg_wal->rename_replace(target, name.to_string());  // as KeepFileRestoredFromArchive() does
      // (The rest of a record that begins before the first segment is read by no recovery, and of
      // the segments alone nobody can tell what it was: seed 421254 of eb9f749.)
      const auto read_from = lineage_.first_read_from(timeline, way.begin);
      if (!right && read_from > segment)
        std::copy_n(truth.begin(),
                    std::min<std::uint64_t>({read_from - segment, truth.size(), got.size()}),
                    got.begin());
      // Of a record whose continuation was overwritten nobody reads more than the header: the rest
      // may be torn (seed 820731 of da090258).
      if (!right) lineage_.take_over_aborted(timeline, segment, got);
      // A server reads on there, also where its own timeline has left that one.
      const auto left = lineage_.timeline(timeline).switchpoint;
      const auto refuse_lost_branch = [&](Lsn end) {
        if (timeline < newest && left >= segment && end > left)
          throw Violation{"P9", fmt::format("{} was restored with what timeline {} wrote up to {}, "
                                            "and timeline {} has left it at {}",
                                            name, timeline, end, newest, left)};
      };
      if (right || (got.size() == kSegmentBytes && truth.size() == got.size() &&
                    std::memcmp(truth.data(), got.data(), got.size()) == 0)) {
        result.end = segment + kSegmentBytes;
        refuse_lost_branch(result.end);
        continue;
      }
      const auto [differs, unused] =
          std::mismatch(truth.begin(), truth.end(), got.begin(), got.end());
      const auto same = static_cast<std::uint64_t>(differs - truth.begin());
      result.end = segment + same;
      refuse_lost_branch(result.end);
      // Behind the end of an unfinished one there are zeros.
      const bool rest_is_zero =
          std::all_of(got.begin() + static_cast<std::ptrdiff_t>(same), got.end(),
                      [](std::byte byte) { return byte == std::byte{0}; });
      // Of a timeline's first segment, of which there is no file yet, the ancestor's WAL is
      // restored: from its partial file, or up to the switchpoint (seed 935859 of da090258).
      const bool ends_there = timeline < newest && result.end == left;
      const bool may_end = partial || ends_there || lineage_.timeline(timeline).begin > segment;
      if (got.size() != kSegmentBytes || (same < kSegmentBytes && !(may_end && rest_is_zero))) {
        wrong = Violation{
            "P9", fmt::format("{} was restored, and is wrong from {} on", name, segment + same)};
        wrong_record_end = lineage_.record_end(timeline, segment + same);
        // In a record that goes on in the next segment it is found there.
        if (true_end < segment + kSegmentBytes || wrong_record_end <= true_end)
          throw Violation{*wrong};
      }
    }
    if (!restored) {
      // A record of which the end was not restored is replayed by nobody, sound or not.
      if (wrong && wrong_record_end <= segment) throw Violation{*wrong};
      story_.tell("recovery ends at {} of timeline {}", result.end, newest);
      return result;
    }
  }
}

}  // namespace weir::sim

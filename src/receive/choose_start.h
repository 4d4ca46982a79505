#pragma once

#include <optional>
#include <string>
#include <variant>

#include "pq/commands.h"
#include "receive/options.h"
#include "wal/lsn.h"
#include "wal/segment.h"
#include "wal/timeline_history.h"

namespace weir::receive {

/// All input for the choice of the start position.
struct StartFacts {
  wal::SegmentSize segment_size;
  pq::SystemIdentity server;
  /// Ancestry of the server's timeline; nullopt if not available.
  std::optional<wal::TimelineHistory> server_history;
  /// True for a standby, false for a primary, nullopt if unknown (before 14).
  std::optional<bool> server_is_standby;

  /// End of the archive: its newest timeline and the segment to resume with; nullopt if it is
  /// empty.
  struct ArchiveEnd {
    wal::TimelineId timeline = 0;
    wal::Lsn start;
    /// End of the last record of the unbroken sequence from `start` on; `start` or less if there is
    /// none.
    wal::Lsn sound_end{};
    /// From the archive's own history file of that timeline, if it has one.
    std::optional<wal::TimelineHistory> history;
  };
  std::optional<ArchiveEnd> archive;

  std::optional<wal::Lsn> slot_restart_lsn;
  std::optional<wal::TimelineId> slot_restart_timeline;
  std::optional<wal::Lsn> requested;  ///< --start
  OnGap on_gap = OnGap::stop;
};

/// START_REPLICATION here; always a segment's first byte.
struct StartAt {
  wal::TimelineId timeline = 0;
  wal::Lsn lsn;
  bool operator==(const StartAt&) const = default;
};
/// The server does not have the next byte yet, but its history leads there: wait for it.
struct UpstreamBehind {
  std::string why;
};
/// This server's WAL must not continue this archive: kind conflict, with explanation and hint.
struct Refused {
  Error error;
};
using StartDecision = std::variant<StartAt, UpstreamBehind, Refused>;

/// Chooses the start position. In this order: after the archive's end; `--start`; the slot's
/// restart_lsn; the server's flush position. If the server has left the archive's timeline, that
/// timeline is streamed up to its switchpoint before the new one is started; an archive that
/// already extends past the switchpoint continues with the next timeline, from the segment with the
/// switchpoint on.
[[nodiscard]] StartDecision choose_start(const StartFacts& facts);

}  // namespace weir::receive

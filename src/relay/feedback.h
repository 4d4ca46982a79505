#pragma once

#include <optional>
#include <span>
#include <string>

#include "relay/standby_names.h"
#include "relay/walsender_state.h"
#include "relay/xmins.h"
#include "wal/lsn.h"
#include "wal/segment.h"
#include "wal/timeline_history.h"

namespace weir::relay {

/// The effect of all clients together: on the server upstream, and on each other. Value type.
struct Feedback {
  /// Up to here the WAL of this timeline is applied by as many as --serve-synchronous-standby-names
  /// names; 0/0 while there are fewer.
  wal::TimelineId timeline = 0;
  wal::Lsn applied;
  /// The oldest that a client, or a slot, still needs; nullopt if not known yet, so nothing may be
  /// reported (a slot's xmin upstream would be released, which cannot be undone).
  std::optional<Xmins> xmins;
  /// Up to here as many as --serve-synchronized-standbys names have flushed; 0/0 while there are
  /// fewer.
  wal::Lsn flushed;
  bool operator==(const Feedback&) const = default;
};

/// The state of one client that counts for the feedback.
struct Member {
  std::string application_name;
  WalsenderState::Status status;
};

/// Whom others wait for.
struct Waiting {
  std::optional<StandbyNames> sync;  ///< --serve-synchronous-standby-names
  std::optional<StandbyNames> hold;  ///< --serve-synchronized-standbys
};

/// `slots`: the oldest that slots hold, including those of absent clients; nullopt while unknown.
/// Pure.
///
/// An LSN alone is not a position: a client's position on a timeline counts up to where the served
/// history leaves that timeline, and not at all if the history does not contain it.
[[nodiscard]] Feedback gather_feedback(const Waiting& waiting, std::span<const Member> members,
                                       const std::optional<Xmins>& slots,
                                       const wal::TimelineHistory& served);

}  // namespace weir::relay

#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "wal/lsn.h"
#include "wal/timeline_history.h"

namespace weir::status {

/// What a server says of itself and of the slot that the archive is filled through.
struct Upstream {
  struct Slot {
    std::string name;
    bool exists = false;
    std::optional<wal::Lsn> restart_lsn;
    std::optional<std::string> wal_status;  ///< unset: not told (it needs an ordinary connection)
    std::optional<bool> active;             ///< the same
    /// The setting because of which the server may have invalidated the slot nevertheless, which
    /// only wal_status shows (pq::setting_of_unseen_invalidation()); empty: there is none.
    std::string unseen_invalidation{};
  };
  std::string server;
  std::uint64_t system_identifier = 0;
  wal::TimelineId timeline = 0;
  wal::Lsn position;  ///< a primary's flush, a standby's received-or-replayed end
  std::optional<wal::TimelineHistory> history;  ///< of its timeline; unset: it has none to show
  std::optional<bool> standby;                  ///< unset: it did not say (before 14)
  std::optional<Slot> slot;
  /// A primary's setting; unset: unknown.
  std::optional<std::string> synchronous_standby_names;
  std::optional<std::string> slot_error;  ///< why wal_status is unknown
  std::string slot_hint;                  ///< what to do about it; may be empty
};

/// Uses a replication connection; with a slot also an ordinary one, whose failure is returned in
/// slot_error. Takes a few seconds at most. Throws Error{retry, refused, usage, protocol}.
[[nodiscard]] Upstream ask_upstream(const std::string& conninfo,
                                    const std::string& ordinary_conninfo,
                                    const std::optional<std::string>& slot);

}  // namespace weir::status

#include "pq/slot_view.h"

#include "wal/server_version.h"

namespace weir::pq {

// The reasons: SlotInvalidationCauses in src/backend/replication/slot.c.
std::string why_invalidated(const std::optional<std::string>& reason, int server_major) {
  if (reason == "wal_removed")
    return "It held back more WAL than max_slot_wal_keep_size allows: raise that setting, or keep "
           "the receiver connected and quick.";
  if (reason == "idle_timeout")
    return "No receiver was connected to it for idle_replication_slot_timeout: raise that setting, "
           "or keep the receiver connected.";
  if (reason == "wal_level_insufficient" &&
      wal::ServerVersion(server_major).has_effective_wal_level())
    return "It is a logical slot, and the WAL no longer holds what logical decoding needs: on a "
           "standby, the last logical slot of its primary was dropped, or the primary's wal_level "
           "was set below replica. Set wal_level = logical on the primary, or keep a logical slot "
           "there.";
  if (reason == "wal_level_insufficient")
    return "It is a logical slot, and wal_level was set below logical.";
  if (reason == "rows_removed")
    return "It is a logical slot of a standby, and rows that it needed were removed.";
  if (wal::ServerVersion(server_major).has_idle_slot_timeout())
    return "What lets a server do that is max_slot_wal_keep_size (the slot held back more WAL than "
           "that) or idle_replication_slot_timeout (no receiver was connected for so long): raise "
           "it, or keep the receiver connected and quick.";
  return "What lets a server do that is max_slot_wal_keep_size (the slot held back more WAL than "
         "that): raise it, or keep the receiver connected and quick.";
}

std::string_view invalidation_reason_column(int server_major) {
  return wal::ServerVersion(server_major).has_invalidation_reason() ? "invalidation_reason::text"
                                                                    : "NULL::text";
}

std::optional<std::string> invalidation_reason_in(std::string_view message) {
  for (const std::string_view reason :
       {"wal_removed", "rows_removed", "wal_level_insufficient", "idle_timeout"})
    if (message.find(reason) != std::string_view::npos) return std::string(reason);
  return std::nullopt;
}

}  // namespace weir::pq

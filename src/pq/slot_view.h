#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace weir::pq {

/// What pg_replication_slots says of a slot, as far as it decides about keeping WAL.
struct SlotView {
  bool exists = false;
  bool active = false;
  std::string
      wal_status;  ///< reserved, extended, unreserved, lost; empty if the slot reserves none
  std::optional<std::int64_t> safe_wal_size;  ///< bytes that may still be written before it is lost
  std::optional<std::int64_t> retained;       ///< bytes of WAL kept for it
  std::optional<std::string> invalidation_reason;  ///< 17 and later
};

/// Why a server has invalidated a slot, which setting is behind that, and what to do, in whole
/// sentences. `reason` as in pg_replication_slots; if it is unset, the version decides which
/// reasons are possible.
[[nodiscard]] std::string why_invalidated(const std::optional<std::string>& reason,
                                          int server_major);
/// How a query of pg_replication_slots selects the cause of an invalidation: NULL where the view
/// does not have it.
[[nodiscard]] std::string_view invalidation_reason_column(int server_major);
/// The reason that a server of version 18 or later names, untranslated, in its refusal to use an
/// invalidated slot.
[[nodiscard]] std::optional<std::string> invalidation_reason_in(std::string_view message);

}  // namespace weir::pq

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace weir::pq {

/// The columns of pg_replication_slots that describe a slot's WAL retention.
struct SlotView {
  bool exists = false;
  bool active = false;
  std::string wal_status;  ///< reserved, extended, unreserved, lost; empty if no WAL is reserved
  std::optional<std::int64_t> safe_wal_size;  ///< bytes that can still be written before it is lost
  std::optional<std::int64_t> retained;       ///< bytes of WAL retained for it
  std::optional<std::string> invalidation_reason;  ///< 17 and later
};

/// Why a server has invalidated a slot, which setting caused it, and what to do, in full sentences.
/// `reason` as in pg_replication_slots; if it is unset, the possible reasons depend on the version.
[[nodiscard]] std::string why_invalidated(const std::optional<std::string>& reason,
                                          int server_major);
/// The expression in a query of pg_replication_slots for the cause of an invalidation: NULL if the
/// view lacks it.
[[nodiscard]] std::string_view invalidation_reason_column(int server_major);
/// The reason that a server of version 18 or later gives, untranslated, when it rejects an
/// invalidated slot.
[[nodiscard]] std::optional<std::string> invalidation_reason_in(std::string_view message);

}  // namespace weir::pq

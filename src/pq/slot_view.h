#pragma once

#include <cstdint>
#include <optional>
#include <string>

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

}  // namespace weir::pq

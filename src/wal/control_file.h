#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <optional>
#include <span>
#include <string_view>

#include "wal/lsn.h"

// ControlFileData in catalog/pg_control.h, in this host's byte order.

namespace weir::wal {

/// Number of leading bytes of pg_control that these functions read.
inline constexpr std::size_t kControlFront = 152;

/// The cluster's system identifier, the first field of pg_control. nullopt if `front` is too short.
[[nodiscard]] inline std::optional<std::uint64_t> system_identifier_in(
    std::span<const std::byte> front) {
  if (front.size() < sizeof(std::uint64_t)) return std::nullopt;
  std::uint64_t identifier = 0;
  std::memcpy(&identifier, front.data(), sizeof(identifier));
  return identifier;
}

/// The text of pg_controldata for `state` (DBState): "in production"; empty if unknown.
[[nodiscard]] inline std::string_view cluster_state_in(std::span<const std::byte> front) {
  constexpr std::string_view kNames[] = {
      "starting up",       "shut down",           "shut down in recovery", "shutting down",
      "in crash recovery", "in archive recovery", "in production"};
  constexpr std::size_t kStateAt = 16;
  std::uint32_t state = 0;
  if (front.size() < kStateAt + sizeof(state)) return {};
  std::memcpy(&state, front.data() + kStateAt, sizeof(state));
  return state < std::size(kNames) ? kNames[state] : std::string_view();
}

/// minRecoveryPoint: a standby's files need its WAL up to there. In 13 to 18 (PG_CONTROL_VERSION
/// 1300, 1700, 1800) it follows a CheckPoint of 88 bytes, in 19 (1905) one of 96 bytes. nullopt if
/// `front` is too short, of another version, or of a primary (0/0).
[[nodiscard]] inline std::optional<Lsn> min_recovery_point_in(std::span<const std::byte> front) {
  constexpr std::size_t kVersionAt = 8, kAt13 = 136, kAt19 = 144;
  if (front.size() < kControlFront) return std::nullopt;
  std::uint32_t version = 0;
  std::memcpy(&version, front.data() + kVersionAt, sizeof(version));
  const bool until18 = version == 1300 || version == 1700 || version == 1800;
  if (!until18 && version != 1905) return std::nullopt;
  std::uint64_t point = 0;
  std::memcpy(&point, front.data() + (until18 ? kAt13 : kAt19), sizeof(point));
  return point == 0 ? std::nullopt : std::optional(Lsn(point));
}

}  // namespace weir::wal

#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace weir::wal {

/// 2000-01-01 00:00 UTC, from which PostgreSQL counts (POSTGRES_EPOCH_JDATE), since 1970.
inline constexpr std::chrono::seconds kPgEpoch{946'684'800};

/// Microseconds since 2000-01-01 00:00 UTC: PostgreSQL's TimestampTz, as commit records and the
/// messages of the replication protocol hold it.
struct PgTime {
  std::int64_t microseconds = 0;

  [[nodiscard]] static constexpr PgTime of(std::chrono::system_clock::time_point time) {
    return {
        std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch() - kPgEpoch)
            .count()};
  }
  [[nodiscard]] constexpr std::chrono::system_clock::time_point system_time() const {
    return std::chrono::system_clock::time_point(kPgEpoch +
                                                 std::chrono::microseconds(microseconds));
  }

  /// "2026-11-20 03:14", with seconds and fractions if wanted, a 'T' between, and a zone behind:
  /// "Z", "UTC", "+02", "+02:00", "+0200". Without one it is the local time of this process (TZ).
  /// A day alone is its beginning, local time. nullopt for anything else.
  [[nodiscard]] static std::optional<PgTime> parse(std::string_view text);
  /// "2026-11-20 03:14:15.926535 UTC", which recovery_target_time understands, too.
  [[nodiscard]] std::string to_string() const;
  auto operator<=>(const PgTime&) const = default;
};

}  // namespace weir::wal

#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace weir::wal {

/// 2000-01-01 00:00 UTC, PostgreSQL's epoch (POSTGRES_EPOCH_JDATE), since 1970.
inline constexpr std::chrono::seconds kPgEpoch{946'684'800};

/// Microseconds since 2000-01-01 00:00 UTC: PostgreSQL's TimestampTz, as in commit records and in
/// the messages of the replication protocol.
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

  /// "2026-11-20 03:14", optionally with seconds and fractions, a 'T' as separator, and a zone
  /// suffix: "Z", "UTC", "+02", "+02:00", "+0200". Without a zone it is the local time of this
  /// process (TZ). A date alone means its start, local time. nullopt for anything else.
  [[nodiscard]] static std::optional<PgTime> parse(std::string_view text);
  /// "2026-11-20 03:14:15.926535 UTC", which recovery_target_time also accepts.
  [[nodiscard]] std::string to_string() const;
  auto operator<=>(const PgTime&) const = default;
};

}  // namespace weir::wal

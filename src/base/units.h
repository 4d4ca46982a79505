#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace weir {

/// A time with a unit: "500us" is rejected, "200ms", "10s", "5min", "2h", "1d" are accepted; a bare
/// number only if it is 0. nullopt for anything else, and for values out of range.
[[nodiscard]] std::optional<std::chrono::milliseconds> parse_duration(std::string_view text);

/// A size with a unit in PostgreSQL's sense (powers of 1024): "64MB", "1GB", "8kB", "512B".
[[nodiscard]] std::optional<std::uint64_t> parse_size(std::string_view text);

/// "1.5 GB", "16 MB", "512 B": powers of 1024, PostgreSQL's unit names.
[[nodiscard]] std::string format_size(std::uint64_t bytes);
/// "1 segment", "3 segments": nouns whose plural ends with an s.
[[nodiscard]] std::string counted(std::uint64_t count, std::string_view noun);
/// "250 ms", "12.3 s", "4 min 10 s", "3 h 5 min", "2 d 4 h".
[[nodiscard]] std::string format_duration(std::chrono::milliseconds duration);
/// The nearest moment from 1970 on that system_clock can hold: it counts nanoseconds, and ends in
/// 2262. A certificate "without an end" expires in 9999 (RFC 5280, 4.1.2.5).
[[nodiscard]] std::chrono::sys_seconds within_system_clock(std::chrono::sys_seconds time);
/// "2026-11-20 10:00:00.123 UTC"
[[nodiscard]] std::string format_time(std::chrono::system_clock::time_point time);
/// "2026-11-20T10:00:00.123Z", in ISO 8601 format.
[[nodiscard]] std::string format_iso_time(std::chrono::system_clock::time_point time);

}  // namespace weir

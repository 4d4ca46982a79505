#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "status/report.h"

namespace weir::status {

/// The exit statuses of monitoring plugins.
enum class Level { ok = 0, warning = 1, critical = 2, unknown = 3 };
[[nodiscard]] std::string_view to_string(Level level);

struct Limits {
  std::optional<std::uint64_t> max_lag;  ///< bytes
  /// How long ago the server may have been heard of. Not the age of WAL: an idle server is well.
  std::optional<std::chrono::milliseconds> max_age;
};

struct Verdict {
  struct Finding {
    Level level;
    std::string text;
  };
  Level level = Level::ok;
  std::vector<Finding> findings;  ///< gravest first
  std::string line;               ///< "PGWEIR OK - … | lag=0B;;67108864;0 …", without line end
};

/// Pure.
[[nodiscard]] Verdict check(const StatusReport& report, const Limits& limits);

/// The line of a check that could not be made.
[[nodiscard]] std::string unknown_line(std::string_view why);

}  // namespace weir::status

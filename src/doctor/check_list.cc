#include "doctor/check_list.h"

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "base/units.h"

namespace weir::doctor {

std::string rate_text(double rate) { return format_size(static_cast<std::uint64_t>(rate)) + "/s"; }

std::string time_text(double seconds) {
  constexpr double kMost = 3650.0 * 86400;
  return format_duration(
      std::chrono::milliseconds(static_cast<std::int64_t>(std::min(seconds, kMost) * 1000)));
}

std::optional<double> rate_of(const ServerFacts& server) {
  if (!server.wal_rate) return server.wal_rate_average;
  return std::max(*server.wal_rate, server.wal_rate_average.value_or(0));
}

}  // namespace weir::doctor

#include "doctor/check_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "base/units.h"
#include "crypto/certificates.h"

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

void check_expiry(Checks& checks, const char* name, const std::string& certificate,
                  std::chrono::sys_seconds expires, std::chrono::system_clock::time_point now,
                  const std::vector<std::string>& todo) {
  const auto left = expires - now;
  const bool over = left <= std::chrono::seconds(0);
  const auto text = fmt::format("{} {} {}", certificate, over ? "has expired on" : "is valid until",
                                format_time(expires));
  if (over)
    checks.fail(name, text, todo);
  else if (left < crypto::kExpiresSoon)
    checks.warn(name, text, todo);
  else
    checks.ok(name, text);
}

}  // namespace weir::doctor

#include "prune/backup_name.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <cstddef>

#include "base/text.h"

namespace weir::prune {

namespace {

// YYYYMMDDTHHMMSSZ
constexpr std::size_t kNameLength = 16;
constexpr std::chrono::year kFirstYear{1970};
constexpr std::chrono::year kLastYear{2261};

std::chrono::sys_seconds seconds_of(std::string_view name) {
  const auto number = [&](std::size_t at, std::size_t count) {
    return parse_number<int>(name.substr(at, count)).value_or(0);
  };
  const std::chrono::year_month_day day{std::chrono::year(number(0, 4)),
                                        std::chrono::month(static_cast<unsigned>(number(4, 2))),
                                        std::chrono::day(static_cast<unsigned>(number(6, 2)))};
  // A time_point counts nanoseconds, from 1677 to 2262.
  if (!day.ok() || day.year() < kFirstYear || day.year() > kLastYear) return {};
  return std::chrono::sys_days(day) + std::chrono::hours(number(9, 2)) +
         std::chrono::minutes(number(11, 2)) + std::chrono::seconds(number(13, 2));
}

}  // namespace

std::string backup_name(std::chrono::system_clock::time_point time) {
  return fmt::format("{:%Y%m%dT%H%M%SZ}", fmt::gmtime(std::chrono::system_clock::to_time_t(time)));
}

std::optional<std::chrono::system_clock::time_point> time_of_backup_name(std::string_view name) {
  if (name.size() != kNameLength) return std::nullopt;
  const auto time = seconds_of(name);
  return backup_name(time) == name ? std::optional(time) : std::nullopt;
}

}  // namespace weir::prune

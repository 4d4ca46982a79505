#include "base/units.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <utility>

namespace weir {

namespace {

struct Unit {
  std::string_view name;
  std::uint64_t factor;
};

/// Splits "200ms" into number and unit, and multiplies; nullopt if the unit is not in the table or
/// the product does not fit.
template <std::size_t N>
std::optional<std::uint64_t> parse_with_unit(std::string_view text,
                                             const std::array<Unit, N>& units) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, 10);
  if (error != std::errc() || end == text.data()) return std::nullopt;
  auto rest = text.substr(static_cast<std::size_t>(end - text.data()));
  while (!rest.empty() && rest.front() == ' ') rest.remove_prefix(1);
  if (rest.empty()) return number == 0 ? std::optional<std::uint64_t>(0) : std::nullopt;
  for (const auto& unit : units) {
    if (unit.name != rest) continue;
    if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) / unit.factor)
      return std::nullopt;
    return number * unit.factor;
  }
  return std::nullopt;
}

constexpr std::array<Unit, 5> kTimes{{{"ms", 1},
                                      {"s", 1000},
                                      {"min", 60 * 1000},
                                      {"h", 60 * 60 * 1000},
                                      {"d", 24 * 60 * 60 * 1000}}};
constexpr std::array<Unit, 5> kSizes{{{"B", 1},
                                      {"kB", 1024},
                                      {"MB", 1024 * 1024},
                                      {"GB", 1024ull * 1024 * 1024},
                                      {"TB", 1024ull * 1024 * 1024 * 1024}}};

}  // namespace

std::optional<std::chrono::milliseconds> parse_duration(std::string_view text) {
  const auto value = parse_with_unit(text, kTimes);
  if (!value) return std::nullopt;
  return std::chrono::milliseconds(static_cast<std::int64_t>(*value));
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
  return parse_with_unit(text, kSizes);
}

std::string format_size(std::uint64_t bytes) {
  std::size_t unit = 0;
  while (unit + 1 < kSizes.size() && bytes >= kSizes[unit + 1].factor) ++unit;
  const auto factor = kSizes[unit].factor;
  if (bytes % factor == 0) return fmt::format("{} {}", bytes / factor, kSizes[unit].name);
  return fmt::format("{:.1f} {}", static_cast<double>(bytes) / static_cast<double>(factor),
                     kSizes[unit].name);
}

std::string counted(std::uint64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string format_duration(std::chrono::milliseconds duration) {
  const auto ms = duration.count();
  if (ms < 1000) return fmt::format("{} ms", ms);
  if (ms < 60'000) return fmt::format("{:.1f} s", static_cast<double>(ms) / 1000.0);
  const auto s = ms / 1000;
  if (s < 3600) return fmt::format("{} min {} s", s / 60, s % 60);
  if (s < 86'400) return fmt::format("{} h {} min", s / 3600, s % 3600 / 60);
  return fmt::format("{} d {} h", s / 86'400, s % 86'400 / 3600);
}

namespace {

std::string format_moment(std::chrono::system_clock::time_point time, char between,
                          std::string_view zone) {
  const auto since = std::chrono::floor<std::chrono::milliseconds>(time.time_since_epoch());
  const auto second = std::chrono::floor<std::chrono::seconds>(since);
  const auto utc = fmt::gmtime(std::time_t{second.count()});
  return fmt::format("{:%Y-%m-%d}{}{:%H:%M:%S}.{:03}{}", utc, between, utc,
                     (since - second).count(), zone);
}

}  // namespace

std::chrono::sys_seconds within_system_clock(std::chrono::sys_seconds time) {
  using std::chrono::system_clock;
  constexpr auto kLast = std::chrono::floor<std::chrono::seconds>(system_clock::time_point::max());
  return std::clamp(time, std::chrono::sys_seconds(), kLast);
}

std::string format_time(std::chrono::system_clock::time_point time) {
  return format_moment(time, ' ', " UTC");
}

std::string format_iso_time(std::chrono::system_clock::time_point time) {
  return format_moment(time, 'T', "Z");
}

}  // namespace weir

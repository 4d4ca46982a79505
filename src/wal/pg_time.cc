#include "wal/pg_time.h"

#include <fmt/format.h>

#include <charconv>
#include <ctime>

namespace weir::wal {

namespace {

constexpr std::int64_t kMicroseconds = 1'000'000;

/// A number of `least` to `most` digits.
std::optional<int> take_number(std::string_view& text, std::size_t least, std::size_t most) {
  std::size_t count = 0;
  while (count < most && count < text.size() && text[count] >= '0' && text[count] <= '9') ++count;
  if (count < least) return std::nullopt;
  int value = 0;
  std::from_chars(text.data(), text.data() + count, value);
  text.remove_prefix(count);
  return value;
}

bool take_word(std::string_view& text, std::string_view word) {
  if (!text.starts_with(word)) return false;
  text.remove_prefix(word.size());
  return true;
}

/// Minutes east of Greenwich; nullopt if it is not a zone.
std::optional<int> take_zone(std::string_view& text) {
  if (take_word(text, "UTC") || take_word(text, "GMT") || take_word(text, "Z")) return 0;
  const bool east = take_word(text, "+");
  if (!east && !take_word(text, "-")) return std::nullopt;
  const auto hours = take_number(text, 1, 2);
  if (!hours || *hours > 15) return std::nullopt;
  int minutes = 0;
  if (!text.empty()) {
    take_word(text, ":");
    const auto found = take_number(text, 2, 2);
    if (!found || *found > 59) return std::nullopt;
    minutes = *found;
  }
  return (east ? 1 : -1) * (*hours * 60 + minutes);
}

}  // namespace

std::optional<PgTime> PgTime::parse(std::string_view text) {
  std::tm parts{};
  const auto year = take_number(text, 4, 4);
  if (!year || !take_word(text, "-")) return std::nullopt;
  const auto month = take_number(text, 1, 2);
  if (!month || !take_word(text, "-")) return std::nullopt;
  const auto day = take_number(text, 1, 2);
  if (!day) return std::nullopt;
  const bool day_alone = text.empty();
  if (!day_alone && !take_word(text, " ") && !take_word(text, "T")) return std::nullopt;
  const auto hour = day_alone ? std::optional(0) : take_number(text, 1, 2);
  if (!hour || (!day_alone && !take_word(text, ":"))) return std::nullopt;
  const auto minute = day_alone ? std::optional(0) : take_number(text, 2, 2);
  if (!minute) return std::nullopt;
  int second = 0;
  std::int64_t fraction = 0;
  if (take_word(text, ":")) {
    const auto found = take_number(text, 2, 2);
    if (!found) return std::nullopt;
    second = *found;
    if (take_word(text, ".")) {
      const auto before = text.size();
      const auto digits = take_number(text, 1, 6);
      if (!digits) return std::nullopt;
      fraction = *digits;
      for (auto count = before - text.size(); count < 6; ++count) fraction *= 10;
    }
  }
  if (*month < 1 || *month > 12 || *day < 1 || *day > 31 || *hour > 23 || *minute > 59 ||
      second > 59)
    return std::nullopt;
  parts.tm_year = *year - 1900;
  parts.tm_mon = *month - 1;
  parts.tm_mday = *day;
  parts.tm_hour = *hour;
  parts.tm_min = *minute;
  parts.tm_sec = second;
  parts.tm_isdst = -1;

  take_word(text, " ");
  std::time_t seconds = 0;
  if (text.empty()) {
    auto normal = parts;
    seconds = std::mktime(&normal);
    if (normal.tm_mday != *day) return std::nullopt;  // 30 February
  } else {
    const auto zone = take_zone(text);
    if (!zone || !text.empty()) return std::nullopt;
    auto normal = parts;
    seconds = ::timegm(&normal);
    if (normal.tm_mday != *day) return std::nullopt;
    seconds -= *zone * 60;
  }
  return PgTime{(std::int64_t{seconds} - kPgEpoch.count()) * kMicroseconds + fraction};
}

std::string PgTime::to_string() const {
  auto seconds = microseconds / kMicroseconds;
  auto fraction = microseconds % kMicroseconds;
  if (fraction < 0) {
    fraction += kMicroseconds;
    --seconds;
  }
  const std::time_t unix_seconds = seconds + kPgEpoch.count();
  std::tm parts{};
  if (::gmtime_r(&unix_seconds, &parts) == nullptr) return fmt::format("{} us", microseconds);
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:06} UTC", parts.tm_year + 1900,
                     parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                     fraction);
}

}  // namespace weir::wal

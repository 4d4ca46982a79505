#include "wal/segment.h"

#include <array>

namespace weir::wal {

namespace {

constexpr std::uint8_t kNoDigit = 0x80;
/// A table: an archive may have a million names to parse.
constexpr auto kDigits = [] {
  std::array<std::uint8_t, 256> digits{};
  digits.fill(kNoDigit);
  for (std::uint8_t i = 0; i < 16; ++i)
    digits[static_cast<unsigned char>("0123456789ABCDEF"[i])] = i;
  return digits;
}();

/// Eight upper-case hex digits, as PostgreSQL's %08X writes them; lower case is a different file
/// name.
std::optional<std::uint32_t> parse_word(std::string_view digits) {
  std::uint32_t value = 0;
  std::uint32_t wrong = 0;
  for (const char c : digits) {
    const auto digit = kDigits[static_cast<unsigned char>(c)];
    wrong |= digit;
    value = value << 4 | (digit & 0xF);
  }
  if ((wrong & kNoDigit) != 0) return std::nullopt;
  return value;
}

constexpr std::string_view kHistorySuffix = ".history";
/// ".lz4.partial"
constexpr std::size_t kLongestSuffix = 12;

/// The same for writing; the end. By hand: every listing of an archive creates many names.
char* write_word(std::uint32_t word, char* digit) {
  for (int shift = 28; shift >= 0; shift -= 4) *digit++ = "0123456789ABCDEF"[(word >> shift) & 0xF];
  return digit;
}

}  // namespace

/// The simulation is built with a smaller one, to keep its many runs small.
#ifndef PGWEIR_LEAST_SEGMENT_BYTES
#define PGWEIR_LEAST_SEGMENT_BYTES (std::uint64_t{1} << 20)
#endif

std::optional<SegmentSize> SegmentSize::of(std::uint64_t bytes) {
  constexpr std::uint64_t kMin = PGWEIR_LEAST_SEGMENT_BYTES;
  constexpr std::uint64_t kMax = std::uint64_t{1} << 30;
  if (bytes < kMin || bytes > kMax || (bytes & (bytes - 1)) != 0) return std::nullopt;
  return SegmentSize(bytes);
}

std::optional<SegmentName> SegmentName::parse(std::string_view text) {
  if (text.size() != 24) return std::nullopt;
  const auto timeline = parse_word(text.substr(0, 8));
  const auto log = parse_word(text.substr(8, 8));
  const auto seg = parse_word(text.substr(16, 8));
  if (!timeline || *timeline == 0 || !log || !seg) return std::nullopt;
  return SegmentName(*timeline, *log, *seg);
}

std::string SegmentName::to_string() const {
  std::array<char, 24> digits;
  auto* digit = digits.data();
  for (const auto word : {timeline_, log_, seg_}) digit = write_word(word, digit);
  std::string text;
  text.reserve(digits.size() + kLongestSuffix);  // a file's name is made of it without another one
  text.assign(digits.data(), digits.size());
  return text;
}

std::string history_name(TimelineId timeline) {
  std::string text(8 + kHistorySuffix.size(), '0');
  kHistorySuffix.copy(write_word(timeline, text.data()), kHistorySuffix.size());
  return text;
}

std::optional<TimelineId> parse_history_name(std::string_view text) {
  if (text.size() != 8 + kHistorySuffix.size() || !text.ends_with(kHistorySuffix))
    return std::nullopt;
  const auto timeline = parse_word(text.substr(0, 8));
  if (!timeline || *timeline == 0) return std::nullopt;
  return timeline;
}

}  // namespace weir::wal

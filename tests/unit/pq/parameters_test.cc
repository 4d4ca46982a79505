#include "pq/parameters.h"

#include <gtest/gtest.h>

namespace weir::pq::parameters_test {
namespace {

using std::chrono::milliseconds;

TEST(ParseGucTime, ReadsWhatShowPrints) {
  const struct {
    const char* text;
    const char* base_unit;
    std::optional<milliseconds> time;
  } cases[] = {
      {"0", "ms", milliseconds(0)},
      {"1min", "ms", milliseconds(60'000)},
      {"2min", "s", milliseconds(120'000)},
      {"500ms", "ms", milliseconds(500)},
      {"30s", "ms", milliseconds(30'000)},
      {"1h", "ms", milliseconds(3'600'000)},
      {"1d", "ms", milliseconds(86'400'000)},
      {"1500", "ms", milliseconds(1500)},
      {"15", "s", milliseconds(15'000)},
      {"15", "min", milliseconds(900'000)},
      {"1us", "ms", milliseconds(1)},
      {"2000us", "ms", milliseconds(2)},
      {"2001us", "ms", milliseconds(3)},
      {"2147483647", "ms", milliseconds(2147483647)},
      {"", "ms", std::nullopt},
      {"-1", "ms", std::nullopt},
      {"+1", "ms", std::nullopt},
      {"min", "ms", std::nullopt},
      {"1 min", "ms", std::nullopt},
      {"1.5h", "ms", std::nullopt},
      {"1MIN", "ms", std::nullopt},
      {"1week", "ms", std::nullopt},
      {"1", "", std::nullopt},
      {"18446744073709551615d", "ms", std::nullopt},
      {"18446744073709551616", "ms", std::nullopt},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.text);
    EXPECT_EQ(parse_guc_time(each.text, each.base_unit), each.time);
  }
}

TEST(ParseSegmentSize, ReadsWhatShowPrints) {
  const struct {
    const char* text;
    std::uint64_t bytes;  // 0: refused
  } cases[] = {
      {"16MB", 16 << 20},
      {"1MB", 1 << 20},
      {"1GB", 1 << 30},
      {"1024kB", 1 << 20},
      {"1048576", 1 << 20},
      {"1048576B", 1 << 20},
      {"2GB", 0},
      {"512kB", 0},
      {"3MB", 0},
      {"", 0},
      {"MB", 0},
      {"16 MB", 0},
      {"16mb", 0},
      {"-16MB", 0},
      {"17179869184GB", 0},
      {"18446744073709551616", 0},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.text);
    const auto size = parse_segment_size(each.text);
    EXPECT_EQ(size ? size->bytes() : 0, each.bytes);
  }
}

}  // namespace
}  // namespace weir::pq::parameters_test

#include "wal/pg_time.h"

#include <gtest/gtest.h>

namespace weir::wal::pg_time_test {
namespace {

TEST(PgTime, ReadsTimesWithAZone) {
  struct Case {
    const char* text;
    std::optional<const char*> as;
  };
  const Case cases[] = {
      {"2000-01-01 00:00 UTC", "2000-01-01 00:00:00.000000 UTC"},
      {"2026-11-20 03:14:15.926535+00", "2026-11-20 03:14:15.926535 UTC"},
      {"2026-11-20T03:14:15Z", "2026-11-20 03:14:15.000000 UTC"},
      {"2026-11-20 03:14:15.9 +02:00", "2026-11-20 01:14:15.900000 UTC"},
      {"2026-11-20 03:14-0330", "2026-11-20 06:44:00.000000 UTC"},
      {"1999-12-31 23:59:59.5 UTC", "1999-12-31 23:59:59.500000 UTC"},
      {"2024-02-29 00:00:00Z", "2024-02-29 00:00:00.000000 UTC"},
      {"2023-02-29 00:00:00Z", std::nullopt},
      {"2026-13-01 00:00Z", std::nullopt},
      {"2026-11-20 24:00Z", std::nullopt},
      {"2026-11-", std::nullopt},
      {"2026-11-20 ", std::nullopt},
      {"2026-11-20Z", std::nullopt},
      {"2026-11-20 03:14:15.1234567Z", std::nullopt},
      {"2026-11-20 03:14 CET", std::nullopt},
      {"2026-11-20 03:14+99", std::nullopt},
      {"tomorrow", std::nullopt},
      {"", std::nullopt},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.text);
    const auto time = PgTime::parse(test.text);
    ASSERT_EQ(time.has_value(), test.as.has_value());
    if (!time) continue;
    EXPECT_EQ(time->to_string(), *test.as);
    EXPECT_EQ(PgTime::parse(time->to_string()), time);
  }
}

TEST(PgTime, TakesADayForItsBeginning) {
  EXPECT_EQ(PgTime::parse("2026-11-20"), PgTime::parse("2026-11-20 00:00:00"));
}

TEST(PgTime, CountsFromTheYear2000) {
  using namespace std::chrono;
  const sys_time<microseconds> moment = sys_days(year(2026) / 11 / 20) + 3h + 14min + 15'926'535us;
  const auto time = PgTime::of(moment);
  EXPECT_EQ(time, PgTime::parse("2026-11-20 03:14:15.926535 UTC"));
  EXPECT_EQ(time.system_time(), system_clock::time_point(moment));
  EXPECT_EQ(PgTime::of(sys_days(year(2000) / 1 / 1)).microseconds, 0);
  EXPECT_EQ(PgTime{-1}.to_string(), "1999-12-31 23:59:59.999999 UTC");
}

}  // namespace
}  // namespace weir::wal::pg_time_test

#include "cli/runtime/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/logger.h"

namespace weir::cli::progress_test {
namespace {

using ::testing::HasSubstr;
using namespace std::chrono_literals;
using receive::StreamSnapshot;
using receive::Time;

constexpr std::uint64_t kMB = 1024 * 1024;
constexpr wal::Lsn kStart{0x5000000};

StreamSnapshot snapshot(std::uint64_t written, std::uint64_t server, std::chrono::seconds clock) {
  StreamSnapshot one;
  one.timeline = 1;
  one.start = kStart;
  one.write = one.flush = kStart + written;
  one.server_end = kStart + server;
  one.server_clock = std::chrono::microseconds(clock).count();
  return one;
}

TEST(ProgressMeter, MeasuresTheRateOverItsWindow) {
  ProgressMeter meter(5s);
  EXPECT_FALSE(meter.add(snapshot(0, 0, 0s), Time(0s)).bytes_per_second);
  EXPECT_DOUBLE_EQ(*meter.add(snapshot(10, 10, 1s), Time(1s)).bytes_per_second, 10);
  EXPECT_DOUBLE_EQ(*meter.add(snapshot(10, 10, 4s), Time(4s)).bytes_per_second, 2.5);
  for (int i = 5; i <= 10; ++i)
    static_cast<void>(meter.add(snapshot(10, 10, std::chrono::seconds(i)), Time(1s * i)));
  EXPECT_DOUBLE_EQ(*meter.add(snapshot(10, 10, 11s), Time(11s)).bytes_per_second, 0);
}

TEST(ProgressMeter, BeginsAnewWithAnotherStream) {
  ProgressMeter meter(5s);
  static_cast<void>(meter.add(snapshot(100, 100, 0s), Time(0s)));
  auto back = snapshot(10, 100, 1s);
  EXPECT_FALSE(meter.add(back, Time(1s)).bytes_per_second);
  back.timeline = 2;
  back.write = kStart + 50;
  EXPECT_FALSE(meter.add(back, Time(2s)).bytes_per_second);
}

TEST(ProgressMeter, KnowsTheAgeOfWhatIsMissing) {
  ProgressMeter meter(5s);
  EXPECT_EQ(meter.add(snapshot(100, 100, 10s), Time(0s)).behind_time, 0ms);
  EXPECT_EQ(meter.add(snapshot(100, 200, 11s), Time(1s)).behind_time, 0ms);
  EXPECT_EQ(meter.add(snapshot(100, 300, 14s), Time(4s)).behind_time, 3000ms);
  EXPECT_EQ(meter.add(snapshot(250, 300, 15s), Time(5s)).behind_time, 1000ms);
  EXPECT_EQ(meter.add(snapshot(300, 300, 16s), Time(6s)).behind_time, 0ms);
}

TEST(ProgressMeter, DoesNotGuessTheAgeOfWhatWasThereBeforeIt) {
  ProgressMeter meter(5s);
  EXPECT_EQ(meter.add(snapshot(0, 100, 10s), Time(0s)).behind_time, std::nullopt);
  EXPECT_EQ(meter.add(snapshot(50, 200, 12s), Time(2s)).behind_time, std::nullopt);
  EXPECT_EQ(meter.add(snapshot(150, 200, 13s), Time(3s)).behind_time, 1000ms);
}

/// After a long outage it may take hours: meanwhile it must not look as if nothing were old.
TEST(ProgressMeter, KnowsAtLeastHowOldIsWhatWasThereBeforeIt) {
  ProgressMeter meter(5s);
  const auto at_least = [&](std::uint64_t written, std::uint64_t server,
                            std::chrono::seconds clock) {
    const auto progress = meter.add(snapshot(written, server, clock), Time(clock));
    EXPECT_TRUE(!progress.behind_time || !progress.behind_at_least);
    return progress.behind_at_least;
  };
  // Before the first message, the end is known from IDENTIFY_SYSTEM, and no clock.
  EXPECT_EQ(at_least(0, 100, 0s), 0ms);
  EXPECT_EQ(at_least(0, 100, 1000s), 0ms);
  EXPECT_EQ(at_least(20, 300, 1360s), 360'000ms);
  EXPECT_EQ(at_least(100, 300, 1361s), std::nullopt);
}

/// At a segment's first byte, a reconnect looks like the same stream.
TEST(ProgressMeter, DoesNotCountAnAgeFromTheYear2000AfterAReconnect) {
  ProgressMeter meter(5s);
  EXPECT_EQ(meter.add(snapshot(0, 0, 1000s), Time(1000s)).behind_time, 0ms);
  static_cast<void>(meter.add(snapshot(0, 100, 0s), Time(1010s)));
  EXPECT_EQ(meter.add(snapshot(0, 100, 1020s), Time(1020s)).behind_time, 0ms);
  EXPECT_EQ(meter.add(snapshot(0, 100, 1025s), Time(1025s)).behind_time, 5000ms);
}

TEST(ProgressMeter, KeepsTheAgeThroughALongLag) {
  ProgressMeter meter(5s);
  static_cast<void>(meter.add(snapshot(100, 100, 0s), Time(0s)));
  Progress last;
  for (int i = 1; i <= 1000; ++i)
    last = meter.add(snapshot(100, 100 + static_cast<std::uint64_t>(i), 1s * i), Time(1s * i));
  ASSERT_TRUE(last.behind_time);
  EXPECT_GT(*last.behind_time, 900s);
  EXPECT_LE(*last.behind_time, 999s);
}

TEST(ProgressMeter, EstimatesFromHowFastTheDistanceShrinks) {
  ProgressMeter meter(5s);
  static_cast<void>(meter.add(snapshot(0, 100 * kMB, 0s), Time(0s)));
  const auto progress = meter.add(snapshot(20 * kMB, 110 * kMB, 1s), Time(1s));
  ASSERT_TRUE(progress.fraction);
  EXPECT_DOUBLE_EQ(*progress.fraction, 20.0 / 110.0);
  EXPECT_EQ(progress.left, 9000ms);  // 90 MB at 20 - 10 MB/s
}

TEST(ProgressMeter, SeesNoEndWhereTheServerIsFaster) {
  ProgressMeter meter(5s);
  static_cast<void>(meter.add(snapshot(0, 100 * kMB, 0s), Time(0s)));
  const auto early = meter.add(snapshot(kMB, 110 * kMB, 1s), Time(1s));
  EXPECT_EQ(early.left, std::nullopt);
  EXPECT_FALSE(early.losing) << "one second says little";
  const auto later = meter.add(snapshot(3 * kMB, 130 * kMB, 3s), Time(3s));
  EXPECT_EQ(later.left, std::nullopt);
  EXPECT_TRUE(later.losing);
}

TEST(ProgressMeter, DoesNotTakeWhatTheServerHadForWhatItWrites) {
  // The end the server named at first is a little old when the first WAL comes.
  ProgressMeter meter(5s);
  static_cast<void>(meter.add(snapshot(0, 700 * kMB, 0s), Time(0s)));
  const auto progress = meter.add(snapshot(100 * kMB, 700 * kMB + 8192, 1s), Time(1s));
  EXPECT_TRUE(progress.left);
  EXPECT_FALSE(progress.losing);
}

Progress caught_up() {
  Progress progress;
  progress.timeline = 1;
  progress.write = wal::Lsn(0x5A3C1F8);
  progress.bytes_per_second = 12.5 * kMB;
  progress.behind_time = 0ms;
  return progress;
}

Progress catching_up() {
  auto progress = caught_up();
  progress.behind = 512 * kMB;
  progress.behind_time = std::nullopt;
  progress.fraction = 0.547;
  progress.left = 12s;
  return progress;
}

TEST(LiveLine, SaysWhatMattersInTheColumnsThereAre) {
  auto a_little_behind = caught_up();
  a_little_behind.behind = 8192;
  a_little_behind.behind_time = 250ms;
  auto losing = catching_up();
  losing.left = std::nullopt;
  losing.losing = true;
  auto unknown = losing;
  unknown.losing = false;
  auto fresh = unknown;
  fresh.bytes_per_second = std::nullopt;

  struct Case {
    const char* name;
    Progress progress;
    int width;
    const char* line;
  };
  const Case cases[] = {
      {"caught up", caught_up(), 80, "0/5A3C1F8  timeline 1  12.5 MB/s  caught up"},
      {"a little behind", a_little_behind, 80,
       "0/5A3C1F8  timeline 1  12.5 MB/s  8 kB behind  250 ms"},
      {"catching up", catching_up(), 100,
       "0/5A3C1F8  timeline 1  12.5 MB/s  512 MB behind  54%  12.0 s left  "
       "[################..............]"},
      {"a smaller bar", catching_up(), 80,
       "0/5A3C1F8  timeline 1  12.5 MB/s  512 MB behind  54%  12.0 s left  [#####.....]"},
      {"no room for the bar", catching_up(), 77,
       "0/5A3C1F8  timeline 1  12.5 MB/s  512 MB behind  54%  12.0 s left"},
      {"narrow", catching_up(), 40, "0/5A3C1F8  512 MB behind  54%"},
      {"very narrow", catching_up(), 12, "0/5A3C1F8"},
      {"narrower than an LSN", catching_up(), 6, "0/5A3"},
      {"one column", catching_up(), 1, ""},
      {"the server is faster", losing, 70,
       "0/5A3C1F8  timeline 1  12.5 MB/s  512 MB behind  54%  not gaining"},
      {"too early to tell", unknown, 60, "0/5A3C1F8  timeline 1  12.5 MB/s  512 MB behind  54%"},
      {"no rate yet", fresh, 50, "0/5A3C1F8  timeline 1  512 MB behind  54%"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    EXPECT_EQ(live_line(each.progress, each.width), each.line);
  }
}

TEST(LiveLine, IsNeverWiderThanTheTerminal) {
  for (int width = 0; width <= 200; ++width)
    EXPECT_LE(static_cast<int>(live_line(catching_up(), width).size()), std::max(0, width - 1));
}

TEST(LogLine, SaysWhatWasReceived) {
  EXPECT_EQ(log_line(caught_up(), 600 * kMB, 60s),
            "received 600 MB in 1 min 0 s (10 MB/s), at 0/5A3C1F8 on timeline 1, caught up");
  EXPECT_THAT(log_line(catching_up(), 600 * kMB, 60s),
              HasSubstr(", 512 MB behind, caught up in about 12.0 s"));
}

TEST(LogMessage, CannotForgeLinesOrMoveTheCursor) {
  EXPECT_EQ(daemon::one_message("a\nb\r\n"), "a\n    b");
  EXPECT_EQ(daemon::one_message("a\x1b[2Jb\tc\rd"), "a\\x1b[2Jb c\\x0dd");
  EXPECT_EQ(daemon::one_message("Größe"), "Größe");
}

}  // namespace
}  // namespace weir::cli::progress_test

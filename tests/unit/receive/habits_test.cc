#include "receive/habits.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "unit/receive/recording_log.h"

namespace weir::receive::habits_test {
namespace {

using namespace std::chrono_literals;

TEST(Habits, TellWhatFailsEachTwoSecondsNotEachTimeForever) {
  const auto habits = make_habits(Options{});
  test::RecordingLog log;
  const Error in_use(ErrorKind::retry, "replication slot \"a\" is active for PID 4711");
  constexpr int kTimes = 330;
  for (int i = 0; i < kTimes; ++i) EXPECT_EQ(habits->pause_after(in_use, 2s, log), 2s);
  const auto told = std::count_if(log.lines.begin(), log.lines.end(),
                                  [](const auto& line) { return line.starts_with("warning"); });
  EXPECT_GE(told, 31 + 9);
  EXPECT_LE(told, 31 + 11);
  const Error other(ErrorKind::retry, "connection refused");
  EXPECT_EQ(habits->pause_after(other, 2s, log), 2s);
  EXPECT_TRUE(log.lines.back().starts_with("warning")) << "what is new is told at once";
}

/// pg_receivewal is not verbose, and prints this line nevertheless, without "warning: ".
TEST(Habits, TellOfTheNextAttemptAsTheStockProgram) {
  class OnlyErrors final : public Log {
   public:
    void write(LogLevel level, std::string_view message) override {
      lines.push_back(fmt::format("{} {}", "diwe"[static_cast<int>(level)], message));
    }
    [[nodiscard]] bool enabled(LogLevel level) const override { return level == LogLevel::error; }
    std::vector<std::string> lines;
  } log;
  Options options;
  options.stock_habits = true;
  const auto habits = make_habits(options);
  EXPECT_EQ(habits->pause_after(Error(ErrorKind::retry, "what happened"), 2s, log), 5s);
  EXPECT_EQ(log.lines, (std::vector<std::string>{
                           "e what happened", "i disconnected; waiting 5 seconds to try again"}));
}

TEST(Habits, WaitOutTheConflictsThatTheStockProgramHasToo) {
  Options options;
  options.stock_habits = true;
  const auto habits = make_habits(options);
  Error error(ErrorKind::conflict, "the server is a primary on an older timeline");
  EXPECT_FALSE(habits->waits_out_refusal(error));
  error.with_stock_text("starting timeline 2 is not present in the server");
  EXPECT_TRUE(habits->waits_out_refusal(error));
  EXPECT_FALSE(make_habits(Options{})->waits_out_refusal(error));
}

}  // namespace
}  // namespace weir::receive::habits_test

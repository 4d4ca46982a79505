#include "logical/habits.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace weir::logical::habits_test {
namespace {

using namespace std::chrono_literals;

/// The lines, each with the first letter of its level.
class Lines final : public Log {
 public:
  void write(LogLevel level, std::string_view message) override {
    text += fmt::format("{} {}\n", "diwe"[static_cast<int>(level)], message);
  }
  [[nodiscard]] bool enabled(LogLevel) const override { return true; }
  std::string text;
};

TEST(Habits, WaitOutWhatMayPassAndTheStockProgramNearlyEverything) {
  const struct {
    ErrorKind kind;
    bool own;
    bool stock;
  } cases[] = {
      {ErrorKind::retry, true, true},      {ErrorKind::refused, false, true},
      {ErrorKind::gap, false, true},       {ErrorKind::protocol, false, true},
      {ErrorKind::usage, false, true},     {ErrorKind::io, false, false},
      {ErrorKind::disk_full, false, true}, {ErrorKind::durability, false, false},
  };
  const auto own = own_habits(1);
  const auto stock = stock_habits();
  for (const auto& each : cases) {
    SCOPED_TRACE(to_string(each.kind));
    const Error error(each.kind, "what happened");
    EXPECT_EQ(own->waits_out(error, true), each.own);
    EXPECT_EQ(own->waits_out(error, false), each.own);
    EXPECT_EQ(stock->waits_out(error, true), each.stock);
    EXPECT_FALSE(stock->waits_out(error, false)) << "its first connection ends it";
  }
}

TEST(Habits, TellWhatIsWaitedOutInTheWordsOfEach) {
  const Error error(ErrorKind::retry, "the connection broke");
  Lines own_lines;
  const auto own = own_habits(1);
  const auto first = own->pause_after(error, own_lines);
  EXPECT_GE(first, 100ms);
  EXPECT_LE(first, 200ms);
  EXPECT_EQ(own_lines.text,
            fmt::format("w the connection broke; trying again in {} ms\n", first.count()));
  own_lines.text.clear();
  for (int attempt = 0; attempt < 330; ++attempt) {
    const auto pause = own->pause_after(error, own_lines);
    EXPECT_LE(pause, 5s) << "a server that is back is found as soon as by a standby";
    EXPECT_TRUE(attempt <= 8 || pause >= 2500ms) << pause.count();
  }
  EXPECT_EQ(std::count(own_lines.text.begin(), own_lines.text.end(), 'w'), 30 + 10);
  own_lines.text.clear();
  own->on_progress();
  const auto anew = own->pause_after(error, own_lines);
  EXPECT_LE(anew, 200ms);
  EXPECT_EQ(own_lines.text,
            fmt::format("w the connection broke; trying again in {} ms\n", anew.count()));

  Lines stock_lines;
  EXPECT_EQ(stock_habits()->pause_after(error, stock_lines), 5s);
  EXPECT_EQ(stock_lines.text,
            "e the connection broke\ni disconnected; waiting 5 seconds to try again\n");
}

TEST(Habits, HaveTheirPatienceWithAnOutput) {
  for (const auto timeout : {0ms, 100ms, 60'000ms}) {
    EXPECT_EQ(own_habits(1)->patience(timeout), 5s);
    EXPECT_EQ(stock_habits()->patience(timeout), timeout) << "the server's";
  }
}

}  // namespace
}  // namespace weir::logical::habits_test

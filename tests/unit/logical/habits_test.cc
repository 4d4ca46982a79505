#include "logical/habits.h"

#include <gtest/gtest.h>

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
      {ErrorKind::retry, true, true},       {ErrorKind::refused, false, true},
      {ErrorKind::gap, false, true},        {ErrorKind::protocol, false, true},
      {ErrorKind::usage, false, true},      {ErrorKind::io, false, false},
      {ErrorKind::disk_full, false, false}, {ErrorKind::durability, false, false},
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
  EXPECT_GE(first, 125ms);
  EXPECT_LE(first, 250ms);
  EXPECT_EQ(own_lines.text,
            fmt::format("w the connection broke; trying again in {} ms\n", first.count()));
  for (int attempt = 0; attempt < 20; ++attempt) {
    const auto pause = own->pause_after(error, own_lines);
    EXPECT_LE(pause, 15s);
    EXPECT_TRUE(attempt <= 8 || pause >= 7s) << pause.count();
  }
  own->on_message();
  EXPECT_LE(own->pause_after(error, own_lines), 250ms);

  Lines stock_lines;
  EXPECT_EQ(stock_habits()->pause_after(error, stock_lines), 5s);
  EXPECT_EQ(stock_lines.text,
            "e the connection broke\ni disconnected; waiting 5 seconds to try again\n");
}

}  // namespace
}  // namespace weir::logical::habits_test

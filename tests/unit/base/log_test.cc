#include "base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>
#include <vector>

namespace weir::log_test {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

class Recorder final : public Log {
 public:
  explicit Recorder(LogLevel least) : least_(least) {}
  void write(LogLevel level, std::string_view message) override {
    lines.emplace_back(level, message);
  }
  bool enabled(LogLevel level) const override { return level >= least_; }
  std::vector<std::pair<LogLevel, std::string>> lines;

 private:
  LogLevel least_;
};

TEST(Log, FormatsOnlyWhatIsWanted) {
  Recorder log(LogLevel::warning);
  log.debug("{}", 1);
  log.info("{}", 2);
  log.warning("{}", 3);
  log.error("{} of {}", 4, 5);
  EXPECT_THAT(log.lines,
              ElementsAre(Pair(LogLevel::warning, "3"), Pair(LogLevel::error, "4 of 5")));
}

TEST(Log, WritesTheHintOfAnErrorOnALineOfItsOwn) {
  Recorder log(LogLevel::debug);
  log.error(Error(ErrorKind::gap, "WAL {removed}").with("lsn", "0/1").hint("Use a slot."));
  EXPECT_THAT(log.lines, ElementsAre(Pair(LogLevel::error, "WAL {removed} (lsn 0/1)"),
                                     Pair(LogLevel::error, "hint: Use a slot.")));
}

TEST(Log, WritesAnErrorWithoutHintOnOneLine) {
  Recorder log(LogLevel::debug);
  log.error(Error(ErrorKind::gap, "WAL removed"));
  EXPECT_THAT(log.lines, ElementsAre(Pair(LogLevel::error, "WAL removed")));
}

}  // namespace
}  // namespace weir::log_test

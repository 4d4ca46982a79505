#include "base/failure_log.h"

#include <gtest/gtest.h>

#include "unit/receive/recording_log.h"

namespace weir::failure_log_test {
namespace {

TEST(FailureLog, ReportsWhatIsNewInFullAndAHintOnceUntilThereIsProgress) {
  test::RecordingLog log;
  FailureLog failures;
  const Error away =
      Error(ErrorKind::retry, "could not connect").with("host", "db1").hint("Is it running?");
  const Error other(ErrorKind::retry, "the server is starting");
  failures.write(away, "trying again", log);
  failures.write(away, "trying again", log);
  failures.write(other, "trying again", log);
  failures.write(away, "trying again", log);
  failures.reset();
  failures.write(away, "trying again", log);
  const std::string full = std::string("warning: ") + away.what() + "; trying again";
  const std::string hint = "warning: hint: Is it running?";
  EXPECT_EQ(log.lines, (std::vector<std::string>{
                           full, hint, "warning: could not connect, as before; trying again",
                           "warning: the server is starting; trying again", full, full, hint}));
}

}  // namespace
}  // namespace weir::failure_log_test

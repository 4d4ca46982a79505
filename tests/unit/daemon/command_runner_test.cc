#include "daemon/command_runner.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "unit/receive/recording_log.h"

namespace weir::daemon::command_runner_test {
namespace {

class CommandRunnerTest : public ::testing::Test {
 protected:
  CommandRunnerTest() {
    std::string pattern = std::filesystem::temp_directory_path() / "pgweir-test-XXXXXX";
    directory_ = ::mkdtemp(pattern.data());
  }
  ~CommandRunnerTest() override { std::filesystem::remove_all(directory_); }
  std::string path(const std::string& name) const { return directory_ / name; }
  std::string content(const std::string& name) const {
    std::ifstream file(path(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  std::filesystem::path directory_;
  test::RecordingLog log_;
};

TEST_F(CommandRunnerTest, HandsValuesOverByTheEnvironmentAsTheyAre) {
  const std::string values[] = {"plain",          "it's",     "two\nlines",
                                "$(touch pwned)", "`id`; id", "\xff\xfe bytes",
                                "a=b=c",          "",         std::string(7999, 'x')};
  ::setenv("PGWEIR_PAYLOAD", "inherited", 1);
  for (const auto& value : values) {
    SCOPED_TRACE(value);
    CommandRunner runner(1, log_);
    EXPECT_TRUE(runner.add({"printf %s \"$PGWEIR_PAYLOAD\" > \"$OUT\"",
                            {{"PGWEIR_PAYLOAD", value}, {"OUT", path("out")}},
                            "a value"}));
    EXPECT_EQ(runner.finish(), 0u);
    EXPECT_EQ(runner.failures(), 0u);
    EXPECT_EQ(content("out"), value);
  }
  ::unsetenv("PGWEIR_PAYLOAD");
}

TEST_F(CommandRunnerTest, RunsThemInOrderAndGoesOnAfterAFailure) {
  CommandRunner runner(2, log_);  // fewer than there are: adding waits
  for (int i = 0; i < 10; ++i)
    EXPECT_TRUE(runner.add({"echo $I >> \"$OUT\"; [ $I != 3 ]",
                            {{"I", std::to_string(i)}, {"OUT", path("out")}},
                            "number " + std::to_string(i)}));
  EXPECT_EQ(runner.finish(), 0u);
  EXPECT_EQ(content("out"), "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n");
  EXPECT_EQ(runner.failures(), 1u);
  EXPECT_EQ(log_.count("the command for number 3 failed: child process exited with exit code 1"),
            1);
}

TEST_F(CommandRunnerTest, EndsWithTheCommandThatRunsAndCountsTheRest) {
  CommandRunner runner(10, log_);
  runner.add({"touch \"$D/began\"; until [ -e \"$D/go\" ]; do sleep 0.01; done; touch \"$D/ended\"",
              {{"D", directory_}},
              "the first"});
  runner.add({"touch \"$D/second\"", {{"D", directory_}}, "the second"});
  runner.add({"touch \"$D/third\"", {{"D", directory_}}, "the third", false});
  while (!std::filesystem::exists(path("began"))) std::this_thread::yield();
  runner.stop();
  std::ofstream(path("go")).flush();
  EXPECT_EQ(runner.finish(), 1u);
  EXPECT_TRUE(std::filesystem::exists(path("ended")));
  EXPECT_FALSE(std::filesystem::exists(path("second")));
  EXPECT_FALSE(std::filesystem::exists(path("third")));
  EXPECT_FALSE(runner.add({"true", {}, "too late"}));
  EXPECT_FALSE(runner.add({"true", {}, "too late, and does not count", false}));
  EXPECT_EQ(runner.finish(), 2u);
}

}  // namespace
}  // namespace weir::daemon::command_runner_test

#include "store/http/secret_command.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

namespace weir::store::secret_command_test {
namespace {

using namespace std::chrono_literals;
using Cut = io::Captured::Cut;
constexpr std::uint64_t kMost = 1 << 20;

TEST(SecretCommand, GivesWhatIsPrintedAndTheStatus) {
  for (const auto& bound : {std::optional<SecretBound>(), std::optional(SecretBound{1h})}) {
    const auto output = run_for_secret("echo one; sleep 0.1; echo two; exit 3", kMost, bound);
    EXPECT_EQ(output.text.reveal(), "one\ntwo\n");
    EXPECT_EQ(output.end.to_string(), "child process exited with exit code 3");
    EXPECT_EQ(output.cut, Cut::none);
  }
}

TEST(SecretCommand, OneThatNeverEndsPrintingIsEnded) {
  EXPECT_FALSE(run_for_secret("yes", 10'000).end.success());
  EXPECT_FALSE(run_for_secret("yes", 10'000, SecretBound{1h}).end.success());
}

/// With the children that do not listen.
TEST(SecretCommand, OneThatTakesTooLongIsEndedWithAllOfItsGroup) {
  std::string place = std::filesystem::temp_directory_path() / "pgweir-secret-XXXXXX";
  ASSERT_NE(::mkdtemp(place.data()), nullptr);
  const auto output = run_for_secret("trap '' TERM; sh -c 'echo $$ >" + place +
                                         "/pid; while :; do sleep 1; done' & wait; sleep 1000",
                                     kMost, SecretBound{2s});
  EXPECT_EQ(output.cut, Cut::too_late);
  pid_t child = 0;
  std::ifstream(place + "/pid") >> child;
  ASSERT_GT(child, 0);
  // Somebody else's child by now, who reaps it.
  const auto gone = [&] {
    std::string stat;
    std::getline(std::ifstream("/proc/" + std::to_string(child) + "/stat"), stat);
    return stat.empty() || stat.find(") Z ") != std::string::npos;
  };
  while (!gone()) std::this_thread::yield();
  std::filesystem::remove_all(place);
}

TEST(SecretCommand, WhoIsToStopDoesNotWait) {
  const auto stop = [asked = 0]() mutable { return ++asked > 3; };
  EXPECT_EQ(run_for_secret("sleep 1000", kMost, SecretBound{1h, stop}).cut, Cut::stopped);
  EXPECT_EQ(run_for_secret("sleep 1000", kMost, SecretBound{1h, [] { return true; }}).cut,
            Cut::stopped);
}

}  // namespace
}  // namespace weir::store::secret_command_test

#include "receive/secrets_watch.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "base/error.h"
#include "base/log.h"

namespace weir::receive::secrets_watch_test {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

/// Written by the watch's thread, read by the test's.
class SharedLog final : public Log {
 public:
  void write(LogLevel, std::string_view message) override {
    const std::lock_guard lock(mutex_);
    text_ += std::string(message) + "\n";
  }
  bool enabled(LogLevel) const override { return true; }
  [[nodiscard]] bool has(std::string_view part) {
    const std::lock_guard lock(mutex_);
    return text_.find(part) != std::string::npos;
  }

 private:
  std::mutex mutex_;
  std::string text_;
};

class SecretsWatchTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/pgweir-secrets-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern), nullptr);
    place_ = pattern;
    write("one");
  }
  void TearDown() override { fs::remove_all(place_); }

  void write(const std::string& content) const { std::ofstream(file()) << content; }
  [[nodiscard]] fs::path file() const { return place_ / "tls.key"; }

  /// Looks without a word of the kernel's come after an hour.
  SecretsWatch::Task task() {
    return {.machine = this_machine(),
            .look = [this] { return look(); },
            .used = look(),
            .seen = [this](const auto&, const std::string&) { ++looks_; },
            .try_out = {},
            .leave = {},
            .pause = 5ms,
            .look_anyway = 1h};
  }
  [[nodiscard]] pq::SecretsLook look() const {
    pq::SecretsLook look;
    look.paths.push_back(file());
    std::ifstream(file()) >> look.content;
    return look;
  }
  static bool comes(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + 30s;
    while (!condition())
      if (std::chrono::steady_clock::now() > deadline)
        return false;
      else
        std::this_thread::sleep_for(1ms);
    return true;
  }

  fs::path place_;
  SharedLog log_;
  std::atomic<int> looks_ = 0;
};

TEST_F(SecretsWatchTest, HearsOfAFileThatIsReplacedHoweverOften) {
  const SecretsWatch watch(task(), log_);
  ASSERT_TRUE(comes([&] { return looks_ == 1; }));
  for (int i = 2; i < 6; ++i) {
    const int before = looks_;
    write("content-" + std::to_string(i));
    ASSERT_TRUE(comes([&] { return looks_ > before; })) << i;
  }
  EXPECT_TRUE(comes([&] { return log_.has("were replaced"); }));
}

TEST_F(SecretsWatchTest, MissesNothingThatChangesWhileItLooks) {
  auto task = this->task();
  std::atomic<bool> changed = false;
  task.look = [&] {
    auto look = this->look();
    if (!changed.exchange(true)) write("behind-the-look");
    return look;
  };
  const SecretsWatch watch(std::move(task), log_);
  EXPECT_TRUE(comes([&] { return log_.has("were replaced"); }));
}

TEST_F(SecretsWatchTest, LooksAgainAndAgainWhereTheKernelCannotTell) {
  auto task = this->task();
  task.used.paths = {(file() / "below-a-file").string()};
  const SecretsWatch watch(std::move(task), log_);
  EXPECT_TRUE(comes([&] { return looks_ > 3; }));
}

TEST_F(SecretsWatchTest, LooksAfterAWhileThoughTheKernelSaysNothing) {
  auto task = this->task();
  task.look_anyway = 5ms;
  const SecretsWatch watch(std::move(task), log_);
  EXPECT_TRUE(comes([&] { return looks_ > 3; }));
}

TEST_F(SecretsWatchTest, EndsWhileTheFilesFileSystemHangs) {
  struct World {
    std::atomic<bool> looks = false;
    std::promise<void> answers;
    std::shared_future<void> answered = answers.get_future().share();
  };
  const auto world = std::make_shared<World>();
  auto task = this->task();
  task.look = [world] {
    world->looks = true;
    world->answered.wait();
    return pq::SecretsLook();
  };
  const auto done = std::async(std::launch::async, [&] {
    const SecretsWatch watch(task, log_);
    EXPECT_TRUE(comes([&] { return world->looks.load(); }));
  });
  EXPECT_EQ(done.wait_for(30s), std::future_status::ready);
  world->answers.set_value();
}

TEST_F(SecretsWatchTest, TriesWhatIsNewUntilItConnectsThenLeaves) {
  auto task = this->task();
  std::atomic<int> tries = 0;
  std::atomic<bool> left = false;
  task.try_out = [&](const net::Wake&) { ++tries; };
  task.leave = [&] { left = true; };
  const SecretsWatch watch(std::move(task), log_);
  ASSERT_TRUE(comes([&] { return looks_ > 0; }));
  EXPECT_EQ(tries, 0);
  write("two");
  EXPECT_TRUE(comes([&] { return left.load(); }));
  EXPECT_EQ(tries, 1);
}

TEST_F(SecretsWatchTest, GoesOnLookingWhileWhatIsNewDoesNotConnect) {
  auto task = this->task();
  task.try_out = [&](const net::Wake&) { throw Error(ErrorKind::retry, "not yet"); };
  task.leave = [] { FAIL() << "nothing connects"; };
  const SecretsWatch watch(std::move(task), log_);
  write("two");
  ASSERT_TRUE(comes([&] { return log_.has("not yet"); }));
  const int before = looks_;
  EXPECT_TRUE(comes([&] { return looks_ > before + 2; })) << "it tries again, and so looks again";
}

}  // namespace
}  // namespace weir::receive::secrets_watch_test

#include "io/bounded_shelf.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>
#include <vector>

#include "base/error.h"
#include "support/bytes.h"
#include "support/error_of.h"
#include "support/sim_disk.h"

namespace weir::io::bounded_shelf_test {
namespace {

using namespace std::chrono_literals;

/// A disk of which each call waits while it hangs.
class HangingDisk {
 public:
  HangingDisk() {
    disk.set_hook([this](const sim::SimDisk::Call&) {
      std::unique_lock lock(mutex_);
      ++calls_;
      changed_.notify_all();
      changed_.wait(lock, [&] { return !hangs_; });
      return sim::SimDisk::Effect::proceed();
    });
  }
  void hang(bool hangs) {
    const std::lock_guard lock(mutex_);
    hangs_ = hangs;
    changed_.notify_all();
  }
  void wait_for_calls(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return calls_ >= count; });
  }
  int calls() {
    const std::lock_guard lock(mutex_);
    return calls_;
  }

  sim::SimDisk disk;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool hangs_ = false;
  int calls_ = 0;
};

/// Whatever `call` gives when it comes back in time: a machine at work is no disk that hangs.
template <typename Call>
auto patiently(Call call) {
  for (;;) {
    try {
      return call();
    } catch (const Error& error) {
      if (error.system_code() != ETIMEDOUT) throw;
    }
  }
}

/// Long enough that a machine at work is never taken for a disk that hangs.
constexpr auto kLong = 60s;

TEST(BoundedShelf, GivesWhatTheShelfBehindItHas) {
  HangingDisk hanging;
  hanging.disk.put("one", test::as_bytes("content"));
  int opened = 0;
  BoundedShelf shelf(
      "/somewhere",
      [&] {
        ++opened;
        return hanging.disk.open();
      },
      kLong);
  EXPECT_EQ(opened, 0) << "nobody has asked for anything";
  EXPECT_EQ(shelf.path(), "/somewhere");
  ASSERT_TRUE(shelf.find("one"));
  EXPECT_EQ(shelf.find("one")->size, 7u);
  EXPECT_FALSE(shelf.find("two"));
  EXPECT_EQ(shelf.list().size(), 1u);
  EXPECT_EQ(shelf.names().size(), 1u);
  EXPECT_EQ(shelf.open_bytes("two"), nullptr);
  const auto bytes = shelf.open_bytes("one");
  ASSERT_TRUE(bytes);
  EXPECT_EQ(bytes->size(), 7u);
  std::vector<std::byte> read(10);
  ASSERT_EQ(bytes->read_at(3, read), 4u);
  EXPECT_TRUE(std::equal(read.begin(), read.begin() + 4, test::as_bytes("tent").begin()));
  EXPECT_EQ(identity_of(shelf, "one"), identity_of(*hanging.disk.open(), "one"));
  EXPECT_EQ(opened, 1);
}

TEST(BoundedShelf, ThrowsWhatTheShelfThrowsAndOpensItAgainIfItCouldNot) {
  HangingDisk hanging;
  hanging.disk.put("one", test::as_bytes("content"));
  int tries = 0;
  BoundedShelf shelf(
      "/somewhere",
      [&]() -> std::unique_ptr<Shelf> {
        if (++tries == 1) throw system_error(EACCES, "could not open");
        return hanging.disk.open();
      },
      kLong);
  const auto refused = test::error_of([&] { static_cast<void>(shelf.find("one")); });
  EXPECT_EQ(refused.system_code(), EACCES);
  EXPECT_TRUE(shelf.find("one"));
  hanging.disk.fail_every(sim::SimDisk::Operation::find, EIO);
  EXPECT_EQ(test::error_of([&] { static_cast<void>(shelf.find("one")); }).system_code(), EIO);
}

TEST(BoundedShelf, DoesNotWaitForACallThatHangsAndIsBackWhenThatIs) {
  HangingDisk hanging;
  hanging.disk.put("one", test::as_bytes("content"));
  BoundedShelf shelf(
      "/somewhere", [&] { return hanging.disk.open(); }, 50ms);
  const auto bytes = patiently([&] { return shelf.open_bytes("one"); });
  hanging.hang(true);
  const auto told = test::error_of([&] { static_cast<void>(shelf.find("one")); });
  EXPECT_EQ(told.kind(), ErrorKind::io);
  EXPECT_EQ(told.system_code(), ETIMEDOUT);
  EXPECT_NE(std::string(told.what()).find("/somewhere"), std::string::npos);

  // The others do not even ask.
  const int calls = hanging.calls();
  std::vector<std::byte> read(7);
  EXPECT_EQ(test::error_of([&] { static_cast<void>(bytes->read_at(0, read)); }).system_code(),
            ETIMEDOUT);
  EXPECT_EQ(test::error_of([&] { static_cast<void>(shelf.names()); }).system_code(), ETIMEDOUT);
  EXPECT_EQ(hanging.calls(), calls);

  hanging.hang(false);
  // The call that hung comes back in its own time.
  EXPECT_TRUE(patiently([&] { return shelf.find("one"); }));
  EXPECT_EQ(patiently([&] { return bytes->read_at(0, read); }), 7u);
}

TEST(BoundedShelf, StopsWaitingWhenItIsAskedTo) {
  // The thread that waits in the call outlives the shelf, and perhaps this test.
  const auto hanging = std::make_shared<HangingDisk>();
  hanging->hang(true);
  {
    std::atomic<bool> stop = false;
    BoundedShelf shelf(
        "/somewhere", [hanging] { return hanging->disk.open(); }, std::chrono::hours(1),
        [&] { return stop.load(); });
    const auto asked = std::async(std::launch::async, [&] {
      hanging->wait_for_calls(1);
      stop = true;
    });
    const auto error = test::error_of([&] { static_cast<void>(shelf.names()); });
    EXPECT_EQ(error.kind(), ErrorKind::retry);
    EXPECT_EQ(test::error_of([&] { static_cast<void>(shelf.names()); }).system_code(), ETIMEDOUT);
  }
  hanging->hang(false);
}

TEST(BoundedShelf, LeavesAReadingThatHangsToItself) {
  const auto hanging = std::make_shared<HangingDisk>();
  hanging->disk.put("one", test::as_bytes("content"));
  {
    BoundedShelf shelf(
        "/somewhere", [hanging] { return hanging->disk.open(); }, 50ms);
    auto bytes = patiently([&] { return shelf.open_bytes("one"); });
    hanging->hang(true);
    const int calls = hanging->calls();
    auto read = std::make_unique<std::vector<std::byte>>(7);
    EXPECT_EQ(test::error_of([&] { static_cast<void>(bytes->read_at(0, *read)); }).system_code(),
              ETIMEDOUT);
    hanging->wait_for_calls(calls + 1);
    read.reset();  // what comes back late must not be written there
    bytes.reset();
  }
  hanging->hang(false);
}

}  // namespace
}  // namespace weir::io::bounded_shelf_test

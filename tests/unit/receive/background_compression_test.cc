#include "receive/background_compression.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <set>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "support/archive_builder.h"

namespace weir::receive::background_compression_test {
namespace {

using namespace std::chrono_literals;
using codec::Method;
using testing::WalBuilder;
using verify::ArchiveBuilder;
using verify::kSize;

class SharedLog final : public Log {
 public:
  void write(LogLevel, std::string_view message) override {
    const std::lock_guard lock(mutex_);
    text_ += std::string(message) + "\n";
  }
  bool enabled(LogLevel) const override { return true; }
  std::string text() const {
    const std::lock_guard lock(mutex_);
    return text_;
  }

 private:
  mutable std::mutex mutex_;
  std::string text_;
};

/// Those of the machine, counted, and no more than there may be.
class CountedThreads final : public Threads {
 public:
  std::unique_ptr<Mutex> make_mutex() override { return machine_threads().make_mutex(); }
  std::unique_ptr<Condition> make_condition() override {
    return machine_threads().make_condition();
  }
  std::unique_ptr<Thread> start(std::string_view name, std::function<void()> body,
                                Priority priority) override {
    if (started == limit)
      throw std::system_error(std::make_error_code(std::errc::not_enough_memory));
    ++started;
    EXPECT_EQ(priority, Priority::low);
    return machine_threads().start(name, std::move(body), priority);
  }
  void yield() override { machine_threads().yield(); }
  Time now() override { return machine_threads().now(); }

  int limit = 100;
  int started = 0;
};

/// Raw segments 1 to 6. Whoever begins to read one waits at the gate.
class BackgroundCompressionTest : public ::testing::Test {
 protected:
  BackgroundCompressionTest() {
    archive.segments(wal, 1, 7);
    disk.set_hook([this](const sim::SimDisk::Call& call) {
      if (call.operation == sim::SimDisk::Operation::read && call.name.size() == 24)
        pass_gate(call.name);
      return sim::SimDisk::Effect::proceed();
    });
  }

  void pass_gate(const std::string& name) {
    std::unique_lock lock(mutex_);
    begun_.insert(name);
    changed_.notify_all();
    changed_.wait(lock, [&] { return open_ || passes_.contains(name); });
  }
  void open_gate() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void let_pass(std::uint64_t segno) {
    const std::lock_guard lock(mutex_);
    passes_.insert(name(segno));
    changed_.notify_all();
  }
  /// What is being compressed, as soon as it is these.
  bool comes_to_begin(const std::set<std::uint64_t>& segments) {
    std::set<std::string> names;
    for (const auto segno : segments) names.insert(name(segno));
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 60s, [&] { return begun_ == names; });
  }

  std::string name(std::uint64_t segno, Method method = Method::none) const {
    return ArchiveBuilder::name(wal, segno, method);
  }
  static wal::SegmentName segment(std::uint64_t segno) { return {1, segno, kSize}; }
  bool compressed(std::uint64_t segno) const {
    return disk.exists(name(segno, Method::zstd)) && !disk.exists(name(segno));
  }
  std::unique_ptr<BackgroundCompression> start(unsigned most) {
    return std::make_unique<BackgroundCompression>(
        *directory,
        BackgroundCompression::Options{
            .compression = {Method::zstd, 1}, .segment_size = kSize, .most_threads = most},
        threads, log, feed, board, [this](const Error& error) { log.error(error); });
  }
  std::size_t waiting() const { return board.read().to_compress; }

  WalBuilder wal{WalBuilder::Options{}};
  ArchiveBuilder archive;
  sim::SimDisk& disk = archive.disk;
  std::unique_ptr<io::Directory> directory = disk.open();
  CountedThreads threads;
  SharedLog log;
  Feed feed;
  StatusBoard board;
  net::Wake no_stop;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<std::string> begun_;
  std::set<std::string> passes_;
  bool open_ = false;
};

TEST_F(BackgroundCompressionTest, CompressesAsManyAtOnceAsItMayTheOldestFirst) {
  const auto compression = start(3);
  compression->add({segment(1), segment(2), segment(3), segment(4), segment(5)});
  ASSERT_TRUE(comes_to_begin({1, 2, 3}));
  EXPECT_EQ(waiting(), 5u);
  let_pass(2);
  ASSERT_TRUE(comes_to_begin({1, 2, 3, 4}));
  EXPECT_EQ(waiting(), 4u);
  EXPECT_TRUE(compressed(2));
  open_gate();
  compression->drain(no_stop, 0s);
  for (std::uint64_t segno = 1; segno < 6; ++segno) EXPECT_TRUE(compressed(segno)) << segno;
  EXPECT_EQ(waiting(), 0u);
  EXPECT_EQ(threads.started, 3);
}

TEST_F(BackgroundCompressionTest, HasOneThreadAsLongAsThatKeepsUp) {
  open_gate();
  const auto compression = start(4);
  for (std::uint64_t segno = 1; segno < 6; ++segno) {
    compression->add({segment(segno)});
    compression->drain(no_stop, 0s);
    EXPECT_TRUE(compressed(segno)) << segno;
  }
  EXPECT_EQ(threads.started, 1);
}

TEST_F(BackgroundCompressionTest, MakesDoWithTheThreadsThatAreToBeHad) {
  open_gate();
  threads.limit = 1;
  const auto compression = start(4);
  compression->add({segment(1), segment(2), segment(3)});
  compression->drain(no_stop, 0s);
  for (std::uint64_t segno = 1; segno < 4; ++segno) EXPECT_TRUE(compressed(segno)) << segno;
  EXPECT_NE(log.text().find("could not start a thread"), std::string::npos) << log.text();
}

TEST_F(BackgroundCompressionTest, LeavesRawWhatIsUnderWayAtItsEnd) {
  auto compression = start(2);
  compression->add({segment(1), segment(2), segment(3)});
  ASSERT_TRUE(comes_to_begin({1, 2}));
  let_pass(1);
  ASSERT_TRUE(comes_to_begin({1, 2, 3}));
  net::Wake stop;
  stop.raise();
  compression->drain(stop, 0s);
  std::thread opener([&] { open_gate(); });
  compression.reset();
  opener.join();
  EXPECT_TRUE(compressed(1));
  for (std::uint64_t segno = 2; segno < 4; ++segno) {
    if (compressed(segno)) continue;  // it was done before the end was asked for
    EXPECT_TRUE(std::ranges::equal(disk.content(name(segno)), ArchiveBuilder::content(wal, segno)))
        << segno;
  }
}

/// One waits for space, another one works: who stops waits for the latter alone.
TEST_F(BackgroundCompressionTest, IsWaitedForAtAStopAsLongAsAnyOfItWorks) {
  std::atomic<bool> full = true;
  disk.set_hook([&](const sim::SimDisk::Call& call) {
    if (call.operation == sim::SimDisk::Operation::read && call.name == name(1)) pass_gate(name(1));
    const bool of_second = call.name.find(name(2)) != std::string::npos;
    if (full && of_second && call.operation == sim::SimDisk::Operation::write)
      return sim::SimDisk::Effect::fail(ENOSPC);
    return sim::SimDisk::Effect::proceed();
  });
  const auto compression = start(2);
  compression->add({segment(1), segment(2)});
  ASSERT_TRUE(comes_to_begin({1}));
  net::Wake stop;
  stop.raise();
  std::thread opener([&] {
    while (log.text().find("no space to compress") == std::string::npos) std::this_thread::yield();
    open_gate();
  });
  compression->drain(stop, 60s);
  opener.join();
  EXPECT_TRUE(compressed(1));
  EXPECT_TRUE(disk.exists(name(2)));
}

}  // namespace
}  // namespace weir::receive::background_compression_test

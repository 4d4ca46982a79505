#include "receive/compare_feed.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "archive/listing.h"
#include "base/error.h"
#include "support/archive_builder.h"
#include "support/backup_builder.h"
#include "unit/receive/other_server.h"
#include "wal/page.h"

namespace weir::receive::compare_feed_test {
namespace {

using namespace std::chrono_literals;
using test::Other;
using test::OtherServers;
using testing::WalBuilder;
using verify::ArchiveBuilder;
using verify::kSize;
using wal::Lsn;

Lsn segment(double number) {
  return Lsn(static_cast<std::uint64_t>(number * static_cast<double>(kSize.bytes())));
}

/// The machine's, with a clock that is faster, so that a pause of a second is over soon.
class QuickThreads final : public Threads {
 public:
  class QuickCondition final : public Condition {
   public:
    explicit QuickCondition(const QuickThreads& owner) : owner_(owner) {}
    void notify_one() override { inner_->notify_one(); }
    void notify_all() override { inner_->notify_all(); }
    void wait(Lock& lock) override { inner_->wait(lock); }
    void wait_until(Lock& lock, Time time) override {
      inner_->wait_until(lock, owner_.begin_ + (time - owner_.begin_) / kTimes);
    }

   private:
    const QuickThreads& owner_;
    std::unique_ptr<Condition> inner_ = machine_threads().make_condition();
  };

  std::unique_ptr<Mutex> make_mutex() override { return machine_threads().make_mutex(); }
  std::unique_ptr<Condition> make_condition() override {
    return std::make_unique<QuickCondition>(*this);
  }
  std::unique_ptr<Thread> start(std::string_view name, std::function<void()> body,
                                Priority priority) override {
    return machine_threads().start(name, std::move(body), priority);
  }
  void yield() override {}
  Time now() override { return begin_ + (machine_threads().now() - begin_) * kTimes; }

 private:
  static constexpr int kTimes = 100;
  const Time begin_ = machine_threads().now();
};

class QuickMachine final : public Machine {
 public:
  Threads& threads() override { return own_; }
  std::chrono::system_clock::time_point wall_clock() override { return {}; }
  std::unique_ptr<WakeUp> make_wake_up() override { return nullptr; }
  void poll(std::span<pollfd>, std::optional<Time>) override {}
  std::optional<io::MemoryLimit> memory_limit() override { return std::nullopt; }
  unsigned processors() override { return 1; }
  std::chrono::nanoseconds run_delay() override { return {}; }
  void release_memory() override {}

 private:
  QuickThreads own_;
};

class LockedLog final : public Log {
 public:
  void write(LogLevel, std::string_view message) override {
    const std::lock_guard lock(mutex_);
    text_ += std::string(message) + "\n";
  }
  bool enabled(LogLevel) const override { return true; }
  bool has(std::string_view text) const {
    const std::lock_guard lock(mutex_);
    return text_.find(text) != std::string::npos;
  }

 private:
  mutable std::mutex mutex_;
  std::string text_;
};

class CompareFeedTest : public ::testing::Test {
 protected:
  CompareFeedTest() {
    wal_.grow_to(segment(9));
    other_.begin = other_.oldest = wal_.start();
    other_.identity = {WalBuilder::Options().system_identifier, 1, segment(9)};
    has(wal_);
  }

  void has(WalBuilder& wal) {
    const auto bytes = wal.bytes(other_.begin, segment(9));
    other_.wal.assign(bytes.begin(), bytes.end());
  }
  void archive(WalBuilder& wal, std::uint64_t first, std::uint64_t behind) {
    for (auto segno = first; segno < behind; ++segno) {
      const auto content = ArchiveBuilder::content(wal, segno);
      place_.write(ArchiveBuilder::name(wal, segno),
                   {reinterpret_cast<const char*>(content.data()), content.size()});
    }
  }
  void streams(wal::TimelineId timeline, Lsn start, Lsn durable) {
    feed_.publish(event::Streaming{timeline, start});
    durable_up_to(timeline, durable);
  }
  void durable_up_to(wal::TimelineId timeline, Lsn end) {
    feed_.publish(event::DurableEnd{timeline, end});
  }
  void compare() {
    compare_ = std::make_unique<CompareFeed>(
        CompareFeed::Options{"host=other", place_.path(), std::uint64_t{1} << 40},
        CompareFeed::World{servers_, machine_, feed_, board_, log_});
  }
  ReceiverView::Comparison told() const { return board_.read().comparison.value(); }
  static bool soon(const std::function<bool()>& there) {
    const auto deadline = std::chrono::steady_clock::now() + 30s;
    while (!there() && std::chrono::steady_clock::now() < deadline)
      std::this_thread::sleep_for(2ms);
    return there();
  }
  /// The last record before it may go on behind it.
  bool compared_to(wal::TimelineId timeline, Lsn end) const {
    return soon([&] {
      const auto now = told();
      return now.timeline == timeline && now.problem.empty() &&
             now.position >= wal_.complete_end(end);
    });
  }

  WalBuilder wal_{{.switch_every = 0, .abort_every = 0, .large_every = 0}};
  Other other_;
  test::TemporaryDirectory place_;
  OtherServers servers_{other_};
  QuickMachine machine_;
  Feed feed_;
  StatusBoard board_;
  LockedLog log_;
  std::unique_ptr<CompareFeed> compare_;  // ends first
};

TEST_F(CompareFeedTest, SkipsWhatTheSecondUpstreamHasRemoved) {
  archive(wal_, 1, 7);
  other_.oldest = segment(6);
  compare();
  streams(1, segment(1), segment(6));
  ASSERT_TRUE(soon([&] { return told().skipped_bytes > 0; }));
  durable_up_to(1, segment(7));
  EXPECT_TRUE(compared_to(1, segment(7)));
  EXPECT_EQ(told().skipped_bytes, 5 * kSize.bytes());
  EXPECT_EQ(told().differences, 0u);
  EXPECT_TRUE(log_.has("the second upstream is compared again"));
}

TEST_F(CompareFeedTest, SkipsAnUnfinishedSegmentThatTheSecondUpstreamHasRemoved) {
  archive(wal_, 1, 3);
  other_.oldest = segment(2);
  compare();
  streams(1, segment(1), segment(1.5));
  ASSERT_TRUE(soon([&] { return told().skipped_bytes > 0; }));
  durable_up_to(1, segment(3));
  EXPECT_TRUE(compared_to(1, segment(3)));
  EXPECT_EQ(told().skipped_bytes, kSize.bytes());
}

TEST_F(CompareFeedTest, SkipsATimelineThatWasPrunedMeanwhile) {
  const auto left = wal_.fork_point(segment(3));
  auto child = verify::promote(wal_, left, 2, 5);
  child.grow_to(segment(9));
  archive(child, 3, 6);
  has(child);
  other_.identity.timeline = 2;
  compare();
  streams(1, segment(1), left);
  streams(2, kSize.start_of(left), segment(5));
  if (kSize.start_of(left) < segment(3)) archive(child, 2, 3);
  EXPECT_TRUE(soon([&] {
    const auto now = told();
    return now.timeline == 2 && now.problem.empty() &&
           now.position >= child.complete_end(segment(5));
  })) << told().problem;
  EXPECT_EQ(told().skipped_bytes, left - segment(1));
  EXPECT_EQ(told().differences, 0u);
}

TEST_F(CompareFeedTest, ReadsASegmentAgainThatWasBeingCopied) {
  archive(wal_, 1, 3);
  const auto name = ArchiveBuilder::name(wal_, 2);
  place_.write(name, "");
  compare();
  streams(1, segment(1), segment(3));
  ASSERT_TRUE(soon([&] { return told().problem.find(name) != std::string::npos; }));
  archive(wal_, 2, 3);
  EXPECT_TRUE(compared_to(1, segment(3))) << told().problem;
  EXPECT_EQ(told().skipped_bytes, 0u);
  EXPECT_EQ(told().differences, 0u);
}

TEST_F(CompareFeedTest, TellsADifferenceAlsoWhereTheTimelineEndsWithinIt) {
  archive(wal_, 1, 3);
  // Of a record on the last page the second upstream says that it goes on for long.
  const auto& records = wal_.records();
  const auto record = std::find_if(records.begin(), records.end(), [](const auto& each) {
    return each.start.byte() > segment(3).byte() - wal::kPageSize + wal::kShortHeaderSize;
  });
  ASSERT_NE(record, records.end());
  ASSERT_LT(record->start + 4, segment(3));
  const auto at = wal_.byte_of_record(record->start, 0) - other_.begin;
  for (unsigned i = 0; i < 4; ++i) other_.wal.at(at + i) = std::byte(500'000u >> (8 * i));
  compare();
  streams(1, segment(1), segment(3));
  ASSERT_TRUE(soon([&] { return told().position > segment(2); }));
  streams(2, segment(3), segment(3));
  EXPECT_TRUE(soon([&] { return told().differences == 1; }));
  EXPECT_NE(told().difference.value_or("").find(record->start.to_string()), std::string::npos)
      << told().difference.value_or("");
}

TEST_F(CompareFeedTest, TellsASecondUpstreamWithAnotherSegmentSize) {
  archive(wal_, 1, 5);
  other_.size = *wal::SegmentSize::of(2 << 20);
  compare();
  streams(1, segment(3), segment(5));
  EXPECT_TRUE(soon(
      [&] { return told().problem.find("have different segment sizes") != std::string::npos; }));
}

TEST_F(CompareFeedTest, SkipsWhatIsLeftOfATimelineThatTheSecondUpstreamLeftEarlier) {
  archive(wal_, 1, 4);
  const auto left = wal_.fork_point(segment(2.5));
  other_.left = {2, left};
  other_.identity.timeline = 2;
  compare();
  streams(1, segment(1), segment(4));
  streams(2, segment(2), segment(2));
  EXPECT_TRUE(soon([&] {
    return log_.has("the second upstream has left the timeline before the archive did");
  }));
  EXPECT_TRUE(soon([&] { return told().skipped_bytes == segment(4) - left; }));
}

}  // namespace
}  // namespace weir::receive::compare_feed_test

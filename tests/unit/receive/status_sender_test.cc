#include "receive/status_sender.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <vector>

#include "unit/receive/recording_log.h"

namespace weir::receive::status_sender_test {
namespace {

using namespace std::chrono_literals;
using wal::Lsn;

constexpr std::uint64_t kMB = 1 << 20;
constexpr Lsn kStart(3 * kMB);

/// Keeps what it is to send.
class SentStream final : public WalStream {
 public:
  void receive() override {}
  pq::StreamEvent next(std::span<std::byte>) override { return pq::NothingYet(); }
  void keep_last() override {}
  void send(const wire::StandbyStatus& status) override { statuses.push_back(status); }
  void send(const wire::HotStandbyFeedback& feedback) override { needs.push_back(feedback); }
  bool flush() override { return takes; }
  void finish(std::chrono::milliseconds) override {}
  void let_go() override {}
  void gather(std::size_t) override {}
  int socket() const override { return -1; }

  std::vector<wire::StandbyStatus> statuses;
  std::vector<wire::HotStandbyFeedback> needs;
  bool takes = true;  ///< the socket
};

class RaisedWake final : public WakeUp {
 public:
  void raise() noexcept override { ++raised; }
  void clear() noexcept override {}
  int fd() const override { return -1; }
  int raised = 0;
};

class StatusSenderTest : public ::testing::Test {
 protected:
  StatusSenderTest() {
    subscription = feed.subscribe([this](const Event& happened) {
      on(happened, [this](const event::Confirmed& told) { confirmed.push_back(told.end); });
    });
  }
  static StreamState::Options state_options() {
    StreamState::Options options;
    options.segment_size = *wal::SegmentSize::of(kMB);
    options.apply = ApplyPosition::downstream;
    return options;
  }
  static StreamPolicy::Options policy_options() {
    StreamPolicy::Options options;
    options.segment_size = *wal::SegmentSize::of(kMB);
    return options;
  }
  /// So much more is durable, and the server is to be told.
  void sync(std::uint64_t bytes) {
    const std::vector<std::byte> wal(bytes);
    const auto end = state.received() + bytes;
    state.on_wal({.start = state.received(), .server_end = end, .wal = wal}, machine.now());
    state.on_written(end, machine.now());
    state.on_sync_done(state.on_sync_started(end));
  }

  Machine& machine = this_machine();
  SentStream stream;
  StreamState state{state_options(), 1, kStart, machine.now()};
  StreamPolicy policy{policy_options(), state};
  Feed feed;
  test::RecordingLog log;
  std::atomic<bool> mute = false;
  Downstream downstream;
  StoreWords store;
  RaisedWake news;
  std::vector<Lsn> confirmed;
  Feed::Subscription subscription;
  StatusSender sender{{.stream = stream,
                       .state = state,
                       .policy = policy,
                       .machine = machine,
                       .feed = feed,
                       .log = log,
                       .mute = mute,
                       .downstream = &downstream,
                       .store = &store,
                       .news = news}};
};

TEST_F(StatusSenderTest, SendsWhatIsDueOnceAndPublishesWhatIsConfirmed) {
  sync(100);
  EXPECT_FALSE(sender.send_due());
  ASSERT_EQ(stream.statuses.size(), 1U);
  EXPECT_EQ(stream.statuses.back().flush, kStart + 100);
  EXPECT_FALSE(sender.send_due());
  EXPECT_EQ(stream.statuses.size(), 1U) << "nothing more is due";
  EXPECT_EQ(confirmed, std::vector{kStart + 100});

  // The server asks, and is told the same once more.
  state.on_keepalive({.server_end = kStart + 100, .reply_requested = true}, machine.now());
  EXPECT_FALSE(sender.send_due());
  EXPECT_EQ(stream.statuses.size(), 2U);
  EXPECT_EQ(confirmed.size(), 1U) << "each one is further than the one before";
}

TEST_F(StatusSenderTest, SendsNothingOnceNothingMayBeAcknowledged) {
  sync(100);
  mute = true;
  EXPECT_FALSE(sender.send_due());
  EXPECT_TRUE(stream.statuses.empty());
  EXPECT_TRUE(confirmed.empty());
}

TEST_F(StatusSenderTest, SendsNothingOverAStreamThatHasFailed) {
  sync(100);
  static_cast<void>(policy.fail(Error(ErrorKind::retry, "connection lost")));
  EXPECT_FALSE(sender.send_due());
  EXPECT_TRUE(stream.statuses.empty());
}

TEST_F(StatusSenderTest, RemembersWhatTheSocketDidNotTake) {
  stream.takes = false;
  sync(100);
  EXPECT_TRUE(sender.send_due());
  EXPECT_TRUE(sender.unsent());
  EXPECT_FALSE(sender.send_due()) << "nothing is due, so nobody is woken again";
  EXPECT_TRUE(sender.unsent());
  sender.flush();
  EXPECT_TRUE(sender.unsent());
  stream.takes = true;
  sender.flush();
  EXPECT_FALSE(sender.unsent());
}

TEST_F(StatusSenderTest, HearsThoseDownstreamAndIsWokenForThem) {
  DownstreamWord word{.timeline = 1, .applied = kStart + 40, .needs = wire::HotStandbyFeedback{}};
  word.needs->xmin = 700;
  downstream.set(word);
  EXPECT_EQ(news.raised, 1);
  store.set({.timeline = 1, .stored = kStart});
  EXPECT_EQ(news.raised, 2);
  sync(100);
  EXPECT_FALSE(sender.send_due());
  ASSERT_EQ(stream.needs.size(), 1U);
  EXPECT_EQ(stream.needs.back().xmin, 700U);
  ASSERT_EQ(stream.statuses.size(), 1U);
  EXPECT_EQ(stream.statuses.back().apply, kStart + 40);
}

TEST(StatusSender, IsNotWokenWhenItIsGone) {
  Downstream downstream;
  RaisedWake news;
  {
    const Listening listening(&downstream, [&] { news.raise(); });
    downstream.set({.timeline = 1});
  }
  downstream.set({.timeline = 2});
  EXPECT_EQ(news.raised, 1);
}

}  // namespace
}  // namespace weir::receive::status_sender_test

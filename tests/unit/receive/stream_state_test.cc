#include "receive/stream_state.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "wal/page.h"

namespace weir::receive::stream_state_test {
namespace {

using namespace std::chrono_literals;
using wal::Lsn;

constexpr std::uint64_t kMB = 1 << 20;
constexpr Lsn kStart(3 * kMB);
constexpr Time kBegin{1'000'000ms};

/// A stream at 3 MB with segments of 1 MB, and a clock.
class Stream {
 public:
  explicit Stream(StreamState::Options options = defaults(), Lsn start = kStart)
      : state(options, 1, start, kBegin), now(kBegin) {}

  static StreamState::Options defaults() {
    StreamState::Options options;
    options.segment_size = *wal::SegmentSize::of(kMB);
    return options;
  }

  /// `bytes` arrive; the server says that it has `ahead` bytes more.
  void receive(std::uint64_t bytes, std::uint64_t ahead = 0) {
    const std::vector<std::byte> wal(bytes);
    const auto end = state.received() + bytes;
    state.on_wal({.start = state.received(), .server_end = end + ahead, .wal = wal}, now);
  }
  void receive_and_write(std::uint64_t bytes, std::uint64_t ahead = 0) {
    receive(bytes, ahead);
    state.on_written(state.received(), now);
  }
  /// A whole round: received, written, synced.
  void take(std::uint64_t bytes) {
    receive_and_write(bytes);
    state.on_sync_done(state.on_sync_started(state.write()));
  }
  void keepalive(bool reply_requested, std::uint64_t ahead = 0) {
    state.on_keepalive({.server_end = state.received() + ahead, .reply_requested = reply_requested},
                       now);
  }
  std::optional<wire::StandbyStatus> status() { return state.take_status(now); }

  StreamState state;
  Time now;
};

TEST(StreamState, TellsWhatTheArchiveHeldBeforeToAllButTheServer) {
  auto options = Stream::defaults();
  options.held_end = kStart + 5000;
  Stream stream(options);
  const auto told = [&] { return stream.state.snapshot(); };
  EXPECT_EQ(told().flush, kStart + 5000);
  EXPECT_EQ(told().written(), kStart + 5000);
  EXPECT_EQ(told().archived_bytes, 0u);
  EXPECT_EQ(stream.status()->flush, kStart);
  EXPECT_EQ(stream.state.flush(), kStart);
  stream.take(4000);
  EXPECT_EQ(stream.status()->flush, kStart + 4000);
  EXPECT_EQ(stream.state.durable(), kStart + 5000);
  EXPECT_EQ(told().flush, kStart + 5000);
  EXPECT_EQ(told().archived_bytes, 4000u);
  stream.receive_and_write(3000);
  EXPECT_EQ(told().flush, kStart + 5000);
  EXPECT_EQ(told().written(), kStart + 7000);
  stream.state.on_sync_done(stream.state.on_sync_started(stream.state.write()));
  EXPECT_EQ(stream.state.durable(), kStart + 7000);
  EXPECT_EQ(told().flush, kStart + 7000);
  EXPECT_EQ(stream.status()->flush, kStart + 7000);
}

TEST(StreamState, SaysNothingOfAFlushBeforeTheServersSlot) {
  auto options = Stream::defaults();
  options.slot_position = kStart + 1000;
  Stream stream(options);
  stream.take(600);
  stream.keepalive(true);
  const auto before = stream.status();
  ASSERT_TRUE(before);
  EXPECT_EQ(before->write, kStart + 600);
  EXPECT_EQ(before->flush, Lsn());
  EXPECT_EQ(before->apply, Lsn());
  stream.receive_and_write(600);  // beyond it, and not durable
  stream.keepalive(true);
  const auto written = stream.status();
  ASSERT_TRUE(written);
  EXPECT_EQ(written->write, kStart + 1200);
  EXPECT_EQ(written->flush, Lsn());
  stream.state.on_sync_done(stream.state.on_sync_started(stream.state.write()));
  const auto behind = stream.status();
  ASSERT_TRUE(behind) << "told at once";
  EXPECT_EQ(behind->flush, kStart + 1200);
  EXPECT_EQ(behind->apply, kStart + 1200);
}

StreamState::Options confirming() {
  auto options = Stream::defaults();
  options.confirm_stored = true;
  return options;
}

TEST(StreamState, ReportsWhatTheStoreHasAndNoMoreThanIsDurable) {
  Stream stream(confirming());
  stream.take(600);
  stream.keepalive(true);
  auto status = stream.status();
  ASSERT_TRUE(status);
  EXPECT_EQ(status->write, kStart + 600);
  EXPECT_EQ(status->flush, Lsn()) << "nobody knows what the store has";
  EXPECT_EQ(status->apply, Lsn());
  EXPECT_EQ(stream.state.flush(), kStart + 600);

  stream.state.on_store({1, kStart + 400, false});
  status = stream.status();
  ASSERT_TRUE(status) << "told at once";
  EXPECT_EQ(status->flush, kStart + 400);
  EXPECT_EQ(status->apply, kStart + 400);
  EXPECT_EQ(stream.state.snapshot().confirmed, kStart + 400);

  // Another archiver may have put there what is not durable here.
  stream.state.on_store({1, kStart + 5000, false});
  status = stream.status();
  ASSERT_TRUE(status);
  EXPECT_EQ(status->flush, kStart + 600);
  stream.take(600);
  status = stream.status();
  ASSERT_TRUE(status);
  EXPECT_EQ(status->flush, kStart + 1200);
}

TEST(StreamState, TakesNoWordOfAnotherTimelineAndTakesNoneBack) {
  Stream stream(confirming());
  stream.take(600);
  stream.state.on_store({2, kStart + 600, false});
  stream.keepalive(true);
  EXPECT_EQ(stream.status()->flush, Lsn());
  stream.state.on_store({1, kStart + 500, false});
  EXPECT_EQ(stream.status()->flush, kStart + 500);
  stream.state.on_store({1, kStart + 300, false});
  stream.state.on_store({2, kStart, false});
  stream.keepalive(true);
  EXPECT_EQ(stream.status()->flush, kStart + 500);
}

TEST(StreamState, SaysNothingOfTheStoreBeforeTheServersSlot) {
  auto options = confirming();
  options.slot_position = kStart + 1000;
  Stream stream(options);
  stream.take(2000);
  stream.state.on_store({1, kStart + 900, false});
  stream.keepalive(true);
  EXPECT_EQ(stream.status()->flush, Lsn()) << "the slot would go back";
  stream.state.on_store({1, kStart + 1500, false});
  EXPECT_EQ(stream.status()->flush, kStart + 1500);
}

TEST(StreamState, TellsNothingWhereCommitsWouldWaitForTheStore) {
  Stream stream(confirming());
  stream.take(600);
  stream.state.on_store({1, kStart + 600, true});
  stream.keepalive(true);
  EXPECT_EQ(stream.status()->flush, Lsn());
  stream.state.on_store({1, kStart + 600, false});
  EXPECT_EQ(stream.status()->flush, kStart + 600);
}

TEST(StreamState, LetsAServerThatShutsDownGoWithoutTheStore) {
  Stream stream(confirming());
  stream.take(600);
  stream.state.on_store({1, kStart + 100, false});
  const auto ask = [&](int times) {
    std::optional<wire::StandbyStatus> last;
    for (int i = 0; i < times; ++i) {
      stream.now += 1ms;
      stream.keepalive(true);
      last = stream.status();
    }
    return last;
  };
  EXPECT_EQ(ask(7)->flush, kStart + 100);
  EXPECT_FALSE(stream.state.leaves_without_store());
  const auto last = ask(1);
  ASSERT_TRUE(last);
  EXPECT_EQ(last->flush, Lsn()) << "the slot stays where it is, and the server goes by the write";
  EXPECT_EQ(last->write, kStart + 600);
  EXPECT_TRUE(stream.state.leaves_without_store());
  // It was something else.
  stream.take(10);
  stream.now += 10s;
  stream.keepalive(true);
  EXPECT_EQ(stream.status()->flush, kStart + 100);
}

TEST(StreamState, TellsAServerThatOnlyAskedOftenAgain) {
  Stream stream(confirming());
  stream.take(600);
  stream.state.on_store({1, kStart + 100, false});
  std::optional<wire::StandbyStatus> last;
  for (int i = 0; i < 8; ++i) {
    stream.now += 1ms;
    stream.keepalive(true);
    last = stream.status();
  }
  ASSERT_TRUE(last);
  EXPECT_EQ(last->flush, Lsn());
  // It goes on, has nothing more to send, and the store gets all there is.
  stream.now += 2s;
  stream.state.on_store({1, kStart + 600, false});
  last = stream.status();
  ASSERT_TRUE(last) << "its slot would stay where it is for ever";
  EXPECT_EQ(last->flush, kStart + 600);
  EXPECT_FALSE(stream.state.leaves_without_store());
}

TEST(StreamState, LetsNoServerGoBeforeAllIsDurableHere) {
  Stream stream(confirming());
  stream.take(600);
  stream.receive_and_write(50);
  stream.state.on_store({1, kStart + 100, false});
  for (int i = 0; i < 20; ++i) {
    stream.now += 1ms;
    stream.keepalive(true);
    EXPECT_EQ(stream.status()->flush, kStart + 100);
  }
}

TEST(StreamState, EndsWithoutWaitingForTheStore) {
  Stream stream(confirming());
  stream.take(600);
  stream.state.on_store({1, kStart + 100, false});
  stream.state.request_stop();
  static_cast<void>(stream.status());
  EXPECT_TRUE(stream.state.finished());
}

TEST(StreamState, EndsWellBeforeTheServersSlot) {
  auto options = Stream::defaults();
  options.slot_position = kStart + 1000;
  Stream stream(options);
  stream.take(600);
  static_cast<void>(stream.status());
  stream.state.request_stop();
  static_cast<void>(stream.status());
  EXPECT_TRUE(stream.state.finished());
}

TEST(StreamState, DoesNotCountSilenceWhileNobodyListens) {
  Stream stream;  // a disk that is full for an hour keeps us from reading, and the server is fine
  stream.receive(100);
  stream.state.on_deaf();
  stream.now += 1h;
  EXPECT_FALSE(stream.state.silent_for_too_long(stream.now));
  ASSERT_TRUE(stream.status());
  EXPECT_GT(stream.state.next_status_at(), stream.now) << "or it would spin";
  stream.state.on_listening(stream.now);
  EXPECT_FALSE(stream.state.silent_for_too_long(stream.now));
  stream.now += 59s;
  stream.state.on_listening(stream.now);  // a wake-up in between is no message
  EXPECT_FALSE(stream.state.silent_for_too_long(stream.now));
  stream.now += 1s;
  EXPECT_TRUE(stream.state.silent_for_too_long(stream.now));
}

TEST(StreamState, SendsAStatusAtOnceWhenItBegins) {
  Stream stream;
  EXPECT_EQ(stream.status(),
            (wire::StandbyStatus{.write = kStart, .flush = kStart, .apply = kStart}));
  EXPECT_EQ(stream.status(), std::nullopt) << "and then not again";
}

TEST(StreamState, TellsWhatTheServerHasBeforeTheFirstWal) {
  auto options = Stream::defaults();
  options.server_end = kStart + 700 * kMB;
  StreamState state(options, 1, kStart, kBegin);
  EXPECT_EQ(state.snapshot().server_end, kStart + 700 * kMB) << "not caught up";
  state.on_keepalive({.server_end = kStart}, kBegin);  // it tells what it has sent
  EXPECT_EQ(state.snapshot().server_end, kStart + 700 * kMB);
  EXPECT_FALSE(state.catching_up()) << "what is done goes by what the stream tells";
  const std::vector<std::byte> wal(100);
  state.on_wal({.start = kStart, .server_end = kStart + 600 * kMB, .wal = wal}, kBegin);
  EXPECT_EQ(state.snapshot().server_end, kStart + 600 * kMB) << "the stream's word is newer";
}

TEST(StreamState, RefusesWalThatDoesNotContinueWhatItHas) {
  const std::vector<std::byte> wal(10);
  for (const auto start : {kStart + 1, Lsn(kStart.byte() - 1), Lsn()}) {
    SCOPED_TRACE(start.to_string());
    Stream stream;
    try {
      stream.state.on_wal({.start = start, .server_end = start + 10, .wal = wal}, stream.now);
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::protocol);
    }
    EXPECT_EQ(stream.state.received(), kStart);
  }
}

TEST(StreamState, ReportsFlushOnlyWhenTheSyncIsDone) {
  Stream stream;
  static_cast<void>(stream.status());
  stream.receive_and_write(100);
  EXPECT_EQ(stream.state.sync_due_at(), Time::min());
  const auto ticket = stream.state.on_sync_started(stream.state.write());
  EXPECT_EQ(stream.state.sync_due_at(), std::nullopt) << "it is covered by one that has begun";
  EXPECT_EQ(stream.state.flush(), kStart);
  EXPECT_EQ(stream.status(), std::nullopt);
  stream.state.on_sync_done(ticket);
  EXPECT_EQ(
      stream.status(),
      (wire::StandbyStatus{.write = kStart + 100, .flush = kStart + 100, .apply = kStart + 100}));
}

TEST(StreamState, AcknowledgesNoPartOfTheHeaderThatTellsWhoseWalItIs) {
  Stream stream;
  stream.take(wal::kLongHeaderSize - 1);
  EXPECT_EQ(stream.status()->flush, kStart);
  stream.take(1);
  EXPECT_EQ(stream.status()->flush, kStart + wal::kLongHeaderSize);
  stream.take(kMB);
  EXPECT_EQ(stream.status()->flush, kStart + kMB + wal::kLongHeaderSize);

  // Nor does it wait for more when it ends there.
  Stream ending;
  ending.take(5);
  ending.state.request_stop();
  ASSERT_TRUE(ending.status());
  EXPECT_TRUE(ending.state.finished());
}

TEST(StreamState, NeverReportsPastAnUndecidedSync) {
  // Three syncs overlap. In whatever order they end, the flush position is the end of the last one
  // of which all earlier ones are done.
  std::vector<int> order{0, 1, 2};
  do {
    SCOPED_TRACE(fmt::format("{} {} {}", order[0], order[1], order[2]));
    Stream stream;
    std::vector<StreamState::Ticket> tickets;
    for (int i = 0; i < 3; ++i) {
      stream.receive_and_write(100);
      tickets.push_back(stream.state.on_sync_started(stream.state.write()));
    }
    std::vector<bool> done(3);
    for (const int i : order) {
      stream.state.on_sync_done(tickets[static_cast<std::size_t>(i)]);
      done[static_cast<std::size_t>(i)] = true;
      std::uint64_t expected = 0;
      while (expected < 3 && done[expected]) ++expected;
      EXPECT_EQ(stream.state.flush(), kStart + expected * 100);
      if (const auto status = stream.status()) {
        EXPECT_EQ(status->flush, kStart + expected * 100);
      }
    }
    EXPECT_EQ(stream.state.flush(), stream.state.write());
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST(StreamState, DoesNotCountWhatWasWrittenAfterASyncBegan) {
  Stream stream;
  stream.receive_and_write(100);
  const auto ticket = stream.state.on_sync_started(stream.state.write());
  stream.receive_and_write(50);
  stream.state.on_sync_done(ticket);
  EXPECT_EQ(stream.state.flush(), kStart + 100);
  EXPECT_EQ(stream.state.sync_due_at(), Time::min()) << "the rest wants one of its own";
}

TEST(StreamState, AnswersAKeepaliveThatAsksAtOnceAndFlushesForIt) {
  auto options = Stream::defaults();
  options.flush = {FlushPolicy::Mode::segment, 0ms};
  Stream stream(options);
  static_cast<void>(stream.status());
  stream.receive_and_write(100, 1000);
  EXPECT_EQ(stream.state.sync_due_at(), std::nullopt);
  stream.keepalive(false, 1000);
  EXPECT_EQ(stream.status(), std::nullopt);
  stream.keepalive(true, 1000);
  // The answer does not wait for the disk and tells the truth.
  EXPECT_EQ(stream.status(),
            (wire::StandbyStatus{.write = kStart + 100, .flush = kStart, .apply = kStart}));
  EXPECT_EQ(stream.state.sync_due_at(), Time::min());
  const auto ticket = stream.state.on_sync_started(stream.state.write());
  stream.state.on_sync_done(ticket);
  EXPECT_EQ(
      stream.status(),
      (wire::StandbyStatus{.write = kStart + 100, .flush = kStart + 100, .apply = kStart + 100}));
  stream.receive_and_write(100, 1000);
  EXPECT_EQ(stream.state.sync_due_at(), std::nullopt) << "the wish was for that one flush";
}

TEST(StreamState, ReportsAgainWhenTheIntervalHasPassed) {
  Stream stream;
  static_cast<void>(stream.status());
  stream.now += 9'999ms;
  stream.keepalive(false);
  EXPECT_EQ(stream.status(), std::nullopt);
  EXPECT_EQ(stream.state.next_status_at(), kBegin + 10'000ms);
  stream.now += 1ms;
  ASSERT_TRUE(stream.status());
  EXPECT_EQ(stream.state.next_status_at(), kBegin + 20'000ms);
}

TEST(StreamState, AsksForASignOfLifeAfterHalfTheSilenceLimit) {
  Stream stream;
  static_cast<void>(stream.status());
  stream.keepalive(false);
  for (int i = 0; i < 2; ++i) {
    stream.now += 10'000ms;
    const auto status = stream.status();
    ASSERT_TRUE(status);
    EXPECT_FALSE(status->reply_requested);
  }
  stream.now += 10'000ms;
  auto status = stream.status();
  ASSERT_TRUE(status);
  EXPECT_TRUE(status->reply_requested);
  EXPECT_FALSE(stream.state.silent_for_too_long(stream.now));

  stream.now += 10'000ms;
  status = stream.status();
  ASSERT_TRUE(status);
  EXPECT_FALSE(status->reply_requested) << "asked once, not with every status";

  stream.now = kBegin + 59'999ms;
  EXPECT_FALSE(stream.state.silent_for_too_long(stream.now));
  stream.now = kBegin + 60'000ms;
  EXPECT_TRUE(stream.state.silent_for_too_long(stream.now));
}

TEST(StreamState, IsIdleWhileNoWalArrivesAndAllOfItIsDurable) {
  Stream stream;
  stream.now += 5s;
  EXPECT_EQ(stream.state.idle_for(stream.now), 5s) << "since the start";
  stream.keepalive(false);
  EXPECT_EQ(stream.state.idle_for(stream.now), 5s) << "a keepalive is no WAL";
  stream.receive_and_write(100);
  stream.now += 5s;
  EXPECT_EQ(stream.state.idle_for(stream.now), 0s) << "the disk may be what is slow";
  stream.state.on_sync_done(stream.state.on_sync_started(stream.state.write()));
  EXPECT_EQ(stream.state.idle_for(stream.now), 5s);
  stream.state.request_stop();
  EXPECT_EQ(stream.state.idle_for(stream.now), 0s);
}

TEST(StreamState, AsksForASignOfLifeSoonWhereAnotherHostMayBePromoted) {
  auto options = Stream::defaults();
  options.asks_for_life_after = 2s;
  Stream stream(options);
  static_cast<void>(stream.status());
  stream.keepalive(false);
  stream.now = stream.state.next_status_at();
  EXPECT_EQ(stream.now, kBegin + 2s);
  auto status = stream.status();
  ASSERT_TRUE(status);
  EXPECT_TRUE(status->reply_requested);
  EXPECT_EQ(stream.state.silent_for(stream.now), 2s);
  EXPECT_GT(stream.state.next_status_at(), stream.now + 5s) << "asked once";
  EXPECT_FALSE(stream.state.take_answer());
  stream.now += 1s;
  EXPECT_EQ(stream.state.silent_for(stream.now), 3s);
  stream.keepalive(false);
  EXPECT_TRUE(stream.state.take_answer());
  EXPECT_FALSE(stream.state.take_answer());
  EXPECT_EQ(stream.state.silent_for(stream.now), 0s);
  EXPECT_EQ(stream.state.next_status_at(), stream.now + 2s);
  // It has no reason to send anything as long as it is not asked.
  stream.now += 5s;
  EXPECT_EQ(stream.state.silent_for(stream.now), 2s);
  EXPECT_TRUE(stream.status().value().reply_requested);
  stream.now += 5s;
  EXPECT_EQ(stream.state.silent_for(stream.now), 7s);
  stream.state.on_deaf();
  EXPECT_EQ(stream.state.silent_for(stream.now), 0s) << "nobody listens";
  stream.state.on_listening(stream.now);
  stream.now += 1s;
  EXPECT_EQ(stream.state.silent_for(stream.now), 1s);
}

TEST(StreamState, WaitsForAnAnswerNoLongerThanTheLimitWhateverTheStatusInterval) {
  auto options = Stream::defaults();
  options.status_interval = 1h;
  options.silence_limit = 2s;
  Stream stream(options);
  static_cast<void>(stream.status());
  stream.now = stream.state.next_status_at();
  EXPECT_EQ(stream.now, kBegin + 1s);
  const auto status = stream.status();
  ASSERT_TRUE(status);
  EXPECT_TRUE(status->reply_requested);
  EXPECT_EQ(stream.state.next_status_at(), kBegin + 2s);
}

/// Until it arrives, status reports the outage of before, which --max-outage may limit to seconds.
TEST(StreamState, AsksForTheFirstMessageSoonWhateverTheLimit) {
  auto options = Stream::defaults();
  options.status_interval = 1h;
  options.silence_limit = 1h;
  Stream stream(options);
  EXPECT_FALSE(stream.state.snapshot().heard);
  static_cast<void>(stream.status());
  stream.now = stream.state.next_status_at();
  EXPECT_EQ(stream.now, kBegin + 2s);
  const auto status = stream.status();
  ASSERT_TRUE(status);
  EXPECT_TRUE(status->reply_requested);
  stream.keepalive(false);
  EXPECT_TRUE(stream.state.snapshot().heard);
  EXPECT_EQ(stream.state.next_status_at(), stream.now + 30min);
}

TEST(StreamState, IsNotSilentAsLongAsAnIdleServerAnswers) {
  Stream stream;
  for (int i = 0; i < 20; ++i) {
    stream.now += 30'000ms;
    const auto status = stream.status();
    ASSERT_TRUE(status);
    EXPECT_TRUE(status->reply_requested);
    stream.keepalive(false);  // the position never moves
    EXPECT_FALSE(stream.state.silent_for_too_long(stream.now));
  }
}

TEST(StreamState, ReportsTheApplyPositionAsChosen) {
  auto options = Stream::defaults();
  options.apply = ApplyPosition::none;
  Stream stream(options);
  stream.take(100);
  EXPECT_EQ(stream.status(),
            (wire::StandbyStatus{.write = kStart + 100, .flush = kStart + 100, .apply = Lsn()}));
}

TEST(StreamState, ReportsAsAppliedWhatIsAppliedDownstream) {
  auto options = Stream::defaults();
  options.apply = ApplyPosition::downstream;
  Stream stream(options);
  const auto applied = [&](wal::TimelineId timeline, Lsn position) -> std::optional<Lsn> {
    stream.state.on_downstream({.timeline = timeline, .applied = position});
    const auto status = stream.status();
    return status ? std::optional(status->apply) : std::nullopt;
  };
  stream.take(100);
  EXPECT_EQ(applied(0, Lsn()), Lsn()) << "nobody is there, and this is news for the flush position";
  EXPECT_EQ(applied(1, kStart + 60), kStart + 60) << "at once";
  EXPECT_EQ(applied(1, kStart + 60), std::nullopt);
  EXPECT_EQ(applied(1, kStart + 500), kStart + 100) << "no more than is durable here";
  EXPECT_EQ(applied(2, kStart + 500), Lsn()) << "another timeline has other WAL there";
  EXPECT_EQ(applied(1, kStart + 70), kStart + 70);
  EXPECT_EQ(applied(1, Lsn()), Lsn()) << "who has gone may come back with less";
  // Whoever does not wait for them is not held up.
  options.apply = ApplyPosition::flush;
  Stream other(options);
  other.take(100);
  other.state.on_downstream({.timeline = 1, .applied = kStart + 10});
  EXPECT_EQ(other.status()->apply, kStart + 100);
  EXPECT_EQ(other.status(), std::nullopt);
}

TEST(StreamState, PassesOnWhatIsNeededDownstreamOnceForEachChange) {
  Stream stream;
  EXPECT_EQ(stream.state.take_feedback(), std::nullopt) << "not known yet";
  stream.state.on_downstream({.timeline = 1, .applied = kStart});
  EXPECT_EQ(stream.state.take_feedback(), std::nullopt) << "not known yet";
  const wire::HotStandbyFeedback nothing;
  stream.state.on_downstream({.needs = nothing});
  EXPECT_EQ(stream.state.take_feedback(), nothing) << "of an earlier process the server may know";
  EXPECT_EQ(stream.state.take_feedback(), std::nullopt);
  const wire::HotStandbyFeedback some{.xmin = 700, .xmin_epoch = 2};
  stream.state.on_downstream({.needs = some});
  stream.state.on_downstream({.applied = kStart, .needs = some});
  EXPECT_EQ(stream.state.take_feedback(), some);
  EXPECT_EQ(stream.state.take_feedback(), std::nullopt);
  stream.state.on_downstream({.needs = nothing});
  EXPECT_EQ(stream.state.take_feedback(), nothing);
  stream.state.on_downstream({.needs = some});
  stream.state.on_end_of_stream();
  EXPECT_EQ(stream.state.take_feedback(), std::nullopt);
}

/// A standby upstream ignores a transaction that it does not know yet.
TEST(StreamState, RepeatsWhatIsNeededDownstreamNowAndThen) {
  Stream stream;
  const wire::HotStandbyFeedback some{.xmin = 700, .xmin_epoch = 2};
  EXPECT_TRUE(stream.status());
  stream.state.on_downstream({.needs = some});
  EXPECT_EQ(stream.state.take_feedback(), some);
  for (int i = 0; i < 2; ++i) {
    stream.now += 10s;
    EXPECT_EQ(stream.state.take_feedback(), std::nullopt);
    EXPECT_TRUE(stream.status());
    EXPECT_EQ(stream.state.take_feedback(), some);
    EXPECT_EQ(stream.state.take_feedback(), std::nullopt) << "once for each time";
  }
  const wire::HotStandbyFeedback nothing;
  stream.state.on_downstream({.needs = nothing});
  EXPECT_EQ(stream.state.take_feedback(), nothing);
  stream.now += 10s;
  EXPECT_TRUE(stream.status());
  EXPECT_EQ(stream.state.take_feedback(), std::nullopt) << "nothing that can be ignored";
}

TEST(StreamState, ReleasesWhatAnEarlierProcessMayHaveAskedFor) {
  auto options = Stream::defaults();
  options.releases_xmin = true;
  Stream stream(options);
  EXPECT_EQ(stream.state.take_feedback(), wire::HotStandbyFeedback());
  EXPECT_EQ(stream.state.take_feedback(), std::nullopt);
}

TEST(StreamState, TellsTheWritePositionAloneWhereNoSyncFollows) {
  auto options = Stream::defaults();
  options.flush = {FlushPolicy::Mode::segment, 0ms};
  Stream stream(options);
  static_cast<void>(stream.status());
  stream.receive_and_write(100, 50);
  EXPECT_EQ(stream.status(), std::nullopt) << "more is on its way";
  stream.receive_and_write(50);
  EXPECT_EQ(stream.status(),
            (wire::StandbyStatus{.write = kStart + 150, .flush = kStart, .apply = kStart}));
}

TEST(StreamState, StopsReadingWhileTooMuchIsNotDurable) {
  Stream stream;
  const auto limit = unsynced_limit(kMB);
  std::vector<StreamState::Ticket> tickets;
  while (stream.state.received() - kStart < limit) {
    ASSERT_TRUE(stream.state.may_read());
    stream.receive_and_write(kMB);
    tickets.push_back(stream.state.on_sync_started(stream.state.write()));
  }
  EXPECT_FALSE(stream.state.may_read());
  for (std::size_t i = 1; i < tickets.size(); ++i) stream.state.on_sync_done(tickets[i]);
  EXPECT_FALSE(stream.state.may_read()) << "the oldest one decides";
  stream.state.on_sync_done(tickets[0]);
  EXPECT_TRUE(stream.state.may_read());
  EXPECT_EQ(stream.state.flush(), stream.state.received());
}

TEST(StreamState, BoundsWhatIsNotDurableForEverySegmentSize) {
  for (std::uint64_t size = kMB; size <= 1024 * kMB; size *= 2)
    EXPECT_GE(unsynced_limit(size), 3 * size);
}

TEST(StreamState, SyncsWhenASegmentIsFullWhateverThePolicy) {
  auto options = Stream::defaults();
  options.flush = {FlushPolicy::Mode::segment, 0ms};
  Stream stream(options);
  stream.receive_and_write(kMB - 1);
  EXPECT_EQ(stream.state.sync_due_at(), std::nullopt);
  stream.receive_and_write(1);
  EXPECT_EQ(stream.state.sync_due_at(), Time::min());
}

TEST(StreamState, CatchesUpInLargerSteps) {
  Stream stream;
  stream.receive_and_write(100, kCatchUpBytes);
  EXPECT_TRUE(stream.state.catching_up());
  EXPECT_EQ(stream.state.sync_due_at(), kBegin + kCatchUpInterval);
  stream.now += 100ms;
  stream.receive_and_write(100, kCatchUpBytes);
  EXPECT_EQ(stream.state.sync_due_at(), kBegin + kCatchUpInterval) << "counted from the oldest";
  stream.receive_and_write(100, kCatchUpBytes - 1);
  EXPECT_FALSE(stream.state.catching_up());
  EXPECT_EQ(stream.state.sync_due_at(), Time::min());
}

TEST(StreamState, StopsAtTheEndPositionOnceItIsDurableAndReported) {
  auto options = Stream::defaults();
  options.endpos = kStart + 150;
  Stream stream(options);
  static_cast<void>(stream.status());
  stream.receive_and_write(100);
  EXPECT_FALSE(stream.state.stopping());
  stream.receive_and_write(100);
  EXPECT_TRUE(stream.state.stopping());
  EXPECT_FALSE(stream.state.may_read());
  EXPECT_FALSE(stream.state.finished());
  stream.state.on_sync_done(stream.state.on_sync_started(stream.state.write()));
  EXPECT_FALSE(stream.state.finished()) << "not reported yet";
  ASSERT_TRUE(stream.status());
  EXPECT_TRUE(stream.state.finished());
}

TEST(StreamState, IsAtItsEndPositionFromTheBeginning) {
  auto options = Stream::defaults();
  options.endpos = kStart;
  Stream stream(options);
  EXPECT_TRUE(stream.state.stopping());
  static_cast<void>(stream.status());
  EXPECT_TRUE(stream.state.finished());
}

TEST(StreamState, FinishesWhatItReceivedWhenAskedToStop) {
  Stream stream;
  static_cast<void>(stream.status());
  stream.receive(100);
  stream.state.request_stop();
  EXPECT_FALSE(stream.state.may_read());
  EXPECT_FALSE(stream.state.finished()) << "not written";
  stream.state.on_written(stream.state.received(), stream.now);
  EXPECT_FALSE(stream.state.finished()) << "not durable";
  const auto ticket = stream.state.on_sync_started(stream.state.write());
  EXPECT_FALSE(stream.state.finished());
  stream.state.on_sync_done(ticket);
  EXPECT_FALSE(stream.state.finished()) << "not reported";
  EXPECT_TRUE(stream.status());
  EXPECT_TRUE(stream.state.finished());
}

TEST(StreamState, StopsAtOnceIfThereIsNothingToFinish) {
  Stream stream;
  stream.take(100);
  static_cast<void>(stream.status());
  stream.state.request_stop();
  EXPECT_TRUE(stream.state.finished());
}

TEST(StreamState, MakesWhatItReceivedDurableAfterTheStreamHasEnded) {
  Stream stream;
  static_cast<void>(stream.status());
  stream.receive_and_write(100);
  stream.state.on_end_of_stream();
  EXPECT_EQ(stream.state.sync_due_at(), Time::min());
  EXPECT_FALSE(stream.state.finished());
  EXPECT_FALSE(stream.state.silent_for_too_long(kBegin + 1h));
  stream.state.on_sync_done(stream.state.on_sync_started(stream.state.write()));
  EXPECT_TRUE(stream.state.finished());
  EXPECT_EQ(stream.status(), std::nullopt) << "nobody is there to be told";
}

TEST(StreamState, FinishesWithoutWhatCouldNotBeWritten) {
  Stream stream;
  stream.receive(100);
  stream.state.on_written(kStart + 40, stream.now);
  stream.state.request_stop();
  stream.state.drop_unwritten();
  EXPECT_EQ(stream.state.received(), kStart + 40);
  stream.state.on_sync_done(stream.state.on_sync_started(stream.state.write()));
  EXPECT_EQ(stream.status()->flush, kStart + 40);
  EXPECT_TRUE(stream.state.finished());
}

TEST(StreamState, DoesNotFinishBeforeALateSync) {
  // The position is reached by the later of two syncs; the earlier one is still under way.
  Stream stream;
  stream.receive_and_write(100);
  const auto first = stream.state.on_sync_started(stream.state.write());
  const auto second = stream.state.on_sync_started(stream.state.write());
  stream.state.on_end_of_stream();
  stream.state.on_sync_done(second);
  EXPECT_FALSE(stream.state.finished());
  stream.state.on_sync_done(first);
  EXPECT_TRUE(stream.state.finished());
}

TEST(StreamStateDeathTest, AbortsRatherThanToReportAWrongPosition) {
  Stream stream;
  stream.receive_and_write(100);
  EXPECT_DEATH(stream.state.on_written(kStart + 101, stream.now), "");
  EXPECT_DEATH(static_cast<void>(stream.state.on_sync_started(kStart + 101)), "");
  EXPECT_DEATH(stream.state.on_sync_done(99), "");
}

TEST(StreamState, WantsTheByteAtAnInclusiveEndPosition) {
  auto options = Stream::defaults();
  options.endpos = kStart + 100;
  options.endpos_inclusive = true;
  Stream stream(options);
  stream.take(100);
  EXPECT_FALSE(stream.state.stopping());
  stream.take(1);
  EXPECT_TRUE(stream.state.stopping());
}

TEST(StreamState, EndsBeforeAnInclusiveEndPositionThatTheServerDoesNotReach) {
  auto options = Stream::defaults();
  options.endpos = kStart + 100;
  options.endpos_inclusive = true;
  Stream stream(options);
  stream.take(100);
  ASSERT_TRUE(stream.status());
  stream.keepalive(false);
  EXPECT_FALSE(stream.state.stopping());  // that keepalive was not an answer
  EXPECT_EQ(stream.state.next_status_at(), stream.now + 1s);
  stream.now += 1s;
  const auto status = stream.status();
  ASSERT_TRUE(status);
  EXPECT_TRUE(status->reply_requested);
  stream.keepalive(false, 50);
  EXPECT_FALSE(stream.state.stopping());  // there is more to come
  stream.keepalive(false);
  EXPECT_TRUE(stream.state.stopping());
}

TEST(StreamState, ReportsNoFlushPositionIfItIsNotTo) {
  auto options = Stream::defaults();
  options.report_flush = false;
  options.apply = ApplyPosition::none;
  Stream stream(options);
  stream.take(100);
  EXPECT_EQ(stream.status(), (wire::StandbyStatus{.write = kStart + 100}));
  EXPECT_EQ(stream.state.flush(), kStart + 100);
  stream.state.request_stop();
  EXPECT_TRUE(stream.state.finished());
}

TEST(StreamState, CallsCollectedWalWrittenOnlyWhenItIsDurable) {
  Stream stream;  // remote_write promises that the kernel has it
  stream.receive(kMB, 10 * kMB);
  stream.state.on_written(stream.state.received(), stream.now, stream.state.received());
  EXPECT_EQ(stream.status()->write, kStart);
  stream.state.on_sync_done(stream.state.on_sync_started(stream.state.write()));
  EXPECT_EQ(stream.status()->write, kStart + kMB);
}

TEST(StreamState, TakesNoWritePositionBackWhenWalIsCollected) {
  Stream stream;
  stream.receive_and_write(1000, 10 * kMB);
  EXPECT_EQ(stream.status()->write, kStart + 1000);
  stream.receive(kMB, 10 * kMB);
  stream.state.on_written(stream.state.received(), stream.now, stream.state.received());
  stream.now += 11s;
  EXPECT_EQ(stream.status()->write, kStart + 1000);
}

TEST(StreamState, SyncsCollectedWalWhateverThePolicyWhenThereIsNoMoreToCome) {
  auto options = Stream::defaults();
  options.flush.mode = FlushPolicy::Mode::segment;
  Stream stream(options);
  stream.receive(1000, 10 * kMB);
  stream.state.on_written(stream.state.received(), stream.now, stream.state.received());
  EXPECT_FALSE(stream.state.sync_due_at());
  stream.receive(1000);
  stream.state.on_written(stream.state.received(), stream.now, stream.state.received());
  EXPECT_FALSE(stream.state.sync_due_at());  // the server told of 10 MB
  Stream at_end(options);
  at_end.receive(1000);
  at_end.state.on_written(at_end.state.received(), at_end.now, at_end.state.received());
  EXPECT_EQ(at_end.state.sync_due_at(), Time::min());
}

TEST(StreamState, KnowsWhetherTheServerHasTheWholeNextSegment) {
  Stream stream;
  stream.keepalive(false, kMB - 1);
  EXPECT_FALSE(stream.state.next_piece_is_there());
  stream.keepalive(false, kMB);
  EXPECT_TRUE(stream.state.next_piece_is_there());
  stream.receive_and_write(1, kMB - 1);  // inside a segment the next one counts
  EXPECT_FALSE(stream.state.next_piece_is_there());
  stream.keepalive(false, 2 * kMB - 1);
  EXPECT_TRUE(stream.state.next_piece_is_there());
}

TEST(StreamState, TakesALargeSegmentInPieces) {
  auto options = Stream::defaults();
  options.segment_size = *wal::SegmentSize::of(64 * kMB);
  options.largest_buffered = 16 * kMB;
  options.flush = {FlushPolicy::Mode::segment, {}};
  Stream stream(options, Lsn(64 * kMB));
  stream.keepalive(false, 16 * kMB - 1);
  EXPECT_FALSE(stream.state.next_piece_is_there());
  stream.keepalive(false, 16 * kMB);
  EXPECT_TRUE(stream.state.next_piece_is_there());
  // What lies in memory is written with its piece, else when its segment is full.
  const std::uint64_t much = 500 * kMB;
  stream.receive(16 * kMB - 1, much);
  stream.state.on_written(stream.state.received(), stream.now, stream.state.received());
  EXPECT_EQ(stream.state.sync_due_at(), std::nullopt);
  stream.receive(1, much);
  stream.state.on_written(stream.state.received(), stream.now, stream.state.received());
  EXPECT_EQ(stream.state.sync_due_at(), Time::min());
  stream.state.on_sync_done(stream.state.on_sync_started(stream.state.write()));
  stream.receive_and_write(32 * kMB, much);
  EXPECT_EQ(stream.state.sync_due_at(), std::nullopt);
}

/// Memory is limited by what is in memory.
TEST(StreamState, ReadsToTheEndOfASegmentThatIsNotInMemory) {
  auto options = Stream::defaults();
  options.segment_size = *wal::SegmentSize::of(64 * kMB);
  options.flush = {FlushPolicy::Mode::segment, {}};
  options.unsynced_limit = 32 * kMB;
  Stream in_memory(options, Lsn(64 * kMB));
  in_memory.receive(32 * kMB, 500 * kMB);
  in_memory.state.on_written(in_memory.state.received(), in_memory.now, in_memory.state.received());
  EXPECT_FALSE(in_memory.state.may_read());
  EXPECT_EQ(in_memory.state.sync_due_at(), Time::min());
  Stream in_file(options, Lsn(64 * kMB));
  in_file.receive_and_write(64 * kMB - 1, kMB);
  EXPECT_EQ(in_file.state.sync_due_at(), std::nullopt);
  ASSERT_TRUE(in_file.state.may_read());
  in_file.receive_and_write(1, kMB);
  EXPECT_EQ(in_file.state.sync_due_at(), Time::min());
}

TEST(StreamState, KeepsWhatWasAcknowledgedWhenALaterSyncIsGivenUp) {
  Stream stream;
  stream.take(100);
  stream.receive_and_write(100);
  const auto given_up = stream.state.on_sync_started(stream.state.write());
  stream.receive_and_write(100);
  const auto later = stream.state.on_sync_started(stream.state.write());
  EXPECT_TRUE(stream.state.is_oldest(given_up));
  EXPECT_FALSE(stream.state.is_oldest(later));
  stream.state.on_sync_given_up();
  EXPECT_TRUE(stream.state.stopping());
  EXPECT_FALSE(stream.state.may_read());
  EXPECT_FALSE(stream.state.sync_due_at());
  stream.state.on_written(kStart + 300, stream.now);  // a write that was under way changes nothing
  EXPECT_EQ(stream.state.flush(), kStart + 100);
  EXPECT_EQ(stream.state.write(), kStart + 100);
  EXPECT_EQ(stream.status()->flush, kStart + 100);
  EXPECT_TRUE(stream.state.finished());
}

TEST(StreamState, MovesNoPositionForWhatItDrops) {
  Stream stream;
  stream.take(100);
  ASSERT_TRUE(stream.status());
  stream.receive(50);
  stream.state.begin_discarding(stream.now);
  const std::vector<std::byte> wal(1000);
  const auto arrive = [&](Lsn start) {
    stream.state.on_dropped({.start = start, .server_end = start + 1000, .wal = wal}, stream.now);
  };
  arrive(kStart + 150);
  arrive(kStart + 1150);
  EXPECT_THROW(arrive(kStart + 1150), Error) << "it has to continue what was dropped";
  EXPECT_EQ(stream.state.received(), kStart + 150);
  EXPECT_FALSE(stream.state.may_read());
  stream.keepalive(true, 5000);
  const auto status = stream.status();
  ASSERT_TRUE(status) << "it answers all the same";
  EXPECT_EQ(status->write, kStart + 100);
  EXPECT_EQ(status->flush, kStart + 100);
  EXPECT_FALSE(stream.state.finished());
  stream.now += 61s;
  EXPECT_TRUE(stream.state.silent_for_too_long(stream.now)) << "somebody listens";
}

TEST(StreamState, DropsBehindWhatItHasTakenThoughThatWasGivenUpSince) {
  Stream stream;
  stream.receive(50);
  stream.state.drop_unwritten();  // a full disk, and the end of the program
  stream.state.begin_discarding(stream.now);
  const std::vector<std::byte> wal(10);
  stream.state.on_dropped({.start = kStart + 50, .server_end = kStart + 60, .wal = wal},
                          stream.now);
  EXPECT_EQ(stream.state.received(), kStart);
}

TEST(StreamState, DropsNoMoreInASecondThanAConnectionHolds) {
  Stream stream;
  stream.receive(50);
  stream.state.begin_discarding(stream.now);
  const std::vector<std::byte> wal(kMB);
  auto end = stream.state.received();
  const auto drop_all = [&] {
    std::uint64_t dropped = 0;
    for (; stream.state.drops_at() <= stream.now; dropped += wal.size(), end = end + wal.size())
      stream.state.on_dropped({.start = end, .server_end = end + 100 * kMB, .wal = wal},
                              stream.now);
    return dropped;
  };
  EXPECT_EQ(drop_all(), kMostDropped);
  EXPECT_EQ(stream.state.drops_at(), stream.now + 1s);
  stream.now += 1s;
  EXPECT_EQ(drop_all(), kMostDropped);
}

}  // namespace
}  // namespace weir::receive::stream_state_test

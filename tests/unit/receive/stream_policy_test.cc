#include "receive/stream_policy.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace weir::receive::stream_policy_test {
namespace {

using namespace std::chrono_literals;
using wal::Lsn;
using ServerCare = StreamPolicy::ServerCare;
using How = StreamOutcome::How;
using DiskChange = StreamPolicy::DiskChange;
using Action = StreamPolicy::Action;
using Decision = StreamPolicy::Decision;
using Question = StreamPolicy::ShutdownQuestion;

constexpr std::uint64_t kMB = 1 << 20;
constexpr Lsn kStart(3 * kMB);
constexpr StreamPolicy::Pending kNothing{};
constexpr StreamPolicy::Pending kWal{.wal = true};
constexpr StreamPolicy::Pending kDispute{.disputed = true};
const Error kFull(ErrorKind::disk_full, "no space");

/// A stream at 3 MB with segments of 1 MB, and a clock.
class Stream {
 public:
  explicit Stream(StreamPolicy::Options options = {}, std::optional<Lsn> endpos = std::nullopt)
      : state(state_options(endpos), 1, kStart, now), policy(with_size(options), state) {}

  void receive(std::uint64_t bytes, std::uint64_t ahead = 0) {
    const std::vector<std::byte> wal(bytes);
    state.on_wal(
        {.start = state.received(), .server_end = state.received() + bytes + ahead, .wal = wal},
        now);
  }
  StreamPolicy::Verdict written(const std::optional<Error>& error = std::nullopt) {
    return policy.on_written(error ? state.write() : state.received(), Lsn(), error, now);
  }
  void take(std::uint64_t bytes) {
    receive(bytes);
    written();
  }
  StreamPolicy::Sync begin(bool publishes = false) {
    return policy.on_sync_begun(state.write(), publishes, now);
  }
  /// A sync of `bytes` that takes 10 ms, while more arrives.
  void slow_sync(std::uint64_t bytes) {
    take(bytes);
    const auto sync = begin();
    now += 10ms;
    policy.on_sync_done(sync, 10ms, now);
    policy.on_arrivals(true);
  }

  Time now{1'000'000ms};
  StreamState state;
  StreamPolicy policy;

 private:
  static StreamState::Options state_options(std::optional<Lsn> endpos) {
    StreamState::Options options;
    options.segment_size = *wal::SegmentSize::of(kMB);
    options.endpos = endpos;
    return options;
  }
  static StreamPolicy::Options with_size(StreamPolicy::Options options) {
    options.segment_size = *wal::SegmentSize::of(kMB);
    return options;
  }
};

TEST(StreamPolicy, WritesWhatIsHeldBeforeMoreIsRead) {
  Stream stream;
  EXPECT_EQ(stream.policy.next(), Action::read);
  stream.receive(100);
  EXPECT_EQ(stream.policy.next(kWal, stream.now), Action::write);
  EXPECT_EQ(stream.written().decision, Decision::go_on);
  stream.policy.request_stop();
  EXPECT_EQ(stream.policy.next(), Action::wait);
  EXPECT_EQ(stream.policy.next(kWal, stream.now), Action::write) << "also on the way to the end";
}

TEST(StreamPolicy, WaitsForSpaceInGrowingStepsAndTellsItOnce) {
  Stream stream;
  stream.receive(100);
  auto verdict = stream.written(kFull);
  EXPECT_EQ(verdict.decision, Decision::wait);
  EXPECT_EQ(verdict.disk, DiskChange::full);
  for (const auto wait : {100ms, 200ms, 400ms, 800ms, 1600ms, 3200ms, 5000ms, 5000ms}) {
    SCOPED_TRACE(wait.count());
    stream.now += wait - 1ms;
    EXPECT_EQ(stream.policy.next(kWal, stream.now), Action::wait);
    EXPECT_EQ(stream.policy.next_wait(kWal, stream.now).until, stream.now + 1ms);
    stream.now += 1ms;
    EXPECT_EQ(stream.policy.next(kWal, stream.now), Action::write);
    verdict = stream.written(kFull);
    EXPECT_EQ(verdict.decision, Decision::wait);
    EXPECT_EQ(verdict.disk, DiskChange::none);
  }
  EXPECT_EQ(stream.written().disk, DiskChange::space);
  EXPECT_EQ(stream.written().disk, DiskChange::none);
  EXPECT_EQ(stream.written(kFull).disk, DiskChange::full) << "the next time it is news again";
  stream.now += 100ms;
  EXPECT_EQ(stream.policy.next(kWal, stream.now), Action::write);
}

TEST(StreamPolicy, DropsWhatItCannotWrite) {
  struct Case {
    const char* name;
    Error error;
    OnDiskFull on_disk_full;
  };
  for (const auto& [name, error, on_disk_full] : std::vector<Case>{
           {"full, and the user wants no waiting", kFull, OnDiskFull::stop},
           {"any other error", Error(ErrorKind::io, "broken"), OnDiskFull::wait},
           {"WAL of another server", Error(ErrorKind::conflict, "other WAL"), OnDiskFull::wait}}) {
    SCOPED_TRACE(name);
    Stream stream({.on_disk_full = on_disk_full});
    stream.receive(100);
    EXPECT_EQ(stream.policy.on_written(kStart + 40, Lsn(), error, stream.now).decision,
              Decision::fail);
    EXPECT_EQ(stream.state.received(), kStart + 40) << "its front is there";
  }
}

TEST(StreamPolicy, DropsWhatIsHeldRatherThanWaitForSpaceOnceItStops) {
  Stream stream;
  stream.receive(100);
  static_cast<void>(stream.written(kFull));
  EXPECT_EQ(stream.policy.fail(Error(ErrorKind::retry, "connection lost")), Decision::fail);
  EXPECT_EQ(stream.policy.next(kWal, stream.now), Action::drop);
  EXPECT_EQ(stream.state.received(), stream.state.write());
}

TEST(StreamPolicy, WaitsForSpaceForTheWalThatReachesTheEndPosition) {
  for (const bool stopped : {false, true}) {
    SCOPED_TRACE(stopped);
    Stream stream({.endpos = kStart + 100}, kStart + 100);
    stream.receive(100);
    ASSERT_TRUE(stream.state.stopping());
    EXPECT_EQ(stream.written(kFull).decision, Decision::wait);
    EXPECT_EQ(stream.policy.next(kWal, stream.now), Action::wait);
    stream.now += 1s;
    EXPECT_EQ(stream.policy.next(kWal, stream.now), Action::write);
    EXPECT_EQ(stream.state.received(), kStart + 100) << "it is not forgotten";
    if (stopped) {
      stream.policy.request_stop();
      EXPECT_EQ(stream.policy.next(kWal, stream.now), Action::drop);
    }
    EXPECT_EQ(stream.policy.outcome().stop_asked, stopped);
  }
}

TEST(StreamPolicy, ReadsOnInADisputeUntilNothingMoreIsToBeExpected) {
  Stream stream;
  stream.receive(100, 50);
  static_cast<void>(stream.policy.next(kDispute, stream.now));
  stream.now += 1h;
  EXPECT_EQ(stream.policy.next(kDispute, stream.now), Action::read) << "the server has more";

  Stream at_end;
  at_end.receive(100);
  EXPECT_EQ(at_end.policy.next(kDispute, at_end.now), Action::read);
  EXPECT_EQ(at_end.policy.next_wait(kDispute, at_end.now).until, at_end.now + 10s);
  at_end.now += 9'999ms;
  EXPECT_EQ(at_end.policy.next(kDispute, at_end.now), Action::read);
  at_end.now += 1ms;
  EXPECT_EQ(at_end.policy.next(kDispute, at_end.now), Action::resolve);
  EXPECT_EQ(at_end.state.received(), at_end.state.write());
}

TEST(StreamPolicy, SettlesADisputeAtTheEndOfTheStreamAndLeavesItToTheNextStartWhenToldToStop) {
  Stream ended;
  ended.receive(100, 50);
  EXPECT_EQ(ended.policy.fail(Error(ErrorKind::retry, "connection lost")), Decision::fail);
  EXPECT_EQ(ended.policy.next(kDispute, ended.now), Action::resolve);

  Stream stopped;
  stopped.receive(100, 50);
  stopped.policy.request_stop();
  EXPECT_EQ(stopped.policy.next(kDispute, stopped.now), Action::drop);
  EXPECT_EQ(stopped.state.received(), kStart);
}

TEST(StreamPolicy, BeginsNoMoreSyncsThanMayBeUnderWay) {
  Stream stream;
  std::vector<StreamPolicy::Sync> syncs;
  for (std::size_t i = 0; i < kMaxSyncs; ++i) {
    stream.take(100);
    EXPECT_TRUE(stream.policy.sync_at());
    syncs.push_back(stream.begin());
  }
  stream.take(100);
  EXPECT_EQ(stream.policy.sync_at(), std::nullopt);
  const auto rest = stream.policy.next_wait(kNothing, stream.now);
  EXPECT_EQ(rest.until, std::nullopt);
  EXPECT_TRUE(rest.needs_sync);
  EXPECT_TRUE(rest.hears);
  EXPECT_TRUE(stream.policy.on_sync_done(syncs[0], 1us, stream.now));
  EXPECT_TRUE(stream.policy.sync_at());
}

TEST(StreamPolicy, DoesNotTakeTheWaitForACpuForASlowDisk) {
  Stream stream;
  int asked = 0;
  for (int i = 0; i < 80; ++i) {
    stream.take(100);
    const auto sync = stream.begin();
    stream.now += 900us;
    asked += sync.asks_delay ? 1 : 0;
    stream.policy.on_sync_done(
        sync, 900us, stream.now,
        sync.asks_delay ? std::optional<std::chrono::nanoseconds>(800us) : std::nullopt);
    stream.policy.on_arrivals(true);
  }
  EXPECT_GT(asked, 0);
  stream.take(100);
  EXPECT_FALSE(stream.begin().overlaps);
}

TEST(StreamPolicy, SpreadsSlowSyncsAndReadsWhatComesBetweenThemInOneGo) {
  Stream stream;
  for (int i = 0; i < 20; ++i) stream.slow_sync(100);
  stream.take(100);
  EXPECT_EQ(stream.policy.sync_at(), Time::min()) << "none is under way";
  EXPECT_TRUE(stream.begin().overlaps);
  const auto began = stream.now;
  stream.take(100);
  const auto next = stream.policy.sync_at();
  ASSERT_TRUE(next);
  EXPECT_GT(*next, began);
  EXPECT_LT(*next, began + 10ms);
  const auto rest = stream.policy.next_wait(kNothing, stream.now);
  EXPECT_EQ(rest.until, next);
  EXPECT_TRUE(rest.reads);
  EXPECT_FALSE(rest.hears);
  EXPECT_TRUE(stream.policy.next_wait(kNothing, *next).hears);
  stream.policy.request_stop();
  EXPECT_EQ(stream.policy.sync_at(), Time::min()) << "the last one waits for nothing";
}

TEST(StreamPolicy, ReadsOnWhenTheNextSyncMayBeginEvenIfThereIsNothingToBeSynced) {
  Stream stream;
  for (int i = 0; i < 20; ++i) stream.slow_sync(100);
  stream.take(100);
  static_cast<void>(stream.begin());
  EXPECT_EQ(stream.policy.sync_at(), std::nullopt);
  const auto rest = stream.policy.next_wait(kNothing, stream.now);
  EXPECT_FALSE(rest.hears);
  ASSERT_TRUE(rest.until);
  EXPECT_LT(*rest.until, stream.now + 10ms);
  EXPECT_FALSE(rest.needs_sync);
}

TEST(StreamPolicy, SleepsNoLongerThanUntilASyncIsDue) {
  Stream stream;
  stream.receive(100, 2 * kCatchUpBytes);  // syncs are rare while there is much to come
  static_cast<void>(stream.written());
  EXPECT_EQ(stream.policy.sync_at(), stream.now + kCatchUpInterval);
  EXPECT_LT(stream.policy.next_wait(kNothing, stream.now).until, stream.policy.sync_at())
      << "WAL gathers";
  stream.now += kCatchUpInterval - 1ms;
  const auto rest = stream.policy.next_wait(kNothing, stream.now);
  EXPECT_EQ(rest.until, stream.now + 1ms);
  EXPECT_EQ(rest.until, stream.policy.sync_at());
  EXPECT_TRUE(rest.hears);
}

TEST(StreamPolicy, DoesNotReadWhileTooMuchIsNotDurable) {
  Stream stream;
  while (stream.policy.next() == Action::read) stream.take(kMB / 2);
  static_cast<void>(stream.begin());
  const auto rest = stream.policy.next_wait(kNothing, stream.now);
  EXPECT_FALSE(rest.reads);
  EXPECT_FALSE(rest.hears);
  EXPECT_TRUE(rest.needs_sync);
  stream.now += 1h;
  EXPECT_FALSE(stream.state.silent_for_too_long(stream.now)) << "nobody listened";
}

TEST(StreamPolicy, WaitsForSpaceBeforeASync) {
  Stream stream;
  stream.take(100);
  EXPECT_EQ(stream.policy.sync_at(), Time::min());
  const auto verdict = stream.policy.on_no_job(kFull, stream.now);
  EXPECT_EQ(verdict.decision, Decision::wait);
  EXPECT_EQ(verdict.disk, DiskChange::full);
  EXPECT_EQ(stream.policy.sync_at(), stream.now + 100ms);
  stream.receive(100);
  EXPECT_EQ(stream.written().disk, DiskChange::none) << "to memory: that says nothing of the disk";
  EXPECT_EQ(stream.policy.on_no_job(kFull, stream.now + 100ms).disk, DiskChange::none);
  EXPECT_EQ(stream.begin().disk, DiskChange::space);
  EXPECT_EQ(stream.policy.outcome().how, How::stopped) << "it has not failed";
}

TEST(StreamPolicy, LetsTheSyncOfAFullSegmentTellThatThereIsSpaceAgain) {
  Stream stream;
  stream.take(100);
  static_cast<void>(stream.policy.on_no_job(kFull, stream.now));
  stream.take(kMB - 100);  // so that it need not be written before the sync
  auto sync = stream.begin(true);
  EXPECT_EQ(sync.disk, DiskChange::none);
  EXPECT_TRUE(sync.waits);
  EXPECT_EQ(stream.policy.on_sync_part(sync, kFull).disk, DiskChange::none);
  EXPECT_EQ(stream.policy.on_sync_part(sync, std::nullopt).disk, DiskChange::space);
  EXPECT_FALSE(sync.waits);
}

TEST(StreamPolicy, TakesAnyOtherErrorBeforeASyncForTheLossOfWhatIsWritten) {
  Stream stream;
  stream.take(100);
  EXPECT_EQ(stream.policy.on_no_job(Error(ErrorKind::io, "broken"), stream.now).decision,
            Decision::fatal);
}

TEST(StreamPolicy, GivesUpASyncWithoutSpaceWhenToldToStop) {
  Stream stream;
  stream.take(100);
  auto earlier = stream.begin();
  stream.take(100);
  stream.policy.on_end_of_stream({.next = pq::EndOfStream::Next{2, stream.state.write()}});
  stream.policy.request_stop();
  EXPECT_EQ(stream.policy.on_no_job(kFull, stream.now).decision, Decision::wait)
      << "what is under way stays to be acknowledged";
  EXPECT_EQ(stream.policy.sync_at(), stream.now + 100ms);
  EXPECT_TRUE(stream.policy.on_sync_done(earlier, 1us, stream.now));
  EXPECT_EQ(stream.policy.sync_at(), Time::min()) << "now it is tried at once";
  EXPECT_EQ(stream.policy.on_no_job(kFull, stream.now).decision, Decision::abandon);
  EXPECT_EQ(stream.policy.sync_at(), std::nullopt);
  EXPECT_EQ(stream.policy.outcome().how, How::stopped) << "the timeline's end is still to be had";
  EXPECT_EQ(stream.policy.outcome().reached, kStart + 100);
}

TEST(StreamPolicy, FailsWithTheFullDiskWhereTheUserWantsNoWaiting) {
  Stream stream({.on_disk_full = OnDiskFull::stop});
  stream.take(100);
  EXPECT_EQ(stream.policy.on_no_job(kFull, stream.now).decision, Decision::abandon);
  EXPECT_TRUE(stream.policy.failed());
  EXPECT_EQ(stream.policy.outcome().error->kind(), ErrorKind::disk_full);
}

TEST(StreamPolicy, LetsEachSyncWaitForSpaceAndTellsItOnceForAll) {
  Stream stream;
  stream.take(100);
  auto one = stream.begin();
  stream.take(100);
  auto two = stream.begin();
  EXPECT_EQ(stream.policy.on_sync_part(one, kFull).disk, DiskChange::full);
  EXPECT_EQ(stream.policy.on_sync_part(two, kFull).disk, DiskChange::none);
  for (const auto wait : {200ms, 400ms, 800ms, 1600ms, 3200ms, 5000ms, 5000ms}) {
    const auto verdict = stream.policy.on_sync_part(one, kFull);
    EXPECT_EQ(verdict.decision, Decision::wait);
    EXPECT_EQ(verdict.disk, DiskChange::none);
    EXPECT_EQ(verdict.wait, wait);
  }
  EXPECT_EQ(stream.policy.on_sync_part(one, std::nullopt).disk, DiskChange::none);
  EXPECT_EQ(stream.policy.on_sync_part(two, std::nullopt).disk, DiskChange::space);
  EXPECT_EQ(stream.policy.on_sync_part(one, kFull).wait, 100ms) << "its other part begins anew";
}

TEST(StreamPolicy, GivesUpSyncsInTheOrderInWhichTheyBegan) {
  Stream stream;
  stream.take(100);
  auto first = stream.begin();
  stream.take(100);
  auto second = stream.begin();
  stream.take(100);
  auto third = stream.begin();
  stream.policy.request_stop();
  EXPECT_EQ(stream.policy.on_sync_part(second, kFull).decision, Decision::abandon);
  EXPECT_FALSE(stream.policy.may_give_up(second));
  EXPECT_TRUE(stream.policy.on_sync_done(first, 1us, stream.now));
  EXPECT_TRUE(stream.policy.may_give_up(second));
  stream.policy.give_up(kFull);
  EXPECT_EQ(stream.state.flush(), kStart + 100) << "what was synced before stays";
  EXPECT_TRUE(stream.policy.may_give_up(third));
  EXPECT_EQ(stream.policy.on_sync_part(third, Error(ErrorKind::durability, "an earlier one"), true)
                .decision,
            Decision::ignore);
  EXPECT_EQ(stream.policy.next(kWal, stream.now), Action::drop);
  EXPECT_EQ(stream.policy.outcome().how, How::stopped);
}

/// Seed 1045604: the next stream went on with a file of which a sync had failed.
TEST(StreamPolicy, EndsTheProcessForAFailedSyncAlsoAfterAnotherOneWasGivenUp) {
  Stream stream;
  stream.take(100);
  auto first = stream.begin();
  stream.take(100);
  auto second = stream.begin();
  stream.policy.request_stop();
  EXPECT_EQ(stream.policy.on_sync_part(first, kFull).decision, Decision::abandon);
  stream.policy.give_up(kFull);
  EXPECT_EQ(stream.policy.on_sync_part(second, Error(ErrorKind::durability, "failed")).decision,
            Decision::fatal);
}

TEST(StreamPolicy, CountsASyncThatWasGivenUpMeanwhileForNothing) {
  Stream stream;
  stream.take(100);
  auto first = stream.begin();
  stream.take(100);
  auto second = stream.begin();
  stream.policy.request_stop();
  EXPECT_EQ(stream.policy.on_sync_part(first, kFull).decision, Decision::abandon);
  stream.policy.give_up(kFull);
  EXPECT_FALSE(stream.policy.on_sync_done(second, 1us, stream.now));
  EXPECT_EQ(stream.state.flush(), kStart);
}

/// Seed 250200 of bbaf2c8: the server got no message while the other sync hung.
TEST(StreamPolicy, IsNotOverWhileTheDiskIsBusyAfterASyncWasGivenUp) {
  for (const bool writes : {false, true}) {
    Stream stream({.on_disk_full = OnDiskFull::stop});
    stream.take(100);
    auto first = stream.begin();
    stream.take(100);
    const auto second = writes ? std::nullopt : std::optional(stream.begin());
    if (writes) stream.policy.on_write_begun(stream.now);
    EXPECT_EQ(stream.policy.on_sync_part(first, kFull).decision, Decision::abandon);
    stream.policy.give_up(kFull);
    EXPECT_FALSE(stream.policy.finished());
    stream.now += 10s;
    EXPECT_EQ(stream.policy.care_for_server(stream.now), ServerCare::close);
    if (writes) stream.policy.on_write_ended();
    if (second) {
      EXPECT_FALSE(stream.policy.on_sync_done(*second, 10s, stream.now));
    }
    EXPECT_TRUE(stream.policy.finished());
  }
}

TEST(StreamPolicy, EndsTheProcessForAnyOtherErrorOfASync) {
  for (const auto kind : {ErrorKind::durability, ErrorKind::io, ErrorKind::conflict}) {
    Stream stream;
    stream.take(100);
    auto sync = stream.begin();
    EXPECT_EQ(stream.policy.on_sync_part(sync, Error(kind, "broken")).decision, Decision::fatal);
  }
}

TEST(StreamPolicy, EndsWithTheFirstErrorUnlessDurabilityIsLost) {
  Stream stream;
  EXPECT_EQ(stream.policy.fail(Error(ErrorKind::retry, "first").with_sqlstate("08006")),
            Decision::fail);
  EXPECT_EQ(stream.policy.fail(Error(ErrorKind::damage, "second")), Decision::go_on);
  EXPECT_EQ(stream.policy.outcome().error->kind(), ErrorKind::retry);
  EXPECT_EQ(stream.policy.outcome().error->sqlstate(), "08006");
  EXPECT_EQ(stream.policy.next(), Action::wait);
  EXPECT_EQ(stream.policy.fail(Error(ErrorKind::durability, "third")), Decision::fatal);
}

TEST(StreamPolicy, TellsAServerThatShutsDownFromTheEndOfATimeline) {
  Stream down;
  down.policy.on_end_of_stream({});
  EXPECT_EQ(down.policy.outcome().how, How::failed);
  EXPECT_EQ(down.policy.outcome().error->kind(), ErrorKind::retry);

  Stream ended;
  ended.receive(100);
  ended.policy.on_end_of_stream({.next = pq::EndOfStream::Next{2, kStart + 100}});
  EXPECT_EQ(ended.policy.outcome().how, How::timeline_ended);
  EXPECT_EQ(ended.policy.outcome().next->timeline, 2U);
  EXPECT_TRUE(ended.policy.outcome().heard_anything);
  EXPECT_EQ(ended.policy.next(kWal, ended.now), Action::write);
}

TEST(StreamPolicy, WithStockHabitsWritesOneSegmentAfterTheOther) {
  Stream stream({.one_segment_at_a_time = true});
  stream.take(100);
  EXPECT_EQ(stream.policy.most_to_write(), kMB - 100);
  EXPECT_FALSE(stream.policy.buffers_segments());
  stream.take(kMB - 100);
  stream.receive(100);
  EXPECT_EQ(stream.policy.next(kWal, stream.now), Action::wait) << "the segment has no name yet";
  EXPECT_FALSE(stream.policy.may_write());
  EXPECT_TRUE(stream.policy.on_sync_done(stream.begin(true), 1us, stream.now));
  EXPECT_EQ(stream.policy.next(kWal, stream.now), Action::write);
  EXPECT_EQ(Stream().policy.most_to_write(), std::numeric_limits<std::size_t>::max());
}

// --- That nobody is held up by a disk ------------------------------------------------------------

/// A write hangs, and nobody reads.
void hang(Stream& stream) {
  stream.receive(100);
  stream.state.on_deaf();
  stream.policy.on_write_begun(stream.now);
}

void drop(Stream& stream, Lsn from, std::uint64_t bytes) {
  const std::vector<std::byte> wal(bytes);
  stream.state.on_dropped({.start = from, .server_end = from + bytes, .wal = wal}, stream.now);
}

TEST(StreamPolicy, DropsWhatComesOnceTheDiskIsStuckAndNobodyReads) {
  Stream stream;
  hang(stream);
  stream.now += 999ms;
  EXPECT_EQ(stream.policy.care_for_server(stream.now), ServerCare::none);
  stream.now += 1ms;
  EXPECT_EQ(stream.policy.care_for_server(stream.now), ServerCare::discard);
  EXPECT_EQ(stream.policy.care_for_server(stream.now), ServerCare::none) << "it is said once";
  EXPECT_TRUE(stream.state.discarding());
  EXPECT_EQ(stream.policy.next(), Action::wait) << "who writes reads no more";
  EXPECT_FALSE(stream.policy.next_wait(kNothing, stream.now).reads);
  EXPECT_FALSE(stream.state.deaf()) << "somebody reads all the same";
  drop(stream, kStart + 100, 5000);
  EXPECT_EQ(stream.state.received(), kStart + 100);

  stream.written();
  EXPECT_FALSE(stream.state.finished());
  EXPECT_EQ(stream.policy.sync_at(), Time::min()) << "at once, whatever the policy";
  stream.policy.on_sync_done(stream.begin(), 1ms, stream.now);
  EXPECT_EQ(stream.state.take_status(stream.now)->flush, kStart + 100);
  EXPECT_TRUE(stream.state.finished());
  EXPECT_EQ(stream.policy.outcome().how, How::dropped);
  EXPECT_EQ(stream.policy.outcome().reached, kStart + 100);
}

TEST(StreamPolicy, DropsNothingWhileSomebodyReadsOrTheDiskMoves) {
  Stream reading;
  reading.take(100);
  static_cast<void>(reading.begin());
  static_cast<void>(reading.policy.next_wait(kNothing, reading.now));
  reading.now += 1h;
  EXPECT_EQ(reading.policy.care_for_server(reading.now), ServerCare::none)
      << "a sync hangs, and reading goes on";

  Stream moving;
  for (int i = 0; i < 100; ++i) {
    hang(moving);
    moving.now += 900ms;
    EXPECT_EQ(moving.policy.care_for_server(moving.now), ServerCare::none);
    moving.written();
  }
  moving.state.on_deaf();
  moving.now += 1h;
  EXPECT_EQ(moving.policy.care_for_server(moving.now), ServerCare::none)
      << "it was asked for nothing";
}

TEST(StreamPolicy, TakesAFullDiskForStuckThoughItIsTriedAgain) {
  Stream stream;
  hang(stream);
  static_cast<void>(stream.policy.on_written(kStart, Lsn(), kFull, stream.now));
  stream.now += 600ms;
  stream.policy.on_write_begun(stream.now);
  static_cast<void>(stream.policy.on_written(kStart, Lsn(), kFull, stream.now));
  stream.now += 400ms;
  EXPECT_EQ(stream.policy.care_for_server(stream.now), ServerCare::discard);
  EXPECT_EQ(stream.policy.next(kWal, stream.now + 1h), Action::write) << "and goes on being tried";
}

TEST(StreamPolicy, IsPatientWithADiskThatHasPausedAndGoneOn) {
  struct Case {
    const char* name;
    std::chrono::milliseconds pause;
    std::chrono::milliseconds patience;
  };
  for (const auto& [name, pause, patience] :
       std::vector<Case>{{"hardly", 300ms, 1000ms},
                         {"slow", 2000ms, 4000ms},
                         {"very slow", 4000ms, 5000ms},
                         {"that was no pause", 60'000ms, 1000ms}}) {
    SCOPED_TRACE(name);
    Stream first;
    first.take(100);
    const auto sync = first.begin();
    first.now += pause;
    first.policy.on_sync_done(sync, pause, first.now);
    EXPECT_EQ(first.policy.patience(), patience);
    Stream next({.longest_pause = first.policy.longest_pause()});
    EXPECT_EQ(next.policy.patience(), patience) << "the next stream knows";
  }
}

TEST(StreamPolicy, LetsAServerGoThatShutsDownWhileTheDiskIsStuck) {
  Stream stream;
  stream.take(100);
  const auto sync = stream.begin();
  static_cast<void>(stream.policy.next_wait(kNothing, stream.now));
  const auto ask = [&](std::chrono::milliseconds every, int times) {
    for (int i = 0; i < times; ++i) {
      stream.now += every;
      stream.state.on_keepalive({.server_end = kStart + 100, .reply_requested = true}, stream.now);
    }
  };
  ask(1500ms, 20);
  EXPECT_EQ(stream.policy.care_for_server(stream.now), ServerCare::none)
      << "as one that hears nothing for long";
  ask(1ms, 6);
  EXPECT_EQ(stream.policy.care_for_server(stream.now), ServerCare::none);
  ask(1ms, 1);
  EXPECT_EQ(stream.policy.care_for_server(stream.now), ServerCare::let_go);
  stream.now += 2s;
  EXPECT_EQ(stream.policy.care_for_server(stream.now), ServerCare::none) << "it asks no more";
  ask(1ms, 10);
  stream.policy.on_sync_done(sync, 1ms, stream.now);
  EXPECT_EQ(stream.policy.care_for_server(stream.now), ServerCare::none) << "it will be confirmed";
}

TEST(StreamPolicy, ClosesTheConnectionOfAStreamThatHasFailedWhileTheDiskIsStuck) {
  Stream stream;
  stream.take(100);
  static_cast<void>(stream.begin());
  static_cast<void>(stream.policy.fail(Error(ErrorKind::refused, "the slot is invalidated")));
  EXPECT_EQ(stream.policy.care_for_server(stream.now), ServerCare::none);
  stream.now += 1s;
  EXPECT_EQ(stream.policy.care_for_server(stream.now), ServerCare::close);
  EXPECT_EQ(stream.policy.care_for_server(stream.now), ServerCare::none) << "once";
  EXPECT_EQ(stream.policy.outcome().how, How::failed);
}

TEST(StreamPolicy, TakesNoEndOfATimelineForItWhileWalIsDropped) {
  Stream stream;
  hang(stream);
  static_cast<void>(stream.policy.on_written(kStart, Lsn(), kFull, stream.now));
  stream.now += 1s;
  ASSERT_EQ(stream.policy.care_for_server(stream.now), ServerCare::discard);
  drop(stream, kStart + 100, 50);
  stream.policy.on_end_of_stream({.next = pq::EndOfStream::Next{2, kStart + 150}});
  EXPECT_EQ(stream.policy.outcome().how, How::dropped);
  EXPECT_EQ(stream.policy.next(kWal, stream.now), Action::write) << "space is waited for";
  stream.policy.request_stop();
  EXPECT_EQ(stream.policy.next(kWal, stream.now), Action::drop) << "unless it is to stop";
}

TEST(StreamPolicy, ReadsFirstAndSyncsThenUnlessThereIsAlwaysMore) {
  Stream stream;
  stream.take(100);
  EXPECT_FALSE(stream.policy.begins_sync(false, stream.now)) << "one sync for all that is there";
  EXPECT_TRUE(stream.policy.begins_sync(true, stream.now));
  Stream behind;
  behind.receive(kMB, 10 * kMB);  // a whole segment
  behind.written();
  EXPECT_TRUE(behind.policy.begins_sync(false, behind.now));
}

TEST(StreamPolicy, PlacesWalOnlyFarBehindAndNotWhileSomethingIsDisputed) {
  Stream stream;
  stream.receive(100);
  EXPECT_FALSE(stream.policy.places_wal(kNothing));
  Stream behind;
  behind.receive(100, 10 * kMB);
  EXPECT_TRUE(behind.policy.places_wal(kNothing));
  EXPECT_FALSE(behind.policy.places_wal(kDispute));
}

TEST(StreamPolicy, LetsWalGatherFarBehindForLongerAsLongAsThereIsNeverMuch) {
  Stream stream;
  stream.take(100);
  auto rest = stream.policy.next_wait(kNothing, stream.now);
  EXPECT_EQ(rest.gather, 1U);
  EXPECT_FALSE(stream.policy.on_waited(rest, false)) << "nothing has come";
  EXPECT_TRUE(stream.policy.on_waited(rest, true));

  Stream behind;
  behind.receive(100, 10 * kMB);
  behind.written();
  for (const auto wait : {5ms, 10ms, 20ms, 40ms, 80ms, 100ms, 100ms}) {
    rest = behind.policy.next_wait(kNothing, behind.now);
    EXPECT_GT(rest.gather, 1U);
    EXPECT_EQ(rest.until, behind.now + wait);
    EXPECT_TRUE(behind.policy.on_waited(rest, false)) << "what there is is read all the same";
  }
  EXPECT_TRUE(behind.policy.on_waited(behind.policy.next_wait(kNothing, behind.now), true));
  EXPECT_EQ(behind.policy.next_wait(kNothing, behind.now).until, behind.now + 5ms);
}

TEST(StreamPolicy, WantsASpareOnceInEachSegmentThatWillBeFollowedByAnother) {
  Stream stream;
  stream.take(kMB / 16 - 1);
  EXPECT_FALSE(stream.policy.wants_spare()) << "the last one was just opened";
  stream.take(1);
  EXPECT_TRUE(stream.policy.wants_spare());
  EXPECT_FALSE(stream.policy.wants_spare()) << "once";
  stream.take(kMB);
  EXPECT_TRUE(stream.policy.wants_spare());
  Stream behind;
  behind.receive(kMB / 2, 10 * kMB);
  behind.written();
  EXPECT_FALSE(behind.policy.wants_spare()) << "blocks are better reserved than written twice";
  for (const std::uint64_t past : {0U, 1U}) {
    Stream ends({.endpos = kStart + kMB + past});
    ends.take(kMB / 2);
    EXPECT_EQ(ends.policy.wants_spare(), past != 0);
  }
}

TEST(StreamPolicy, TakesASilentServerForDead) {
  Stream stream({.silence_limit = 60s});
  stream.now += 59s;
  EXPECT_FALSE(stream.policy.silence(stream.now));
  stream.now += 1s;
  const auto dead = stream.policy.silence(stream.now);
  ASSERT_TRUE(dead);
  EXPECT_EQ(dead->kind(), ErrorKind::retry);
  EXPECT_NE(dead->message().find("1 min"), std::string::npos) << dead->message();
}

TEST(StreamPolicy, LetsAnotherThreadReadWhereASyncThatIsUsuallyQuickHangs) {
  Stream stream;
  stream.take(100);
  const auto sync = stream.begin();
  ASSERT_FALSE(sync.overlaps);
  EXPECT_LE(stream.policy.guard_until(stream.now), stream.now + 500ms);
  stream.now += 499ms;
  EXPECT_FALSE(stream.policy.reader_hangs(stream.now));
  stream.now += 1ms;
  EXPECT_TRUE(stream.policy.reader_hangs(stream.now));
  EXPECT_FALSE(stream.policy.reader_hangs(stream.now)) << "once";
  // The next one is at its own sync when the first comes back.
  stream.take(100);
  const auto next = stream.begin();
  stream.policy.on_sync_done(sync, 500ms, stream.now);
  stream.policy.on_reader_back(sync);
  stream.now += 500ms;
  EXPECT_TRUE(stream.policy.reader_hangs(stream.now));
  stream.policy.on_reader_back(next);
  stream.now += 500ms;
  EXPECT_FALSE(stream.policy.reader_hangs(stream.now));
}

TEST(StreamPolicy, WakesTheGuardianForTheFirstUseOfTheDiskAndNotForEach) {
  Stream stream;
  EXPECT_EQ(stream.policy.guard_until(stream.now), stream.state.next_status_at());
  stream.take(100);
  const auto sync = stream.begin();
  EXPECT_TRUE(stream.policy.wakes_guard());
  EXPECT_FALSE(stream.policy.wakes_guard());
  stream.policy.on_guard_woken();
  stream.policy.on_sync_done(sync, 1ms, stream.now);
  stream.policy.on_reader_back(sync);
  EXPECT_EQ(stream.policy.guard_until(stream.now), stream.now + 1s) << "it was used";
  EXPECT_FALSE(stream.policy.wakes_guard()) << "it looks again in a moment";
  stream.policy.on_guard_woken();
  EXPECT_EQ(stream.policy.guard_until(stream.now), stream.now + 1s);
  stream.policy.on_guard_woken();
  EXPECT_GT(stream.policy.guard_until(stream.now), stream.now + 1s) << "not for a round";
}

TEST(StreamPolicy, AsksWhetherTheServerShutsDownWhileTheDiskIsStuck) {
  Stream stream;
  stream.take(100);
  const auto sync = stream.begin();
  stream.now += 19s;
  EXPECT_EQ(stream.policy.asks_about_shutdown(stream.now), Question::none);
  stream.now += 1s;
  EXPECT_EQ(stream.policy.asks_about_shutdown(stream.now), Question::ask);
  EXPECT_EQ(stream.policy.asks_about_shutdown(stream.now), Question::ask) << "again";
  stream.policy.on_sync_done(sync, 20s, stream.now);
  EXPECT_EQ(stream.policy.asks_about_shutdown(stream.now), Question::no_more) << "it goes on";
  EXPECT_EQ(stream.policy.asks_about_shutdown(stream.now), Question::none);

  Stream behind;
  hang(behind);
  static_cast<void>(behind.policy.on_written(kStart, Lsn(), kFull, behind.now));
  behind.now += 1s;
  ASSERT_EQ(behind.policy.care_for_server(behind.now), ServerCare::discard);
  for (auto at = kStart + 100; behind.state.drops_at() <= behind.now; at = at + kMB)
    drop(behind, at, kMB);
  behind.now += 2s;
  drop(behind, behind.state.server_end(), 17 * kMB);
  EXPECT_EQ(behind.policy.asks_about_shutdown(behind.now), Question::ask)
      << "one with more than is taken from it does not come to its last question";
  EXPECT_TRUE(behind.policy.let_go());
  EXPECT_FALSE(behind.policy.let_go()) << "once";
  EXPECT_EQ(behind.policy.asks_about_shutdown(behind.now), Question::none) << "there is no need";
}

TEST(StreamPolicy, ReportsProgressAtOnceAndThenAlongWithWhatWakesTheGuardianAnyway) {
  Stream stream({.progress_interval = 10s});
  EXPECT_TRUE(stream.policy.reports_progress(stream.now));
  EXPECT_FALSE(stream.policy.reports_progress(stream.now));
  stream.now += 4'999ms;
  EXPECT_FALSE(stream.policy.reports_progress(stream.now));
  stream.now += 1ms;
  EXPECT_TRUE(stream.policy.reports_progress(stream.now)) << "half of the time has passed";
  EXPECT_FALSE(stream.policy.reports_progress(stream.now + 4'999ms)) << "since then";

  Stream often({.progress_interval = 1s});
  EXPECT_TRUE(often.policy.reports_progress(often.now));
  EXPECT_EQ(often.policy.guard_until(often.now), often.now + 1s) << "it is woken for that";
  often.now += 999ms;
  EXPECT_FALSE(often.policy.reports_progress(often.now)) << "never early";
  often.now += 1ms;
  EXPECT_TRUE(often.policy.reports_progress(often.now));
}

TEST(StreamPolicy, NoticesAQuietTimeByWhatIsReceived) {
  Stream stream;
  EXPECT_FALSE(stream.policy.quiet_begins(stream.now));
  stream.now += QuietTime::kQuiet;
  stream.receive(100);
  EXPECT_FALSE(stream.policy.quiet_begins(stream.now)) << "it is about to be written";
  stream.now += QuietTime::kQuiet;
  EXPECT_TRUE(stream.policy.quiet_begins(stream.now)) << "what waits for the disk moves nothing";
  static_cast<void>(stream.written());
  EXPECT_FALSE(stream.policy.quiet_begins(stream.now)) << "it was said";
}

TEST(StreamPolicy, LeavesBetweenTwoRecordsWhenItWasAskedTo) {
  Stream stream;
  stream.take(100);
  const auto end = stream.state.received();
  EXPECT_FALSE(stream.policy.leave(kNothing, end)) << "nobody asked";
  stream.policy.request_leave();
  EXPECT_TRUE(stream.policy.leave_asked());
  EXPECT_FALSE(stream.policy.leave(kNothing, kStart + 99)) << "in the middle of a record";
  EXPECT_FALSE(stream.policy.leave(kWal, end)) << "something is held";
  EXPECT_TRUE(stream.policy.leave_asked()) << "to be asked again";
  EXPECT_TRUE(stream.policy.leave(kNothing, end));
  EXPECT_FALSE(stream.policy.leave_asked());
  EXPECT_EQ(stream.policy.outcome().how, How::left);
  stream.policy.request_stop();
  EXPECT_EQ(stream.policy.outcome().how, How::stopped) << "a signal comes first";
}

TEST(StreamPolicy, LeavesNothingThatIsInTrouble) {
  Stream full;
  full.receive(100);
  static_cast<void>(full.written(kFull));
  full.policy.request_leave();
  EXPECT_FALSE(full.policy.leave(kNothing, full.state.received()));

  Stream failed;
  failed.policy.request_leave();
  static_cast<void>(failed.policy.fail(Error(ErrorKind::retry, "connection lost")));
  EXPECT_FALSE(failed.policy.leave(kNothing, failed.state.received()));
}

TEST(StreamPolicy, PartsFromTheServerAsTheStreamHasEnded) {
  using Parting = StreamPolicy::Parting;
  const auto failed = [](ErrorKind kind, const char* sqlstate) {
    Stream stream;
    static_cast<void>(stream.policy.fail(Error(kind, "an error").with_sqlstate(sqlstate)));
    return stream.policy.parting();
  };
  EXPECT_EQ(failed(ErrorKind::gap, "58P01"), Parting::none) << "it takes commands again";
  EXPECT_EQ(failed(ErrorKind::retry, ""), Parting::let_go) << "the connection was lost";
  EXPECT_EQ(failed(ErrorKind::retry, "57P01"), Parting::let_go);
  EXPECT_EQ(failed(ErrorKind::damage, ""), Parting::let_go) << "the server still sends";
  EXPECT_EQ(failed(ErrorKind::conflict, ""), Parting::let_go);

  Stream stopped;
  stopped.policy.request_stop();
  EXPECT_EQ(stopped.policy.parting(), Parting::finish);
  stopped.policy.on_not_finished(Error(ErrorKind::retry, "no answer"));
  EXPECT_EQ(stopped.policy.outcome().how, How::stopped) << "everything is durable and reported";

  Stream left;
  left.policy.request_leave();
  ASSERT_TRUE(left.policy.leave(kNothing, kStart));
  EXPECT_EQ(left.policy.parting(), Parting::finish);

  Stream switched;
  switched.policy.on_end_of_stream({.next = pq::EndOfStream::Next{2, kStart}});
  EXPECT_EQ(switched.policy.parting(), Parting::none);

  Stream dropped;
  hang(dropped);
  dropped.now += 1s;
  ASSERT_EQ(dropped.policy.care_for_server(dropped.now), ServerCare::discard);
  EXPECT_EQ(dropped.policy.parting(), Parting::finish) << "so that it can be asked again";
  dropped.policy.on_not_finished(Error(ErrorKind::retry, "no answer"));
  EXPECT_EQ(dropped.policy.outcome().how, How::failed) << "not over this connection";
  EXPECT_EQ(dropped.policy.parting(), Parting::let_go);
}

}  // namespace
}  // namespace weir::receive::stream_policy_test

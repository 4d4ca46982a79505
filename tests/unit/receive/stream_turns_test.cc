#include "receive/stream_turns.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace weir::receive {
namespace {

using namespace std::chrono_literals;
using wal::Lsn;
using Care = StreamTurns::Care;
using How = StreamOutcome::How;
using News = StreamTurns::News;
using Turn = StreamTurns::Turn;
using What = StreamTurns::What;

constexpr std::uint64_t kMB = 1 << 20;
constexpr Lsn kStart(3 * kMB);
constexpr StreamTurns::Held kNothing{};
constexpr StreamTurns::Held kWal{.wal = true};
constexpr StreamTurns::Held kDispute{.disputed = true};
const Error kFull(ErrorKind::disk_full, "no space");

/// A stream at 3 MB with segments of 1 MB, and a clock.
class Stream {
 public:
  explicit Stream(StreamTurns::Options options = {}, std::optional<Lsn> endpos = std::nullopt)
      : state(state_options(endpos), 1, kStart, now), turns(with_size(options), state) {}

  void receive(std::uint64_t bytes, std::uint64_t ahead = 0) {
    const std::vector<std::byte> wal(bytes);
    state.on_wal(
        {.start = state.received(), .server_end = state.received() + bytes + ahead, .wal = wal},
        now);
  }
  StreamTurns::Verdict written(const std::optional<Error>& error = std::nullopt) {
    return turns.on_written(error ? state.write() : state.received(), Lsn(), error, now);
  }
  void take(std::uint64_t bytes) {
    receive(bytes);
    written();
  }
  StreamTurns::Sync begin(bool publishes = false) {
    return turns.on_sync_begun(state.write(), publishes, now);
  }
  /// A sync of `bytes` that takes 10 ms, while more arrives.
  void slow_sync(std::uint64_t bytes) {
    take(bytes);
    const auto sync = begin();
    now += 10ms;
    turns.on_sync_done(sync, 10ms, now);
    turns.on_arrivals(true);
  }

  Time now{1'000'000ms};
  StreamState state;
  StreamTurns turns;

 private:
  static StreamState::Options state_options(std::optional<Lsn> endpos) {
    StreamState::Options options;
    options.segment_size = *wal::SegmentSize::of(kMB);
    options.endpos = endpos;
    return options;
  }
  static StreamTurns::Options with_size(StreamTurns::Options options) {
    options.segment_size = *wal::SegmentSize::of(kMB);
    return options;
  }
};

TEST(StreamTurns, WritesWhatIsHeldBeforeMoreIsRead) {
  Stream stream;
  EXPECT_EQ(stream.turns.next(), Turn::read);
  stream.receive(100);
  EXPECT_EQ(stream.turns.next(kWal, stream.now), Turn::write);
  EXPECT_EQ(stream.written().what, What::go_on);
  stream.turns.request_stop();
  EXPECT_EQ(stream.turns.next(), Turn::wait);
  EXPECT_EQ(stream.turns.next(kWal, stream.now), Turn::write) << "also on the way to the end";
}

TEST(StreamTurns, WaitsForSpaceInGrowingStepsAndTellsItOnce) {
  Stream stream;
  stream.receive(100);
  auto verdict = stream.written(kFull);
  EXPECT_EQ(verdict.what, What::wait);
  EXPECT_EQ(verdict.news, News::full);
  for (const auto wait : {100ms, 200ms, 400ms, 800ms, 1600ms, 3200ms, 5000ms, 5000ms}) {
    SCOPED_TRACE(wait.count());
    stream.now += wait - 1ms;
    EXPECT_EQ(stream.turns.next(kWal, stream.now), Turn::wait);
    EXPECT_EQ(stream.turns.rest(kWal, stream.now).until, stream.now + 1ms);
    stream.now += 1ms;
    EXPECT_EQ(stream.turns.next(kWal, stream.now), Turn::write);
    verdict = stream.written(kFull);
    EXPECT_EQ(verdict.what, What::wait);
    EXPECT_EQ(verdict.news, News::none);
  }
  EXPECT_EQ(stream.written().news, News::space);
  EXPECT_EQ(stream.written().news, News::none);
  EXPECT_EQ(stream.written(kFull).news, News::full) << "the next time it is news again";
  stream.now += 100ms;
  EXPECT_EQ(stream.turns.next(kWal, stream.now), Turn::write);
}

TEST(StreamTurns, DropsWhatItCannotWrite) {
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
    EXPECT_EQ(stream.turns.on_written(kStart + 40, Lsn(), error, stream.now).what, What::fail);
    EXPECT_EQ(stream.state.received(), kStart + 40) << "its front is there";
  }
}

TEST(StreamTurns, DropsWhatIsHeldRatherThanWaitForSpaceOnceItStops) {
  Stream stream;
  stream.receive(100);
  static_cast<void>(stream.written(kFull));
  EXPECT_EQ(stream.turns.fail(Error(ErrorKind::retry, "connection lost")), What::fail);
  EXPECT_EQ(stream.turns.next(kWal, stream.now), Turn::drop);
  EXPECT_EQ(stream.state.received(), stream.state.write());
}

TEST(StreamTurns, ReadsOnInADisputeUntilNothingMoreIsToBeExpected) {
  Stream stream;
  stream.receive(100, 50);
  static_cast<void>(stream.turns.next(kDispute, stream.now));
  stream.now += 1h;
  EXPECT_EQ(stream.turns.next(kDispute, stream.now), Turn::read) << "the server has more";

  Stream at_end;
  at_end.receive(100);
  EXPECT_EQ(at_end.turns.next(kDispute, at_end.now), Turn::read);
  EXPECT_EQ(at_end.turns.rest(kDispute, at_end.now).until, at_end.now + 10s);
  at_end.now += 9'999ms;
  EXPECT_EQ(at_end.turns.next(kDispute, at_end.now), Turn::read);
  at_end.now += 1ms;
  EXPECT_EQ(at_end.turns.next(kDispute, at_end.now), Turn::settle);
  EXPECT_EQ(at_end.state.received(), at_end.state.write());
}

TEST(StreamTurns, SettlesADisputeAtTheEndOfTheStreamAndLeavesItToTheNextStartWhenToldToStop) {
  Stream ended;
  ended.receive(100, 50);
  EXPECT_EQ(ended.turns.fail(Error(ErrorKind::retry, "connection lost")), What::fail);
  EXPECT_EQ(ended.turns.next(kDispute, ended.now), Turn::settle);

  Stream stopped;
  stopped.receive(100, 50);
  stopped.turns.request_stop();
  EXPECT_EQ(stopped.turns.next(kDispute, stopped.now), Turn::drop);
  EXPECT_EQ(stopped.state.received(), kStart);
}

TEST(StreamTurns, BeginsNoMoreSyncsThanMayBeUnderWay) {
  Stream stream;
  std::vector<StreamTurns::Sync> syncs;
  for (std::size_t i = 0; i < kMaxSyncs; ++i) {
    stream.take(100);
    EXPECT_TRUE(stream.turns.sync_at());
    syncs.push_back(stream.begin());
  }
  stream.take(100);
  EXPECT_EQ(stream.turns.sync_at(), std::nullopt);
  const auto rest = stream.turns.rest(kNothing, stream.now);
  EXPECT_EQ(rest.until, std::nullopt);
  EXPECT_TRUE(rest.needs_sync);
  EXPECT_TRUE(rest.hears);
  EXPECT_TRUE(stream.turns.on_sync_done(syncs[0], 1us, stream.now));
  EXPECT_TRUE(stream.turns.sync_at());
}

TEST(StreamTurns, SpreadsSlowSyncsAndReadsWhatComesBetweenThemInOneGo) {
  Stream stream;
  for (int i = 0; i < 20; ++i) stream.slow_sync(100);
  stream.take(100);
  EXPECT_EQ(stream.turns.sync_at(), Time::min()) << "none is under way";
  EXPECT_TRUE(stream.begin().overlaps);
  const auto began = stream.now;
  stream.take(100);
  const auto next = stream.turns.sync_at();
  ASSERT_TRUE(next);
  EXPECT_GT(*next, began);
  EXPECT_LT(*next, began + 10ms);
  const auto rest = stream.turns.rest(kNothing, stream.now);
  EXPECT_EQ(rest.until, next);
  EXPECT_TRUE(rest.reads);
  EXPECT_FALSE(rest.hears);
  EXPECT_TRUE(stream.turns.rest(kNothing, *next).hears);
  stream.turns.request_stop();
  EXPECT_EQ(stream.turns.sync_at(), Time::min()) << "the last one waits for nothing";
}

TEST(StreamTurns, ReadsOnWhenTheNextSyncMayBeginEvenIfThereIsNothingToBeSynced) {
  Stream stream;
  for (int i = 0; i < 20; ++i) stream.slow_sync(100);
  stream.take(100);
  static_cast<void>(stream.begin());
  EXPECT_EQ(stream.turns.sync_at(), std::nullopt);
  const auto rest = stream.turns.rest(kNothing, stream.now);
  EXPECT_FALSE(rest.hears);
  ASSERT_TRUE(rest.until);
  EXPECT_LT(*rest.until, stream.now + 10ms);
  EXPECT_FALSE(rest.needs_sync);
}

TEST(StreamTurns, SleepsNoLongerThanUntilASyncIsDue) {
  Stream stream;
  stream.receive(100, 2 * kCatchUpBytes);  // syncs are rare while there is much to come
  static_cast<void>(stream.written());
  EXPECT_EQ(stream.turns.sync_at(), stream.now + kCatchUpInterval);
  EXPECT_LT(stream.turns.rest(kNothing, stream.now).until, stream.turns.sync_at()) << "WAL gathers";
  stream.now += kCatchUpInterval - 1ms;
  const auto rest = stream.turns.rest(kNothing, stream.now);
  EXPECT_EQ(rest.until, stream.now + 1ms);
  EXPECT_EQ(rest.until, stream.turns.sync_at());
  EXPECT_TRUE(rest.hears);
}

TEST(StreamTurns, DoesNotReadWhileTooMuchIsNotDurable) {
  Stream stream;
  while (stream.turns.next() == Turn::read) stream.take(kMB / 2);
  static_cast<void>(stream.begin());
  const auto rest = stream.turns.rest(kNothing, stream.now);
  EXPECT_FALSE(rest.reads);
  EXPECT_FALSE(rest.hears);
  EXPECT_TRUE(rest.needs_sync);
  stream.now += 1h;
  EXPECT_FALSE(stream.state.silent_for_too_long(stream.now)) << "nobody listened";
}

TEST(StreamTurns, WaitsForSpaceBeforeASync) {
  Stream stream;
  stream.take(100);
  EXPECT_EQ(stream.turns.sync_at(), Time::min());
  const auto verdict = stream.turns.on_no_job(kFull, stream.now);
  EXPECT_EQ(verdict.what, What::wait);
  EXPECT_EQ(verdict.news, News::full);
  EXPECT_EQ(stream.turns.sync_at(), stream.now + 100ms);
  stream.receive(100);
  EXPECT_EQ(stream.written().news, News::none) << "to memory: that says nothing of the disk";
  EXPECT_EQ(stream.turns.on_no_job(kFull, stream.now + 100ms).news, News::none);
  EXPECT_EQ(stream.begin().news, News::space);
  EXPECT_EQ(stream.turns.outcome().how, How::stopped) << "it has not failed";
}

TEST(StreamTurns, LetsTheSyncOfAFullSegmentTellThatThereIsSpaceAgain) {
  Stream stream;
  stream.take(100);
  static_cast<void>(stream.turns.on_no_job(kFull, stream.now));
  stream.take(kMB - 100);  // so that it need not be written before the sync
  auto sync = stream.begin(true);
  EXPECT_EQ(sync.news, News::none);
  EXPECT_TRUE(sync.waits);
  EXPECT_EQ(stream.turns.on_sync_part(sync, kFull).news, News::none);
  EXPECT_EQ(stream.turns.on_sync_part(sync, std::nullopt).news, News::space);
  EXPECT_FALSE(sync.waits);
}

TEST(StreamTurns, TakesAnyOtherErrorBeforeASyncForTheLossOfWhatIsWritten) {
  Stream stream;
  stream.take(100);
  EXPECT_EQ(stream.turns.on_no_job(Error(ErrorKind::io, "broken"), stream.now).what, What::lost);
}

TEST(StreamTurns, GivesUpASyncWithoutSpaceWhenToldToStop) {
  Stream stream;
  stream.take(100);
  auto earlier = stream.begin();
  stream.take(100);
  stream.turns.on_end_of_stream({.next = pq::EndOfStream::Next{2, stream.state.write()}});
  stream.turns.request_stop();
  EXPECT_EQ(stream.turns.on_no_job(kFull, stream.now).what, What::wait)
      << "what is under way stays to be acknowledged";
  EXPECT_EQ(stream.turns.sync_at(), stream.now + 100ms);
  EXPECT_TRUE(stream.turns.on_sync_done(earlier, 1us, stream.now));
  EXPECT_EQ(stream.turns.sync_at(), Time::min()) << "now it is tried at once";
  EXPECT_EQ(stream.turns.on_no_job(kFull, stream.now).what, What::give_up);
  EXPECT_EQ(stream.turns.sync_at(), std::nullopt);
  EXPECT_EQ(stream.turns.outcome().how, How::stopped) << "the timeline's end is still to be had";
  EXPECT_EQ(stream.turns.outcome().reached, kStart + 100);
}

TEST(StreamTurns, FailsWithTheFullDiskWhereTheUserWantsNoWaiting) {
  Stream stream({.on_disk_full = OnDiskFull::stop});
  stream.take(100);
  EXPECT_EQ(stream.turns.on_no_job(kFull, stream.now).what, What::give_up);
  EXPECT_TRUE(stream.turns.failed());
  EXPECT_EQ(stream.turns.outcome().error->kind(), ErrorKind::disk_full);
}

TEST(StreamTurns, LetsEachSyncWaitForSpaceAndTellsItOnceForAll) {
  Stream stream;
  stream.take(100);
  auto one = stream.begin();
  stream.take(100);
  auto two = stream.begin();
  EXPECT_EQ(stream.turns.on_sync_part(one, kFull).news, News::full);
  EXPECT_EQ(stream.turns.on_sync_part(two, kFull).news, News::none);
  for (const auto wait : {200ms, 400ms, 800ms, 1600ms, 3200ms, 5000ms, 5000ms}) {
    const auto verdict = stream.turns.on_sync_part(one, kFull);
    EXPECT_EQ(verdict.what, What::wait);
    EXPECT_EQ(verdict.news, News::none);
    EXPECT_EQ(verdict.wait, wait);
  }
  EXPECT_EQ(stream.turns.on_sync_part(one, std::nullopt).news, News::none);
  EXPECT_EQ(stream.turns.on_sync_part(two, std::nullopt).news, News::space);
  EXPECT_EQ(stream.turns.on_sync_part(one, kFull).wait, 100ms) << "its other part begins anew";
}

TEST(StreamTurns, GivesUpSyncsInTheOrderInWhichTheyBegan) {
  Stream stream;
  stream.take(100);
  auto first = stream.begin();
  stream.take(100);
  auto second = stream.begin();
  stream.take(100);
  auto third = stream.begin();
  stream.turns.request_stop();
  EXPECT_EQ(stream.turns.on_sync_part(second, kFull).what, What::give_up);
  EXPECT_FALSE(stream.turns.may_give_up(second));
  EXPECT_TRUE(stream.turns.on_sync_done(first, 1us, stream.now));
  EXPECT_TRUE(stream.turns.may_give_up(second));
  stream.turns.give_up(kFull);
  EXPECT_EQ(stream.state.flush(), kStart + 100) << "what was synced before stays";
  EXPECT_TRUE(stream.turns.may_give_up(third));
  EXPECT_EQ(stream.turns.on_sync_part(third, Error(ErrorKind::durability, "an earlier one")).what,
            What::forget);
  EXPECT_EQ(stream.turns.next(kWal, stream.now), Turn::drop);
  EXPECT_EQ(stream.turns.outcome().how, How::stopped);
}

TEST(StreamTurns, CountsASyncThatWasGivenUpMeanwhileForNothing) {
  Stream stream;
  stream.take(100);
  auto first = stream.begin();
  stream.take(100);
  auto second = stream.begin();
  stream.turns.request_stop();
  EXPECT_EQ(stream.turns.on_sync_part(first, kFull).what, What::give_up);
  stream.turns.give_up(kFull);
  EXPECT_FALSE(stream.turns.on_sync_done(second, 1us, stream.now));
  EXPECT_EQ(stream.state.flush(), kStart);
}

TEST(StreamTurns, EndsTheProcessForAnyOtherErrorOfASync) {
  for (const auto kind : {ErrorKind::durability, ErrorKind::io, ErrorKind::conflict}) {
    Stream stream;
    stream.take(100);
    auto sync = stream.begin();
    EXPECT_EQ(stream.turns.on_sync_part(sync, Error(kind, "broken")).what, What::lost);
  }
}

TEST(StreamTurns, EndsWithTheFirstErrorUnlessDurabilityIsLost) {
  Stream stream;
  EXPECT_EQ(stream.turns.fail(Error(ErrorKind::retry, "first").with_sqlstate("08006")), What::fail);
  EXPECT_EQ(stream.turns.fail(Error(ErrorKind::damage, "second")), What::go_on);
  EXPECT_EQ(stream.turns.outcome().error->kind(), ErrorKind::retry);
  EXPECT_EQ(stream.turns.outcome().error->sqlstate(), "08006");
  EXPECT_EQ(stream.turns.next(), Turn::wait);
  EXPECT_EQ(stream.turns.fail(Error(ErrorKind::durability, "third")), What::lost);
}

TEST(StreamTurns, TellsAServerThatShutsDownFromTheEndOfATimeline) {
  Stream down;
  down.turns.on_end_of_stream({});
  EXPECT_EQ(down.turns.outcome().how, How::failed);
  EXPECT_EQ(down.turns.outcome().error->kind(), ErrorKind::retry);

  Stream ended;
  ended.receive(100);
  ended.turns.on_end_of_stream({.next = pq::EndOfStream::Next{2, kStart + 100}});
  EXPECT_EQ(ended.turns.outcome().how, How::timeline_ended);
  EXPECT_EQ(ended.turns.outcome().next->timeline, 2U);
  EXPECT_TRUE(ended.turns.outcome().heard_anything);
  EXPECT_EQ(ended.turns.next(kWal, ended.now), Turn::write);
}

TEST(StreamTurns, WithStockHabitsWritesOneSegmentAfterTheOther) {
  Stream stream({.stock_habits = true});
  stream.take(100);
  EXPECT_EQ(stream.turns.most_to_write(), kMB - 100);
  EXPECT_FALSE(stream.turns.collects());
  stream.take(kMB - 100);
  stream.receive(100);
  EXPECT_EQ(stream.turns.next(kWal, stream.now), Turn::wait) << "the segment has no name yet";
  EXPECT_FALSE(stream.turns.may_write());
  EXPECT_TRUE(stream.turns.on_sync_done(stream.begin(true), 1us, stream.now));
  EXPECT_EQ(stream.turns.next(kWal, stream.now), Turn::write);
  EXPECT_EQ(Stream().turns.most_to_write(), std::numeric_limits<std::size_t>::max());
}

// --- That nobody is held up by a disk ------------------------------------------------------------

/// A write hangs, and nobody reads.
void hang(Stream& stream) {
  stream.receive(100);
  stream.state.on_deaf();
  stream.turns.on_write_begun(stream.now);
}

void drop(Stream& stream, Lsn from, std::uint64_t bytes) {
  const std::vector<std::byte> wal(bytes);
  stream.state.on_dropped({.start = from, .server_end = from + bytes, .wal = wal}, stream.now);
}

TEST(StreamTurns, DropsWhatComesOnceTheDiskIsStuckAndNobodyReads) {
  Stream stream;
  hang(stream);
  stream.now += 999ms;
  EXPECT_EQ(stream.turns.care(stream.now), Care::none);
  stream.now += 1ms;
  EXPECT_EQ(stream.turns.care(stream.now), Care::discard);
  EXPECT_EQ(stream.turns.care(stream.now), Care::none) << "it is said once";
  EXPECT_TRUE(stream.state.discarding());
  EXPECT_EQ(stream.turns.next(), Turn::wait) << "who writes reads no more";
  EXPECT_FALSE(stream.turns.rest(kNothing, stream.now).reads);
  EXPECT_FALSE(stream.state.deaf()) << "somebody reads all the same";
  drop(stream, kStart + 100, 5000);
  EXPECT_EQ(stream.state.received(), kStart + 100);

  stream.written();
  EXPECT_FALSE(stream.state.finished());
  EXPECT_EQ(stream.turns.sync_at(), Time::min()) << "at once, whatever the policy";
  stream.turns.on_sync_done(stream.begin(), 1ms, stream.now);
  EXPECT_EQ(stream.state.take_status(stream.now)->flush, kStart + 100);
  EXPECT_TRUE(stream.state.finished());
  EXPECT_EQ(stream.turns.outcome().how, How::dropped);
  EXPECT_EQ(stream.turns.outcome().reached, kStart + 100);
}

TEST(StreamTurns, DropsNothingWhileSomebodyReadsOrTheDiskMoves) {
  Stream reading;
  reading.take(100);
  static_cast<void>(reading.begin());
  static_cast<void>(reading.turns.rest(kNothing, reading.now));
  reading.now += 1h;
  EXPECT_EQ(reading.turns.care(reading.now), Care::none) << "a sync hangs, and reading goes on";

  Stream moving;
  for (int i = 0; i < 100; ++i) {
    hang(moving);
    moving.now += 900ms;
    EXPECT_EQ(moving.turns.care(moving.now), Care::none);
    moving.written();
  }
  moving.state.on_deaf();
  moving.now += 1h;
  EXPECT_EQ(moving.turns.care(moving.now), Care::none) << "it was asked for nothing";
}

TEST(StreamTurns, TakesAFullDiskForStuckThoughItIsTriedAgain) {
  Stream stream;
  hang(stream);
  static_cast<void>(stream.turns.on_written(kStart, Lsn(), kFull, stream.now));
  stream.now += 600ms;
  stream.turns.on_write_begun(stream.now);
  static_cast<void>(stream.turns.on_written(kStart, Lsn(), kFull, stream.now));
  stream.now += 400ms;
  EXPECT_EQ(stream.turns.care(stream.now), Care::discard);
  EXPECT_EQ(stream.turns.next(kWal, stream.now + 1h), Turn::write) << "and goes on being tried";
}

TEST(StreamTurns, IsPatientWithADiskThatHasPausedAndGoneOn) {
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
    first.turns.on_sync_done(sync, pause, first.now);
    EXPECT_EQ(first.turns.patience(), patience);
    Stream next({.longest_pause = first.turns.longest_pause()});
    EXPECT_EQ(next.turns.patience(), patience) << "the next stream knows";
  }
}

TEST(StreamTurns, LetsAServerGoThatShutsDownWhileTheDiskIsStuck) {
  Stream stream;
  stream.take(100);
  const auto sync = stream.begin();
  static_cast<void>(stream.turns.rest(kNothing, stream.now));
  const auto ask = [&](std::chrono::milliseconds every, int times) {
    for (int i = 0; i < times; ++i) {
      stream.now += every;
      stream.state.on_keepalive({.server_end = kStart + 100, .reply_requested = true}, stream.now);
    }
  };
  ask(1500ms, 20);
  EXPECT_EQ(stream.turns.care(stream.now), Care::none) << "as one that hears nothing for long";
  ask(1ms, 6);
  EXPECT_EQ(stream.turns.care(stream.now), Care::none);
  ask(1ms, 1);
  EXPECT_EQ(stream.turns.care(stream.now), Care::let_go);
  stream.now += 2s;
  EXPECT_EQ(stream.turns.care(stream.now), Care::none) << "it asks no more";
  ask(1ms, 10);
  stream.turns.on_sync_done(sync, 1ms, stream.now);
  EXPECT_EQ(stream.turns.care(stream.now), Care::none) << "it will be confirmed";
}

TEST(StreamTurns, ClosesTheConnectionOfAStreamThatHasFailedWhileTheDiskIsStuck) {
  Stream stream;
  stream.take(100);
  static_cast<void>(stream.begin());
  static_cast<void>(stream.turns.fail(Error(ErrorKind::refused, "the slot is invalidated")));
  EXPECT_EQ(stream.turns.care(stream.now), Care::none);
  stream.now += 1s;
  EXPECT_EQ(stream.turns.care(stream.now), Care::close);
  EXPECT_EQ(stream.turns.care(stream.now), Care::none) << "once";
  EXPECT_EQ(stream.turns.outcome().how, How::failed);
}

TEST(StreamTurns, TakesNoEndOfATimelineForItWhileWalIsDropped) {
  Stream stream;
  hang(stream);
  static_cast<void>(stream.turns.on_written(kStart, Lsn(), kFull, stream.now));
  stream.now += 1s;
  ASSERT_EQ(stream.turns.care(stream.now), Care::discard);
  drop(stream, kStart + 100, 50);
  stream.turns.on_end_of_stream({.next = pq::EndOfStream::Next{2, kStart + 150}});
  EXPECT_EQ(stream.turns.outcome().how, How::dropped);
  EXPECT_EQ(stream.turns.next(kWal, stream.now), Turn::write) << "space is waited for";
  stream.turns.request_stop();
  EXPECT_EQ(stream.turns.next(kWal, stream.now), Turn::drop) << "unless it is to stop";
}

TEST(StreamTurns, ReadsFirstAndSyncsThenUnlessThereIsAlwaysMore) {
  Stream stream;
  stream.take(100);
  EXPECT_FALSE(stream.turns.begins_sync(false, stream.now)) << "one sync for all that is there";
  EXPECT_TRUE(stream.turns.begins_sync(true, stream.now));
  Stream behind;
  behind.receive(kMB, 10 * kMB);  // a whole segment
  behind.written();
  EXPECT_TRUE(behind.turns.begins_sync(false, behind.now));
}

TEST(StreamTurns, PlacesWalOnlyFarBehindAndNotWhileSomethingIsDisputed) {
  Stream stream;
  stream.receive(100);
  EXPECT_FALSE(stream.turns.places_wal(kNothing));
  Stream behind;
  behind.receive(100, 10 * kMB);
  EXPECT_TRUE(behind.turns.places_wal(kNothing));
  EXPECT_FALSE(behind.turns.places_wal(kDispute));
}

TEST(StreamTurns, LetsWalGatherFarBehindForLongerAsLongAsThereIsNeverMuch) {
  Stream stream;
  stream.take(100);
  auto rest = stream.turns.rest(kNothing, stream.now);
  EXPECT_EQ(rest.gather, 1U);
  EXPECT_FALSE(stream.turns.on_rested(rest, false)) << "nothing has come";
  EXPECT_TRUE(stream.turns.on_rested(rest, true));

  Stream behind;
  behind.receive(100, 10 * kMB);
  behind.written();
  for (const auto wait : {5ms, 10ms, 20ms, 40ms, 80ms, 100ms, 100ms}) {
    rest = behind.turns.rest(kNothing, behind.now);
    EXPECT_GT(rest.gather, 1U);
    EXPECT_EQ(rest.until, behind.now + wait);
    EXPECT_TRUE(behind.turns.on_rested(rest, false)) << "what there is is read all the same";
  }
  EXPECT_TRUE(behind.turns.on_rested(behind.turns.rest(kNothing, behind.now), true));
  EXPECT_EQ(behind.turns.rest(kNothing, behind.now).until, behind.now + 5ms);
}

TEST(StreamTurns, WantsASpareOnceInEachSegmentThatWillBeFollowedByAnother) {
  Stream stream;
  stream.take(kMB / 16 - 1);
  EXPECT_FALSE(stream.turns.wants_spare()) << "the last one was just opened";
  stream.take(1);
  EXPECT_TRUE(stream.turns.wants_spare());
  EXPECT_FALSE(stream.turns.wants_spare()) << "once";
  stream.take(kMB);
  EXPECT_TRUE(stream.turns.wants_spare());
  Stream behind;
  behind.receive(kMB / 2, 10 * kMB);
  behind.written();
  EXPECT_FALSE(behind.turns.wants_spare()) << "blocks are better reserved than written twice";
  for (const std::uint64_t past : {0U, 1U}) {
    Stream ends({.endpos = kStart + kMB + past});
    ends.take(kMB / 2);
    EXPECT_EQ(ends.turns.wants_spare(), past != 0);
  }
}

TEST(StreamTurns, TakesASilentServerForDead) {
  Stream stream({.silence_limit = 60s});
  stream.now += 59s;
  EXPECT_FALSE(stream.turns.silence(stream.now));
  stream.now += 1s;
  const auto dead = stream.turns.silence(stream.now);
  ASSERT_TRUE(dead);
  EXPECT_EQ(dead->kind(), ErrorKind::retry);
  EXPECT_NE(dead->message().find("1 min"), std::string::npos) << dead->message();
}

TEST(StreamTurns, LetsAnotherThreadReadWhereASyncThatIsUsuallyQuickHangs) {
  Stream stream;
  stream.take(100);
  const auto sync = stream.begin();
  ASSERT_FALSE(sync.overlaps);
  EXPECT_LE(stream.turns.guard_until(stream.now), stream.now + 500ms);
  stream.now += 499ms;
  EXPECT_FALSE(stream.turns.reader_hangs(stream.now));
  stream.now += 1ms;
  EXPECT_TRUE(stream.turns.reader_hangs(stream.now));
  EXPECT_FALSE(stream.turns.reader_hangs(stream.now)) << "once";
  // The next one is at its own sync when the first comes back.
  stream.take(100);
  const auto next = stream.begin();
  stream.turns.on_sync_done(sync, 500ms, stream.now);
  stream.turns.on_reader_back(sync);
  stream.now += 500ms;
  EXPECT_TRUE(stream.turns.reader_hangs(stream.now));
  stream.turns.on_reader_back(next);
  stream.now += 500ms;
  EXPECT_FALSE(stream.turns.reader_hangs(stream.now));
}

TEST(StreamTurns, WakesTheGuardianForTheFirstUseOfTheDiskAndNotForEach) {
  Stream stream;
  EXPECT_EQ(stream.turns.guard_until(stream.now), stream.state.next_status_at());
  stream.take(100);
  const auto sync = stream.begin();
  EXPECT_TRUE(stream.turns.wakes_guard());
  EXPECT_FALSE(stream.turns.wakes_guard());
  stream.turns.on_guard_woken();
  stream.turns.on_sync_done(sync, 1ms, stream.now);
  stream.turns.on_reader_back(sync);
  EXPECT_EQ(stream.turns.guard_until(stream.now), stream.now + 1s) << "it was used";
  EXPECT_FALSE(stream.turns.wakes_guard()) << "it looks again in a moment";
  stream.turns.on_guard_woken();
  EXPECT_EQ(stream.turns.guard_until(stream.now), stream.now + 1s);
  stream.turns.on_guard_woken();
  EXPECT_GT(stream.turns.guard_until(stream.now), stream.now + 1s) << "not for a round";
}

TEST(StreamTurns, AsksWhetherTheServerShutsDownWhileTheDiskIsStuck) {
  Stream stream;
  stream.take(100);
  const auto sync = stream.begin();
  stream.now += 19s;
  EXPECT_FALSE(stream.turns.asks_about_shutdown(stream.now));
  stream.now += 1s;
  EXPECT_TRUE(stream.turns.asks_about_shutdown(stream.now));
  stream.turns.on_sync_done(sync, 20s, stream.now);
  EXPECT_FALSE(stream.turns.asks_about_shutdown(stream.now)) << "it goes on";

  Stream behind;
  hang(behind);
  static_cast<void>(behind.turns.on_written(kStart, Lsn(), kFull, behind.now));
  behind.now += 1s;
  ASSERT_EQ(behind.turns.care(behind.now), Care::discard);
  for (auto at = kStart + 100; behind.state.drops_at() <= behind.now; at = at + kMB)
    drop(behind, at, kMB);
  behind.now += 2s;
  drop(behind, behind.state.server_end(), 17 * kMB);
  EXPECT_TRUE(behind.turns.asks_about_shutdown(behind.now))
      << "one with more than is taken from it does not come to its last question";
  EXPECT_TRUE(behind.turns.let_go());
  EXPECT_FALSE(behind.turns.let_go()) << "once";
  EXPECT_FALSE(behind.turns.asks_about_shutdown(behind.now));
}

}  // namespace
}  // namespace weir::receive

#include "relay/archive_look.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <set>
#include <string>

#include "support/archive_builder.h"
#include "support/just_changed.h"

namespace weir::relay::archive_look_test {
namespace {

using namespace std::chrono_literals;
using testing::WalBuilder;
using verify::ArchiveBuilder;
using verify::kSize;
using wal::Lsn;

Lsn segment(std::uint64_t segno) { return kSize.start(segno); }

/// The machine's threads, and a clock that stands still until it is moved.
class StandingClock final : public Threads {
 public:
  std::unique_ptr<Mutex> make_mutex() override { return machine_threads().make_mutex(); }
  std::unique_ptr<Condition> make_condition() override {
    return machine_threads().make_condition();
  }
  std::unique_ptr<Thread> start(std::string_view name, std::function<void()> body,
                                Priority priority) override {
    return machine_threads().start(name, std::move(body), priority);
  }
  void yield() override { machine_threads().yield(); }
  Time now() override { return time; }

  Time time = machine_threads().now();
};

class ErrorsLog final : public Log {
 public:
  void write(LogLevel level, std::string_view) override { errors += level == LogLevel::error; }
  bool enabled(LogLevel) const override { return true; }
  int errors = 0;
};

class ArchiveLookTest : public ::testing::Test {
 protected:
  ArchiveLookTest() {
    wal_.grow_to(segment(9));
    archive_.segments(wal_, 1, 3);
    directory_ = archive_.disk.open();
  }
  void begin(NamesChanged names_changed) {
    look_.emplace(
        *directory_, cluster_, [this] { return durable_; }, nullptr, std::move(names_changed), hub_,
        log_, clock_);
    look_->look();
    EXPECT_EQ(hub_.served()->end, segment(3));
  }
  Lsn seen(std::chrono::seconds later = 1s) {
    clock_.time += later;
    look_->look();
    return hub_.served()->end;
  }

  WalBuilder wal_{{}};
  const Cluster cluster_{WalBuilder::Options().system_identifier, kSize, 18};
  ArchiveBuilder archive_;
  std::unique_ptr<io::Directory> directory_;
  StandingClock clock_;
  Hub hub_{Served{wal::TimelineHistory(1), segment(2)}};
  ErrorsLog log_;
  std::optional<archive::DurableEnd> durable_;
  std::optional<ArchiveLook> look_;
};

TEST_F(ArchiveLookTest, ReadsNamesEachTimeWhereNobodyTellsThatTheyHaveChanged) {
  begin(nullptr);
  archive_.segments(wal_, 3, 4);
  EXPECT_EQ(seen(), segment(4));
}

/// As with an archive_command: WAL that was announced before has been flushed.
TEST_F(ArchiveLookTest, FlushesNewSegmentsOnly) {
  directory_ = std::make_unique<test::ChangedAgo>(archive_.disk.open());
  begin(nullptr);
  std::set<std::string> synced;
  archive_.disk.set_hook([&](const sim::SimDisk::Call& call) {
    if (call.operation == sim::SimDisk::Operation::sync) synced.insert(call.name);
    return sim::SimDisk::Effect::proceed();
  });
  archive_.segments(wal_, 3, 6);
  EXPECT_EQ(seen(), segment(6));
  std::set<std::string> added;
  for (const auto segno : {3, 4, 5}) added.insert(ArchiveBuilder::name(wal_, segno));
  EXPECT_EQ(synced, added);
}

TEST_F(ArchiveLookTest, SeesThatASegmentIsCopiedCompletely) {
  directory_ = std::make_unique<test::JustChanged>(archive_.disk.open());
  begin([] { return false; });
  archive_.segments(wal_, 3, 5);
  const auto name = ArchiveBuilder::name(wal_, 4);
  const auto whole = archive_.disk.content(name);
  archive_.disk.put(name, std::span(whole).first(300'000));
  EXPECT_EQ(seen(10s), segment(4)) << "the one before it";
  EXPECT_EQ(seen(), segment(4));
  EXPECT_FALSE(hub_.problem());
  archive_.disk.put(name, whole);
  EXPECT_EQ(seen(), segment(5)) << "without a new name";
}

TEST_F(ArchiveLookTest, ReadsNamesOnceTheyHaveChanged) {
  bool changed = false;
  begin([&] { return std::exchange(changed, false); });
  archive_.segments(wal_, 3, 4);
  EXPECT_EQ(seen(), segment(3)) << "nobody told of it";
  changed = true;
  EXPECT_EQ(seen(), segment(4));
}

TEST_F(ArchiveLookTest, ReadsNamesNowAndThenInAnyCase) {
  begin([] { return false; });
  archive_.segments(wal_, 3, 4);
  EXPECT_EQ(seen(), segment(3));
  EXPECT_EQ(seen(9s), segment(4));
}

TEST_F(ArchiveLookTest, SeesSoonThatAWriterHasEnded) {
  std::optional<std::string> writer = "process 4711";
  int looks = 0;
  look_.emplace(
      *directory_, cluster_, [] { return std::nullopt; },
      [&] {
        clock_.time += 50ms;  // a machine with many processes
        ++looks;
        return writer;
      },
      [] { return false; }, hub_, log_, clock_);
  look_->look();
  EXPECT_EQ(looks, 1);
  EXPECT_EQ(seen(2s), segment(3));
  EXPECT_EQ(looks, 1) << "not all of the time";
  writer.reset();
  archive_.segments(wal_, 3, 4);
  EXPECT_EQ(seen(4s), segment(4)) << "what it has left";
  EXPECT_EQ(looks, 2);
}

/// Without it, no client on an older timeline can come over to the newest.
TEST_F(ArchiveLookTest, TakesAHistoryThatAReceiverFetchesLater) {
  Hub hub(Served{wal::TimelineHistory(2), segment(3)});
  ArchiveLook look(
      *directory_, cluster_,
      [] {
        return archive::DurableEnd{2, segment(3)};
      },
      nullptr, nullptr, hub, log_, clock_);
  look.look();
  EXPECT_FALSE(hub.served()->history.contains(1));
  archive_.history(2, "1\t0/2C0000\tno recovery target specified\n");
  look.look();
  EXPECT_TRUE(hub.served()->history.contains(1));
  EXPECT_EQ(hub.served()->end, segment(3));
}

/// It is queried now and then, and its last answer precedes the WAL that it has flushed since.
TEST_F(ArchiveLookTest, SeesWhatAReceiverHasLeftSinceItsLastAnswer) {
  WalBuilder wal{{.switch_every = 0}};  // behind a switch zeros are right
  wal.grow_to(segment(4));
  archive_.segments(wal, 1, 3);
  begin([] { return false; });
  for (const auto bytes : {300'000u, 600'000u}) {
    const auto answered = hub_.served()->end;
    durable_ = archive::DurableEnd{1, answered};
    EXPECT_EQ(seen(), answered);
    const auto end = wal.complete_end(segment(3) + bytes);
    archive_.partial(wal, end);
    durable_.reset();
    EXPECT_EQ(seen(), end) << "no segment was completed";
  }
}

TEST_F(ArchiveLookTest, SeesWhatIsNewSoonAfterALookThatWasHeldUp) {
  bool changed = false;
  auto held_up = 10s;
  look_.emplace(
      *directory_, cluster_, [] { return std::nullopt; },
      [&] {
        clock_.time += std::exchange(held_up, 0s);  // as by a sync, or by a busy machine
        return std::nullopt;
      },
      [&] { return std::exchange(changed, false); }, hub_, log_, clock_);
  EXPECT_EQ(seen(), segment(3));
  archive_.segments(wal_, 3, 4);
  changed = true;
  EXPECT_EQ(seen(), segment(4));
}

TEST_F(ArchiveLookTest, ReadsThemAgainWhereItFailed) {
  bool changed = false;
  begin([&] { return std::exchange(changed, false); });
  archive_.segments(wal_, 3, 4);
  archive_.disk.reset_calls();
  archive_.disk.fail_at(1, EIO);
  changed = true;
  EXPECT_EQ(seen(), segment(3));
  EXPECT_EQ(seen(), segment(4));
}

/// Another sync could succeed without the WAL being on disk.
TEST_F(ArchiveLookTest, TakesAFailedSyncForFinalExceptForWhatAReceiverSays) {
  begin(nullptr);
  EXPECT_FALSE(hub_.problem());
  archive_.segments(wal_, 3, 4);
  archive_.disk.fail_every(sim::SimDisk::Operation::sync, EIO);
  EXPECT_EQ(seen(), segment(3));
  const auto expect_told = [&] {
    const auto problem = hub_.problem();
    ASSERT_TRUE(problem);
    EXPECT_TRUE(problem->needs_person);
    EXPECT_TRUE(problem->text.starts_with("a flush of the archive failed: ")) << problem->text;
    EXPECT_TRUE(hub_.served()->breaks_off)
        << "a client that has caught up believes that all is well";
    EXPECT_FALSE(hub_.stopping()) << "the others get what there is";
    EXPECT_EQ(log_.errors, 2) << "the error and its hint, once";
  };
  expect_told();
  archive_.disk.set_hook({});
  archive_.segments(wal_, 4, 5);
  EXPECT_EQ(seen(20s), segment(3));
  expect_told();
  durable_ = archive::DurableEnd{1, segment(4)};
  EXPECT_EQ(seen(), segment(4));
  EXPECT_FALSE(hub_.problem());
  EXPECT_FALSE(hub_.served()->breaks_off);
  durable_.reset();
  EXPECT_EQ(seen(), segment(4));
  expect_told();
}

/// A client that has caught up would believe that all is well.
TEST_F(ArchiveLookTest, TellsClientsOfATimelineThatDoesNotContinueTheirs) {
  begin([] { return false; });
  int woken = 0;
  const Hub::Guest guest(hub_, [&] { ++woken; });
  archive_.history(3, "2\t0/280000\tno recovery target specified\n");
  durable_ = archive::DurableEnd{3, segment(5)};
  EXPECT_EQ(seen(), segment(3));
  EXPECT_EQ(hub_.served()->timeline(), 1u);
  EXPECT_TRUE(hub_.problem());
  ASSERT_TRUE(hub_.served()->breaks_off);
  EXPECT_EQ(hub_.served()->breaks_off->sqlstate, "57P03");
  EXPECT_EQ(woken, 1);
  seen();
  EXPECT_TRUE(hub_.served()->breaks_off);
  EXPECT_EQ(log_.errors, 2) << "the error and its hint, once";
  EXPECT_EQ(woken, 1) << "nothing is new";
  durable_ = archive::DurableEnd{1, segment(3)};
  seen();
  EXPECT_FALSE(hub_.served()->breaks_off) << "it is over, though nothing is new";
  EXPECT_EQ(woken, 2);
  durable_ = archive::DurableEnd{1, segment(4)};
  EXPECT_EQ(seen(), segment(4));
  EXPECT_FALSE(hub_.served()->breaks_off);
  EXPECT_FALSE(hub_.problem());
}

TEST_F(ArchiveLookTest, ShowsWhatItCannotReadUntilItCan) {
  bool changed = false;
  begin([&] { return std::exchange(changed, false); });
  archive_.segments(wal_, 3, 4);
  archive_.disk.fail_every(sim::SimDisk::Operation::list, EIO);
  changed = true;
  EXPECT_EQ(seen(), segment(3));
  EXPECT_TRUE(hub_.problem());
  archive_.disk.set_hook({});
  EXPECT_EQ(seen(), segment(4));
  EXPECT_FALSE(hub_.problem());
}

class ArchiveLookReplacedTest : public ArchiveLookTest {
 protected:
  void erase_all() {
    for (const auto& name : archive_.disk.names()) archive_.disk.erase(name);
  }
  WalBuilder other_cluster() {
    WalBuilder::Options options;
    options.system_identifier += 1;
    WalBuilder other(options);
    other.grow_to(segment(9));
    return other;
  }
  void expect_ended() {
    EXPECT_TRUE(hub_.abandoned());
    EXPECT_TRUE(hub_.stopping());
    ASSERT_TRUE(hub_.last_word());
    EXPECT_EQ(hub_.last_word()->sqlstate, "57P03");
    ASSERT_TRUE(hub_.problem());
    EXPECT_TRUE(hub_.problem()->needs_person);
    EXPECT_EQ(log_.errors, 2) << "the error and its hint, once";
  }
};

TEST_F(ArchiveLookReplacedTest, IsNotServedAnyMoreOnceItIsEmptied) {
  begin(nullptr);
  erase_all();
  seen();
  EXPECT_FALSE(hub_.stopping()) << "a listing may miss a file that is being renamed";
  seen();
  expect_ended();
  archive_.segments(wal_, 5, 7);
  EXPECT_EQ(seen(20s), segment(3)) << "the slots of before are not in this one";
  expect_ended();
}

TEST_F(ArchiveLookReplacedTest, IsNotServedWithWalOfAnotherCluster) {
  begin(nullptr);
  erase_all();
  auto other = other_cluster();
  archive_.segments(other, 3, 6);
  EXPECT_EQ(seen(), segment(3));
  expect_ended();
}

TEST_F(ArchiveLookReplacedTest, IsNotServedWithAReceiverOfAnotherCluster) {
  begin([] { return false; });
  erase_all();
  auto other = other_cluster();
  archive_.segments(other, 3, 6);
  durable_ = archive::DurableEnd{1, segment(6)};
  EXPECT_EQ(seen(10s), segment(3));
  expect_ended();
}

/// As after a prune.
TEST_F(ArchiveLookReplacedTest, IsServedWithLaterWalOfTheSameCluster) {
  begin(nullptr);
  archive_.segments(wal_, 5, 7);
  for (std::uint64_t segno = 1; segno < 3; ++segno)
    archive_.disk.erase(ArchiveBuilder::name(wal_, segno));
  EXPECT_EQ(seen(), segment(7));
  EXPECT_EQ(seen(20s), segment(7));
  EXPECT_FALSE(hub_.stopping());
}

class ArchiveLookBreakTest : public ArchiveLookTest {
 protected:
  ArchiveLookBreakTest() {
    WalBuilder wal{{.switch_every = 0}};  // behind a switch nothing is damage
    wal.grow_to(segment(5));
    end_ = wal.complete_end(segment(3) + 300'000);
    archive_.segments(wal, 1, 3).partial(wal, end_);
    sound_ = archive_.disk.content(name_);
    archive_.flip(name_, 100'000, 3);
    const auto found = find_served(*directory_, kSize);
    EXPECT_TRUE(found && found->broken);
    at_ = found->end;
    look_.emplace(
        *directory_, cluster_, [this] { return durable_; }, nullptr, [] { return false; }, hub_,
        log_, clock_);
    look_->look();
    EXPECT_EQ(hub_.served()->end, at_) << "what is before it is served at once";
  }
  bool told() { return hub_.served()->breaks_off.has_value(); }

  const std::string name_ = ArchiveBuilder::name(wal_, 3, codec::Method::none, true);
  Lsn end_;
  Lsn at_;
  test::Bytes sound_;
};

TEST_F(ArchiveLookBreakTest, IsToldOnceNobodyHasWrittenItAnewForAWhile) {
  EXPECT_FALSE(told());
  seen(4s);
  EXPECT_FALSE(told()) << "a receiver may be starting";
  seen(1s);
  ASSERT_TRUE(told());
  EXPECT_NE(hub_.served()->breaks_off->message.find(name_), std::string::npos);
  // Mended in place, with no other name.
  archive_.disk.put(name_, sound_);
  EXPECT_EQ(seen(10s), end_);
  EXPECT_FALSE(told());
}

TEST_F(ArchiveLookBreakTest, IsForgottenOnceAReceiverStreams) {
  seen(5s);
  EXPECT_TRUE(told());
  durable_ = archive::DurableEnd{1, at_};
  seen(1s);
  EXPECT_FALSE(told()) << "it writes that anew";
  durable_->flush = end_;
  EXPECT_EQ(seen(1s), end_);
}

TEST_F(ArchiveLookBreakTest, ThatMovesIsBeingWritten) {
  seen(4s);
  archive_.disk.put(name_, sound_);
  archive_.flip(name_, 200'000, 3);
  seen(6s);
  EXPECT_FALSE(told());
  seen(5s);
  EXPECT_TRUE(told());
  EXPECT_GT(hub_.served()->end, at_);
}

}  // namespace
}  // namespace weir::relay::archive_look_test

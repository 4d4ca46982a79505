#include "relay/slots.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <mutex>
#include <random>
#include <thread>

#include "base/error.h"
#include "relay/slots_report.h"
#include "support/bytes.h"
#include "support/sim_disk.h"

namespace weir::relay::slots_test {
namespace {

using namespace std::chrono_literals;
using sim::SimDisk;
using ::testing::HasSubstr;
using wal::Lsn;
using Operation = SimDisk::Operation;
using Effect = SimDisk::Effect;

constexpr std::uint64_t kMb = 1 << 20;
constexpr SessionId kOne = 1;
constexpr SessionId kTwo = 2;

class ErrorsLog final : public Log {
 public:
  void write(LogLevel level, std::string_view) override { errors_ += level == LogLevel::error; }
  bool enabled(LogLevel) const override { return true; }
  [[nodiscard]] int errors() const { return errors_; }

 private:
  std::atomic<int> errors_ = 0;
};

/// The slots of an archive on a disk in memory, in a process of its own.
class Process {
 public:
  explicit Process(SimDisk& disk, Slots::Options options = {}, std::uint64_t system = 7,
                   Log* log = nullptr)
      : directory_(disk.open()),
        cluster_{system, *wal::SegmentSize::of(kMb), 15},
        slots_(*directory_, cluster_, std::move(options), hub_, log == nullptr ? log_ : *log) {}

  ~Process() { slots_.close(); }

  Slots& slots() { return slots_; }
  Hub& hub() { return hub_; }
  std::string answer(SessionId session, const SlotQuestion& question) {
    const auto answer = slots_.answer(session, question);
    if (const auto* report = std::get_if<wire::ErrorReport>(&answer)) return report->sqlstate;
    if (const auto* busy = std::get_if<slot_answer::Busy>(&answer)) return busy->report.sqlstate;
    if (const auto* found = std::get_if<slot_answer::Found>(&answer))
      return found->restart_lsn.to_string();
    if (std::holds_alternative<slot_answer::ToMake>(answer)) return "to make";
    return std::holds_alternative<slot_answer::Done>(answer) ? "done" : "not there";
  }
  std::string create(const std::string& name, bool temporary = false, Lsn restart_lsn = Lsn(kMb)) {
    return answer(kOne, slot_question::Create{name, temporary, restart_lsn});
  }

 private:
  std::unique_ptr<io::Directory> directory_;
  Cluster cluster_;
  Hub hub_{Served{wal::TimelineHistory(1), Lsn(4 * kMb)}};
  NullLog log_;
  Slots slots_;
};

std::vector<std::string> names(SimDisk& disk) {
  std::vector<std::string> names;
  if (const auto kept = archive::read_slots(*disk.open()))
    for (const auto& each : kept->slots) names.push_back(each.name);
  return names;
}
bool within(std::chrono::seconds time, const std::function<bool()>& holds) {
  for (const auto end = std::chrono::steady_clock::now() + time;
       std::chrono::steady_clock::now() < end; std::this_thread::sleep_for(5ms))
    if (holds()) return true;
  return holds();
}

TEST(Slots, AreThereAgainAfterTheProcess) {
  SimDisk disk;
  {
    Process process(disk);
    EXPECT_EQ(process.create("s"), "done");
    EXPECT_EQ(process.create("s"), "42710");
    EXPECT_EQ(process.create("mine", true), "done");
    EXPECT_EQ(process.answer(kTwo, slot_question::Use{"s", Lsn(kMb)}), "done");
    EXPECT_EQ(process.answer(kOne, slot_question::Use{"s", Lsn(kMb)}), "55006");
    process.slots().on_flush(kTwo, Lsn(2 * kMb));
    EXPECT_TRUE(process.slots().on_feedback(kTwo, {100, 0}));
  }
  Process process(disk);
  EXPECT_EQ(process.answer(kOne, slot_question::Read{"s"}), "0/200000");
  EXPECT_EQ(process.answer(kOne, slot_question::Read{"mine"}), "not there");
  EXPECT_EQ(process.slots().held(), (Xmins{100, 0}));
  EXPECT_EQ(process.answer(kOne, slot_question::Drop{"s"}), "done");
  EXPECT_TRUE(names(disk).empty());
}

/// At each call to the disk of a command the power fails, and what a new process finds is looked
/// at: what was answered is there.
TEST(Slots, ThatAreMadeOrDroppedStaySoWheneverThePowerFails) {
  std::mt19937_64 random(test::seed_or(41));
  SimDisk disk;
  struct Moment {
    std::unique_ptr<SimDisk> disk;
    int answered;
  };
  std::vector<Moment> moments;
  std::mutex mutex;
  std::atomic<int> answered = 0;
  disk.set_hook([&](const SimDisk::Call&) {
    const std::lock_guard lock(mutex);
    const int before = answered;  // while the copy is made, one more may be answered
    moments.push_back({disk.copy(), before});
    return Effect::proceed();
  });
  {
    Process process(disk);
    ASSERT_EQ(process.create("s"), "done");
    answered = 1;
    ASSERT_EQ(process.create("t"), "done");
    answered = 2;
    ASSERT_EQ(process.answer(kOne, slot_question::Drop{"s"}), "done");
    answered = 3;
    const std::lock_guard lock(mutex);
    moments.push_back({disk.copy(), answered});
  }
  const std::vector<std::vector<std::string>> states = {{}, {"s"}, {"s", "t"}, {"t"}};
  ASSERT_GT(moments.size(), 15u);
  for (auto& moment : moments) {
    SCOPED_TRACE(moment.answered);
    moment.disk->crash(random);
    const auto found = names(*moment.disk);
    const auto at = static_cast<std::size_t>(moment.answered);
    EXPECT_TRUE(found == states[at] || (at + 1 < states.size() && found == states[at + 1]));
    Process next(*moment.disk);
    EXPECT_EQ(next.create("next"), "done");
  }
}

TEST(Slots, ThatCouldNotBeWrittenAreNotThere) {
  struct Case {
    Operation operation;
    int code;
    const char* sqlstate;
  };
  for (const auto& each :
       {Case{Operation::write, ENOSPC, "53100"}, Case{Operation::create, EIO, "58030"},
        Case{Operation::rename, EIO, "58030"}}) {
    SimDisk disk;
    Process process(disk);
    ASSERT_EQ(process.create("before"), "done");
    disk.set_hook([&each](const SimDisk::Call& call) {
      return call.operation == each.operation ? Effect::fail(each.code) : Effect::proceed();
    });
    EXPECT_EQ(process.create("s"), each.sqlstate);
    EXPECT_EQ(process.answer(kOne, slot_question::Drop{"before"}), each.sqlstate);
    disk.set_hook({});
    EXPECT_EQ(process.answer(kOne, slot_question::Read{"s"}), "not there");
    EXPECT_EQ(process.answer(kOne, slot_question::Drop{"before"}), "done");
    EXPECT_EQ(process.create("s"), "done");
  }
}

/// While the disk is full, what clients say is not in the file, is not counted upstream, and is
/// told once; who streams does not notice.
TEST(Slots, WaitForSpaceOnTheDisk) {
  SimDisk disk;
  ErrorsLog log;
  Process process(disk, {}, 7, &log);
  ASSERT_EQ(process.create("s"), "done");
  ASSERT_EQ(process.answer(kTwo, slot_question::Use{"s", Lsn(kMb)}), "done");
  disk.set_capacity(disk.used_bytes());
  ASSERT_TRUE(process.slots().on_feedback(kTwo, {100, 0}));
  process.slots().on_flush(kTwo, Lsn(2 * kMb));
  EXPECT_TRUE(within(20s, [&] { return log.errors() == 1; }));
  EXPECT_EQ(process.slots().held(), (Xmins{0, 0}));
  EXPECT_EQ(process.create("t"), "53100");
  const auto kept = archive::read_slots(*disk.open());
  ASSERT_TRUE(kept && kept->slots.size() == 1);
  EXPECT_EQ(kept->slots[0].restart_lsn, Lsn(kMb));
  EXPECT_EQ(kept->slots[0].xmin, 0u);
  disk.set_capacity(std::nullopt);
  EXPECT_EQ(process.create("t"), "done");
  EXPECT_EQ(process.slots().held(), (Xmins{100, 0}));
  EXPECT_EQ(archive::read_slots(*disk.open())->slots[0].restart_lsn, Lsn(2 * kMb));
}

TEST(Slots, AreGivenUpWhenASyncFails) {
  SimDisk disk;
  Process process(disk);
  ASSERT_EQ(process.create("s"), "done");
  disk.set_hook([](const SimDisk::Call& call) {
    return call.operation == Operation::sync ? Effect::fail(EIO) : Effect::proceed();
  });
  EXPECT_EQ(process.create("t"), "58030");
  disk.set_hook({});
  EXPECT_EQ(process.create("t"), "57P03");
  // What the file held before is held still, and who has such a slot streams on.
  EXPECT_EQ(process.answer(kTwo, slot_question::Use{"s", Lsn(kMb)}), "done");
  EXPECT_EQ(process.answer(kOne, slot_question::Read{"t"}), "57P03");
  EXPECT_EQ(process.slots().held(), std::nullopt);
}

TEST(Slots, AreNotWrittenIntoADirectoryThatWasReplaced) {
  SimDisk disk;
  {
    Process process(disk);
    ASSERT_EQ(process.create("s"), "done");
    process.slots().close();  // its thread has written what was let go
    process.hub().abandon({"57P03", "the archive that was served here is gone"});
    EXPECT_EQ(process.create("t"), "58030");
    ASSERT_EQ(process.answer(kTwo, slot_question::Use{"s", Lsn(kMb)}), "done");
    process.slots().on_flush(kTwo, Lsn(2 * kMb));
    process.slots().clean_up(kTwo);
    disk.erase(std::string(archive::kSlotsName));
  }
  EXPECT_FALSE(disk.exists(std::string(archive::kSlotsName)));
}

TEST(Slots, AreOneProcesss) {
  SimDisk disk;
  auto first = std::make_unique<Process>(disk);
  ASSERT_EQ(first->create("s"), "done");
  Process second(disk);
  EXPECT_EQ(second.slots().all(), std::nullopt);
  EXPECT_EQ(second.slots().held(), std::nullopt);
  const auto refused = second.slots().answer(kOne, slot_question::Create{"t", false, Lsn(kMb)});
  EXPECT_THAT(std::get<wire::ErrorReport>(refused).detail, HasSubstr("another process"));
  // Not that it does not exist: a receiver would ask for a person.
  EXPECT_EQ(second.answer(kOne, slot_question::Use{"s", Lsn(kMb)}), "57P03");
  EXPECT_EQ(second.answer(kOne, slot_question::Read{"s"}), "57P03");
  EXPECT_EQ(second.answer(kOne, slot_question::Drop{"s"}), "57P03");
  EXPECT_EQ(second.answer(kOne, slot_question::List{}), "57P03");
  // Who is left takes them over.
  first.reset();
  EXPECT_TRUE(within(20s, [&] { return second.slots().all().has_value(); }));
  EXPECT_EQ(second.answer(kOne, slot_question::Use{"s", Lsn(kMb)}), "done");
}

TEST(Slots, OfAnotherClusterAreNotTaken) {
  SimDisk disk;
  { ASSERT_EQ(Process(disk, {}, 7).create("s"), "done"); }
  Process other(disk, {}, 8);
  EXPECT_EQ(other.create("t"), "57P03");
  EXPECT_EQ(names(disk), std::vector<std::string>{"s"});
}

TEST(Slots, AreMadeForWhoComesWithAFittingName) {
  SimDisk disk;
  Process process(disk, {.auto_create = "standby_*"});
  EXPECT_EQ(process.answer(kOne, slot_question::Use{"other", Lsn(2 * kMb)}), "42704");
  // Once its start is accepted; before that it is nobody's.
  EXPECT_EQ(process.answer(kOne, slot_question::Use{"standby_1", Lsn(kMb)}), "to make");
  EXPECT_EQ(process.answer(kTwo, slot_question::Read{"standby_1"}), "not there");
  EXPECT_TRUE(names(disk).empty());
  EXPECT_EQ(process.answer(kOne, slot_question::Use{"standby_1", Lsn(2 * kMb), true}), "done");
  EXPECT_EQ(process.answer(kTwo, slot_question::Read{"standby_1"}), "0/200000");
  EXPECT_EQ(names(disk), std::vector<std::string>{"standby_1"});
  EXPECT_EQ(process.answer(kTwo, slot_question::Use{"standby_1", Lsn(2 * kMb)}), "55006");
}

TEST(Slots, OfNamesThatNoneCanHaveAreNotMade) {
  SimDisk disk;
  Process process(disk, {.auto_create = "*"});
  for (const std::string name : {"", "a b", "a\xff b", "S", "s-1", "s\n"}) {
    EXPECT_EQ(process.answer(kOne, slot_question::Use{name, Lsn(kMb)}), "42704") << name;
    EXPECT_EQ(process.answer(kOne, slot_question::Use{name, Lsn(kMb), true}), "42704") << name;
    EXPECT_EQ(process.create(name), "42602") << name;
    EXPECT_EQ(process.create(name, true), "42602") << name;
  }
  EXPECT_EQ(process.answer(kOne, slot_question::Use{std::string(64, 's'), Lsn(kMb), true}),
            "42704");
  EXPECT_EQ(process.create("pg_conflict_detection"), "42939");
  EXPECT_EQ(process.create(std::string(64, 's')), "42622");
  EXPECT_EQ(process.create(std::string(63, 's')), "done");
  EXPECT_EQ(names(disk).size(), 1u);
}

TEST(Slots, ThatAnEarlierVersionMadeOfAnyNameAreUsedAndDropped) {
  SimDisk disk;
  {
    const auto directory = disk.open();
    archive::DirectoryHome home(*directory);
    archive::keep_slots(home, {7, {{"a b", Lsn(kMb)}, {"a\xff b", Lsn(2 * kMb)}}});
  }
  const std::string shown = "a\xef\xbf\xbd b";
  EXPECT_EQ(names(disk), (std::vector<std::string>{"a b", shown}));
  Process process(disk, {.auto_create = "*"});
  EXPECT_EQ(process.answer(kOne, slot_question::Use{"a b", Lsn(3 * kMb)}), "done");
  process.slots().release(kOne);
  EXPECT_EQ(process.answer(kOne, slot_question::Read{shown}), "0/200000");
  EXPECT_EQ(process.answer(kOne, slot_question::Drop{"a b"}), "done");
  EXPECT_EQ(process.answer(kOne, slot_question::Drop{shown}), "done");
  EXPECT_TRUE(names(disk).empty());
}

/// A sync that does not come back holds up nobody who streams, and nothing is said upstream that is
/// not in the file.
TEST(Slots, DoNotWaitForADiskThatHangs) {
  SimDisk disk;
  Process process(disk);
  ASSERT_EQ(process.create("s"), "done");
  ASSERT_EQ(process.answer(kTwo, slot_question::Use{"s", Lsn(kMb)}), "done");
  std::atomic<bool> hangs = true;
  std::atomic<bool> reached = false;
  disk.set_hook([&](const SimDisk::Call& call) {
    while (call.operation == Operation::sync && hangs) {
      reached = true;
      std::this_thread::sleep_for(1ms);
    }
    return Effect::proceed();
  });
  ASSERT_TRUE(process.slots().on_feedback(kTwo, {100, 0}));
  ASSERT_TRUE(within(20s, [&] { return reached.load(); }));
  process.slots().on_flush(kTwo, Lsn(2 * kMb));
  EXPECT_EQ(process.slots().held(), (Xmins{0, 0}));
  EXPECT_EQ(process.answer(kOne, slot_question::Read{"s"}), "0/200000");
  hangs = false;
  EXPECT_TRUE(within(20s, [&] { return process.slots().held() == Xmins{100, 0}; }));
}

TEST(Slots, AreLostBehindTheirLimit) {
  SimDisk disk;
  Process process(disk, {.keep = 2 * kMb});
  ASSERT_EQ(process.create("s", false, Lsn()), "done");
  ASSERT_EQ(process.answer(kTwo, slot_question::Use{"s", Lsn(kMb)}), "done");
  process.slots().on_flush(kTwo, Lsn(kMb));
  EXPECT_TRUE(within(20s, [&] { return process.slots().evicted(kTwo); }));
  process.slots().clean_up(kTwo);
  EXPECT_EQ(process.answer(kOne, slot_question::Use{"s", Lsn(kMb)}), "55000");
  EXPECT_TRUE(within(20s, [&] {
    const auto kept = archive::read_slots(*disk.open());
    return kept && kept->slots[0].lost;
  }));
}

TEST(SlotsReport, IsReadAsItWasTold) {
  SlotsReport report{Lsn(5 * kMb)};
  report.slots.push_back({{"a", Lsn(kMb), 7, 0, false, "then", ""}, true, kTwo});
  report.slots.push_back({{"b", Lsn(), 0, 9, true, "then", "now"}, false, std::nullopt});
  const auto read = parse_slots_report(to_json(report));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->end, report.end);
  ASSERT_EQ(read->slots.size(), 2u);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(read->slots[i].kept, report.slots[i].kept);
    EXPECT_EQ(read->slots[i].temporary, report.slots[i].temporary);
    EXPECT_EQ(read->slots[i].active, report.slots[i].active);
  }
  for (const auto* const wrong :
       {"", "[]", "{}", "{\"end\": 1, \"slots\": []}", "{\"end\": \"0/0\"}"})
    EXPECT_FALSE(parse_slots_report(wrong)) << wrong;
  EXPECT_TRUE(parse_drop_answer(drop_answer(std::nullopt)).done);
  EXPECT_EQ(parse_drop_answer(drop_answer(wire::ErrorReport{"55006", "x"})).sqlstate, "55006");
  EXPECT_FALSE(parse_drop_answer("?").done);
}

TEST(Slots, TellWhatTheyHoldOnceThatIsInTheFile) {
  SimDisk disk;
  const auto directory = disk.open();
  const Cluster cluster{7, *wal::SegmentSize::of(kMb), 15};
  Hub hub{Served{wal::TimelineHistory(1), Lsn(4 * kMb)}};
  NullLog log;
  std::mutex mutex;
  std::vector<std::optional<Xmins>> told;
  const auto listen = [&](const std::optional<Xmins>& held) {
    const std::lock_guard lock(mutex);
    told.push_back(held);
  };
  const auto heard = [&] {
    const std::lock_guard lock(mutex);
    return told;
  };
  {
    Slots slots(*directory, cluster, {}, hub, log, listen);
    EXPECT_EQ(heard(), (std::vector<std::optional<Xmins>>{Xmins{}}));
    static_cast<void>(slots.answer(kOne, slot_question::Create{"s", false, Lsn(kMb)}));
    static_cast<void>(slots.answer(kTwo, slot_question::Use{"s", Lsn(kMb)}));
    EXPECT_TRUE(slots.on_feedback(kTwo, {100, 0}));
    EXPECT_TRUE(within(20s, [&] { return heard().back() == Xmins{100, 0}; }));
    slots.clean_up(kTwo);
    EXPECT_EQ(heard().back(), (Xmins{100, 0})) << "its client is away";
  }
  told.clear();
  Slots after(*directory, cluster, {}, hub, log, listen);
  EXPECT_EQ(heard(), (std::vector<std::optional<Xmins>>{Xmins{100, 0}})) << "the first word";
  static_cast<void>(after.answer(kOne, slot_question::Drop{"s"}));
  EXPECT_EQ(heard().back(), Xmins{});
}

}  // namespace
}  // namespace weir::relay::slots_test

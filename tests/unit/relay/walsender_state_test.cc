#include "relay/walsender_state.h"

#include <gtest/gtest.h>

#include "relay/slots_state.h"
#include "unit/relay/client_script.h"

namespace weir::relay::walsender_state_test {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;
using wal::Lsn;

constexpr std::uint64_t kMb = 1 << 20;

/// A session and its client. Time passes by wait().
class WalsenderTest : public ::testing::Test {
 protected:
  WalsenderTest() { served_ = {wal::TimelineHistory(1), Lsn(3 * kMb)}; }

  WalsenderState::Step next() { return state_.next(served_, now_); }
  std::vector<Heard> say_and_hear(const std::string& bytes) {
    state_.on_bytes(test::as_bytes(bytes));
    for (auto step = next();; step = next()) {
      const auto* const asked = std::get_if<WalsenderState::AskSlots>(&step);
      tell_slots();
      if (asked == nullptr) return hear(state_.output());
      state_.on_slots(answer(asked->question), served_, now_);
    }
  }
  /// The slots of one other session, and of this one: as Slots has them, without their file.
  SlotAnswer answer(const SlotQuestion& question) {
    if (const auto* read = std::get_if<slot_question::Read>(&question)) {
      const auto* const slot = slots_.find(read->name);
      if (slot == nullptr) return slot_answer::NotThere{};
      return slot_answer::Found{slot->kept.restart_lsn};
    }
    if (const auto* made = std::get_if<slot_question::Create>(&question)) {
      if (auto refusal = slots_.create(kMe, made->name, made->temporary, made->restart_lsn, "now"))
        return *refusal;
      slots_.release(kMe, "now");
      return slot_answer::Done{};
    }
    if (std::holds_alternative<slot_question::List>(question)) return slot_answer::Listed{"all"};
    const auto* const use = std::get_if<slot_question::Use>(&question);
    if (use != nullptr && makes_slots_ && slots_.find(use->name) == nullptr) {
      if (!use->make) return slot_answer::ToMake{};
      if (auto refusal = slots_.create(kMe, use->name, false, use->start, "now")) return *refusal;
    }
    const auto* const drop = std::get_if<slot_question::Drop>(&question);
    const auto& name = drop != nullptr ? drop->name : std::get<slot_question::Use>(question).name;
    auto acquired = slots_.acquire(
        kMe, name, drop != nullptr ? SlotsState::Invalid::allowed : SlotsState::Invalid::refused);
    if (auto* const busy = std::get_if<SlotsState::Busy>(&acquired))
      return slot_answer::Busy{busy->report};
    if (auto* const report = std::get_if<wire::ErrorReport>(&acquired)) return *report;
    if (drop != nullptr) {
      slots_.remove(name);
      slots_.release(kMe, "now");
    }
    return slot_answer::Done{};
  }
  void tell_slots() {
    const auto errand = state_.take_slot_errand();
    if (errand == WalsenderState::SlotErrand::release) slots_.release(kMe, "now");
    if (errand == WalsenderState::SlotErrand::clean_up) slots_.clean_up(kMe, "now");
  }
  static constexpr SessionId kMe = 4;
  static constexpr SessionId kOther = 5;

  std::vector<Heard> ask(const std::string& command) { return say_and_hear(query(command)); }
  static std::string copy_data(const std::string& message) { return say('d', message); }
  std::string status(Lsn flush, bool asks = false) {
    return copy_data(wire::encode(wire::StandbyStatus{flush, flush, flush, asks}, 0));
  }

  /// What is read: as many bytes as there may be, up to `most`.
  std::size_t send_wal(std::size_t most = 1000) {
    const auto step = next();
    const auto* wanted = std::get_if<WalsenderState::ReadWal>(&step);
    if (wanted == nullptr) return 0;
    const auto count = std::min<std::uint64_t>(most, wanted->limit - wanted->from);
    state_.on_wal(piece_of(test::pattern(count, wanted->from.byte())), now_);
    return count;
  }
  bool waits() { return std::holds_alternative<WalsenderState::Wait>(next()); }
  std::string left() {
    const auto step = next();
    const auto* leave = std::get_if<WalsenderState::Leave>(&step);
    return leave == nullptr ? "" : leave->why;
  }
  void start(const std::string& rest) {
    const auto heard = ask("START_REPLICATION " + rest);
    ASSERT_EQ(types(heard), "W");
    EXPECT_EQ(heard[0].body, "\0\0\0"s);
  }
  static wal::TimelineHistory history(wal::TimelineId timeline, const std::string& lines) {
    return *wal::TimelineHistory::parse(timeline, lines);
  }

  Served served_;
  SlotsState slots_;
  bool makes_slots_ = false;  ///< for who comes with the name of none
  WalsenderState::Now now_{WalsenderState::Time{} + 1h, 77};
  WalsenderState state_{{.cluster = {7301234567890123456, *wal::SegmentSize::of(kMb), 15},
                         .application_name = "one"}};
};

TEST_F(WalsenderTest, Greets) {
  state_.greet("repl", 4, 5);
  const auto heard = hear(state_.output());
  EXPECT_EQ(types(heard), "RSSSSSSSSSSKZ");
  std::string parameters;
  for (const auto& each : heard)
    if (each.type == 'S') parameters += each.body;
  for (const auto& expected :
       {"integer_datetimes\0on\0"s, "in_hot_standby\0on\0"s, "session_authorization\0repl\0"s,
        "pgweir_version\0"s, "server_version\0"s + "15.0 (pgweir "})
    EXPECT_NE(parameters.find(expected), std::string::npos) << expected;
}

TEST_F(WalsenderTest, SaysWhoItIs) {
  const auto heard = ask("IDENTIFY_SYSTEM");
  ASSERT_EQ(types(heard), "TDCZ");
  EXPECT_EQ(values(heard[1]),
            (std::vector<std::string>{"7301234567890123456", "1", "0/300000", "NULL"}));
  EXPECT_EQ(heard[2].body, "IDENTIFY_SYSTEM\0"s);
}

TEST_F(WalsenderTest, GivesATimelineTheTypeThatItsVersionGives) {
  for (const auto& [major, type] : {std::pair(13, '\x17'), std::pair(15, '\x17'),
                                    std::pair(16, '\x14'), std::pair(18, '\x14')}) {
    WalsenderState state(
        {.cluster = {1, *wal::SegmentSize::of(kMb), major}, .application_name = ""});
    state.on_bytes(test::as_bytes(query("IDENTIFY_SYSTEM")));
    static_cast<void>(state.next(served_, now_));
    // Behind the name: no table, no column of it.
    const auto described = hear(state.output()).at(0).body;
    EXPECT_NE(described.find("timeline\0\0\0\0\0\0\0\0\0\0"s + type), std::string::npos) << major;
  }
}

TEST_F(WalsenderTest, ShowsWhatClientsAskFor) {
  const std::pair<const char*, const char*> cases[] = {
      {"wal_segment_size", "1MB"},      {"data_directory_mode", "0700"},
      {"server_version_num", "150000"}, {"wal_sender_timeout", "1min"},
      {"in_hot_standby", "on"},         {"pgweir.replication_slots", "all"}};
  for (const auto& [name, value] : cases) {
    const auto heard = ask("SHOW "s + name);
    ASSERT_EQ(types(heard), "TDCZ") << name;
    EXPECT_EQ(values(heard[1]), std::vector<std::string>{value});
    EXPECT_EQ(heard[2].body, "SHOW\0"s);
  }
}

TEST_F(WalsenderTest, AnswersWhatItCannotDoWithPostgreSQLsWords) {
  const struct {
    const char* command;
    const char* sqlstate;
    const char* message;
  } cases[] = {
      {"SHOW nothing", "42704", "unrecognized configuration parameter \"nothing\""},
      {"SELECT 1", "0A000", "cannot execute SQL commands in WAL sender for physical replication"},
      {"", "0A000", "cannot execute SQL commands in WAL sender for physical replication"},
      {"IDENTIFY_SYSTEM x", "42601", "syntax error"},
      {"TIMELINE_HISTORY 0", "42601", "invalid timeline 0"},
      {"BASE_BACKUP (LABEL 'x')", "0A000", "BASE_BACKUP is not supported"},
      {"CREATE_REPLICATION_SLOT s PHYSICAL (two_phase)", "42601",
       "conflicting or redundant options"},
      {"CREATE_REPLICATION_SLOT s PHYSICAL (reserve_wal, reserve_wal)", "42601",
       "conflicting or redundant options"},
      {"CREATE_REPLICATION_SLOT s PHYSICAL (reserve_wal 'maybe')", "42601",
       "reserve_wal requires a Boolean value"},
      {"CREATE_REPLICATION_SLOT s PHYSICAL (other)", "XX000", "unrecognized option: other"},
      {"CREATE_REPLICATION_SLOT \"S-1\" PHYSICAL", "42602",
       "replication slot name \"S-1\" contains invalid character"},
      {"CREATE_REPLICATION_SLOT \"\" PHYSICAL", "42602", "replication slot name \"\" is too short"},
      {"CREATE_REPLICATION_SLOT s LOGICAL pgoutput", "0A000",
       "logical decoding cannot be used while in recovery"},
      {"DROP_REPLICATION_SLOT s", "42704", "replication slot \"s\" does not exist"},
      {"START_REPLICATION SLOT s LOGICAL 0/0", "0A000",
       "logical decoding cannot be used while in recovery"},
      {"START_REPLICATION SLOT s 0/100000", "42704", "replication slot \"s\" does not exist"},
      {"START_REPLICATION 0/100000 TIMELINE 2", "XX000",
       "requested timeline 2 is not in this server's history"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.command);
    const auto heard = ask(each.command);
    ASSERT_EQ(types(heard), "EZ");
    EXPECT_EQ(field(heard[0], 'S'), "ERROR");
    EXPECT_EQ(field(heard[0], 'C'), each.sqlstate);
    EXPECT_EQ(field(heard[0], 'M'), each.message);
  }
}

TEST_F(WalsenderTest, KnowsNoSlot) {
  const auto heard = ask("READ_REPLICATION_SLOT s");
  ASSERT_EQ(types(heard), "TDCZ");
  EXPECT_EQ(values(heard[1]), (std::vector<std::string>{"NULL", "NULL", "NULL"}));
}

TEST_F(WalsenderTest, MakesShowsAndDropsASlot) {
  const auto made = ask("CREATE_REPLICATION_SLOT s PHYSICAL (RESERVE_WAL)");
  ASSERT_EQ(types(made), "TDCZ");
  EXPECT_EQ(values(made[1]), (std::vector<std::string>{"s", "0/0", "NULL", "NULL"}));
  EXPECT_EQ(made[2].body, "CREATE_REPLICATION_SLOT\0"s);
  EXPECT_EQ(values(ask("READ_REPLICATION_SLOT s")[1]),
            (std::vector<std::string>{"physical", "0/300000", "1"}));
  EXPECT_EQ(field(ask("CREATE_REPLICATION_SLOT s PHYSICAL")[0], 'C'), "42710");
  EXPECT_EQ(types(ask("CREATE_REPLICATION_SLOT bare PHYSICAL (RESERVE_WAL false)")), "TDCZ");
  EXPECT_EQ(values(ask("READ_REPLICATION_SLOT bare")[1]),
            (std::vector<std::string>{"physical", "NULL", "NULL"}));
  const auto dropped = ask("DROP_REPLICATION_SLOT s");
  ASSERT_EQ(types(dropped), "CZ");
  EXPECT_EQ(dropped[0].body, "DROP_REPLICATION_SLOT\0"s);
  EXPECT_EQ(field(ask("DROP_REPLICATION_SLOT s")[0], 'C'), "42704");
}

TEST_F(WalsenderTest, ReservesFromTheSegmentsFirstByteOn) {
  served_.end = Lsn(3 * kMb - 8);
  ask("CREATE_REPLICATION_SLOT s PHYSICAL RESERVE_WAL");
  EXPECT_EQ(values(ask("READ_REPLICATION_SLOT s")[1])[1], "0/200000");
}

TEST_F(WalsenderTest, UsesASlotAsLongAsItStreams) {
  ask("CREATE_REPLICATION_SLOT s PHYSICAL RESERVE_WAL");
  start("SLOT s 0/100000 TIMELINE 1");
  EXPECT_EQ(slots_.find("s")->active, kMe);
  EXPECT_EQ(types(say_and_hear(say('c', ""))), "cCCZ");
  EXPECT_EQ(slots_.find("s")->active, std::nullopt);
}

TEST_F(WalsenderTest, HasASlotMadeOnceItsStartIsAccepted) {
  makes_slots_ = true;
  served_ = {history(2, "1\t0/250000\tx\n"), Lsn(3 * kMb)};
  for (const auto* const refused :
       {"0/100000 TIMELINE 3", "0/260000 TIMELINE 1", "FFFFFFFF/FFFFFFFF TIMELINE 1"}) {
    EXPECT_EQ(types(ask("START_REPLICATION SLOT s "s + refused)), "EZ") << refused;
    EXPECT_EQ(slots_.find("s"), nullptr) << refused;
  }
  // There is nothing to be sent.
  EXPECT_EQ(types(ask("START_REPLICATION SLOT s 0/250000 TIMELINE 1")), "TDCCZ");
  EXPECT_EQ(slots_.find("s"), nullptr);
  // One that lies ahead is waited for.
  EXPECT_EQ(types(ask("START_REPLICATION SLOT s 0/300100")), "W");
  EXPECT_TRUE(waits());
  now_.time += 5s;
  EXPECT_EQ(types(say_and_hear("")), "EZ");
  EXPECT_EQ(slots_.find("s"), nullptr);

  start("SLOT s 0/100000 TIMELINE 1");
  ASSERT_NE(slots_.find("s"), nullptr);
  EXPECT_EQ(slots_.find("s")->active, kMe);
  EXPECT_EQ(slots_.find("s")->kept.restart_lsn, Lsn(kMb));
  EXPECT_FALSE(slots_.find("s")->temporary);
  EXPECT_EQ(types(say_and_hear(say('c', ""))), "cTDCCZ");
}

TEST_F(WalsenderTest, HasASlotMadeWhenWhatItWaitsForIsThere) {
  makes_slots_ = true;
  EXPECT_EQ(types(ask("START_REPLICATION SLOT s 0/300100")), "W");
  EXPECT_TRUE(waits());
  served_.end = Lsn(3 * kMb + 0x200);
  EXPECT_EQ(types(say_and_hear("")), "");
  ASSERT_NE(slots_.find("s"), nullptr);
  EXPECT_EQ(slots_.find("s")->active, kMe);
  EXPECT_EQ(send_wal(), 0x100u);
  EXPECT_EQ(types(say_and_hear("")), "d");
  EXPECT_EQ(types(say_and_hear(say('c', ""))), "cCCZ");
  EXPECT_EQ(slots_.find("s")->active, std::nullopt);

  // Who does not wait any longer, or whose timeline was left before there, has no use for one.
  EXPECT_EQ(types(ask("START_REPLICATION SLOT gone 0/300300")), "W");
  EXPECT_EQ(types(say_and_hear(say('c', ""))), "cCCZ");
  EXPECT_EQ(types(ask("START_REPLICATION SLOT left 0/300300 TIMELINE 1")), "W");
  served_ = {history(2, "1\t0/300200\tx\n"), Lsn(4 * kMb)};
  EXPECT_EQ(types(say_and_hear("")), "c");
  EXPECT_EQ(types(say_and_hear(say('c', ""))), "TDCCZ");
  EXPECT_EQ(slots_.all().size(), 1u);
}

TEST_F(WalsenderTest, IsToldWhereItsSlotCannotBeMade) {
  makes_slots_ = true;
  for (std::size_t i = 0; i < SlotsState::kMost; ++i)
    ASSERT_FALSE(slots_.create(kOther, "s" + std::to_string(i), true, Lsn(), "now"));
  EXPECT_EQ(field(ask("START_REPLICATION SLOT s 0/100000")[0], 'C'), "53400");
  EXPECT_EQ(types(ask("START_REPLICATION SLOT s 0/300100")), "W");
  served_.end = Lsn(3 * kMb + 0x200);
  EXPECT_EQ(types(say_and_hear("")), "EZ");
  EXPECT_EQ(types(ask("IDENTIFY_SYSTEM")), "TDCZ");
}

TEST_F(WalsenderTest, LetsGoOfASlotWhereAStartFails) {
  ask("CREATE_REPLICATION_SLOT s PHYSICAL RESERVE_WAL");
  const auto heard = ask("START_REPLICATION SLOT s 0/100000 TIMELINE 2");
  EXPECT_EQ(field(heard[0], 'M'), "requested timeline 2 is not in this server's history");
  EXPECT_EQ(slots_.find("s")->active, std::nullopt);
}

TEST_F(WalsenderTest, LosesItsTemporarySlotsWithAnyError) {
  ask("CREATE_REPLICATION_SLOT mine TEMPORARY PHYSICAL RESERVE_WAL");
  EXPECT_EQ(slots_.find("mine")->active, kMe);
  start("SLOT mine 0/100000 TIMELINE 1");
  EXPECT_EQ(types(say_and_hear(say('c', ""))), "cCCZ");
  EXPECT_EQ(slots_.find("mine")->active, kMe);
  EXPECT_EQ(field(ask("SELECT 1")[0], 'C'), "0A000");
  EXPECT_EQ(slots_.find("mine"), nullptr);
}

TEST_F(WalsenderTest, IsRefusedWhatSomebodyElseUses) {
  ASSERT_FALSE(slots_.create(kOther, "s", false, Lsn(kMb), "then"));
  for (const auto* command : {"START_REPLICATION SLOT s 0/100000", "DROP_REPLICATION_SLOT s"}) {
    const auto heard = ask(command);
    ASSERT_EQ(types(heard), "EZ") << command;
    EXPECT_EQ(field(heard[0], 'C'), "55006");
    EXPECT_EQ(field(heard[0], 'M'), "replication slot \"s\" is active for PID 5");
  }
  // One who waits is answered when it is free, and nothing else before.
  EXPECT_EQ(types(say_and_hear(query("DROP_REPLICATION_SLOT s WAIT") + query("IDENTIFY_SYSTEM"))),
            "");
  now_.time += 100ms;
  EXPECT_EQ(types(say_and_hear("")), "");
  slots_.release(kOther, "now");
  now_.time += 100ms;
  EXPECT_EQ(types(say_and_hear("")), "CZTDCZ");
}

TEST_F(WalsenderTest, IsRefusedALostSlot) {
  ASSERT_FALSE(slots_.create(kOther, "s", false, Lsn(kMb), "then"));
  slots_.release(kOther, "now");
  ASSERT_EQ(slots_.enforce(Lsn(9 * kMb), *wal::SegmentSize::of(kMb), kMb).size(), 1u);
  const auto heard = ask("START_REPLICATION SLOT s 0/100000");
  ASSERT_EQ(types(heard), "EZ");
  EXPECT_EQ(field(heard[0], 'C'), "55000");
  EXPECT_EQ(types(ask("DROP_REPLICATION_SLOT s")), "CZ");
}

TEST_F(WalsenderTest, IsLeftWhenItsSlotIsLost) {
  start("0/100000 TIMELINE 1");
  state_.evict();
  const auto heard = hear(state_.output());
  ASSERT_EQ(types(heard), "E");
  EXPECT_EQ(field(heard[0], 'S'), "FATAL");
  EXPECT_EQ(field(heard[0], 'C'), "57P01");
  EXPECT_NE(left(), "");
}

TEST_F(WalsenderTest, GivesHistories) {
  state_.on_bytes(test::as_bytes(query("TIMELINE_HISTORY 18") + query("IDENTIFY_SYSTEM")));
  EXPECT_EQ(std::get<WalsenderState::ReadHistory>(next()).timeline, 18u);
  EXPECT_TRUE(state_.output().empty());
  state_.on_history("1\t0/100\n");
  auto heard = hear(state_.output());
  ASSERT_EQ(types(heard), "TDCZ");
  EXPECT_EQ(values(heard[1]), (std::vector<std::string>{"00000012.history", "1\t0/100\n"}));
  EXPECT_TRUE(waits());
  EXPECT_EQ(types(hear(state_.output())), "TDCZ");  // the command behind it

  state_.on_bytes(test::as_bytes(query("TIMELINE_HISTORY 3")));
  static_cast<void>(next());
  state_.on_history(std::nullopt);
  heard = hear(state_.output());
  ASSERT_EQ(types(heard), "TEZ");
  EXPECT_EQ(field(heard[1], 'C'), "58P01");
}

TEST_F(WalsenderTest, SendsWalUpToTheEndAndNotFurther) {
  start("0/2FFC18 TIMELINE 1");
  EXPECT_EQ(state_.status().phase, WalsenderState::Phase::catchup);
  EXPECT_EQ(send_wal(600), 600u);
  const auto heard = hear(state_.output());
  ASSERT_EQ(types(heard), "d");
  const auto bytes = test::as_bytes(heard[0].body);
  const auto data = std::get<wire::XLogData>(wire::decode_from_server(bytes));
  EXPECT_EQ(data.start, Lsn(3 * kMb - 1000));
  EXPECT_EQ(data.server_end, Lsn(3 * kMb));
  EXPECT_EQ(data.server_clock, 77);
  EXPECT_EQ(data.wal.size(), 600u);
  EXPECT_EQ(send_wal(), 400u);
  drop_all(state_.output());
  EXPECT_TRUE(waits());
  EXPECT_EQ(state_.status().phase, WalsenderState::Phase::streaming);
  served_.end = Lsn(3 * kMb + 8);
  EXPECT_EQ(send_wal(), 8u);
}

TEST_F(WalsenderTest, WalGoesInMessagesThatEndWithAPageWhereMoreFollow) {
  start("0/2000C8");
  EXPECT_EQ(send_wal(300'000), 300'000u);
  auto at = Lsn(2 * kMb + 200);
  std::vector<std::size_t> sizes;
  for (const auto& each : hear(state_.output())) {
    ASSERT_EQ(each.type, 'd');
    const auto body = test::as_bytes(each.body);
    const auto data = std::get<wire::XLogData>(wire::decode_from_server(body));
    EXPECT_EQ(data.start, at);
    EXPECT_EQ(data.server_end, served_.end);
    const auto expected = test::pattern(300'000, 2 * kMb + 200);
    EXPECT_TRUE(
        std::equal(data.wal.begin(), data.wal.end(),
                   expected.begin() + static_cast<std::ptrdiff_t>(at.byte() - 2 * kMb - 200)));
    at = at + data.wal.size();
    sizes.push_back(data.wal.size());
  }
  EXPECT_EQ(sizes, (std::vector<std::size_t>{131'072 - 200, 131'072, 300'000 - 2 * 131'072 + 200}));
  EXPECT_EQ(state_.status().sent, at);
}

TEST_F(WalsenderTest, AsksForNoWalWhileSomeIsUnsent) {
  start("0/200000");
  EXPECT_GT(send_wal(), 0u);
  EXPECT_TRUE(waits());
  state_.output().drop(1);
  EXPECT_TRUE(waits());
  drop_all(state_.output());
  EXPECT_GT(send_wal(), 0u);
}

TEST_F(WalsenderTest, AnswersBehindTheWalThatIsUnsent) {
  start("0/200000 TIMELINE 1");
  EXPECT_EQ(send_wal(), 1000u);
  state_.output().drop(100);
  EXPECT_TRUE(say_and_hear(say('c', "") + query("IDENTIFY_SYSTEM")).empty())
      << "begins in a message";
  auto bytes = state_.output().all();
  ASSERT_GT(bytes.size(), 930u);
  bytes.erase(0, 1 + 4 + wire::kXLogDataHead + 1000 - 100);
  EXPECT_EQ(types(hear(bytes)), "cCCZTDCZ");
}

TEST_F(WalsenderTest, WaitsWhereARecordIsNotComplete) {
  start("0/200000");
  EXPECT_TRUE(std::holds_alternative<WalsenderState::ReadWal>(next()));
  state_.on_wal({}, now_);
  EXPECT_TRUE(waits());
  served_.end = served_.end + 8;
  EXPECT_TRUE(std::holds_alternative<WalsenderState::ReadWal>(next()));
}

TEST_F(WalsenderTest, WaitsALittleForAStartAheadOfTheEnd) {
  start("0/300100");
  const auto step = next();
  EXPECT_EQ(std::get<WalsenderState::Wait>(step).until, now_.time + 5s);
  served_.end = Lsn(3 * kMb + 0x100);
  EXPECT_TRUE(waits());
  served_.end = served_.end + 1;
  EXPECT_EQ(send_wal(), 1u);
}

TEST_F(WalsenderTest, RefusesAStartAheadOfTheEndInTheEnd) {
  start("0/300100");
  now_.time += 4999ms;
  EXPECT_TRUE(waits());
  EXPECT_TRUE(state_.output().empty());
  now_.time += 1ms;
  EXPECT_TRUE(waits());
  auto heard = hear(state_.output());
  ASSERT_EQ(types(heard), "EZ");
  EXPECT_EQ(field(heard[0], 'C'), "XX000");
  EXPECT_EQ(field(heard[0], 'M'),
            "requested starting point 0/300100 is ahead of the WAL flush "
            "position of this server 0/300000");
  // What a client still sends of the copy is not looked at.
  heard = say_and_hear(status(Lsn(5)) + say('c', "") + query("IDENTIFY_SYSTEM"));
  EXPECT_EQ(types(heard), "TDCZ");
}

TEST_F(WalsenderTest, HoldsBackWhatCandidatesHaveNotFlushed) {
  WalsenderState held({.cluster = {7301234567890123456, *wal::SegmentSize::of(kMb), 15},
                       .application_name = "two",
                       .held_back = true});
  const auto limit = [&]() -> std::optional<Lsn> {
    const auto step = held.next(served_, now_);
    const auto* wanted = std::get_if<WalsenderState::ReadWal>(&step);
    return wanted == nullptr ? std::nullopt : std::optional(wanted->limit);
  };
  served_.hold = Lsn();
  held.on_bytes(test::as_bytes(query("START_REPLICATION 0/100000")));
  static_cast<void>(held.next(served_, now_));
  EXPECT_EQ(types(hear(held.output())), "W");
  EXPECT_EQ(limit(), std::nullopt) << "no candidate is there";
  served_.hold = Lsn(kMb + 500);
  EXPECT_EQ(limit(), Lsn(kMb + 500));
  held.on_wal(piece_of(test::pattern(500, 0)), now_);
  const auto heard = hear(held.output());
  ASSERT_EQ(heard.size(), 1u);
  const auto message = wire::decode_from_server(test::as_bytes(heard[0].body));
  EXPECT_EQ(std::get<wire::XLogData>(message).server_end, Lsn(kMb + 500)) << "nor announced";
  EXPECT_EQ(limit(), std::nullopt);
  served_.hold = Lsn(9 * kMb);
  EXPECT_EQ(limit(), served_.end);
  // A candidate is not held back, or there would be none.
  served_.hold = Lsn();
  start("0/100000");
  EXPECT_EQ(send_wal(), 1000u);
}

TEST_F(WalsenderTest, KnowsWhatItsClientNeeds) {
  start("0/100000");
  const wire::HotStandbyFeedback feedback{.xmin = 5, .xmin_epoch = 1};
  EXPECT_EQ(types(say_and_hear(copy_data(wire::encode(feedback, 0)))), "");
  EXPECT_EQ(state_.status().xmins, xmins_of(feedback));
  // For as long as it is there, whatever it streams.
  EXPECT_EQ(types(say_and_hear(say('c', ""))), "cCCZ");
  start("0/100000");
  EXPECT_EQ(state_.status().xmins, xmins_of(feedback));
  EXPECT_EQ(types(say_and_hear(copy_data(wire::encode(wire::HotStandbyFeedback{}, 0)))), "");
  EXPECT_EQ(state_.status().xmins, Xmins{});
}

TEST_F(WalsenderTest, TakesTheClientsPositions) {
  start("0/200000");
  say_and_hear(copy_data(wire::encode(wire::StandbyStatus{Lsn(3), Lsn(2), Lsn(1), false}, 0)));
  EXPECT_EQ(state_.status().write, Lsn(3));
  EXPECT_EQ(state_.status().flush, Lsn(2));
  EXPECT_EQ(state_.status().apply, Lsn(1));
  EXPECT_TRUE(
      say_and_hear(copy_data(wire::encode(wire::HotStandbyFeedback{1, 2, 3, 4}, 0))).empty());
}

TEST_F(WalsenderTest, AnswersAQuestionOnceHoweverOftenItIsAsked) {
  start("0/300000");
  std::string many;
  for (int i = 0; i < 1000; ++i) many += status(Lsn(3 * kMb), true);
  const auto heard = say_and_hear(many);
  ASSERT_EQ(types(heard), "d");
  const auto message = wire::decode_from_server(test::as_bytes(heard[0].body));
  EXPECT_EQ(std::get<wire::Keepalive>(message), (wire::Keepalive{Lsn(3 * kMb), 77, false}));
}

TEST_F(WalsenderTest, AsksWhoIsSilentAndGivesItUp) {
  start("0/300000");
  EXPECT_EQ(std::get<WalsenderState::Wait>(next()).until, now_.time + 30s);
  now_.time += 30s;
  EXPECT_EQ(std::get<WalsenderState::Wait>(next()).until, now_.time + 30s);
  auto heard = hear(state_.output());
  ASSERT_EQ(types(heard), "d");
  EXPECT_TRUE(std::get<wire::Keepalive>(wire::decode_from_server(test::as_bytes(heard[0].body)))
                  .reply_requested);
  now_.time += 29s;
  say_and_hear(status(Lsn(3 * kMb)));  // in time
  now_.time += 29s;
  EXPECT_EQ(left(), "");
  now_.time += 1s;
  EXPECT_EQ(left(), "");
  EXPECT_EQ(types(hear(state_.output())), "d");
  now_.time += 30s;
  EXPECT_EQ(left(), "no message for 60 s");
  EXPECT_TRUE(state_.output().empty());
}

TEST_F(WalsenderTest, TakesASlowDiskNotForAClientsSilence) {
  start("0/200000");
  const auto wanted = std::get<WalsenderState::ReadWal>(next());
  now_.time += 70s;
  state_.on_wal(piece_of(test::Bytes(wanted.limit - wanted.from)), now_);
  EXPECT_EQ(left(), "");
  drop_all(state_.output());
  now_.time += 59s;
  EXPECT_EQ(left(), "");
  drop_all(state_.output());
  now_.time += 1s;
  EXPECT_EQ(left(), "no message for 60 s");
}

TEST_F(WalsenderTest, EndsAStreamThatTheClientEnds) {
  start("0/300000 TIMELINE 1");
  auto heard = say_and_hear(say('c', "") + query("IDENTIFY_SYSTEM"));
  ASSERT_EQ(types(heard), "cCCZTDCZ");
  EXPECT_EQ(heard[1].body, "START_STREAMING\0"s);
  EXPECT_EQ(heard[2].body, "START_REPLICATION\0"s);
}

TEST_F(WalsenderTest, EndsATimelineWhereItWasLeft) {
  served_ = {history(3, "1\t0/280000\tx\n2\t0/2C0000\tx\n"), Lsn(3 * kMb)};
  start("0/27FF00 TIMELINE 1");
  EXPECT_EQ(send_wal(), 0x100u);
  drop_all(state_.output());
  EXPECT_TRUE(waits());
  auto heard = hear(state_.output());
  ASSERT_EQ(types(heard), "c");
  EXPECT_TRUE(waits());
  EXPECT_TRUE(state_.output().empty());  // until the client has ended it, too
  EXPECT_TRUE(say_and_hear(status(Lsn(1), true)).empty());
  heard = say_and_hear(say('c', ""));
  ASSERT_EQ(types(heard), "TDCCZ");
  EXPECT_EQ(values(heard[1]), (std::vector<std::string>{"2", "0/280000"}));
  // And on to the next one.
  start("0/200000 TIMELINE 2");
}

TEST_F(WalsenderTest, HasNoCopyWhereNothingIsLeft) {
  served_ = {history(2, "1\t0/280000\tx\n"), Lsn(3 * kMb)};
  const auto heard = ask("START_REPLICATION 0/280000 TIMELINE 1");
  ASSERT_EQ(types(heard), "TDCCZ");
  EXPECT_EQ(values(heard[1]), (std::vector<std::string>{"2", "0/280000"}));
  const auto late = ask("START_REPLICATION 0/280001 TIMELINE 1");
  ASSERT_EQ(types(late), "EZ");
  EXPECT_EQ(field(late[0], 'C'), "XX000");
  EXPECT_EQ(field(late[0], 'M'),
            "requested starting point 0/280001 on timeline 1 is not in this server's history");
  EXPECT_EQ(field(late[0], 'D'), "This server's history forked from timeline 1 at 0/280000.");
}

TEST_F(WalsenderTest, EndsATimelineThatIsLeftWhileItStreams) {
  start("0/300000 TIMELINE 1");
  EXPECT_TRUE(waits());
  // More of the old one than the new one took over was sent already.
  served_ = {history(2, "1\t0/2FFFF8\tx\n"), Lsn(3 * kMb + 100)};
  EXPECT_TRUE(waits());
  EXPECT_EQ(types(hear(state_.output())), "c");
  const auto heard = say_and_hear(say('c', ""));
  ASSERT_EQ(types(heard), "TDCCZ");
  EXPECT_EQ(values(heard[1]), (std::vector<std::string>{"2", "0/2FFFF8"}));
}

TEST_F(WalsenderTest, StartsOnTheNewestTimelineIfNoneIsNamed) {
  served_ = {history(2, "1\t0/280000\tx\n"), Lsn(3 * kMb)};
  start("0/200000");
  EXPECT_EQ(state_.status().timeline, 2u);
}

TEST_F(WalsenderTest, EndsAStreamWithAnErrorWhereTheWalIsDamagedOrGone) {
  start("0/200000");
  static_cast<void>(next());
  state_.on_no_wal({"58P01", "requested WAL segment x has already been removed"});
  auto heard = hear(state_.output());
  ASSERT_EQ(types(heard), "EZ");
  EXPECT_EQ(field(heard[0], 'S'), "ERROR");
  start("0/200000");  // it may ask again
}

TEST_F(WalsenderTest, LeavesWhoBreaksTheProtocol) {
  const struct {
    const char* name;
    std::string bytes;
    const char* message;  ///< empty: it hears nothing
  } cases[] = {
      {"a query in a stream", query("IDENTIFY_SYSTEM"), "invalid standby message type \"Q\""},
      {"an unknown status", copy_data("x"), ""},
      {"an empty status", copy_data(""), ""},
      {"a message that is too long", "d\0\1\0\0"s, "invalid message length"},
      {"a goodbye", say('X', ""), ""},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    WalsenderState state({.cluster = {1, *wal::SegmentSize::of(kMb), 15}, .application_name = ""});
    state.on_bytes(test::as_bytes(query("START_REPLICATION 0/300000")));
    static_cast<void>(state.next(served_, now_));
    drop_all(state.output());
    state.on_bytes(test::as_bytes(each.bytes));
    EXPECT_TRUE(std::holds_alternative<WalsenderState::Leave>(state.next(served_, now_)));
    const auto heard = hear(state.output());
    if (std::string(each.message).empty()) {
      EXPECT_TRUE(heard.empty());
    } else {
      ASSERT_EQ(types(heard), "E");
      EXPECT_EQ(field(heard[0], 'S'), "FATAL");
      EXPECT_EQ(field(heard[0], 'C'), "08P01");
      EXPECT_EQ(field(heard[0], 'M'), each.message);
    }
  }
}

TEST_F(WalsenderTest, RefusesTheExtendedProtocol) {
  auto heard = say_and_hear(say('P', "\0SELECT 1\0\0\0"s) + say('B', "x") + say('S', ""));
  ASSERT_EQ(types(heard), "EZ");
  EXPECT_EQ(field(heard[0], 'C'), "08P01");
  EXPECT_EQ(field(heard[0], 'M'),
            "extended query protocol not supported in a replication connection");
  EXPECT_EQ(types(ask("IDENTIFY_SYSTEM")), "TDCZ");
  EXPECT_EQ(types(say_and_hear(say('H', ""))), "") << "Flush: there is nothing to be flushed";
  heard = say_and_hear(say('F', "x"));
  ASSERT_EQ(types(heard), "EZ");
  heard = say_and_hear(say('?', "x"));
  ASSERT_EQ(types(heard), "E");
  EXPECT_EQ(left(), "invalid frontend message type 63");
}

TEST_F(WalsenderTest, StopsAsAWalsenderDoes) {
  start("0/300000");
  state_.stop();
  EXPECT_EQ(left(), "this server stops");
  const auto heard = hear(state_.output());
  ASSERT_EQ(types(heard), "C");
  EXPECT_EQ(heard[0].body, "COPY 0\0"s);

  WalsenderState idle({.cluster = {}, .application_name = ""});
  idle.stop();
  auto output = idle.output();
  const auto last = hear(output);
  ASSERT_EQ(types(last), "E");
  EXPECT_EQ(field(last[0], 'C'), "57P01");
}

TEST_F(WalsenderTest, TellsWhoHasEverythingThatTheRestCannotBeHad) {
  served_.breaks_off = wire::ErrorReport{"57P03", "it breaks off", "More is behind it."};
  start("0/2FFF00");
  EXPECT_EQ(send_wal(), 0x100u) << "what is there is sent first";
  EXPECT_EQ(types(hear(state_.output())), "d");
  drop_all(state_.output());
  EXPECT_TRUE(waits());
  const auto heard = hear(state_.output());
  ASSERT_EQ(types(heard), "EZ");
  EXPECT_EQ(field(heard[0], 'S'), "ERROR");
  EXPECT_EQ(field(heard[0], 'C'), "57P03");
  drop_all(state_.output());
  // It comes again, and somebody has mended that.
  served_.breaks_off.reset();
  served_.end = served_.end + 8;
  start("0/300000");
  EXPECT_EQ(send_wal(), 8u);
}

TEST_F(WalsenderTest, SaysWhyItStopsIfThereIsSomethingToSay) {
  start("0/300000");
  state_.stop({{"57P03", "the WAL is missing", "It ends here."}});
  EXPECT_EQ(left(), "the WAL is missing");
  const auto heard = hear(state_.output());
  ASSERT_EQ(types(heard), "E");
  EXPECT_EQ(field(heard[0], 'S'), "FATAL");
  EXPECT_EQ(field(heard[0], 'C'), "57P03");
  EXPECT_EQ(field(heard[0], 'D'), "It ends here.");
}

/// Where base backups can be had.
class BackupTest : public WalsenderTest {
 protected:
  BackupTest() : has_({.cluster = {}, .application_name = "", .has_backups = true}) {}
  WalsenderState::Step say(const std::string& bytes) {
    has_.on_bytes(test::as_bytes(bytes));
    return has_.next(served_, now_);
  }
  void begin() {
    const auto step = say(query("BASE_BACKUP (LABEL 'x', NEWER 'than this');"));
    const auto* const asked = std::get_if<WalsenderState::BeginBackup>(&step);
    ASSERT_NE(asked, nullptr);
    EXPECT_EQ(asked->command, "BASE_BACKUP (LABEL 'x', NEWER 'than this');");
    has_.on_backup_begun();
    EXPECT_EQ(to_string(has_.status().phase), "backup");
  }
  std::vector<Heard> heard() { return hear(has_.output()); }
  WalsenderState has_;
};

TEST_F(BackupTest, ItsCommandIsAskedForAndNothingElseMeanwhile) {
  begin();
  EXPECT_TRUE(std::holds_alternative<WalsenderState::Wait>(say(query("IDENTIFY_SYSTEM"))));
  EXPECT_TRUE(has_.output().empty());
  // However long the client has nothing to say.
  now_.time += 24h;
  EXPECT_TRUE(std::holds_alternative<WalsenderState::Wait>(has_.next(served_, now_)));
  has_.on_backup_end(WalsenderState::BackupEnd::done);
  EXPECT_EQ(has_.take_slot_errand(), WalsenderState::SlotErrand::nothing);
  static_cast<void>(has_.next(served_, now_));
  EXPECT_EQ(types(heard()), "ZTDCZ");
  EXPECT_EQ(to_string(has_.status().phase), "startup");
}

TEST_F(BackupTest, AnErrorOfItIsOneOfTheSession) {
  begin();
  has_.on_backup_end(WalsenderState::BackupEnd::failed);
  EXPECT_EQ(types(heard()), "Z");
  EXPECT_EQ(has_.take_slot_errand(), WalsenderState::SlotErrand::clean_up);
  begin();
  has_.on_no_backup({"53300", "too many"});
  const auto report = heard();
  ASSERT_EQ(types(report), "EZ");
  EXPECT_EQ(field(report[0], 'C'), "53300");
  EXPECT_EQ(has_.take_slot_errand(), WalsenderState::SlotErrand::clean_up);
  begin();
  has_.on_backup_end(WalsenderState::BackupEnd::fatal);
  EXPECT_TRUE(std::holds_alternative<WalsenderState::Leave>(has_.next(served_, now_)));
  EXPECT_TRUE(has_.output().empty());
}

TEST_F(BackupTest, IsCancelledWithAServersWords) {
  begin();
  has_.cancel();
  const auto report = heard();
  ASSERT_EQ(types(report), "EZ");
  EXPECT_EQ(field(report[0], 'C'), "57014");
  EXPECT_EQ(field(report[0], 'S'), "ERROR");
  EXPECT_EQ(has_.take_slot_errand(), WalsenderState::SlotErrand::clean_up);
  has_.cancel();  // there is nothing any more
  EXPECT_TRUE(has_.output().empty());

  start("0/300000");
  state_.cancel();
  EXPECT_EQ(types(hear(state_.output())), "EZ");
  EXPECT_EQ(types(ask("IDENTIFY_SYSTEM")), "TDCZ");
}

TEST_F(BackupTest, EndsWithTheRelay) {
  begin();
  has_.stop();
  EXPECT_TRUE(std::holds_alternative<WalsenderState::Leave>(has_.next(served_, now_)));
  const auto last = heard();
  ASSERT_EQ(types(last), "E");
  EXPECT_EQ(field(last[0], 'C'), "57P01");
}

TEST_F(WalsenderTest, KeepsLittleOfWhoDoesNotRead) {
  const auto asks = query("IDENTIFY_SYSTEM");
  std::size_t sent = 0;
  while (state_.takes_bytes() && sent < 100u * kMb) {
    state_.on_bytes(test::as_bytes(asks));
    static_cast<void>(next());
    sent += asks.size();
  }
  EXPECT_LT(sent, kMb);
  EXPECT_LT(state_.output().size(), 256u * 1024);
  // Read in the end, everything is answered.
  std::size_t answered = 0;
  while (!state_.output().empty()) {
    for (const auto& each : hear(state_.output())) answered += each.type == 'Z' ? 1 : 0;
    static_cast<void>(next());
  }
  EXPECT_EQ(answered, sent / asks.size());
  EXPECT_TRUE(state_.takes_bytes());
}

}  // namespace
}  // namespace weir::relay::walsender_state_test

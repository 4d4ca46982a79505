#include "receive/slot_keeper_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <initializer_list>
#include <string>
#include <vector>

#include "receive/choose_host.h"

namespace weir::receive::slot_keeper_state_test {
namespace {

using ::testing::HasSubstr;
using wal::Lsn;
using wal::TimelineHistory;

constexpr std::uint64_t kSystem = 7301234567890123456;
const auto kSize = *wal::SegmentSize::of(1 << 20);
const auto kNoon = std::chrono::system_clock::time_point(std::chrono::hours(480'000));

Lsn mb(double megabytes) { return Lsn(static_cast<std::uint64_t>(megabytes * (1 << 20))); }

TimelineHistory history(wal::TimelineId timeline, const std::string& text = {}) {
  return timeline == 1 ? TimelineHistory(1) : TimelineHistory::parse(timeline, text).value();
}

OurEnd our_end(Lsn durable, std::initializer_list<Lsn> record_ends = {},
               TimelineHistory of = TimelineHistory(1)) {
  OurEnd ours{.system_identifier = kSystem,
              .segment_size = kSize,
              .history = std::move(of),
              .durable = durable};
  for (const auto end : record_ends) ours.record_ends.add(end);
  return ours;
}

Error refusal(const char* state, std::string text = "no") {
  return Error(ErrorKind::refused, std::move(text)).with_sqlstate(state);
}

/// A server with its slot, as the protocol shows it: it moves a slot anywhere.
struct FakeServer {
  int major = 15;
  pq::SystemIdentity identity{kSystem, 1, mb(10)};
  std::optional<TimelineHistory> history = TimelineHistory(1);
  std::optional<Lsn> slot = mb(1);
  Lsn redo = mb(9);  ///< where a slot that is made begins
  bool in_use = false;
  std::string unseen_invalidation = {};
  std::optional<pq::SlotView> view = {};  ///< over an ordinary connection; unset: rejected
  int checked = 0;
  int created = 0;
  std::vector<std::optional<Lsn>> used = {};
  std::string first_wal = {};  ///< of its timeline; empty: it is removed
  std::vector<std::size_t> first_wal_asked = {};
  std::optional<bool> standby = {};

  /// One visit.
  void visit(SlotKeeperState& state, const OurEnd& ours) {
    state.begin(ours, major, standby);
    for (int i = 0; i < 20; ++i) {
      const auto step = state.next();
      if (std::holds_alternative<keep::Done>(step)) return;
      if (std::holds_alternative<keep::Identify>(step)) {
        state.on_identified(identity, kNoon);
      } else if (std::holds_alternative<keep::FetchHistory>(step)) {
        state.on_history(history);
      } else if (const auto* first = std::get_if<keep::ReadFirstWal>(&step)) {
        first_wal_asked.push_back(first->bytes);
        EXPECT_EQ(first->timeline, std::min(identity.timeline, ours.history.timeline()));
        EXPECT_EQ(first->begin, *history->begin_of(first->timeline));
        state.on_first_wal(first_wal.substr(0, first->bytes));
      } else if (std::holds_alternative<keep::ReadSlot>(step)) {
        ASSERT_GE(major, 15);
        pq::SlotState read;
        if (slot) read = {.exists = true, .type = "physical", .restart_lsn = *slot};
        state.on_slot(read, unseen_invalidation);
      } else if (std::holds_alternative<keep::CreateSlot>(step)) {
        ++created;
        slot = redo;
        state.on_slot_created();
      } else if (const auto* use = std::get_if<keep::UseSlot>(&step)) {
        if (!slot) {
          state.on_refused(refusal("42704"));
          continue;
        }
        if (in_use) {
          state.on_refused(refusal("55006", "active for PID 7"));
          continue;
        }
        EXPECT_EQ(use->position, identity.flush_position);
        EXPECT_EQ(use->timeline, identity.timeline);
        used.push_back(use->flush);
        if (use->flush) {
          EXPECT_GE(*use->flush, *slot) << "moved back";
          EXPECT_LE(*use->flush, ours.durable) << "above what is durable";
          EXPECT_LE(*use->flush, identity.flush_position) << "above its end";
          slot = use->flush;
        }
        state.on_slot_used(use->flush, true);
      } else if (std::holds_alternative<keep::CheckSlot>(step)) {
        ++checked;
        if (view)
          state.on_slot_checked(*view);
        else
          state.on_slot_not_checked(refusal("28000", "no pg_hba.conf entry"));
      }
    }
    FAIL() << "no end";
  }
};

SlotKeeperState keeper(bool create = false) { return {"db2:5432", 1, create}; }

TEST(SlotKeeperState, MovesASlotToTheLastRecordThatBothHave) {
  auto state = keeper();
  FakeServer server;
  server.visit(state, our_end(mb(8), {mb(2), mb(7), mb(9)}));
  EXPECT_EQ(server.slot, mb(7));
  EXPECT_TRUE(state.candidate().covered());
  EXPECT_EQ(state.candidate().slot_lsn, mb(7));
  EXPECT_EQ(state.candidate().reason, "");
  // One that is behind.
  server.identity.flush_position = mb(7.5);
  server.visit(state, our_end(mb(20), {mb(7), mb(7.2), mb(12)}));
  EXPECT_EQ(server.slot, mb(7.2));
  EXPECT_TRUE(state.candidate().covered());
}

TEST(SlotKeeperState, MovesNoSlotPastWhatIsConfirmed) {
  for (const int major : {14, 15}) {
    SCOPED_TRACE(major);
    auto state = keeper();
    FakeServer server{.major = major};
    auto ours = our_end(mb(20), {mb(2), mb(7), mb(9), mb(12)});
    ours.confirmed = Lsn();  // the store has not answered yet
    server.visit(state, ours);
    EXPECT_EQ(server.slot, mb(1));
    server.identity.flush_position = mb(15);
    ours.confirmed = mb(10);
    server.visit(state, ours);
    EXPECT_EQ(server.slot, major == 14 ? mb(1) : mb(9));
    ours.confirmed = mb(13);
    server.visit(state, ours);
    EXPECT_EQ(server.slot, mb(12));
    EXPECT_TRUE(state.candidate().covered());
  }
}

/// Two standbys of one primary were promoted where both had ended: to one number, at one place.
TEST(SlotKeeperState, KnowsATwinByItsFirstWal) {
  const auto of_both = history(2, "1\t0/500000\tno recovery target specified\n");
  const std::string ours_begins(kFirstWalBytes, 'a');
  auto theirs_begins = ours_begins;
  theirs_begins[200] = 'b';
  auto ours = our_end(mb(8), {mb(7)}, of_both);
  ours.first_wal = {{2, ours_begins}};
  FakeServer server{.identity = {kSystem, 2, mb(10)}, .history = of_both, .standby = false};

  auto state = keeper();
  server.first_wal = theirs_begins;
  server.visit(state, ours);
  EXPECT_EQ(state.candidate().cover, Cover::other_branch);
  EXPECT_THAT(state.candidate().reason, HasSubstr("split brain"));
  EXPECT_TRUE(server.used.empty()) << "its slot is left alone";
  EXPECT_EQ(state.primary_on(), std::nullopt) << "ours is not a second one because of it";
  EXPECT_EQ(server.slot, mb(1));

  // The one that was rebuilt; then it is asked no more, since a server logs what it does not have.
  server.first_wal = ours_begins;
  server.first_wal_asked.clear();
  for (int i = 0; i < 3; ++i) server.visit(state, ours);
  EXPECT_TRUE(state.candidate().covered());
  EXPECT_THAT(server.first_wal_asked, ::testing::ElementsAre(kFirstWalBytes));
  // It was away: it may be another one.
  state.on_no_answer(Error(ErrorKind::retry, "connection refused"), kNoon);
  server.first_wal = theirs_begins;
  server.visit(state, ours);
  EXPECT_EQ(state.candidate().cover, Cover::other_branch);
}

/// Of a clone of a primary on timeline 1, nothing that is compared differs.
TEST(SlotKeeperState, LeavesASecondPrimaryAlone) {
  for (const int major : {14, 15}) {
    SCOPED_TRACE(major);
    auto state = keeper(true);
    auto ours = our_end(mb(8), {mb(7)});
    FakeServer server{.major = major, .standby = false};
    // The only primary.
    server.visit(state, our_end(mb(4), {mb(3)}));
    server.visit(state, our_end(mb(4), {mb(3)}));
    EXPECT_NE(state.candidate().cover, Cover::second_primary);
    EXPECT_EQ(state.primary_on(), 1U);
    const auto before = server.slot;
    server.used.clear();
    ours.primary = "db1:5432";
    server.visit(state, ours);
    EXPECT_EQ(state.candidate().cover, Cover::second_primary);
    EXPECT_THAT(state.candidate().reason,
                HasSubstr("is a primary on timeline 1, as db1:5432 is: a split brain"));
    EXPECT_EQ(state.primary_on(), 1U) << "as the others are told";
    server.slot.reset();
    server.visit(state, ours);
    EXPECT_EQ(server.created, 0);
    EXPECT_TRUE(server.used.empty());
    server.slot = before;
    // A standby beside a primary; one that was promoted a moment ago; one that does not tell.
    server.standby = true;
    server.visit(state, ours);
    EXPECT_NE(state.candidate().cover, Cover::second_primary);
    EXPECT_EQ(state.primary_on(), std::nullopt);
    server.standby.reset();
    server.visit(state, ours);
    EXPECT_NE(state.candidate().cover, Cover::second_primary);
    server.standby = false;
    server.identity = {kSystem, 2, mb(10)};
    server.history = history(2, fmt::format("1\t{}\tno\n", mb(9)));
    server.visit(state, ours);
    EXPECT_NE(state.candidate().cover, Cover::second_primary);
    EXPECT_EQ(state.primary_on(), 2U);
    state.on_no_answer(Error(ErrorKind::retry, "connection refused"), kNoon);
    EXPECT_EQ(state.primary_on(), std::nullopt);
  }
}

TEST(SlotKeeperState, ComparesOnlyWhatBothHaveOfATimeline) {
  const auto of_both = history(2, "1\t0/500000\tno recovery target specified\n");
  auto ours = our_end(mb(8), {mb(7)}, of_both);
  auto state = keeper();
  FakeServer server{.identity = {kSystem, 2, mb(10)}, .history = of_both};
  server.first_wal = std::string(kFirstWalBytes, 'a');
  // Nothing of it was archived yet, or a little.
  server.visit(state, ours);
  ours.first_wal = {{2, ""}};
  server.visit(state, ours);
  EXPECT_TRUE(server.first_wal_asked.empty());
  ours.first_wal = {{2, std::string(10, 'a')}};
  server.visit(state, ours);
  ours.first_wal = {{2, std::string(kFirstWalBytes, 'a')}};
  server.visit(state, ours);
  EXPECT_THAT(server.first_wal_asked, ::testing::ElementsAre(10U, kFirstWalBytes));
  EXPECT_TRUE(state.candidate().covered());
  // What the server has removed cannot be compared.
  auto another = keeper();
  FakeServer old{.identity = {kSystem, 2, mb(10)}, .history = of_both};
  for (int i = 0; i < 2; ++i) old.visit(another, ours);
  EXPECT_THAT(old.first_wal_asked, ::testing::ElementsAre(kFirstWalBytes));
  EXPECT_TRUE(another.candidate().covered());
  // A standby that still is on the timeline before has nothing of it.
  auto behind = keeper();
  FakeServer first{.identity = {kSystem, 1, mb(4)}};
  first.visit(behind, ours);
  EXPECT_TRUE(first.first_wal_asked.empty());
  // One whose timeline has just begun.
  auto young = keeper();
  FakeServer short_one{.identity = {kSystem, 2, Lsn(0x500000 + 24)}, .history = of_both};
  short_one.first_wal = std::string(24, 'a');
  short_one.visit(young, ours);
  EXPECT_THAT(short_one.first_wal_asked, ::testing::ElementsAre(24U));
}

TEST(SlotKeeperState, NeverMovesASlotBack) {
  auto state = keeper();
  FakeServer server;
  server.slot = mb(6);
  server.visit(state, our_end(mb(8), {mb(2), mb(5)}));
  EXPECT_EQ(server.slot, mb(6));
  EXPECT_THAT(server.used, ::testing::ElementsAre(std::nullopt));  // used, so that it is not idle
  EXPECT_TRUE(state.candidate().covered());
}

TEST(SlotKeeperState, DoesNotMoveASlotWithoutARecordsEnd) {
  auto state = keeper();
  FakeServer server;
  server.visit(state, our_end(mb(8)));
  EXPECT_EQ(server.slot, mb(1));
  EXPECT_TRUE(state.candidate().covered());
}

TEST(SlotKeeperState, MakesAMissingSlotIfItMay) {
  auto state = keeper();
  FakeServer server;
  server.slot.reset();
  server.visit(state, our_end(mb(8), {mb(7)}));
  EXPECT_EQ(state.candidate().cover, Cover::no_slot);
  EXPECT_EQ(server.created, 0);

  auto making = keeper(true);
  server.visit(making, our_end(mb(8), {mb(7)}));
  EXPECT_EQ(server.created, 1);
  EXPECT_EQ(server.slot, mb(9));
  // What lies between is not kept: a failover now would leave a gap.
  EXPECT_EQ(making.candidate().cover, Cover::begins_later);
  EXPECT_THAT(making.candidate().reason, HasSubstr("0/900000 on only"));
  server.identity.flush_position = mb(11);
  server.visit(making, our_end(mb(9.5), {mb(9.4)}));
  EXPECT_TRUE(making.candidate().covered());
  EXPECT_EQ(server.slot, mb(9.4));
}

TEST(SlotKeeperState, SegmentsAreKeptAsAWhole) {
  auto state = keeper();
  FakeServer server;
  server.slot = mb(8.5);
  server.visit(state, our_end(mb(8)));  // as a stream that begins at its segment again has it
  EXPECT_TRUE(state.candidate().covered());
  server.slot = mb(9);
  server.visit(state, our_end(mb(8.9)));
  EXPECT_EQ(state.candidate().cover, Cover::begins_later);
}

TEST(SlotKeeperState, AsksForTheHistoryFirst) {
  struct Case {
    const char* what;
    OurEnd ours;
    pq::SystemIdentity identity;
    std::optional<TimelineHistory> theirs;
    Cover cover;
    const char* reason = "";
  };
  const auto two = [](double megabytes) {
    return history(2, fmt::format("1\t{}\tno recovery target\n", mb(megabytes)));
  };
  const auto on = [](wal::TimelineId timeline, double end) {
    return pq::SystemIdentity{kSystem, timeline, mb(end)};
  };
  const Case cases[] = {
      {"the same timeline", our_end(mb(8), {mb(7)}), on(1, 10), history(1), Cover::covered},
      {"another cluster",
       our_end(mb(8), {mb(7)}),
       {kSystem + 1, 1, mb(10)},
       history(1),
       Cover::other_cluster,
       "another cluster"},
      {"promoted behind our end", our_end(mb(8), {mb(7)}), on(2, 10), two(9), Cover::covered},
      {"promoted at our end", our_end(mb(8), {mb(7)}), on(2, 10), two(8), Cover::covered},
      {"promoted before our end", our_end(mb(8), {mb(7)}), on(2, 10), two(7.9), Cover::other_branch,
       "left timeline 1 at"},
      {"no history", our_end(mb(8), {mb(7)}), on(2, 10), std::nullopt, Cover::no_history,
       "no history of its timeline 2"},
      {"a standby that is behind the switch", our_end(mb(8), {mb(5)}, two(6)), on(1, 5.5),
       history(1), Cover::covered},
      {"an old primary", our_end(mb(8), {mb(5)}, two(6)), on(1, 6.1), history(1),
       Cover::other_branch, "old primary"},
      {"the same history", our_end(mb(8), {mb(7)}, two(6)), on(2, 10), two(6), Cover::covered},
      {"a sibling of our number", our_end(mb(8), {mb(7)}, two(6)), on(2, 10), two(6.5),
       Cover::other_branch, "another branch"},
      {"a sibling of another number", our_end(mb(8), {mb(7)}, two(6)), on(3, 10),
       history(3, fmt::format("1\t{}\tno\n", mb(7))), Cover::other_branch, "another branch"},
      {"a child of our timeline", our_end(mb(8), {mb(7)}, two(6)), on(3, 10),
       history(3, fmt::format("1\t{}\tno\n2\t{}\tno\n", mb(6), mb(9))), Cover::covered},
      {"a grandchild past our end", our_end(mb(8), {mb(7)}, two(6)), on(4, 10),
       history(4, fmt::format("1\t{}\tno\n2\t{}\tno\n3\t{}\tno\n", mb(6), mb(7.5), mb(9))),
       Cover::other_branch, "left timeline 2 at"},
  };
  for (const auto& each : cases)
    for (const int major : {14, 15}) {
      SCOPED_TRACE(fmt::format("{}, PostgreSQL {}", each.what, major));
      auto state = keeper(true);
      FakeServer server{.major = major, .identity = each.identity, .history = each.theirs};
      server.visit(state, each.ours);
      const bool ours = each.cover == Cover::covered;
      if (ours && major < 15)
        EXPECT_EQ(state.candidate().cover, Cover::begin_unknown);
      else
        EXPECT_EQ(state.candidate().cover, each.cover) << state.candidate().reason;
      if (ours) continue;
      EXPECT_THAT(state.candidate().reason, HasSubstr(each.reason));
      EXPECT_TRUE(server.used.empty());
      EXPECT_EQ(server.created, 0);
      // Nor is one made.
      server.slot.reset();
      server.visit(state, each.ours);
      EXPECT_EQ(server.created, 0);
    }
}

TEST(SlotKeeperState, LeavesAloneWhatSomebodyElseUses) {
  for (const int major : {14, 15}) {
    auto state = keeper(true);
    FakeServer server{.major = major, .in_use = true};
    server.visit(state, our_end(mb(8), {mb(7)}));
    EXPECT_EQ(state.candidate().cover, Cover::in_use);
    EXPECT_THAT(state.candidate().reason, HasSubstr("active for PID 7"));
    EXPECT_EQ(server.slot, mb(1));
  }
}

TEST(SlotKeeperState, LeavesAloneWhatReservesNothingOrIsNotPhysical) {
  auto state = keeper(true);
  state.begin(our_end(mb(8), {mb(7)}), 15);
  state.on_identified({kSystem, 1, mb(10)}, kNoon);
  ASSERT_TRUE(std::holds_alternative<keep::ReadSlot>(state.next()));
  state.on_slot({.exists = true, .type = "physical"});
  EXPECT_EQ(state.candidate().cover, Cover::reserves_none);
  EXPECT_TRUE(std::holds_alternative<keep::Done>(state.next()));

  state.begin(our_end(mb(8), {mb(7)}), 15);
  state.on_identified({kSystem, 1, mb(10)}, kNoon);
  state.on_logical_slot();
  EXPECT_EQ(state.candidate().cover, Cover::not_physical);

  state.begin(our_end(mb(8), {mb(7)}), 18);
  state.on_identified({kSystem, 1, mb(10)}, kNoon);
  state.on_slot({.exists = true, .type = "physical", .restart_lsn = mb(2)});
  state.on_refused(refusal("55000", "can no longer access replication slot \"archive\""));
  EXPECT_EQ(state.candidate().cover, Cover::refused);
  EXPECT_THAT(state.candidate().reason, HasSubstr("can no longer access"));
}

/// 16 and 17 let an invalidated slot be used: its restart_lsn does not show that it is invalid.
TEST(SlotKeeperState, CoversOnlyWithASlotThatIsKnownToBeValid) {
  auto state = keeper();
  const auto ours = our_end(mb(8), {mb(7)});
  FakeServer server{.major = 16, .unseen_invalidation = "max_slot_wal_keep_size"};
  server.visit(state, ours);
  EXPECT_EQ(state.candidate().cover, Cover::validity_unknown);
  EXPECT_EQ(state.candidate().reason,
            "only an ordinary connection shows whether max_slot_wal_keep_size has invalidated its "
            "slot: no pg_hba.conf entry");
  EXPECT_EQ(server.slot, mb(7)) << "it is moved nevertheless: it may be valid";

  server.view = pq::SlotView{.exists = true, .wal_status = "reserved"};
  server.visit(state, ours);
  EXPECT_TRUE(state.candidate().covered());
  EXPECT_EQ(state.candidate().slot_lsn, mb(7));

  server.view->wal_status = "lost";
  server.visit(state, ours);
  EXPECT_EQ(state.candidate().cover, Cover::reserves_none);
  EXPECT_THAT(state.candidate().reason, HasSubstr("has invalidated its slot (wal_status is lost)"));
  EXPECT_THAT(state.candidate().reason, HasSubstr("Drop it, and it is recreated. A server does"));
  EXPECT_EQ(state.candidate().slot_lsn, std::nullopt);
  server.major = 17;
  server.view = pq::SlotView{.exists = true, .invalidation_reason = "wal_removed"};
  server.visit(state, ours);
  EXPECT_EQ(state.candidate().cover, Cover::reserves_none);
  EXPECT_THAT(state.candidate().reason, HasSubstr("(wal_removed)"));

  server.view = pq::SlotView{};
  server.visit(state, ours);
  EXPECT_EQ(state.candidate().cover, Cover::no_slot);

  // Where no slot is invalidated unseen, and where using it fails.
  server.checked = 0;
  server.unseen_invalidation.clear();
  server.visit(state, ours);
  EXPECT_TRUE(state.candidate().covered());
  server.major = 18;
  server.unseen_invalidation = "idle_replication_slot_timeout";
  server.visit(state, ours);
  EXPECT_TRUE(state.candidate().covered());
  EXPECT_EQ(server.checked, 0);
  state.begin(ours, 18);
  state.on_identified({kSystem, 1, mb(10)}, kNoon);
  state.on_slot({.exists = true, .type = "physical", .restart_lsn = mb(2)});
  state.on_refused(refusal("55000",
                           "can no longer access replication slot \"archive\": This replication "
                           "slot has been invalidated due to \"idle_timeout\"."));
  EXPECT_EQ(state.candidate().cover, Cover::reserves_none);
  EXPECT_THAT(state.candidate().reason, HasSubstr("Drop it, and it is recreated. No receiver"));
}

TEST(SlotKeeperState, WaitsForTheFirstEndOfAServerThatCannotBeAsked) {
  auto state = keeper();
  FakeServer server{.major = 14};
  server.slot = mb(9.9);  // by whom and why ever: not behind the server's end
  server.visit(state, our_end(mb(8), {mb(7)}));
  EXPECT_EQ(state.candidate().cover, Cover::begin_unknown);
  EXPECT_THAT(state.candidate().reason, HasSubstr("have passed 0/A00000"));
  server.identity.flush_position = mb(12);
  server.visit(state, our_end(mb(9.95), {mb(7), mb(9.8)}));
  EXPECT_EQ(server.slot, mb(9.9));
  server.visit(state, our_end(mb(11), {mb(7), mb(9.8), mb(10.5)}));
  EXPECT_EQ(server.slot, mb(10.5));
  EXPECT_TRUE(state.candidate().covered());
  // From then on it is known.
  server.visit(state, our_end(mb(11.5), {mb(10.4)}));
  EXPECT_EQ(server.slot, mb(10.5));
  EXPECT_TRUE(state.candidate().covered());
  // Unless somebody else may have moved it.
  state.forget_slot();
  server.slot = mb(12);
  server.visit(state, our_end(mb(11.9), {mb(11.8)}));
  EXPECT_EQ(state.candidate().cover, Cover::begin_unknown);
  EXPECT_EQ(server.slot, mb(12));
}

TEST(SlotKeeperState, ASlotThatWasMadeIsBoundedByTheEndThatTheServerHasThen) {
  auto state = keeper(true);
  FakeServer server{.major = 13};
  server.slot.reset();
  server.redo = mb(9.9);
  server.visit(state, our_end(mb(9.5), {mb(9.4)}));
  EXPECT_EQ(server.created, 1);
  EXPECT_EQ(state.candidate().cover, Cover::begin_unknown);
  server.visit(state, our_end(mb(10.5), {mb(9.4), mb(10)}));
  EXPECT_EQ(server.slot, mb(10));
  EXPECT_TRUE(state.candidate().covered());
}

TEST(SlotKeeperState, TheServersEndWhenItsTimelineEndsMovesNothing) {
  auto state = keeper();
  state.begin(our_end(mb(8), {mb(7)}), 14);
  state.on_identified({kSystem, 1, mb(7)}, kNoon);
  const auto step = state.next();
  const auto* use = std::get_if<keep::UseSlot>(&step);
  ASSERT_NE(use, nullptr);
  state.on_slot_used(use->flush, false);
  EXPECT_EQ(state.candidate().cover, Cover::refused);
}

TEST(SlotKeeperState, SaysSinceWhenThereIsNoAnswerAndWhatWasKnown) {
  auto state = keeper();
  FakeServer server;
  server.visit(state, our_end(mb(8), {mb(7)}));
  using namespace std::chrono_literals;
  state.on_no_answer(Error(ErrorKind::retry, "connection refused"), kNoon + 10s);
  state.on_no_answer(Error(ErrorKind::retry, "no answer in time"), kNoon + 20s);
  const auto& candidate = state.candidate();
  EXPECT_EQ(candidate.cover, Cover::no_answer);
  EXPECT_EQ(candidate.reason, "no answer in time");
  EXPECT_EQ(candidate.silent_since, kNoon + 10s);
  EXPECT_TRUE(candidate.was_covered);
  EXPECT_EQ(candidate.answered, kNoon);
  EXPECT_EQ(candidate.slot_lsn, mb(7));
  server.visit(state, our_end(mb(8), {mb(7)}));
  EXPECT_TRUE(state.candidate().covered());
  EXPECT_EQ(state.candidate().silent_since, std::nullopt);
}

TEST(SlotKeeperState, TellsThatASlotIsDroppedAgainAndAgain) {
  for (const int major : {14, 15}) {
    SCOPED_TRACE(major);
    auto state = keeper(true);
    FakeServer server{.major = major};
    const auto ours = our_end(mb(20), {mb(2)});
    server.identity.flush_position = mb(20);
    server.visit(state, ours);
    EXPECT_NE(state.candidate().cover, Cover::slot_gone);
    EXPECT_FALSE(state.candidate().slot_gone_since);
    for (int i = 0; i < 3; ++i) {
      server.slot.reset();
      server.visit(state, ours);
      EXPECT_EQ(state.candidate().cover, Cover::slot_gone);
      EXPECT_TRUE(state.found_gone());
      EXPECT_THAT(state.candidate().reason, HasSubstr("program drops it"));
      EXPECT_EQ(state.candidate().slot_gone_since, kNoon);
      EXPECT_EQ(server.created, i + 1);
    }
    // It is left alone from now on.
    server.visit(state, our_end(mb(30), {mb(25)}));
    EXPECT_TRUE(state.candidate().covered() || major < 15) << state.candidate().reason;
    EXPECT_FALSE(state.candidate().slot_gone_since);
    EXPECT_NE(state.candidate().cover, Cover::slot_gone);
  }
  // Where nobody makes it again.
  auto looking = keeper();
  FakeServer server;
  server.visit(looking, our_end(mb(8), {mb(2)}));
  server.slot.reset();
  for (int i = 0; i < 2; ++i) {
    server.visit(looking, our_end(mb(8), {mb(2)}));
    EXPECT_EQ(looking.candidate().cover, Cover::no_slot);
    EXPECT_THAT(looking.candidate().reason, HasSubstr("has been missing since"));
  }
}

}  // namespace
}  // namespace weir::receive::slot_keeper_state_test

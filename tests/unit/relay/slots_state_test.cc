#include "relay/slots_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "support/bytes.h"

namespace weir::relay::slots_state_test {
namespace {

using archive::KeptSlot;
using Due = SlotsState::Due;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using wal::Lsn;

constexpr std::uint64_t kMb = 1 << 20;
const wal::SegmentSize kSize = *wal::SegmentSize::of(kMb);
constexpr SessionId kOne = 1;
constexpr SessionId kTwo = 2;

KeptSlot kept(const std::string& name, Lsn restart_lsn, Xmins xmins = {}) {
  return {name, restart_lsn, xmins.xmin, xmins.catalog_xmin, false, "then", {}};
}
void save(SlotsState& slots) { slots.on_saved(slots.to_save()); }
bool use(SlotsState& slots, SessionId session, const std::string& name) {
  return std::holds_alternative<std::monostate>(
      slots.acquire(session, name, SlotsState::Invalid::refused));
}
std::string sqlstate(const SlotsState::Acquired& acquired) {
  if (const auto* busy = std::get_if<SlotsState::Busy>(&acquired)) return busy->report.sqlstate;
  if (const auto* report = std::get_if<wire::ErrorReport>(&acquired)) return report->sqlstate;
  return "";
}

TEST(SlotsState, GivesASlotToOneSessionAtATime) {
  SlotsState slots({kept("s", Lsn(kMb))});
  EXPECT_TRUE(use(slots, kOne, "s"));
  EXPECT_EQ(sqlstate(slots.acquire(kTwo, "s", SlotsState::Invalid::refused)), "55006");
  EXPECT_EQ(sqlstate(slots.acquire(kTwo, "none", SlotsState::Invalid::refused)), "42704");
  slots.release(kOne, "now");
  EXPECT_EQ(slots.find("s")->kept.inactive_since, "now");
  EXPECT_TRUE(use(slots, kTwo, "s"));
  EXPECT_EQ(slots.find("s")->kept.inactive_since, "");
}

TEST(SlotsState, MakesNoMoreThanFitIntoTheFile) {
  SlotsState slots;
  for (std::size_t i = 0; i < SlotsState::kMost; ++i)
    ASSERT_FALSE(slots.create(kOne, "s" + std::to_string(i), i % 2 == 0, Lsn(), "now"));
  EXPECT_EQ(slots.create(kOne, "more", false, Lsn(), "now")->sqlstate, "53400");
}

TEST(SlotsState, LeavesOutOfTheFileWhatIsDroppedAndNothingElse) {
  SlotsState slots({kept("", Lsn(kMb)), kept("s", Lsn(kMb))});
  EXPECT_EQ(slots.to_save().size(), 2u);
  EXPECT_EQ(slots.to_save("").size(), 1u);
  save(slots);
  EXPECT_EQ(slots.due(), Due::nothing);
}

/// As one that was made by bytes that are no UTF-8, twice.
TEST(SlotsState, OfTwoOfOneNameKeepsTheOneThatHoldsMore) {
  for (const auto& [one, other] :
       {std::pair(Lsn(kMb), Lsn(2 * kMb)), std::pair(Lsn(2 * kMb), Lsn(kMb)),
        std::pair(Lsn(kMb), Lsn()), std::pair(Lsn(), Lsn(kMb))}) {
    SlotsState slots({kept("s", one), kept("s", other)});
    EXPECT_EQ(slots.all().size(), 1u);
    EXPECT_EQ(slots.find("s")->kept.restart_lsn, Lsn(kMb));
  }
}

TEST(SlotsState, DropsTemporarySlotsWithTheirSession) {
  SlotsState slots;
  ASSERT_FALSE(slots.create(kOne, "a", true, Lsn(kMb), "now"));
  ASSERT_FALSE(slots.create(kOne, "b", true, Lsn(kMb), "now"));
  ASSERT_FALSE(slots.create(kTwo, "c", true, Lsn(kMb), "now"));
  EXPECT_EQ(slots.due(), Due::nothing);
  EXPECT_THAT(slots.to_save(), IsEmpty());
  slots.release(kOne, "now");
  EXPECT_NE(slots.find("a"), nullptr);
  slots.clean_up(kOne, "now");
  EXPECT_EQ(slots.find("a"), nullptr);
  EXPECT_EQ(slots.find("b"), nullptr);
  EXPECT_NE(slots.find("c"), nullptr);
}

TEST(SlotsState, FollowsWhatItsClientHasOnDisk) {
  SlotsState slots({kept("s", Lsn(5 * kMb))});
  slots.on_flush(kOne, Lsn(6 * kMb));  // of nobody's slot
  ASSERT_TRUE(use(slots, kOne, "s"));
  slots.on_flush(kOne, Lsn());
  EXPECT_EQ(slots.find("s")->kept.restart_lsn, Lsn(5 * kMb));
  slots.on_flush(kOne, Lsn(6 * kMb));
  EXPECT_EQ(slots.find("s")->kept.restart_lsn, Lsn(6 * kMb));
  slots.on_flush(kOne, Lsn(4 * kMb));  // it was set back
  EXPECT_EQ(slots.find("s")->kept.restart_lsn, Lsn(4 * kMb));
}

TEST(SlotsState, SavesAtOnceWhatHoldsMoreAndLaterWhatLetsGo) {
  SlotsState slots({kept("s", Lsn(5 * kMb), {100, 0}), kept("bare", Lsn())});
  EXPECT_EQ(slots.due(), Due::nothing);
  ASSERT_TRUE(use(slots, kOne, "s"));
  ASSERT_TRUE(use(slots, kTwo, "bare"));
  EXPECT_EQ(slots.due(), Due::nothing);

  const struct {
    const char* what;
    Lsn flush;
    Xmins xmins;
    Due due;
  } cases[] = {
      {"further", Lsn(6 * kMb), {100, 0}, Due::some_time},
      {"vacuum may go on", Lsn(6 * kMb), {101, 0}, Due::some_time},
      {"back behind what was saved", Lsn(5 * kMb - 8), {101, 0}, Due::at_once},
      {"and further again", Lsn(6 * kMb), {101, 0}, Due::some_time},
      {"a catalog's transaction", Lsn(6 * kMb), {101, 7}, Due::at_once},
      {"none any more", Lsn(6 * kMb), {0, 0}, Due::some_time},
      {"an earlier one than was saved", Lsn(6 * kMb), {99, 0}, Due::at_once},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.what);
    slots.on_flush(kOne, each.flush);
    slots.on_feedback(kOne, each.xmins);
    EXPECT_EQ(slots.due(), each.due);
  }
  save(slots);
  EXPECT_EQ(slots.due(), Due::nothing);
  slots.on_flush(kTwo, Lsn(9 * kMb));  // from now on it holds something
  EXPECT_EQ(slots.due(), Due::at_once);
  save(slots);
  slots.remove("bare");
  EXPECT_EQ(slots.due(), Due::at_once);
}

TEST(SlotsState, KeepsAnXminFromGoingBack) {
  SlotsState slots({kept("s", Lsn(kMb), {100, 50})});
  ASSERT_TRUE(use(slots, kOne, "s"));
  slots.on_feedback(kOne, {90, 60});
  EXPECT_EQ(slots.held(), (Xmins{100, 60}));
  slots.on_feedback(kOne, {0, 60});
  EXPECT_EQ(slots.held(), (Xmins{0, 60}));
  EXPECT_FALSE(slots.on_feedback(kTwo, {1, 1}));
}

TEST(SlotsState, HoldsTheEarliestOfAllWhetherTheirClientsAreHere) {
  SlotsState slots({kept("away", Lsn(kMb), {100, 0}), kept("here", Lsn(kMb), {200, 70}),
                    kept("none", Lsn(kMb))});
  EXPECT_EQ(slots.held(), (Xmins{100, 70}));
  // A client that has come back, and has not said anything yet.
  ASSERT_TRUE(use(slots, kOne, "away"));
  EXPECT_EQ(slots.held(), (Xmins{100, 70}));
  slots.on_feedback(kOne, {300, 0});
  EXPECT_EQ(slots.held(), (Xmins{200, 70}));
  // A lost slot holds nothing.
  ASSERT_TRUE(use(slots, kTwo, "here"));
  slots.on_flush(kTwo, Lsn(kMb / 2));
  slots.on_flush(kOne, Lsn(9 * kMb));
  EXPECT_EQ(slots.enforce(Lsn(3 * kMb), kSize, 2 * kMb).size(), 1u);
  EXPECT_EQ(slots.held(), (Xmins{300, 0}));
}

/// Whatever is said upstream, what a restart finds in the file asks for no less: an upstream that
/// was told of a later transaction, or of none, cannot be asked for the earlier one again.
TEST(SlotsState, NeverSaysUpstreamWhatARestartWouldTakeBack) {
  std::mt19937_64 random(test::seed_or(23));
  const auto pick = [&](std::uint64_t most) { return random() % (most + 1); };
  for (int round = 0; round < 300; ++round) {
    std::vector<KeptSlot> file = {kept("a", Lsn(kMb)), kept("b", Lsn(kMb), {pick(3), pick(3)})};
    SlotsState slots(file);
    ASSERT_TRUE(use(slots, kOne, "a"));
    ASSERT_TRUE(use(slots, kTwo, "b"));
    for (int step = 0; step < 12; ++step) {
      slots.on_feedback(pick(1) == 0 ? kOne : kTwo, {pick(4), pick(4)});
      if (pick(2) == 0) {
        file = slots.to_save();
        slots.on_saved(file);
      }
      const auto said = slots.held();
      const auto after = SlotsState(file).held();
      for (const auto& [now, later] :
           {std::pair(said.xmin, after.xmin), std::pair(said.catalog_xmin, after.catalog_xmin)}) {
        if (now == 0) continue;
        EXPECT_NE(later, 0u);
        EXPECT_LE(later, now);
      }
    }
  }
}

TEST(SlotsState, LosesWhatLiesBackTooFar) {
  SlotsState slots({kept("far", Lsn(2 * kMb + 8)), kept("near", Lsn(3 * kMb)), kept("bare", Lsn()),
                    kept("ahead", Lsn(9 * kMb))});
  ASSERT_TRUE(use(slots, kOne, "far"));
  EXPECT_THAT(slots.enforce(Lsn(5 * kMb - 1), kSize, 2 * kMb), IsEmpty());
  EXPECT_FALSE(slots.evicted(kOne));
  const auto lost = slots.enforce(Lsn(5 * kMb), kSize, 2 * kMb);
  ASSERT_EQ(lost.size(), 1u);
  EXPECT_EQ(lost[0].name, "far");
  EXPECT_EQ(lost[0].active, kOne);
  EXPECT_TRUE(slots.evicted(kOne));
  EXPECT_EQ(slots.due(), Due::at_once);
  EXPECT_THAT(slots.enforce(Lsn(5 * kMb), kSize, 2 * kMb), IsEmpty());
  slots.on_flush(kOne, Lsn(5 * kMb));
  slots.clean_up(kOne, "now");
  EXPECT_TRUE(slots.find("far")->kept.lost);
  EXPECT_EQ(sqlstate(slots.acquire(kTwo, "far", SlotsState::Invalid::refused)), "55000");
  EXPECT_EQ(sqlstate(slots.acquire(kTwo, "far", SlotsState::Invalid::allowed)), "");
}

}  // namespace
}  // namespace weir::relay::slots_state_test

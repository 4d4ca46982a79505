#include "receive/sync_pacer.h"

#include <gtest/gtest.h>

#include <optional>

namespace weir::receive::sync_pacer_test {
namespace {

using namespace std::chrono_literals;

TEST(SyncPacer, TakesAnUnknownDiskForAQuickOne) { EXPECT_TRUE(SyncPacer().quick()); }

TEST(SyncPacer, KnowsASlowDiskAfterItsFirstSync) {
  SyncPacer pacer;
  pacer.add(2ms, 0us);
  EXPECT_FALSE(pacer.quick());
}

TEST(SyncPacer, IsNotMisledByASingleSlowSync) {
  SyncPacer pacer;
  for (int i = 0; i < 20; ++i) pacer.add(80us, 0us);
  pacer.add(2ms, 0us);
  EXPECT_TRUE(pacer.quick());
}

TEST(SyncPacer, FollowsADiskThatBecomesSlowAndQuickAgain) {
  SyncPacer pacer;
  for (int i = 0; i < 20; ++i) pacer.add(80us, 0us);
  for (int i = 0; i < 20; ++i) pacer.add(2ms, 0us);
  EXPECT_FALSE(pacer.quick());
  for (int i = 0; i < 40; ++i) pacer.add(80us, 0us);
  EXPECT_TRUE(pacer.quick());
}

TEST(SyncPacer, AsksForTheDelayOfEachFourthSyncIfTheyMayBeSlow) {
  SyncPacer pacer;
  pacer.add(80us, std::nullopt);
  for (int i = 0; i < 8; ++i) EXPECT_FALSE(pacer.asks_delay());
  for (int i = 0; i < 20; ++i) pacer.add(250us, 0us);
  for (int i = 0; i < 8; ++i) EXPECT_FALSE(pacer.asks_delay()) << "no WAL arrives meanwhile";
  for (int i = 0; i < 3; ++i) pacer.add_arrival(true);
  int asked = 0;
  for (int i = 0; i < 8; ++i) asked += pacer.asks_delay() ? 1 : 0;
  EXPECT_EQ(asked, 2);
}

TEST(SyncPacer, DoesNotTakeADelayForASlowDisk) {
  SyncPacer pacer;
  for (int i = 0; i < 40; ++i) pacer.add(1500us, 1400us);
  for (int i = 0; i < 3; ++i) pacer.add_arrival(true);
  EXPECT_TRUE(pacer.quick());
  EXPECT_FALSE(pacer.worth_overlapping());
}

TEST(SyncPacer, IgnoresADurationWhoseDelayIsNotKnown) {
  SyncPacer pacer;
  for (int i = 0; i < 3; ++i) pacer.add_arrival(true);
  for (int i = 0; i < 40; ++i) pacer.add(1200us, 900us);
  for (int i = 0; i < 40; ++i) pacer.add(1200us, std::nullopt);
  EXPECT_TRUE(pacer.quick());
}

TEST(SyncPacer, DoesNotOverlapSyncsOfHalfAMillisecondIfThreadsWaitForACpu) {
  SyncPacer pacer;
  for (int i = 0; i < 3; ++i) pacer.add_arrival(true);
  for (int i = 0; i < 100; ++i) pacer.add(500us, 0us);
  EXPECT_TRUE(pacer.worth_overlapping());
  for (int i = 0; i < 100; ++i) pacer.add(800us, 300us);
  EXPECT_FALSE(pacer.worth_overlapping());
}

TEST(SyncPacer, OverlapsSyncsOfTwoMillisecondsInAnyCase) {
  SyncPacer pacer;
  for (int i = 0; i < 3; ++i) pacer.add_arrival(true);
  for (int i = 0; i < 100; ++i) pacer.add(4ms, 2ms);
  EXPECT_TRUE(pacer.worth_overlapping());
}

TEST(SyncPacer, OverlapsSlowSyncsOnlyWhereWalArrivesMeanwhile) {
  SyncPacer pacer;
  pacer.add(2ms, 0us);
  EXPECT_FALSE(pacer.worth_overlapping());
  for (int i = 0; i < 3; ++i) pacer.add_arrival(true);
  EXPECT_TRUE(pacer.worth_overlapping());
  for (int i = 0; i < 20; ++i) pacer.add_arrival(false);
  EXPECT_FALSE(pacer.worth_overlapping());
}

TEST(SyncPacer, NeverOverlapsQuickSyncs) {
  SyncPacer pacer;
  pacer.add(80us, 0us);
  for (int i = 0; i < 20; ++i) pacer.add_arrival(true);
  EXPECT_FALSE(pacer.worth_overlapping());
}

TEST(SyncPacer, SpreadsTheBeginningsOfSlowSyncsOverTheTimeThatOneTakes) {
  SyncPacer pacer;
  EXPECT_EQ(pacer.spacing(4), 0us);
  pacer.add(80us, 0us);
  EXPECT_EQ(pacer.spacing(4), 0us);
  for (int i = 0; i < 100; ++i) pacer.add(2ms, 0us);
  EXPECT_NEAR(static_cast<double>(pacer.spacing(4).count()), 500e3, 1e3);
  for (int i = 0; i < 100; ++i) pacer.add(10s, 0us);
  EXPECT_EQ(pacer.spacing(4), 5ms);
}

}  // namespace
}  // namespace weir::receive::sync_pacer_test

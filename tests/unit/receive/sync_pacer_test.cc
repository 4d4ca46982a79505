#include "receive/sync_pacer.h"

#include <gtest/gtest.h>

namespace weir::receive::sync_pacer_test {
namespace {

using namespace std::chrono_literals;

TEST(SyncPacer, TakesAnUnknownDiskForAQuickOne) { EXPECT_TRUE(SyncPacer().quick()); }

TEST(SyncPacer, KnowsASlowDiskAfterItsFirstSync) {
  SyncPacer pacer;
  pacer.add(2ms);
  EXPECT_FALSE(pacer.quick());
}

TEST(SyncPacer, IsNotMisledByASingleSlowSync) {
  SyncPacer pacer;
  for (int i = 0; i < 20; ++i) pacer.add(80us);
  pacer.add(2ms);
  EXPECT_TRUE(pacer.quick());
}

TEST(SyncPacer, FollowsADiskThatBecomesSlowAndQuickAgain) {
  SyncPacer pacer;
  for (int i = 0; i < 20; ++i) pacer.add(80us);
  for (int i = 0; i < 20; ++i) pacer.add(2ms);
  EXPECT_FALSE(pacer.quick());
  for (int i = 0; i < 40; ++i) pacer.add(80us);
  EXPECT_TRUE(pacer.quick());
}

TEST(SyncPacer, OverlapsSlowSyncsOnlyWhereWalArrivesMeanwhile) {
  SyncPacer pacer;
  pacer.add(2ms);
  EXPECT_FALSE(pacer.worth_overlapping());
  for (int i = 0; i < 3; ++i) pacer.add_arrival(true);
  EXPECT_TRUE(pacer.worth_overlapping());
  for (int i = 0; i < 20; ++i) pacer.add_arrival(false);
  EXPECT_FALSE(pacer.worth_overlapping());
}

TEST(SyncPacer, NeverOverlapsQuickSyncs) {
  SyncPacer pacer;
  pacer.add(80us);
  for (int i = 0; i < 20; ++i) pacer.add_arrival(true);
  EXPECT_FALSE(pacer.worth_overlapping());
}

TEST(SyncPacer, SpreadsTheBeginningsOfSlowSyncsOverTheTimeThatOneTakes) {
  SyncPacer pacer;
  EXPECT_EQ(pacer.spacing(4), 0us);
  pacer.add(80us);
  EXPECT_EQ(pacer.spacing(4), 0us);
  for (int i = 0; i < 100; ++i) pacer.add(2ms);
  EXPECT_NEAR(static_cast<double>(pacer.spacing(4).count()), 500e3, 1e3);
  for (int i = 0; i < 100; ++i) pacer.add(10s);
  EXPECT_EQ(pacer.spacing(4), 5ms);
}

}  // namespace
}  // namespace weir::receive::sync_pacer_test

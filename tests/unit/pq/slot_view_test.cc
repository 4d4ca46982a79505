#include "pq/slot_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace weir::pq::slot_view_test {
namespace {

using ::testing::HasSubstr;

TEST(SlotView, NamesTheCauseByVersion) {
  EXPECT_THAT(why_invalidated("wal_level_insufficient", 18),
              HasSubstr("wal_level was set below logical"));
  EXPECT_THAT(why_invalidated("wal_level_insufficient", 19),
              HasSubstr("the last logical slot of its primary was dropped"));
  EXPECT_THAT(why_invalidated("idle_timeout", 18), HasSubstr("idle_replication_slot_timeout"));
  EXPECT_THAT(why_invalidated(std::nullopt, 19), HasSubstr("idle_replication_slot_timeout"));
}

TEST(SlotView, KnowsWhichSettingInvalidatesUnseen) {
  EXPECT_FALSE(unseen_invalidation(13));
  EXPECT_FALSE(unseen_invalidation(15)) << "with a restart_lsn, the slot is valid again";
  EXPECT_EQ(unseen_invalidation(16)->setting, "max_slot_wal_keep_size");
  EXPECT_EQ(unseen_invalidation(17)->setting, "max_slot_wal_keep_size");
  EXPECT_EQ(unseen_invalidation(18)->setting, "idle_replication_slot_timeout");
  EXPECT_EQ(unseen_invalidation(19)->off, "0");
}

}  // namespace
}  // namespace weir::pq::slot_view_test

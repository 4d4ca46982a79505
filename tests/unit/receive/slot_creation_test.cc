#include "receive/slot_creation.h"

#include <gtest/gtest.h>

#include "unit/receive/recording_log.h"

namespace weir::receive::slot_creation_test {
namespace {

class SlotCreationTest : public ::testing::Test {
 protected:
  test::RecordingLog log;
  SlotCreation slots{"archive", log};

  void make(int host) {
    slots.on_asked();
    slots.on_created(host, "server " + std::to_string(host));
  }
};

TEST_F(SlotCreationTest, TakesBackOnlyWhatItMadeOnThisConnection) {
  slots.on_asked();
  slots.on_found(0);
  slots.take_back(true);
  EXPECT_FALSE(slots.drop_wanted());
  EXPECT_TRUE(slots.is_on(0));
  slots.on_disconnected(0, "server 0");
  make(1);
  slots.on_disconnected(1, "server 1");
  slots.take_back(true);
  EXPECT_FALSE(slots.drop_wanted());
}

TEST_F(SlotCreationTest, KeepsOneThatWasUsedUnlessTheWalWasWrong) {
  make(0);
  slots.on_used(0);
  slots.take_back(false);
  EXPECT_FALSE(slots.drop_wanted());
  slots.take_back(true);
  EXPECT_TRUE(slots.drop_wanted());
}

TEST_F(SlotCreationTest, MakesItAgainWhereItTookItBack) {
  make(0);
  slots.take_back(false);
  ASSERT_TRUE(slots.drop_wanted());
  slots.on_dropped(0, "server 0");
  EXPECT_FALSE(slots.drop_wanted());
  EXPECT_FALSE(slots.is_on(0));
  slots.warn_of_left();
  EXPECT_EQ(log.count("could not drop replication slot"), 0);
}

TEST_F(SlotCreationTest, TellsAtTheEndWhatIsLeft) {
  make(0);
  slots.take_back(false);
  slots.on_drop_failed(0, "server 0");
  slots.on_disconnected(0, "server 0");
  make(1);
  slots.on_disconnected(1, "server 1");  // nothing came through it
  make(2);
  slots.on_used(2);
  slots.on_disconnected(2, "server 2");
  slots.warn_of_left();
  EXPECT_EQ(log.count("which this start had created on server 0: it retains"), 1);
  EXPECT_EQ(log.count("which this start had created on server 1: it retains"), 1);
  EXPECT_EQ(log.count("could not drop replication slot"), 2);
  slots.warn_of_left();
  EXPECT_EQ(log.count("could not drop replication slot"), 2);
}

TEST_F(SlotCreationTest, OneThatIsUsedLaterIsNotLeft) {
  make(0);
  slots.on_disconnected(0, "server 0");
  slots.on_found(0);
  slots.on_used(0);
  slots.warn_of_left();
  EXPECT_EQ(log.count("could not drop replication slot"), 0);
}

TEST_F(SlotCreationTest, SeesThatOneIsGone) {
  EXPECT_FALSE(slots.on_missing(0));
  make(0);
  EXPECT_TRUE(slots.on_missing(0));
  EXPECT_FALSE(slots.is_on(0));
}

}  // namespace
}  // namespace weir::receive::slot_creation_test

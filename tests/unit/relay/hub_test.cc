#include "relay/hub.h"

#include <gtest/gtest.h>

#include <list>

namespace weir::relay::hub_test {
namespace {

using wal::Lsn;

class HubTest : public ::testing::Test {
 protected:
  Hub hub_{Served{wal::TimelineHistory(2), Lsn(100)}};
  unsigned woken_ = 0;
  Hub::Guest guest_{hub_, [this] { ++woken_; }};
};

TEST_F(HubTest, AReceiverWakesAFew) {
  EXPECT_TRUE(hub_.on_durable_soon(2, Lsn(200)));
  EXPECT_EQ(hub_.served()->end, Lsn(200));
  EXPECT_EQ(woken_, 1u);
}

TEST_F(HubTest, WhatIsNotFurtherWakesNobody) {
  for (const std::uint64_t end : {99u, 100u}) EXPECT_TRUE(hub_.on_durable_soon(2, Lsn(end)));
  EXPECT_EQ(hub_.served()->end, Lsn(100));
  EXPECT_EQ(woken_, 0u);
}

TEST_F(HubTest, AReceiverDoesNotDecideAboutTimelines) {
  for (const wal::TimelineId timeline : {1u, 3u})
    EXPECT_FALSE(hub_.on_durable_soon(timeline, Lsn(200)));
  EXPECT_EQ(hub_.served()->end, Lsn(100));
  EXPECT_EQ(woken_, 0u);
}

TEST_F(HubTest, AReceiverDoesNotWakeMany) {
  std::list<Hub::Guest> more;
  for (int i = 0; i < 20; ++i) more.emplace_back(hub_, [this] { ++woken_; });
  EXPECT_FALSE(hub_.on_durable_soon(2, Lsn(200)));
  EXPECT_EQ(hub_.served()->end, Lsn(100));
  EXPECT_EQ(woken_, 0u);
  EXPECT_EQ(hub_.on_durable(wal::TimelineHistory(2), Lsn(200)), ServedEnd::Told::further);
  EXPECT_EQ(woken_, 21u);
}

}  // namespace
}  // namespace weir::relay::hub_test

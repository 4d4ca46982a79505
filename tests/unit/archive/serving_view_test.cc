#include "archive/serving_view.h"

#include <gtest/gtest.h>

namespace weir::archive::serving_view_test {
namespace {

using wal::Lsn;

constexpr std::uint64_t kGb = std::uint64_t{1} << 30;

ServedSlot slot(std::uint64_t retained, std::optional<std::uint32_t> active, bool lost = false) {
  ServedSlot made;
  made.kept.name = "one";
  made.kept.lost = lost;
  made.kept.inactive_since = active ? "" : "yesterday";
  made.active_pid = active;
  made.retained = retained;
  return made;
}

TEST(ServedSlot, HoldsBackUpToTheEnd) {
  KeptSlot kept{.name = "a", .restart_lsn = Lsn(100)};
  EXPECT_EQ(retained_by(kept, Lsn(300)), 200u);
  EXPECT_EQ(retained_by(kept, Lsn(50)), 0u);
  kept.lost = true;
  EXPECT_EQ(retained_by(kept, Lsn(300)), 0u);
  EXPECT_EQ(retained_by({.name = "b"}, Lsn(300)), 0u);  // it reserves nothing
}

TEST(ServedSlot, WarnsOfWhatIsLostAndOfWhatNobodyUses) {
  EXPECT_FALSE(warning_of(slot(100 * kGb, 7)));
  EXPECT_FALSE(warning_of(slot(kGb - 1, std::nullopt)));
  const auto much = warning_of(slot(kGb, std::nullopt));
  ASSERT_TRUE(much);
  EXPECT_NE(much->find("\"one\" retains 1 GB that pgweir prune would remove"), std::string::npos)
      << *much;
  EXPECT_NE(much->find("since yesterday"), std::string::npos);
  const auto lost = warning_of(slot(0, std::nullopt, true));
  ASSERT_TRUE(lost);
  EXPECT_NE(lost->find("is lost"), std::string::npos);
}

TEST(DownstreamClient, IsBehindByWhatItHasReplayedElseFlushed) {
  DownstreamClient client;
  client.timeline = 1;
  client.state = "streaming";
  EXPECT_FALSE(bytes_behind(client, Lsn(1000)));  // it has not said anything
  client.flush = Lsn(900);
  EXPECT_EQ(bytes_behind(client, Lsn(1000)), 100u);
  client.replay = Lsn(400);
  EXPECT_EQ(bytes_behind(client, Lsn(1000)), 600u);
  EXPECT_EQ(bytes_behind(client, Lsn(300)), 0u);
  for (const auto* const state : {"startup", "backup"}) {
    client.state = state;
    EXPECT_FALSE(bytes_behind(client, Lsn(1000)));
  }
}

}  // namespace
}  // namespace weir::archive::serving_view_test

#include "receive/slow_sync_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/receive/recording_log.h"

namespace weir::receive::slow_sync_log_test {
namespace {

using namespace std::chrono_literals;
using test::RecordingLog;

TEST(SlowSyncLog, WarnsOnceOfSlowSyncsAndNeverOfOthers) {
  Feed feed;
  RecordingLog log;
  {
    const SlowSyncLog slow(feed, log);
    feed.publish(event::SyncDone{900ms});
    EXPECT_THAT(log.lines, ::testing::IsEmpty());
    feed.publish(event::SyncDone{2500ms});
    feed.publish(event::SyncDone{3s});
  }
  feed.publish(event::SyncDone{4s});
  ASSERT_EQ(log.lines.size(), 1u);
  EXPECT_THAT(log.lines[0], ::testing::StartsWith("warning: a sync of the archive took 2.5 s"));
}

}  // namespace
}  // namespace weir::receive::slow_sync_log_test

#include "store/send/still_there.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "support/error_of.h"

namespace weir::store {
namespace {

using test::error_of;
using ::testing::HasSubstr;

constexpr std::uint64_t kCluster = 42;
const wal::SegmentSize kSize;

Error answer_to(const AskedHost& asked, const std::optional<std::string>& slot = "archive") {
  archive::Identity cluster;
  cluster.system_identifier = kCluster;
  cluster.segment_size = kSize;
  return error_of([&] { require_gone(asked, cluster, wal::SegmentName(2, 7, kSize), slot); });
}

bool accepts(const AskedHost& asked, const std::optional<std::string>& slot = "archive") {
  archive::Identity cluster;
  cluster.system_identifier = kCluster;
  cluster.segment_size = kSize;
  try {
    require_gone(asked, cluster, wal::SegmentName(2, 7, kSize), slot);
    return true;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::refused);
    return false;
  }
}

TEST(StillThere, RefusesWhereAServerMayContinueTheSegment) {
  EXPECT_THAT(
      answer_to({.host = "db1:5432", .server = AskedHost::Server{kCluster, 2, false}}).what(),
      HasSubstr("a server of this cluster answers, on timeline 2 (server db1:5432)"));
  EXPECT_THAT(
      answer_to({.host = "db2:5432", .server = AskedHost::Server{kCluster, 3, true}}).what(),
      HasSubstr("the slot \"archive\" exists"));
  EXPECT_THAT(
      answer_to({.host = "db3:5432", .why = "password authentication failed", .answers = true})
          .what(),
      HasSubstr("could not be queried (server db3:5432, its answer password"));
}

TEST(StillThere, AcceptsWhatCannotContinueIt) {
  EXPECT_TRUE(accepts({.host = "db1", .server = AskedHost::Server{kCluster + 1, 2, true}}));
  EXPECT_TRUE(accepts({.host = "db1", .server = AskedHost::Server{kCluster, 3, false}}));
  EXPECT_TRUE(
      accepts({.host = "db1", .server = AskedHost::Server{kCluster, 3, true}}, std::nullopt));
  EXPECT_TRUE(accepts({.host = "db1", .why = "connection refused"}));
  EXPECT_FALSE(
      accepts({.host = "db1", .server = AskedHost::Server{kCluster, 2, false}}, std::nullopt));
}

TEST(StillThere, RefusesWhileTheReceiverStreams) {
  require_no_stream(false, "/srv/wal");
  EXPECT_THAT(error_of([] { require_no_stream(true, "/srv/wal"); }).what(),
              HasSubstr("the receiver of this archive is streaming (directory /srv/wal)"));
}

}  // namespace
}  // namespace weir::store

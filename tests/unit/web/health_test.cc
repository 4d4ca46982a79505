#include "web/health.h"

#include <gtest/gtest.h>

namespace weir::web::health_test {
namespace {

using namespace std::chrono_literals;

receive::ReceiverView streaming(std::uint64_t lag) {
  receive::ReceiverView view;
  view.state = "streaming";
  view.server = "db1.example.org:5432";
  view.slot = "secret_slot";
  view.stream.emplace();
  view.stream->flush = wal::Lsn(1000);
  view.stream->server_end = wal::Lsn(1000 + lag);
  return view;
}

TEST(Readiness, IsToArchiveWithinTheLimit) {
  struct {
    const char* name;
    receive::ReceiverView view;
    std::optional<std::uint64_t> most;
    int status;
    const char* body;
  } cases[] = {
      {"caught up", streaming(0), {}, 200, "ok, caught up\n"},
      {"behind, no limit", streaming(1 << 20), {}, 200, "ok, 1 MB behind the server\n"},
      {"at the limit", streaming(1 << 20), 1 << 20, 200, "ok, 1 MB behind the server\n"},
      {"over it", streaming((1 << 20) + 1), 1 << 20, 503, "1.0 MB behind the server\n"},
      {"connecting", {}, {}, 503, "the receiver does not stream: connecting\n"},
      {"disk full", streaming(0), {}, 503, "the disk is full\n"},
      {"silent", streaming(0), {}, 503, "no message of the server has arrived yet\n"},
  };
  cases[4].view.state = "connecting";
  cases[5].view.disk_full_since.emplace();
  cases[6].view.outage_since.emplace();
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    const auto answer = readiness(each.view, {.max_lag = each.most});
    EXPECT_EQ(answer.status, each.status);
    EXPECT_EQ(answer.body, each.body);
    EXPECT_EQ(answer.body.find("db1"), std::string::npos);
    EXPECT_EQ(answer.body.find("secret"), std::string::npos);
  }
}

TEST(Readiness, NeedsSpaceForASegment) {
  status::StatusReport archive;
  archive.segment_size = wal::SegmentSize();
  archive.free_bytes = std::uint64_t{15} << 20;
  EXPECT_EQ(readiness(streaming(0), {}, &archive).status, 503);
  EXPECT_EQ(readiness(streaming(0), {}, &archive).body,
            "the disk is nearly full: 15 MB free, room for 0 segments\n");
  archive.free_bytes = std::uint64_t{64} << 20;
  EXPECT_EQ(readiness(streaming(0), {}, &archive).status, 200) << "a warning";
  EXPECT_EQ(readiness(streaming(0), {.max_lag = {}, .max_age = {}, .min_free = 65U << 20}, &archive)
                .status,
            503);
  EXPECT_EQ(readiness(streaming(0), {}, nullptr).status, 200);
}

TEST(Readiness, IsNotToHangWithTheDirectory) {
  const auto answer = readiness(streaming(0), {}, nullptr, true);
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.body, "the check of the archive's directory has not returned\n");
}

TEST(Health, IsThatTheReceiverTurns) {
  EXPECT_EQ(health(streaming(0), 1s).status, 200);
  EXPECT_EQ(health(streaming(0), 61s).status, 503);
  EXPECT_EQ(health(streaming(0), 1s).body, "ok\n");
  receive::ReceiverView waits;
  waits.state = "waiting";
  waits.last_error = "secret-host is away";
  EXPECT_EQ(health(waits, 1h).body, "ok\nnot ready: the receiver does not stream: waiting\n");
  EXPECT_EQ(health({}, 1h).status, 200);  // it waits for a server, and turns
}

}  // namespace
}  // namespace weir::web::health_test

#include "cli/service_manager.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace weir::cli {
namespace {

receive::StatusBoard::View streaming() {
  receive::StatusBoard::View view;
  view.content.state = "streaming";
  view.content.server = "db1:5432";
  view.stream = receive::StreamSnapshot{.timeline = 3,
                                        .start = wal::Lsn(0x1000000),
                                        .write = wal::Lsn(0x1800000),
                                        .flush = wal::Lsn(0x1400000),
                                        .server_end = wal::Lsn(0x1800000)};
  return view;
}

TEST(StatusLine, TellsStatePositionAndLagInOneLine) {
  using View = receive::StatusBoard::View;
  const struct {
    const char* name;
    std::function<void(View&)> change;
    const char* line;
  } cases[] = {
      {"behind", [](View&) {},
       "streaming timeline 3 from db1:5432, durable up to 0/1400000, 4 MB behind"},
      {"caught up", [](View& view) { view.stream->flush = view.stream->server_end; },
       "streaming timeline 3 from db1:5432, durable up to 0/1800000, caught up"},
      {"disk full", [](View& view) { view.content.disk_full = true; },
       "disk full: holding timeline 3 from db1:5432, durable up to 0/1400000, 4 MB behind"},
      {"waiting",
       [](View& view) {
         view.stream.reset();
         view.content.state = "waiting";
         view.content.server.clear();
         view.content.last_error = "no\nserver";
       },
       "waiting; last error: no     server"},
      {"hole and slot",
       [](View& view) {
         view.content.holes.emplace_back();
         view.content.slot_warning = "the slot is ill";
       },
       "streaming timeline 3 from db1:5432, durable up to 0/1400000, 4 MB behind; 1 hole(s) in the "
       "archive; the slot is ill"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    auto view = streaming();
    each.change(view);
    EXPECT_EQ(status_line(view), each.line);
  }
}

TEST(ServiceManager, DoesNothingWhereNobodyWantsToBeNotified) {
  ::unsetenv("NOTIFY_SOCKET");
  NullLog log;
  ServiceManager manager(log);
  receive::StatusBoard board;
  manager.start(board);
  EXPECT_EQ(manager.heartbeat_interval(), std::nullopt);
  manager.stop();
}

}  // namespace
}  // namespace weir::cli

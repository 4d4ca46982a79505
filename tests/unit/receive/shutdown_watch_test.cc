#include "receive/shutdown_watch.h"

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "pq/ping.h"
#include "unit/pq/test_server.h"
#include "unit/receive/recording_log.h"

namespace weir::receive::shutdown_watch_test {
namespace {

TEST(ShutdownWatch, TellsOnlyWhoWantsToKnow) {
  if (!pq::TestServer::programs()) GTEST_SKIP() << "no PostgreSQL server programs on this machine";
  const net::Wake interrupt;
  const pq::TestServer server;
  const auto connection = pq::Connection::open(
      {.conninfo = server.conninfo(), .replication = pq::Replication::none}, interrupt);
  test::RecordingLog log;
  const pq::ShutdownProbe probe(connection);
  ShutdownWatch watch([&] { return probe.server_shuts_down(); }, machine_threads(), log);
  server.signal(SIGTERM);  // a smart shutdown, which waits for our connection

  EXPECT_FALSE(watch.shuts_down(false));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!watch.shuts_down(true) && std::chrono::steady_clock::now() < deadline)
    std::this_thread::yield();
  EXPECT_TRUE(watch.shuts_down(true));
  EXPECT_FALSE(watch.shuts_down(false));
}

}  // namespace
}  // namespace weir::receive::shutdown_watch_test

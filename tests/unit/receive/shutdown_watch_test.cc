#include "receive/shutdown_watch.h"

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "net/wake.h"
#include "unit/pq/test_server.h"
#include "unit/receive/recording_log.h"

namespace weir::receive {
namespace {

TEST(ShutdownWatch, TellsOnlyWhoWantsToKnow) {
  if (!pq::TestServer::programs()) GTEST_SKIP() << "no PostgreSQL server programs on this machine";
  const net::Wake interrupt;
  const pq::TestServer server;
  const auto connection = pq::Connection::open(
      {.conninfo = server.conninfo(), .replication = pq::Replication::none}, interrupt);
  test::RecordingLog log;
  ShutdownWatch watch(pq::ShutdownProbe(connection), log);
  server.signal(SIGTERM);  // a smart shutdown, which waits for our connection

  EXPECT_FALSE(watch.look(false));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!watch.look(true) && std::chrono::steady_clock::now() < deadline)
    std::this_thread::yield();
  EXPECT_TRUE(watch.look(true));
  EXPECT_FALSE(watch.look(false));
}

}  // namespace
}  // namespace weir::receive

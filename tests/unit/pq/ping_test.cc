#include "pq/ping.h"

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <optional>
#include <thread>

#include "net/wake.h"
#include "unit/pq/test_server.h"

namespace weir::pq::ping_test {
namespace {

TEST(ShutdownProbe, KnowsAServerThatLetsNobodyInFromOneThatDoesAndFromNone) {
  if (!TestServer::programs()) GTEST_SKIP() << "no PostgreSQL server programs on this machine";
  const net::Wake interrupt;
  TestServer server;
  std::optional connection = Connection::open(
      {.conninfo = server.conninfo(), .replication = Replication::none}, interrupt);
  const ShutdownProbe probe(*connection);
  EXPECT_FALSE(probe.server_shuts_down());

  server.signal(SIGTERM);  // a smart shutdown, which waits for our connection
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!probe.server_shuts_down() && std::chrono::steady_clock::now() < deadline)
    std::this_thread::yield();
  EXPECT_TRUE(probe.server_shuts_down());
  EXPECT_EQ(connection->execute("SELECT 1").size(), 1u);

  connection.reset();
  server.stop(SIGINT);
  EXPECT_FALSE(probe.server_shuts_down());
}

}  // namespace
}  // namespace weir::pq::ping_test

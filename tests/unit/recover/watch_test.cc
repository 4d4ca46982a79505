#include "recover/watch.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <string>

#include "io/child_process.h"
#include "support/backup_builder.h"

namespace weir::recover::watch_test {
namespace {

using namespace std::chrono_literals;

/// A power failure leaves the file, and any process may have the ID afterwards.
TEST(ServerLives, OnlyIfItWorksInTheDirectory) {
  const test::TemporaryDirectory data;
  EXPECT_FALSE(server_lives(data.path()));
  data.write("postmaster.pid", std::to_string(::getpid()) + "\n" + data.path() + "\n");
  EXPECT_FALSE(server_lives(data.path()));
  io::ChildProcess server(
      {"/bin/sh", "-c", "cd \"$0\" && echo $$ >postmaster.pid && exec sleep 60", data.path()}, {});
  const auto until = std::chrono::steady_clock::now() + 30s;
  while (!server_lives(data.path()) && std::chrono::steady_clock::now() < until)
    ASSERT_FALSE(server.wait(10ms));
  EXPECT_TRUE(server_lives(data.path()));
  EXPECT_TRUE(server_lives(data.path() + "/../" + data.path().substr(data.path().rfind('/') + 1)));
  server.signal(SIGKILL);
  server.wait();
  EXPECT_FALSE(server_lives(data.path()));
}

}  // namespace
}  // namespace weir::recover::watch_test

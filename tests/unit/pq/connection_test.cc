#include "pq/connection.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

namespace weir::pq {
namespace {

using std::chrono::seconds;
using std::chrono::steady_clock;

TEST(Interrupt, StaysRaisedUntilItIsCleared) {
  Interrupt interrupt;
  EXPECT_FALSE(interrupt.raised());
  interrupt.raise();
  interrupt.raise();
  EXPECT_TRUE(interrupt.raised());
  EXPECT_TRUE(interrupt.raised());
  interrupt.clear();
  EXPECT_FALSE(interrupt.raised());
  interrupt.clear();
  EXPECT_FALSE(interrupt.raised());
}

class WaitForSocket : public testing::Test {
 protected:
  WaitForSocket() { EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets_), 0); }
  ~WaitForSocket() override {
    close(sockets_[0]);
    close(sockets_[1]);
  }
  int sockets_[2];
  Interrupt interrupt_;
  steady_clock::time_point never_ = steady_clock::now() + seconds(600);
};

TEST_F(WaitForSocket, SaysWhetherItIsReady) {
  EXPECT_FALSE(wait_for_socket(sockets_[0], true, false, &interrupt_, steady_clock::now()));
  EXPECT_TRUE(wait_for_socket(sockets_[0], false, true, &interrupt_, never_));
  EXPECT_TRUE(wait_for_socket(sockets_[0], true, true, nullptr, never_));
  ASSERT_EQ(write(sockets_[1], "x", 1), 1);
  EXPECT_TRUE(wait_for_socket(sockets_[0], true, false, &interrupt_, never_));
}

TEST_F(WaitForSocket, IsReadyWhenThePeerIsGone) {
  shutdown(sockets_[1], SHUT_RDWR);
  EXPECT_TRUE(wait_for_socket(sockets_[0], true, false, &interrupt_, never_));
}

TEST_F(WaitForSocket, EndsWhenInterrupted) {
  std::thread signal([this] { interrupt_.raise(); });
  EXPECT_THROW(wait_for_socket(sockets_[0], true, false, &interrupt_, never_), Interrupted);
  signal.join();
  // Even if the socket is ready too.
  EXPECT_THROW(wait_for_socket(sockets_[0], false, true, &interrupt_, never_), Interrupted);
  EXPECT_TRUE(wait_for_socket(sockets_[0], false, true, nullptr, never_));
}

}  // namespace
}  // namespace weir::pq

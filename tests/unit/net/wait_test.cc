#include "net/wait.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <vector>

#include "base/error.h"

namespace weir::net::wait_test {
namespace {

using std::chrono::seconds;
using std::chrono::steady_clock;

TEST(Wake, StaysRaisedUntilItIsCleared) {
  Wake wake;
  EXPECT_FALSE(wake.raised());
  wake.raise();
  wake.raise();
  EXPECT_TRUE(wake.raised());
  EXPECT_TRUE(wake.raised());
  wake.clear();
  EXPECT_FALSE(wake.raised());
  wake.clear();
  EXPECT_FALSE(wake.raised());
}

class WaitForSocket : public ::testing::Test {
 protected:
  WaitForSocket() { EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets_), 0); }
  ~WaitForSocket() override {
    close(sockets_[0]);
    close(sockets_[1]);
  }
  int sockets_[2];
  Wake wake_;
  steady_clock::time_point never_ = steady_clock::now() + seconds(600);
};

TEST_F(WaitForSocket, SaysWhetherItIsReady) {
  EXPECT_FALSE(wait_for_socket(sockets_[0], true, false, &wake_, steady_clock::now()));
  EXPECT_TRUE(wait_for_socket(sockets_[0], false, true, &wake_, never_));
  EXPECT_TRUE(wait_for_socket(sockets_[0], true, true, nullptr, never_));
  ASSERT_EQ(write(sockets_[1], "x", 1), 1);
  EXPECT_TRUE(wait_for_socket(sockets_[0], true, false, &wake_, never_));
}

TEST_F(WaitForSocket, IsReadyWhenThePeerIsGone) {
  shutdown(sockets_[1], SHUT_RDWR);
  EXPECT_TRUE(wait_for_socket(sockets_[0], true, false, &wake_, never_));
}

TEST_F(WaitForSocket, EndsWhenItIsRaised) {
  std::thread signal([this] { wake_.raise(); });
  EXPECT_THROW(wait_for_socket(sockets_[0], true, false, &wake_, never_), Interrupted);
  signal.join();
  // Even if the socket is ready too.
  EXPECT_THROW(wait_for_socket(sockets_[0], false, true, &wake_, never_), Interrupted);
  EXPECT_TRUE(wait_for_socket(sockets_[0], false, true, nullptr, never_));
}

TEST(Pause, IsOverAfterItsTimeOrWhenTheWakeIsRaised) {
  Wake wake;
  EXPECT_TRUE(pause(wake, std::chrono::milliseconds(1)));
  std::thread signal([&] { wake.raise(); });
  EXPECT_FALSE(pause(wake, seconds(600)));
  signal.join();
}

TEST_F(WaitForSocket, SendsAllToAReaderThatTakesItsTime) {
  ASSERT_EQ(fcntl(sockets_[0], F_SETFL, O_NONBLOCK), 0);
  const std::string much(4'000'000, 'x');
  std::string taken;
  std::thread reader([&] {
    std::vector<char> piece(100'000);
    while (const auto count = receive_some(sockets_[1], piece, never_, nullptr))
      taken.append(piece.data(), count);
  });
  EXPECT_TRUE(send_all(sockets_[0], much, never_, &wake_));
  shutdown(sockets_[0], SHUT_WR);
  reader.join();
  EXPECT_EQ(taken, much);
}

TEST_F(WaitForSocket, GivesUpAReaderAtTheDeadline) {
  const std::string much(4'000'000, 'x');
  EXPECT_THROW(send_all(sockets_[0], much, steady_clock::now(), nullptr), Error);
  std::thread signal([this] { wake_.raise(); });
  EXPECT_THROW(send_all(sockets_[0], much, never_, &wake_), Interrupted);
  signal.join();
  char byte = 0;
  EXPECT_THROW(
      static_cast<void>(receive_some(sockets_[0], {&byte, 1}, steady_clock::now(), nullptr)),
      Error);
}

TEST_F(WaitForSocket, SaysThatTheReaderIsGone) {
  shutdown(sockets_[1], SHUT_RDWR);
  EXPECT_FALSE(send_all(sockets_[0], "anything", never_, nullptr));
  char byte = 0;
  EXPECT_EQ(receive_some(sockets_[0], {&byte, 1}, never_, nullptr), 0u);
}

}  // namespace
}  // namespace weir::net::wait_test

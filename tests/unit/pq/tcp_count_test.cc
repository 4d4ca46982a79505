#include "pq/tcp_count.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <future>
#include <optional>
#include <string>

#include "unit/pq/tcp_line.h"

namespace weir::pq::tcp_count_test {
namespace {

TEST(TcpCount, KnowsHowMuchWasReadByWhomever) {
  TcpLine line;
  const auto begin = bytes_read(line.ours());
  ASSERT_TRUE(begin);
  line.send(std::string(1000, 'x'));
  EXPECT_EQ(bytes_read(line.ours()), begin);
  EXPECT_EQ(bytes_unread(line.ours()), 1000u);
  char some[300];
  ASSERT_EQ(::recv(line.ours(), some, sizeof some, 0), 300);
  EXPECT_EQ(bytes_read(line.ours()), *begin + 300);
  EXPECT_EQ(bytes_read_at_least(line.ours()), *begin + 300);
  EXPECT_EQ(bytes_read_at_most(line.ours()), *begin + 300);
  EXPECT_EQ(bytes_read(-1), std::nullopt);
  int local[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, local), 0);
  EXPECT_EQ(bytes_read(local[0]), std::nullopt);
  EXPECT_EQ(receive_window(local[0]), std::nullopt);
  EXPECT_GT(receive_window(line.ours()).value_or(0), 1000u);
  ::close(local[0]);
  ::close(local[1]);
}

TEST(TcpCount, IsOnItsSideOfTheTruthWhileMoreArrives) {
  constexpr std::size_t kBurst = 32 * 1024;
  for (int round = 0; round < 200; ++round) {
    TcpLine line;
    const auto sent =
        std::async(std::launch::async, [&line] { line.send(std::string(kBurst, 'x')); });
    while (bytes_unread(line.ours()) < kBurst) {
      EXPECT_EQ(bytes_read_at_least(line.ours()), 0u);
      EXPECT_LE(bytes_read_at_most(line.ours()), kBurst);
    }
    sent.wait();
  }
}

}  // namespace
}  // namespace weir::pq::tcp_count_test

#include "net/stream.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <string>

#include "base/descriptor.h"

namespace weir::net::stream_test {
namespace {

class StreamTest : public ::testing::Test {
 protected:
  StreamTest() {
    int ends[2] = {-1, -1};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    ours_ = Descriptor(ends[0]);
    theirs_ = Descriptor(ends[1]);
  }
  Descriptor ours_;
  Descriptor theirs_;
  std::array<char, 100> bytes_{};
};

TEST_F(StreamTest, NeverWaits) {
  EXPECT_EQ(receive_now(ours_.get(), bytes_), 0u);
  const std::string much(std::size_t{8} << 20, 'x');
  const auto sent = send_now(ours_.get(), much);
  ASSERT_TRUE(sent);
  EXPECT_GT(*sent, 0u);
  EXPECT_LT(*sent, much.size());
  EXPECT_EQ(send_now(ours_.get(), much), 0u);
  EXPECT_EQ(receive_now(theirs_.get(), bytes_), bytes_.size());
}

TEST_F(StreamTest, SendsSeveralInOneGo) {
  const std::array<std::string_view, 4> parts = {"one", "", "two", "three"};
  EXPECT_EQ(send_now(ours_.get(), parts), 11u);
  EXPECT_EQ(receive_now(theirs_.get(), bytes_), 11u);
  EXPECT_EQ(std::string_view(bytes_.data(), 11), "onetwothree");
  EXPECT_EQ(send_now(ours_.get(), std::span(parts).subspan(1, 1)), 0u);
}

TEST_F(StreamTest, SendsAsMuchOfSeveralAsThereIsRoomFor) {
  const std::string much(std::size_t{8} << 20, 'x');
  const std::array<std::string_view, 2> parts = {"one", much};
  const auto sent = send_now(ours_.get(), parts);
  ASSERT_TRUE(sent);
  EXPECT_GT(*sent, 3u);
  EXPECT_LT(*sent, much.size());
  while (send_now(ours_.get(), much) != 0u) {
  }
  EXPECT_EQ(send_now(ours_.get(), parts), 0u);
  theirs_.close();
  EXPECT_EQ(send_now(ours_.get(), parts), std::nullopt);
}

TEST_F(StreamTest, TellsWhenTheOtherSideIsGone) {
  EXPECT_EQ(send_now(theirs_.get(), "bye"), 3u);
  theirs_.close();
  EXPECT_EQ(receive_now(ours_.get(), bytes_), 3u);
  EXPECT_EQ(receive_now(ours_.get(), bytes_), std::nullopt);
  EXPECT_EQ(send_now(ours_.get(), "late"), std::nullopt);
}

}  // namespace
}  // namespace weir::net::stream_test

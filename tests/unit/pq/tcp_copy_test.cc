#include "pq/tcp_copy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "unit/pq/tcp_line.h"

namespace weir::pq::tcp_copy_test {
namespace {

using Found = TcpCopy::Found;

constexpr std::size_t kLargest = 1 << 20;

std::string envelope(char type, std::size_t length) {
  std::string text(1, type);
  for (int shift = 24; shift >= 0; shift -= 8) text += static_cast<char>(length >> shift & 0xff);
  return text;
}

/// CopyData with a head of 25 bytes and `body`.
std::string copy_data(const std::string& body, char head = 'w') {
  return envelope('d', 4 + TcpCopy::kHead + body.size()) + std::string(TcpCopy::kHead, head) + body;
}

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST(TcpCopy, PutsABodyWhereItIsWantedAndNothingBehindIt) {
  TcpLine line;
  TcpCopy copy(line.ours(), kLargest);
  std::vector<std::byte> place(20, std::byte{'.'});
  line.send(copy_data("first") + copy_data("second!") + copy_data(""));
  ASSERT_EQ(copy.next(place), Found::message);
  EXPECT_EQ(text_of(copy.head()), std::string(25, 'w'));
  EXPECT_EQ(copy.body().data(), place.data());
  EXPECT_EQ(text_of(place), "first...............");
  EXPECT_EQ(copy.size(), 5u + 25 + 5);
  ASSERT_EQ(copy.next(std::span(place).subspan(5)), Found::message);
  EXPECT_EQ(text_of(place), "firstsecond!........");
  ASSERT_EQ(copy.next(place), Found::message);
  EXPECT_TRUE(copy.body().empty());
  EXPECT_EQ(copy.next(place), Found::nothing);
}

TEST(TcpCopy, KeepsABodyThatHasNoRoomAtThePlace) {
  TcpLine line;
  TcpCopy copy(line.ours(), kLargest);
  std::vector<std::byte> place(4, std::byte{'.'});
  line.send(copy_data("larger"));
  ASSERT_EQ(copy.next(place), Found::message);
  EXPECT_EQ(text_of(copy.body()), "larger");
  EXPECT_EQ(text_of(place), "....");
}

TEST(TcpCopy, LeavesABodyToWhoStillNeedsIt) {
  TcpLine line;
  TcpCopy copy(line.ours(), kLargest);
  line.send(copy_data("first"));
  ASSERT_EQ(copy.next({}), Found::message);
  const auto first = copy.body();
  const auto kept = copy.release_body();
  EXPECT_EQ(kept.data(), first.data());
  line.send(copy_data("other"));
  ASSERT_EQ(copy.next({}), Found::message);
  EXPECT_EQ(text_of(copy.body()), "other");
  EXPECT_EQ(text_of(first), "first");
}

TEST(TcpCopy, TakesAMessageThatIsAllHead) {
  TcpLine line;
  TcpCopy copy(line.ours(), kLargest);
  const std::string keepalive(18, 'k');
  line.send(envelope('d', 4 + keepalive.size()) + keepalive + envelope('d', 4) + copy_data("w"));
  ASSERT_EQ(copy.next({}), Found::message);
  EXPECT_EQ(text_of(copy.head()), keepalive);
  EXPECT_TRUE(copy.body().empty());
  ASSERT_EQ(copy.next({}), Found::message);
  EXPECT_TRUE(copy.head().empty());
  ASSERT_EQ(copy.next({}), Found::message);
  EXPECT_EQ(text_of(copy.body()), "w");
}

TEST(TcpCopy, LeavesEveryOtherMessageToLibpq) {
  for (const std::string& other :
       {envelope('c', 4), envelope('E', 10) + "error", std::string("N"), std::string(1, '\0')}) {
    SCOPED_TRACE(::testing::PrintToString(other));
    TcpLine line;
    TcpCopy copy(line.ours(), kLargest);
    line.send(copy_data("wal") + other);
    ASSERT_EQ(copy.next({}), Found::message);
    EXPECT_EQ(copy.next({}), Found::other);
    EXPECT_FALSE(copy.within_message());
    EXPECT_EQ(line.rest(), other);
  }
}

TEST(TcpCopy, LeavesAMessageThatHasNotAllComeAtFirst) {
  const auto message = copy_data("half of it");
  for (std::size_t front = 1; front < message.size(); ++front) {
    SCOPED_TRACE(front);
    TcpLine line;
    TcpCopy copy(line.ours(), kLargest);
    std::vector<std::byte> place(20, std::byte{'.'});
    line.send(message.substr(0, front));
    EXPECT_EQ(copy.next(place), Found::nothing);
    EXPECT_FALSE(copy.within_message());
    EXPECT_EQ(bytes_unread(line.ours()), front);
    EXPECT_FALSE(line.readable());  // so nobody turns round and round
    line.send(message.substr(front));
    EXPECT_TRUE(line.readable());
    ASSERT_EQ(copy.next(place), Found::message);
    EXPECT_EQ(text_of(place), "half of it..........");
  }
}

// A socket may hold less than a message; and then the place may be gone when the rest comes.
TEST(TcpCopy, TakesAMessageInPiecesThatDoesNotComeWhole) {
  const std::string body(1000, 'x');
  const auto message = copy_data(body);
  for (const std::size_t front : {30u, 31u, 500u, 1029u}) {
    SCOPED_TRACE(front);
    TcpLine line;
    TcpCopy copy(line.ours(), kLargest);
    std::vector<std::byte> place(2000, std::byte{'.'});
    line.send(message.substr(0, front));
    EXPECT_EQ(copy.next(place), Found::nothing);
    EXPECT_EQ(copy.next(place), Found::nothing);
    EXPECT_TRUE(copy.within_message());
    EXPECT_EQ(bytes_unread(line.ours()), 0u);
    EXPECT_EQ(text_of(place), std::string(2000, '.'));
    line.send(message.substr(front) + copy_data("next"));
    EXPECT_TRUE(line.readable());
    ASSERT_EQ(copy.next({}), Found::message);
    EXPECT_EQ(text_of(copy.body()), body);
    EXPECT_FALSE(copy.within_message());
    ASSERT_EQ(copy.next(place), Found::message);
    EXPECT_EQ(text_of(copy.body()), "next");
  }
}

TEST(TcpCopy, TellsOfAConnectionThatEnds) {
  {
    TcpLine line;
    TcpCopy copy(line.ours(), kLargest);
    line.send(copy_data("last"));
    line.hang_up();
    ASSERT_EQ(copy.next({}), Found::message);
    EXPECT_EQ(copy.next({}), Found::other);  // libpq will find the same
  }
  TcpLine line;
  TcpCopy copy(line.ours(), kLargest);
  line.send(copy_data("last").substr(0, 32));
  EXPECT_EQ(copy.next({}), Found::nothing);
  EXPECT_EQ(copy.next({}), Found::nothing);
  line.hang_up();
  EXPECT_TRUE(line.readable(10'000));
  EXPECT_EQ(copy.next({}), Found::lost);
}

TEST(TcpCopy, RefusesLengthsThatCannotBe) {
  for (const std::size_t length : {std::size_t{0}, std::size_t{3},
                                   4 + TcpCopy::kHead + kLargest + 1, std::size_t{0xffffffff}}) {
    SCOPED_TRACE(length);
    TcpLine line;
    TcpCopy copy(line.ours(), kLargest);
    line.send(envelope('d', length) + std::string(100, 'x'));
    try {
      static_cast<void>(copy.next({}));
      FAIL() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::protocol);
    }
  }
}

TEST(TcpCopy, LetsWhatComesGather) {
  TcpLine line;
  TcpCopy copy(line.ours(), kLargest);
  copy.gather(100);
  line.send(copy_data("short"));
  EXPECT_FALSE(line.readable());
  ASSERT_EQ(copy.next({}), Found::message);  // who asks gets it all the same
  EXPECT_EQ(copy.next({}), Found::nothing);
  line.send(copy_data(std::string(70, 'x')));
  EXPECT_TRUE(line.readable());
  ASSERT_EQ(copy.next({}), Found::message);
  copy.gather(1);
  line.send("x");
  EXPECT_TRUE(line.readable());
}

// Else the other side would stand still until a poll ends, far away for a round trip each time.
TEST(TcpCopy, DoesNotWaitForMoreThanTheOtherSideMaySend) {
  TcpLine line;
  TcpCopy copy(line.ours(), kLargest);
  copy.gather(std::size_t{1} << 20);
  int mark = 0;
  socklen_t size = sizeof mark;
  ASSERT_EQ(::getsockopt(line.ours(), SOL_SOCKET, SO_RCVLOWAT, &mark, &size), 0);
  ASSERT_TRUE(receive_window(line.ours()));
  EXPECT_GT(mark, 1);
  EXPECT_LE(static_cast<std::size_t>(mark), *receive_window(line.ours()) / 4);
  line.send(copy_data(std::string(static_cast<std::size_t>(mark), 'x')));
  EXPECT_TRUE(line.readable());
}

}  // namespace
}  // namespace weir::pq::tcp_copy_test

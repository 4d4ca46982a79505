#include "pq/direct_copy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "base/error.h"
#include "pq/tcp_count.h"

namespace weir::pq {
namespace {

using Found = DirectCopy::Found;

constexpr std::size_t kLargest = 1 << 20;

/// The two ends of a TCP connection on 127.0.0.1.
class Line {
 public:
  Line() {
    const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const generic = reinterpret_cast<sockaddr*>(&address);
    require(::bind(listener, generic, size) == 0 && ::listen(listener, 1) == 0 &&
            ::getsockname(listener, generic, &size) == 0);
    ours_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    require(::connect(ours_, generic, size) == 0);
    theirs_ = ::accept(listener, nullptr, nullptr);
    require(theirs_ >= 0);
    ::close(listener);
  }
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;
  ~Line() {
    ::close(ours_);
    hang_up();
  }

  [[nodiscard]] int ours() const { return ours_; }
  void hang_up() {
    if (theirs_ >= 0) ::close(theirs_);
    theirs_ = -1;
  }

  /// Returns when the other side's kernel has all of it.
  void send(const std::string& bytes) {
    const auto before = bytes_unread(ours_);
    require(::send(theirs_, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
    while (bytes_unread(ours_) < before + bytes.size()) ::poll(nullptr, 0, 1);
  }
  /// Reads what libpq would have to read.
  std::string rest() {
    std::string bytes(4096, '\0');
    const auto count = ::recv(ours_, bytes.data(), bytes.size(), MSG_DONTWAIT);
    bytes.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
    return bytes;
  }
  bool readable(int milliseconds = 0) const {
    pollfd fd{ours_, POLLIN, 0};
    return ::poll(&fd, 1, milliseconds) == 1;
  }

 private:
  static void require(bool good) {
    if (!good) throw std::system_error(errno, std::generic_category());
  }
  int ours_ = -1;
  int theirs_ = -1;
};

std::string envelope(char type, std::size_t length) {
  std::string text(1, type);
  for (int shift = 24; shift >= 0; shift -= 8) text += static_cast<char>(length >> shift & 0xff);
  return text;
}

/// CopyData with a head of 25 bytes and `body`.
std::string copy_data(const std::string& body, char head = 'w') {
  return envelope('d', 4 + DirectCopy::kHead + body.size()) + std::string(DirectCopy::kHead, head) +
         body;
}

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST(DirectCopy, PutsABodyWhereItIsWantedAndNothingBehindIt) {
  Line line;
  DirectCopy copy(line.ours(), kLargest);
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

TEST(DirectCopy, KeepsABodyThatHasNoRoomAtThePlace) {
  Line line;
  DirectCopy copy(line.ours(), kLargest);
  std::vector<std::byte> place(4, std::byte{'.'});
  line.send(copy_data("larger"));
  ASSERT_EQ(copy.next(place), Found::message);
  EXPECT_EQ(text_of(copy.body()), "larger");
  EXPECT_EQ(text_of(place), "....");
}

TEST(DirectCopy, TakesAMessageThatIsAllHead) {
  Line line;
  DirectCopy copy(line.ours(), kLargest);
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

TEST(DirectCopy, LeavesEveryOtherMessageToLibpq) {
  for (const std::string& other :
       {envelope('c', 4), envelope('E', 10) + "error", std::string("N"), std::string(1, '\0')}) {
    SCOPED_TRACE(testing::PrintToString(other));
    Line line;
    DirectCopy copy(line.ours(), kLargest);
    line.send(copy_data("wal") + other);
    ASSERT_EQ(copy.next({}), Found::message);
    EXPECT_EQ(copy.next({}), Found::other);
    EXPECT_FALSE(copy.within_message());
    EXPECT_EQ(line.rest(), other);
  }
}

TEST(DirectCopy, LeavesAMessageThatHasNotAllComeAtFirst) {
  const auto message = copy_data("half of it");
  for (std::size_t front = 1; front < message.size(); ++front) {
    SCOPED_TRACE(front);
    Line line;
    DirectCopy copy(line.ours(), kLargest);
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
TEST(DirectCopy, TakesAMessageInPiecesThatDoesNotComeWhole) {
  const std::string body(1000, 'x');
  const auto message = copy_data(body);
  for (const std::size_t front : {30u, 31u, 500u, 1029u}) {
    SCOPED_TRACE(front);
    Line line;
    DirectCopy copy(line.ours(), kLargest);
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

TEST(DirectCopy, TellsOfAConnectionThatEnds) {
  {
    Line line;
    DirectCopy copy(line.ours(), kLargest);
    line.send(copy_data("last"));
    line.hang_up();
    ASSERT_EQ(copy.next({}), Found::message);
    EXPECT_EQ(copy.next({}), Found::other);  // libpq will find the same
  }
  Line line;
  DirectCopy copy(line.ours(), kLargest);
  line.send(copy_data("last").substr(0, 32));
  EXPECT_EQ(copy.next({}), Found::nothing);
  EXPECT_EQ(copy.next({}), Found::nothing);
  line.hang_up();
  EXPECT_TRUE(line.readable(10'000));
  EXPECT_EQ(copy.next({}), Found::lost);
}

TEST(DirectCopy, RefusesLengthsThatCannotBe) {
  for (const std::size_t length : {std::size_t{0}, std::size_t{3},
                                   4 + DirectCopy::kHead + kLargest + 1, std::size_t{0xffffffff}}) {
    SCOPED_TRACE(length);
    Line line;
    DirectCopy copy(line.ours(), kLargest);
    line.send(envelope('d', length) + std::string(100, 'x'));
    try {
      static_cast<void>(copy.next({}));
      FAIL() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::protocol);
    }
  }
}

TEST(DirectCopy, LetsWhatComesGather) {
  Line line;
  DirectCopy copy(line.ours(), kLargest);
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

TEST(TcpCount, KnowsHowMuchWasReadByWhomever) {
  Line line;
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
  ::close(local[0]);
  ::close(local[1]);
}

}  // namespace
}  // namespace weir::pq

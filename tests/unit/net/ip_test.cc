#include "net/ip.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <pwd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdint>

#include "base/error.h"
#include "net/address.h"
#include "net/connect.h"

namespace weir::net::ip_test {
namespace {

TEST(Ip, IsReadFromNumbersOnly) {
  EXPECT_EQ(Ip::parse("192.0.2.7")->to_string(), "192.0.2.7");
  EXPECT_EQ(Ip::parse("2001:DB8::7")->to_string(), "2001:db8::7");
  for (const auto* text :
       {"", "localhost", "192.0.2", "192.0.2.256", "192.0.2.7 ", "::1%lo", ":::"})
    EXPECT_FALSE(Ip::parse(text)) << text;
}

TEST(Ip, OfVersionFourInTheClothesOfSixIsOfVersionFour) {
  EXPECT_EQ(Ip::of(Address::tcp("[::ffff:192.0.2.7]:1").data()), Ip::parse("192.0.2.7"));
  EXPECT_EQ(Ip::of(Address::tcp("[2001:db8::7]:1").data()), Ip::parse("2001:db8::7"));
  EXPECT_EQ(Ip::of(Address::tcp("192.0.2.7:1").data()), Ip::parse("192.0.2.7"));
  EXPECT_EQ(Ip::of(Address::unix_socket("/tmp/x").data()), std::nullopt);
}

TEST(Network, ContainsWhatItsMaskSays) {
  EXPECT_EQ(Ip::mask(false, 0).to_string(), "0.0.0.0");
  EXPECT_EQ(Ip::mask(false, 20).to_string(), "255.255.240.0");
  EXPECT_EQ(Ip::mask(true, 9).to_string(), "ff80::");
  const Network network{*Ip::parse("192.0.2.77"), Ip::mask(false, 26)};
  EXPECT_TRUE(network.contains(*Ip::parse("192.0.2.64")));
  EXPECT_TRUE(network.contains(*Ip::parse("192.0.2.127")));
  EXPECT_FALSE(network.contains(*Ip::parse("192.0.2.128")));
  EXPECT_FALSE(network.contains(*Ip::parse("c000:24d::")));  // the same first bytes
}

TEST(Network, ThisMachineHasOne) {
  bool loopback = false;
  for (const auto& each : own_networks())
    loopback = loopback || each.contains(*Ip::parse("127.0.0.1"));
  EXPECT_TRUE(loopback);
}

TEST(PeerAddress, IsKnownWhereItComesFromOneAndOfAUnixSocketThereIsNone) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  const Descriptor one(ends[0]);
  Descriptor other(ends[1]);
  EXPECT_EQ(peer_address(one.get()), std::nullopt);
  other.close();
  EXPECT_EQ(peer_address(one.get()), std::nullopt);

  auto listener = Listener::bind(Address::tcp("127.0.0.1:0"), Kind::bytes);
  listener.listen();
  const auto soon = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  const auto client = connect(listener.address(), Kind::bytes, soon);
  ASSERT_EQ(client.code, 0);
  const auto server = listener.accept_now();
  ASSERT_TRUE(server);
  EXPECT_EQ(peer_address(server.get()), Ip::parse("127.0.0.1"));
}

TEST(PeerUser, IsOneThatTheUserNamespaceHas) {
  constexpr auto* kAll = "         0          0 4294967295\n";
  for (const std::uint32_t id : {0U, 998U, 65534U}) EXPECT_TRUE(is_one_user(id, kAll)) << id;
  constexpr auto* kOwnAndRoot =
      "         0          0          1\n       998        998          1\n";  // PrivateUsers=
  EXPECT_TRUE(is_one_user(0, kOwnAndRoot));
  EXPECT_TRUE(is_one_user(998, kOwnAndRoot));
  EXPECT_FALSE(is_one_user(65534, kOwnAndRoot)) << "any other user of the machine";
  EXPECT_FALSE(is_one_user(997, kOwnAndRoot)) << "if the kernel was told another id";
  constexpr auto* kContainer = "         0     100000      65536\n";
  EXPECT_TRUE(is_one_user(65533, kContainer));
  EXPECT_FALSE(is_one_user(65534, kContainer)) << "that user, or any that the container lacks";
  EXPECT_FALSE(is_one_user(65536, kContainer));
  EXPECT_TRUE(is_one_user(998, "")) << "a kernel without user namespaces";
}

TEST(PeerUser, IsKnownOnTheOtherSideOfAUnixSocket) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  const Descriptor one(ends[0]);
  const Descriptor other(ends[1]);
  const auto* const own = ::getpwuid(::geteuid());
  if (own == nullptr) GTEST_SKIP() << "this user has no name";
  EXPECT_EQ(peer_user(one.get()), own->pw_name);
}

/// What it has sent can be read, and it must not count as one of this machine.
TEST(PeerAddress, OfOneThatHasResetItsConnectionIsNotKnown) {
  auto listener = Listener::bind(Address::tcp("127.0.0.1:0"), Kind::bytes);
  listener.listen();
  const auto soon = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  auto client = connect(listener.address(), Kind::bytes, soon);
  ASSERT_EQ(client.code, 0);
  ASSERT_TRUE(send_all(client.socket.get(), "x", soon, nullptr));
  const linger reset{1, 0};
  ASSERT_EQ(::setsockopt(client.socket.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
  client.socket.close();
  const auto server = listener.accept_now();
  ASSERT_TRUE(server);
  pollfd ended{server.get(), 0, 0};
  ASSERT_EQ(::poll(&ended, 1, 60'000), 1);
  char byte = 0;
  EXPECT_EQ(::recv(server.get(), &byte, 1, 0), 1);
  EXPECT_THROW(static_cast<void>(peer_address(server.get())), Error);
}

}  // namespace
}  // namespace weir::net::ip_test

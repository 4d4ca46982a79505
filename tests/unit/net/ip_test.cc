#include "net/ip.h"

#include <gtest/gtest.h>

#include "net/address.h"

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

}  // namespace
}  // namespace weir::net::ip_test

#include "relay/rules.h"

#include <gtest/gtest.h>

#include "support/error_of.h"

namespace weir::relay::rules_test {
namespace {

Peer from(const char* address) {
  Peer peer;
  if (std::string(address) != "[local]") peer.address = *net::Ip::parse(address);
  return peer;
}

const std::vector<net::Network> kOwn = {
    {*net::Ip::parse("192.0.2.7"), net::Ip::mask(false, 24)},
    {*net::Ip::parse("2001:db8::7"), net::Ip::mask(true, 64)},
};

/// The line that decides, and how; "none".
std::string found(const Rules& rules, const char* address, const std::string& user) {
  const auto match = rules.find(from(address), user, kOwn);
  if (!match) return "none";
  constexpr const char* kNames[] = {"trust", "reject", "scram", "peer", "cert"};
  return std::to_string(match->line) + " " + kNames[static_cast<int>(match->method)];
}

TEST(Rules, TheFirstThatMatchesCounts) {
  const auto rules = Rules::parse(R"(# TYPE DATABASE USER ADDRESS METHOD
local   replication   postgres                       peer
local   replication   all                            scram-sha-256
host    replication   bad,"worse one" 0.0.0.0/0      reject
host    replication   one             192.0.2.0/24   trust
host    replication   "all"           192.0.2.0/24   reject
host    replication   two             10.1.0.0 255.255.0.0   scram-sha-256
host    replication   three           samehost       trust
host    replication   three           samenet        scram-sha-256
host    replication   four            \
        2001:db8::/32 trust
hostnossl replication five            all            trust
)",
                                  "rules");
  const struct {
    const char* address;
    const char* user;
    const char* expected;
  } cases[] = {
      {"[local]", "postgres", "2 peer"},
      {"[local]", "other", "3 scram"},
      {"192.0.2.1", "bad", "4 reject"},
      {"192.0.2.1", "worse one", "4 reject"},
      {"2001:db8::1", "bad", "none"},  // another version than the rule's
      {"192.0.2.255", "one", "5 trust"},
      {"192.0.3.0", "one", "none"},
      {"192.0.2.1", "all", "6 reject"},  // quoted: a name like any other
      {"10.1.255.255", "two", "7 scram"},
      {"10.2.0.0", "two", "none"},
      {"192.0.2.7", "three", "8 trust"},
      {"192.0.2.8", "three", "9 scram"},
      {"2001:db8::8", "three", "9 scram"},
      {"198.51.100.1", "three", "none"},
      {"2001:db8:ffff::1", "four", "10 trust"},
      {"2001:db9::1", "four", "none"},
      {"198.51.100.1", "five", "12 trust"},
      {"198.51.100.1", "nobody", "none"},
      {"[local]", "", "3 scram"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(std::string(each.address) + " " + each.user);
    EXPECT_EQ(found(rules, each.address, each.user), each.expected);
  }
  EXPECT_TRUE(rules.needs_own_networks());
  EXPECT_TRUE(rules.needs_local_users());

  auto encrypted = from("198.51.100.1");
  encrypted.encrypted = true;
  EXPECT_FALSE(rules.find(encrypted, "five", kOwn));
}

TEST(Rules, SomeAreForTlsAloneAndSomeForNone) {
  const auto rules = Rules::parse(
      "hostnossl replication one all reject\n"
      "hostssl replication one all cert\n"
      "hostssl replication two all scram-sha-256\n"
      "host replication three all scram-sha-256\n",
      "rules");
  auto tls = from("192.0.2.1");
  tls.encrypted = true;
  const auto plain = from("192.0.2.1");
  EXPECT_EQ(rules.find(plain, "one", kOwn)->line, 1u);
  EXPECT_EQ(rules.find(tls, "one", kOwn)->line, 2u);
  EXPECT_EQ(rules.find(tls, "one", kOwn)->method, Method::cert);
  EXPECT_FALSE(rules.find(plain, "two", kOwn));
  EXPECT_EQ(rules.find(tls, "two", kOwn)->line, 3u);
  EXPECT_EQ(rules.find(plain, "three", kOwn)->line, 4u);
  EXPECT_EQ(rules.find(tls, "three", kOwn)->line, 4u);
  EXPECT_EQ(rules.needs_tls(), 2u);
  EXPECT_EQ(rules.needs_certificates(), 2u);
  EXPECT_FALSE(Rules().needs_tls());
  EXPECT_FALSE(Rules().needs_certificates());
  EXPECT_TRUE(rules.needs_passwords());
  EXPECT_TRUE(Rules().needs_passwords());
  EXPECT_FALSE(Rules::parse("local replication all peer\n", "rules").needs_passwords());
}

TEST(Rules, WithoutAFileThisMachineAloneComesInWithAPassword) {
  const Rules rules;
  EXPECT_EQ(found(rules, "[local]", "repl"), "0 scram");
  EXPECT_EQ(found(rules, "127.0.0.1", "repl"), "0 scram");
  EXPECT_EQ(found(rules, "127.255.0.1", "repl"), "0 scram");
  EXPECT_EQ(found(rules, "::1", "repl"), "0 scram");
  EXPECT_EQ(found(rules, "192.0.2.7", "repl"), "none");
  EXPECT_EQ(found(rules, "128.0.0.1", "repl"), "none");
  EXPECT_EQ(found(rules, "2001:db8::7", "repl"), "none");
  EXPECT_FALSE(rules.needs_own_networks());
  EXPECT_FALSE(rules.needs_local_users());
}

TEST(Rules, AnEmptyFileLetsNobodyIn) {
  const auto rules = Rules::parse("# nothing\n", "rules");
  EXPECT_EQ(found(rules, "[local]", "repl"), "none");
  EXPECT_EQ(found(rules, "127.0.0.1", "repl"), "none");
}

/// A message ends at a NUL byte for whoever prints it as a C string.
TEST(Rules, ANulByteIsToldWithItsLineAndNotRepeated) {
  try {
    static_cast<void>(Rules::parse(std::string_view("# one\n\0x\n", 9), "the-file"));
    FAIL();
  } catch (const Error& error) {
    const std::string text = error.what();
    EXPECT_EQ(text.find('\0'), std::string::npos);
    EXPECT_NE(text.find("NUL byte"), std::string::npos) << text;
    EXPECT_NE(text.find("the-file"), std::string::npos) << text;
  }
}

TEST(Rules, WhatIsWrongIsToldWithItsLine) {
  const char* const cases[] = {
      "remote replication all all trust",
      "hostssl replication all all peer",
      "hostgssenc replication all all trust",
      "host all all all trust",
      "host \"replication\" all all trust",
      "host replication,postgres all all trust",
      "host replication all",
      "host replication all all",
      "host replication all all md5",
      "host replication all all password",
      "host replication all all cert",
      "hostnossl replication all all cert",
      "local replication all cert",
      "hostssl replication all all cert map=x",
      "host replication all all peer",
      "host replication all all ldap",
      "host replication all all scram-sha-256 clientcert=verify-full",
      "host replication +admins all trust",
      "host replication @users all trust",
      "host replication /^r all trust",
      "host replication \"/^r,s\" all reject",  // it would match nobody
      "host replication all db.example.org trust",
      "host replication all .example.org trust",
      "host replication all 192.0.2.0/33 trust",
      "host replication all 192.0.2.0/ trust",
      "host replication all 192.0.2.0/24/24 trust",
      "host replication all 192.0.2.0 trust",
      "host replication all 192.0.2.0 ffff:: trust",
      "host replication all 2001:db8::/129 trust",
      "host replication all 192.0.2 trust",
      "local replication all 127.0.0.1/32 trust",
      "local replication all",
      "host replication \"all all trust",
  };
  for (const auto* line : cases) {
    SCOPED_TRACE(line);
    const auto error = test::error_of([&] {
      static_cast<void>(
          Rules::parse(std::string("local replication all trust\n\n") + line, "/rules"));
    });
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    const std::string what = error.what();
    EXPECT_NE(what.find("line 3"), std::string::npos) << what;
    EXPECT_NE(what.find("/rules"), std::string::npos) << what;
  }
}

}  // namespace
}  // namespace weir::relay::rules_test

#include "web/gate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace weir::web::gate_test {
namespace {

http::Request with(const std::string& header, const std::string& value) {
  return {.method = "GET", .path = "/", .headers = {{header, value}}};
}

TEST(Gate, KnowsItsOwnNames) {
  const Gate gate(std::nullopt, {"db1", "wal.example.org"}, "c");
  for (const char* const host :
       {"127.0.0.1:9190", "127.0.0.1", "localhost", "localhost:80", "LocalHost", "[::1]:9190",
        "192.0.2.7", "db1:9190", "DB1", "wal.example.org:443"})
    EXPECT_TRUE(gate.knows_host(with("host", host))) << host;
  for (const char* const host :
       {"", "evil.example", "evil.example:9190", "localhost.evil.example", "127.0.0.1.evil.example",
        "db1.evil.example", "[::1", "127.0.0.1@evil", ":9190", "127.0.0.1:1.evil.example",
        "[::1].evil", "[::1]1:80", "localhost:80x"})
    EXPECT_FALSE(gate.knows_host(with("host", host))) << host;
  EXPECT_FALSE(gate.knows_host(http::Request()));
}

TEST(Gate, LetsInWhoHasTheToken) {
  const Gate gate("0123456789abcdef", {}, "pgweir-9190");
  EXPECT_TRUE(gate.lets_in(with("authorization", "Bearer 0123456789abcdef")));
  EXPECT_TRUE(gate.lets_in(with("authorization", "bearer  0123456789abcdef ")));
  for (const char* const sent :
       {"", "Bearer", "Bearer ", "Bearer 0123456789abcdeF", "0123456789abcdef",
        "Basic 0123456789abcdef", "Bearer 0123456789abcdef0"})
    EXPECT_FALSE(gate.lets_in(with("authorization", sent))) << sent;
  EXPECT_FALSE(gate.lets_in(http::Request()));
}

TEST(Gate, LetsInByTheCookieOfWhoLoggedIn) {
  const Gate gate("0123456789abcdef", {}, "pgweir-9190");
  EXPECT_FALSE(gate.log_in("0123456789abcdeF"));
  EXPECT_FALSE(gate.log_in(""));
  EXPECT_THAT(*gate.log_in("0123456789abcdef", true), ::testing::EndsWith("; Secure"));
  EXPECT_THAT(*gate.log_in("0123456789abcdef"), ::testing::EndsWith("SameSite=Strict"));
  EXPECT_THAT(gate.log_out(), ::testing::AllOf(::testing::StartsWith("pgweir-9190=;"),
                                               ::testing::EndsWith("Max-Age=0")));
  const auto cookie = gate.log_in(" 0123456789abcdef\n");
  ASSERT_TRUE(cookie);
  EXPECT_THAT(*cookie, ::testing::EndsWith("; Path=/; HttpOnly; SameSite=Strict"));
  EXPECT_THAT(*cookie, ::testing::Not(::testing::HasSubstr("0123456789abcdef")));
  const auto pair = cookie->substr(0, cookie->find(';'));
  EXPECT_TRUE(gate.lets_in(with("cookie", pair)));
  EXPECT_TRUE(gate.lets_in(with("cookie", "a=b; " + pair + "; c=d")));
  EXPECT_FALSE(gate.lets_in(with("cookie", pair + "0")));
  EXPECT_FALSE(gate.lets_in(with("cookie", "x" + pair)));
  EXPECT_FALSE(gate.lets_in(with("cookie", "pgweir-9190=")));
  // Another token, another cookie.
  EXPECT_FALSE(Gate("0123456789abcdeX", {}, "pgweir-9190").lets_in(with("cookie", pair)));
}

TEST(Gate, IsOpenWithoutAToken) {
  const Gate gate(std::nullopt, {}, "c");
  EXPECT_TRUE(gate.lets_in(http::Request()));
  EXPECT_FALSE(gate.log_in("anything"));
}

}  // namespace
}  // namespace weir::web::gate_test

#include "http/message.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "http/request_reader.h"

namespace weir::http::message_test {
namespace {

using State = RequestReader::State;

TEST(HttpMessage, HasNoHeaderThatBeginsAnother) {
  const Answer answer{.status = 303, .headers = {{"Location", "/a"}, {"X", "b\r\nSet-Cookie: c"}}};
  const auto bytes = to_bytes(answer, true);
  EXPECT_THAT(bytes, ::testing::StartsWith("HTTP/1.1 303 See Other\r\n"));
  EXPECT_THAT(bytes, ::testing::HasSubstr("\r\nLocation: /a\r\n"));
  EXPECT_THAT(bytes, ::testing::Not(::testing::HasSubstr("Set-Cookie")));
}

TEST(HttpMessage, LeavesOutTheBodyWhereNobodyWantsIt) {
  EXPECT_THAT(to_bytes({.body = "word"}, true), ::testing::EndsWith("\r\n\r\nword"));
  EXPECT_THAT(to_bytes({.body = "word"}, false), ::testing::EndsWith("\r\n\r\n"));
  EXPECT_THAT(to_bytes({.body = "word"}, false), ::testing::HasSubstr("Content-Length: 4\r\n"));
  EXPECT_THAT(to_bytes({.status = 304, .body = "word"}, true), ::testing::EndsWith("\r\n\r\n"));
}

TEST(HttpMessage, ReadsAForm) {
  const struct {
    const char* form;
    const char* value;
  } cases[] = {
      {"token=abc", "abc"},
      {"a=1&token=a%2Bb+c", "a+b c"},
      {"token=%zz", "%zz"},
      {"tok%65n=x", "x"},
      {"token", ""},
      {"", ""},
      {"token=a&token=b", "a"},
      {"xtoken=a", ""},
      {"token=%", "%"},
  };
  for (const auto& each : cases) EXPECT_EQ(form_value(each.form, "token"), each.value) << each.form;
}

TEST(RequestReader, TakesARequestInAnyPieces) {
  const std::string bytes =
      "GET /main?x=1&y HTTP/1.1\r\nHost: db1:9190\r\nCoOkIe: a=b\r\nIf-None-Match: \"7\"\r\n\r\n";
  for (std::size_t piece = 1; piece <= bytes.size(); ++piece) {
    SCOPED_TRACE(piece);
    RequestReader reader;
    auto state = State::more;
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
      ASSERT_EQ(state, State::more);
      state = reader.add(std::string_view(bytes).substr(at, piece));
    }
    ASSERT_EQ(state, State::done);
    EXPECT_EQ(reader.request().method, "GET");
    EXPECT_EQ(reader.request().path, "/main");
    EXPECT_EQ(reader.request().query, "x=1&y");
    EXPECT_EQ(reader.request().header("host"), "db1:9190");
    EXPECT_EQ(reader.request().header("cookie"), "a=b");
    EXPECT_EQ(reader.request().header("if-none-match"), "\"7\"");
    EXPECT_EQ(reader.request().header("none"), "");
  }
}

TEST(RequestReader, TakesABody) {
  RequestReader reader;
  EXPECT_EQ(reader.add("POST /login HTTP/1.1\r\nContent-Length: 7\r\n\r\ntok"), State::more);
  EXPECT_EQ(reader.add("en=a"), State::done);
  EXPECT_EQ(reader.request().body, "token=a");
}

TEST(RequestReader, RefusesWhatIsNoRequestOrTooMuch) {
  const struct {
    const char* name;
    std::string bytes;
    int status;
  } cases[] = {
      {"TLS", std::string("\x16\x03\x01\x02\x00\x01", 6) + std::string(300, 'x'), 400},
      {"no version", "GET /\r\n\r\n", 400},
      {"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
      {"a space in the target", "GET /a b HTTP/1.1\r\n\r\n", 400},
      {"a large head", "GET / HTTP/1.1\r\nX: " + std::string(9000, 'x') + "\r\n\r\n", 431},
      {"a large body", "POST / HTTP/1.1\r\nContent-Length: 1025\r\n\r\n" + std::string(1025, 'x'),
       413},
      {"a large body in chunks",
       "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n500\r\n" + std::string(0x500, 'x'),
       413},
      {"two lengths", "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    RequestReader reader;
    ASSERT_EQ(reader.add(each.bytes), State::refused);
    EXPECT_EQ(reader.status(), each.status);
  }
}

TEST(RequestReader, KeepsABoundOfWhatNeverEnds) {
  RequestReader reader;
  auto state = State::more;
  std::size_t sent = 0;
  while (state == State::more && sent < (1 << 20)) {
    state = reader.add("xxxxxxxxxxxxxxxx");
    sent += 16;
  }
  EXPECT_EQ(state, State::refused);
  EXPECT_LE(sent, 2 * RequestReader::kMostHead);
}

}  // namespace
}  // namespace weir::http::message_test

#include "pq/passed_through.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>

#include "net/wait.h"
#include "net/wake.h"
#include "support/error_of.h"
#include "unit/pq/test_server.h"

namespace weir::pq::passed_through_test {
namespace {

using namespace std::string_literals;
using Progress = PassedThrough::Progress;

std::string message(char type, const std::string& body) {
  const auto length = body.size() + 4;
  std::string bytes(1, type);
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(length >> shift & 0xff);
  return bytes + body;
}

std::string greeting() {
  return message('R', "\0\0\0\0"s) + message('S', "server_version\0"s + "15.3\0"s) +
         message('Z', "I");
}

/// Of two columns, with all that a description has: table, attribute, type, size, typmod, format.
const std::string kRows =
    message('T', "\0\x02"s + "a\0"s + "\0\0\x01\x02\0\x03\0\0\0\x19\xff\xff"s + "\0\0\0\x09\0\0"s +
                     "b\0"s + "\0\0\0\0\0\0\0\0\0\x14\0\x08\xff\xff\xff\xff\0\0"s) +
    message('D', "\0\x02\0\0\0\x02xy\xff\xff\xff\xff"s) + message('C', "SELECT 1\0"s);
const std::string kNotice =
    message('N', "SNOTICE\0VNOTICE\0C00000\0Mall is well\0Hno hint\0Fxlog.c\0L1\0Rf\0\0"s);
const std::string kError =
    message('E', "SFEHLER\0VERROR\0CXX001\0Mbroken\0Dwhere\0Wwhile\0Fbasebackup.c\0L77\0Rg\0\0"s);
const std::string kCopy =
    message('H', "\0\0\0"s) + message('d', "nfile\0"s) + message('d', std::string(70'000, 'x'));
const std::string kDone = message('C', "BASE_BACKUP\0"s);

class PassedThroughTest : public ::testing::Test {
 protected:
  struct Outcome {
    std::string bytes;
    Progress end = Progress::nothing;
  };
  /// What comes out, in pieces of about `most` bytes.
  Outcome pass(const std::string& answer, std::size_t most = 1) {
    const FakeServer server({greeting(), answer});
    PassedThrough passed(
        Connection::open({.conninfo = fmt::format("host=127.0.0.1 port={} user=u sslmode=disable "
                                                  "gssencmode=disable",
                                                  server.port())},
                         never_),
        "BASE_BACKUP");
    Outcome outcome;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    for (;;) {
      std::string piece;
      outcome.end = passed.take(piece, most);
      outcome.bytes += piece;
      if (outcome.end == Progress::nothing) {
        if (!net::wait_for_socket(passed.socket(), true, false, nullptr, deadline)) return outcome;
      } else if (outcome.end != Progress::some) {
        return outcome;
      }
    }
  }
  net::Wake never_;
};

TEST_F(PassedThroughTest, EveryMessageIsTheServers) {
  const auto answer = kNotice + kRows + kCopy + message('c', "") + kCopy + kNotice +
                      message('c', "") + kRows + kDone;
  for (const std::size_t most : {1u, 100'000u, 1'000'000u}) {
    const auto outcome = pass(answer + message('Z', "I"), most);
    EXPECT_EQ(outcome.end, Progress::done);
    EXPECT_TRUE(outcome.bytes == answer) << most;
  }
}

TEST_F(PassedThroughTest, AnErrorEndsIt) {
  auto outcome = pass(kError + message('Z', "I"));
  EXPECT_EQ(outcome.end, Progress::failed);
  EXPECT_EQ(outcome.bytes, kError);

  // In the midst of a copy: nobody is told that the copy was complete.
  outcome = pass(kRows + kCopy + kError + message('Z', "I"));
  EXPECT_EQ(outcome.end, Progress::failed);
  EXPECT_TRUE(outcome.bytes == kRows + kCopy + kError);

  const auto fatal = message('E', "SFATAL\0VFATAL\0C57P01\0Mgo\0\0"s);
  outcome = pass(kCopy + fatal);
  EXPECT_EQ(outcome.end, Progress::fatal);
  EXPECT_TRUE(outcome.bytes == kCopy + fatal);
}

TEST_F(PassedThroughTest, AConnectionThatBreaksIsNoEnd) {
  for (const auto& begun : {""s, kRows, kCopy, kCopy + message('c', ""), kCopy.substr(0, 1000)}) {
    const auto error = test::error_of([&] { static_cast<void>(pass(begun)); });
    EXPECT_EQ(error.kind(), ErrorKind::retry) << begun.size();
  }
  // One that speaks of something else.
  EXPECT_EQ(test::error_of([&] { static_cast<void>(pass(message('W', "\0\0\0"s))); }).kind(),
            ErrorKind::protocol);
}

}  // namespace
}  // namespace weir::pq::passed_through_test

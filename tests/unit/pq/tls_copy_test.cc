#include "pq/tls_copy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "crypto/tls_reader.h"
#include "pq/tcp_count.h"
#include "support/certificates.h"
#include "support/tls_line.h"
#include "unit/pq/tcp_line.h"

namespace weir::pq::tls_copy_test {
namespace {

using Found = DirectCopy::Found;

constexpr std::size_t kLargest = 1 << 20;

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

/// A connection as libpq has it, and what reads from it beside libpq.
struct Line {
  explicit Line(const crypto::TlsServer::Files& files, int newest = 0)
      : tls(files, tcp.ours(), {.alpn = {}, .newest = newest, .certificate = {}, .key = {}}),
        reader(crypto::TlsReader::put_into(tls.session())) {
    if (reader == nullptr || !reader->begin_count(tls.session()))
      throw std::runtime_error("cannot be read from");
    copy = std::make_unique<TlsCopy>(
        tcp.ours(), [this] { return gone ? nullptr : tls.session(); }, reader, kLargest);
  }
  void send(const std::string& text) { tcp.send(tls.encrypted(text)); }

  bool gone = false;
  TcpLine tcp;
  test::TlsLine tls;
  std::shared_ptr<crypto::TlsReader> reader;
  std::unique_ptr<TlsCopy> copy;
};

class TlsCopyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!test::Certificates::can()) GTEST_SKIP() << "no openssl program";
    certificates_.make("server");
    files_ = certificates_.server("server");
  }
  test::Certificates certificates_;
  crypto::TlsServer::Files files_;
};

TEST_F(TlsCopyTest, PutsABodyWhereItIsWantedAndNothingBehindIt) {
  for (const int newest : {0, TLS1_2_VERSION}) {
    SCOPED_TRACE(newest);
    Line line(files_, newest);
    std::vector<std::byte> place(20, std::byte{'.'});
    line.send(copy_data("first") + copy_data("second!") + copy_data(""));
    ASSERT_EQ(line.copy->next(place), Found::message);
    EXPECT_EQ(text_of(line.copy->head()), std::string(25, 'w'));
    EXPECT_EQ(line.copy->body().data(), place.data());
    EXPECT_EQ(text_of(place), "first...............");
    EXPECT_EQ(line.copy->size(), 5u + 25 + 5);
    ASSERT_EQ(line.copy->next(std::span(place).subspan(5)), Found::message);
    EXPECT_EQ(text_of(place), "firstsecond!........");
    ASSERT_EQ(line.copy->next(place), Found::message);
    EXPECT_TRUE(line.copy->body().empty());
    EXPECT_EQ(line.copy->next(place), Found::nothing);
    EXPECT_EQ(line.reader->counted(), 3 * 30u + 5 + 7);
  }
}

TEST_F(TlsCopyTest, KeepsABodyThatHasNoRoomAtThePlaceAndLeavesItToWhoStillNeedsIt) {
  Line line(files_);
  std::vector<std::byte> place(4, std::byte{'.'});
  line.send(copy_data("larger"));
  ASSERT_EQ(line.copy->next(place), Found::message);
  EXPECT_EQ(text_of(line.copy->body()), "larger");
  EXPECT_EQ(text_of(place), "....");
  const auto first = line.copy->body();
  const auto kept = line.copy->release_body();
  EXPECT_EQ(kept.data(), first.data());
  EXPECT_EQ(line.copy->next({}), Found::nothing);
  line.send(copy_data("other!"));
  ASSERT_EQ(line.copy->next({}), Found::message);
  EXPECT_EQ(text_of(line.copy->body()), "other!");
  EXPECT_EQ(text_of(first), "larger");
}

TEST_F(TlsCopyTest, TakesAMessageThatIsAllHead) {
  Line line(files_);
  const std::string keepalive(18, 'k');
  line.send(envelope('d', 4 + keepalive.size()) + keepalive + envelope('d', 4) + copy_data("w"));
  ASSERT_EQ(line.copy->next({}), Found::message);
  EXPECT_EQ(text_of(line.copy->head()), keepalive);
  EXPECT_TRUE(line.copy->body().empty());
  ASSERT_EQ(line.copy->next({}), Found::message);
  EXPECT_TRUE(line.copy->head().empty());
  ASSERT_EQ(line.copy->next({}), Found::message);
  EXPECT_EQ(text_of(line.copy->body()), "w");
}

TEST_F(TlsCopyTest, LeavesEveryOtherMessageToLibpq) {
  for (const std::string& other :
       {envelope('c', 4), envelope('E', 10) + "error!", std::string("N"), std::string(1, '\0')}) {
    SCOPED_TRACE(::testing::PrintToString(other));
    Line line(files_);
    line.send(copy_data("wal") + other.substr(0, 1));
    line.send(other.substr(1) + "more");
    ASSERT_EQ(line.copy->next({}), Found::message);
    EXPECT_EQ(line.copy->next({}), Found::other);
    EXPECT_FALSE(line.copy->within_message());
    // Nobody would be woken for it: the socket has nothing more.
    EXPECT_FALSE(line.tcp.readable());
    EXPECT_TRUE(line.reader->holds(line.tls.session()));
    line.copy.reset();
    EXPECT_EQ(line.tls.rest(), other + "more");
    EXPECT_FALSE(line.reader->holds(line.tls.session()));
    // And then libpq reads the socket as it comes.
    line.send("later");
    EXPECT_TRUE(line.tcp.readable());
    EXPECT_EQ(line.tls.rest(), "later");
  }
}

// Records and messages have nothing to do with each other; and the place may be gone when the rest
// comes, be the same, or another one.
TEST_F(TlsCopyTest, TakesAMessageInPieces) {
  const std::string body(1000, 'x');
  const auto message = copy_data(body);
  for (const std::size_t front : {1u, 4u, 5u, 29u, 30u, 31u, 500u, 1029u}) {
    SCOPED_TRACE(front);
    Line line(files_);
    std::vector<std::byte> place(2000, std::byte{'.'});
    line.send(message.substr(0, front));
    EXPECT_EQ(line.copy->next(place), Found::nothing);
    EXPECT_TRUE(line.copy->within_message());
    EXPECT_FALSE(line.tcp.readable());
    std::fill(place.begin(), place.end(), std::byte{'.'});  // it was somebody else's meanwhile
    EXPECT_EQ(line.copy->next(front % 2 == 0 ? std::span(place) : std::span<std::byte>()),
              Found::nothing);
    line.send(message.substr(front) + copy_data("next"));
    EXPECT_TRUE(line.tcp.readable());
    ASSERT_EQ(line.copy->next(front % 2 == 0 ? std::span(place) : std::span<std::byte>()),
              Found::message);
    EXPECT_EQ(text_of(line.copy->body()), body);
    EXPECT_EQ(line.copy->body().data() == place.data(), front % 2 == 0);
    if (front % 2 == 1) {
      EXPECT_EQ(text_of(place), std::string(2000, '.'));
    }
    EXPECT_FALSE(line.copy->within_message());
    ASSERT_EQ(line.copy->next(place), Found::message);
    EXPECT_EQ(text_of(line.copy->body()), "next");
  }
}

TEST_F(TlsCopyTest, WaitsForTheRestOfARecord) {
  Line line(files_);
  const auto record = line.tls.encrypted(copy_data("a record"));
  for (std::size_t i = 0; i + 1 < record.size(); ++i) {
    line.tcp.send(record.substr(i, 1));
    while (line.tcp.readable()) ASSERT_EQ(line.copy->next({}), Found::nothing);
    EXPECT_FALSE(line.copy->within_message());
    EXPECT_FALSE(line.reader->holds(line.tls.session()));
  }
  line.tcp.send(record.substr(record.size() - 1));
  EXPECT_TRUE(line.tcp.readable());
  Found found = Found::nothing;
  while (line.tcp.readable()) found = line.copy->next({});
  ASSERT_EQ(found, Found::message);
  EXPECT_EQ(text_of(line.copy->body()), "a record");
}

TEST_F(TlsCopyTest, TakesALongFlowHoweverItIsCut) {
  Line line(files_);
  std::string text;
  constexpr int kMessages = 40;
  for (int i = 0; i < kMessages; ++i)
    text += copy_data(std::string(7000, static_cast<char>('A' + i)));
  const auto wire = line.tls.encrypted(text);
  constexpr std::size_t kCut = 33'333;
  std::vector<std::byte> place(7000);
  int taken = 0;
  for (std::size_t at = 0; at < wire.size(); at += kCut) {
    line.tcp.send(wire.substr(at, kCut));
    while (line.tcp.readable() || line.reader->holds(line.tls.session()))
      while (line.copy->next(place) == Found::message)
        EXPECT_EQ(text_of(line.copy->body()), std::string(7000, static_cast<char>('A' + taken++)));
  }
  EXPECT_EQ(taken, kMessages);
  EXPECT_EQ(line.reader->counted(), text.size());
}

TEST_F(TlsCopyTest, TellsOfAConnectionThatEnds) {
  {
    Line line(files_);
    line.send(copy_data("last"));
    line.tcp.hang_up();
    ASSERT_EQ(line.copy->next({}), Found::message);
    auto found = Found::nothing;
    while (found == Found::nothing) found = line.copy->next({});
    EXPECT_EQ(found, Found::other);  // libpq will find the same
  }
  {
    Line line(files_);
    line.send(copy_data("last").substr(0, 32));
    EXPECT_EQ(line.copy->next({}), Found::nothing);
    line.tcp.hang_up();
    EXPECT_TRUE(line.tcp.readable(10'000));
    auto found = Found::nothing;
    while (found == Found::nothing) found = line.copy->next({});
    EXPECT_EQ(found, Found::lost);
  }
  // libpq gives up a session that broke while it was writing.
  for (const bool within : {false, true}) {
    Line line(files_);
    if (within) line.send("d");
    EXPECT_EQ(line.copy->next({}), Found::nothing);
    line.gone = true;
    EXPECT_EQ(line.copy->next({}), within ? Found::lost : Found::other);
  }
}

TEST_F(TlsCopyTest, DoesNotBelieveARecordThatWasChanged) {
  Line line(files_);
  auto record = line.tls.encrypted(copy_data("as it was"));
  record[record.size() / 2] ^= 1;
  line.tcp.send(record);
  EXPECT_EQ(line.copy->next({}), Found::other);
  EXPECT_EQ(line.tls.rest(), "");
}

TEST_F(TlsCopyTest, RefusesLengthsThatCannotBe) {
  for (const std::size_t length : {std::size_t{0}, std::size_t{3},
                                   4 + DirectCopy::kHead + kLargest + 1, std::size_t{0xffffffff}}) {
    SCOPED_TRACE(length);
    Line line(files_);
    line.send(envelope('d', length) + std::string(100, 'x'));
    try {
      static_cast<void>(line.copy->next({}));
      FAIL() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::protocol);
    }
  }
}

TEST_F(TlsCopyTest, LetsWhatComesGather) {
  Line line(files_);
  line.copy->gather(1000);
  line.send(copy_data("short"));
  EXPECT_FALSE(line.tcp.readable());
  ASSERT_EQ(line.copy->next({}), Found::message);  // who asks gets it all the same
  EXPECT_EQ(line.copy->next({}), Found::nothing);
  line.send(copy_data(std::string(970, 'x')));
  EXPECT_TRUE(line.tcp.readable());
  ASSERT_EQ(line.copy->next({}), Found::message);
  line.copy->gather(1);
  line.send("d");
  EXPECT_TRUE(line.tcp.readable());
}

// What libpq may have read is known, whatever part of it was read.
TEST_F(TlsCopyTest, CountsWhatALibpqMayHaveRead) {
  for (const int newest : {0, TLS1_2_VERSION}) {
    SCOPED_TRACE(newest);
    TcpLine tcp;
    test::TlsLine tls(files_, tcp.ours(),
                      {.alpn = {}, .newest = newest, .certificate = {}, .key = {}});
    const auto reader = crypto::TlsReader::put_into(tls.session());
    ASSERT_NE(reader, nullptr);
    ASSERT_TRUE(reader->begin_count(tls.session()));
    tcp.send(tls.encrypted("twelve bytes"));
    EXPECT_EQ(reader->counted(), 0u);
    std::byte byte{};
    ASSERT_EQ(reader->look(tls.session(), byte).count, 1u);
    EXPECT_EQ(reader->counted(), 12u);
    EXPECT_EQ(reader->bytes_read_at_most(tls.session()), 0u);
    EXPECT_FALSE(reader->begin_count(tls.session()));  // one is not read
    std::vector<std::byte> bytes(5);
    ASSERT_EQ(reader->read(tls.session(), bytes).count, 5u);
    EXPECT_EQ(reader->bytes_read_at_most(tls.session()), 5u);
    EXPECT_EQ(tls.rest(), "e bytes");
    EXPECT_EQ(reader->bytes_read_at_most(tls.session()), 12u);
    EXPECT_TRUE(reader->begin_count(tls.session()));
    EXPECT_EQ(reader->counted(), 0u);
  }
}

// There no count says how much a record has: libpq reads.
TEST_F(TlsCopyTest, IsNotForCiphersThatPad) {
  TcpLine tcp;
  test::TlsLine tls(files_, tcp.ours(),
                    {.alpn = {}, .newest = TLS1_2_VERSION, .certificate = {}, .key = {}},
                    "ECDHE-ECDSA-AES128-SHA");
  EXPECT_EQ(crypto::TlsReader::put_into(tls.session()), nullptr) << tls.cipher();
  tcp.send(tls.encrypted("all the same"));
  EXPECT_EQ(tls.rest(), "all the same");
}

}  // namespace
}  // namespace weir::pq::tls_copy_test

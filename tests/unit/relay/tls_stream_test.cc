#include "relay/tls_stream.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>

#include "support/certificates.h"
#include "support/tls_client.h"

namespace weir::relay::tls_stream_test {
namespace {

using Progress = crypto::TlsSession::Progress;

/// A stream over a pair of sockets; the client is at the other end.
class TlsStreamTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (!test::Certificates::can()) return;
    test::Certificates made;
    made.make("localhost");
    server_ = std::make_shared<const crypto::TlsServer>(made.server("localhost"),
                                                        std::string(kTlsProtocol));
  }
  static void TearDownTestSuite() { server_.reset(); }
  void SetUp() override {
    if (server_ == nullptr) GTEST_SKIP() << "no openssl";
    int ends[2] = {-1, -1};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    ours_ = Descriptor(ends[0]);
    theirs_ = Descriptor(ends[1]);
  }
  void begin(const std::string& plain = {}, const std::string& begun = {}) {
    stream_.emplace(std::move(theirs_), server_, plain, begun);
  }
  /// What has come to the client.
  std::string heard() {
    std::array<char, 64 * 1024> bytes;
    const auto count = net::receive_now(ours_.get(), bytes);
    return count ? std::string(bytes.data(), *count) : std::string();
  }
  void client_says() {
    const auto bytes = client_.take();
    ASSERT_EQ(net::send_now(ours_.get(), bytes), bytes.size());
  }
  void meet() {
    for (int round = 0; round < 10; ++round) {
      client_.shake_hands();
      client_says();
      if (stream_->shake_hands() == Progress::done) {
        client_.give(heard());
        client_.shake_hands();
        return;
      }
      client_.give(heard());
    }
    FAIL() << "no handshake: " << stream_->session().why();
  }

  static std::shared_ptr<const crypto::TlsServer> server_;
  Descriptor ours_, theirs_;
  std::optional<TlsStream> stream_;
  test::TlsClient client_{{}};
};
std::shared_ptr<const crypto::TlsServer> TlsStreamTest::server_;

TEST_F(TlsStreamTest, SaysInPlainTextWhatIsLeftToSayAndThenEncrypts) {
  begin("S");
  EXPECT_TRUE(stream_->has_unsent());
  EXPECT_EQ(stream_->shake_hands(), Progress::more);
  EXPECT_EQ(heard(), "S");
  meet();
  ASSERT_EQ(stream_->send_now("hello"), 5u);
  const auto said = heard();
  EXPECT_EQ(said.find("hello"), std::string::npos);
  client_.give(said);
  EXPECT_EQ(client_.read(), "hello");
}

TEST_F(TlsStreamTest, GoesOnFromWhatHasCome) {
  client_.shake_hands();
  begin({}, client_.take());
  meet();
  client_.write("one");
  client_.write("two");
  client_says();
  // What is left inside is told without the socket's help.
  std::array<char, 2> bytes;
  std::string all;
  while (const auto count = stream_->receive_now(bytes)) {
    if (*count == 0) break;
    all.append(bytes.data(), *count);
  }
  EXPECT_EQ(all, "onetwo");
}

TEST_F(TlsStreamTest, TakesSeveralPartsAsOne) {
  begin();
  meet();
  std::string head = "head", body;
  for (int i = 0; i < 40'000; ++i) body += std::to_string(i);
  const std::array<std::string_view, 3> parts = {head, body, "tail"};
  std::string all = head + body + "tail";
  std::string sent_later = all;
  const auto taken = stream_->send_parts(parts);
  ASSERT_TRUE(taken);
  EXPECT_GE(*taken, 64u * 1024);
  sent_later.erase(0, *taken);
  std::string got;
  while (got.size() < all.size()) {
    const auto bytes = heard();
    client_.give(bytes);
    got += client_.read();
    const auto more = stream_->send_parts(std::array<std::string_view, 1>{sent_later});
    ASSERT_TRUE(more);
    sent_later.erase(0, *more);
    ASSERT_TRUE(!bytes.empty() || *more > 0 || stream_->has_unsent());
  }
  EXPECT_TRUE(got == all);
}

TEST_F(TlsStreamTest, ASmallPartSharesARecord) {
  begin();
  meet();
  ASSERT_EQ(stream_->send_parts(std::array<std::string_view, 2>{"head", "body"}), 8u);
  const auto said = heard();
  // One record: its head tells how long it is (RFC 8446, 5.1).
  const auto length =
      static_cast<unsigned char>(said[3]) * 256u + static_cast<unsigned char>(said[4]);
  EXPECT_EQ(said.size(), 5 + length);
}

TEST_F(TlsStreamTest, AClientThatDoesNotReadMakesItKeepLittle) {
  begin();
  meet();
  const std::string much(1 << 20, 'x');
  std::size_t taken = 0;
  for (;;) {
    const auto count = stream_->send_now(std::string_view(much).substr(0, 128 * 1024));
    ASSERT_TRUE(count);
    taken += *count;
    if (*count == 0) break;
    ASSERT_LT(taken, 8u << 20);
  }
  EXPECT_TRUE(stream_->has_unsent());
  // It reads again: everything comes, in order, and no more than was taken.
  std::size_t read = 0;
  for (;;) {
    const auto bytes = heard();
    if (bytes.empty() && !stream_->has_unsent()) break;
    client_.give(bytes);
    const auto text = client_.read();
    EXPECT_EQ(text.find_first_not_of('x'), std::string::npos);
    read += text.size();
    ASSERT_EQ(stream_->send_now(""), 0u);
  }
  EXPECT_EQ(read, taken);
}

TEST_F(TlsStreamTest, SaysThatNothingFollows) {
  begin();
  meet();
  stream_.reset();
  client_.give(heard());
  EXPECT_EQ(client_.read(), "");
  PGWEIR_SSL(SSL_get_shutdown);
  EXPECT_EQ(call_SSL_get_shutdown(client_.session()), SSL_RECEIVED_SHUTDOWN);
}

TEST_F(TlsStreamTest, TheEndOfTheSocketIsTheEnd) {
  begin();
  meet();
  ours_.close();
  std::array<char, 10> bytes;
  EXPECT_FALSE(stream_->receive_now(bytes));
  TlsStreamTest::SetUp();
  begin();
  ours_.close();
  EXPECT_EQ(stream_->shake_hands(), Progress::failed);
  EXPECT_EQ(stream_->session().why(), "");
}

}  // namespace
}  // namespace weir::relay::tls_stream_test

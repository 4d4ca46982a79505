#include "crypto/tls.h"

#include <gtest/gtest.h>

#include "crypto/primitives.h"
#include "support/bytes.h"
#include "support/certificates.h"
#include "support/error_of.h"
#include "support/tls_client.h"

namespace weir::crypto::tls_test {
namespace {

using namespace std::string_literals;
using test::TlsClient;
using Progress = TlsSession::Progress;

class TlsTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (!test::Certificates::can()) return;
    made_ = std::make_unique<test::Certificates>();
    made_->make("authority");
    made_->make("other");
    made_->sign("server", "/CN=localhost", "authority");
    made_->sign("repl", "/O=x/CN=repl", "authority");
    made_->sign("nameless", "/O=x", "authority");
    made_->sign("stranger", "/CN=repl", "other");
    made_->sign_expired("expired", "/CN=repl", "authority");
  }
  static void TearDownTestSuite() { made_.reset(); }
  void SetUp() override {
    if (made_ == nullptr) GTEST_SKIP() << "no openssl";
    server_ = std::make_shared<const TlsServer>(made_->server("server", "authority"), "postgresql");
  }
  static TlsClient::Options with(const std::string& name) {
    TlsClient::Options options;
    options.certificate = made_->file(name + ".crt");
    options.key = made_->file(name + ".key");
    return options;
  }
  /// Bytes go to and fro, so many at a time, until nobody has more to say.
  static Progress meet(TlsClient& client, TlsSession& session, std::size_t piece = 100'000) {
    auto progress = Progress::more;
    for (int round = 0; round < 10; ++round) {
      client.shake_hands();
      const auto said = client.take();
      for (std::size_t at = 0; at < said.size() && progress != Progress::failed; at += piece) {
        session.give(std::string_view(said).substr(at, piece));
        progress = session.shake_hands();
      }
      client.give(std::exchange(session.output(), {}));
    }
    return progress;
  }

  static std::unique_ptr<test::Certificates> made_;
  std::shared_ptr<const TlsServer> server_;
};
std::unique_ptr<test::Certificates> TlsTest::made_;

TEST_F(TlsTest, CarriesBytesBothWaysWhateverThePieces) {
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    for (const std::size_t piece : {1u, 7u, 100'000u}) {
      SCOPED_TRACE(std::to_string(version) + " " + std::to_string(piece));
      TlsSession session(server_);
      TlsClient::Options options;
      options.newest = version;
      TlsClient client(options);
      ASSERT_EQ(meet(client, session, piece), Progress::done) << session.why();
      EXPECT_EQ(session.version(), version == TLS1_2_VERSION ? "TLSv1.2" : "TLSv1.3");
      EXPECT_FALSE(session.protocol_named());
      EXPECT_FALSE(session.has_certificate());
      EXPECT_FALSE(session.common_name());

      const std::string many(50'000, 'x');
      ASSERT_TRUE(session.write(many));
      EXPECT_EQ(session.output().find("xxxx"), std::string::npos);
      client.give(std::exchange(session.output(), {}));
      EXPECT_EQ(client.read(), many);

      client.write(many);
      const auto said = client.take();
      std::string heard;
      std::array<char, 1000> bytes;
      for (std::size_t at = 0; at < said.size(); at += piece) {
        session.give(std::string_view(said).substr(at, piece));
        for (;;) {
          const auto count = session.read(bytes);
          ASSERT_TRUE(count) << session.why();
          if (*count == 0) break;
          heard.append(bytes.data(), *count);
        }
      }
      EXPECT_EQ(heard, many);
    }
  }
}

TEST_F(TlsTest, TakesNoOlderVersion) {
  for (const int version : {TLS1_VERSION, TLS1_1_VERSION}) {
    TlsSession session(server_);
    TlsClient::Options options;
    options.oldest = version;
    options.newest = version;
    TlsClient client(options);
    EXPECT_EQ(meet(client, session), Progress::failed);
    EXPECT_EQ(session.why(), "unsupported protocol");
  }
}

TEST_F(TlsTest, ResumesNoSessionAndGivesNoTickets) {
  TlsSession session(server_);
  TlsClient client({});
  ASSERT_EQ(meet(client, session), Progress::done);
  ASSERT_TRUE(session.write("x"));
  client.give(std::exchange(session.output(), {}));
  EXPECT_EQ(client.read(), "x");
  PGWEIR_SSL(SSL_get_session);
  PGWEIR_SSL(SSL_SESSION_is_resumable);
  EXPECT_EQ(call_SSL_SESSION_is_resumable(call_SSL_get_session(client.session())), 0);
}

TEST_F(TlsTest, SpeaksOneProtocolInside) {
  const struct {
    const char* name;
    std::string offered;
    Progress progress;
    bool named;
  } cases[] = {
      {"none asked for", "", Progress::done, false},
      {"ours", "\x0apostgresql", Progress::done, true},
      {"ours behind others", "\x02h2\x08http/1.1\x0apostgresql", Progress::done, true},
      {"others", "\x02h2", Progress::failed, false},
      {"a beginning of ours", "\x08postgres", Progress::failed, false},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    TlsSession session(server_);
    TlsClient::Options options;
    options.alpn = each.offered;
    TlsClient client(options);
    EXPECT_EQ(meet(client, session), each.progress);
    if (each.progress == Progress::done) {
      EXPECT_EQ(session.protocol_named(), each.named);
    }
  }
}

TEST_F(TlsTest, KnowsWhoShowsACertificateOfTheAuthorities) {
  const struct {
    const char* name;
    Progress progress;
    std::optional<std::string> common_name;
    const char* why;
  } cases[] = {
      {"repl", Progress::done, "repl", ""},
      {"nameless", Progress::done, std::nullopt, ""},
      {"stranger", Progress::failed, std::nullopt, "unable to get local issuer certificate"},
      {"expired", Progress::failed, std::nullopt, "certificate has expired"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    TlsSession session(server_);
    TlsClient client(with(each.name));
    ASSERT_EQ(meet(client, session), each.progress) << session.why();
    EXPECT_NE(session.why().find(each.why), std::string::npos) << session.why();
    if (each.progress != Progress::done) continue;
    EXPECT_TRUE(session.has_certificate());
    EXPECT_EQ(session.common_name(), each.common_name);
  }
  // Without authorities nobody is asked.
  const auto plain = std::make_shared<const TlsServer>(made_->server("server"), "postgresql");
  TlsSession session(plain);
  TlsClient client(with("repl"));
  ASSERT_EQ(meet(client, session), Progress::done);
  EXPECT_FALSE(session.has_certificate());
  EXPECT_FALSE(session.common_name());
}

TEST_F(TlsTest, HashesItsCertificateAsTheClientDoes) {
  made_->openssl("x509 -in server.crt -outform DER -out server.der");
  const auto expected = sha256(test::as_bytes(made_->file("server.der").content));
  EXPECT_EQ(test::as_bytes(*server_->end_point()).size(), 32u);
  EXPECT_EQ(*server_->end_point(),
            std::string(reinterpret_cast<const char*>(expected.data()), expected.size()));

  made_->make("longer", "rsa:2048", "-sha384");
  EXPECT_EQ(TlsServer(made_->server("longer"), "x").end_point()->size(), 48u);
  // One without a digest cannot be bound to; it serves as well.
  made_->make("curve", "ed25519", "");
  const auto curve = std::make_shared<const TlsServer>(made_->server("curve"), "postgresql");
  EXPECT_FALSE(curve->end_point());
  TlsSession session(curve);
  TlsClient client({});
  EXPECT_EQ(meet(client, session), Progress::done) << session.why();
}

TEST_F(TlsTest, WhatIsNoTlsFailsAndStaysFailed) {
  for (const auto& bytes : {"\x16\x03\x01\x00\x05hello"s, "GET / HTTP/1.1\r\n\r\n"s,
                            "\0\0\0\x08\x04\xd2\x16\x2f"s, std::string(5000, '\x16')}) {
    TlsSession session(server_);
    session.give(bytes);
    EXPECT_EQ(session.shake_hands(), Progress::failed);
    EXPECT_FALSE(session.why().empty());
    session.give(bytes);
    EXPECT_EQ(session.shake_hands(), Progress::failed);
    EXPECT_FALSE(session.write("x"));
    std::array<char, 10> none;
    EXPECT_FALSE(session.read(none));
  }
}

TEST_F(TlsTest, AFlippedBitEndsIt) {
  TlsSession session(server_);
  TlsClient client({});
  ASSERT_EQ(meet(client, session), Progress::done);
  client.write("hello");
  auto said = client.take();
  said.back() = static_cast<char>(said.back() ^ 1);
  session.give(said);
  std::array<char, 10> bytes;
  EXPECT_FALSE(session.read(bytes));
  EXPECT_FALSE(session.why().empty());
}

TEST_F(TlsTest, NothingIsReadOrWrittenBeforeTheHandshake) {
  TlsSession session(server_);
  std::array<char, 10> bytes;
  EXPECT_FALSE(session.write("x"));
  EXPECT_FALSE(session.read(bytes));
  EXPECT_EQ(session.output(), "");
  EXPECT_EQ(session.shake_hands(), Progress::more);
}

TEST_F(TlsTest, FilesThatAreWrongAreNamed) {
  made_->make("second");
  made_->openssl("pkey -in server.key -aes256 -passout pass:x -out locked.key");
  auto with_key = [&](const std::string& key) {
    auto files = made_->server("server");
    files.key = made_->file(key);
    return files;
  };
  auto cut = made_->server("server");
  cut.certificate.content.resize(cut.certificate.content.size() / 2);
  auto second_cut = made_->server("server");
  second_cut.certificate.content += made_->file("authority.crt").content.substr(0, 200);
  auto authorities = made_->server("server");
  authorities.authorities = crypto::PemFile{"/none/ca", "nothing"};
  const struct {
    TlsServer::Files files;
    const char* path;
    const char* what;
  } cases[] = {
      {with_key("second.key"), "second.key", "does not match the certificate"},
      {with_key("locked.key"), "locked.key", "passphrase"},
      {with_key("server.crt"), "server.crt", "could not read the private key"},
      {cut, "server.crt", "could not read the certificate"},
      {second_cut, "server.crt", "could not read the certificate"},
      {authorities, "/none/ca", "could not read the CA certificates"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.what);
    const auto error = test::error_of([&] { TlsServer(each.files, "x"); });
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    const std::string what = error.what();
    EXPECT_NE(what.find(each.path), std::string::npos) << what;
    EXPECT_NE(what.find(each.what), std::string::npos) << what;
    EXPECT_EQ(what.find("BEGIN"), std::string::npos) << what;
  }
}

}  // namespace
}  // namespace weir::crypto::tls_test

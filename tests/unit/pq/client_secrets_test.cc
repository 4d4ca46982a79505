#include "pq/client_secrets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "support/certificates.h"

namespace weir::pq::client_secrets_test {
namespace {

using Kind = SecretFile::Kind;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ClientSecretsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!test::Certificates::can()) GTEST_SKIP() << "no openssl";
    made_.make("ca");
    made_.sign("one", "/CN=one", "ca");
    made_.sign("two", "/CN=two", "ca", 20);
    for (const auto* const name : {"one.key", "two.key"}) ::chmod(path(name).c_str(), 0600);
  }
  [[nodiscard]] std::string path(const std::string& name) const { return made_.file(name).path; }
  [[nodiscard]] std::vector<SecretFile> files() const {
    return {{Kind::certificate, path("one.crt")},
            {Kind::key, path("one.key")},
            {Kind::authorities, path("ca.crt")}};
  }
  void write(const std::string& name, const std::string& content) const {
    std::ofstream(path(name), std::ios::trunc) << content;
  }
  test::Certificates made_;
};

TEST_F(ClientSecretsTest, AreWholeAndKnowTheirEnd) {
  const auto look = look_at_secrets(files());
  EXPECT_EQ(look.problem, "");
  EXPECT_THAT(look.gone, IsEmpty());
  EXPECT_EQ(trouble_with_secrets(look), "");
  EXPECT_EQ(look.certificate, path("one.crt"));
  ASSERT_TRUE(look.expires);
  const auto left = *look.expires - std::chrono::system_clock::now();
  EXPECT_GT(left, std::chrono::hours(47));
  EXPECT_LE(left, std::chrono::hours(48));
  EXPECT_EQ(look_at_secrets(files()), look) << "nothing was replaced";
}

/// RFC 5280, 4.1.2.5: one that never expires ends in 9999, and system_clock in 2262.
TEST_F(ClientSecretsTest, AreValidBeyondTheEndOfTheClock) {
  constexpr int kToTheYear9966 = 2'900'000;
  made_.sign("one", "/CN=one", "ca", kToTheYear9966);
  ::chmod(path("one.key").c_str(), 0600);
  const auto look = look_at_secrets(files());
  ASSERT_TRUE(look.expires);
  EXPECT_GT(*look.expires - std::chrono::system_clock::now(), std::chrono::hours(24 * 365 * 200));
}

TEST_F(ClientSecretsTest, AreOfOnePair) {
  const auto before = look_at_secrets(files());
  write("one.crt", made_.file("two.crt").content);
  const auto half = look_at_secrets(files());
  EXPECT_THAT(half.problem, HasSubstr("one.key: the private key does not match the certificate"));
  write("one.key", made_.file("two.key").content);
  const auto after = look_at_secrets(files());
  EXPECT_EQ(after.problem, "");
  EXPECT_NE(after.content, before.content);
  EXPECT_NE(after.expires, before.expires);
}

TEST_F(ClientSecretsTest, AreSeenToBeHalfWritten) {
  for (const auto* const name : {"one.crt", "one.key", "ca.crt"}) {
    const auto whole = made_.file(name).content;
    for (const auto size : {std::size_t{0}, std::size_t{20}, whole.size() / 2, whole.size() - 5}) {
      write(name, whole.substr(0, size));
      const auto look = look_at_secrets(files());
      EXPECT_THAT(look.problem, HasSubstr(path(name))) << size;
      EXPECT_EQ(trouble_with_secrets(look), look.problem);
    }
    write(name, whole);
    EXPECT_EQ(look_at_secrets(files()).problem, "");
  }
}

TEST_F(ClientSecretsTest, MayBeGoneOrOpenToOthers) {
  ::chmod(path("one.key").c_str(), 0644);
  EXPECT_THAT(look_at_secrets(files()).problem, HasSubstr("accessible to others (mode 0644)"));
  std::filesystem::remove(path("one.key"));
  const auto look = look_at_secrets(files());
  EXPECT_EQ(look.problem, "");
  EXPECT_THAT(look.gone, ElementsAre("the client's key " + path("one.key")));
  EXPECT_THAT(trouble_with_secrets(look), HasSubstr("one.key does not exist"));
}

TEST_F(ClientSecretsTest, AreThoseThatLibpqReads) {
  const ConninfoValues values = {{"sslcert", "/s/tls.crt"},
                                 {"sslkey", "pkcs11:token"},
                                 {"sslrootcert", "system"},
                                 {"passfile", "/nowhere/pgpass"}};
  const auto named = secret_files(values);
  ASSERT_EQ(named.size(), 1U);
  EXPECT_EQ(named[0].path, "/s/tls.crt");
  auto without = values;
  without["sslmode"] = "disable";
  EXPECT_THAT(secret_files(without), IsEmpty());
}

}  // namespace
}  // namespace weir::pq::client_secrets_test

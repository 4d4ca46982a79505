#include "store/credential_chain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/error.h"

namespace weir::store::credential_chain_test {
namespace {

/// Nobody is asked.
struct NoTransport final : Transport {
  Answer perform(const Request&) override { throw Error(ErrorKind::retry, "not here"); }
};

class CredentialChainTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = std::filesystem::temp_directory_path() / "pgweir-keys-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    place_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(place_); }
  /// In one go, as whoever renews a secret does.
  void write(const std::string& content) const {
    const auto fresh = place_ / "fresh";
    std::ofstream(fresh) << content;
    ::chmod(fresh.c_str(), 0600);
    std::filesystem::rename(fresh, file());
  }
  [[nodiscard]] std::filesystem::path file() const { return place_ / "keys"; }
  static std::string keys(const std::string& key) {
    return "[default]\naws_access_key_id = " + key + "\naws_secret_access_key = s\n";
  }
  std::filesystem::path place_;
  NoTransport nobody_;
};

TEST_F(CredentialChainTest, ReadsAFileAnewThatWasReplaced) {
  write(keys("one"));
  std::vector<std::string> told;
  CredentialChain chain(
      {.file = file(), .tell = [&](const std::string& text) { told.push_back(text); }}, nobody_,
      nobody_, [] { return std::chrono::system_clock::now(); });
  EXPECT_EQ(chain.get().access_key, "one");
  EXPECT_EQ(chain.get().access_key, "one");
  write(keys("two"));
  EXPECT_EQ(chain.get().access_key, "two");
  // Half written, or gone: what was read last goes on.
  write("[default]\naws_access_key_id = thr");
  EXPECT_EQ(chain.get().access_key, "two");
  EXPECT_EQ(chain.get().access_key, "two");
  ASSERT_EQ(told.size(), 1U);
  EXPECT_THAT(told[0], ::testing::HasSubstr("has no keys of [default]"));
  EXPECT_THAT(told[0], ::testing::HasSubstr("that were read before are used"));
  std::filesystem::remove(file());
  EXPECT_EQ(chain.get().access_key, "two");
  write(keys("three"));
  EXPECT_EQ(chain.get().access_key, "three");
  EXPECT_EQ(told.size(), 2U);
}

TEST_F(CredentialChainTest, WithoutAnyItSaysSo) {
  write("[default]\n");
  CredentialChain chain({.file = file()}, nobody_, nobody_,
                        [] { return std::chrono::system_clock::now(); });
  EXPECT_THROW(static_cast<void>(chain.get()), Error);
  write(keys("one"));
  EXPECT_EQ(chain.get().access_key, "one");
}

}  // namespace
}  // namespace weir::store::credential_chain_test

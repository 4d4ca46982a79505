#include "store/credential_chain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "support/error_of.h"

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

/// Answers what it was told to, and remembers what it was asked.
struct ScriptedTransport final : Transport {
  Answer perform(const Request& request) override {
    asked.push_back(request.method + " " + request.url);
    const auto found = answers.find(asked.back());
    if (found == answers.end()) throw NoAnswer(NoAnswer::Why::not_reached, "nobody is there");
    return found->second;
  }
  std::map<std::string, Answer> answers;
  std::vector<std::string> asked;
};

constexpr const char* kJson =
    R"({"Version": 1, "AccessKeyId": "k", "SecretAccessKey": "s", "Token": "t",
        "Expiration": "2099-01-01T00:00:00Z"})";

class CredentialServicesTest : public CredentialChainTest {
 protected:
  Credentials get() {
    CredentialChain chain(settings(), local_, web_,
                          [] { return std::chrono::system_clock::now(); });
    return chain.get();
  }
  Error error() {
    return test::error_of([&] { static_cast<void>(get()); });
  }
  CredentialChain::Settings settings() {
    return {.command = command_, .variable = [this](const char* name) -> const char* {
              const auto found = environment_.find(name);
              return found == environment_.end() ? nullptr : found->second.c_str();
            }};
  }
  std::map<std::string, std::string> environment_;
  std::string command_;
  ScriptedTransport local_, web_;
};

TEST_F(CredentialServicesTest, AsksACommand) {
  command_ = "echo '{\"Version\": 1, \"AccessKeyId\": \"k\", \"SecretAccessKey\": \"s\"}'";
  EXPECT_EQ(get().access_key, "k");
  command_ = "exit 3";
  EXPECT_EQ(error().kind(), ErrorKind::retry);
  EXPECT_THAT(error().what(),
              ::testing::HasSubstr("the command for the store's credentials has failed"));
  command_ = "echo no keys";
  EXPECT_EQ(error().kind(), ErrorKind::usage);
  EXPECT_THAT(error().hint(), ::testing::HasSubstr("credential_process, Version 1"));
}

TEST_F(CredentialServicesTest, PassesOverASharedFileWithoutTheProfile) {
  environment_["AWS_SHARED_CREDENTIALS_FILE"] = file();
  environment_["AWS_EC2_METADATA_DISABLED"] = "true";
  write("[other]\naws_access_key_id = k\naws_secret_access_key = s\n");
  EXPECT_EQ(error().kind(), ErrorKind::usage) << "a file without the profile is passed over";
  environment_["AWS_PROFILE"] = "other";
  EXPECT_EQ(get().access_key, "k");
}

TEST_F(CredentialServicesTest, AsksTheContainersService) {
  environment_["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"] = "/v2/x";
  const std::string url = "GET http://169.254.170.2/v2/x";
  EXPECT_EQ(error().kind(), ErrorKind::retry);
  EXPECT_THAT(error().what(),
              ::testing::HasSubstr("from the container's service: nobody is there"));
  local_.answers[url] = {.status = 503};
  EXPECT_THAT(error().what(), ::testing::HasSubstr("it answered 503"));
  local_.answers[url] = {.status = 200, .body = "{}"};
  EXPECT_EQ(error().kind(), ErrorKind::retry);
  EXPECT_THAT(error().what(), ::testing::HasSubstr("gave no credentials for the store"));
  local_.answers[url] = {.status = 200, .body = kJson};
  EXPECT_EQ(get().access_key, "k");
  EXPECT_TRUE(web_.asked.empty());
}

TEST_F(CredentialServicesTest, AsksTheMachinesService) {
  environment_["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = "http://imds/";
  const std::string token = "PUT http://imds/latest/api/token";
  const std::string roles = "GET http://imds/latest/meta-data/iam/security-credentials/";
  EXPECT_EQ(error().kind(), ErrorKind::retry) << "it was named, so it has to answer";
  local_.answers[token] = {.status = 200, .body = "t"};
  local_.answers[roles] = {.status = 200, .body = ""};
  EXPECT_EQ(error().kind(), ErrorKind::usage) << "the machine has no role: nobody has any";
  local_.answers[roles] = {.status = 200, .body = "a role\nanother"};
  local_.answers[roles + "a%20role"] = {.status = 200, .body = "rubbish"};
  EXPECT_THAT(error().what(), ::testing::HasSubstr("metadata service gave no credentials"));
  local_.answers[roles + "a%20role"] = {.status = 200, .body = kJson};
  EXPECT_EQ(get().access_key, "k");
  // Not named: most machines have none.
  environment_.clear();
  EXPECT_EQ(error().kind(), ErrorKind::usage);
}

TEST_F(CredentialServicesTest, AsksSts) {
  write("the token\n");
  environment_["AWS_WEB_IDENTITY_TOKEN_FILE"] = file();
  environment_["AWS_ROLE_ARN"] = "arn:x";
  const std::string url = "POST https://sts.us-east-1.amazonaws.com/";
  EXPECT_THAT(error().what(), ::testing::HasSubstr("from STS: nobody is there"));
  web_.answers[url] = {.status = 200, .body = "<x/>"};
  EXPECT_EQ(error().kind(), ErrorKind::retry);
  EXPECT_THAT(error().what(), ::testing::HasSubstr("STS gave no credentials for the store"));
  EXPECT_TRUE(local_.asked.empty());
}

}  // namespace
}  // namespace weir::store::credential_chain_test

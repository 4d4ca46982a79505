#include "store/http/credential_chain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/units.h"
#include "store/insist.h"
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
    headers.clear();
    for (const auto& header : request.headers) headers[header.name] = header.value;
    body.clear();
    if (request.body != nullptr) {
      std::vector<std::byte> bytes(request.body->size());
      bytes.resize(request.body->read_at(0, bytes));
      for (const auto byte : bytes) body += static_cast<char>(byte);
    }
    const auto found = answers.find(asked.back());
    if (found == answers.end()) throw NoAnswer(why, "nobody is there");
    if (fails > 0 && fails-- > 0) return {.status = 503};
    return found->second;
  }
  NoAnswer::Why why = NoAnswer::Why::not_reached;
  int fails = 0;  ///< before it answers what it was told to
  std::map<std::string, Answer> answers;
  std::vector<std::string> asked;
  std::map<std::string, std::string> headers;  ///< of the last request
  std::string body;                            ///< likewise
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
  template <typename Kind>
  std::optional<Kind> error_of() {
    try {
      static_cast<void>(get());
    } catch (const Kind& error) {
      return error;
    } catch (const Error&) {
    }
    return std::nullopt;
  }
  CredentialChain::Settings settings() {
    return {.command = command_,
            .file = named_file_,
            .kind = kind_,
            .variable = [this](const char* name) -> const char* {
              const auto found = environment_.find(name);
              return found == environment_.end() ? nullptr : found->second.c_str();
            },
            .command_time = time_,
            .stop = stop_};
  }
  std::chrono::milliseconds time_ = CredentialChain::kCommandTime;
  std::function<bool()> stop_;
  std::map<std::string, std::string> environment_;
  std::string command_;
  std::string named_file_;
  StoreKind kind_ = StoreKind::s3;
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
  local_.answers[roles] = {.status = 404};
  EXPECT_EQ(error().kind(), ErrorKind::usage) << "likewise";
  EXPECT_THAT(error().hint(), ::testing::HasSubstr("--store-credentials"));
  local_.answers[roles] = {.status = 503};
  EXPECT_EQ(error().kind(), ErrorKind::retry);
  local_.answers[roles] = {.status = 200, .body = "a role\nanother"};
  local_.answers[roles + "a%20role"] = {.status = 200, .body = "rubbish"};
  EXPECT_THAT(error().what(), ::testing::HasSubstr("metadata service gave no credentials"));
  local_.answers[roles + "a%20role"] = {.status = 200, .body = kJson};
  EXPECT_EQ(get().access_key, "k");
  // Not named: most machines have none.
  environment_.clear();
  EXPECT_EQ(error().kind(), ErrorKind::usage);
}

/// It may be slow for once; and where no cloud is, nobody answers at all.
TEST_F(CredentialServicesTest, TellsAMachinesServiceThatDoesNotAnswerFromNone) {
  const std::string token = "PUT http://169.254.169.254/latest/api/token";
  for (const auto why : {NoAnswer::Why::silent, NoAnswer::Why::broken}) {
    local_.why = why;
    EXPECT_EQ(error().kind(), ErrorKind::retry);
    EXPECT_THAT(error().what(),
                ::testing::HasSubstr("metadata service gave none: nobody is there"));
    EXPECT_THAT(error().hint(), ::testing::HasSubstr("--store-credentials"));
  }
  for (const long status : {429, 503}) {
    local_.answers[token] = {.status = status};
    EXPECT_EQ(error().kind(), ErrorKind::retry) << status;
  }
  for (const long status : {403, 404, 405}) {  // another cloud's
    local_.answers[token] = {.status = status};
    EXPECT_EQ(error().kind(), ErrorKind::usage) << status;
  }
}

TEST_F(CredentialServicesTest, WhatIsNotToBeHadForAMomentIsAskedForAgain) {
  const Patience patience{.retry_for = std::chrono::seconds(30), .seed = 1};
  const auto again = [&] { return insist(patience, [&] { return get(); }).access_key; };
  environment_["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"] = "/x";
  local_.answers["GET http://169.254.170.2/x"] = {.status = 200, .body = kJson};
  local_.fails = 2;
  EXPECT_EQ(again(), "k");
  EXPECT_EQ(local_.asked.size(), 3U);
  command_ = "[ -e " + file().string() + " ] || { touch " + file().string() +
             "; exit 1; }; echo '" + kJson + "'";
  EXPECT_EQ(again(), "k");
}

/// Everybody waits for it, so it has an end.
TEST_F(CredentialServicesTest, ACommandThatHangsIsEndedAndTold) {
  command_ = "sleep 1000 & wait";
  time_ = std::chrono::milliseconds(100);
  EXPECT_EQ(error().kind(), ErrorKind::retry);
  EXPECT_THAT(error().what(),
              ::testing::HasSubstr("did not finish within 100 ms, and was terminated"));
  time_ = std::chrono::hours(1);
  stop_ = [asked = 0]() mutable { return ++asked > 2; };
  const auto stopped = error_of<StoreError>();
  ASSERT_TRUE(stopped);
  EXPECT_EQ(stopped->trouble(), Trouble::stopped);
}

TEST_F(CredentialServicesTest, WhoWaitedForAFailureDoesNotWaitForAnother) {
  command_ = "echo x >>" + file().string() + "; sleep 1000";
  time_ = std::chrono::seconds(1);
  CredentialChain chain(settings(), local_, web_, [] { return std::chrono::system_clock::now(); });
  std::vector<std::thread> threads;
  std::atomic<int> failures = 0;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&] {
      try {
        static_cast<void>(chain.get());
      } catch (const StoreError&) {
        ++failures;
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, 8);
  EXPECT_LT(std::filesystem::file_size(file()), 2 * 8U) << "not each has started one";
}

TEST_F(CredentialServicesTest, WhatIsGoodYetIsUsedWhileOthersAreFetched) {
  const auto begin = std::chrono::system_clock::now();
  auto now = begin;
  const auto end = std::chrono::floor<std::chrono::seconds>(begin) + std::chrono::hours(1);
  const auto more = place_ / "more";
  command_ =
      "[ ! -e " + file().string() + " ] || { echo x >" + more.string() + "; sleep 1000; }; " +
      "echo x >" + file().string() +
      R"(; echo '{"Version": 1, "AccessKeyId": "k", "SecretAccessKey": "s", "Expiration": ")" +
      format_iso_time(end) + R"("}')";
  std::atomic<bool> stop = false;
  stop_ = [&] { return stop.load(); };
  CredentialChain chain(settings(), local_, web_, [&] { return now; });
  EXPECT_EQ(chain.get().access_key, "k");
  now = end - std::chrono::minutes(1);
  std::thread renews([&] { EXPECT_EQ(chain.get().access_key, "k"); });
  while (!std::filesystem::exists(more)) std::this_thread::yield();
  EXPECT_EQ(chain.get().access_key, "k") << "without waiting";
  stop = true;
  renews.join();
}

TEST_F(CredentialServicesTest, WhoIsToStopAsksNobodyAgain) {
  environment_["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"] = "/x";
  local_.why = NoAnswer::Why::given_up;
  const auto stopped = error_of<StoreError>();
  ASSERT_TRUE(stopped);
  EXPECT_EQ(stopped->trouble(), Trouble::stopped);
}

/// An error of a file would tell an upload that the segment's file is gone.
TEST_F(CredentialServicesTest, ATokenThatIsMissingIsTroubleOfTheCredentials) {
  environment_["AWS_WEB_IDENTITY_TOKEN_FILE"] = file().string() + ".missing";
  environment_["AWS_ROLE_ARN"] = "arn:aws:iam::1:role/r";
  const auto missing = error_of<StoreError>();
  ASSERT_TRUE(missing);
  EXPECT_EQ(missing->trouble(), Trouble::no_keys);
  EXPECT_THAT(missing->what(), ::testing::HasSubstr(".missing"));
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

class AzureCredentialsTest : public CredentialServicesTest {
 protected:
  AzureCredentialsTest() { kind_ = StoreKind::azure; }
  using Kind = Credentials::Kind;
  static constexpr const char* kSas = "?sv=2021-12-02&sp=rcl&se=2099-01-01T00%3A00%3A00Z&sig=a%3D";
};

TEST_F(AzureCredentialsTest, ReadsAFile) {
  named_file_ = file();
  write("[storage]\naccount = a\nkey = S==\n");
  auto found = get();
  EXPECT_EQ(found.kind, Kind::keys);
  EXPECT_EQ(found.secret_key.reveal(), "S==");
  write(std::string("[storage]\nsas_token = ") + kSas + "\n");
  found = get();
  EXPECT_EQ(found.kind, Kind::sas);
  EXPECT_EQ(found.session_token.reveal(), std::string(kSas).substr(1));
  ASSERT_TRUE(found.expires);
  EXPECT_EQ(*found.expires, std::chrono::sys_days(std::chrono::year(2099) / 1 / 1));
  write(keys("k"));
  EXPECT_THAT(error().what(), ::testing::HasSubstr("no key of [storage]"));
}

TEST_F(AzureCredentialsTest, ReadsTheEnvironment) {
  EXPECT_EQ(error().kind(), ErrorKind::usage) << "nobody has any";
  environment_["AZURE_STORAGE_SAS_TOKEN"] = kSas;
  EXPECT_EQ(get().kind, Kind::sas);
  environment_["AZURE_STORAGE_ACCESS_KEY"] = "W==";
  EXPECT_EQ(get().secret_key.reveal(), "W==");
  environment_["AZURE_STORAGE_KEY"] = "K==";
  EXPECT_EQ(get().secret_key.reveal(), "K==");
  environment_["AZURE_STORAGE_CONNECTION_STRING"] = "AccountName=a;AccountKey=C==;EndpointSuffix=x";
  EXPECT_EQ(get().secret_key.reveal(), "C==");
  environment_["AZURE_STORAGE_CONNECTION_STRING"] =
      std::string("BlobEndpoint=https://a.x;SharedAccessSignature=") + kSas;
  EXPECT_EQ(get().kind, Kind::sas);
  EXPECT_EQ(local_.asked.size(), 1u) << "by the first";
}

TEST_F(AzureCredentialsTest, AsksACommand) {
  command_ = R"(echo '{"accessToken": "t", "expires_on": 4070908800, "expiresOn": "2099"}')";
  const auto found = get();
  EXPECT_EQ(found.kind, Kind::token);
  EXPECT_EQ(found.session_token.reveal(), "t");
  EXPECT_EQ(found.expires, std::chrono::sys_seconds(std::chrono::seconds(4070908800)));
  command_ = std::string("echo '") + kSas + "'";
  EXPECT_EQ(get().kind, Kind::sas);
  command_ = "echo something else";
  EXPECT_THAT(error().hint(), ::testing::HasSubstr("az account get-access-token"));
}

TEST_F(AzureCredentialsTest, AsksTheMachinesService) {
  const std::string path =
      "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fstorage.azure."
      "com%2F";
  const std::string url = "GET http://169.254.169.254" + path;
  EXPECT_EQ(error().kind(), ErrorKind::usage) << "there is none";
  local_.answers[url] = {.status = 429};
  EXPECT_EQ(error().kind(), ErrorKind::retry);
  EXPECT_THAT(error().what(), ::testing::HasSubstr("it answered 429"));
  local_.answers[url] = {.status = 200, .body = R"({"access_token": "t", "expires_in": "3600"})"};
  const auto before = std::chrono::system_clock::now();
  const auto found = get();
  EXPECT_EQ(found.kind, Kind::token);
  ASSERT_TRUE(found.expires);
  EXPECT_GT(*found.expires, before + std::chrono::minutes(59));
  EXPECT_EQ(local_.headers["Metadata"], "true");
  // One of several identities, at another address.
  environment_["AZURE_CLIENT_ID"] = "c";
  environment_["AZURE_POD_IDENTITY_AUTHORITY_HOST"] = "http://imds/";
  EXPECT_EQ(error().kind(), ErrorKind::retry) << "it was named, so it has to answer";
  EXPECT_THAT(local_.asked.back(), ::testing::StartsWith("GET http://imds/metadata/identity"));
  EXPECT_THAT(local_.asked.back(), ::testing::HasSubstr("client_id=c"));
  environment_["IDENTITY_ENDPOINT"] = "http://localhost:1/token";
  environment_["IDENTITY_HEADER"] = "h";
  EXPECT_EQ(error().kind(), ErrorKind::retry);
  EXPECT_THAT(local_.asked.back(),
              ::testing::StartsWith("GET http://localhost:1/token?api-version"));
  EXPECT_EQ(local_.headers["X-IDENTITY-HEADER"], "h");
}

TEST_F(AzureCredentialsTest, ExchangesTheTokenOfAWorkload) {
  environment_["AZURE_FEDERATED_TOKEN_FILE"] = file();
  environment_["AZURE_CLIENT_ID"] = "c";
  environment_["AZURE_TENANT_ID"] = "tenant";
  const std::string url = "POST https://login.microsoftonline.com/tenant/oauth2/v2.0/token";
  for (const char* const token : {"one", "two"}) {
    write(std::string(token) + "\n");
    web_.answers[url] = {.status = 200, .body = R"({"access_token": "t", "expires_in": 3599})"};
    EXPECT_EQ(get().kind, Kind::token);
    EXPECT_THAT(web_.body, ::testing::HasSubstr(std::string("client_assertion=") + token + "&"));
    EXPECT_THAT(web_.body,
                ::testing::HasSubstr("scope=https%3A%2F%2Fstorage.azure.com%2F.default"));
  }
  web_.answers[url] = {
      .status = 401,
      .body = R"({"error": "invalid_client", "error_description": "AADSTS700213: no\nmatch"})"};
  EXPECT_THAT(error().what(), ::testing::HasSubstr("from Microsoft Entra: it answered 401 "
                                                   "invalid_client: AADSTS700213: no match"));
  EXPECT_TRUE(local_.asked.empty());
}

TEST_F(AzureCredentialsTest, RenewsATokenBeforeItsEnd) {
  const std::string url =
      "GET http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource="
      "https%3A%2F%2Fstorage.azure.com%2F";
  auto now = std::chrono::system_clock::time_point(std::chrono::hours(24 * 365 * 50));
  CredentialChain chain(settings(), local_, web_, [&] { return now; });
  local_.answers[url] = {.status = 200, .body = R"({"access_token": "one", "expires_in": "3600"})"};
  EXPECT_EQ(chain.get().session_token.reveal(), "one");
  local_.answers[url] = {.status = 200, .body = R"({"access_token": "two", "expires_in": "3600"})"};
  now += std::chrono::minutes(54);
  EXPECT_EQ(chain.get().session_token.reveal(), "one");
  now += std::chrono::minutes(2);
  EXPECT_EQ(chain.get().session_token.reveal(), "two");
  // The store does not take it any more.
  local_.answers[url] = {.status = 200, .body = R"({"access_token": "three", "expires_in": "1"})"};
  chain.refused(chain.get());
  EXPECT_EQ(chain.get().session_token.reveal(), "three");
}

TEST_F(CredentialServicesTest, OfGoogleAreATokenOrHmacKeys) {
  kind_ = StoreKind::gs;
  const std::string url =
      "GET http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/"
      "token";
  EXPECT_EQ(error().kind(), ErrorKind::usage) << "nobody has any";
  local_.answers[url] = {
      .status = 200,
      .body = R"({"access_token": "t", "expires_in": 3599, "token_type": "Bearer"})"};
  EXPECT_EQ(get().kind, Credentials::Kind::token);
  EXPECT_EQ(local_.headers["Metadata-Flavor"], "Google");
  environment_["GOOGLE_APPLICATION_CREDENTIALS"] = "/key.json";
  EXPECT_THAT(error().what(), ::testing::HasSubstr("not supported"));
  environment_["AWS_ACCESS_KEY_ID"] = "GOOG1";
  environment_["AWS_SECRET_ACCESS_KEY"] = "s";
  EXPECT_EQ(get().access_key, "GOOG1");
  named_file_ = file();
  write(keys("GOOG2"));
  EXPECT_EQ(get().access_key, "GOOG2");
  command_ = "echo ya29.token";
  EXPECT_EQ(get().session_token.reveal(), "ya29.token");
  EXPECT_EQ(get().kind, Credentials::Kind::token);
  command_ = "echo two words";
  EXPECT_EQ(error().kind(), ErrorKind::usage);
}

}  // namespace
}  // namespace weir::store::credential_chain_test

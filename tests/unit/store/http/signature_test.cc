#include "store/http/signature.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace weir::store::signature_test {
namespace {

using namespace std::chrono;

constexpr const char* kEmpty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

std::string authorization(const Signing& what, const Credentials& credentials) {
  for (const auto& header : signed_headers(what, credentials))
    if (header.name == "Authorization") return header.value;
  return "none";
}

const Credentials kSuite{.access_key = "AKIDEXAMPLE",
                         .secret_key = Secret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")};

Signing of_suite(const std::string& method, const Query& query) {
  return {.method = method,
          .host = "example.amazonaws.com",
          .query = query,
          .body_sha256 = kEmpty,
          .region = "us-east-1",
          .service = "service",
          .time = sys_days(2015y / August / 30) + 12h + 36min,
          .names_digest = false};
}

/// No example of this form is published: the value was calculated apart, by Google's description.
TEST(Signature, OfGoogleDiffersInNames) {
  const auto headers = signed_headers(
      {.method = "PUT",
       .host = "storage.googleapis.com",
       .path = "/wal/p/x",
       .headers = {{"x-goog-if-generation-match", "0"}},
       .body_sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
       .region = "auto",
       .service = "storage",
       .time = sys_days(2015y / August / 30) + 12h + 36min,
       .form = Signing::Form::google},
      {.access_key = "GOOG1E", .secret_key = Secret("secret")});
  ASSERT_FALSE(headers.empty());
  EXPECT_EQ(headers.back().value,
            "GOOG4-HMAC-SHA256 Credential=GOOG1E/20150830/auto/storage/goog4_request, "
            "SignedHeaders=host;x-goog-content-sha256;x-goog-date;x-goog-if-generation-match, "
            "Signature=eebfb19133bc47d921684e2d433020adfde74fff93fe68e6805ee2ba37ce46cc");
  for (const auto& header : headers)
    EXPECT_THAT(header.name, ::testing::Not(::testing::StartsWith("X-Amz"))) << "never both";
}

TEST(Signature, IsThatOfTheTestSuiteOfAws) {
  const auto expected = [](const std::string& signature) {
    return "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
           "SignedHeaders=host;x-amz-date, Signature=" +
           signature;
  };
  struct Case {
    const char* name;
    const char* method;
    Query query;
    const char* signature;
  };
  for (const auto& each : {
           Case{"get-vanilla",
                "GET",
                {},
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
           Case{"get-vanilla-query-order-key-case",
                "GET",
                {{"Param2", "value2"}, {"Param1", "value1"}},
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
           Case{"post-vanilla",
                "POST",
                {},
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
       }) {
    SCOPED_TRACE(each.name);
    EXPECT_EQ(authorization(of_suite(each.method, each.query), kSuite), expected(each.signature));
  }
}

/// "Signature Calculations for the Authorization Header", Amazon S3 API Reference.
TEST(Signature, IsThatOfTheExamplesOfS3) {
  const Credentials credentials{.access_key = "AKIAIOSFODNN7EXAMPLE",
                                .secret_key = Secret("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")};
  struct Case {
    const char* name;
    Signing what;
    const char* signature;
  };
  const auto of = [](const std::string& method, const std::string& path, const Query& query,
                     const std::vector<Request::Header>& headers, const std::string& sha256) {
    return Signing{.method = method,
                   .host = "examplebucket.s3.amazonaws.com",
                   .path = path,
                   .query = query,
                   .headers = headers,
                   .body_sha256 = sha256,
                   .region = "us-east-1",
                   .time = sys_days(2013y / May / 24)};
  };
  for (const auto& each : {
           Case{"GET object", of("GET", "/test.txt", {}, {{"Range", "bytes=0-9"}}, kEmpty),
                "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
           Case{"PUT object",
                of("PUT", percent_encoded("/test$file.text", Slashes::stay), {},
                   {{"Date", "Fri, 24 May 2013 00:00:00 GMT"},
                    {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
                   "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"),
                "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
           Case{"GET bucket lifecycle", of("GET", "/", {{"lifecycle", ""}}, {}, kEmpty),
                "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
           Case{"list objects", of("GET", "/", {{"max-keys", "2"}, {"prefix", "J"}}, {}, kEmpty),
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
       }) {
    SCOPED_TRACE(each.name);
    EXPECT_THAT(authorization(each.what, credentials),
                ::testing::EndsWith(std::string("Signature=") + each.signature));
  }
}

TEST(Signature, CoversTheTokenOfASession) {
  auto credentials = kSuite;
  credentials.session_token = Secret("token");
  const auto headers = signed_headers(of_suite("GET", {}), credentials);
  EXPECT_TRUE(std::any_of(headers.begin(), headers.end(), [](const auto& header) {
    return header.name == "X-Amz-Security-Token" && header.value == "token";
  }));
  EXPECT_THAT(headers.back().value,
              ::testing::HasSubstr("SignedHeaders=host;x-amz-date;x-amz-security-token,"));
}

}  // namespace
}  // namespace weir::store::signature_test

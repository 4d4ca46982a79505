#include "store/http/credential_texts.h"

#include <gtest/gtest.h>

namespace weir::store::credential_texts_test {
namespace {

using namespace std::chrono;
using namespace std::chrono_literals;

TEST(CredentialTexts, ReadsProfiles) {
  constexpr const char* kText = R"(# keys
[default]
aws_access_key_id = A
aws_secret_access_key=S=1
[profile other]
aws_access_key_id = B
aws_secret_access_key = T
s3 =
    addressing_style = path
aws_session_token = U
[empty]
)";
  const auto first = credentials_of(*read_profile(kText, "default"));
  ASSERT_TRUE(first);
  EXPECT_EQ(first->access_key, "A");
  EXPECT_EQ(first->secret_key.reveal(), "S=1");
  EXPECT_TRUE(first->session_token.empty());
  const auto other = credentials_of(*read_profile(kText, "other"));
  ASSERT_TRUE(other);
  EXPECT_EQ(other->access_key, "B");
  EXPECT_EQ(other->session_token.reveal(), "U");
  EXPECT_FALSE(credentials_of(*read_profile(kText, "empty")));
  EXPECT_FALSE(read_profile(kText, "absent"));
}

TEST(CredentialTexts, ReadsWhatProcessesAndServicesGive) {
  const auto found = parse_credentials(
      R"({"Version":1,"AccessKeyId":"A","SecretAccessKey":"S","SessionToken":"T","Expiration":"2026-11-22T00:00:00Z"})");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->access_key, "A");
  EXPECT_EQ(found->secret_key.reveal(), "S");
  EXPECT_EQ(found->session_token.reveal(), "T");
  EXPECT_EQ(found->expires, sys_days(2026y / November / 22));
  // of EC2
  EXPECT_EQ(
      parse_credentials(
          R"({"Code":"Success","AccessKeyId":"A","SecretAccessKey":"S","Token":"T","Expiration":"2026-11-22T00:00:00Z"})")
          ->session_token.reveal(),
      "T");
  EXPECT_FALSE(parse_credentials(R"({"AccessKeyId":"A","SecretAccessKey":"S"})")->expires);
  for (const char* const text :
       {"", "[]", "{}", R"({"AccessKeyId":"A"})", R"({"AccessKeyId":1,"SecretAccessKey":"S"})",
        R"({"AccessKeyId":"A","SecretAccessKey":"S","Expiration":"soon"})"}) {
    SCOPED_TRACE(text);
    EXPECT_FALSE(parse_credentials(text));
  }
}

/// "Never", as Azure's tools write it: later than system_clock can hold.
TEST(CredentialTexts, TakesNoEndBeyondTheClocksForThePast) {
  const auto sas = parse_sas("sv=2021-12-02&se=9999-12-31T23%3A59%3A59Z&sig=a%3D");
  ASSERT_TRUE(sas && sas->expires);
  EXPECT_LT(std::chrono::system_clock::now() + 24h, *sas->expires);
  // Go's zero time.
  const auto past = parse_credentials(
      R"({"AccessKeyId":"A","SecretAccessKey":"S","Expiration":"0001-01-01T00:00:00Z"})");
  ASSERT_TRUE(past && past->expires);
  EXPECT_LT(*past->expires, std::chrono::system_clock::now());
}

TEST(CredentialTexts, ReadsWhatStsGives) {
  const auto found = parse_assumed_role(
      "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"
      "<AssumeRoleWithWebIdentityResult><Credentials><SessionToken>T</SessionToken>"
      "<SecretAccessKey>S</SecretAccessKey><Expiration>2026-11-22T00:00:00.123Z</Expiration>"
      "<AccessKeyId>A</AccessKeyId></Credentials></AssumeRoleWithWebIdentityResult>"
      "</AssumeRoleWithWebIdentityResponse>");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->access_key, "A");
  EXPECT_EQ(found->secret_key.reveal(), "S");
  EXPECT_EQ(found->session_token.reveal(), "T");
  EXPECT_EQ(found->expires, sys_days(2026y / November / 22));
  EXPECT_FALSE(parse_assumed_role("<ErrorResponse/>"));
  EXPECT_FALSE(parse_assumed_role("no XML"));
}

/// Without the reason it is not known whether the role, the token or the time is wrong.
TEST(CredentialTexts, TellWhyAServiceRefuses) {
  const auto of = [](const std::string& body) {
    return refusal_of(Answer{.status = 403, .body = body});
  };
  EXPECT_EQ(of("<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>"
               "Sender</Type><Code>AccessDenied</Code><Message>Not authorized</Message></Error>"
               "</ErrorResponse>"),
            "it answered 403 AccessDenied: Not authorized");
  EXPECT_EQ(of(R"({"error": "invalid_client", "error_description": "AADSTS1: no\r\nmatch"})"),
            "it answered 403 invalid_client: AADSTS1: no  match");
  EXPECT_EQ(of(R"({"code": "InvalidToken", "message": "expired"})"),
            "it answered 403 InvalidToken: expired");
  EXPECT_EQ(of(R"({"error": "invalid_request"})"), "it answered 403 invalid_request");
  for (const char* const body : {"", "{}", R"({"error": 1})", "<html>no</html>", "no"})
    EXPECT_EQ(of(body), "it answered 403") << body;
}

}  // namespace
}  // namespace weir::store::credential_texts_test

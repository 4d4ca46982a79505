#include "store/http/credential_texts.h"

#include <gtest/gtest.h>

namespace weir::store::credential_texts_test {
namespace {

using namespace std::chrono;

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

}  // namespace
}  // namespace weir::store::credential_texts_test

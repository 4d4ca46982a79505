#include "store/http/answers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>

namespace weir::store::answers_test {
namespace {

Answer answer(long status, const std::string& code, const std::string& more = "") {
  return {.status = status,
          .body = code.empty() ? ""
                               : "<?xml version=\"1.0\"?><Error><Code>" + code +
                                     "</Code><Message>words</Message>" + more + "</Error>"};
}

TEST(Answers, MeanWhatTheStoresWordMeans) {
  struct Case {
    long status;
    const char* code;
    Trouble trouble;
    ErrorKind kind;
  };
  for (const auto& each : {
           Case{503, "SlowDown", Trouble::throttled, ErrorKind::retry},
           Case{503, "", Trouble::throttled, ErrorKind::retry},
           Case{429, "", Trouble::throttled, ErrorKind::retry},
           Case{500, "InternalError", Trouble::unreachable, ErrorKind::retry},
           Case{502, "", Trouble::unreachable, ErrorKind::retry},
           Case{409, "OperationAborted", Trouble::unreachable, ErrorKind::retry},
           Case{409, "ConditionalRequestConflict", Trouble::unreachable, ErrorKind::retry},
           Case{499, "", Trouble::unreachable, ErrorKind::retry},
           Case{501, "", Trouble::unable, ErrorKind::refused},
           Case{405, "", Trouble::unable, ErrorKind::refused},
           Case{400, "RequestTimeout", Trouble::unreachable, ErrorKind::retry},
           // 200, and then it went wrong
           Case{200, "InternalError", Trouble::unreachable, ErrorKind::retry},
           Case{200, "", Trouble::unreachable, ErrorKind::retry},
           Case{403, "RequestTimeTooSkewed", Trouble::clock, ErrorKind::refused},
           Case{400, "ExpiredToken", Trouble::expired, ErrorKind::refused},
           Case{401, "AuthenticationRequired", Trouble::expired, ErrorKind::refused},
           Case{401, "", Trouble::expired, ErrorKind::refused},
           Case{301, "PermanentRedirect", Trouble::region, ErrorKind::refused},
           Case{307, "", Trouble::region, ErrorKind::refused},
           Case{400, "AuthorizationHeaderMalformed", Trouble::region, ErrorKind::refused},
           Case{501, "NotImplemented", Trouble::unable, ErrorKind::refused},
           Case{403, "AccessDenied", Trouble::refused, ErrorKind::refused},
           Case{403, "", Trouble::refused, ErrorKind::refused},
           Case{403, "SignatureDoesNotMatch", Trouble::refused, ErrorKind::refused},
           Case{403, "InvalidObjectState", Trouble::refused, ErrorKind::refused},
           Case{404, "NoSuchBucket", Trouble::refused, ErrorKind::refused},
           // Whoever asks for an object has looked for NoSuchKey before.
           Case{404, "NoSuchKey", Trouble::refused, ErrorKind::refused},
       }) {
    SCOPED_TRACE(std::to_string(each.status) + each.code);
    const auto error = error_of(answer(each.status, each.code), "could not do it", "s3://b/k");
    EXPECT_EQ(error.trouble(), each.trouble);
    EXPECT_EQ(error.kind(), each.kind);
    EXPECT_EQ(error.code(), each.code);
    EXPECT_THAT(error.what(), ::testing::HasSubstr(std::to_string(each.status)));
    EXPECT_THAT(error.what(), ::testing::HasSubstr("s3://b/k"));
  }
}

TEST(Answers, OfAzureMeanWhatTheyMean) {
  struct Case {
    long status;
    const char* code;
    Trouble trouble;
    const char* more = "";
  };
  constexpr const char* kOld =
      "<AuthenticationErrorDetail>Request date header too old: 'Wed, 22 Nov 2026 00:00:00 "
      "GMT'</AuthenticationErrorDetail>";
  constexpr const char* kEnded =
      "<AuthenticationErrorDetail>Signature not valid in the specified time frame: Start [] - "
      "Expiry [] - Current []</AuthenticationErrorDetail>";
  for (const auto& each : {
           Case{503, "ServerBusy", Trouble::throttled},
           Case{500, "OperationTimedOut", Trouble::unreachable},
           Case{500, "InternalError", Trouble::unreachable},
           Case{400, "Md5Mismatch", Trouble::unreachable},
           Case{403, "AuthenticationFailed", Trouble::refused},
           Case{403, "AuthenticationFailed", Trouble::clock, kOld},
           Case{403, "AuthenticationFailed", Trouble::expired, kEnded},
           Case{401, "InvalidAuthenticationInfo", Trouble::expired},
           Case{401, "NoAuthenticationInformation", Trouble::refused},
           Case{403, "AuthorizationPermissionMismatch", Trouble::refused},
           Case{403, "AuthorizationFailure", Trouble::refused},
           Case{403, "KeyBasedAuthenticationNotPermitted", Trouble::refused},
           Case{404, "ContainerNotFound", Trouble::refused},
           Case{409, "BlobArchived", Trouble::refused},
           Case{409, "BlobImmutableDueToPolicy", Trouble::refused},
           Case{409, "BlobImmutableDueToLegalHold", Trouble::refused},
           Case{412, "LeaseIdMissing", Trouble::refused},
           Case{400, "InvalidHeaderValue", Trouble::unable},
       }) {
    SCOPED_TRACE(std::to_string(each.status) + each.code + each.more);
    auto with_body = answer(each.status, each.code, each.more);
    with_body.body = "\xef\xbb\xbf" + with_body.body;  // a byte order mark, as Azure sends it
    const auto error = error_of(with_body, "could not do it", "azure://c/k");
    EXPECT_EQ(error.trouble(), each.trouble);
    // An answer to HEAD has the code alone.
    const std::string more = each.more;
    const Answer bare{.status = each.status, .headers = {{"x-ms-error-code", each.code}}};
    const auto told = error_of(bare, "could not do it", "azure://c/k");
    EXPECT_EQ(told.trouble(), more.empty() ? each.trouble : Trouble::refused);
    EXPECT_EQ(told.code(), each.code);
  }
}

TEST(Answers, SayWhenTheRequestIsWantedAgain) {
  const auto after = [](long status, const char* text) {
    const Answer told{.status = status, .headers = {{"retry-after", text}}};
    const auto error = error_of(told, "could not", "k");
    EXPECT_EQ(retry_after_of(error), error.retry_after());
    return error.retry_after();
  };
  using std::chrono::minutes;
  using std::chrono::seconds;
  EXPECT_EQ(after(503, "7"), seconds(7));
  EXPECT_EQ(after(429, "0"), seconds(0));
  EXPECT_EQ(after(429, "120"), seconds(120));
  EXPECT_EQ(after(503, "4294967295"), minutes(5)) << "no longer than that";
  EXPECT_EQ(after(503, "Fri, 31 Dec 2027 23:59:59 GMT"), seconds(0));
  EXPECT_EQ(after(503, "-3"), seconds(0));
  EXPECT_EQ(after(500, "7"), seconds(0));
  EXPECT_EQ(error_of(answer(503, "SlowDown"), "could not", "k").retry_after(), seconds(0));
  EXPECT_EQ(retry_after_of(Error(ErrorKind::io, "no store's")), seconds(0));
}

TEST(Answers, OfAzureAreToldWithoutTheirNumbers) {
  const Answer answer{
      .status = 403,
      .body =
          "<?xml version=\"1.0\"?><Error><Code>AuthenticationFailed</Code><Message>Server "
          "failed.\nRequestId:12-34\nTime:2026</Message></Error>"};
  const std::string told = error_of(answer, "could not", "azure://c").what();
  EXPECT_THAT(told, ::testing::HasSubstr("403 AuthenticationFailed: Server failed."));
  EXPECT_THAT(told, ::testing::Not(::testing::HasSubstr("RequestId")));
}

TEST(Answers, WithoutAReasonNameTheRightsThatAreNeeded) {
  const auto error = error_of(answer(403, ""), "could not read an object's metadata", "s3://b/k");
  for (const char* const right : {"s3:ListBucket", "s3:GetObject", "s3:PutObject"})
    EXPECT_THAT(error.hint(), ::testing::HasSubstr(right));
}

TEST(Answers, NameTheRegionThatWouldBeRight) {
  const auto by_body =
      error_of(answer(400, "AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>"), "x", "y");
  EXPECT_THAT(by_body.what(), ::testing::HasSubstr("region eu-west-1"));
  EXPECT_THAT(by_body.hint(), ::testing::HasSubstr("--store-region"));
  auto redirect = answer(301, "");
  redirect.headers["x-amz-bucket-region"] = "eu-west-1";
  EXPECT_THAT(error_of(redirect, "x", "y").what(), ::testing::HasSubstr("region eu-west-1"));
}

/// As of a gateway that wants https. What it repeats of the request may be a secret.
TEST(Answers, ThatNameAnotherAddressAreNoMatterOfTheRegion) {
  auto redirect = answer(301, "");
  redirect.body = "<html><head><title>301 Moved Permanently</title></head></html>";
  redirect.headers["location"] = "https://host/wal?restype=container&sv=2023-11-03&sig=secret";
  const auto error = error_of(redirect, "could not list objects", "azure://wal");
  EXPECT_EQ(error.trouble(), Trouble::region);
  EXPECT_THAT(error.what(), ::testing::HasSubstr("https://host/wal"));
  EXPECT_THAT(error.what(), ::testing::Not(::testing::HasSubstr("secret")));
  EXPECT_THAT(error.hint(), ::testing::HasSubstr("--store-endpoint"));
  EXPECT_THAT(error.hint(), ::testing::Not(::testing::HasSubstr("--store-region")));
}

TEST(Answers, OfWhatIsNoStoreAreShortAndOnOneLine) {
  const auto error = error_of(Answer{.status = 502, .body = "<html>\n" + std::string(5000, 'x')},
                              "could not do it", "s3://b");
  EXPECT_LT(std::string(error.what()).size(), 400u);
  EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
}

TEST(Answers, ThatAreNoListingAreNoEmptyOne) {
  const auto page = parse_listing(
      "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><IsTruncated>true"
      "</IsTruncated><Contents><Key>a&amp;b</Key><Size>7</Size><ETag>&quot;e&quot;</ETag>"
      "<StorageClass>GLACIER_IR</StorageClass></Contents><Contents><Key>c</Key><Size>7</Size>"
      "<StorageClass>GLACIER</StorageClass></Contents></ListBucketResult>");
  ASSERT_TRUE(page);
  EXPECT_TRUE(page->more);
  ASSERT_EQ(page->objects.size(), 2u);
  EXPECT_FALSE(page->objects[0].frozen);
  EXPECT_TRUE(page->objects[1].frozen);
  EXPECT_EQ(page->objects[0].key, "a&b");
  EXPECT_EQ(page->objects[0].size, 7u);
  EXPECT_EQ(page->objects[0].etag, "e");
  EXPECT_TRUE(parse_listing("<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
                  ->objects.empty());
  for (const std::string body :
       {"", "<html/>", "<Error><Code>InternalError</Code></Error>", "<ListBucketResult>",
        "<ListBucketResult/>",
        "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a"
        "</Key></Contents></ListBucketResult>"}) {
    SCOPED_TRACE(body);
    EXPECT_FALSE(parse_listing(body));
  }
}

TEST(Answers, OfAListingLeadOn) {
  const ObjectEntry key{.key = "b"};
  EXPECT_TRUE(leads_on({}, ""));
  EXPECT_TRUE(leads_on({{key}, false}, "b"));
  EXPECT_TRUE(leads_on({{key}, true}, ""));
  EXPECT_TRUE(leads_on({{key}, true}, "a"));
  EXPECT_FALSE(leads_on({{}, true}, ""));
  EXPECT_FALSE(leads_on({{}, true}, "a"));
  EXPECT_FALSE(leads_on({{key}, true}, "b"));
  EXPECT_FALSE(leads_on({{key}, true}, "c"));
}

TEST(Answers, TellTheVersionsOfOneKey) {
  const auto versions = parse_versions(
      "<ListVersionsResult><Version><Key>k</Key><VersionId>2</VersionId></Version><Version><Key>k"
      "</Key><VersionId>1</VersionId></Version><Version><Key>k.zst</Key><VersionId>9</VersionId>"
      "</Version><DeleteMarker><Key>k</Key><VersionId>3</VersionId></DeleteMarker>"
      "<Version><Key>k</Key><VersionId>0</VersionId></Version></ListVersionsResult>",
      "k");
  using Version = Versions::Version;
  EXPECT_EQ(versions, (std::vector<Version>{{"2"}, {"1"}, {"3", true}, {"0"}}));
  EXPECT_FALSE(parse_versions("<Error/>", "k"));
}

TEST(Answers, ThatDoNotComeSayWhatToLookAt) {
  using Why = NoAnswer::Why;
  const auto of = [](Why why) { return error_of(NoAnswer(why, "words"), "could not", "s3://b/k"); };
  EXPECT_EQ(of(Why::not_believed).trouble(), Trouble::refused);
  EXPECT_THAT(of(Why::not_believed).hint(), ::testing::HasSubstr("--store-ca"));
  EXPECT_EQ(of(Why::wrong).trouble(), Trouble::refused);
  EXPECT_EQ(of(Why::given_up).trouble(), Trouble::stopped);
  EXPECT_EQ(of(Why::not_reached).trouble(), Trouble::unreachable);
  EXPECT_THAT(of(Why::not_reached).hint(), ::testing::HasSubstr("--store-endpoint"));
  EXPECT_EQ(of(Why::silent).trouble(), Trouble::unreachable);
  EXPECT_EQ(of(Why::silent).hint(), "");
  const NoAnswer no_tls(Why::broken, "SSL routines::wrong version number");
  EXPECT_THAT(error_of(no_tls, "could not", "s3://b/k").hint(), ::testing::HasSubstr("http://"));
}

TEST(Answers, TellHowObjectsAreLocked) {
  EXPECT_FALSE(parse_lock("<Error/>"));
  EXPECT_FALSE(parse_lock("<ObjectLockConfiguration/>")->enabled);
  const auto lock = parse_lock(
      "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule>"
      "<DefaultRetention><Mode>COMPLIANCE</Mode><Years>1</Years></DefaultRetention></Rule>"
      "</ObjectLockConfiguration>");
  ASSERT_TRUE(lock);
  EXPECT_TRUE(lock->enabled);
  EXPECT_EQ(lock->mode, "COMPLIANCE");
  EXPECT_EQ(lock->period, "1 years");
}

TEST(Answers, TellWhatWasNotRemoved) {
  const auto removal = parse_removal(
      "<DeleteResult><Error><Key>k</Key><Code>AccessDenied</Code><Message>locked</Message></Error>"
      "</DeleteResult>");
  ASSERT_TRUE(removal);
  ASSERT_EQ(removal->kept.size(), 1u);
  EXPECT_EQ(removal->kept.front().key, "k");
  EXPECT_EQ(removal->kept.front().why, "AccessDenied locked");
  EXPECT_FALSE(removal->passing);
  EXPECT_TRUE(parse_removal("<DeleteResult/>")->kept.empty());
  EXPECT_FALSE(parse_removal("<Error><Code>InternalError</Code></Error>"));
  const std::array<std::string, 2> keys = {"a", "b&<c>"};
  EXPECT_THAT(removal_request(keys), ::testing::HasSubstr("<Key>b&amp;&lt;c&gt;</Key>"));
}

}  // namespace
}  // namespace weir::store::answers_test

#include "store/http/http_store.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "store/digests.h"
#include "store/http/azure_dialect.h"
#include "store/http/s3_dialect.h"
#include "store/memory_bytes.h"
#include "support/bytes.h"
#include "support/error_of.h"

namespace weir::store::http_store_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

/// Gives these answers, in this order; to some URLs always the same one.
struct Answers final : Transport {
  Answer perform(const Request& request) override {
    const std::lock_guard lock(mutex);
    asked.push_back(request);
    bodies.emplace_back();
    if (request.body != nullptr) {
      bodies.back().resize(request.body->size());
      static_cast<void>(request.body->read_at(0, std::as_writable_bytes(std::span(bodies.back()))));
    }
    for (const auto& [end, answer] : of_url)
      if (request.url.ends_with(end)) return answer;
    if (silent) throw NoAnswer(NoAnswer::Why::silent, "nothing came");
    if (answers.empty()) throw NoAnswer(NoAnswer::Why::not_reached, "nobody is there");
    auto answer = std::move(answers.front());
    answers.pop_front();
    if (request.sink && (answer.status == 200 || answer.status == 206))
      static_cast<void>(request.sink(test::as_bytes(answer.body)));
    return answer;
  }
  [[nodiscard]] std::string header(const std::string& name) const {
    for (const auto& header : asked.back().headers)
      if (header.name == name) return header.value;
    return "";
  }
  std::deque<Answer> answers;
  std::map<std::string, Answer> of_url;  ///< by the URL's end; for requests that run beside others
  bool silent = false;
  std::vector<Request> asked;
  std::vector<std::string> bodies;  ///< of these requests
  std::mutex mutex;
};

struct Keys final : CredentialSource {
  Credentials get() override { return now; }
  void refused(const Credentials&) override {
    ++refusals;
    if (next) now = *std::exchange(next, std::nullopt);
  }
  Credentials now;
  std::optional<Credentials> next;
  int refusals = 0;
};

struct Told final : Log {
  void write(LogLevel, std::string_view message) override { lines.emplace_back(message); }
  [[nodiscard]] bool enabled(LogLevel) const override { return true; }
  std::vector<std::string> lines;
};

constexpr const char* kMark = "\xef\xbb\xbf";  ///< Azure's documents begin with it

Answer azure_error(long status, const std::string& code, const std::string& more = "") {
  return {.status = status,
          .headers = {{"x-ms-error-code", code}, {"date", "Sun, 22 Nov 2026 00:00:00 GMT"}},
          .body = kMark + ("<?xml version=\"1.0\"?><Error><Code>" + code +
                           "</Code><Message>words</Message>" + more + "</Error>")};
}

class HttpStoreTest : public ::testing::Test {
 protected:
  HttpStore& store(std::unique_ptr<const Dialect> dialect) {
    store_ = std::make_unique<HttpStore>(
        std::move(dialect), transport_, keys_, [this] { return now_; }, log_);
    return *store_;
  }
  ObjectStore::Put put(HttpStore& store) {
    MemoryBytes bytes(test::as_bytes("hello"));
    auto content = content_of(bytes);
    content.metadata = {{"pgweir-system-id", "7"}};
    return store.put_if_absent("p/k", content);
  }
  std::chrono::system_clock::time_point now_ =
      std::chrono::sys_days(std::chrono::year(2026) / 11 / 22);
  Answers transport_;
  Keys keys_;
  Told log_;
  std::unique_ptr<HttpStore> store_;
};

/// What a removal that fails says of its objects.
std::vector<std::string> left_of(HttpStore& store, const std::vector<std::string>& keys) {
  std::vector<std::string> left;
  try {
    static_cast<void>(store.remove(keys));
    ADD_FAILURE() << "it does not fail";
  } catch (const StoreError& error) {
    for (const auto& each : error.left()) left.push_back(each.key);
  }
  return left;
}

class AzureStoreTest : public HttpStoreTest {
 protected:
  AzureStoreTest() {
    keys_.now = {.access_key = "acc", .secret_key = Secret("a2V5")};
    keys_.now.source = "the test";
  }
  HttpStore& azure(BucketSettings more = {}) {
    more.bucket = "wal";
    more.account = "acc";
    more.endpoint = {.host = "acc.blob.core.windows.net"};
    return store(std::make_unique<AzureDialect>(std::move(more)));
  }
  static Answer stored() {
    return {.status = 201,
            .headers = {{"etag", "\"0x8D1\""}, {"content-md5", "XUFAKrxLKna5cZ2REBfFkg=="}}};
  }
  static Answer page(const std::vector<std::string>& names, const std::string& marker) {
    std::string blobs;
    for (const auto& name : names)
      blobs += "<Blob><Name>" + name +
               "</Name><Properties><Last-Modified>Sun, 22 Nov 2026 00:00:00 GMT</Last-Modified>"
               "<Etag>0x8D1</Etag><Content-Length>5</Content-Length>"
               "<Content-MD5>XUFAKrxLKna5cZ2REBfFkg==</Content-MD5></Properties></Blob>";
    return {.status = 200,
            .body = std::string(kMark) + "<?xml version=\"1.0\" encoding=\"utf-8\"?>" +
                    "<EnumerationResults><Blobs>" + blobs + "</Blobs><NextMarker>" + marker +
                    "</NextMarker></EnumerationResults>"};
  }
};

TEST_F(AzureStoreTest, PutsABlobOnce) {
  transport_.answers = {stored()};
  EXPECT_EQ(put(azure()), ObjectStore::Put::stored);
  ASSERT_EQ(transport_.asked.size(), 1u);
  EXPECT_EQ(transport_.asked[0].url, "https://acc.blob.core.windows.net/wal/p/k");
  EXPECT_EQ(transport_.header("If-None-Match"), "*");
  EXPECT_EQ(transport_.header("Content-MD5"), "XUFAKrxLKna5cZ2REBfFkg==");
  EXPECT_EQ(transport_.header("x-ms-blob-type"), "BlockBlob");
  EXPECT_EQ(transport_.header("x-ms-meta-pgweirsystemid"), "7") << "an identifier, without hyphens";
  EXPECT_EQ(transport_.header("x-ms-version"), "2023-11-03");
  EXPECT_EQ(transport_.header("x-ms-date"), "Sun, 22 Nov 2026 00:00:00 GMT");
  EXPECT_THAT(transport_.header("Authorization"), StartsWith("SharedKey acc:"));
}

TEST_F(AzureStoreTest, KnowsWhatIsTaken) {
  for (const auto& answer : {azure_error(409, "BlobAlreadyExists"),
                             // a shared access signature that may create only
                             azure_error(403, "UnauthorizedBlobOverwrite")}) {
    transport_.answers = {answer};
    EXPECT_EQ(put(azure()), ObjectStore::Put::taken);
  }
  // Rights are looked at before conditions: then it must be asked.
  const Answer there{.status = 200, .headers = {{"content-length", "5"}, {"etag", "\"0x8\""}}};
  const Answer absent{.status = 404, .headers = {{"x-ms-error-code", "BlobNotFound"}}};
  transport_.answers = {azure_error(403, "AuthorizationPermissionMismatch"), there};
  EXPECT_EQ(put(azure()), ObjectStore::Put::taken);
  for (const auto& second : {absent, azure_error(403, "AuthorizationPermissionMismatch")}) {
    transport_.answers = {azure_error(403, "AuthorizationPermissionMismatch"), second};
    const auto error = test::error_of([&] { static_cast<void>(put(azure())); });
    EXPECT_EQ(error.kind(), ErrorKind::refused);
    EXPECT_THAT(error.hint(), HasSubstr("c (create)"));
  }
  transport_.answers = {azure_error(409, "BlobImmutableDueToPolicy")};
  EXPECT_EQ(test::error_of([&] { static_cast<void>(put(azure())); }).kind(), ErrorKind::refused);
}

TEST_F(AzureStoreTest, ReplacesOnlyWhatWasSeen) {
  MemoryBytes bytes(test::as_bytes("hello"));
  const auto content = content_of(bytes);
  transport_.answers = {stored()};
  EXPECT_EQ(azure().put_if_match("k", content, "0x8D0"), ObjectStore::Put::stored);
  EXPECT_EQ(transport_.header("If-Match"), "\"0x8D0\"");
  const Answer other{.status = 200, .headers = {{"content-length", "5"}, {"etag", "\"0x8D9\""}}};
  transport_.answers = {azure_error(412, "ConditionNotMet"), other};
  EXPECT_EQ(azure().put_if_match("k", content, "0x8D0"), ObjectStore::Put::taken);
  // 412 is not always another ETag.
  transport_.answers = {azure_error(412, "LeaseIdMissing")};
  const auto error =
      test::error_of([&] { static_cast<void>(azure().put_if_match("k", content, "0x8D0")); });
  EXPECT_THAT(error.hint(), HasSubstr("lease"));
  EXPECT_FALSE(azure().traits().etag_is_md5);
}

TEST_F(AzureStoreTest, TellsWhatIsAbsentFromTrouble) {
  const auto head = [&](const std::string& code, long status) {
    transport_.answers = {{.status = status, .headers = {{"x-ms-error-code", code}}}};
    return azure().head("k");
  };
  EXPECT_EQ(head("BlobNotFound", 404), std::nullopt);
  for (const auto& [code, status] :
       {std::pair("ContainerNotFound", 404), std::pair("ResourceNotFound", 404),
        std::pair("ServerBusy", 503), std::pair("AuthorizationFailure", 403), std::pair("", 404)}) {
    SCOPED_TRACE(code);
    EXPECT_THROW(static_cast<void>(head(code, status)), StoreError);
  }
  transport_.answers = {azure_error(404, "BlobNotFound")};
  EXPECT_FALSE(azure().get("k", std::nullopt, [](auto) { return true; }));
  transport_.answers = {azure_error(404, "ContainerNotFound")};
  EXPECT_THROW(azure().get("k", std::nullopt, [](auto) { return true; }), StoreError);
}

TEST_F(AzureStoreTest, LooksAtABlob) {
  transport_.answers = {
      {.status = 200,
       .headers = {{"content-length", "5"},
                   {"etag", "\"0x8D1\""},
                   {"content-md5", "XUFAKrxLKna5cZ2REBfFkg=="},
                   {"x-ms-meta-pgweirhmackey", "k"},
                   {"x-ms-meta-other", "o"},
                   {"x-ms-immutability-policy-until-date", "Mon, 23 Nov 2026 00:00:00 GMT"}}}};
  const auto head = azure().head("k");
  ASSERT_TRUE(head);
  EXPECT_EQ(head->md5, "5d41402abc4b2a76b9719d911017c592");
  EXPECT_EQ(head->etag, "0x8D1");
  EXPECT_EQ(head->metadata, (Metadata{{"pgweir-hmac-key", "k"}, {"other", "o"}}));
  EXPECT_TRUE(head->locked);
}

TEST_F(AzureStoreTest, ListsBehindAKey) {
  // From the key itself on; and a page may be empty and lead on.
  transport_.answers = {page({"p/a"}, "m1"), page({}, "m2"), page({"p/b", "p/c"}, "m3"),
                        page({"p/d"}, "")};
  auto& store = azure();
  auto got = store.list("p/", "p/a", 1000);
  EXPECT_TRUE(got.more);
  ASSERT_EQ(got.objects.size(), 2u);
  EXPECT_EQ(got.objects[0].key, "p/b");
  EXPECT_EQ(got.objects[0].md5, "5d41402abc4b2a76b9719d911017c592");
  EXPECT_THAT(transport_.asked[0].url, HasSubstr("startFrom=p%2Fa"));
  EXPECT_THAT(transport_.asked[0].url, HasSubstr("restype=container"));
  EXPECT_THAT(transport_.asked[1].url, HasSubstr("marker=m1"));
  EXPECT_THAT(transport_.asked[2].url, HasSubstr("marker=m2"));
  got = store.list("p/", "p/c", 1000);
  EXPECT_FALSE(got.more);
  ASSERT_EQ(got.objects.size(), 1u);
  EXPECT_THAT(transport_.asked[3].url, HasSubstr("marker=m3")) << "a store may not skip to a key";
}

TEST_F(AzureStoreTest, NeverTakesTroubleForAnEmptyListing) {
  for (const auto& answer : {Answer{.status = 200, .body = "<html/>"}, Answer{.status = 200},
                             Answer{.status = 200, .body = "<EnumerationResults/>"},
                             azure_error(404, "ContainerNotFound")}) {
    transport_.answers = {answer};
    EXPECT_THROW(static_cast<void>(azure().list("p/", "", 1000)), StoreError);
  }
  // A marker that leads nowhere.
  transport_.answers = {page({}, "m"), page({}, "m")};
  EXPECT_THROW(static_cast<void>(azure().list("p/", "", 1000)), StoreError);
}

TEST_F(AzureStoreTest, LeavesOutDirectories) {
  transport_.answers = {
      {.status = 200,
       .body = "<EnumerationResults><Blobs><Blob><Name>p</Name><Properties><Content-Length>0"
               "</Content-Length><ResourceType>directory</ResourceType></Properties></Blob><Blob>"
               "<Name>p/a</Name><Properties><Content-Length>7</Content-Length><AccessTier>Archive"
               "</AccessTier></Properties></Blob></Blobs><NextMarker/></EnumerationResults>"}};
  const auto got = azure().list("p", "", 1000);
  ASSERT_EQ(got.objects.size(), 1u);
  EXPECT_EQ(got.objects[0].key, "p/a");
  EXPECT_EQ(got.objects[0].md5, "") << "put in blocks";
  EXPECT_TRUE(got.objects[0].frozen);
}

TEST_F(AzureStoreTest, ListsVersionsTheNewestFirst) {
  const auto versions = [](const std::string& current) {
    return Answer{.status = 200,
                  .body =
                      "<EnumerationResults><Blobs><Blob><Name>k</Name><VersionId>1</VersionId>"
                      "</Blob><Blob><Name>k</Name><VersionId>2</VersionId>" +
                      current +
                      "</Blob><Blob><Name>k2</Name><VersionId>3</VersionId></Blob></Blobs>"
                      "<NextMarker/></EnumerationResults>"};
  };
  transport_.answers = {versions("<IsCurrentVersion>true</IsCurrentVersion>")};
  EXPECT_THAT(versions_of(azure(), "k"), ElementsAre("2", "1"));
  // Removed: Azure has no marker of that.
  transport_.answers = {versions("")};
  const auto all = azure().versions()->of("k");
  ASSERT_EQ(all.size(), 3u);
  EXPECT_TRUE(all[0].removal);
}

TEST_F(AzureStoreTest, ListsVersionsOfAllPages) {
  const auto page = [](const std::string& blobs, const std::string& next) {
    return Answer{.status = 200,
                  .body = "<EnumerationResults><Blobs>" + blobs + "</Blobs><NextMarker>" + next +
                          "</NextMarker></EnumerationResults>"};
  };
  const std::string first = "<Blob><Name>k</Name><VersionId>1</VersionId></Blob>";
  const std::string second =
      "<Blob><Name>k</Name><VersionId>2</VersionId><IsCurrentVersion>true</IsCurrentVersion>"
      "</Blob><Blob><Name>k2</Name><VersionId>3</VersionId></Blob>";
  transport_.answers = {page(first, "m1"), page("", "m2"), page(second, "m3")};
  EXPECT_THAT(versions_of(azure(), "k"), ElementsAre("2", "1"));
  EXPECT_THAT(transport_.asked.back().url, HasSubstr("marker=m2"));
  EXPECT_THAT(transport_.answers, IsEmpty());
}

/// An answer to a batch, with a part for each of these statuses.
Answer batch_answer(const std::vector<std::string>& parts) {
  std::string body;
  std::size_t i = 0;
  for (const auto& part : parts)
    body += fmt::format(
        "--batchresponse_1\r\nContent-Type: application/http\r\n{}\r\nHTTP/1.1 {}\r\n"
        "x-ms-version: 2023-11-03\r\n\r\n",
        i++ % 2 == 0 ? fmt::format("Content-ID: {}\r\n", i - 1) : "", part);
  return {.status = 202,
          .headers = {{"content-type", "multipart/mixed; boundary=batchresponse_1"}},
          .body = body + "--batchresponse_1--\r\n"};
}

constexpr const char* kGone = "404 Not Found\r\nx-ms-error-code: BlobNotFound";

TEST_F(AzureStoreTest, RemovesInBatches) {
  std::vector<std::string> keys;
  for (int i = 0; i < 300; ++i) keys.push_back(fmt::format("p/k {}", i));
  transport_.answers = {batch_answer(std::vector<std::string>(256, "202 Accepted")),
                        batch_answer(std::vector<std::string>(44, kGone))};
  EXPECT_THAT(azure().remove(keys), IsEmpty());
  ASSERT_EQ(transport_.asked.size(), 2u);
  EXPECT_EQ(transport_.asked[0].method, "POST");
  EXPECT_EQ(transport_.asked[0].url,
            "https://acc.blob.core.windows.net/wal?comp=batch&restype=container");
  EXPECT_THAT(transport_.header("Content-Type"), StartsWith("multipart/mixed; boundary=batch_"));
  const auto& body = transport_.bodies[0];
  EXPECT_THAT(body, HasSubstr("\r\n\r\nDELETE /wal/p/k%20255 HTTP/1.1\r\nx-ms-date: Sun, 22 Nov "
                              "2026 00:00:00 GMT\r\nAuthorization: SharedKey acc:"));
  EXPECT_EQ(body.find("k%20256"), std::string::npos);
  EXPECT_EQ(body.find("x-ms-version"), std::string::npos);
  EXPECT_TRUE(body.ends_with("--batch_pgweir--\r\n"));
}

TEST_F(AzureStoreTest, AsksForWhatABatchHasNotRemoved) {
  const Answer removed{.status = 202};
  transport_.answers = {batch_answer({"202 Accepted", kGone, "409 Conflict", "403 Forbidden",
                                      "404 Not Found\r\nx-ms-error-code: ContainerNotFound",
                                      "500 Internal Server Error"})};
  transport_.of_url = {{"/c", azure_error(409, "BlobImmutableDueToPolicy")},
                       {"/d", azure_error(403, "AuthorizationPermissionMismatch")},
                       {"/e", removed},
                       {"/f", azure_error(404, "BlobNotFound")}};
  const std::vector<std::string> keys{"a", "b", "c", "d", "e", "f"};
  const auto kept = azure().remove(keys);
  ASSERT_EQ(kept.size(), 2u);
  EXPECT_EQ(kept[0].key, "c");
  EXPECT_EQ(kept[0].why, "BlobImmutableDueToPolicy");
  EXPECT_EQ(kept[1].why, "AuthorizationPermissionMismatch");
  EXPECT_EQ(transport_.asked.size(), 5u);
}

TEST_F(AzureStoreTest, RemovesOneByOneWhereABatchIsRejected) {
  const Answer removed{.status = 202};
  // As a whole, and fewer answers than requests: nothing is known to be removed.
  for (const auto& rejected :
       {batch_answer({"400 Bad Request\r\nx-ms-error-code: InvalidInput"}),
        batch_answer({"202 Accepted", "202 Accepted"}), Answer{.status = 202},
        azure_error(400, "InvalidInput"), azure_error(403, "AuthorizationPermissionMismatch"),
        Answer{.status = 405}}) {
    transport_.asked.clear();
    transport_.answers = {rejected};
    transport_.of_url = {{"/a", removed},
                         {"/b", azure_error(404, "BlobNotFound")},
                         {"/c", azure_error(409, "BlobImmutableDueToPolicy")}};
    const std::vector<std::string> keys{"a", "b", "c"};
    auto& store = azure();
    EXPECT_EQ(store.remove(keys).size(), 1u);
    EXPECT_EQ(transport_.asked.size(), 4u);
    EXPECT_EQ(store.remove(keys).size(), 1u);
    EXPECT_EQ(transport_.asked.size(), 7u) << "a batch is not tried again";
  }
}

TEST_F(AzureStoreTest, IsNotHeldUpByAnObjectWhoseRemovalFails) {
  transport_.answers = {azure_error(405, "UnsupportedHttpVerb")};
  transport_.of_url = {{"/a", azure_error(500, "InternalError")},
                       {"/b", Answer{.status = 202}},
                       {"/c", azure_error(409, "BlobImmutableDueToPolicy")}};
  const std::vector<std::string> keys{"a", "b", "c"};
  EXPECT_THAT(left_of(azure(), keys), ElementsAre("a", "c"));
  EXPECT_EQ(transport_.asked.size(), 4u);
}

TEST_F(AzureStoreTest, ThrowsWhatMayPass) {
  const std::vector<std::string> keys{"a", "b"};
  transport_.answers = {azure_error(503, "ServerBusy")};
  EXPECT_THROW(static_cast<void>(azure().remove(keys)), StoreError);
  for (const auto& failure : {azure_error(503, "ServerBusy"), azure_error(404, "ContainerNotFound"),
                              azure_error(403, "AuthenticationFailed")}) {
    transport_.answers = {azure_error(405, "UnsupportedHttpVerb")};
    transport_.of_url = {{"/a", failure}, {"/b", failure}};
    EXPECT_THROW(static_cast<void>(azure().remove(keys)), StoreError);
  }
}

TEST_F(AzureStoreTest, RemovesTheNewestVersionAfterTheObject) {
  const Answer removed{.status = 202};
  // The newest version is the object itself.
  transport_.asked.clear();
  transport_.answers = {azure_error(403, "OperationNotAllowedOnRootBlob"), removed, removed};
  const std::vector<std::string> versions{"v2"};
  EXPECT_THAT(azure().versions()->remove("k", versions), IsEmpty());
  ASSERT_EQ(transport_.asked.size(), 3u);
  EXPECT_THAT(transport_.asked[0].url, HasSubstr("versionid=v2"));
  EXPECT_THAT(transport_.asked[1].url, ::testing::Not(HasSubstr("versionid")));
}

TEST_F(AzureStoreTest, GoesByTheStoresClock) {
  now_ += std::chrono::hours(1);
  transport_.answers = {azure_error(403, "AuthenticationFailed",
                                    "<AuthenticationErrorDetail>Request date header too old: 'x'"
                                    "</AuthenticationErrorDetail>"),
                        stored()};
  EXPECT_EQ(put(azure()), ObjectStore::Put::stored);
  EXPECT_EQ(transport_.header("x-ms-date"), "Sun, 22 Nov 2026 00:00:00 GMT");
  EXPECT_THAT(log_.lines, ElementsAre(HasSubstr("this machine's clock differs from the store's")));
}

TEST_F(AzureStoreTest, SendsTokensAndRenewsThem) {
  const auto token = [](const char* text) {
    Credentials found;
    found.kind = Credentials::Kind::token;
    found.session_token = Secret(text);
    return found;
  };
  keys_.now = token("old");
  keys_.next = token("new");
  transport_.answers = {azure_error(401, "InvalidAuthenticationInfo"), stored()};
  EXPECT_EQ(put(azure()), ObjectStore::Put::stored);
  EXPECT_EQ(keys_.refusals, 1);
  EXPECT_EQ(transport_.header("Authorization"), "Bearer new");
  EXPECT_EQ(transport_.header("x-ms-version"), "2023-11-03") << "tokens need it";
}

TEST_F(AzureStoreTest, SendsASharedAccessSignature) {
  keys_.now = {};
  keys_.now.kind = Credentials::Kind::sas;
  keys_.now.session_token = Secret("sv=2021-12-02&sig=a%3D");
  transport_.answers = {stored(), page({}, ""), azure_error(403, "AuthorizationFailure")};
  static_cast<void>(put(azure()));
  EXPECT_THAT(transport_.asked[0].url, ::testing::EndsWith("/wal/p/k?sv=2021-12-02&sig=a%3D"));
  EXPECT_EQ(transport_.header("Authorization"), "");
  static_cast<void>(azure().list("p/", "", 1));
  EXPECT_THAT(transport_.asked[1].url,
              ::testing::EndsWith("restype=container&sv=2021-12-02&sig=a%3D"));
  const auto error = test::error_of([&] { static_cast<void>(azure().list("p/", "", 1)); });
  EXPECT_THAT(std::string(error.what()) + error.hint(), ::testing::Not(HasSubstr("sig=")));
}

TEST_F(AzureStoreTest, LocksAndTiers) {
  MemoryBytes bytes(test::as_bytes("hello"));
  auto content = content_of(bytes);
  content.locked = true;
  transport_.answers = {stored()};
  azure({.storage_class = "Cool",
         .lock = Lock{std::chrono::hours(24), true},
         .version = "2021-12-02"})
      .put("k", content);
  EXPECT_EQ(transport_.header("x-ms-access-tier"), "Cool");
  EXPECT_EQ(transport_.header("x-ms-immutability-policy-until-date"),
            "Mon, 23 Nov 2026 00:00:00 GMT");
  EXPECT_EQ(transport_.header("x-ms-immutability-policy-mode"), "Locked");
  EXPECT_EQ(transport_.header("x-ms-version"), "2021-12-02");
}

TEST_F(AzureStoreTest, SaysThatAKeyIsNone) {
  keys_.now.secret_key = Secret("not base64!");
  const auto error = test::error_of([&] { static_cast<void>(put(azure())); });
  EXPECT_EQ(error.kind(), ErrorKind::usage);
  EXPECT_THAT(std::string(error.what()), ::testing::Not(HasSubstr("not base64!")));
}

class S3StoreTest : public HttpStoreTest {
 protected:
  S3StoreTest() { keys_.now = {.access_key = "AKIA", .secret_key = Secret("s")}; }
  HttpStore& s3() {
    return store(std::make_unique<S3Dialect>(BucketSettings{.bucket = "wal", .region = "us-east-1"},
                                             StoreKind::s3, S3Dialect::Provider::any));
  }
};

/// At most 1,000 are listed at once, the newest first: readers need the oldest.
TEST_F(S3StoreTest, ListsVersionsOfAllPages) {
  const auto page = [](const std::string& versions, const std::string& next_key,
                       const std::string& next_version) {
    return Answer{.status = 200,
                  .body = "<ListVersionsResult>" + versions + "<IsTruncated>true</IsTruncated>" +
                          "<NextKeyMarker>" + next_key + "</NextKeyMarker><NextVersionIdMarker>" +
                          next_version + "</NextVersionIdMarker></ListVersionsResult>"};
  };
  const auto version = [](const std::string& key, const std::string& id) {
    return "<Version><Key>" + key + "</Key><VersionId>" + id + "</VersionId></Version>";
  };
  transport_.answers = {page(version("k", "3") + version("k", "2"), "k", "2"),
                        page(version("k", "1") + version("k.age", "9"), "k.age", "9")};
  EXPECT_THAT(versions_of(s3(), "k"), ElementsAre("3", "2", "1"));
  ASSERT_EQ(transport_.asked.size(), 2u);
  EXPECT_THAT(transport_.asked[1].url, HasSubstr("key-marker=k"));
  EXPECT_THAT(transport_.asked[1].url, HasSubstr("version-id-marker=2"));
  // A store that ignores the markers.
  const auto same = page(version("k", "3"), "k", "3");
  transport_.answers = {same, same, same};
  EXPECT_THROW(static_cast<void>(s3().versions()->of("k")), StoreError);
}

/// A store may end a page early, behind many removed objects of a versioned bucket (s3ql#170,
/// TileDB#1218). It is neither the end of the listing nor an error.
TEST_F(S3StoreTest, ListsBehindPagesWithoutObjects) {
  const auto page = [](const std::string& more) {
    return Answer{.status = 200, .body = "<ListBucketResult>" + more + "</ListBucketResult>"};
  };
  const auto empty = [&](const std::string& token) {
    return page("<IsTruncated>true</IsTruncated>" + token);
  };
  const auto token = [](const std::string& text) {
    return "<NextContinuationToken>" + text + "</NextContinuationToken>";
  };
  const auto last =
      page("<IsTruncated>true</IsTruncated><Contents><Key>wals/7</Key><Size>5</Size></Contents>" +
           token("never"));
  transport_.answers = {empty(token("one/=")), empty(token("two")), last};
  const auto listed = s3().list("wals/", "wals/3", 1000);
  ASSERT_EQ(listed.objects.size(), 1u);
  EXPECT_EQ(listed.objects[0].key, "wals/7");
  EXPECT_TRUE(listed.more);
  ASSERT_EQ(transport_.asked.size(), 3u);
  EXPECT_THAT(transport_.asked[0].url, HasSubstr("start-after=wals%2F3"));
  EXPECT_THAT(transport_.asked[1].url, HasSubstr("?continuation-token=one%2F%3D&"));
  EXPECT_THAT(transport_.asked[1].url, ::testing::Not(HasSubstr("start-after")));
  EXPECT_THAT(transport_.asked[2].url, HasSubstr("continuation-token=two"));
  // Where a key was listed, the next page starts after it.
  transport_.answers = {page("<IsTruncated>false</IsTruncated>")};
  EXPECT_FALSE(s3().list("wals/", "wals/7", 1000).more);
  EXPECT_THAT(transport_.asked.back().url, HasSubstr("start-after=wals%2F7"));
  // One that does not move on, or names no place to continue.
  transport_.answers = {empty(token("one")), empty(token("one"))};
  EXPECT_THROW(static_cast<void>(s3().list("wals/", "", 1000)), StoreError);
  transport_.answers = {empty("")};
  EXPECT_THROW(static_cast<void>(s3().list("wals/", "", 1000)), StoreError);
}

/// An ETag of such an object looks like an MD5, and is none: each object would be called a changed
/// one. Listings have nothing else, and do not tell how an object is encrypted.
TEST_F(S3StoreTest, KnowsNoMd5OfWhatTheStoreEncryptsByAKeyOfItsOwn) {
  constexpr const char* kETag = "\"d12b33cb96e431763224615d904dc600\"";
  const Answer listing{.status = 200,
                       .body =
                           "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>k"
                           "</Key><Size>5</Size><ETag>" +
                           std::string(kETag) + "</ETag></Contents></ListBucketResult>"};
  const auto object = [&](const std::string& encryption) {
    return Answer{.status = 200,
                  .headers = {{"etag", kETag},
                              {"content-length", "5"},
                              {"x-amz-server-side-encryption", encryption}},
                  .body = "lines"};
  };
  for (const std::string encryption : {"aws:kms", "aws:kms:dsse", "AES256"}) {
    SCOPED_TRACE(encryption);
    const std::string md5 = encryption == "AES256" ? "d12b33cb96e431763224615d904dc600" : "";
    transport_.answers = {object(encryption), listing, object(encryption)};
    auto& store = s3();
    EXPECT_EQ(get_text(store, "manifest", 100), "lines");
    EXPECT_EQ(store.list("", "", 1000).objects.at(0).md5, md5);
    EXPECT_EQ(store.head("k")->md5, md5);
  }
}

/// One answer for many objects, each with its own reason. "AccessDenied" may be a lock; of the
/// others, nothing keeps the object.
TEST_F(S3StoreTest, DoesNotCallAnObjectKeptThatCouldNotBeRemovedNow) {
  const std::vector<std::string> keys{"a", "b"};
  const auto result = [](const std::string& key, const std::string& code) {
    return "<Error><Key>" + key + "</Key><Code>" + code + "</Code><Message>words</Message></Error>";
  };
  const auto answer = [](const std::string& errors) {
    return Answer{.status = 200, .body = "<DeleteResult>" + errors + "</DeleteResult>"};
  };
  for (const auto* const code : {"InternalError", "SlowDown", "ServiceUnavailable"}) {
    transport_.answers = {answer(result("a", "AccessDenied") + result("b", code))};
    const auto error = test::error_of([&] { static_cast<void>(s3().remove(keys)); });
    EXPECT_EQ(error.kind(), ErrorKind::retry);
    EXPECT_THAT(error.what(), HasSubstr("the store answered " + std::string(code) + " words"));
    EXPECT_THAT(error.what(), HasSubstr("s3://wal/b"));
    transport_.answers = {answer(result("a", "AccessDenied") + result("b", code))};
    EXPECT_THAT(left_of(s3(), keys), ElementsAre("a", "b"));
  }
  transport_.answers = {answer(result("a", "AccessDenied"))};
  const auto kept = s3().remove(keys);
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_EQ(kept[0].key, "a");
}

/// It is asked again for the same page, which takes as long again.
TEST_F(S3StoreTest, TellsWhatMayHoldUpAListing) {
  transport_.silent = true;
  const auto hint = [&](const auto& request) { return test::error_of(request).hint(); };
  EXPECT_THAT(hint([&] { static_cast<void>(s3().list("p/", "", 1000)); }),
              HasSubstr("--store-timeout"));
  EXPECT_EQ(
      hint([&] { static_cast<void>(s3().get("k", std::nullopt, [](auto) { return true; })); }), "");
}

/// A connection that breaks off must not look like the end of the object.
TEST_F(S3StoreTest, ReadsNoObjectWhoseEndIsUnknown) {
  const auto read = [&](std::map<std::string, std::string> headers) {
    transport_.answers = {
        {.status = 200, .headers = std::move(headers), .body = "1\t0/3000000\tno reason\n"}};
    return s3().get("k", std::nullopt, [](auto) { return true; });
  };
  EXPECT_TRUE(read({{"content-length", "22"}}));
  EXPECT_TRUE(read({{"transfer-encoding", "chunked"}}));
  EXPECT_THROW(static_cast<void>(read({})), StoreError);
}

/// "No rule" is an answer of its own: a proxy's 404, or a page, says nothing of the bucket.
TEST_F(S3StoreTest, TellsARuleThatIsNotSetFromOneThatCannotBeRead) {
  const auto rule = [&](Answer answer) {
    transport_.answers = {std::move(answer)};
    return s3().rules()->rule("lifecycle");
  };
  const auto error = [](const std::string& code) {
    return "<Error><Code>" + code + "</Code></Error>";
  };
  for (const auto* const code :
       {"NoSuchLifecycleConfiguration", "ObjectLockConfigurationNotFoundError"})
    EXPECT_EQ(rule({.status = 404, .body = error(code)}), std::nullopt) << code;
  EXPECT_EQ(rule({.status = 501, .body = error("NotImplemented")}), std::nullopt);
  EXPECT_EQ(rule({.status = 200, .body = "<LifecycleConfiguration/>"}),
            "<LifecycleConfiguration/>");
  for (const auto& body :
       {error("NoSuchBucket"), error("NoSuchKey"), std::string("<html/>"), std::string()}) {
    SCOPED_TRACE(body);
    EXPECT_THROW(static_cast<void>(rule({.status = 404, .body = body})), StoreError);
  }
}

class GoogleStoreTest : public HttpStoreTest {
 protected:
  GoogleStoreTest() { keys_.now = {.access_key = "GOOG1E", .secret_key = Secret("s")}; }
  HttpStore& google() {
    return store(std::make_unique<S3Dialect>(BucketSettings{.bucket = "wal"}, StoreKind::gs,
                                             S3Dialect::Provider::google));
  }
};

TEST_F(GoogleStoreTest, ComparesGenerations) {
  const Answer stored{
      .status = 200,
      .headers = {{"etag", "\"5d41402abc4b2a76b9719d911017c592\""}, {"x-goog-generation", "17"}}};
  transport_.answers = {stored};
  EXPECT_EQ(put(google()), ObjectStore::Put::stored);
  EXPECT_EQ(transport_.asked[0].url, "https://storage.googleapis.com/wal/p/k");
  EXPECT_EQ(transport_.header("x-goog-if-generation-match"), "0");
  EXPECT_EQ(transport_.header("If-None-Match"), "") << "it would be ignored";
  EXPECT_EQ(transport_.header("x-goog-meta-pgweir-system-id"), "7");
  EXPECT_THAT(transport_.header("Authorization"),
              StartsWith("GOOG4-HMAC-SHA256 Credential=GOOG1E/"));
  transport_.answers = {{.status = 412}};
  EXPECT_EQ(put(google()), ObjectStore::Put::taken);
  // Without the right to delete, an overwrite is a matter of rights.
  const Answer denied{.status = 403, .body = "<Error><Code>AccessDenied</Code></Error>"};
  auto there = stored;
  there.headers["content-length"] = "5";
  transport_.answers = {denied, there};
  EXPECT_EQ(put(google()), ObjectStore::Put::taken);

  transport_.answers = {there};
  const auto head = google().head("p/k");
  ASSERT_TRUE(head);
  EXPECT_EQ(head->etag, "17");
  EXPECT_EQ(head->md5, "5d41402abc4b2a76b9719d911017c592");
  MemoryBytes bytes(test::as_bytes("hello"));
  transport_.answers = {stored};
  EXPECT_EQ(google().put_if_match("p/k", content_of(bytes), "17"), ObjectStore::Put::stored);
  EXPECT_EQ(transport_.header("x-goog-if-generation-match"), "17");
}

TEST_F(GoogleStoreTest, SendsTokens) {
  keys_.now = {};
  keys_.now.kind = Credentials::Kind::token;
  keys_.now.session_token = Secret("ya29");
  // A composed object has no MD5 as its ETag.
  transport_.answers = {{.status = 200,
                         .headers = {{"etag", "\"CAE=\""},
                                     {"x-goog-hash", "crc32c=AA==,md5=XUFAKrxLKna5cZ2REBfFkg=="}}}};
  EXPECT_EQ(put(google()), ObjectStore::Put::stored);
  EXPECT_EQ(transport_.header("Authorization"), "Bearer ya29");
}

/// A command prints a token without its expiry time.
TEST_F(GoogleStoreTest, AsksForAnotherTokenWhenOneIsRejected) {
  const auto token = [](const char* text) {
    Credentials found;
    found.kind = Credentials::Kind::token;
    found.session_token = Secret(text);
    return found;
  };
  keys_.now = token("first");
  keys_.next = token("second");
  const Answer stored{.status = 200,
                      .headers = {{"etag", "\"5d41402abc4b2a76b9719d911017c592\""},
                                  {"x-goog-generation", "17"},
                                  {"content-length", "5"}}};
  transport_.answers = {
      {.status = 401, .body = "<Error><Code>AuthenticationRequired</Code></Error>"}, stored};
  EXPECT_EQ(put(google()), ObjectStore::Put::stored);
  EXPECT_EQ(keys_.refusals, 1);
  EXPECT_EQ(transport_.header("Authorization"), "Bearer second");
  // An answer to HEAD has no body.
  keys_.next = token("third");
  transport_.answers = {{.status = 401}, stored};
  EXPECT_TRUE(google().head("p/k"));
  EXPECT_EQ(transport_.header("Authorization"), "Bearer third");
  // The source has no other one.
  transport_.answers = {{.status = 401}};
  const auto error = test::error_of([&] { static_cast<void>(put(google())); });
  EXPECT_THAT(error.what(), HasSubstr("the store answered 401"));
  EXPECT_THAT(transport_.answers, IsEmpty());
}

TEST_F(HttpStoreTest, AsksForOtherKeysWhenTheStoreDoesNotKnowThem) {
  keys_.now = {.access_key = "old", .secret_key = Secret("s")};
  keys_.next = Credentials{.access_key = "new", .secret_key = Secret("t")};
  auto& s3 = store(std::make_unique<S3Dialect>(
      BucketSettings{.bucket = "wal", .endpoint = *Endpoint::parse("https://host")}, StoreKind::s3,
      S3Dialect::Provider::any));
  transport_.answers = {
      {.status = 403, .body = "<Error><Code>InvalidAccessKeyId</Code></Error>"},
      {.status = 200, .headers = {{"etag", "\"5d41402abc4b2a76b9719d911017c592\""}}}};
  EXPECT_EQ(put(s3), ObjectStore::Put::stored);
  EXPECT_EQ(keys_.refusals, 1);
  EXPECT_THAT(transport_.header("Authorization"), HasSubstr("Credential=new/"));
}

TEST_F(GoogleStoreTest, RemovesOneByOneWhereManyAreNotSupported) {
  const Answer no_xml{.status = 400, .body = "<Error><Code>MalformedXML</Code></Error>"};
  const Answer not_done{.status = 501, .body = "<Error><Code>NotImplemented</Code></Error>"};
  for (const auto& unable : {Answer{.status = 501}, Answer{.status = 405}, no_xml, not_done}) {
    transport_.asked.clear();
    transport_.answers = {unable, {.status = 204}, {.status = 204}, {.status = 204}};
    const std::vector<std::string> keys{"a", "b"};
    auto& store = google();
    EXPECT_THAT(store.remove(keys), IsEmpty());
    ASSERT_EQ(transport_.asked.size(), 3u);
    EXPECT_THAT(store.remove(std::span(keys).first(1)), IsEmpty());
    EXPECT_EQ(transport_.asked.size(), 4u);
  }
}

TEST_F(HttpStoreTest, NeverReplacesWithoutTheConditionThatWasAskedFor) {
  keys_.now = {.access_key = "k", .secret_key = Secret("s")};
  auto& s3 = store(std::make_unique<S3Dialect>(
      BucketSettings{.bucket = "wal", .endpoint = *Endpoint::parse("https://host")}, StoreKind::s3,
      S3Dialect::Provider::any));
  MemoryBytes bytes(test::as_bytes("hello"));
  const auto content = content_of(bytes);
  transport_.answers = {{.status = 501, .body = "<Error><Code>NotImplemented</Code></Error>"}};
  for (int i = 0; i < 2; ++i) {  // the second time without a request
    try {
      static_cast<void>(s3.put_if_match("k", content, "etag"));
      ADD_FAILURE() << "it was put";
    } catch (const StoreError& error) {
      EXPECT_EQ(error.trouble(), Trouble::unable);
    }
    EXPECT_EQ(transport_.asked.size(), 1u);
  }
}

TEST_F(HttpStoreTest, OfS3MayHaveAPath) {
  keys_.now = {.access_key = "k", .secret_key = Secret("s")};
  auto& s3 = store(std::make_unique<S3Dialect>(
      BucketSettings{.bucket = "wal", .endpoint = *Endpoint::parse("https://host/base/s3/")},
      StoreKind::s3, S3Dialect::Provider::any));
  transport_.answers = {
      {.status = 200, .headers = {{"etag", "\"5d41402abc4b2a76b9719d911017c592\""}}}};
  EXPECT_EQ(put(s3), ObjectStore::Put::stored);
  EXPECT_EQ(transport_.asked[0].url, "https://host/base/s3/wal/p/k");
}

}  // namespace
}  // namespace weir::store::http_store_test

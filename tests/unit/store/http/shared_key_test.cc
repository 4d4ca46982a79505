#include "store/http/shared_key.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace weir::store::shared_key_test {
namespace {

/// Every emulator has it.
constexpr const char* kKey =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

TEST(SharedKey, SignsTheTextOfTheDocumentedExample) {
  // "Authorize with Shared Key": Get Container Metadata
  EXPECT_EQ(
      shared_key_text({.method = "GET",
                       .account = "myaccount",
                       .path = "/mycontainer",
                       .query = {{"timeout", "20"}, {"restype", "container"}, {"comp", "metadata"}},
                       .headers = {{"x-ms-version", "2015-02-21"},
                                   {"x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT"}}}),
      "GET\n\n\n\n\n\n\n\n\n\n\n\n"
      "x-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n"
      "/myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20");
}

TEST(SharedKey, SignsWhatIsSent) {
  const SharedKeySigning put{.method = "PUT",
                             .account = "devstoreaccount1",
                             .path = "/devstoreaccount1/wal/a%20b",
                             .headers = {{"Content-Type", "application/octet-stream"},
                                         {"Content-MD5", "XUFAKrxLKna5cZ2REBfFkg=="},
                                         {"x-ms-blob-type", "BlockBlob"},
                                         {"If-None-Match", "*"},
                                         {"x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT"},
                                         {"x-ms-version", "2023-11-03"}},
                             .body_size = 5};
  // Calculated apart.
  EXPECT_EQ(shared_key_authorization(put, Secret(kKey)),
            "SharedKey devstoreaccount1:PcTa6a7oPPrCfDrbSC/j+n+STPFA4KAkm8ynYgzvc8M=");
  EXPECT_EQ(shared_key_authorization(put, Secret("no base64")), std::nullopt);
}

TEST(SharedKey, HasNoLengthOfAnEmptyBody) {
  const auto text = shared_key_text(
      {.method = "PUT", .account = "a", .path = "/c/k", .headers = {{"x-ms-date", "now"}}});
  EXPECT_THAT(text, ::testing::StartsWith("PUT\n\n\n\n\n"));
}

}  // namespace
}  // namespace weir::store::shared_key_test

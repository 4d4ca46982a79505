#include "store/http/azure_account.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/error_of.h"

namespace weir::store::azure_account_test {
namespace {

TEST(AzureAccount, IsNamedByWhatIsGiven) {
  struct Case {
    const char* endpoint;
    Style style;
    const char* account;
    const char* connection;
    const char* name;
    const char* address;
  };
  constexpr auto kAuto = Style::automatic;
  for (const auto& each : {
           Case{"", kAuto, "acc", "", "acc", "https://acc.blob.core.windows.net"},
           Case{"https://acc.blob.core.windows.net", kAuto, "", "", "acc",
                "https://acc.blob.core.windows.net"},
           // the account is called otherwise
           Case{"https://wal.example.org", kAuto, "acc", "", "acc", "https://wal.example.org"},
           Case{"https://blob.core.usgovcloudapi.net", kAuto, "acc", "", "acc",
                "https://acc.blob.core.usgovcloudapi.net"},
           // emulators
           Case{"http://127.0.0.1:10000", kAuto, "acc", "", "acc", "http://127.0.0.1:10000/acc"},
           Case{"http://[::1]:10000", kAuto, "acc", "", "acc", "http://[::1]:10000/acc"},
           Case{"http://azurite:10000", kAuto, "acc", "", "acc", "http://azurite:10000/acc"},
           Case{"http://127.0.0.1:10000/acc", kAuto, "", "", "acc", "http://127.0.0.1:10000/acc"},
           Case{"https://store.example.org", Style::path, "acc", "", "acc",
                "https://store.example.org/acc"},
           Case{"http://azurite:10000", Style::host, "acc", "", "acc", "http://azurite:10000"},
           Case{"", kAuto, "",
                "DefaultEndpointsProtocol=https;AccountName=acc;AccountKey=a==;"
                "EndpointSuffix=core.chinacloudapi.cn",
                "acc", "https://acc.blob.core.chinacloudapi.cn"},
           Case{"", kAuto, "",
                "AccountName=acc;AccountKey=a==;BlobEndpoint=http://127.0.0.1:1/acc;", "acc",
                "http://127.0.0.1:1/acc"},
           Case{"", kAuto, "",
                "BlobEndpoint=https://acc.blob.core.windows.net/;"
                "SharedAccessSignature=sv=1&sig=a%3D",
                "acc", "https://acc.blob.core.windows.net"},
           // an endpoint goes before
           Case{"https://one.blob.core.windows.net", kAuto, "", "AccountName=other", "one",
                "https://one.blob.core.windows.net"},
       }) {
    SCOPED_TRACE(std::string(each.endpoint) + " " + each.connection);
    const auto found = azure_account({.endpoint = Endpoint::parse(each.endpoint),
                                      .style = each.style,
                                      .account = each.account,
                                      .connection = each.connection});
    EXPECT_EQ(found.name, each.name);
    EXPECT_EQ(found.endpoint.to_string(), each.address);
  }
}

TEST(AzureAccount, ThatNothingNamesIsAskedFor) {
  for (const char* const endpoint :
       {"", "http://127.0.0.1:10000", "https://blob.core.windows.net", "http://azurite:10000"}) {
    SCOPED_TRACE(endpoint);
    const auto error =
        test::error_of([&] { static_cast<void>(azure_account({Endpoint::parse(endpoint)})); });
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    EXPECT_THAT(error.hint(), ::testing::HasSubstr("AZURE_STORAGE_ACCOUNT"));
  }
}

}  // namespace
}  // namespace weir::store::azure_account_test

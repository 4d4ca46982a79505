#include "metrics/exporter.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace weir::metrics::exporter_test {
namespace {

TEST(ListenAddress, IsThisMachineUnlessToldOtherwise) {
  const struct {
    const char* text;
    const char* address;  // nullptr: refused
  } cases[] = {
      {"9187", "127.0.0.1:9187"},
      {":9187", "127.0.0.1:9187"},
      {"localhost:9187", "127.0.0.1:9187"},
      {"127.0.0.1:1", "127.0.0.1:1"},
      {"0.0.0.0:65535", "0.0.0.0:65535"},
      {"*:9187", "0.0.0.0:9187"},
      {"[::1]:9187", "[::1]:9187"},
      {"", nullptr},
      {"0", nullptr},
      {"65536", nullptr},
      {"-1", nullptr},
      {"9187x", nullptr},
      {"127.0.0.1:", nullptr},
      {"db1:9187", nullptr},
      {"::1:9187", nullptr},
      {"[::1:9187", nullptr},
      {"127.0.0.1:9187,0.0.0.0:80", nullptr},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.text);
    if (each.address != nullptr) {
      EXPECT_EQ(parse_listen_address(each.text), each.address);
      continue;
    }
    try {
      ADD_FAILURE() << parse_listen_address(each.text);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::usage);
      EXPECT_FALSE(error.hint().empty());
    }
  }
}

TEST(MetricsFile, HasANameThatTheCollectorReads) {
  try {
    write_file("/nonexistent/metrics.txt", {});
    ADD_FAILURE() << "taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
  }
}

}  // namespace
}  // namespace weir::metrics::exporter_test

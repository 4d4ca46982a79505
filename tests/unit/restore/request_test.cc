#include "restore/request.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace weir::restore::request_test {
namespace {

TEST(ParseRequest, TakesWhatPostgresqlAsksForAndNothingElse) {
  enum Kind : int { segment, history, backup, refused };
  struct Case {
    std::string text;
    int kind;
  };
  const Case cases[] = {
      {"000000010000000000000003", segment},
      {"00000002.history", history},
      {"000000010000000000000002.00000028.backup", backup},
      {"", refused},
      {"000000010000000000000003.partial", refused},
      {"000000010000000000000003.zst", refused},
      {"00000001000000000000000", refused},
      {"0000000100000000000000030", refused},
      {"00000001000000000000000g", refused},
      {"00000001000000000000000a", refused},
      {"000000000000000000000003", refused},
      {"00000000.history", refused},
      {"00000002.history.gz", refused},
      {"2.history", refused},
      {"000000010000000000000002.0000002g.backup", refused},
      {"000000010000000000000002.backup", refused},
      {"../000000010000000000000003", refused},
      {"/tmp/000000010000000000000003", refused},
      {"pg_wal/00000002.history", refused},
      {"00000002.history/", refused},
      {std::string("00000002.history\0", 17), refused},
      {"%f", refused},
      {".", refused},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.text);
    if (test.kind == refused) {
      try {
        static_cast<void>(parse_request(test.text));
        ADD_FAILURE() << "taken";
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::usage);
      }
    } else {
      EXPECT_EQ(static_cast<int>(parse_request(test.text).index()), test.kind);
    }
  }
}

}  // namespace
}  // namespace weir::restore::request_test

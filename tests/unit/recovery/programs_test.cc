#include "recovery/programs.h"

#include <gtest/gtest.h>

#include "support/backup_builder.h"

namespace weir::recovery::programs_test {
namespace {

using test::TemporaryDirectory;

TEST(ReachedPosition, IsWhereTheNewestHistoryLeavesTheOldTimeline) {
  const TemporaryDirectory data;
  data.write("pg_wal/000000010000000000000003", "");
  EXPECT_FALSE(reached_position(data.path()));
  data.write("pg_wal/00000002.history", "1\t0/3000148\tno recovery target specified\n");
  EXPECT_EQ(reached_position(data.path()), wal::Lsn(0x3000148));
  data.write("pg_wal/0000000A.history",
             "1\t0/3000148\tno recovery target specified\n2\t0/5000000\tafter LSN 0/4000000\n");
  EXPECT_EQ(reached_position(data.path()), wal::Lsn(0x5000000));
}

}  // namespace
}  // namespace weir::recovery::programs_test

#include "receive/questions.h"

#include <gtest/gtest.h>

#include "support/wal_builder.h"
#include "unit/receive/other_server.h"

namespace weir::receive::questions_test {
namespace {

/// Over a slow line a server still sends what was not asked for.
TEST(Questions, TakeAnAnswerAlthoughTheServerDoesNotEndTheStreamInTime) {
  testing::WalBuilder wal({});
  wal.grow_to(wal::Lsn(3 << 20));
  test::Other other;
  other.wal.assign(wal.bytes().begin(), wal.bytes().end());
  other.begin = other.oldest = wal.start();
  for (const bool ends : {true, false}) {
    SCOPED_TRACE(ends);
    other.ends_streams = ends;
    test::OtherServer server(other);
    const net::Wake stop;
    Questioner questioner{server, this_machine(), stop};
    EXPECT_TRUE(questioner.has_wal_at(1, wal.start()));
    EXPECT_EQ(questioner.spoilt, !ends);
    EXPECT_FALSE(questioner.has_wal_at(1, wal::Lsn(8192)));
    EXPECT_EQ(questioner.read(1, wal.start(), 100).size(), 100u);
  }
}

}  // namespace
}  // namespace weir::receive::questions_test

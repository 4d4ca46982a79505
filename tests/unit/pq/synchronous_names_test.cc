#include "pq/synchronous_names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace weir::pq::synchronous_names_test {
namespace {

using ::testing::ElementsAre;

TEST(SynchronousNames, AreReadAsTheServerReadsThem) {
  EXPECT_THAT(synchronous_names(""), ElementsAre());
  EXPECT_THAT(synchronous_names("a"), ElementsAre("a"));
  EXPECT_THAT(synchronous_names("*"), ElementsAre("*"));
  EXPECT_THAT(synchronous_names("a, B"), ElementsAre("a", "b"));
  EXPECT_THAT(synchronous_names("2 (a, b)"), ElementsAre("a", "b"));
  EXPECT_THAT(synchronous_names("FIRST 1 (any, \"my \"\"x\")"), ElementsAre("any", "my \"x"));
  EXPECT_THAT(synchronous_names("ANY 2 (*)"), ElementsAre("*"));
  EXPECT_THAT(synchronous_names("any"), ElementsAre("any"));
}

TEST(SynchronousNames, SaysWhetherCommitsMayWaitForWhoConnectsUnderAName) {
  EXPECT_FALSE(names_standby("", "pgweir"));
  EXPECT_FALSE(names_standby("ANY 1 (a, b)", "pgweir"));
  EXPECT_TRUE(names_standby("ANY 1 (a, PgWeir)", "pgweir"));
  EXPECT_TRUE(names_standby("pgweir", "PGWEIR"));
  EXPECT_TRUE(names_standby("*", "pgweir"));
  EXPECT_FALSE(names_standby("pgweir2", "pgweir"));
  EXPECT_FALSE(names_standby("\"*x\"", "pgweir"));
}

}  // namespace
}  // namespace weir::pq::synchronous_names_test

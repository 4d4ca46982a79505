#include "doctor/preferred.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace weir::doctor::preferred_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

HostRole host(std::string name, std::optional<bool> standby, std::optional<bool> has_slot = {}) {
  return {.host = std::move(name), .trouble = {}, .standby = standby, .has_slot = has_slot};
}
HostRole silent(std::string name) {
  return {.host = std::move(name),
          .trouble = Trouble{"connection refused", {"start it"}},
          .standby = {},
          .has_slot = {}};
}
Plan plan(PreferredRole role) {
  Plan plan;
  plan.slot = "archive";
  plan.hosts = 3;
  plan.prefer = role;
  return plan;
}

TEST(PreferredRole, NamesTheHostsThatHaveIt) {
  const std::vector<HostRole> hosts{host("db1", false, true), host("db2", true, true),
                                    host("db3", true, true)};
  auto check = judge_preferred(plan(PreferredRole::standby), "", hosts);
  EXPECT_EQ(check.level, Level::ok);
  EXPECT_EQ(check.name, "preferred_role");
  EXPECT_EQ(check.found, "a standby is preferred: db2, db3; of the other role: db1");
  check = judge_preferred(plan(PreferredRole::primary), "any", hosts);
  EXPECT_EQ(check.level, Level::ok);
  EXPECT_EQ(check.found, "a primary is preferred: db1; of the other role: db2, db3");
}

TEST(PreferredRole, ThereMayBeNoneOfThatRole) {
  const auto check =
      judge_preferred(plan(PreferredRole::standby), "",
                      {host("db1", false), host("db2", std::nullopt), silent("db3")});
  EXPECT_EQ(check.level, Level::warning);
  EXPECT_EQ(check.found,
            "a standby is preferred, but no host that answers is one: WAL is received from another "
            "host until one is available; of the other role: db1; role unknown: db2; does not "
            "answer: db3");
  EXPECT_THAT(check.todo, ElementsAre("start it"));
}

TEST(PreferredRole, AHostWithoutTheSlotIsNotMovedTo) {
  auto check = judge_preferred(
      plan(PreferredRole::standby), "",
      {host("db1", false, true), host("db2", true, false), host("db3", true, true)});
  EXPECT_EQ(check.level, Level::warning);
  EXPECT_EQ(
      check.found,
      "a standby is preferred, and db2 has no slot \"archive\", so the stream is moved only to "
      "db3; of the other role: db1");
  check = judge_preferred(plan(PreferredRole::standby), "",
                          {host("db1", false, true), host("db2", true, false)});
  EXPECT_EQ(check.level, Level::warning);
  EXPECT_THAT(check.found, HasSubstr("so the stream is not moved to a host of that role"));
  EXPECT_THAT(check.todo, ElementsAre(HasSubstr("--all-hosts")));
}

TEST(PreferredRole, ThereHasToBeAChoice) {
  auto check = judge_preferred(plan(PreferredRole::standby), "", {host("db1", false)});
  EXPECT_EQ(check.level, Level::warning);
  EXPECT_THAT(check.found, HasSubstr("has one host"));
  check = judge_preferred(plan(PreferredRole::standby), "read-write",
                          {host("db1", false), host("db2", true)});
  EXPECT_EQ(check.level, Level::failure);
  EXPECT_THAT(check.found, HasSubstr("target_session_attrs=read-write exclude each other"));
}

}  // namespace
}  // namespace weir::doctor::preferred_test

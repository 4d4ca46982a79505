#include "recovery/brought_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace weir::recovery::brought_settings_test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

std::vector<std::string> told(const std::string& main, const std::string& automatic = {}) {
  return settings_that_act({{"postgresql.conf", main}, {"postgresql.auto.conf", automatic}});
}

TEST(BroughtSettings, ThatActAreTold) {
  for (const auto* line :
       {"recovery_target = 'immediate'", "recovery_target_time = '2026-11-20 03:14'",
        "recovery_target_xid = 7", "Recovery_Target_Name  'point'", "\trecovery_target_lsn='0/1'",
        "recovery_target_timeline = 3", "recovery_target_action = promote",
        "recovery_min_apply_delay = 5min", "restore_command = 'cp x y'",
        "recovery_end_command = 'rm'", "archive_cleanup_command = 'rm'",
        "synchronous_standby_names = 'ANY 1 (a, b)' # two", "synchronized_standby_slots = 'a'",
        "data_directory = '/srv/pg'", "external_pid_file = '/run/x.pid'", "include_dir = 'conf.d'",
        "archive_mode = on\narchive_command = 'cp %p /x'"})
    EXPECT_THAT(told(line), ElementsAre(HasSubstr("the backup's postgresql.conf"))) << line;
}

TEST(BroughtSettings, ThatDoNothingAreNotTold) {
  for (const auto* line :
       {"", "# recovery_target_lsn = '0/1'", "recovery_target_lsn = ''",
        "recovery_target_timeline = 'latest'", "recovery_target_action = pause",
        "recovery_target_inclusive = off", "synchronous_standby_names = ''",
        "archive_mode = off\narchive_command = 'cp %p /x'", "archive_command = 'cp %p /x'",
        "primary_conninfo = 'host=x'", "recovery_min_apply_delay = 0", "= = =", "'", "port = 5432"})
    EXPECT_THAT(told(line), IsEmpty()) << line;
}

TEST(BroughtSettings, OfTwoFilesAndLinesTheLastOneCounts) {
  EXPECT_THAT(told("recovery_target_lsn = '0/1'", "recovery_target_lsn = ''"), IsEmpty());
  EXPECT_THAT(told("synchronous_standby_names = 'a'\nsynchronous_standby_names = 'it''s \\'b'"),
              ElementsAre(HasSubstr("= 'it's 'b'")));
  EXPECT_THAT(told("", "synchronous_standby_names = 'a'"),
              ElementsAre(HasSubstr("postgresql.auto.conf sets")));
}

TEST(BroughtSettings, AreToldWithoutSecrets) {
  for (const auto* line : {"restore_command = 'fetch --key=secret'",
                           "archive_mode = on\narchive_command = 'send --key=secret'"})
    EXPECT_THAT(told(line), ElementsAre(Not(HasSubstr("secret"))));
  EXPECT_THAT(settings_that_act({{"postgresql.auto.conf", "primary_conninfo = 'password=secret'"},
                                 {"standby.signal", ""}}),
              ElementsAre(HasSubstr("standby.signal"),
                          AllOf(HasSubstr("primary_conninfo"), Not(HasSubstr("secret")))));
}

TEST(BroughtSettings, OfARecoveryThatGoesOnAreTold) {
  EXPECT_THAT(settings_that_act({{"recovery.signal", ""}}),
              ElementsAre(HasSubstr("recovery.signal")));
  EXPECT_TRUE(is_settings_file("standby.signal"));
  EXPECT_FALSE(is_settings_file("pg_hba.conf"));
}

}  // namespace
}  // namespace weir::recovery::brought_settings_test

#include "recover/own_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

namespace weir::recover::own_settings_test {
namespace {

using recovery::Target;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;

class Values final : public Effective {
 public:
  [[nodiscard]] bool known() const override { return is_known; }
  [[nodiscard]] std::optional<std::string> value(const std::string& name) override {
    const auto found = values.find(name);
    if (!is_known || found == values.end()) return std::nullopt;
    return found->second;
  }
  [[nodiscard]] bool is_in_auto(const std::string& name) override { return name == in_auto; }
  bool is_known = true;
  std::string in_auto;
  std::map<std::string, std::string> values = {{"archive_mode", "off"}, {"hot_standby", "on"}};
};

struct Scene {
  Scene() {
    options.into = "/srv/pg/main";
    promise.last_record = wal::Lsn(0x3000148);
  }
  OwnSettings make(int major = 15) {
    return own_settings({.options = options,
                         .promise = promise,
                         .timeline = 2,
                         .major = major,
                         .restore_command = "pgweir restore -D '/srv/it''s' %f %p",
                         .limits = limits},
                        values);
  }
  Options options;
  recovery::Promise promise;
  wal::ServerLimits limits{};
  Values values;
};

std::size_t place(const OwnSettings& settings, const std::string& name) {
  for (std::size_t i = 0; i < settings.recovery.size(); ++i)
    if (settings.recovery[i].first == name) return i;
  return std::string::npos;
}

TEST(OwnSettings, SetTheOtherTargetsToNothingFirst) {
  const struct {
    Target target;
    const char* name;
    const char* value;
  } cases[] = {
      {{}, "recovery_target_lsn", "0/3000148"},
      {{.kind = Target::Kind::lsn, .lsn = wal::Lsn(0x16B374D848)},
       "recovery_target_lsn",
       "16/B374D848"},
      {{.kind = Target::Kind::time, .time = {1}},
       "recovery_target_time",
       "2000-01-01 00:00:00.000001 UTC"},
      {{.kind = Target::Kind::xid, .xid = 4711}, "recovery_target_xid", "4711"},
      {{.kind = Target::Kind::name, .name = "it's"}, "recovery_target_name", "it's"},
      {{.kind = Target::Kind::immediate}, "recovery_target_lsn", "0/3000148"},
  };
  for (const auto& [target, name, value] : cases) {
    SCOPED_TRACE(name);
    Scene scene;
    scene.options.target = target;
    const auto made = scene.make();
    const auto own = place(made, name);
    ASSERT_NE(own, std::string::npos);
    EXPECT_EQ(made.recovery[own].second, value);
    for (const auto* other : {"recovery_target", "recovery_target_lsn", "recovery_target_name",
                              "recovery_target_time", "recovery_target_xid"}) {
      if (std::string(other) == name) continue;
      ASSERT_LT(place(made, other), own) << other;
      EXPECT_EQ(made.recovery[place(made, other)].second, "") << other;
    }
    EXPECT_THAT(made.recovery, Contains(Pair("recovery_target_timeline", "2")));
    EXPECT_THAT(made.recovery, Contains(Pair("recovery_target_inclusive", "on")));
  }
}

TEST(OwnSettings, StopArchivingUnlessItIsOff) {
  Scene scene;
  EXPECT_THAT(scene.make().overridden, Not(Contains(Pair("archive_command", "false"))));
  scene.values.values["archive_mode"] = "always";
  auto made = scene.make();
  EXPECT_THAT(made.overridden, Contains(Pair("archive_command", "false")));
  EXPECT_THAT(made.overridden, Contains(Pair("archive_library", "")));
  EXPECT_THAT(scene.make(14).overridden, Not(Contains(Pair("archive_library", ""))));
  EXPECT_THAT(made.notes, Contains(HasSubstr("ALTER SYSTEM RESET archive_command")));
  scene.values.in_auto = "archive_command";
  EXPECT_THAT(scene.make().notes, Contains(HasSubstr("ALTER SYSTEM SET archive_command")));
  // If the value is unknown, archiving may be on.
  scene.values.is_known = false;
  EXPECT_THAT(scene.make().overridden, Contains(Pair("archive_command", "false")));
  scene.options.keep_settings = {"archive_command"};
  EXPECT_THAT(scene.make().overridden, Not(Contains(Pair("archive_command", "false"))));
}

TEST(OwnSettings, OverrideTheBackupsAndReportIt) {
  Scene scene;
  scene.values.values["synchronous_standby_names"] = "ANY 1 (a)";
  scene.values.values["recovery_target_action"] = "pause";  // the default
  auto made = scene.make();
  EXPECT_EQ(made.overridden, (std::vector<Setting>{{"synchronous_standby_names", ""}}));
  ASSERT_EQ(made.notes.size(), 1);
  EXPECT_THAT(made.notes[0], HasSubstr("ALTER SYSTEM RESET synchronous_standby_names"));
  // A reset removes each line of that name.
  scene.values.in_auto = "synchronous_standby_names";
  made = scene.make();
  ASSERT_EQ(made.notes.size(), 1);
  EXPECT_THAT(made.notes[0], HasSubstr("ALTER SYSTEM SET synchronous_standby_names"));
  EXPECT_THAT(made.notes[0], Not(HasSubstr("RESET")));
  scene.values.values["synchronized_standby_slots"] = "of_standby";
  EXPECT_THAT(scene.make(17).overridden, Contains(Pair("synchronized_standby_slots", "")));
  // If the values are unknown, all of them; but no setting that the version does not have.
  scene.values.is_known = false;
  made = scene.make();
  EXPECT_THAT(made.overridden, Contains(Pair("restore_command", "")));
  ASSERT_EQ(made.notes.size(), 1);
  EXPECT_THAT(made.notes[0], HasSubstr("synchronous_standby_names, "));
  EXPECT_THAT(made.notes[0], HasSubstr("archive_command"));
  EXPECT_THAT(made.overridden, Contains(Pair("promote_trigger_file", "")));
  EXPECT_THAT(scene.make(16).overridden, Not(Contains(Pair("promote_trigger_file", ""))));
  EXPECT_THAT(scene.make(16).overridden, Not(Contains(Pair("synchronized_standby_slots", ""))));
  EXPECT_THAT(scene.make(17).overridden, Contains(Pair("synchronized_standby_slots", "")));
}

TEST(OwnSettings, ReportFilesElsewhere) {
  Scene scene;
  scene.values.values["hba_file"] = "/etc/postgresql/15/main/pg_hba.conf";
  scene.values.values["ident_file"] = "/srv/pg/main/pg_ident.conf";
  scene.values.values["ssl_cert_file"] = "server.crt";
  scene.values.values["ssl_key_file"] = "/etc/ssl/private/server.key";
  scene.values.values["ssl"] = "off";
  EXPECT_THAT(scene.make().notes,
              ElementsAre(HasSubstr("hba_file is '/etc/postgresql/15/main/pg_hba.conf', outside")));
  scene.values.values["ssl"] = "on";
  EXPECT_THAT(scene.make().notes,
              ElementsAre(HasSubstr("hba_file"), HasSubstr("ssl_key_file is '/etc/ssl/private/")));
}

TEST(OwnSettings, RaiseWhatTheWalNeeds) {
  Scene scene;
  scene.values.values["max_connections"] = "100";
  scene.values.values["max_worker_processes"] = "8";
  scene.promise.limits[0] = 200;
  scene.limits[1] = 8;
  const auto made = scene.make();
  EXPECT_EQ(made.overridden, (std::vector<Setting>{{"max_connections", "200"}}));
  EXPECT_THAT(made.notes.at(0), HasSubstr("from 100 to 200"));
}

TEST(OwnSettings, PauseInAHotStandbyOnly) {
  Scene scene;
  scene.options.action = Action::pause;
  EXPECT_EQ(place(scene.make(), "hot_standby"), std::string::npos);
  scene.values.values["hot_standby"] = "off";
  EXPECT_THAT(scene.make().recovery, Contains(Pair("hot_standby", "on")));
}

TEST(OwnSettings, OfAStandbyHaveNoTarget) {
  Scene scene;
  scene.options.standby = "host=db1";
  const auto made = scene.make();
  EXPECT_THAT(made.recovery, Contains(Pair("primary_conninfo", "host=db1")));
  EXPECT_EQ(place(made, "recovery_target_lsn"), std::string::npos);
  EXPECT_EQ(place(made, "recovery_target_action"), std::string::npos);
}

TEST(OwnSettings, StandOnceAtTheEndAndCanBeRemoved) {
  Scene scene;
  scene.values.values["restore_command"] = "cp";
  const std::string before = "work_mem = '1MB'\nrestore_command = 'cp'\n";
  const auto once = with_settings(before, scene.make());
  EXPECT_EQ(once.find(before), 0);
  EXPECT_THAT(once, HasSubstr("restore_command = 'pgweir restore -D ''/srv/it''''s'' %f %p'\n"));
  EXPECT_EQ(with_settings(once, scene.make()), once);
  EXPECT_EQ(without_own(once), before);
  const auto left = without_recovery(once);
  EXPECT_THAT(left, Not(HasSubstr("recovery_target")));
  EXPECT_GT(left.rfind("restore_command = ''"), left.rfind("restore_command = 'cp'"));
}

/// A standby keeps the settings of its recovery.
TEST(OwnSettings, DirectTheLogOnlyAsLongAsItIsRead) {
  Scene scene;
  scene.options.standby = "host=db1";
  for (const auto* name : {"lc_messages", "log_destination"})
    EXPECT_EQ(place(scene.make(), name), std::string::npos) << name;
  const auto prepared = with_settings("log_destination = 'csvlog'\n", scene.make());
  const auto watched = with_watching(prepared);
  EXPECT_EQ(watched.find(prepared), 0);
  EXPECT_THAT(watched.substr(prepared.size()),
              HasSubstr("lc_messages = 'C'\nlog_destination = 'stderr'\n"));
  EXPECT_EQ(with_watching(watched), watched);
  EXPECT_EQ(without_watching(watched), prepared);
  EXPECT_EQ(without_watching(prepared), prepared);
  EXPECT_EQ(without_recovery(watched), without_recovery(prepared));
  EXPECT_EQ(without_own(watched), "log_destination = 'csvlog'\n");
}

TEST(CommentedOut, TakesEachWayToWriteIt) {
  const struct {
    const char* line;
    bool is_it;
  } cases[] = {{"data_directory = '/old'", true},  {" Data_Directory '/old'", true},
               {"data_directory='/old'", true},    {"#data_directory = '/old'", false},
               {"data_directory_mode = 1", false}, {"my.data_directory = 1", false}};
  for (const auto& [line, is_it] : cases) {
    const auto text = commented_out(std::string("a = 1\n") + line + "\nb = 2\n", "data_directory");
    EXPECT_EQ(text.has_value(), is_it) << line;
    if (text) {
      EXPECT_EQ(*text, std::string("a = 1\n# pgweir recover: ") + line + "\nb = 2\n");
    }
  }
}

}  // namespace
}  // namespace weir::recover::own_settings_test

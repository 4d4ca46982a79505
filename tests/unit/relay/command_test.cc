#include "relay/command.h"

#include <gtest/gtest.h>

namespace weir::relay::command_test {
namespace {

using namespace command;

Command parsed(const std::string& text) {
  const auto result = parse_command(text);
  if (const auto* report = std::get_if<wire::ErrorReport>(&result)) {
    ADD_FAILURE() << text << ": " << report->message;
    return Sql{};
  }
  return std::get<Command>(result);
}

TEST(ReplicationCommand, IsReadAsAWalsenderReadsIt) {
  const Option reserve{"reserve_wal", std::nullopt};
  const struct {
    const char* text;
    Command expected;
  } cases[] = {
      {"IDENTIFY_SYSTEM", IdentifySystem{}},
      {" IDENTIFY_SYSTEM ; ", IdentifySystem{}},
      {"SHOW wal_segment_size", Show{"wal_segment_size"}},
      {"SHOW DataDirectory_Mode;", Show{"datadirectory_mode"}},
      {"SHOW a.B.\"C\"", Show{"a.b.C"}},
      {"DROP_REPLICATION_SLOT \"a\"\"b\"\"\"", DropSlot{"a\"b\"", false}},
      {"TIMELINE_HISTORY 2", TimelineHistory{2}},
      {"TIMELINE_HISTORY 4294967295", TimelineHistory{4294967295u}},
      {"READ_REPLICATION_SLOT relay", ReadSlot{"relay"}},
      // 13 and 14
      {"CREATE_REPLICATION_SLOT \"s\" PHYSICAL", CreateSlot{"s", false, {}, {}}},
      {"CREATE_REPLICATION_SLOT \"s\" TEMPORARY PHYSICAL RESERVE_WAL",
       CreateSlot{"s", true, {}, {{"reserve_wal", "true"}}}},
      // 15 and later
      {"CREATE_REPLICATION_SLOT \"s\" PHYSICAL ( RESERVE_WAL)",
       CreateSlot{"s", false, {}, {reserve}}},
      {"CREATE_REPLICATION_SLOT s TEMPORARY PHYSICAL (RESERVE_WAL, snapshot 'nothing', x 1)",
       CreateSlot{"s", true, {}, {reserve, {"snapshot", "nothing"}, {"x", "1"}}}},
      {"CREATE_REPLICATION_SLOT s LOGICAL pgoutput NOEXPORT_SNAPSHOT TWO_PHASE",
       CreateSlot{"s", false, "pgoutput", {{"snapshot", "nothing"}, {"two_phase", "true"}}}},
      {"CREATE_REPLICATION_SLOT s LOGICAL pgoutput EXPORT_SNAPSHOT",
       CreateSlot{"s", false, "pgoutput", {{"snapshot", "export"}}}},
      {"CREATE_REPLICATION_SLOT s LOGICAL pgoutput USE_SNAPSHOT",
       CreateSlot{"s", false, "pgoutput", {{"snapshot", "use"}}}},
      {"DROP_REPLICATION_SLOT s", DropSlot{"s", false}},
      {"DROP_REPLICATION_SLOT \"S\" WAIT", DropSlot{"S", true}},
      {"START_REPLICATION 0/3000000 TIMELINE 1",
       StartReplication{std::nullopt, wal::Lsn(0x3000000), 1}},
      {"START_REPLICATION SLOT \"s\" PHYSICAL A/B",
       StartReplication{"s", wal::Lsn(0xA'0000000B), 0}},
      {"START_REPLICATION PHYSICAL 1/0", StartReplication{std::nullopt, wal::Lsn(1ull << 32), 0}},
      {"START_REPLICATION SLOT s LOGICAL 0/0 (proto_version '1', publication_names '\"a\"', x)",
       StartLogical{"s"}},
      {"START_REPLICATION SLOT s LOGICAL 0/0", StartLogical{"s"}},
      {"BASE_BACKUP", BaseBackup{"BASE_BACKUP"}},
      {"BASE_BACKUP (LABEL 'it''s', PROGRESS, WAIT 0, MAX_RATE 32);",
       BaseBackup{"BASE_BACKUP (LABEL 'it''s', PROGRESS, WAIT 0, MAX_RATE 32);"}},
      // 13 and 14
      {"BASE_BACKUP LABEL 'x' PROGRESS FAST NOWAIT MAX_RATE 32 TABLESPACE_MAP MANIFEST 'yes'",
       BaseBackup{"BASE_BACKUP LABEL 'x' PROGRESS FAST NOWAIT MAX_RATE 32 TABLESPACE_MAP MANIFEST "
                  "'yes'"}},
      {"", Sql{}},
      {"identify_system", Sql{}},
      {"SELECT 1", Sql{}},
      {"SELECT 'not closed", Sql{}},
      {"UPLOAD_MANIFEST", Sql{}},
      {"(", Sql{}},
      {"1", Sql{}},
      {"0/0", Sql{}},
      {"WAIT", Sql{}},
      {"IDENTIFY_SYSTEMS", Sql{}},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.text);
    EXPECT_TRUE(parsed(each.text) == each.expected);
  }
}

TEST(ReplicationCommand, ThatCannotBeReadIsASyntaxError) {
  const struct {
    const char* text;
    const char* message;
  } cases[] = {
      {"IDENTIFY_SYSTEM x", "syntax error"},
      {"IDENTIFY_SYSTEM;;", "syntax error"},
      {"SHOW", "syntax error"},
      {"SHOW 1", "syntax error"},
      {"SHOW SLOT", "syntax error"},
      {"SHOW a.", "syntax error"},
      {"TIMELINE_HISTORY", "syntax error"},
      {"TIMELINE_HISTORY 0", "invalid timeline 0"},
      {"TIMELINE_HISTORY 4294967296", "syntax error"},
      {"TIMELINE_HISTORY -1", "syntax error"},
      {"READ_REPLICATION_SLOT", "syntax error"},
      {"READ_REPLICATION_SLOT 'a'", "syntax error"},
      {"CREATE_REPLICATION_SLOT s", "syntax error"},
      {"CREATE_REPLICATION_SLOT s PHYSICAL TEMPORARY", "syntax error"},
      {"CREATE_REPLICATION_SLOT s PHYSICAL (", "syntax error"},
      {"CREATE_REPLICATION_SLOT s PHYSICAL ()", "syntax error"},
      {"CREATE_REPLICATION_SLOT s PHYSICAL (a,)", "syntax error"},
      {"CREATE_REPLICATION_SLOT s PHYSICAL (a) RESERVE_WAL", "syntax error"},
      {"CREATE_REPLICATION_SLOT s LOGICAL", "syntax error"},
      {"CREATE_REPLICATION_SLOT \"a\"\" PHYSICAL", "unterminated quoted string"},
      {"CREATE_REPLICATION_SLOT \"a PHYSICAL", "unterminated quoted string"},
      {"DROP_REPLICATION_SLOT", "syntax error"},
      {"START_REPLICATION", "syntax error"},
      {"START_REPLICATION 0", "syntax error"},
      {"START_REPLICATION 0/", "syntax error"},
      {"START_REPLICATION 0/0 TIMELINE", "syntax error"},
      {"START_REPLICATION 0/0 TIMELINE 0", "invalid timeline 0"},
      {"START_REPLICATION 100000000/0", "invalid streaming start location"},
      {"START_REPLICATION SLOT 0/0", "syntax error"},
      {"START_REPLICATION SLOT s LOGICAL", "syntax error"},
      {"BASE_BACKUP LABEL 'x')", "syntax error"},
      {"BASE_BACKUP; SELECT 1", "syntax error"},
      {"BASE_BACKUP ()", "syntax error"},
      {"BASE_BACKUP (LABEL 'x", "unterminated quoted string"},
      {"'", "unterminated quoted string"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.text);
    const auto result = parse_command(each.text);
    const auto* report = std::get_if<wire::ErrorReport>(&result);
    ASSERT_NE(report, nullptr);
    EXPECT_EQ(report->sqlstate, "42601");
    EXPECT_EQ(report->message, each.message);
  }
}

TEST(ReplicationCommand, NamesAreCutAsAServerCutsThem) {
  const std::string longest(63, 'a');
  const std::string more = longest + "bc";
  EXPECT_TRUE(parsed("DROP_REPLICATION_SLOT " + more) == Command(DropSlot{longest, false}));
  EXPECT_TRUE(parsed("DROP_REPLICATION_SLOT \"" + more + "\"") ==
              Command(DropSlot{longest, false}));
}

}  // namespace
}  // namespace weir::relay::command_test

#include "doctor/checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>

#include "doctor/report.h"

namespace weir::doctor::checks_test {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

ServerFacts good_server() {
  ServerFacts server;
  server.server = "db1:5432";
  server.user = "archiver";
  server.version = 180000;
  server.system_identifier = 42;
  server.settings = {{"wal_level", "replica"},
                     {"max_wal_senders", "10"},
                     {"max_replication_slots", "10"},
                     {"max_slot_wal_keep_size", "100GB"},
                     {"wal_keep_size", "0"},
                     {"idle_replication_slot_timeout", "0"},
                     {"synchronous_standby_names", ""},
                     {"synchronous_commit", "on"},
                     {"wal_sender_timeout", "1min"},
                     {"archive_mode", "off"},
                     {"wal_segment_size", "16MB"},
                     {"fsync", "on"},
                     {"full_page_writes", "on"},
                     {"data_checksums", "off"},
                     {"summarize_wal", "off"}};
  server.superuser = false;
  server.standby = false;
  server.senders = 1;
  server.slots = 1;
  server.slot =
      ServerFacts::Slot{.view = {.exists = true, .active = false, .wal_status = "reserved"},
                        .type = "physical",
                        .restart_lsn = wal::Lsn(0x2000000)};
  server.wal_rate = 1000;
  server.clock_ahead = 3ms;
  server.clock_error = 1ms;
  return server;
}

ArchiveFacts good_archive() {
  ArchiveFacts archive;
  archive.path = "/srv/wal";
  archive.place.file_system = "ext4";
  archive.place.bytes = std::uint64_t{1} << 40;
  archive.place.free_bytes = std::uint64_t{1} << 39;
  archive.place.mode = 0700;
  archive.place.owner_name = "weir";
  archive.place.ours = archive.place.writable = true;
  archive.syncs = ArchiveFacts::SyncTimes{.count = 50, .median = 80us, .longest = 2000us};
  archive.identity = archive::Identity{.system_identifier = 42, .segment_size = {}, .file = "x"};
  archive.end = archive::ResumePoint{.timeline = 1, .start = wal::Lsn(0x2000000)};
  return archive;
}

std::vector<Check> judge(const ServerFacts& server, const ArchiveFacts& archive, const Plan& plan) {
  auto checks = judge_server(server, plan);
  for (auto& check : judge_archive(archive)) checks.push_back(check);
  for (auto& check : judge_both(server, archive, plan)) checks.push_back(check);
  return checks;
}

const Plan kPlan{.slot = "archive"};

TEST(Doctor, FindsNothingWhereAllIsWell) {
  const auto checks = judge(good_server(), good_archive(), kPlan);
  for (const auto& check : checks) EXPECT_EQ(check.level, Level::ok) << check.name << check.found;
  EXPECT_TRUE(healthy(checks));
  EXPECT_THAT(to_text(checks), HasSubstr("all is well"));
}

TEST(Doctor, DoesNotSayThatAnInvalidatedSlotKeepsWal) {
  auto server = good_server();
  EXPECT_THAT(to_text(judge_both(server, good_archive(), kPlan)), HasSubstr("the slot keeps WAL"));
  server.slot->view.wal_status = "lost";  // and still has its position, in 18 after a time-out
  EXPECT_THAT(to_text(judge_both(server, good_archive(), kPlan)),
              Not(HasSubstr("the slot keeps WAL")));
}

TEST(Doctor, SaysWhatIsWrongAndWhatToChange) {
  using Server = std::function<void(ServerFacts&)>;
  using Archive = std::function<void(ArchiveFacts&)>;
  const Archive same_archive = [](ArchiveFacts&) {};
  const Server same_server = [](ServerFacts&) {};
  const auto set = [](std::string name, std::string value) -> Server {
    return [=](ServerFacts& server) { server.settings[name] = value; };
  };
  const struct {
    const char* name;
    Server server;
    Archive archive;
    const char* check;
    Level level;
    const char* found;
    const char* todo;
  } cases[] = {
      {"no pg_hba line",
       [](auto& s) {
         s.replication_trouble = Trouble{"no pg_hba.conf entry", {"host replication archiver"}};
       },
       same_archive, "replication_connection", Level::failure, "no pg_hba.conf entry",
       "host replication archiver"},
      {"replication only",
       [](auto& s) {
         s.plain_trouble = Trouble{"no entry", {"host postgres archiver"}};
       },
       same_archive, "ordinary_connection", Level::warning, "no entry", "host postgres archiver"},
      {"a superuser", [](auto& s) { s.superuser = true; }, same_archive, "role", Level::warning,
       "superuser", "NOSUPERUSER REPLICATION"},
      {"a server of tomorrow", [](auto& s) { s.version = 200001; }, same_archive, "server_version",
       Level::warning, "newer", "newer pgweir"},
      {"a change that waits for a restart",
       [](auto& s) {
         s.pending_restart = {"archive_mode", "wal_level"};
       },
       same_archive, "pending_restart", Level::warning,
       "new values of archive_mode, wal_level, which take effect when the server is restarted",
       "name IN ('archive_mode', 'wal_level')"},
      {"wal_level", set("wal_level", "minimal"), same_archive, "wal_level", Level::failure,
       "minimal", "ALTER SYSTEM SET wal_level = 'replica'"},
      {"fsync", set("fsync", "off"), same_archive, "fsync", Level::warning, "off",
       "ALTER SYSTEM SET fsync = on"},
      {"no walsender", [](auto& s) { s.senders = 10; }, same_archive, "max_wal_senders",
       Level::failure, "10 of 10", "max_wal_senders = 20"},
      {"one walsender left", [](auto& s) { s.senders = 9; }, same_archive, "max_wal_senders",
       Level::warning, "9 of 10", "max_wal_senders = 20"},
      {"no walsender beside the receiver",
       [](auto& s) {
         s.senders = 10;
         s.slot->view.active = true;
       },
       same_archive, "max_wal_senders", Level::warning, "none is left for a base backup",
       "max_wal_senders = 20"},
      {"no slot", [](auto& s) { s.slot->view.exists = false; }, same_archive, "slot",
       Level::warning, "does not exist yet", "--create-slot"},
      {"no slot and no room",
       [](auto& s) {
         s.slot->view.exists = false;
         s.slots = 10;
       },
       same_archive, "slot", Level::failure, "all 10 slots", "max_replication_slots = 15"},
      {"a logical slot", [](auto& s) { s.slot->type = "logical"; }, same_archive, "slot",
       Level::failure, "logical", "another name"},
      {"a lost slot", [](auto& s) { s.slot->view.wal_status = "lost"; }, same_archive, "slot",
       Level::failure, "invalidated", "pgweir slot create"},
      {"an idle slot that was invalidated",
       [](auto& s) { s.slot->view.invalidation_reason = "idle_timeout"; }, same_archive, "slot",
       Level::failure, "idle_timeout", "pgweir slot create"},
      {"an idle slot that may have been invalidated",
       [](auto& s) {
         s.plain_trouble = Trouble{"no entry"};
         s.settings["idle_replication_slot_timeout"] = "1h";
       },
       same_archive, "slot", Level::unknown, "only an ordinary connection shows",
       "allow ordinary connections"},
      {"a slot that 17 may have invalidated, and that was used again",
       [](auto& s) {
         s.version = 170004;
         s.plain_trouble = Trouble{"no entry"};
       },
       same_archive, "slot", Level::unknown, "whether max_slot_wal_keep_size has invalidated it",
       "allow ordinary connections"},
      {"a slot in danger", [](auto& s) { s.slot->view.wal_status = "unreserved"; }, same_archive,
       "slot", Level::failure, "next checkpoint", "max_slot_wal_keep_size"},
      {"a slot without WAL", [](auto& s) { s.slot->restart_lsn.reset(); }, same_archive, "slot",
       Level::failure, "reserves no WAL", "slot create"},
      {"unlimited slots", set("max_slot_wal_keep_size", "-1"), same_archive,
       "max_slot_wal_keep_size", Level::warning, "disk is full", "max_slot_wal_keep_size"},
      {"a limit that is soon reached",
       [](auto& s) {
         s.settings["max_slot_wal_keep_size"] = "1GB";
         s.wal_rate = 1e6;
       },
       same_archive, "max_slot_wal_keep_size", Level::warning, "17 min", "two days"},
      {"a limit below a segment",
       [](auto& s) {
         s.settings["max_slot_wal_keep_size"] = "15MB";
         s.slot.reset();
       },
       same_archive, "max_slot_wal_keep_size", Level::warning, "less than a segment (16 MB)",
       "'100GB'"},
      {"a limit of a segment and a part of one",
       [](auto& s) {
         s.settings["max_slot_wal_keep_size"] = "31MB";
         s.slot.reset();
         s.wal_rate = 16.0 * 1024 * 1024 / 7200;
       },
       same_archive, "max_slot_wal_keep_size", Level::warning, "lost 2 h 0 min after", "two days"},
      {"idle slots time out", set("idle_replication_slot_timeout", "1h"), same_archive,
       "idle_replication_slot_timeout", Level::warning, "1 h", "timeout = 0"},
      {"alone in synchronous_standby_names", set("synchronous_standby_names", "pgweir"),
       same_archive, "synchronous_standby_names", Level::warning, "every commit waits", "ANY 1"},
      {"everybody counts", set("synchronous_standby_names", "ANY 1 (*)"), same_archive,
       "synchronous_star", Level::warning, "without being on any standby",
       "ANY 1 (pgweir, ANOTHER)"},
      {"named, but nobody waits",
       [](auto& s) {
         s.settings["synchronous_standby_names"] = "ANY 1 (PgWeir, b)";
         s.settings["synchronous_commit"] = "local";
       },
       same_archive, "synchronous_standby_names", Level::warning, "do not wait",
       "synchronous_commit = on"},
      {"no timeout", set("wal_sender_timeout", "0"), same_archive, "wal_sender_timeout",
       Level::warning, "a broken connection", "'60s'"},
      {"a short timeout", set("wal_sender_timeout", "900ms"), same_archive, "wal_sender_timeout",
       Level::warning, "a short network interruption", "'60s'"},
      {"a shutdown that does not wait (19)", set("wal_sender_shutdown_timeout", "500ms"),
       same_archive, "wal_sender_shutdown_timeout", Level::warning, "planned stop",
       "wal_sender_shutdown_timeout=-1"},
      {"archive_mode without a command",
       [](auto& s) {
         s.settings["archive_mode"] = "on";
         s.settings["archive_command"] = "";
       },
       same_archive, "archive_mode", Level::warning,
       "archive_mode is on without an archive_command: WAL piles up on the server, and no base "
       "backup completes",
       "archive_mode = off"},
      {"archive_command fails",
       [](auto& s) {
         s.settings["archive_mode"] = "on";
         s.settings["archive_command"] = "false";
         s.archiver = ServerFacts::Archiver{.failed = 7, .failing = true, .last_failed = "0001"};
       },
       same_archive, "archive_mode", Level::warning,
       "fails (7 times, the last time on 0001): WAL piles up on the server, and no base backup "
       "completes",
       "log"},
      {"a standby that does not stream",
       [](auto& s) {
         s.standby = true;
         s.standby_receives = false;
       },
       same_archive, "standby", Level::warning, "nothing by streaming now", "primary_conninfo"},
      {"clocks", [](auto& s) { s.clock_ahead = -90s; }, same_archive, "clock", Level::warning,
       "behind", "chrony"},
      {"memory", same_server, [](auto& a) { a.place.in_memory = true; }, "file_system",
       Level::failure, "is lost when the machine stops", "disk"},
      {"network", same_server, [](auto& a) { a.place.over_network = true; }, "file_system",
       Level::warning, "lock", "NFS"},
      {"read-only", same_server, [](auto& a) { a.place.read_only = true; }, "permissions",
       Level::failure, "read-only", "read-write"},
      {"not ours to write", same_server, [](auto& a) { a.place.ours = a.place.writable = false; },
       "permissions", Level::failure, "cannot write", "run pgweir as weir"},
      {"open to others", same_server, [](auto& a) { a.place.mode = 0755; }, "permissions",
       Level::warning, "0755", "chmod 700 /srv/wal"},
      {"a path with a space", same_server,
       [](auto& a) {
         a.path = "/srv/my wal";
         a.place.mode = 0755;
       },
       "permissions", Level::warning, "0755", "chmod 700 '/srv/my wal'"},
      {"slow disk", same_server, [](auto& a) { a.syncs->median = 45ms; }, "sync", Level::warning,
       "45.00 ms", "a faster or less busy disk"},
      {"a disk that lies", same_server, [](auto& a) { a.syncs->median = 1us; }, "sync",
       Level::warning, "implausibly fast", "flushes"},
      {"full disk", same_server,
       [](auto& a) {
         a.write_trouble = Trouble{"no space left", {}};
       },
       "sync", Level::failure, "no space left", nullptr},
      {"another cluster", same_server, [](auto& a) { a.identity->system_identifier = 43; },
       "cluster", Level::failure, "cluster 43", "a separate directory"},
      {"other segments", set("wal_segment_size", "64MB"), same_archive, "cluster", Level::failure,
       "64 MB", "another directory"},
      {"a timeline whose history is unknown", [](auto& s) { s.timeline = 7; },
       [](auto& a) {
         a.timeline_ends = {{1, wal::Lsn(0x2000000)}};
         a.in_use = true;
       },
       "timeline", Level::warning, "whose history is neither", "Copy 00000007.history"},
      {"a slot that another receiver has", [](auto& s) { s.slot->view.active = true; },
       same_archive, "slot_in_use", Level::warning, "no receiver is running here",
       "stop the other receiver"},
      {"a gap ahead", [](auto& s) { s.slot->restart_lsn = wal::Lsn(0x5000000); }, same_archive,
       "continuity", Level::warning, "0/5000000", "start the receiver now"},
      {"disk filling", [](auto& s) { s.wal_rate = 1e9; },
       [](auto& a) { a.place.free_bytes = std::uint64_t{1} << 40; }, "space", Level::failure,
       "18 min", "prune"},
      {"disk filling by the average", [](auto& s) { s.wal_rate_average = 1e8; },
       [](auto& a) { a.place.free_bytes = std::uint64_t{1} << 40; }, "space", Level::warning, "3 h",
       "prune"},
      {"no directory", same_server,
       [](auto& a) {
         a.trouble = Trouble{"no such", {"Create it."}};
       },
       "directory", Level::failure, "no such", "Create it."},
      {"a slot that goes with its connection", [](auto& s) { s.slot->temporary = true; },
       same_archive, "slot", Level::failure, "is temporary", "another name"},
      {"a file system of a program", same_server,
       [](auto& a) {
         a.place.file_system = "fuse.sshfs";
         a.place.user_space = true;
       },
       "file_system", Level::warning, "durability depends on the program", "local file system"},
      {"another one's directory", same_server,
       [](auto& a) {
         a.place.ours = false;
         a.place.owner_name = "postgres";
       },
       "permissions", Level::warning, "belongs to postgres, not to the user of this check",
       "run pgweir as postgres"},
      {"an end that cannot be read", same_server,
       [](auto& a) {
         a.content_trouble = Trouble{"no WAL page", {"look at it"}};
       },
       "content", Level::failure, "the archive's end cannot be read: no WAL page", "look at it"},
      {"hardly any space, whatever the rate is", [](auto& s) { s.wal_rate.reset(); },
       [](auto& a) { a.place.free_bytes = 1 << 20; }, "space", Level::failure, "1 MB of 1 TB",
       "add space"},
      {"no room for a segment", [](auto& s) { s.settings["wal_segment_size"] = "1GB"; },
       [](auto& a) {
         a.identity.reset();
         a.place.free_bytes = (1 << 30) - 1;
       },
       "space", Level::failure, "1024.0 MB of 1 TB", "add space"},
      {"no room for another segment of the archive",
       [](auto& s) { s.settings["wal_segment_size"] = "1GB"; },
       [](auto& a) {
         a.identity->segment_size = *wal::SegmentSize::of(1 << 30);
         a.place.free_bytes = 500 << 20;
       },
       "space", Level::failure, "500 MB of 1 TB", "add space"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    auto server = good_server();
    auto archive = good_archive();
    each.server(server);
    each.archive(archive);
    const auto checks = judge(server, archive, kPlan);
    const auto found = std::find_if(checks.begin(), checks.end(), [&](const Check& check) {
      return check.name == each.check && check.level != Level::ok;
    });
    if (found == checks.end()) {
      ADD_FAILURE() << to_text(checks);
      continue;
    }
    EXPECT_EQ(found->level, each.level);
    EXPECT_THAT(found->found, HasSubstr(each.found));
    std::string todo;
    for (const auto& line : found->todo) todo += line + "\n";
    if (each.todo != nullptr) {
      EXPECT_THAT(todo, HasSubstr(each.todo));
    }
    EXPECT_EQ(healthy(checks), each.level != Level::failure);
  }
}

TEST(Doctor, WarnsOfCommitsThatWaitWhereTheArchiveIsNot) {
  auto server = good_server();
  server.settings["synchronous_standby_names"] = "ANY 1 (pgweir, db2)";
  auto plan = kPlan;
  plan.prefer = PreferredRole::standby;
  EXPECT_THAT(to_text(judge_server(server, plan)),
              HasSubstr("[ warn ] synchronous_standby_names: \"pgweir\" is named, but with "
                        "--prefer standby the receiver streams from a standby"));
  plan.prefer = PreferredRole::primary;
  EXPECT_THAT(to_text(judge_server(server, plan)), HasSubstr("commits can wait for the archive"));
}

TEST(Doctor, WarnsWhereLogicalDecodingWaitsForTheArchive) {
  auto server = good_server();
  auto plan = kPlan;
  server.settings["synchronized_standby_slots"] = "standby1";
  EXPECT_THAT(to_text(judge_server(server, plan)), Not(HasSubstr("synchronized_standby_slots")));
  server.settings["synchronized_standby_slots"] = "standby1, archive";
  auto text = to_text(judge_server(server, plan));
  EXPECT_THAT(text,
              HasSubstr("[ warn ] synchronized_standby_slots: synchronized_standby_slots names "
                        "\"archive\": logical decoding of failover slots stops"));
  EXPECT_THAT(text, Not(HasSubstr("advances only every")));
  plan.prefer = PreferredRole::standby;
  EXPECT_THAT(to_text(judge_server(server, plan)),
              HasSubstr("advances only every --slot-interval"));
}

TEST(Doctor, WarnsOfOutputPluginsThatTheServerDoesNotList) {
  auto server = good_server();
  server.plugins = {"pgoutput", "wal2json"};
  // A server from before the setting: it is said beforehand.
  auto text = to_text(judge_server(server, kPlan));
  EXPECT_THAT(text, HasSubstr("[ warn ] output_plugin_libraries: logical slots use the output "
                              "plugin wal2json: once the server is updated"));
  EXPECT_THAT(text, HasSubstr("output_plugin_libraries = pgoutput, test_decoding, wal2json;"));
  const auto version = std::exchange(server.version, 190000);
  text = to_text(judge_server(server, kPlan));
  EXPECT_THAT(text, HasSubstr("does not show that setting to this role"));
  EXPECT_THAT(text, HasSubstr("GRANT pg_read_all_settings TO "));
  server.version = version;
  server.settings["output_plugin_libraries"] = "pgoutput, test_decoding";
  EXPECT_THAT(to_text(judge_server(server, kPlan)), HasSubstr("refuses to decode with it"));
  server.settings["output_plugin_libraries"] = "pgoutput, wal2json";
  EXPECT_THAT(to_text(judge_server(server, kPlan)), Not(HasSubstr("output_plugin_libraries")));
}

TEST(Doctor, WarnsOfAnArchiveWhoseWalIsNewerThanAnyKnown) {
  ArchiveFacts archive;
  archive.newer_magic = 0xD1FE;
  EXPECT_THAT(to_text(judge_archive(archive)),
              HasSubstr("[ warn ] wal_version: the archive's WAL (page magic 0xD1FE) is of a newer "
                        "PostgreSQL"));
}

TEST(Doctor, RefusesToConfirmWhatOnlyTheStoreHasWhereSomebodyWaitsForIt) {
  auto server = good_server();
  auto plan = kPlan;
  plan.confirm_stored = true;
  EXPECT_THAT(to_text(judge_server(server, plan)),
              HasSubstr("[  ok  ] confirm_stored: the slot retains WAL that is not in the "
                        "object store"));
  server.settings["synchronized_standby_slots"] = "standby1, archive";
  auto checks = judge_server(server, plan);
  EXPECT_THAT(to_text(checks),
              HasSubstr("confirm_stored: synchronized_standby_slots names \"archive\""));
  EXPECT_FALSE(healthy(checks));
  server.settings["synchronized_standby_slots"] = "standby1";
  server.settings["synchronous_standby_names"] = "ANY 1 (pgweir, db2)";
  checks = judge_server(server, plan);
  EXPECT_THAT(to_text(checks), HasSubstr("each commit would wait for the object store"));
  EXPECT_FALSE(healthy(checks));
  server.settings["synchronous_standby_names"] = "db2";
  checks = judge_server(server, plan);
  EXPECT_THAT(to_text(checks), HasSubstr("commits wait for others, not for \"pgweir\""));
  EXPECT_TRUE(healthy(checks));
  plan.slot.reset();
  checks = judge_server(server, plan);
  EXPECT_THAT(to_text(checks),
              HasSubstr("confirm_stored: --confirm stored without a slot retains no WAL"));
  EXPECT_FALSE(healthy(checks));
}

TEST(Doctor, IsContentWhereNothingIsTheMatter) {
  auto server = good_server();
  auto plan = kPlan;
  server.standby = true;
  server.settings["synchronous_standby_names"] = "pgweir";
  EXPECT_THAT(to_text(judge_server(server, plan)),
              HasSubstr("[  ok  ] synchronous_standby_names: no effect on a standby"));
  server = good_server();
  server.settings["wal_sender_timeout"] = "15s";
  EXPECT_THAT(to_text(judge_server(server, plan)),
              HasSubstr("[  ok  ] wal_sender_timeout: wal_sender_timeout is 15.0 s: positions are "
                        "reported every 5.0 s, more often than --status-interval"));
  server = good_server();
  server.settings["archive_mode"] = "on";
  server.settings["archive_command"] = "cp %p /backup/%f";
  EXPECT_THAT(to_text(judge_server(server, plan)),
              HasSubstr("[  ok  ] archive_mode: the server archives as well"));
  server = good_server();
  server.slot->view.active = true;  // by the receiver that runs here
  auto archive = good_archive();
  archive.in_use = true;
  EXPECT_THAT(to_text(judge_both(server, archive, plan)), Not(HasSubstr("slot_in_use")));
}

TEST(Doctor, SaysWhichBaseBackupsTheServerPermits) {
  auto server = good_server();
  auto checks = judge_server(server, kPlan);
  EXPECT_THAT(to_text(checks), HasSubstr("[  ok  ] data_checksums: data_checksums is off: base "
                                         "backups do not detect corrupted pages\n"));
  EXPECT_THAT(to_text(checks),
              HasSubstr("[  ok  ] summarize_wal: summarize_wal is off: base backups are full ones; "
                        "for incremental ones: ALTER SYSTEM SET summarize_wal = on; "));
  server.settings["data_checksums"] = "on";
  server.settings["summarize_wal"] = "on";
  checks = judge_server(server, kPlan);
  EXPECT_THAT(to_text(checks), HasSubstr("[  ok  ] data_checksums: data_checksums is on: base "
                                         "backups verify the pages\n"));
  EXPECT_THAT(to_text(checks), HasSubstr("[  ok  ] summarize_wal: summarize_wal is on: base "
                                         "backups can be incremental\n"));
  server.settings.erase("summarize_wal");
  EXPECT_THAT(to_text(judge_server(server, kPlan)), Not(HasSubstr("summarize_wal")));
}

/// On a standby, a backup waits for archive_mode = always alone.
TEST(Doctor, KnowsWhenABaseBackupWaitsForTheArchiveCommand) {
  auto server = good_server();
  server.settings["archive_mode"] = "on";
  server.settings["archive_command"] = "cp %p /backup/%f";
  const auto text = [&] { return to_text(judge_server(server, kPlan)); };
  EXPECT_THAT(text(), HasSubstr("than this one; base backups wait for it\n"));
  server.standby = true;
  EXPECT_THAT(text(), HasSubstr("than this one\n"));
  server.archiver = ServerFacts::Archiver{.failed = 1, .failing = true, .last_failed = "0001"};
  EXPECT_THAT(text(), HasSubstr("WAL piles up on the server\n"));
  server.settings["archive_mode"] = "always";
  EXPECT_THAT(text(), HasSubstr("WAL piles up on the server, and no base backup completes\n"));
}

TEST(Doctor, WarnsOfAServerOnTheSameMachine) {
  const auto warns = [](const std::string& name) {
    auto server = good_server();
    server.server = name;
    const auto checks = judge(server, good_archive(), kPlan);
    return std::any_of(checks.begin(), checks.end(), [](const Check& check) {
      return check.name == "same_machine" && check.level == Level::warning;
    });
  };
  for (const auto* name : {"127.0.0.1:5432", "127.1.2.3:5433", "localhost:5432", "[::1]:5432",
                           "/var/run/postgresql/.s.PGSQL.5432", "local socket/.s.PGSQL.5432"})
    EXPECT_TRUE(warns(name)) << name;
  for (const auto* name :
       {"db1:5432", "192.0.2.1:5432", "localhost.example.org:5432", "[2001:db8::1]:5432"})
    EXPECT_FALSE(warns(name)) << name;
}

TEST(Doctor, WarnsOfAReceiverWithoutASlot) {
  auto server = good_server();
  server.slot.reset();
  const auto checks = judge_server(server, Plan{});
  const auto text = to_text(checks);
  EXPECT_THAT(text, HasSubstr("[ warn ] slot: no slot (-S)"));
  EXPECT_TRUE(healthy(checks));
}

TEST(Doctor, SaysWhatItCouldNotLookAt) {
  ServerFacts server;
  server.plain_trouble = Trouble{"no entry", {}};
  server.unseen = {"its slots: permission denied"};
  const auto checks = judge_server(server, kPlan);
  EXPECT_THAT(to_text(checks), HasSubstr("[   ?  ] slot: slot \"archive\" could not be checked"));
  EXPECT_THAT(to_text(checks), HasSubstr("[   ?  ] not_seen: its slots: permission denied"));
}

TEST(Doctor, TellsProgramsTheSame) {
  auto server = good_server();
  server.settings["wal_level"] = "minimal";
  const auto json = nlohmann::json::parse(to_json(judge_server(server, kPlan)));
  EXPECT_EQ(json.at("healthy"), false);
  bool seen = false;
  for (const auto& check : json.at("checks"))
    if (check.at("name") == "wal_level") {
      seen = true;
      EXPECT_EQ(check.at("level"), "failure");
      EXPECT_EQ(check.at("todo").size(), 1u);
    }
  EXPECT_TRUE(seen);
}

}  // namespace
}  // namespace weir::doctor::checks_test

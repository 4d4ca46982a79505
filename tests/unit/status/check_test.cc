#include "status/check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "archive/listing.h"
#include "io/posix_directory.h"
#include "status/backups.h"
#include "status/store_side.h"
#include "status/text.h"
#include "status/view_json.h"
#include "support/backup_builder.h"

namespace weir::status::check_test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using namespace std::chrono_literals;

constexpr const char* kWell =
    R"({"state": "streaming", "server": "db1:5432", "timeline": 1, "flush_lsn": "0/7000100",
        "server_lsn": "0/7000100", "silence_ms": 412})";

StatusReport report_with(const char* receiver) {
  StatusReport report;
  report.identity = archive::Identity{42, wal::SegmentSize(), "x"};
  if (receiver != nullptr) report.receiver = receiver_of(receiver, {});
  return report;
}

StatusReport with_wal(StatusReport report) {
  timeline_of(report, 1).segments = 1;
  return report;
}

Upstream upstream_at(wal::Lsn position) {
  Upstream upstream;
  upstream.system_identifier = 42;
  upstream.position = position;
  return upstream;
}

Upstream with_slot(Upstream upstream, bool exists, const char* status) {
  Upstream::Slot slot;
  slot.name = "weir";
  slot.exists = exists;
  slot.wal_status = status;
  slot.restart_lsn = wal::Lsn(0x1000000);
  upstream.slot = slot;
  return upstream;
}

TEST(Check, JudgesAsMonitoringExpects) {
  struct Case {
    const char* name;
    Level level;
    const char* text;
    const char* receiver = kWell;
    Limits limits = {};
    std::optional<Upstream> upstream = {};
    bool hole = false;
  };
  const Case cases[] = {
      {"well", Level::ok, "streaming from db1:5432, durable up to 0/7000100, caught up"},
      {"well within limits", Level::ok, "caught up", kWell, {64 << 20, 5min}},
      {"no receiver", Level::critical, "no receiver runs", nullptr},
      {"disk full", Level::critical, "disk is full", R"({"state": "disk full"})"},
      {"connecting", Level::warning, "does not stream: connecting", R"({"state": "connecting"})"},
      {"slot", Level::warning, "running out",
       R"({"state": "streaming", "slot_warning": "running out"})"},
      {"hole",
       Level::critical,
       "2 segments missing from 0/4000000 to 0/6000000",
       kWell,
       {},
       {},
       true},
      {"lag at the limit",
       Level::ok,
       "64 MB behind",
       R"({"state": "streaming", "timeline": 1, "flush_lsn": "0/1000000",
           "server_lsn": "0/5000000", "silence_ms": 1})",
       {64 << 20, {}}},
      {"lag over it",
       Level::critical,
       "64.0 MB behind",
       R"({"state": "streaming", "timeline": 1, "flush_lsn": "0/1000000",
           "server_lsn": "0/5000001", "silence_ms": 1})",
       {64 << 20, {}}},
      {"silent up to the limit",
       Level::ok,
       "streaming",
       R"({"state": "streaming", "silence_ms": 300000})",
       {{}, 5min}},
      {"silent over it",
       Level::critical,
       "no message from the server for 5 min",
       R"({"state": "streaming", "silence_ms": 300001})",
       {{}, 5min}},
      {"silent while it reconnects",
       Level::critical,
       "no message from the server",
       R"({"state": "waiting", "silence_ms": 300001})",
       {{}, 5min}},
      {"lag not known",
       Level::unknown,
       "it is unknown how far",
       R"({"state": "streaming", "silence_ms": 1})",
       {1, {}}},
      {"age not known",
       Level::unknown,
       "does not report when",
       R"({"state": "streaming"})",
       {{}, 1s}},
      {"the server knows of more lag",
       Level::critical,
       "1 MB behind",
       kWell,
       {1000, {}},
       upstream_at(wal::Lsn(0x7100100))},
      {"the server is behind",
       Level::ok,
       "caught up",
       kWell,
       {1000, {}},
       upstream_at(wal::Lsn(0x6000000))},
      {"slot gone",
       Level::critical,
       "no slot \"weir\"",
       kWell,
       {},
       with_slot(upstream_at(wal::Lsn(1)), false, "")},
      {"slot lost",
       Level::critical,
       "has lost WAL",
       kWell,
       {},
       with_slot(upstream_at(wal::Lsn(1)), true, "lost")},
      {"slot unreserved",
       Level::warning,
       "about to lose",
       kWell,
       {},
       with_slot(upstream_at(wal::Lsn(1)), true, "unreserved")},
      {"slot well",
       Level::ok,
       "streaming",
       kWell,
       {},
       with_slot(upstream_at(wal::Lsn(1)), true, "reserved")},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    auto report = report_with(each.receiver);
    report.upstream = each.upstream;
    if (each.hole) report.holes.push_back({1, wal::Lsn(0x4000000), wal::Lsn(0x6000000), 2});
    const auto verdict = check(report, each.limits);
    EXPECT_EQ(to_string(verdict.level), to_string(each.level)) << verdict.line;
    EXPECT_THAT(verdict.line, StartsWith("PGWEIR " + std::string(to_string(each.level)) + " - "));
    EXPECT_THAT(verdict.line, HasSubstr(each.text));
    EXPECT_EQ(verdict.line.find('\n'), std::string::npos);
  }
}

TEST(Check, JudgesASlotByWhatTheWalsenderKnows) {
  auto report = report_with(kWell);
  report.upstream = upstream_at(wal::Lsn(1));
  // Only replication connections are permitted.
  report.upstream->slot_error = "no pg_hba.conf entry";
  const auto before_15 = check(report, {});
  EXPECT_EQ(before_15.level, Level::unknown);
  EXPECT_THAT(before_15.line,
              HasSubstr("the replication slot could not be checked: no pg_hba.conf entry"));
  EXPECT_EQ(before_15.findings[0].topic, Topic::slot);
  report.upstream->slot =
      Upstream::Slot{.name = "weir", .exists = true, .restart_lsn = wal::Lsn(0x1000000)};
  EXPECT_EQ(check(report, {}).level, Level::ok);
  report.upstream->slot->unseen_invalidation = "max_slot_wal_keep_size";
  const auto unseen = check(report, {});
  EXPECT_EQ(unseen.level, Level::unknown);
  EXPECT_THAT(unseen.line, HasSubstr("the slot \"weir\" could not be checked: only an ordinary "
                                     "connection shows whether max_slot_wal_keep_size has "
                                     "invalidated it (no pg_hba.conf entry)"));
  report.upstream->slot->wal_status = "reserved";
  EXPECT_EQ(check(report, {}).level, Level::ok);
  report.upstream->slot->wal_status.reset();
  report.upstream->slot->restart_lsn.reset();
  EXPECT_EQ(check(report, {}).level, Level::critical);
  EXPECT_THAT(check(report, {}).line, HasSubstr("the slot \"weir\" reserves no WAL"));
  report.upstream->slot->wal_status = "lost";
  EXPECT_THAT(check(report, {}).line, HasSubstr("the slot \"weir\" has lost WAL"));
  EXPECT_THAT(check(report, {}).line, Not(HasSubstr("reserves no WAL"))) << "one thing, told once";
}

TEST(Check, ReportsWhatTheManifestsOfTheStoreFind) {
  auto report = with_wal(report_with(nullptr));
  report.directory = "s3://bucket/wal";
  report.store = StoreSide{.place = report.directory};
  report.store->manifest.emplace();
  EXPECT_EQ(check(report, {}).level, Level::ok);
  auto& findings = report.store->manifest->findings;
  findings = {"1 object does not match the manifest"};
  const auto one = check(report, {});
  EXPECT_EQ(one.level, Level::critical);
  EXPECT_THAT(one.line, HasSubstr("the store and its manifests do not match: 1 object does not "));
  findings.emplace_back("another");
  const auto both = check(report, {});
  ASSERT_EQ(both.findings.size(), 1u);
  EXPECT_EQ(both.findings[0].topic, Topic::store);
  EXPECT_EQ(both.findings[0].text,
            "the store and its manifests do not match (2 problems): 1 object does not match the "
            "manifest");
  EXPECT_THAT(both.findings[0].commands, ::testing::ElementsAre("pgweir verify --store URL"));
}

TEST(Check, WarnsOfObjectsThatTheStoreCannotReturnAtOnce) {
  auto report = with_wal(report_with(nullptr));
  report.directory = "s3://bucket/wal";
  report.store = StoreSide{.place = report.directory};
  report.store->manifest.emplace();
  report.store->manifest->frozen = 2;
  report.store->manifest->first_frozen = "000000010000000000000003.zst";
  const auto found = check(report, {});
  EXPECT_EQ(found.level, Level::warning) << "for old WAL it may be by intention";
  ASSERT_EQ(found.findings.size(), 1u);
  EXPECT_EQ(found.findings[0].topic, Topic::store);
  EXPECT_THAT(found.line, HasSubstr("2 objects are in an archive class or tier of the store, the "
                                    "first of them 000000010000000000000003.zst: a recovery "
                                    "stops"));
  EXPECT_THAT(store_text(*report.store), HasSubstr("WARNING: 2 objects are in an archive class"));
}

TEST(Check, NeedsNoReceiverWhereNoneIsExpected) {
  const Limits limits{.at_rest = true};
  auto report = with_wal(report_with(nullptr));
  EXPECT_EQ(check(report, {}).level, Level::critical);
  EXPECT_EQ(check(report, limits).level, Level::ok);
  EXPECT_THAT(check(report, limits).line, HasSubstr("PGWEIR OK - 1 timelines, 0 holes"));
  // All else counts, also a receiver that runs after all.
  report.damaged = {"a history file cannot be read"};
  EXPECT_EQ(check(report, limits).level, Level::critical);
  EXPECT_EQ(check(report_with(R"({"state": "disk full"})"), limits).level, Level::critical);
  report = report_with(nullptr);
  report.receiver_error = "the receiver does not answer";
  EXPECT_EQ(check(report, limits).level, Level::unknown);
}

/// The receiver was started without its options for the store.
TEST(Check, DoesNotTakeAnUnknownStoreForAnEmptyQueue) {
  const Limits limits{.max_store_age = 1h, .must_judge = true};
  auto report = with_wal(report_with(kWell));
  report.directory = "/srv/wal";
  EXPECT_EQ(check(report, limits).level, Level::unknown);
  EXPECT_THAT(check(report, limits).line, HasSubstr("whether a store has the finished WAL"));
  EXPECT_EQ(check(report, {.max_store_age = 1h}).level, Level::ok) << "one of several on a page";
  EXPECT_EQ(check(report, {.must_judge = true}).level, Level::ok);
  EXPECT_EQ(check(with_wal(report_with(nullptr)), limits).level, Level::critical);
  report.store.emplace();
  EXPECT_EQ(check(report, limits).level, Level::ok);
  auto copy = with_wal(report_with(nullptr));
  auto at_rest = limits;
  at_rest.at_rest = true;
  EXPECT_EQ(check(copy, at_rest).level, Level::unknown);
}

/// At the other site, a receiver that has ended is noticed by what no longer arrives.
TEST(Check, JudgesAStoreAloneByItsNewestWal) {
  auto report = with_wal(report_with(nullptr));
  report.directory = "s3://bucket/wal";
  report.store = StoreSide{.place = report.directory};
  const Limits limits{.max_store_age = 1h, .must_judge = true};
  EXPECT_THAT(check(report, limits).line,
              StartsWith("PGWEIR UNKNOWN - it is unknown when the newest WAL in the store was "
                         "uploaded |"));
  EXPECT_EQ(check(report, {.must_judge = true}).level, Level::ok);
  report.store->newest_age = 1h;
  EXPECT_EQ(check(report, limits).level, Level::ok);
  *report.store->newest_age += 1s;
  EXPECT_THAT(
      check(report, limits).line,
      StartsWith("PGWEIR CRITICAL - the newest WAL in the store was uploaded 1 h 0 min ago |"));
}

TEST(Check, ReportsALimitThatCannotBeJudged) {
  auto store = with_wal(report_with(nullptr));
  store.directory = "s3://bucket/wal";
  store.store = StoreSide{.place = store.directory};
  auto copy = with_wal(report_with(nullptr));
  copy.directory = "/srv/copy";
  for (const auto& given :
       {Limits{.max_age = 1s}, Limits{.max_lag_time = 1s}, Limits{.max_outage = 1s}}) {
    auto limits = given;
    EXPECT_EQ(check(store, limits).level, Level::ok) << "one of several on a page";
    limits.must_judge = true;
    EXPECT_THAT(check(store, limits).line,
                StartsWith("PGWEIR UNKNOWN - it is unknown whether WAL streams: "));
    limits.at_rest = true;
    EXPECT_EQ(check(copy, limits).level, Level::unknown);
    copy.receiver = receiver_of(kWell, {});
    EXPECT_THAT(check(copy, limits).line, Not(HasSubstr("it is unknown whether WAL streams")));
    copy.receiver.reset();
  }
}

/// The limit is for all archives of a page.
TEST(Check, ExpectsNoPositionOfAServerForAnArchiveAtRest) {
  auto copy = with_wal(report_with(nullptr));
  Limits limits{.max_lag = 1, .at_rest = true};
  EXPECT_EQ(check(copy, limits).level, Level::ok);
  limits.must_judge = true;
  EXPECT_EQ(check(copy, limits).level, Level::unknown);
  limits.must_judge = false;
  copy.upstream_error = "refused";
  EXPECT_EQ(check(copy, limits).findings.size(), 2u);
  limits.at_rest = false;
  copy.upstream_error.reset();
  EXPECT_EQ(check(copy, limits).findings.size(), 2u) << "and no receiver runs";
}

/// The file system of a copy is not mounted, or the store's prefix has a typing error.
TEST(Check, DoesNotTakeAnEmptyDirectoryForAnArchiveAtRest) {
  const Limits limits{.at_rest = true};
  StatusReport report;
  report.directory = "/mnt/wal";
  const auto verdict = check(report, limits);
  EXPECT_THAT(verdict.line, StartsWith("PGWEIR CRITICAL - no WAL is here |"));
  ASSERT_EQ(verdict.findings.size(), 1u);
  EXPECT_EQ(verdict.findings[0].topic, Topic::no_wal);
  EXPECT_THAT(verdict.findings[0].commands, ::testing::ElementsAre("findmnt --target /mnt/wal"));
  EXPECT_EQ(check(with_wal(report), limits).level, Level::ok);

  // The files were removed while the server was idle.
  auto emptied = report;
  emptied.receiver = receiver_of(kWell, {});
  emptied.receiver->archived_bytes = 1;
  EXPECT_THAT(check(emptied, {.must_judge = true}).line,
              StartsWith("PGWEIR CRITICAL - no WAL is here, although the receiver has written"));
  EXPECT_EQ(check(emptied, {}).level, Level::ok) << "this listing may be older than the WAL";
  EXPECT_EQ(check(with_wal(emptied), {.must_judge = true}).level, Level::ok);
  emptied.receiver->archived_bytes = 0;
  EXPECT_EQ(check(emptied, {.must_judge = true}).level, Level::ok) << "a new archive";

  auto store = report;
  store.directory = "s3://bucket/wall";
  store.store = StoreSide{.place = store.directory};
  EXPECT_THAT(check(store, {}).line, StartsWith("PGWEIR CRITICAL - no WAL is here |"));
  store.identity = archive::Identity{4711, *wal::SegmentSize::of(1 << 20), "pgweir.json"};
  EXPECT_EQ(check(store, {}).level, Level::ok) << "the first segment is not finished";
  store.identity.reset();
  store.store->error = "no answer";
  EXPECT_EQ(check(store, {}).level, Level::warning) << "it is not known whether it has some";
  report.receiver = receiver_of(kWell, {});
  EXPECT_EQ(check(report, {}).level, Level::ok) << "a new archive";
}

TEST(Check, NamesNoStoreAsADirectory) {
  auto report = with_wal(report_with(nullptr));
  report.directory = "s3://bucket/wal";
  report.store = StoreSide{.place = report.directory};
  report.taken = std::chrono::system_clock::time_point(2'000'000'000s);
  const auto verdict = check(report, {.max_verify_age = 1h});
  ASSERT_EQ(verdict.findings.size(), 1u);
  EXPECT_EQ(verdict.findings[0].text, "no verification is recorded");
  EXPECT_THAT(verdict.findings[0].commands, ::testing::ElementsAre("pgweir verify -D DIRECTORY"));
}

TEST(Check, WarnsOfADiskThatIsNearlyFull) {
  auto report = report_with(kWell);
  report.free_bytes = 88 << 10;
  EXPECT_EQ(check(report, {}).level, Level::ok)
      << "without WAL, how much a segment needs is unknown";
  report.segment_size = wal::SegmentSize::of(1 << 20);
  EXPECT_EQ(check(report, {}).level, Level::critical);
  EXPECT_THAT(check(report, {}).line,
              HasSubstr("the disk is nearly full: 88 kB free, room for 0 segments"));
  report.free_bytes = 1 << 20;
  EXPECT_EQ(check(report, {}).level, Level::warning);
  report.free_bytes = (8 << 20) - 1;
  EXPECT_THAT(check(report, {}).line, HasSubstr("room for 7 segments"));
  report.free_bytes = 8 << 20;
  EXPECT_EQ(check(report, {}).level, Level::ok);
  report.free_bytes = 0;
  report.receiver->disk_full_since = report.receiver->taken;
  EXPECT_THAT(check(report, {}).line, Not(HasSubstr("nearly"))) << "one thing, told once";
  report.receiver.reset();
  EXPECT_THAT(check(report, {}).line, Not(HasSubstr("nearly"))) << "nothing writes there";
  // But a limit that was given counts: copies, and archives of an archive_command, fill up, too.
  report.free_bytes = 100 << 20;
  report.full_in = 1h;
  report = with_wal(std::move(report));
  EXPECT_EQ(check(report, {.min_free = (100 << 20) + 1, .at_rest = true}).level, Level::critical);
  EXPECT_EQ(check(report, {.min_free_time = 2h, .at_rest = true}).level, Level::critical);
  EXPECT_EQ(check(report, {.min_free = 1, .min_free_time = 1min, .at_rest = true}).level,
            Level::ok);
  EXPECT_EQ(check(report, {.at_rest = true}).level, Level::ok);
}

TEST(Check, TellsWhenTheDiskWillBeFull) {
  auto report = report_with(kWell);
  report.free_bytes = std::uint64_t{1} << 30;
  report.full_in = 6h;
  EXPECT_EQ(check(report, {}).level, Level::ok);
  report.full_in = 6h - 1s;
  EXPECT_EQ(check(report, {}).level, Level::warning);
  EXPECT_THAT(check(report, {}).line, HasSubstr("full in 5 h 59 min at the rate of the last day"));
  EXPECT_EQ(check(report, {.min_free_time = 1h}).level, Level::ok);
  EXPECT_EQ(check(report, {.min_free_time = 24h}).level, Level::critical);
  EXPECT_EQ(check(report, {.min_free = (1 << 30) + 1}).level, Level::critical);
  EXPECT_EQ(check(report, {.min_free = 1 << 30, .min_free_time = 1h}).level, Level::ok);
}

TEST(Check, NamesTheLastServerInWhatToRunDuringAnOutage) {
  auto report = report_with(R"({"state": "waiting", "server": "db1:5433"})");
  report.directory = "/srv/wal";
  const auto verdict = check(report, {});
  ASSERT_EQ(verdict.findings[0].topic, Topic::not_streaming);
  EXPECT_EQ(verdict.findings[0].commands,
            std::vector<std::string>{"pgweir doctor -D /srv/wal -h db1 -p 5433"});
  report.receiver->server = "[fd00::7]:5432";
  report.receiver->slot = "weir";
  EXPECT_EQ(check(report, {}).findings[0].commands,
            std::vector<std::string>{"pgweir doctor -D /srv/wal -h fd00::7 -p 5432 -S weir"});
  report.receiver->server.clear();
  report.receiver->slot.reset();
  EXPECT_EQ(check(report, {}).findings[0].commands,
            std::vector<std::string>{"pgweir doctor -D /srv/wal -d CONNINFO"});
}

TEST(Check, ToleratesAnOutageForAWhileOnly) {
  const auto after = [](std::chrono::seconds passed, const Limits& limits) {
    auto report = report_with(R"({"state": "waiting", "silence_ms": 1})");
    auto& receiver = *report.receiver;
    receiver.taken = std::chrono::system_clock::time_point(2'000'000'000s);
    receiver.outage_since = receiver.taken - passed;
    return check(report, limits);
  };
  EXPECT_EQ(after(15min, {}).level, Level::warning);
  EXPECT_EQ(after(15min + 1s, {}).level, Level::critical);
  EXPECT_EQ(after(15min + 1s, {.max_outage = 1h}).level, Level::warning);
  EXPECT_EQ(after(2s, {.max_outage = 1s}).level, Level::critical);
  EXPECT_EQ(after(1h, {}).findings[0].since,
            std::chrono::system_clock::time_point(2'000'000'000s - 1h));
  EXPECT_THAT(after(1h, {}).line, HasSubstr("waiting (since 2033-05-18 02:33:20.000 UTC)"));
}

TEST(Check, TellsAnOutageInWhichStreamsStartAndNothingArrives) {
  auto report = report_with(kWell);
  auto& receiver = *report.receiver;
  receiver.taken = std::chrono::system_clock::time_point(2'000'000'000s);
  receiver.outage_since = receiver.taken - 15min;
  EXPECT_EQ(check(report, {}).level, Level::ok);
  receiver.outage_since = receiver.taken - 15min - 1s;
  const auto verdict = check(report, {});
  EXPECT_EQ(verdict.level, Level::critical);
  ASSERT_EQ(verdict.findings[0].topic, Topic::not_streaming);
  EXPECT_EQ(verdict.findings[0].since, receiver.outage_since);
  EXPECT_THAT(verdict.line, HasSubstr("the receiver streams, but nothing arrives from the server"));
}

TEST(Check, WarnsOfAStandbyThatIsCutOffFromItsPrimary) {
  auto report = report_with(kWell);
  auto& receiver = *report.receiver;
  receiver.taken = std::chrono::system_clock::time_point(2'000'000'000s);
  receiver.cut_off_since = receiver.taken - 5min;
  EXPECT_EQ(check(report, {}).level, Level::ok);
  receiver.cut_off_since = receiver.taken - 5min - 1s;
  const auto verdict = check(report, {});
  EXPECT_EQ(verdict.level, Level::warning);
  EXPECT_EQ(verdict.findings[0].since, receiver.cut_off_since);
  EXPECT_THAT(verdict.line, HasSubstr("a standby that receives no WAL from its primary"));
  receiver.state = "waiting";
  EXPECT_THAT(check(report, {}).line, Not(HasSubstr("a standby that")));
}

TEST(Check, JudgesTheAgeOfWhatIsNotDurable) {
  const auto with = [](const char* lag, const Limits& limits) {
    return check(report_with(lag), limits).level;
  };
  constexpr auto kBehind = R"({"state": "streaming", "timeline": 1, "flush_lsn": "0/1000000",
      "server_lsn": "0/1000001", "silence_ms": 1, "lag_ms": 300001})";
  constexpr auto kAtLimit = R"({"state": "streaming", "timeline": 1, "flush_lsn": "0/1000000",
      "server_lsn": "0/1000001", "silence_ms": 1, "lag_ms": 300000})";
  constexpr auto kCaughtUp = R"({"state": "streaming", "timeline": 1, "flush_lsn": "0/1000001",
      "server_lsn": "0/1000001", "silence_ms": 1, "lag_ms": 300001})";
  // After a long outage.
  constexpr auto kAtLeast = R"({"state": "streaming", "timeline": 1, "flush_lsn": "0/1000000",
      "server_lsn": "0/1000001", "silence_ms": 1, "lag_at_least_ms": 300001})";
  EXPECT_EQ(with(kBehind, {}), Level::warning);
  EXPECT_EQ(with(kAtLeast, {}), Level::warning);
  EXPECT_EQ(with(kAtLimit, {}), Level::ok);
  EXPECT_EQ(with(kCaughtUp, {}), Level::ok);
  EXPECT_EQ(with(kBehind, {.max_lag_time = 10min}), Level::ok);
  EXPECT_EQ(with(kAtLimit, {.max_lag_time = 1min}), Level::critical);
  EXPECT_EQ(with(kAtLeast, {.max_lag_time = 1min}), Level::critical);
}

TEST(Check, RemembersTheLastVerificationAndDrill) {
  auto report = report_with(kWell);
  report.taken = std::chrono::system_clock::time_point(2'000'000'000s);
  EXPECT_EQ(check(report, {}).level, Level::ok);
  EXPECT_THAT(check(report, {.max_verify_age = 192h}).line,
              HasSubstr("no verification is recorded"));
  EXPECT_EQ(check(report, {.max_drill_age = 1h}).level, Level::warning);
  report.last_verify = archive::LastCheck{.time = report.taken - 2h, .passed = true};
  EXPECT_EQ(check(report, {.max_verify_age = 2h}).level, Level::ok);
  EXPECT_EQ(check(report, {.max_verify_age = 2h - 1s}).level, Level::warning);
  report.last_verify->whole = false;
  EXPECT_THAT(check(report, {.max_verify_age = 2h}).line,
              HasSubstr("no verification of the whole archive is recorded"));
  EXPECT_EQ(check(report, {}).level, Level::ok);
  report.last_verify->whole = true;
  report.last_verify->time = report.taken + kClockTolerance;
  EXPECT_EQ(check(report, {.max_verify_age = 2h}).level, Level::ok);
  report.last_verify->time += 1s;
  EXPECT_EQ(check(report, {.max_verify_age = 2h}).level, Level::warning);
  EXPECT_THAT(check(report, {.max_verify_age = 2h}).line,
              HasSubstr("it is unknown how long ago the last verification was: its time is in the "
                        "future; "));
  EXPECT_EQ(check(report, {}).level, Level::ok);
  report.last_verify->time = report.taken - 2h;
  report.last_verify->passed = false;
  report.last_verify->problems = 2;
  report.last_verify->problem = "000000010000000000000003: damaged";
  const auto verdict = check(report, {});
  EXPECT_EQ(verdict.level, Level::critical);
  EXPECT_THAT(verdict.line, HasSubstr("the last verification failed (2 problems): "
                                      "000000010000000000000003: damaged (since 2033-05-18"));
  EXPECT_THAT(verdict.findings[0].commands,
              ::testing::ElementsAre("pgweir verify -D ''",
                                     "pgweir import -D '' --replace-damaged SOURCE"));
  // What found it is what shows that it is gone.
  report.last_verify->beside = archive::LastCheck::Beside::store;
  EXPECT_THAT(check(report, {}).findings[0].commands,
              ::testing::ElementsAre("pgweir verify -D '' --store URL"));
  report.last_verify->beside = archive::LastCheck::Beside::archive;
  EXPECT_THAT(check(report, {}).findings[0].commands,
              ::testing::ElementsAre("pgweir verify -D '' --compare-archive ARCHIVE"));
  report.last_verify.reset();
  report.last_drill = archive::LastCheck{.time = report.taken, .backup = "/b/a'b"};
  EXPECT_THAT(check(report, {}).findings[0].commands,
              ::testing::ElementsAre("pgweir drill -D '' --backup '/b/a'\\''b'"));
}

TEST(Check, JudgesBaseBackups) {
  constexpr auto kPlain = StatusReport::Backup::Format::plain;
  auto report = report_with(kWell);
  report.taken = std::chrono::system_clock::time_point(2'000'000'000s);
  report.windows = {{.timeline = 1, .from = wal::Lsn(0x3000000), .to = wal::Lsn(0x7000000)}};
  const auto first = [&](const Limits& limits = {}) {
    const auto found = check(report, limits).findings;
    return found.empty() || found[0].topic != Topic::backup ? Finding{.text = "none"} : found[0];
  };
  EXPECT_EQ(first().text, "none") << "nothing was looked for";
  EXPECT_EQ(first({.max_backup_age = 26h}).text, "there is no base backup");
  report.backup_places = {"/srv/base backups"};
  EXPECT_EQ(first().level, Level::warning);
  EXPECT_EQ(first().text, "there is no base backup");
  EXPECT_THAT(first().commands,
              ::testing::ElementsAre("pgweir backup -D '' --list --to '/srv/base backups'",
                                     "pgweir backup -D '' -d CONNINFO --to '/srv/base backups'"));
  report.backups = {{.name = "old", .timeline = 1, .start = wal::Lsn(0x2000028), .format = kPlain}};
  EXPECT_THAT(first().text, HasSubstr("can be recovered with this archive; old: the WAL that it "
                                      "needs is not in this archive"));
  report.backups.push_back({.name = "torn",
                            .timeline = 1,
                            .start = wal::Lsn(0x4000028),
                            .began = wal::PgTime::of(report.taken - 1h),
                            .format = kPlain,
                            .problem = "a file is missing"});
  EXPECT_THAT(first().text, HasSubstr("torn: a file is missing"));
  report.backups.push_back({.name = "unfinished",
                            .timeline = 1,
                            .start = wal::Lsn(0x6000028),
                            .end = wal::Lsn(0x7000001),
                            .began = wal::PgTime::of(report.taken - 1h),
                            .format = kPlain});
  EXPECT_THAT(first().text, HasSubstr("unfinished: the WAL that it needs")) << "its end is missing";
  report.backups.push_back(
      {.name = "good", .timeline = 1, .start = wal::Lsn(0x3000028), .format = kPlain});
  EXPECT_EQ(first().text, "none");
  EXPECT_EQ(first({.max_backup_age = 26h}).text,
            "the start time of the newest base backup is unknown");
  report.backups.back().began = wal::PgTime::of(report.taken - 30h);
  EXPECT_EQ(first({.max_backup_age = 30h}).text, "none");
  const auto late = first({.max_backup_age = 30h - 1s});
  EXPECT_THAT(late.text, HasSubstr("began more than 1 d 5 h ago"));
  EXPECT_EQ(late.since, report.taken - 30h);
  report.backups.back().began = wal::PgTime::of(report.taken + kClockTolerance);
  EXPECT_EQ(first({.max_backup_age = 26h}).text, "none");
  report.backups.back().began = wal::PgTime::of(report.taken + kClockTolerance + 1s);
  EXPECT_EQ(first({.max_backup_age = 26h}).text,
            "the start time of the newest base backup is unknown");
  report.backups_error = "/srv/base backups is not there";
  EXPECT_THAT(first().text, HasSubstr("could not be listed: /srv/base backups is not there"));
  report.taken = {};
  report.backups_error.reset();
  EXPECT_EQ(first({.max_backup_age = 1h}).text,
            "the start time of the newest base backup is unknown")
      << "without a time nothing is old";
}

TEST(Check, NamesWhatIsMissingAndWhatToRun) {
  auto report = report_with(kWell);
  report.directory = "/srv/a wal";
  report.segment_size = wal::SegmentSize();
  report.free_bytes = std::uint64_t{1} << 40;
  report.holes.push_back({.timeline = 1,
                          .from = wal::Lsn(0x4000000),
                          .to = wal::Lsn(0x6000000),
                          .segments = 2,
                          .id = "hole-1-0-4000000",
                          .found = "2026-11-20 10:00:00.000 UTC"});
  const auto finding = check(report, {}).findings[0];
  EXPECT_THAT(finding.text, HasSubstr("(timeline 1): 000000010000000000000004 to "
                                      "000000010000000000000005"));
  EXPECT_THAT(finding.commands,
              ::testing::ElementsAre("pgweir import -D '/srv/a wal' SOURCE",
                                     "pgweir ack -D '/srv/a wal' hole-1-0-4000000"));
  EXPECT_TRUE(finding.since);
  report.holes[0].acknowledged = archive::Loss::Acknowledgement{};
  EXPECT_THAT(check(report, {}).findings[0].commands, ::testing::IsEmpty());
}

/// Everything that can be wrong at once.
StatusReport report_of_all_troubles() {
  auto report = report_with(
      R"({"state": "streaming", "server": "db1:5432", "timeline": 1, "flush_lsn": "0/7000100",
          "server_lsn": "0/9000100", "lag_ms": 600000, "silence_ms": 400000, "slot": "weir",
          "slot_warning": "running out",
          "candidates": [{"host": "db2", "cover": "no_slot", "reason": "no slot"}],
          "certificates": {"client": "/etc/client.crt", "client_expires": "2026-11-23 00:00:00.000 UTC",
                           "server_expires": "2026-11-23 00:00:00.000 UTC", "problem": "no key"},
          "comparison": {"with": "db3:5433", "differences": 1, "difference": "they differ",
                         "problem": "it is away"},
          "store": {"store": "s3://b/p/", "last_error": "refused", "needs_person": true}})");
  report.receiver->taken = std::chrono::system_clock::time_point(1'795'305'600s);  // 2026-11-22
  report.receiver->serving.emplace();
  report.receiver->serving->certificate =
      archive::ServedCertificate{"/etc/relay.crt", std::chrono::sys_seconds(1'795'219'200s)};
  report.receiver->serving->problem =
      archive::ServingProblem{"out of memory", false, report.receiver->taken};
  report.directory = "/srv/wal";
  report.segment_size = wal::SegmentSize();
  report.taken = report.receiver->taken;
  report.holes.push_back({.timeline = 1,
                          .from = wal::Lsn(0x4000000),
                          .to = wal::Lsn(0x5000000),
                          .segments = 1,
                          .id = "hole-1-0-4000000"});
  archive::Loss loss;
  loss.timeline = 1;
  loss.begin = wal::Lsn(0x4000000);
  loss.end = wal::Lsn(0x5000000);
  loss.kind = archive::Loss::Kind::lost_branch;
  report.lost_branches.push_back(loss);
  loss.kind = archive::Loss::Kind::minimal_wal;
  report.minimal_wal.push_back(loss);
  report.unvouched.push_back({.timeline = 1, .begin = wal::Lsn(0x4000000), .end = loss.end});
  report.published_open.push_back({.segment = wal::SegmentName(1, 4, wal::SegmentSize())});
  report.damaged = {"a file is damaged"};
  report.breaks_off = archive::Break{.file = "x", .at = wal::Lsn(0x4000000)};
  report.relay_errors = {"it does not answer"};
  report.slots_error = "they cannot be read";
  archive::ServedSlot slot;
  slot.kept.name = "standby 1";
  slot.kept.lost = true;
  report.slots = {slot};
  report.upstream = with_slot(upstream_at(wal::Lsn(0x9000000)), false, "");
  report.upstream->system_identifier = 43;
  report.upstream_error = "refused";
  report.store.emplace();
  report.store->error = "refused";
  report.last_verify.emplace();
  report.last_drill.emplace();
  report.backups_error = "not found";
  return report;
}

TEST(Check, HasACommandForEachFinding) {
  Limits limits;
  limits.max_lag = 1;
  limits.max_age = 1min;
  std::set<Topic> topics;
  const auto look = [&](const StatusReport& report, bool at_rest = false) {
    limits.at_rest = at_rest;
    for (const auto& finding : check(report, limits).findings) {
      topics.insert(finding.topic);
      EXPECT_THAT(finding.commands, Not(::testing::IsEmpty())) << finding.text;
      for (const auto& command : finding.commands)
        EXPECT_THAT(command, Not(HasSubstr("DIRECTORY"))) << finding.text;
    }
  };
  auto report = report_of_all_troubles();
  look(report);
  report.receiver->disk_full_since = report.taken;
  look(report);
  report.receiver->disk_full_since.reset();
  report.receiver->stream.reset();
  report.receiver->state = "waiting";
  look(report);
  report.receiver.reset();
  look(report);
  report.receiver_error = "it does not answer";
  look(report);
  report.upstream->system_identifier = 42;
  report.branch = archive::Branch{
      .relation = archive::Branch::Relation::diverged, .archive_timeline = 1, .fork_timeline = 1};
  look(report);
  report.silent_since = report.taken;
  look(report);
  StatusReport empty;
  empty.directory = "/srv/wal";
  look(empty);
  look(empty, true);
  for (const auto topic : all_topics())
    EXPECT_TRUE(topics.contains(topic) || topic == Topic::other) << to_string(topic);
}

TEST(Check, ReportsADirectoryWhoseCheckDoesNotReturn) {
  auto report = report_with(kWell);
  report.directory = "/srv/wal";
  report.taken = std::chrono::system_clock::time_point(1'795'305'600s);  // 2026-11-22
  report.silent_since = report.taken - 10min;
  auto verdict = check(report, {});
  EXPECT_EQ(verdict.level, Level::critical) << "although the receiver streamed when it was read";
  EXPECT_THAT(verdict.line, HasSubstr("the check of the archive's directory has not returned "
                                      "(since 2026-11-21 23:50:00.000 UTC)"));
  report.receiver.reset();
  verdict = check(report, {});
  ASSERT_EQ(verdict.findings.size(), 1u) << "whether a receiver runs is not known either";
  EXPECT_EQ(verdict.findings[0].topic, Topic::directory_silent);
}

TEST(Check, ReportsThatTheArchiveIsNotServed) {
  auto report = report_of_all_troubles();
  const auto level = [&] {
    for (const auto& finding : check(report, {}).findings)
      if (finding.topic == Topic::serving) {
        EXPECT_EQ(finding.text, "the archive is not served to clients: out of memory");
        EXPECT_EQ(finding.since, report.taken);
        return finding.level;
      }
    return Level::ok;
  };
  EXPECT_EQ(level(), Level::warning);
  report.receiver->serving->problem->needs_person = true;
  EXPECT_EQ(level(), Level::critical);
  report.receiver->serving->problem.reset();
  EXPECT_EQ(level(), Level::ok);
}

TEST(Check, ReportsThatARelayServesNothingNewer) {
  archive::Relay relay;
  relay.serving.problem = archive::ServingProblem{"a flush of the archive failed", true, {}};
  relay.serving.end = archive::DurableEnd{1, wal::Lsn(0x4000000)};
  const auto told = [&] {
    const auto found = findings(relay);
    return found.size() == 1 ? found[0].text : std::to_string(found.size());
  };
  EXPECT_EQ(told(), "clients get no WAL after 0/4000000: a flush of the archive failed");
  relay.serving.end.reset();
  EXPECT_EQ(told(), "the archive is not served to clients: a flush of the archive failed");
  relay.serving.problem.reset();
  EXPECT_EQ(told(), "0");
}

TEST(Check, NamesTheReceiversOwnFileInWhatToRun) {
  auto report = report_of_all_troubles();
  const auto commands = [&](Topic topic) {
    std::vector<std::string> all;
    for (const auto& finding : check(report, {}).findings)
      if (finding.topic == topic)
        all.insert(all.end(), finding.commands.begin(), finding.commands.end());
    return all;
  };
  EXPECT_THAT(commands(Topic::store),
              ::testing::Contains("pgweir store check -D /srv/wal --store URL"));
  EXPECT_THAT(commands(Topic::candidate),
              ::testing::ElementsAre("pgweir doctor --failover -D /srv/wal -d CONNINFO -S weir"));
  EXPECT_THAT(commands(Topic::comparison), ::testing::ElementsAre("pgweir doctor -h db3 -p 5433"));
  EXPECT_THAT(
      commands(Topic::certificate),
      ::testing::ElementsAre("openssl x509 -noout -subject -issuer -enddate -in /etc/relay.crt",
                             "openssl x509 -noout -subject -issuer -enddate -in /etc/client.crt",
                             "pgweir doctor -D /srv/wal -h db1 -p 5432 -S weir",
                             "pgweir doctor -D /srv/wal -h db1 -p 5432 -S weir"));
  report.receiver->config = "/etc/pgweir/main.ini";
  EXPECT_THAT(commands(Topic::store),
              ::testing::Each("pgweir store check -c /etc/pgweir/main.ini -D /srv/wal"));
  EXPECT_THAT(
      commands(Topic::candidate),
      ::testing::ElementsAre("pgweir doctor --failover -c /etc/pgweir/main.ini -D /srv/wal"));
  EXPECT_THAT(commands(Topic::lag),
              ::testing::ElementsAre("pgweir doctor -c /etc/pgweir/main.ini -D /srv/wal"));
}

TEST(Check, SaysWhichTimelineMissingSegmentsAreOf) {
  auto report = report_with(kWell);
  report.segment_size = wal::SegmentSize();
  report.free_bytes = std::uint64_t{1} << 40;
  const test::TemporaryDirectory archive;
  archive.write("00000003.history", "1\t0/3000000\tx\n2\t0/8000000\tx\n");
  const auto directory = io::open_directory(archive.path());
  report.histories = archive::Timelines::read(*directory, archive::list_archive(*directory));
  report.holes.push_back(
      {.timeline = 3, .from = wal::Lsn(0x4000000), .to = wal::Lsn(0x5000000), .segments = 1});
  EXPECT_THAT(check(report, {}).findings[0].text,
              HasSubstr("1 segment missing from 0/4000000 to 0/5000000 (timeline 2, on the way to "
                        "timeline 3): 000000020000000000000004"));
  report.holes[0].to = wal::Lsn(0x9000000);
  EXPECT_THAT(
      check(report, {}).findings[0].text,
      HasSubstr("(timelines 2 to 3): 000000020000000000000004 to 000000030000000000000008"));
}

/// The directory is not mounted, and the archive has the .backup file of a backup that was in it.
TEST(Check, CountsNoBackupWithoutFilesIfBackupsWereSearched) {
  auto report = report_with(kWell);
  report.taken = std::chrono::system_clock::time_point(2'000'000'000s);
  report.windows = {{.timeline = 1, .from = wal::Lsn(0x3000000), .to = wal::Lsn(0x7000000)}};
  report.backups = {{.name = "000000010000000000000003.00000028.backup",
                     .timeline = 1,
                     .start = wal::Lsn(0x3000028),
                     .began = wal::PgTime::of(report.taken - 1h)}};
  const auto tells = [&](const Limits& limits) {
    const auto found = check(report, limits).findings;
    return std::any_of(found.begin(), found.end(), [](const Finding& finding) {
      return finding.topic == Topic::backup && finding.text == "there is no base backup";
    });
  };
  EXPECT_FALSE(tells({.max_backup_age = 26h})) << "its files are elsewhere";
  report.backup_places = {"/srv"};
  EXPECT_TRUE(tells({.max_backup_age = 26h}));
  EXPECT_TRUE(tells({}));
  report.backups[0].format = StatusReport::Backup::Format::plain;
  EXPECT_FALSE(tells({}));
}

TEST(Check, CountsNoBackupThatTheNewestTimelineDoesNotContain) {
  auto report = report_with(kWell);
  report.segment_size = wal::SegmentSize();
  report.free_bytes = std::uint64_t{1} << 40;
  const test::TemporaryDirectory archive;
  archive.write("00000002.history", "1\t0/4000090\tx\n");
  const auto directory = io::open_directory(archive.path());
  report.histories = archive::Timelines::read(*directory, archive::list_archive(*directory));
  report.windows = {{.timeline = 2, .from = wal::Lsn(0x2000000), .to = wal::Lsn(0x7000000)}};
  report.backup_places = {"/srv"};
  const auto text = [&](StatusReport::Backup backup) {
    report.backups = {std::move(backup)};
    return check(report, {}).findings[0].text;
  };
  const StatusReport::Backup over = {.name = "over",
                                     .timeline = 1,
                                     .start = wal::Lsn(0x3000028),
                                     .end = wal::Lsn(0x5000050),
                                     .end_timeline = 1,
                                     .format = StatusReport::Backup::Format::plain};
  constexpr auto kOther =
      "it is not in the history of timeline 2, the newest one (recover --timeline 1 follows its "
      "own)";
  EXPECT_THAT(text(over), HasSubstr(kOther)) << "the old primary's, which ended after the switch";
  auto lost = over;
  lost.start = wal::Lsn(0x4800028);
  EXPECT_THAT(text(lost), HasSubstr(kOther));
  auto of_a_standby = over;
  of_a_standby.end_timeline = 2;
  EXPECT_THAT(text(of_a_standby), Not(HasSubstr("over")));
  auto before = over;
  before.end = wal::Lsn(0x4000090);
  EXPECT_THAT(text(before), Not(HasSubstr("over")));
}

/// Of a server that was recovered, and then recovered once more from where it began.
TEST(Check, CountsNoBackupOfASiblingOfTheNewestTimeline) {
  auto report = report_with(kWell);
  report.segment_size = wal::SegmentSize();
  report.free_bytes = std::uint64_t{1} << 40;
  const test::TemporaryDirectory archive;
  archive.write("00000002.history", "1\t0/4000090\tx\n");
  archive.write("00000003.history", "1\t0/3500090\tx\n");
  const auto directory = io::open_directory(archive.path());
  report.histories = archive::Timelines::read(*directory, archive::list_archive(*directory));
  report.windows = {{.timeline = 2, .from = wal::Lsn(0x2000000), .to = wal::Lsn(0x9000000)},
                    {.timeline = 3, .from = wal::Lsn(0x2000000), .to = wal::Lsn(0x6000000)}};
  report.backup_places = {"/srv"};
  const auto text = [&](StatusReport::Backup backup) {
    report.backups = {std::move(backup)};
    return check(report, {}).findings[0].text;
  };
  const StatusReport::Backup sibling = {.name = "sibling",
                                        .timeline = 2,
                                        .start = wal::Lsn(0x5000028),
                                        .end = wal::Lsn(0x5000100),
                                        .end_timeline = 2,
                                        .format = StatusReport::Backup::Format::plain};
  EXPECT_THAT(text(sibling),
              HasSubstr("it is not in the history of timeline 3, the newest one (recover "
                        "--timeline 2 follows its own)"));
  auto of_both = sibling;
  of_both.timeline = of_both.end_timeline = 1;
  of_both.start = wal::Lsn(0x3000028);
  of_both.end = wal::Lsn(0x3000100);
  EXPECT_THAT(text(of_both), Not(HasSubstr("sibling")));
  auto own = sibling;
  own.timeline = own.end_timeline = 3;
  EXPECT_THAT(text(own), Not(HasSubstr("sibling")));
}

TEST(Check, KnowsAnotherCluster) {
  auto report = report_with(kWell);
  report.upstream = upstream_at(wal::Lsn(1));
  report.upstream->system_identifier = 43;
  EXPECT_EQ(check(report, {}).level, Level::critical);
  EXPECT_EQ(lag_of(report), std::nullopt);
  report.upstream->system_identifier = 42;
  EXPECT_EQ(lag_of(report), 0U);
}

TEST(Check, KnowsNoLagBehindAServerWhoseHistoryIsUnknown) {
  auto report = report_with(kWell);
  report.upstream = upstream_at(wal::Lsn(0x7100100));
  report.upstream->timeline = 7;
  report.branch = archive::Branch{.missing_from = report.upstream->position,
                                  .missing_to = report.upstream->position};
  EXPECT_EQ(lag_of(report), std::nullopt);
  EXPECT_THAT(status_json(report, std::nullopt), HasSubstr("\"missing_bytes\": null"));
  EXPECT_THAT(check(report, {}).line, HasSubstr(" | lag=U;"));
  report.branch->relation = archive::Branch::Relation::diverged;
  EXPECT_EQ(lag_of(report), 0U);
  EXPECT_THAT(status_json(report, std::nullopt), HasSubstr("\"missing_bytes\": 0"));
}

TEST(Check, WarnsOfWhatClientsSlotsHoldBackOrHaveLost) {
  auto report = report_with(kWell);
  archive::ServedSlot slot;
  slot.kept.name = "standby1";
  slot.active_pid = 7;
  slot.retained = std::uint64_t{5} << 30;
  report.slots = {slot};
  EXPECT_EQ(check(report, {}).level, Level::ok);
  report.slots[0].active_pid.reset();
  EXPECT_EQ(check(report, {}).level, Level::warning);
  EXPECT_THAT(check(report, {}).line, HasSubstr("\"standby1\" retains 5 GB"));
  report.slots[0].kept.lost = true;
  EXPECT_THAT(check(report, {}).line, HasSubstr("\"standby1\" is lost"));
  report.slots.clear();
  report.relay_errors = {"a process that serves the archive does not answer"};
  EXPECT_EQ(check(report, {}).level, Level::warning);
  report.relay_errors.clear();
  report.slots_error = "the file of the relay's slots cannot be read";
  EXPECT_THAT(check(report, {}).line, HasSubstr("cannot be read"));
}

TEST(Check, TellsPerformanceData) {
  auto report = report_with(kWell);
  report.free_bytes = 5;
  EXPECT_THAT(check(report, {64 << 20, 5min}).line,
              HasSubstr(" | lag=0B;;67108864;0 age=0.412s;;300.000;0 missing=0;;0;0 segments=0;;;0 "
                        "size=0B;;;0 free=5B;;;0"));
  EXPECT_THAT(check(report_with(nullptr), {}).line, HasSubstr(" | lag=U;;;0 age=U;;;0 missing=0"));
  auto stored = report_with(nullptr);
  stored.directory = "s3://bucket/wal";
  stored.store = StoreSide{.place = stored.directory};
  EXPECT_THAT(check(stored, {}).line, HasSubstr(" free=U;;;0")) << "a store has no end";
  EXPECT_THAT(status_json(stored, std::nullopt), Not(HasSubstr("free_bytes")));
}

TEST(Check, PutsTheGravestFirstAndKeepsToOneLine) {
  auto report = report_with(R"({"state": "waiting", "last_error": "a | b\nc"})");
  report.damaged = {"00000002.history: broken"};
  const auto line = check(report, {1, {}}).line;
  EXPECT_THAT(line, StartsWith("PGWEIR CRITICAL - 00000002.history: broken; the receiver does not "
                               "stream: waiting, a / b c; it is unknown how far"));
}

}  // namespace
}  // namespace weir::status::check_test

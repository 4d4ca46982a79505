#include "status/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "io/posix_directory.h"
#include "status/beside.h"
#include "status/check.h"
#include "status/store_side.h"
#include "status/text.h"
#include "status/view_json.h"
#include "support/archive_builder.h"
#include "support/backup_builder.h"
#include "support/bytes.h"
#include "support/sim_disk.h"
#include "wal/pg_time.h"

namespace weir::status::report_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

archive::SegmentEntry entry(std::string_view name, std::uint64_t bytes) {
  return {*archive::SegmentFileName::parse(name), bytes};
}

constexpr std::uint64_t k16MB = 16 * 1024 * 1024;

StatusReport report_of(const archive::Listing& listing) {
  StatusReport report;
  report.directory = "/a";
  report.segment_size = wal::SegmentSize();
  report.identity = archive::Identity{42, wal::SegmentSize(), "x"};
  report.free_bytes = std::uint64_t{1} << 30;
  describe_listing(report, listing, archive::Timelines());
  return report;
}

std::vector<std::string> complaints(const StatusReport& report) {
  std::vector<std::string> texts;
  for (const auto& finding : check(report, {}).findings) texts.push_back(finding.text);
  return texts;
}

archive::Listing some_listing() {
  archive::Listing listing;
  listing.segments = {
      entry("000000010000000000000002", k16MB), entry("000000010000000000000002.zst", 100),
      entry("000000010000000000000003.zst", 200), entry("000000010000000000000006.zst", 300),
      entry("000000010000000000000007.partial", k16MB)};
  listing.foreign = {"notes.txt"};
  return listing;
}

TEST(StatusReport, CountsFormsAndFindsHoles) {
  const auto report = report_of(some_listing());
  ASSERT_EQ(report.timelines.size(), 1u);
  const auto& timeline = report.timelines[0];
  EXPECT_EQ(timeline.from, wal::Lsn(0x2000000));
  EXPECT_EQ(timeline.to, wal::Lsn(0x7000000));
  EXPECT_EQ(timeline.segments, 3u);
  EXPECT_EQ(timeline.forms.at(codec::Method::zstd).count, 3u);
  EXPECT_EQ(timeline.forms.at(codec::Method::zstd).bytes, 600u);
  EXPECT_EQ(timeline.partials.size(), 1u);
  ASSERT_EQ(report.holes.size(), 1u);
  EXPECT_EQ(report.holes[0].from, wal::Lsn(0x4000000));
  EXPECT_EQ(report.holes[0].to, wal::Lsn(0x6000000));
  EXPECT_EQ(report.holes[0].segments, 2u);
}

TEST(StatusReport, SaysItInWords) {
  auto report = report_of(some_listing());
  report.receiver = receiver_of(
      R"({"pid": 7, "state": "streaming", "state_since": "2026-11-20 10:00:00.123 UTC",
          "server": "db1:5432", "timeline": 1, "flush_lsn": "0/7000100", "server_lsn": "0/7002100",
          "silence_ms": 412, "slot": "weir", "slot_warning": "it is running out"})",
      wal::PgTime::parse("2026-11-20 10:00:01.000 UTC")->system_time());
  const auto text = status_text(report);
  for (const auto* part :
       {"Archive /a: system 42, segments of 16 MB\n",
        "timeline 1: 0/2000000 to 0/7000000, 3 segments (1 raw, 16 MB; 3 zstd, 600 B)\n",
        "000000010000000000000007.partial (16 MB)\n",
        "HOLE: 2 segments missing from 0/4000000 to 0/6000000", "not WAL: 1 file: notes.txt\n",
        "Receiver: streaming, server db1:5432, since 2026-11-20 10:00:00.123 UTC (pid 7)\n",
        "durable up to 0/7000100 on timeline 1, 8 kB behind the server\n",
        "last message of the server: 2026-11-20 10:00:00.588 UTC\n", "WARNING: it is running out"})
    EXPECT_THAT(text, HasSubstr(part));
}

TEST(StatusReport, IsWellWithoutHolesAndWithAReceiver) {
  auto listing = some_listing();
  listing.segments.erase(listing.segments.begin() + 3, listing.segments.end());
  listing.segments.push_back(entry("000000010000000000000004.partial", k16MB));
  auto report = report_of(listing);
  report.receiver = receiver_of(R"({"state": "streaming", "server": "db1", "slot": "weir"})", {});
  EXPECT_THAT(complaints(report), IsEmpty());
  report.receiver->slot.reset();
  EXPECT_THAT(complaints(report), ElementsAre(HasSubstr("no replication slot is used")));
  EXPECT_EQ(check(report, {}).level, Level::ok);
  EXPECT_THAT(check(report, {}).line, HasSubstr("; no replication slot is used: the server may"));
  EXPECT_THAT(status_text(report), HasSubstr("  slot: none, the server may remove WAL"));
}

TEST(StatusReport, ComplainsOfWhatNeedsACare) {
  struct Case {
    const char* name;
    std::optional<std::string> receiver;
    std::optional<std::string> error;
    const char* complaint;
  };
  const Case cases[] = {
      {"none", std::nullopt, std::nullopt, "no receiver runs"},
      {"rubbish", "[1", std::nullopt, "no receiver runs"},
      {"hangs", std::nullopt, "it does not answer", "it does not answer"},
      {"disk full", R"({"state": "disk full", "slot": "weir"})", std::nullopt, "the disk is full"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    auto report = report_of({});
    if (each.receiver) report.receiver = receiver_of(*each.receiver, {});
    report.receiver_error = each.error;
    EXPECT_THAT(complaints(report), ElementsAre(HasSubstr(each.complaint)));
    EXPECT_THAT(status_text(report), HasSubstr("Receiver: "));
  }
  EXPECT_THAT(
      complaints(report_of(some_listing())),
      ElementsAre(HasSubstr("2 segments missing from 0/4000000"), HasSubstr("no receiver runs")));
}

TEST(StatusReport, HasTheSameAsJson) {
  auto report = report_of(some_listing());
  report.foreign = {"not \xff utf-8"};
  report.receiver = receiver_of(R"({"state": "streaming", "server": "db1", "slot": "weir"})", {});
  const auto json = nlohmann::json::parse(status_json(report));
  EXPECT_EQ(json["system_identifier"], "42");
  EXPECT_EQ(json["segment_size"], k16MB);
  EXPECT_EQ(json["timelines"][0]["forms"]["zstd"]["files"], 3);
  EXPECT_EQ(json["timelines"][0]["partial"][0]["name"], "000000010000000000000007.partial");
  EXPECT_EQ(json["coverage"][0]["ranges"].size(), 2u);
  EXPECT_EQ(json["holes"][0]["segments"], 2);
  EXPECT_EQ(json["receiver"]["state"], "streaming");
  EXPECT_EQ(json["problems"].size(), 1u);
}

TEST(StatusReport, TellsToWhichMomentsABackupCanBeRecovered) {
  auto report = report_of(some_listing());
  auto& ends = report.timelines[0].ends;
  ends.first = wal::Commit{wal::Lsn(0x2000100), wal::Lsn(0x2000128), 5, {1'000'000}};
  ends.last = wal::Commit{wal::Lsn(0x7000100), wal::Lsn(0x7000128), 6, {2'000'000}};
  ends.end = wal::Lsn(0x7000200);
  describe_windows(report);
  ASSERT_EQ(report.windows.size(), 2u);
  EXPECT_EQ(report.windows[0].from, wal::Lsn(0x6000000));
  EXPECT_EQ(report.windows[0].from_time, std::nullopt);
  EXPECT_EQ(report.windows[0].to, wal::Lsn(0x7000200));
  EXPECT_EQ(report.windows[0].to_time, wal::PgTime{2'000'000});
  EXPECT_TRUE(report.windows[0].with_partial);
  EXPECT_EQ(report.windows[1].from, wal::Lsn(0x2000000));
  EXPECT_EQ(report.windows[1].from_time, wal::PgTime{1'000'000});
  EXPECT_EQ(report.windows[1].to, wal::Lsn(0x4000000));
  EXPECT_FALSE(report.windows[1].with_partial);
  const auto text = status_text(report);
  EXPECT_THAT(text,
              HasSubstr("a base backup that began at 0/6000000 or later can be recovered to any "
                        "moment\n    from its own end up to 0/7000200 (2000-01-01 00:00:02.000000 "
                        "UTC),\n    the last bytes with \"pgweir restore --partial\".\n"));
  EXPECT_THAT(text, HasSubstr("up to 0/4000000, where WAL is missing;\n"));
}

TEST(StatusReport, HasAWindowInAnArchiveThatHasJustBegun) {
  archive::Listing listing;
  listing.segments = {entry("000000010000000000000007.partial", k16MB)};
  auto report = report_of(listing);
  describe_windows(report);
  EXPECT_THAT(report.windows, IsEmpty());
  report.timelines[0].ends.end = wal::Lsn(0x7000200);
  describe_windows(report);
  ASSERT_EQ(report.windows.size(), 1u);
  EXPECT_EQ(report.windows[0].from, wal::Lsn(0x7000000));
  EXPECT_EQ(report.windows[0].to, wal::Lsn(0x7000200));
}

TEST(StatusReport, KnowsWhichTimelineMissesWhatAtASwitch) {
  // Timeline 1 was left at 0/5000100: the segments up to 4 are its own, 5 is already the child's.
  archive::Listing listing;
  listing.segments = {entry("000000010000000000000002", k16MB),
                      entry("000000020000000000000007", k16MB)};
  listing.histories = {{2, codec::Method::none}};
  sim::SimDisk disk;
  disk.put("00000002.history", test::as_bytes("1\t0/5000100\tx\n"));
  const auto directory = disk.open();
  StatusReport report;
  report.segment_size = wal::SegmentSize();
  describe_listing(report, listing, archive::Timelines::read(*directory, listing));
  ASSERT_EQ(report.timelines.size(), 2u);
  EXPECT_THAT(report.timelines[0].missing, ElementsAre(SegnoRange{3, 5}));
  EXPECT_THAT(report.timelines[1].missing, ElementsAre(SegnoRange{5, 7}));
}

/// No recovery can follow an older timeline to one without its history; verify reports the same.
TEST(StatusReport, TellsThatAHistoryIsMissing) {
  archive::Listing listing;
  listing.segments = {entry("000000010000000000000002", k16MB),
                      entry("000000020000000000000003", k16MB),
                      entry("000000030000000000000004.partial", k16MB)};
  listing.histories = {{3, codec::Method::none}};
  constexpr auto kMissing =
      "00000002.history: the history file is missing, but segments of timeline 2 exist";
  EXPECT_THAT(report_of(listing).damaged, ElementsAre(kMissing));
  EXPECT_THAT(complaints(report_of(listing)), ::testing::Contains(kMissing));
  listing.histories.clear();
  EXPECT_THAT(report_of(listing).damaged, ElementsAre(kMissing, HasSubstr("00000003.history")));
  listing.histories = {{2, codec::Method::none}, {3, codec::Method::zstd}};
  EXPECT_THAT(report_of(listing).damaged, IsEmpty());
  // An archive that begins on a later timeline: a server requests that one's file, too.
  listing.segments.erase(listing.segments.begin());
  listing.histories = {{3, codec::Method::none}};
  EXPECT_THAT(report_of(listing).damaged, ElementsAre(kMissing));
  listing.segments.erase(listing.segments.begin());
  EXPECT_THAT(report_of(listing).damaged, IsEmpty());
}

/// That of a timeline without segments: restore rejects its request, too.
TEST(StatusReport, TellsThatAnAncestorsHistoryIsMissing) {
  archive::Listing listing;
  listing.segments = {entry("000000010000000000000002", k16MB),
                      entry("000000030000000000000003", k16MB)};
  listing.histories = {{3, codec::Method::none}};
  sim::SimDisk disk;
  disk.put("00000003.history", test::as_bytes("1\t0/3000100\tx\n2\t0/3000200\tx\n"));
  const auto directory = disk.open();
  StatusReport report;
  report.segment_size = wal::SegmentSize();
  describe_listing(report, listing, archive::Timelines::read(*directory, listing));
  EXPECT_THAT(report.damaged,
              ElementsAre("00000002.history: the history file is missing, but 00000003.history "
                          "names timeline 2"));
  // A recovery that begins on timeline 3.
  listing.segments.erase(listing.segments.begin());
  StatusReport later;
  later.segment_size = wal::SegmentSize();
  describe_listing(later, listing, archive::Timelines::read(*directory, listing));
  EXPECT_THAT(later.damaged, IsEmpty());
}

TEST(StatusLook, HasNoFalseAlarmBesideOthersAtWork) {
  using verify::ArchiveBuilder;
  using verify::kSize;
  using Step = std::function<void(ArchiveBuilder&)>;
  verify::WalBuilder wal({.seed = 5});
  wal.grow_to(kSize.start(8));
  const auto move = [&](std::uint64_t segno, codec::Method from, bool from_partial,
                        codec::Method to) {
    const auto content = verify::packed(to, ArchiveBuilder::content(wal, segno));
    const auto old_name = ArchiveBuilder::name(wal, segno, from, from_partial);
    const auto new_name = ArchiveBuilder::name(wal, segno, to);
    return Step([=](ArchiveBuilder& archive) {
      archive.disk.put(new_name, content);
      archive.disk.erase(old_name);
    });
  };
  const auto drop = [&](std::uint64_t segno) {
    const auto name = ArchiveBuilder::name(wal, segno);
    return Step([=](ArchiveBuilder& archive) { archive.disk.erase(name); });
  };
  using codec::Method;
  const std::vector<std::pair<const char*, std::vector<Step>>> cases = {
      {"prune", {drop(1), drop(2)}},
      {"a receiver finishes", {move(5, Method::none, true, Method::none)}},
      {"a receiver finishes and compresses",
       {move(5, Method::none, true, Method::none), move(5, Method::none, false, Method::zstd)}},
      {"conversion",
       {move(1, Method::none, false, Method::zstd), move(4, Method::none, false, Method::zstd)}},
  };
  for (const auto& [name, steps] : cases) {
    SCOPED_TRACE(name);
    for (const std::uint64_t apart : {1, 3})
      for (std::uint64_t call = 1;; ++call) {
        SCOPED_TRACE(call);
        ArchiveBuilder archive;
        archive.segments(wal, 1, 6);
        const auto whole = archive.disk.content(ArchiveBuilder::name(wal, 5));
        archive.disk.erase(ArchiveBuilder::name(wal, 5));
        archive.disk.put(ArchiveBuilder::name(wal, 5, Method::none, true), whole);
        archive.partial(wal, kSize.start(6) + 50'000);
        std::size_t done = 0;
        const auto directory = archive.disk.open();
        archive.disk.set_hook([&, &todo = steps](const sim::SimDisk::Call& now) {
          if (done < todo.size() && now.number >= call + done * apart) todo[done++](archive);
          return sim::SimDisk::Effect::proceed();
        });
        const auto report = make_report(*directory);
        ASSERT_TRUE(report.holes.empty());
        ASSERT_THAT(report.damaged, IsEmpty());
        ASSERT_GT(report.timelines.at(0).ends.end, kSize.start(6)) << "where the archive ends";
        if (done == 0) break;
      }
  }
}

TEST(StatusReport, EndsTheWindowWhereAPublishedSegmentIsPadded) {
  using verify::ArchiveBuilder;
  using verify::kSize;
  testing::WalBuilder wal{{.switch_every = 0}};
  wal.grow_to(kSize.start(5));
  const auto end = wal.complete_end(kSize.start(3) + 300'000);
  const wal::SegmentName segment(1, 3, kSize);
  ArchiveBuilder archive;
  archive.segments(wal, 1, 4);
  archive.disk.put(archive::published_open_name(segment),
                   test::as_bytes(archive::published_open_record(
                       {.segment = segment, .end = end, .object = {}, .time = {}})));
  const auto window_end = [&] {
    const auto report = make_report(*archive.disk.open());
    EXPECT_EQ(report.published_open.size(), 1);
    EXPECT_EQ(report.windows.size(), 1);
    return report.windows.at(0).to;
  };
  EXPECT_EQ(window_end(), kSize.start(4)) << "it is the real one";
  auto padded = archive.disk.content(segment.to_string());
  std::fill(padded.begin() + static_cast<std::ptrdiff_t>(kSize.offset(end)), padded.end(),
            std::byte{0});
  archive.disk.put(segment.to_string(), padded);
  EXPECT_EQ(window_end(), end);
  archive.segments(wal, 4, 5);
  EXPECT_EQ(window_end(), kSize.start(5)) << "it is not the last one";
}

TEST(StatusReport, TellsWhereUnfinishedWalBreaksOff) {
  using verify::ArchiveBuilder;
  using verify::kSize;
  testing::WalBuilder wal{{.switch_every = 0}};
  wal.grow_to(kSize.start(5));
  ArchiveBuilder archive;
  archive.segments(wal, 1, 3).partial(wal, wal.complete_end(kSize.start(3) + 300'000));
  const auto name = ArchiveBuilder::name(wal, 3, codec::Method::none, true);
  const auto directory = archive.disk.open();
  const auto look = [&](const char* receiver) {
    auto report = make_report(*directory);
    if (receiver != nullptr) report.receiver = receiver_of(receiver, {});
    look_for_break(report, *directory);
    return report;
  };
  EXPECT_FALSE(look(nullptr).breaks_off);

  archive.flip(name, 100'000, 3);
  auto report = look(nullptr);
  ASSERT_TRUE(report.breaks_off);
  const auto at = report.breaks_off->at;
  EXPECT_GT(at, kSize.start(3));
  EXPECT_LE(at, kSize.start(3) + 100'000);
  ASSERT_EQ(report.windows.size(), 1u);
  EXPECT_LE(report.windows[0].to, at);
  EXPECT_THAT(
      status_text(report, 80, false),
      HasSubstr(fmt::format("BREAKS OFF: the unfinished WAL breaks off at {} (file {}", at, name)));
  EXPECT_THAT(status_text(report, 80, false),
              HasSubstr("with \"pgweir restore --partial-damaged\""));
  const auto json = nlohmann::json::parse(status_json(report, std::nullopt));
  EXPECT_EQ(json["breaks_off"]["lsn"], at.to_string());
  EXPECT_EQ(json["breaks_off"]["file"], name);
  constexpr const char* kConnecting = R"({"state": "connecting"})";
  const auto verdict = check(look(kConnecting), {});
  EXPECT_EQ(verdict.level, Level::warning);
  EXPECT_THAT(verdict.line, HasSubstr(name));

  // It writes that anew; of one that has begun since, too.
  constexpr const char* kStreaming = R"({"state": "streaming"})";
  EXPECT_FALSE(look(kStreaming).breaks_off);
  report.receiver = receiver_of(kStreaming, {});
  EXPECT_EQ(check(report, {}).level, Level::ok);
  EXPECT_FALSE(nlohmann::json::parse(status_json(report, std::nullopt)).contains("breaks_off"));
}

TEST(StatusReport, SaysNothingOfAReceiverOfAStoreAlone) {
  StatusReport report;
  EXPECT_THAT(status_text(report, 80, false), HasSubstr("Receiver: none runs"));
  report.directory = "s3://bucket/wal/";
  report.store.emplace().place = report.directory;
  EXPECT_EQ(status_text(report, 80, false).find("Receiver"), std::string::npos);
}

TEST(StatusReport, TellsWalOfANewerVersion) {
  using verify::ArchiveBuilder;
  verify::WalBuilder wal({.seed = 5});
  wal.grow_to(verify::kSize.start(3));
  ArchiveBuilder archive;
  archive.segments(wal, 1, 3);
  EXPECT_FALSE(make_report(*archive.disk.open()).newer_magic);
  auto bytes = archive.disk.content(ArchiveBuilder::name(wal, 2));
  bytes[0] = std::byte{0xFE};
  bytes[1] = std::byte{0xD1};
  archive.disk.put(ArchiveBuilder::name(wal, 2), bytes);
  const auto report = make_report(*archive.disk.open());
  EXPECT_EQ(report.newer_magic, std::uint16_t{0xD1FE});
  EXPECT_THAT(status_text(report), HasSubstr("WARNING: the WAL (page magic 0xD1FE) is of a newer"));
  EXPECT_EQ(nlohmann::json::parse(status_json(report))["newer_version"], true);
  EXPECT_THAT(check(report, {}).line, HasSubstr("of a newer PostgreSQL than this pgweir knows"));
}

/// The history is stored before the first segment of the timeline.
TEST(StatusReport, HasAPositionBeforeTheFirstSegmentOfANewTimeline) {
  StatusReport report;
  EXPECT_EQ(position_of(report), std::nullopt);
  timeline_of(report, 1).to = wal::Lsn(0x3000000);
  timeline_of(report, 2).history = true;
  EXPECT_EQ(position_of(report), wal::Lsn(0x3000000));
}

TEST(StatusReport, KnowsAnEmptyArchive) {
  StatusReport report;
  report.directory = "/a";
  describe_listing(report, {}, archive::Timelines());
  EXPECT_THAT(status_text(report), HasSubstr("Archive /a: empty\n"));
  EXPECT_TRUE(nlohmann::json::parse(status_json(report))["receiver"].is_null());
}

TEST(StatusReport, SaysWhatTheReceiverDoes) {
  struct Case {
    const char* receiver;
    const char* says;
  };
  const Case cases[] = {
      {R"({"segments_to_compress": 1})", "  to be compressed: 1 segment\n"},
      {R"({"store": {"store": "s3://w", "sent_to": "000000010000000000000006"}})",
       "  store: s3://w: all is there, up to 000000010000000000000006\n"},
      {R"({"store": {"store": "s3://w"}})", "  store: s3://w: nothing to send\n"},
      {R"({"store": {"store": "s3://w", "pending_histories": 1, "pending_bytes": 100}})",
       "  store: s3://w: a history (100 B) behind, the oldest since -\n"},
      {R"({"store": {"sent_again": 2, "not_compared": 7}})",
       "  WARNING: 2 segments had to be uploaded again\n"
       "    7 segments are present there, not compared\n"},
      {R"({"timeline": 1, "confirm": "stored", "flush_lsn": "0/7000000", "confirmed_lsn": "0/0"})",
       "no position is confirmed to the server (--confirm stored): the slot retains all WAL"},
      {R"({"timeline": 1, "confirm": "stored", "flush_lsn": "0/7000000", "confirmed_lsn": "0/7000000"})",
       "all of that is in the store, and confirmed to the server\n"},
      {R"({"timeline": 1, "confirm": "stored", "flush_lsn": "0/7000000", "confirmed_lsn": "0/6000000"})",
       "up to 0/6000000 (--confirm stored); its slot keeps the other 16 MB until the store"},
      {R"({"candidates": [{"host": "db2", "silent_since": "2026-11-20 10:00:00.000 UTC", "reason": "refused"}]})",
       "  failover to db2: not covered, no answer since 2026-11-20 10:00:00.000 UTC: refused\n"
       "    its slot has not been checked yet\n"},
      {R"({"candidates": [{"host": "db2", "silent_since": "2026-11-20 10:00:00.000 UTC", "reason": "refused",
           "answered": "2026-11-20 09:00:00.000 UTC", "was_covered": true, "slot_lsn": "0/5"}]})",
       "    at its last answer, 2026-11-20 09:00:00.000 UTC, it was covered; its slot kept WAL "
       "from 0/5 on\n"},
      {R"({"candidates": [{"host": "db2", "silent_since": "2026-11-20 10:00:00.000 UTC", "reason": "refused",
           "answered": "2026-11-20 09:00:00.000 UTC", "was_covered": false, "slot_lsn": "0/5"}]})",
       "    at its last answer, 2026-11-20 09:00:00.000 UTC, it was not covered; "},
      {R"({"candidates": [{"host": "db2", "reason": "no slot"}]})",
       "  failover to db2: not covered: no slot\n"},
      {R"({"comparison": {"with": "db2", "problem": "no answer"}})",
       "  compared with db2: nothing yet, no difference\n"
       "  WARNING: it cannot be compared: no answer\n"},
  };
  for (const auto& [receiver, says] : cases) {
    auto report = report_of(some_listing());
    report.receiver = receiver_of(receiver, {});
    EXPECT_THAT(status_text(report), HasSubstr(says)) << receiver;
  }
}

TEST(StatusReport, SaysWhatOnlyOneOfTwoDirectoriesHas) {
  auto report = report_of(some_listing());
  report.beside = Beside{.directory = "/b", .difference = archive::Difference{}};
  report.beside->difference->histories_only_one = {2};
  report.beside->difference->histories_only_other = {3};
  EXPECT_THAT(status_text(report),
              HasSubstr("Compared with /b: 0 segments are in both, by their names\n"
                        "  only in /a: 00000002.history\n"
                        "  only in /b: 00000003.history\n"));
  report.beside = Beside{.directory = "/b", .difference = std::nullopt, .error = "no WAL"};
  EXPECT_THAT(status_text(report), HasSubstr("Compared with /b: no WAL\n"));
  const auto json = nlohmann::json::parse(status_json(report));
  EXPECT_EQ(json.at("beside").at("error"), "no WAL");
}

TEST(StatusReport, CannotCompareAnArchiveOfWhichNothingTellsWhoseItIs) {
  StatusReport report;
  report.directory = "/a";
  const auto beside = look_beside(report, "/b");
  EXPECT_FALSE(beside.difference);
  EXPECT_EQ(beside.error, "no segment identifies the cluster of the archive /a");
}

TEST(StatusReport, SaysWhatTheStoreLacks) {
  StoreSide side{.place = "s3://w"};
  side.pending_histories = 1;
  side.manifest.emplace();
  side.manifest->not_compared = 3;
  const auto text = store_text(side);
  EXPECT_THAT(text, HasSubstr("  3 segments are present, not compared\n"));
  EXPECT_THAT(text, HasSubstr("  1 history behind\n"));
  side.pending_histories = 2;
  EXPECT_THAT(store_text(side), HasSubstr("  2 histories behind\n"));
}

TEST(StatusReport, HasTheRecordsOfTheDirectory) {
  const test::TemporaryDirectory place;
  const auto directory = io::open_existing_directory(place.path(""));
  using Kind = archive::LastCheck::Kind;
  const auto now = std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
  const archive::LastCheck verified{.time = now, .problems = 2, .problem = "damaged"};
  const archive::LastCheck drilled{.time = now, .passed = true, .backup = "/b"};
  archive::keep_last_check(directory->path(), Kind::verify, verified);
  archive::keep_last_check(directory->path(), Kind::drill, drilled);
  archive::leave_last_word(
      *directory, {.time = "2026-11-20 10:00:00.000 UTC", .status = 4, .message = "stopped"});
  StatusReport report;
  add_own_records(report, *directory);
  EXPECT_EQ(report.last_verify, verified);
  EXPECT_EQ(report.last_drill, drilled);
  ASSERT_TRUE(report.ended);
  EXPECT_EQ(report.ended->status, 4);
  EXPECT_GE(report.taken, now);
}

TEST(StatusReport, TellsOfWhatNobodyVouchesForAndOfASlotThatCannotBeLookedAt) {
  auto report = report_of(some_listing());
  report.unvouched = {
      {.timeline = 1, .begin = wal::Lsn(0x4000000), .end = wal::Lsn(0x5000000), .right = true}};
  report.upstream = Upstream{.server = "db1", .system_identifier = 42};
  report.upstream->slot_error = "permission denied";
  report.upstream->slot_hint = "Grant it.";
  report.upstream->slot = Upstream::Slot{.name = "weir",
                                         .exists = true,
                                         .restart_lsn = wal::Lsn(0x1000000),
                                         .unseen_invalidation = "max_slot_wal_keep_size"};
  for (std::uint64_t i = 0; i < 10; ++i)
    report.windows.push_back(
        {.timeline = 1, .from = wal::Lsn(i << 28), .to = wal::Lsn(i << 28 | 1)});
  const auto text = status_text(report);
  EXPECT_THAT(text, HasSubstr("  NOT FULLY VERIFIED: " + report.unvouched[0].text() + "\n"));
  EXPECT_THAT(text, HasSubstr("  the slot's wal_status could not be read: permission denied\n"));
  EXPECT_THAT(text, HasSubstr("Grant it."));
  EXPECT_THAT(text, HasSubstr("  WARNING: without it, it is not known whether "
                              "max_slot_wal_keep_size has invalidated the slot"));
  EXPECT_THAT(text, HasSubstr("  and 2 more, in --json\n"));
}

}  // namespace
}  // namespace weir::status::report_test

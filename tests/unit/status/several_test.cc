#include "status/several.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/bytes.h"
#include "support/sim_disk.h"

namespace weir::status::several_test {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using wal::Lsn;

const std::string kTwo = "1\t0/4000000\tx\n";                     // 2 left 1 at 4
const std::string kThree = "1\t0/4000000\tx\n2\t0/6000000\ty\n";  // 3 left 2 at 6
const std::string kOtherTwo = "1\t0/3000000\tx\n";                // another 2, from 3
const std::string kSibling = "1\t0/5000000\tx\n";                 // 3 left 1 at 5

using Histories = std::map<wal::TimelineId, std::string>;

ArchiveStatus archive(const std::string& directory,
                      const std::map<wal::TimelineId, std::uint64_t>& ends,
                      const Histories& histories = {}, std::uint64_t cluster = 42) {
  sim::SimDisk disk;
  for (const auto& [timeline, content] : histories)
    disk.put(wal::history_name(timeline), test::as_bytes(content));
  const auto open = disk.open();
  StatusReport report;
  report.directory = directory;
  report.identity = archive::Identity{cluster, wal::SegmentSize(), "x"};
  report.histories = archive::Timelines::read(*open, archive::list_archive(*open));
  for (const auto& [timeline, end] : ends) {
    StatusReport::Timeline one;
    one.timeline = timeline;
    one.ends.end = Lsn(end);
    report.timelines.push_back(one);
  }
  return {.directory = directory, .report = report};
}

ArchiveStatus unread(const std::string& directory) {
  return {.directory = directory, .report = std::nullopt, .error = "Input/output error"};
}

TEST(CompareArchives, TellsTheFurthestByTimelineThenByPosition) {
  struct Case {
    const char* name;
    std::vector<ArchiveStatus> archives;
    const char* text;
  };
  const Case cases[] = {
      {"one timeline",
       {archive("/a", {{1, 0x3000100}}), archive("/b", {{1, 0x3000200}})},
       "Furthest: /b, timeline 1, 0/3000200; /a is 256 bytes behind"},
      {"equal: the first one",
       {archive("/a", {{1, 0x3000100}}), archive("/b", {{1, 0x3000100}})},
       "Furthest: /a, timeline 1, 0/3000100; /b reaches equally far"},
      {"a newer timeline, on the way from the other's end",
       {archive("/a", {{1, 0x4000000}, {2, 0x4000300}}, {{2, kTwo}}),
        archive("/b", {{1, 0x3FFFF00}})},
       "Furthest: /a, timeline 2, 0/4000300; /b is 1024 bytes behind"},
      {"a newer timeline wins over a greater position",
       {archive("/a", {{1, 0x4000500}}),
        archive("/b", {{1, 0x4000000}, {2, 0x4000300}}, {{2, kTwo}})},
       "Furthest: /b, timeline 2, 0/4000300; /a is 768 bytes behind, and 1280 bytes of its "
       "timeline 1 are not part of that history"},
      {"a timeline of which there is only the copied beginning does not count",
       {archive("/a", {{1, 0x3FFF000}, {2, 0x3FFF800}}, {{2, kTwo}}),
        archive("/b", {{1, 0x4000000}})},
       "Furthest: /b, timeline 1, 0/4000000; /a is 4096 bytes behind"},
      {"two timelines from one",
       {archive("/a", {{2, 0x4000300}}, {{2, kTwo}}),
        archive("/b", {{3, 0x5000100}}, {{3, kSibling}})},
       "Furthest: /b, timeline 3, 0/5000100; /a is 16777472 bytes behind, and 768 bytes of its "
       "timeline 2 are not part of that history"},
      {"one number, and two histories",
       {archive("/a", {{2, 0x4000300}}, {{2, kTwo}}),
        archive("/b", {{2, 0x3000100}}, {{2, kOtherTwo}})},
       "Furthest: /a, timeline 2, 0/4000300; /b is 16777984 bytes behind, and 256 bytes of its "
       "timeline 2 are not part of that history"},
      {"an ancestor",
       {archive("/a", {{2, 0x5000000}}, {{2, kTwo}}),
        archive("/b", {{3, 0x6000100}}, {{2, kTwo}, {3, kThree}})},
       "Furthest: /b, timeline 3, 0/6000100; /a is 16777472 bytes behind"},
      {"without history files",
       {archive("/a", {{2, 0x5000000}}), archive("/b", {{3, 0x6000100}})},
       "Furthest: /b, timeline 3, 0/6000100; /a reaches timeline 2, 0/5000000, and how that "
       "timeline relates to the furthest one is unknown"},
      {"one empty, one not readable",
       {unread("/a"), archive("/b", {{1, 0x3000100}}), archive("/c", {})},
       "Furthest: /b, timeline 1, 0/3000100; /a could not be read; /c has no WAL"},
      {"nothing at all",
       {unread("/a"), archive("/c", {})},
       "There is nothing to compare: /a could not be read; /c has no WAL"},
      {"two clusters",
       {archive("/a", {{1, 0x3000100}}), archive("/b", {{1, 0x3000200}}, {}, 43)},
       "The archives belong to different clusters, and cannot be compared: /a to 42, /b to 43"},
  };
  for (const auto& one : cases) {
    SCOPED_TRACE(one.name);
    EXPECT_EQ(text_of(compare(one.archives)), one.text);
  }
}

TEST(CompareArchives, TakesWhatTheReceiverHasMadeDurable) {
  auto streaming = archive("/b", {{1, 0x3000100}});
  streaming.report->receiver.emplace();
  streaming.report->receiver->stream.emplace();
  streaming.report->receiver->stream->timeline = 1;
  streaming.report->receiver->stream->flush = Lsn(0x3000300);
  EXPECT_EQ(text_of(compare({archive("/a", {{1, 0x3000200}}), streaming})),
            "Furthest: /b, timeline 1, 0/3000300; /a is 256 bytes behind");
}

TEST(CompareArchives, DoesNotRankAnArchiveThatDoesNotTellWhoseItIs) {
  auto unknown = archive("/b", {{1, 0x5000000}});
  unknown.report->identity.reset();
  const auto found = compare({archive("/a", {{1, 0x3000200}}), unknown});
  EXPECT_EQ(found.furthest, 0u);
  EXPECT_EQ(text_of(found),
            "Furthest: /a, timeline 1, 0/3000200; /b has WAL of an unknown cluster");
}

TEST(CheckOfArchives, HasTheGravestLineFirst) {
  auto well = archive("/well", {{1, 0x3000100}});
  auto warned = archive("/wa|rned", {{1, 0x3000100}});
  auto unknown = unread("/unknown");
  well.verdict = Verdict{Level::ok, {}, "PGWEIR OK - w"};
  warned.verdict = Verdict{Level::warning, {}, "PGWEIR WARNING - x"};
  unknown.verdict = Verdict{Level::unknown, {}, "PGWEIR UNKNOWN - y"};
  const std::vector<ArchiveStatus> archives = {well, unknown, warned};
  const auto found = compare(archives);
  EXPECT_EQ(check_lines(archives, found),
            "/wa/rned: PGWEIR WARNING - x\n/unknown: PGWEIR UNKNOWN - y\n/well: PGWEIR OK - w\n");
  EXPECT_EQ(level_of(archives, found), Level::warning);
  EXPECT_EQ(level_of({well}, compare({well})), Level::ok);
  EXPECT_EQ(level_of({well, unknown}, compare({well, unknown})), Level::unknown);
}

TEST(CheckOfArchives, DifferentClustersAreCritical) {
  std::vector<ArchiveStatus> archives = {archive("/a", {{1, 0x3000100}}),
                                         archive("/b", {{1, 0x3000200}}, {}, 43)};
  for (auto& each : archives) each.verdict = Verdict{Level::ok, {}, "PGWEIR OK - w"};
  const auto found = compare(archives);
  EXPECT_EQ(level_of(archives, found), Level::critical);
  EXPECT_THAT(check_lines(archives, found),
              StartsWith("PGWEIR CRITICAL - The archives belong to different clusters"));
}

TEST(JsonOfArchives, HasTheObjectOfEachAndTheComparison) {
  auto failed = unread("/c");
  failed.verdict = Verdict{Level::unknown, {}, "PGWEIR UNKNOWN - y"};
  const std::vector<ArchiveStatus> archives = {
      archive("/a", {{1, 0x4000500}}), archive("/b", {{1, 0x4000000}, {2, 0x4000300}}, {{2, kTwo}}),
      failed};
  const auto json = nlohmann::json::parse(several_json(archives, compare(archives)));
  ASSERT_EQ(json["archives"].size(), 3u);
  EXPECT_EQ(json["archives"][0]["directory"], "/a");
  EXPECT_EQ(json["archives"][1]["system_identifier"], "42");
  EXPECT_EQ(json["archives"][2],
            nlohmann::json::parse(R"({"directory": "/c", "error": "Input/output error",
                "check": {"status": "UNKNOWN", "exit_status": 3, "line": "PGWEIR UNKNOWN - y"}})"));
  EXPECT_EQ(json["furthest"], "/b");
  EXPECT_EQ(json["different_clusters"], false);
  EXPECT_THAT(json["what"].get<std::string>(), HasSubstr("Furthest: /b"));
  EXPECT_EQ(json["ends"], nlohmann::json::parse(R"([
      {"directory": "/a", "timeline": 1, "lsn": "0/4000500", "behind_bytes": 768,
       "diverged_bytes": 1280},
      {"directory": "/b", "timeline": 2, "lsn": "0/4000300", "behind_bytes": 0},
      {"directory": "/c", "timeline": null, "lsn": null, "behind_bytes": null}])"));
  const std::vector<ArchiveStatus> two = {archive("/a", {{1, 0x3000100}}),
                                          archive("/b", {{1, 0x3000200}}, {}, 43)};
  const auto apart = nlohmann::json::parse(several_json(two, compare(two)));
  EXPECT_TRUE(apart["furthest"].is_null());
  EXPECT_EQ(apart["different_clusters"], true);
}

}  // namespace
}  // namespace weir::status::several_test

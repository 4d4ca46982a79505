#include "restore/absence.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "archive/own_names.h"
#include "support/bytes.h"
#include "support/sim_disk.h"

namespace weir::restore::absence_test {
namespace {

const wal::SegmentSize kSize = *wal::SegmentSize::of(1 << 20);

enum class Expect { absent, gap };

struct SegmentCase {
  const char* name;
  std::vector<std::string> files;  ///< "2:5" timeline:segno, with a suffix
  std::map<wal::TimelineId, std::string> histories;
  wal::TimelineId timeline;
  std::uint64_t segno;
  Expect expect;
};

std::string file_name(const std::string& text) {
  const auto colon = text.find(':');
  std::size_t used = 0;
  const auto segno = std::stoull(text.substr(colon + 1), &used);
  const auto timeline = static_cast<wal::TimelineId>(std::stoul(text.substr(0, colon)));
  return wal::SegmentName(timeline, segno, kSize).to_string() + text.substr(colon + 1 + used);
}

void fill(sim::SimDisk& disk, const std::vector<std::string>& files,
          const std::map<wal::TimelineId, std::string>& histories) {
  for (const auto& file : files) {
    const bool hole = file.starts_with("hole ");
    const auto name =
        hole ? archive::hole_mark_name(*wal::SegmentName::parse(file_name(file.substr(5))))
             : file_name(file);
    disk.put(name, test::as_bytes(hole ? "" : "x"));
  }
  for (const auto& [timeline, content] : histories)
    disk.put(wal::history_name(timeline), test::as_bytes(content));
}

// Timeline 2 leaves timeline 1 within segment 5, or at its first byte.
const std::string kIn5 = "1\t0/540000\tno recovery target specified\n";
const std::string kAtStartOf5 = "1\t0/500000\tno recovery target specified\n";

TEST(JudgeAbsentSegment, TellsTheEndOfTheArchiveFromAGap) {
  const SegmentCase cases[] = {
      {"behind the last", {"1:3", "1:4"}, {}, 1, 5, Expect::absent},
      {"far behind the last", {"1:3", "1:4"}, {}, 1, 50, Expect::absent},
      {"between two", {"1:3", "1:5"}, {}, 1, 4, Expect::gap},
      {"between two, the later one compressed", {"1:3", "1:5.zst"}, {}, 1, 4, Expect::gap},
      {"before the first", {"1:3", "1:4"}, {}, 1, 2, Expect::gap},
      {"being received", {"1:3", "1:4.partial"}, {}, 1, 4, Expect::absent},
      {"behind what is being received", {"1:3", "1:4.partial"}, {}, 1, 5, Expect::absent},
      {"two being received", {"1:3", "1:4.partial", "1:5.partial"}, {}, 1, 4, Expect::absent},
      {"missing before what is being received", {"1:3", "1:5.partial"}, {}, 1, 4, Expect::gap},
      {"unfinished below a finished one", {"1:3", "1:4.partial", "1:5"}, {}, 1, 4, Expect::gap},
      {"compressed partial", {"1:3", "1:4.gz.partial"}, {}, 1, 4, Expect::absent},
      {"other log number", {"1:4095"}, {}, 1, 4096, Expect::absent},
      {"other log number, between", {"1:4095", "1:4097"}, {}, 1, 4096, Expect::gap},

      {"probed on the newer timeline first", {"1:3", "2:5"}, {{2, kIn5}}, 2, 3, Expect::absent},
      {"the newer timeline's first segment", {"1:4", "2:6"}, {{2, kIn5}}, 2, 5, Expect::gap},
      {"just before it", {"1:3", "2:5"}, {{2, kIn5}}, 2, 4, Expect::absent},
      {"switched at a segment's start", {"1:4", "2:6"}, {{2, kAtStartOf5}}, 2, 5, Expect::gap},
      {"and before that", {"1:3", "2:5"}, {{2, kAtStartOf5}}, 2, 4, Expect::absent},
      {"the parent's half segment", {"1:4", "2:5"}, {{2, kIn5}}, 1, 5, Expect::absent},
      {"the parent's half segment, .partial",
       {"1:4", "1:5.partial", "2:5"},
       {{2, kIn5}},
       1,
       5,
       Expect::absent},
      {"behind where the parent was left", {"1:4", "2:5"}, {{2, kIn5}}, 1, 6, Expect::absent},
      {"the parent's last whole one", {"1:3", "2:5"}, {{2, kIn5}}, 1, 4, Expect::gap},
      {"only a history of the child", {"1:3"}, {{2, kIn5}}, 1, 4, Expect::gap},
      {"only a history of the child, behind the switch",
       {"1:4"},
       {{2, kIn5}},
       1,
       5,
       Expect::absent},
      {"a broken history of the child", {"1:3", "2:5"}, {{2, "rubbish"}}, 1, 4, Expect::gap},
      {"a broken history, nothing behind", {"1:3"}, {{2, "rubbish"}}, 1, 4, Expect::absent},
      {"only a .partial of the child", {"1:3", "2:5.partial"}, {{2, kIn5}}, 1, 4, Expect::gap},
      {"child without a history", {"1:3", "2:5"}, {}, 1, 4, Expect::absent},
      {"nothing of the child yet", {"1:4", "1:5.partial"}, {{2, kIn5}}, 2, 5, Expect::absent},
      {"an aunt's segments prove nothing",
       {"1:4", "2:5", "3:7"},
       {{2, kIn5}, {3, "1\t0/540000\tx\n"}},
       2,
       6,
       Expect::absent},
      {"a grandchild's do",
       {"1:4", "2:5", "3:7"},
       {{2, kIn5}, {3, "1\t0/540000\tx\n2\t0/740000\ty\n"}},
       2,
       6,
       Expect::gap},
      // Behind an accepted hole, while the first segment there is unfinished.
      {"the hole's edge, unfinished", {"1:3", "1:4.partial", "1:7.partial"}, {}, 1, 4, Expect::gap},
      {"the hole's edge, unfinished, marked",
       {"1:3", "1:4.partial", "1:7.partial", "hole 1:7"},
       {},
       1,
       4,
       Expect::gap},
      {"the hole's edge, finished", {"1:3", "1:7.partial", "hole 1:7"}, {}, 1, 4, Expect::gap},
      {"in the hole", {"1:3", "1:4.partial", "1:7.partial", "hole 1:7"}, {}, 1, 5, Expect::gap},
      {"the last one in the hole",
       {"1:3", "1:4.partial", "1:7.partial", "hole 1:7"},
       {},
       1,
       6,
       Expect::gap},
      {"behind the hole",
       {"1:3", "1:4.partial", "1:7.partial", "hole 1:7"},
       {},
       1,
       7,
       Expect::absent},
      {"a hole of less than a segment",
       {"1:3", "1:4.partial", "1:5.partial", "hole 1:5"},
       {},
       1,
       4,
       Expect::gap},
      {"a hole of which only the mark is left", {"1:3", "hole 1:7"}, {}, 1, 4, Expect::gap},
      {"a mark of another timeline", {"1:3", "hole 2:7"}, {}, 1, 4, Expect::absent},
      {"a hole farther on",
       {"1:3", "1:4.partial", "1:5.partial", "1:8.partial", "hole 1:8"},
       {},
       1,
       4,
       Expect::gap},
      {"three being received",
       {"1:3", "1:4.partial", "1:5.partial", "1:6.partial"},
       {},
       1,
       4,
       Expect::absent},
      {"unfinished, the one behind it missing",
       {"1:4.partial", "1:6.partial"},
       {},
       1,
       4,
       Expect::gap},
      {"the timeline goes on without its child",
       {"1:4", "1:6", "2:5"},
       {{2, kIn5}},
       1,
       5,
       Expect::gap},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.name);
    sim::SimDisk disk;
    fill(disk, test.files, test.histories);
    const auto directory = disk.open();
    const auto listing = archive::list_archive(*directory);
    const auto timelines = archive::Timelines::read(*directory, listing);
    const auto verdict =
        judge_absent_segment(wal::SegmentName(test.timeline, test.segno, kSize), listing, timelines,
                             kSize, known_holes(listing, kSize));
    EXPECT_EQ(std::holds_alternative<Gap>(verdict), test.expect == Expect::gap)
        << (std::holds_alternative<Gap>(verdict) ? std::get<Gap>(verdict).what
                                                 : std::get<Absent>(verdict).why);
  }
}

/// Such as a symbolic link into a file system that is not mounted.
TEST(JudgeAbsent, TakesANameOfWalThatIsNoFileForAGap) {
  sim::SimDisk disk;
  fill(disk, {"1:3"}, {});
  const auto directory = disk.open();
  const auto listing = archive::list_archive(*directory);
  const auto timelines = archive::Timelines::read(*directory, listing);
  const auto with = [&](const std::string& name) {
    auto changed = listing;
    changed.foreign.push_back(name);
    return changed;
  };
  const auto is_gap = [](const Absence& absence) { return std::holds_alternative<Gap>(absence); };
  const auto segment = [&](std::uint64_t segno, const std::string& name) {
    return is_gap(
        judge_absent_segment(wal::SegmentName(1, segno, kSize), with(name), timelines, kSize, {}));
  };
  EXPECT_TRUE(segment(4, file_name("1:6")));
  EXPECT_TRUE(segment(4, file_name("1:5.zst")));
  EXPECT_TRUE(segment(4, file_name("1:6.partial")));
  EXPECT_FALSE(segment(7, file_name("1:6")));
  EXPECT_FALSE(segment(4, file_name("2:6")));
  EXPECT_FALSE(segment(4, "lost+found"));
  const auto history = [&](wal::TimelineId timeline, const std::string& name) {
    return is_gap(judge_absent_history(timeline, with(name), timelines, {}));
  };
  EXPECT_TRUE(history(2, "00000002.history"));
  EXPECT_TRUE(history(2, "00000002.history.gz"));
  EXPECT_TRUE(history(2, file_name("2:6")));
  EXPECT_FALSE(history(3, "00000002.history"));
  EXPECT_FALSE(history(2, "00000002.history.bak"));
  EXPECT_FALSE(segment(4, file_name("1:6.bak")));
}

/// Another archiving program has packed it: a recovery must not end before it.
TEST(JudgeAbsent, TakesAFormatThatIsNotSupportedForAGap) {
  sim::SimDisk disk;
  fill(disk, {"1:3"}, {});
  const auto directory = disk.open();
  const auto listing = archive::list_archive(*directory);
  const auto timelines = archive::Timelines::read(*directory, listing);
  const auto with = [&](const std::string& name) {
    auto changed = listing;
    changed.foreign.push_back(name);
    return changed;
  };
  const auto is_gap = [](const Absence& absence) { return std::holds_alternative<Gap>(absence); };
  const auto segment = [&](std::uint64_t segno, const std::string& file) {
    const wal::SegmentName name(1, segno, kSize);
    const auto changed = with(file_name(file));
    const bool gap = is_gap(judge_absent_segment(name, changed, timelines, kSize, {}));
    archive::Listing packed;
    packed.foreign = changed.foreign;
    EXPECT_EQ(is_gap(judge_absent_segment(name, packed)), gap);
    return gap;
  };
  EXPECT_TRUE(segment(4, "1:4.bz2"));
  EXPECT_TRUE(segment(4, "1:6.snappy"));
  EXPECT_TRUE(segment(4, "1:4.zst.gpg"));
  EXPECT_FALSE(segment(4, "1:3.bz2"));
  EXPECT_FALSE(segment(4, "2:6.xz"));
  EXPECT_FALSE(segment(4, "1:4.bz2.tmp"));
  EXPECT_FALSE(segment(4, "1:4.partial.bz2"));
  const auto history = [&](wal::TimelineId timeline, const std::string& name) {
    return is_gap(judge_absent_history(timeline, with(name), timelines, {}));
  };
  EXPECT_TRUE(history(2, "00000002.history.bz2"));
  EXPECT_TRUE(history(2, file_name("2:6.br")));
  EXPECT_FALSE(history(3, "00000002.history.bz2"));
}

TEST(CopiedSegment, IsByTheNameOfRsyncUnlessTheArchiveHasTheSegment) {
  sim::SimDisk disk;
  fill(disk, {"1:3", "1:4.partial"}, {});
  const auto listing = archive::list_archive(*disk.open());
  const auto copied = [&](const std::string& file, const char* random = ".x3F9aQ") {
    return copied_segment("." + file_name(file) + random, listing).has_value();
  };
  EXPECT_TRUE(copied("1:5"));
  EXPECT_TRUE(copied("1:5.zst"));
  EXPECT_TRUE(copied("1:5.partial"));
  EXPECT_TRUE(copied("1:4.gz"));
  EXPECT_FALSE(copied("1:4.partial"));
  EXPECT_FALSE(copied("1:3.zst"));
  EXPECT_FALSE(copied("1:5.zst", ".x3F9a"));
  EXPECT_FALSE(copied("1:5.zst", ""));
  EXPECT_FALSE(copied("1:5.tmp"));
  EXPECT_FALSE(copied_segment(".x3F9aQ", listing));
  EXPECT_EQ(copied_segment("." + file_name("1:5.zst") + ".x3F9aQ", listing)->what,
            "." + file_name("1:5.zst") + ".x3F9aQ exists, which rsync has not copied completely");
}

TEST(JudgeAbsentHistory, IsAGapIfTheTimelineExisted) {
  struct Case {
    const char* name;
    std::vector<std::string> files;
    std::map<wal::TimelineId, std::string> histories;
    wal::TimelineId timeline;
    Expect expect;
  };
  const Case cases[] = {
      {"the next timeline", {"1:3"}, {}, 2, Expect::absent},
      {"after the newest", {"1:3", "2:5"}, {{2, kIn5}}, 3, Expect::absent},
      {"far ahead", {"1:3"}, {}, 5, Expect::absent},
      {"the first timeline", {"1:3"}, {}, 1, Expect::absent},
      {"lost, its segments are there", {"1:3", "2:5"}, {}, 2, Expect::gap},
      {"lost, its .partial is there", {"1:3", "2:5.partial"}, {}, 2, Expect::gap},
      {"lost, a later history tells of it",
       {"1:3"},
       {{3, "1\t0/540000\tx\n2\t0/740000\ty\n"}},
       2,
       Expect::gap},
      {"lost, a hole before its first segment is on record",
       {"1:3", "hole 2:7"},
       {},
       2,
       Expect::gap},
      {"never in this branch", {"1:3"}, {{3, "1\t0/540000\tx\n"}}, 2, Expect::absent},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.name);
    sim::SimDisk disk;
    fill(disk, test.files, test.histories);
    const auto directory = disk.open();
    const auto listing = archive::list_archive(*directory);
    const auto timelines = archive::Timelines::read(*directory, listing);
    const auto verdict =
        judge_absent_history(test.timeline, listing, timelines, known_holes(listing, kSize));
    EXPECT_EQ(std::holds_alternative<Gap>(verdict), test.expect == Expect::gap);
  }
}

}  // namespace
}  // namespace weir::restore::absence_test

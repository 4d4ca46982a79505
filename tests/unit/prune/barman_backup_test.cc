#include "prune/barman_backup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/error.h"
#include "support/error_of.h"

namespace weir::prune::barman_backup_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using wal::Lsn;

/// As barman-cloud-backup 3.4 writes it, without fields that nobody reads here.
constexpr const char* kDone =
    "backup_label=\"START WAL LOCATION: 0/4000028 (file 000000010000000000000004)\\nCHECKPOINT "
    "LOCATION: 0/4000060\\nBACKUP METHOD: streamed\\nBACKUP FROM: primary\\nSTART TIME: 2026-11-26 "
    "14:39:04 UTC\\nLABEL: Barman backup cloud 20261126T143904\\nSTART TIMELINE: 1\\n\"\n"
    "begin_offset=40\n"
    "begin_time=2026-11-26 14:39:04.123456+01:00\n"
    "begin_wal=000000010000000000000004\n"
    "begin_xlog=0/4000028\n"
    "compression=None\n"
    "end_offset=312\n"
    "end_time=2026-11-26 14:39:09.000001+01:00\n"
    "end_wal=000000010000000000000005\n"
    "end_xlog=0/5000138\n"
    "error=None\n"
    "status=DONE\n"
    "systemid=7400000000000000001\n"
    "tablespaces=[('one', 16387, '/srv/one'), (\"o'ne\", 16388, '/srv/t,wo')]\n"
    "timeline=1\n"
    "xlog_segment_size=16777216\n";

std::string with(const std::string& name, const std::string& value) {
  std::string text = kDone;
  const auto from = text.find("\n" + name + "=") + 1;
  return text.replace(from, text.find('\n', from) - from, name + "=" + value);
}

BarmanBackup parse(const std::string& text) { return parse_barman_info(text, "backup.info"); }

TEST(BarmanBackup, TellsItsWal) {
  const auto backup = parse(kDone);
  EXPECT_EQ(backup.status, "DONE");
  ASSERT_TRUE(backup.point);
  EXPECT_EQ(backup.point->start, Lsn(0x4000028));
  EXPECT_EQ(backup.point->timeline, 1u);
  EXPECT_EQ(backup.point->end, Lsn(0x5000138));
  EXPECT_EQ(backup.point->end_timeline, 1u);
  EXPECT_EQ(backup.point->system_identifier, 7400000000000000001u);
  EXPECT_EQ(backup.point->checkpoint, Lsn(0x4000060)) << "of the label";
  EXPECT_EQ(backup.point->label, "Barman backup cloud 20261126T143904");
  EXPECT_EQ(backup.point->began, wal::PgTime::parse("2026-11-26 13:39:04.123456 UTC"));
  EXPECT_THAT(backup.tablespaces, ElementsAre("16387", "16388"));
  EXPECT_FALSE(backup.snapshot);
  EXPECT_EQ(backup.parent_id, "");
  archive::require_agreement(*backup.point, *wal::SegmentSize::of(16 << 20));
  EXPECT_EQ(test::error_of([&] {
              archive::require_agreement(*backup.point, *wal::SegmentSize::of(1 << 20));
            }).kind(),
            ErrorKind::conflict);
}

TEST(BarmanBackup, NeedsNoLabel) {
  const auto backup = parse(with("backup_label", "None"));
  ASSERT_TRUE(backup.point);
  EXPECT_EQ(backup.point->start, Lsn(0x4000028));
  EXPECT_EQ(backup.point->checkpoint, std::nullopt);
  EXPECT_EQ(backup.point->end, Lsn(0x5000138));
}

TEST(BarmanBackup, OfAStandbyThatWasPromotedEndsOnItsSegmentsTimeline) {
  const auto backup = parse(with("end_wal", "000000020000000000000005"));
  EXPECT_EQ(backup.point->timeline, 1u);
  EXPECT_EQ(backup.point->end_timeline, 2u);
}

TEST(BarmanBackup, ThatFailedBeforeItBeganHasNoPoint) {
  const auto backup =
      parse("status=FAILED\nbegin_xlog=None\nerror=failure uploading data (x = y)\n");
  EXPECT_EQ(backup.status, "FAILED");
  EXPECT_EQ(backup.error, "failure uploading data (x = y)");
  EXPECT_FALSE(backup.point);
}

TEST(BarmanBackup, NamesWhatItIsIncrementalTo) {
  EXPECT_EQ(parse(std::string(kDone) + "parent_backup_id=20261125T030000\n").parent_id,
            "20261125T030000");
  EXPECT_TRUE(parse(std::string(kDone) + "snapshots_info={'provider': 'gcp'}\n").snapshot);
}

TEST(BarmanBackup, ThatContradictsItselfIsNotBelieved) {
  for (const auto& text :
       {with("begin_xlog", "0/4000060"), with("timeline", "2"), with("end_xlog", "0/3000138"),
        with("end_wal", "000000010000000000000004")}) {
    const auto error = test::error_of([&] {
      const auto backup = parse(text);
      archive::require_agreement(*backup.point, *wal::SegmentSize::of(16 << 20));
    });
    EXPECT_EQ(error.kind(), ErrorKind::conflict) << text;
  }
}

TEST(BarmanBackup, IsNothingElse) {
  for (const auto& text :
       {std::string(), std::string("<html>\n"), std::string("begin_xlog=0/4000028\ntimeline=1\n"),
        with("status", "None"), with("timeline", "None"), with("timeline", "one"),
        with("begin_xlog", "4000028"), with("begin_wal", "4"), with("systemid", "x"),
        with("tablespaces", "[('one', 16387)]"), with("tablespaces", "[('one', 16387, '/srv/one'"),
        with("backup_label", "'START WAL LOCATION"), with("backup_label", "'no label'")}) {
    const auto error = test::error_of([&] { static_cast<void>(parse(text)); });
    EXPECT_EQ(error.kind(), ErrorKind::damage) << text;
  }
  EXPECT_THAT(test::error_of([] { static_cast<void>(parse("<html>\n")); }).message(),
              HasSubstr("not a backup.info file of Barman"));
}

}  // namespace
}  // namespace weir::prune::barman_backup_test

#include "archive/backup_point.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "support/error_of.h"

namespace weir::archive::backup_point_test {
namespace {

const wal::SegmentSize kSize = *wal::SegmentSize::of(16 << 20);

std::string label(const std::string& more = {}) {
  return "START WAL LOCATION: 0/3000028 (file 000000010000000000000003)\n" + more +
         "CHECKPOINT LOCATION: 0/3000060\n"
         "BACKUP METHOD: streamed\n"
         "BACKUP FROM: primary\n"
         "START TIME: 2026-11-20 03:14:15 UTC\n"
         "LABEL: pg_basebackup base backup\n"
         "START TIMELINE: 1\n";
}

std::string history() {
  return label("STOP WAL LOCATION: 0/5000100 (file 000000010000000000000005)\n") +
         "STOP TIME: 2026-11-20 03:15:15 UTC\nSTOP TIMELINE: 1\n";
}

constexpr const char* kHistoryName = "/srv/wal/000000010000000000000003.00000028.backup";

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  const auto at = text.find(what);
  EXPECT_NE(at, std::string::npos) << what;
  return text.replace(at, what.size(), by);
}

TEST(BackupLabel, IsReadWithAllThatItSays) {
  const auto point = parse_backup_label(history(), kHistoryName);
  EXPECT_EQ(point.start, wal::Lsn(0x3000028));
  EXPECT_EQ(point.timeline, 1u);
  EXPECT_EQ(point.end, wal::Lsn(0x5000100));
  EXPECT_EQ(point.end_timeline, 1u);
  require_agreement(point, kSize);
  // Without the lines that old servers do not write, and with other line ends.
  const auto old = replaced(label(), "START TIMELINE: 1\n", "");
  EXPECT_EQ(parse_backup_label(old, "backup_label").timeline, 1u);
  EXPECT_EQ(parse_backup_label(replaced(label(), "03)\n", "03)\r\n"), "backup_label").start,
            wal::Lsn(0x3000028));
  // The last segment is the one that ends there, or the one that begins there.
  for (const auto* const file : {"000000010000000000000004", "000000010000000000000005"}) {
    const auto at_border = replaced(history(), "0/5000100 (file 000000010000000000000005)",
                                    std::string("0/5000000 (file ") + file + ")");
    require_agreement(parse_backup_label(at_border, kHistoryName), kSize);
  }
  // A standby's label can begin and end on two timelines.
  const auto over = replaced(
      replaced(history(), "(file 000000010000000000000005)", "(file 000000020000000000000005)"),
      "STOP TIMELINE: 1", "STOP TIMELINE: 2");
  EXPECT_EQ(parse_backup_label(over, kHistoryName).end_timeline, 2u);
}

TEST(BackupLabel, IsRefusedIfOneFieldContradictsAnother) {
  struct Case {
    const char* name;
    std::string content;
    std::string file;
    ErrorKind kind = ErrorKind::conflict;
  };
  const auto changed = [](const std::string& what, const std::string& by,
                          const std::string& file = kHistoryName) {
    return Case{"", replaced(history(), what, by), file};
  };
  std::vector<std::pair<const char*, Case>> cases = {
      {"start behind its file", changed("0/3000028 (file", "0/C000028 (file")},
      {"start before its file", changed("0/3000028 (file", "0/1000028 (file")},
      {"start in another log", changed("0/3000028 (file", "1/3000028 (file")},
      {"file of another position",
       changed("(file 000000010000000000000003)", "(file 00000001000000000000000C)")},
      {"file of another timeline",
       changed("(file 000000010000000000000003)", "(file 000000020000000000000003)")},
      {"START TIMELINE of another one", changed("START TIMELINE: 1", "START TIMELINE: 2")},
      {"STOP TIMELINE of another one", changed("STOP TIMELINE: 1", "STOP TIMELINE: 2")},
      {"stop behind its file", changed("0/5000100 (file", "0/9000100 (file")},
      {"stop before the start", changed("0/5000100 (file 000000010000000000000005)",
                                        "0/2000100 (file 000000010000000000000002)")},
      {"stop on an older timeline",
       {"",
        replaced(replaced(replaced(history(), "(file 000000010000000000000003)",
                                   "(file 000000020000000000000003)"),
                          "START TIMELINE: 1", "START TIMELINE: 2"),
                 "LABEL", "LABEL"),
        "000000020000000000000003.00000028.backup"}},
      {"checkpoint before the start", changed("0/3000060", "0/2FFFFFF")},
      {"checkpoint behind the stop", changed("0/3000060", "0/5000200")},
      {"another segment in the file's name",
       {"", history(), "00000001000000000000000C.00000028.backup"}},
      {"another offset in the file's name",
       {"", history(), "000000010000000000000003.00000060.backup"}},
      {"another timeline in the file's name",
       {"", history(), "000000020000000000000003.00000028.backup"}},
      {"start twice", changed("CHECKPOINT",
                              "START WAL LOCATION: 0/9000028 (file 000000010000000000000009)\n"
                              "CHECKPOINT")},
      {"START TIMELINE twice", changed("STOP TIME:", "START TIMELINE: 1\nSTOP TIME:")},
      {"a stop's timeline without a stop", {"", label() + "STOP TIMELINE: 1\n", "backup_label"}},
      {"no segment has such a name",
       changed("(file 000000010000000000000003)", "(file 0000000100000000FFFFFFFF)")},
      {"a file that is none",
       {"", replaced(label(), "(file 000000010000000000000003)", "(file x)"), "backup_label",
        ErrorKind::damage}},
      {"a start that is none",
       {"", replaced(label(), "0/3000028", "0/GG"), "backup_label", ErrorKind::damage}},
      {"a start of nothing",
       {"", replaced(label(), "0/3000028", "0/0"), "backup_label", ErrorKind::damage}},
      {"a timeline that is none",
       {"", replaced(label(), "START TIMELINE: 1", "START TIMELINE: 0"), "backup_label",
        ErrorKind::damage}},
      {"a stop that is none", changed("0/5000100 (file", "x (file")},
  };
  cases.back().second.kind = ErrorKind::damage;
  for (const auto& [name, given] : cases) {
    SCOPED_TRACE(name);
    const auto& test = given;  // the name of a part cannot be captured by every compiler
    const auto error =
        test::error_of([&] { static_cast<void>(parse_backup_label(test.content, test.file)); });
    EXPECT_EQ(error.kind(), test.kind) << error.what();
    EXPECT_FALSE(error.hint().empty());
  }
}

TEST(BackupLabel, HasToFitTheArchivesSegmentSize) {
  // True with segments of 16 MB, and of no other size.
  const auto point = parse_backup_label(history(), kHistoryName);
  for (const std::uint64_t bytes : {1 << 20, 8 << 20, 32 << 20, 64 << 20}) {
    SCOPED_TRACE(bytes);
    const auto error =
        test::error_of([&] { require_agreement(point, *wal::SegmentSize::of(bytes)); });
    EXPECT_EQ(error.kind(), ErrorKind::conflict);
  }
}

TEST(BackupLabel, TellsWhenItBegan) {
  const auto began = [](const char* time) {
    return parse_backup_label(replaced(label(), "2026-11-20 03:14:15 UTC", time), "backup_label")
        .began;
  };
  const auto utc = wal::PgTime::parse("2026-11-20 03:14:15 UTC");
  EXPECT_EQ(began("2026-11-20 03:14:15 UTC"), utc);
  EXPECT_EQ(began("2026-11-20 03:14:15 GMT"), utc);
  EXPECT_EQ(began("2026-11-20 05:14:15 +02"), utc);
  // What zone this is nobody knows: the latest that it can be.
  EXPECT_EQ(began("2026-11-20 03:14:15 CST"), wal::PgTime::parse("2026-11-20 15:14:15 UTC"));
  EXPECT_EQ(began("yesterday"), std::nullopt);
  EXPECT_EQ(parse_backup_label(replaced(label(), "START TIME: ", "TIME: "), "backup_label").began,
            std::nullopt);
}

TEST(BackupLabel, TellsWhatAnIncrementalBackupBuildsUpon) {
  EXPECT_EQ(parse_backup_label(label(), "backup_label").parent, std::nullopt);
  const auto point = parse_backup_label(
      label() + "INCREMENTAL FROM LSN: 0/2000028\nINCREMENTAL FROM TLI: 1\n", "backup_label");
  EXPECT_EQ(point.parent, (BackupPoint::Parent{1, wal::Lsn(0x2000028)}));
  for (const auto* const half : {"INCREMENTAL FROM LSN: 0/2000028\n", "INCREMENTAL FROM TLI: 1\n",
                                 "INCREMENTAL FROM LSN: 0/0\nINCREMENTAL FROM TLI: 1\n"}) {
    SCOPED_TRACE(half);
    const auto error = test::error_of(
        [&] { static_cast<void>(parse_backup_label(label() + half, "backup_label")); });
    EXPECT_EQ(error.kind(), ErrorKind::damage);
  }
}

}  // namespace
}  // namespace weir::archive::backup_point_test

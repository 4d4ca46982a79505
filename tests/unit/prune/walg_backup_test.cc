#include "prune/walg_backup.h"

#include <gtest/gtest.h>

#include <string>

#include "base/error.h"
#include "support/error_of.h"

namespace weir::prune::walg_backup_test {
namespace {

using wal::Lsn;

constexpr const char* kFull = "base_000000010000000000000004";
constexpr const char* kDelta = "base_000000010000000000000007_D_000000010000000000000004";
constexpr const char* kFullSentinel =
    R"({"LSN":67108904,"Timeline":1,"PgVersion":150018,"FinishLSN":83886392,
        "SystemIdentifier":7400000000000000001,"UncompressedSize":1,"CompressedSize":1,"Spec":null,
        "Version":2,"StartTime":"2026-11-26T13:39:04.123456789Z","IsPermanent":false})";

archive::BackupPoint parse(const std::string& text, const std::string& name = kFull) {
  return parse_walg_sentinel(text, name, "sentinel");
}

TEST(WalgBackup, TellsItsWal) {
  const auto point = parse(kFullSentinel);
  EXPECT_EQ(point.start, Lsn(0x4000028));
  EXPECT_EQ(point.timeline, 1u);
  EXPECT_EQ(point.end, Lsn(0x5000138));
  EXPECT_EQ(point.end_timeline, 1u);
  EXPECT_EQ(point.system_identifier, 7400000000000000001u);
  EXPECT_EQ(point.began, wal::PgTime::parse("2026-11-26 13:39:04.123456 UTC"));
  EXPECT_FALSE(point.parent);
  archive::require_agreement(point, *wal::SegmentSize::of(16 << 20));
  EXPECT_EQ(test::error_of([&] {
              archive::require_agreement(point, *wal::SegmentSize::of(1 << 20));
            }).kind(),
            ErrorKind::conflict)
      << "its name is that of another segment then";
}

TEST(WalgBackup, OfAnOldVersionNamesItsTimelineOnly) {
  // With the list of all files, which is skipped.
  const auto point = parse(R"({"LSN":67108904,"PgVersion":90600,"FinishLSN":67109000,
                               "Files":{"/a":{"LSN":"x"}},"TarFileSets":{"part_1":["/a"]}})",
                           "base_000000030000000000000004");
  EXPECT_EQ(point.timeline, 3u);
  EXPECT_EQ(point.start, Lsn(0x4000028));
  EXPECT_FALSE(point.began);
  EXPECT_EQ(point.system_identifier, 0u);
}

TEST(WalgBackup, NamesWhatItIsIncrementalTo) {
  const auto point = parse(R"({"LSN":117440552,"Timeline":1,"FinishLSN":117440800,
      "DeltaLSN":67108904,"DeltaFrom":"base_000000010000000000000004",
      "DeltaFullName":"base_000000010000000000000004","DeltaCount":1})",
                           kDelta);
  EXPECT_EQ(point.start, Lsn(0x7000028));
  EXPECT_EQ(point.parent, (archive::BackupPoint::Parent{1, Lsn(0x4000028)}));
}

TEST(WalgBackup, WithoutAnEndIsNotVouched) {
  EXPECT_FALSE(parse(R"({"LSN":67108904,"Timeline":1,"FinishLSN":null})").end);
}

TEST(WalgBackup, ThatCannotBeReadIsDamaged) {
  for (const auto* const text :
       {"", "{}", "[]", "{\"LSN\":", R"({"LSN":null,"Timeline":1})",
        R"({"LSN":"0/1","Timeline":1})", R"({"LSN":-1,"Timeline":1})",
        R"({"LSN":67108904,"Timeline":1,"DeltaFrom":"base_000000010000000000000001"})",
        R"({"LSN":67108904,"Timeline":1,"DeltaLSN":1,"DeltaFrom":"base_1"})"})
    EXPECT_EQ(test::error_of([&] { static_cast<void>(parse(text)); }).kind(), ErrorKind::damage)
        << text;
  for (const auto* const text :
       {R"({"LSN":67108904,"Timeline":2})", R"({"LSN":67108904,"Timeline":1,"FinishLSN":1})"})
    EXPECT_EQ(test::error_of([&] { static_cast<void>(parse(text)); }).kind(), ErrorKind::conflict)
        << text;
}

TEST(WalgBackup, BeginsByItsName) {
  EXPECT_EQ(first_segment_of_walg(kFull)->to_string(), "000000010000000000000004");
  EXPECT_EQ(first_segment_of_walg(kDelta)->to_string(), "000000010000000000000007");
  for (const auto* const name : {"", "base_", "base_1", "base_0000000100000000000000041",
                                 "stream_20261126T133904Z", "base_00000001000000000000000g"})
    EXPECT_FALSE(first_segment_of_walg(name)) << name;
}

TEST(WalgBackup, MetadataTellsTheTimeAndWhetherItIsKept) {
  const auto metadata = parse_walg_metadata(
      R"({"start_time":"2026-11-26T13:39:04.5Z","finish_time":"2026-11-26T13:39:09Z",
          "date_fmt":"%Y","hostname":"db1","is_permanent":true,"timeline":1})",
      "metadata.json");
  EXPECT_EQ(metadata.began, wal::PgTime::parse("2026-11-26 13:39:04.5 UTC"));
  EXPECT_TRUE(metadata.permanent);
  EXPECT_FALSE(parse_walg_metadata("{}", "metadata.json").permanent);
  for (const auto* const text : {"", "[]", R"({"is_permanent":"no"})"})
    EXPECT_EQ(test::error_of([&] {
                static_cast<void>(parse_walg_metadata(text, "metadata.json"));
              }).kind(),
              ErrorKind::damage)
        << text;
}

}  // namespace
}  // namespace weir::prune::walg_backup_test

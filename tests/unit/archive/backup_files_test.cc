#include "archive/backup_files.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "archive/tar_front.h"
#include "support/backup_builder.h"
#include "support/error_of.h"

namespace weir::archive::backup_files_test {
namespace {

using codec::Method;
using test::backup_label;
using test::backup_manifest;
using test::packed;
using test::tar;
using test::TarEntry;

const wal::Lsn kStart(0x3000028);
const wal::Lsn kEnd(0x5000100);

std::vector<TarEntry> entries() {
  return {{"backup_label", backup_label(kStart)},
          {"tablespace_map", "16384 /srv/more\n"},
          {"base/", "", '5'},
          {"pg_tblspc/16384", "", '2'},
          {"PG_VERSION", "15\n"},
          {"base/5/1259", test::text_of(test::pattern(5 << 20, 1))}};
}

void expect_right(const BackupPoint& point, bool with_end) {
  EXPECT_EQ(point.start, kStart);
  EXPECT_EQ(point.timeline, 1u);
  EXPECT_EQ(point.checkpoint, kStart + 0x38);
  EXPECT_TRUE(point.began);
  EXPECT_EQ(point.end, with_end ? std::optional(kEnd) : std::nullopt);
}

TEST(BackupFiles, OfATarBackupInEachCompressionAreRead) {
  for (const auto& [name, method] :
       std::initializer_list<std::pair<const char*, Method>>{{"base.tar", Method::none},
                                                             {"base.tar.gz", Method::gzip},
                                                             {"base.tgz", Method::gzip},
                                                             {"base.tar.lz4", Method::lz4},
                                                             {"base.tar.zst", Method::zstd}}) {
    SCOPED_TRACE(name);
    const test::TemporaryDirectory place;
    const auto file = place.write(name, packed(method, tar(entries())));
    place.write("16384.tar", packed(method, tar({{"PG_15_202209061/5/1259", "x"}})));
    expect_right(read_backup_point(place.path()), false);
    place.write("backup_manifest", backup_manifest(kStart, kEnd));
    expect_right(read_backup_point(place.path()), true);
    expect_right(read_backup_point(file), true);
    // It is being written, and has come so far.
    const auto whole = packed(method, tar(entries()));
    place.write(name, whole.substr(0, whole.size() / 10 * 9));
    EXPECT_EQ(read_backup_point(file).end, kEnd);
    // Manifest and label that are not of one backup.
    place.write("backup_manifest", backup_manifest(kStart + 0x100, kEnd));
    EXPECT_EQ(test::error_of([&] { static_cast<void>(read_backup_point(file)); }).kind(),
              ErrorKind::conflict);
  }
}

/// "CET" in the label is not known: the manifest has the moment in GMT.
TEST(BackupFiles, TellTheTimeOfABackupByTheManifestWhereTheLabelsTimeZoneIsUnknown) {
  const test::TemporaryDirectory place;
  auto label = backup_label(kStart);
  label.replace(label.find("03:14:15 UTC"), 12, "04:14:10 CET");
  place.write("PG_VERSION", "15\n");
  place.write("backup_label", label);
  const auto began = [&] { return read_backup_point(place.path()).began; };
  EXPECT_EQ(began(), wal::PgTime::parse("2026-11-20 16:14:10 UTC")) << "the latest possible time";
  place.write("backup_manifest", backup_manifest(kStart, kEnd));
  EXPECT_EQ(began(), wal::PgTime::parse("2026-11-20 16:14:10 UTC")) << "it does not list the label";
  place.write(
      "backup_manifest",
      backup_manifest(kStart, kEnd, 1, {{"backup_label", label.size()}, {"PG_VERSION", 3}}));
  EXPECT_EQ(began(), wal::PgTime::parse("2026-11-20 03:14:15 UTC"));
  label.replace(label.find("04:14:10 CET"), 12, "04:14:10 +01");
  place.write("backup_label", label);
  EXPECT_EQ(began(), wal::PgTime::parse("2026-11-20 03:14:10 UTC")) << "the label's is exact";
}

TEST(BackupFiles, OfATarOfAnyNameAreRead) {
  const test::TemporaryDirectory place;
  const auto monday =
      place.write("monday.tar.gz",
                  packed(Method::gzip, tar({{"./", "", '5'},
                                            {"./backup_manifest", backup_manifest(kStart, kEnd)},
                                            {"./PG_VERSION", "15\n"},
                                            {"./backup_label", backup_label(kStart)}})));
  expect_right(read_backup_point(monday), true);
  // Beside a tar that is not named base a manifest is another one's.
  place.write("backup_manifest", "rubbish");
  expect_right(read_backup_point(monday), true);
  const auto files = place.write("files.tar", tar({{"a/b/backup_label", backup_label(kStart)}}));
  EXPECT_EQ(test::error_of([&] { static_cast<void>(read_backup_point(files)); }).kind(),
            ErrorKind::damage);
  const auto rubbish = place.write("rubbish.tar", std::string(5000, 'r'));
  EXPECT_EQ(test::error_of([&] { static_cast<void>(read_backup_point(rubbish)); }).kind(),
            ErrorKind::damage);
}

TEST(BackupFiles, OfAPlainBackupAreRead) {
  const test::TemporaryDirectory place;
  EXPECT_FALSE(look_at_backup(place.path()));
  EXPECT_EQ(test::error_of([&] { static_cast<void>(read_backup_point(place.path())); }).kind(),
            ErrorKind::usage);
  EXPECT_EQ(test::error_of([&] { static_cast<void>(read_backup_point(place.path("x"))); }).kind(),
            ErrorKind::usage);
  place.write("backup_label", backup_label(kStart));
  expect_right(read_backup_point(place.path()), false);
  EXPECT_FALSE(look_at_backup(place.path())->control);
  place.write("global/pg_control", "\x08\x07\x06\x05\x04\x03\x02\x01 and more");
  place.write("backup_manifest", backup_manifest(kStart, kEnd));
  const auto point = read_backup_point(place.path());
  expect_right(point, true);
  EXPECT_EQ(point.system_identifier, 0x0102030405060708u);
  EXPECT_TRUE(look_at_backup(place.path())->control);
  expect_right(read_backup_point(place.path("backup_label")), false);
  EXPECT_EQ(read_backup_point(place.path("backup_manifest")).end, kEnd);
}

/// A manifest from before PostgreSQL 17 does not tell the cluster. pg_control comes last:
/// compressed files with a manifest are not read that far.
TEST(BackupFiles, OfATarBackupTellItsCluster) {
  auto all = entries();
  all.erase(all.begin() + 1);  // there is no tablespace
  all.push_back({"global/pg_control", test::control_file(4711)});
  const auto text = tar(all);
  for (const auto& [name, method] :
       std::initializer_list<std::pair<const char*, Method>>{{"base.tar", Method::none},
                                                             {"base.tar.gz", Method::gzip},
                                                             {"base.tar.zst", Method::zstd}}) {
    SCOPED_TRACE(name);
    const test::TemporaryDirectory place;
    place.write(name, packed(method, text));
    EXPECT_EQ(read_backup_point(place.path()).system_identifier, 4711u) << "without a manifest";
    auto manifest = backup_manifest(kStart, kEnd);
    place.write("backup_manifest", manifest);
    const auto point = read_backup_point(place.path());
    expect_right(point, true);
    EXPECT_EQ(point.system_identifier, method == Method::none ? 4711u : 0u);
    EXPECT_FALSE(point.missing) << *point.missing;
    // What is truncated before it is of no known cluster.
    place.write(name, packed(method, text.substr(0, text.size() - 1024 - 8192)));
    EXPECT_EQ(read_backup_point(place.path()).missing.has_value(), method == Method::none);
    EXPECT_EQ(read_backup_point(place.path()).system_identifier, 0u);
    place.write(name, packed(method, text));
    // Since 17 it is in the manifest.
    const std::string version = "Manifest-Version\": 1,";
    manifest.replace(manifest.find(version), version.size(),
                     "Manifest-Version\": 2, \"System-Identifier\": 4712,");
    place.write("backup_manifest", manifest);
    if (method == Method::none)
      EXPECT_EQ(test::error_of([&] { static_cast<void>(read_backup_point(place.path())); }).kind(),
                ErrorKind::conflict);
    else  // not read that far
      EXPECT_EQ(read_backup_point(place.path()).system_identifier, 4712u);
  }
}

TEST(TarFront, IsTheSameHoweverTheBytesCome) {
  const auto text = tar(entries());
  for (const std::size_t piece : {1, 7, 511, 512, 513, 5000, 1 << 20}) {
    SCOPED_TRACE(piece);
    TarFront front;
    for (std::size_t at = 0; at < text.size(); at += piece)
      if (!front.feed(test::as_bytes(std::string_view(text).substr(at, piece)))) break;
    EXPECT_EQ(front.label(), backup_label(kStart));
    EXPECT_EQ(front.manifest(), std::nullopt);
  }
}

TEST(TarFront, LooksAtNoMoreThanItsFront) {
  // The label comes last, behind more than is looked at.
  auto late = entries();
  std::rotate(late.begin(), late.begin() + 1, late.end());
  late.front().content.assign(TarFront::kMost + 1, 'x');
  const auto text = tar(late);
  TarFront front;
  bool more = true;
  std::size_t given = 0;
  constexpr std::size_t kPiece = 256 * 1024;
  for (; more && given < text.size(); given += kPiece)
    more = front.feed(test::as_bytes(std::string_view(text).substr(given, kPiece)));
  EXPECT_FALSE(more);
  EXPECT_EQ(front.label(), std::nullopt);
  EXPECT_LE(given, TarFront::kMost + 2 * kPiece);
  // A label of a size that none has is none.
  TarFront huge;
  const auto large = tar({{"backup_label", std::string(TarFront::kLargestLabel + 1, 'x')}});
  huge.feed(test::as_bytes(large));
  EXPECT_EQ(huge.label(), std::nullopt);
}

}  // namespace
}  // namespace weir::archive::backup_files_test

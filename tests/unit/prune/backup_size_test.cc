#include "prune/backup_size.h"

#include <gtest/gtest.h>

#include <string>

#include "support/backup_builder.h"
#include "support/error_of.h"

namespace weir::prune::backup_size_test {
namespace {

const wal::Lsn kStart(0x3000028);
const wal::Lsn kEnd(0x5000100);

std::optional<std::uint64_t> size_of(BackupSizes& sizes, const std::string& path) {
  const auto files = archive::look_at_backup(path);
  EXPECT_TRUE(files);
  return files ? sizes.of(*files) : std::nullopt;
}

TEST(BackupSizes, AddsUpTheManifestOfAPlainBackup) {
  const test::TemporaryDirectory place;
  BackupSizes sizes;
  place.write("monday/backup_label", test::backup_label(kStart));
  EXPECT_EQ(size_of(sizes, place.path("monday")), std::nullopt);
  // The files themselves are not looked at: there are none.
  place.write("monday/backup_manifest",
              test::backup_manifest(kStart, kEnd, 1, {{"PG_VERSION", 3}, {"base/5/1259", 8192}}));
  EXPECT_EQ(size_of(sizes, place.path("monday")), 8195U);
}

TEST(BackupSizes, ReadsAManifestAgainOnlyIfItHasChanged) {
  const test::TemporaryDirectory place;
  BackupSizes sizes;
  // The end of a manifest, with its checksum, is what is looked at each time.
  const auto manifest = [](std::size_t size, wal::Lsn end) {
    return test::backup_manifest(kStart, end, 1,
                                 {{"base/5/1259", size}, {std::string(300, 'x'), 0}});
  };
  const auto write = [&](const std::string& text) { place.write("monday/backup_manifest", text); };
  write(manifest(8192, kEnd));
  EXPECT_EQ(size_of(sizes, place.path("monday")), 8192U);
  write(manifest(4096, kEnd));  // as long, and with the same end
  EXPECT_EQ(size_of(sizes, place.path("monday")), 8192U) << "it was read again";
  write(manifest(4096, kEnd + 8));
  EXPECT_EQ(size_of(sizes, place.path("monday")), 4096U);
  write(manifest(16384, kEnd + 8));
  EXPECT_EQ(size_of(sizes, place.path("monday")), 16384U);
}

TEST(BackupSizes, AddsUpTheTarFilesOfADirectory) {
  const test::TemporaryDirectory place;
  BackupSizes sizes;
  place.write("monday/base.tar.gz", std::string(1000, 'x'));
  place.write("monday/16384.tar.gz", std::string(200, 'x'));
  place.write("monday/pg_wal.tar.gz", std::string(30, 'x'));
  place.write("monday/backup_manifest", test::backup_manifest(kStart, kEnd));
  place.write("monday/notes.txt", "not of the backup");
  EXPECT_EQ(size_of(sizes, place.path("monday")), 1230U);
  EXPECT_EQ(size_of(sizes, place.write("tuesday.tar", std::string(512, 'x'))), 512U);
}

TEST(BackupSizes, RejectsAManifestThatIsCutOff) {
  const test::TemporaryDirectory place;
  BackupSizes sizes;
  const auto manifest = test::backup_manifest(kStart, kEnd);
  place.write("monday/backup_manifest", manifest.substr(0, manifest.size() / 2));
  const auto files = archive::look_at_backup(place.path("monday"));
  ASSERT_TRUE(files);
  EXPECT_EQ(test::error_of([&] { static_cast<void>(sizes.of(*files)); }).kind(), ErrorKind::damage);
}

}  // namespace
}  // namespace weir::prune::backup_size_test

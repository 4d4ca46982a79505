#include "backup/tar_check.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "crypto/digest.h"
#include "support/backup_builder.h"
#include "support/error_of.h"
#include "wal/crc32c.h"

namespace weir::backup::tar_check_test {
namespace {

using test::TarEntry;
using test::TemporaryDirectory;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::string crc_of(const std::string& content) {
  const auto crc = ~wal::crc32c(~0U, std::as_bytes(std::span(content)));
  std::string text;
  for (int i = 0; i < 4; ++i) text += fmt::format("{:02x}", (crc >> (8 * i)) & 0xffU);
  return text;
}

/// As a server writes it.
std::string manifest(const std::vector<TarEntry>& files) {
  std::string text = "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [\n";
  for (const auto& file : files)
    text += fmt::format(
        "{}{{ \"Path\": \"{}\", \"Size\": {}, \"Last-Modified\": \"2026-11-20 03:14:15 GMT\", "
        "\"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"{}\" }}",
        &file == files.data() ? "" : ",\n", file.name, file.content.size(), crc_of(file.content));
  text +=
      "\n],\n\"WAL-Ranges\": [\n{ \"Timeline\": 1, \"Start-LSN\": \"0/2000028\", \"End-LSN\": "
      "\"0/2000100\" }\n],\n";
  return text + fmt::format("\"Manifest-Checksum\": \"{}\"}}\n",
                            crypto::digest_of(crypto::Digest::Kind::sha256, text));
}

const std::vector<TarEntry> kBase = {{"backup_label", "START"}, {"base/1/1259", "content"}};
const std::vector<TarEntry> kTablespace = {{"PG_15_202209061/5/16385", "rows"}};

struct Place {
  Place() {
    auto all = kBase;
    all.push_back({"pg_tblspc/16384/" + kTablespace[0].name, kTablespace[0].content});
    directory.write("backup_manifest", manifest(all));
    directory.write("base.tar", test::tar(kBase));
    directory.write("16384.tar", test::tar(kTablespace));
  }
  [[nodiscard]] std::string problem() const {
    return test::error_of([&] { check_tars(directory.path(), [] { return false; }); }).what();
  }
  TemporaryDirectory directory;
};

TEST(TarCheck, WhatTheManifestSaysIsSound) {
  const Place place;
  EXPECT_NO_THROW(check_tars(place.directory.path(), [] { return false; }));
}

TEST(TarCheck, FindsWhatDiffers) {
  const Place place;
  place.directory.write("base.tar", test::tar({kBase[0], {"base/1/1259", "cOntent"}}));
  EXPECT_THAT(place.problem(), HasSubstr("a different checksum"));
  place.directory.write("base.tar", test::tar({kBase[0], {"base/1/1259", "content!"}}));
  EXPECT_THAT(place.problem(), HasSubstr("8 bytes instead of 7"));
  place.directory.write("base.tar", test::tar({kBase[0]}));
  EXPECT_THAT(place.problem(), AllOf(HasSubstr("1 file missing"), HasSubstr("entry base/1/1259")));
  auto more = kBase;
  more.push_back({"base/1/1260", ""});
  place.directory.write("base.tar", test::tar(more));
  EXPECT_THAT(place.problem(), HasSubstr("is not listed in it"));
  place.directory.write("base.tar", test::tar(kBase, false));
  EXPECT_THAT(place.problem(), HasSubstr("is truncated"));
  place.directory.write("base.tar", test::tar(kBase));
  std::filesystem::remove(place.directory.path("16384.tar"));
  EXPECT_THAT(place.problem(), HasSubstr("pg_tblspc/16384/PG_15_202209061/5/16385"));
}

TEST(TarCheck, FindsADamagedManifest) {
  const Place place;
  auto all = kBase;
  all.push_back({"pg_tblspc/16384/" + kTablespace[0].name, kTablespace[0].content});
  auto text = manifest(all);
  text.replace(text.find("03:14:15"), 8, "03:14:16");
  place.directory.write("backup_manifest", text);
  EXPECT_THAT(place.problem(), HasSubstr("backup_manifest is damaged"));
  place.directory.write("backup_manifest", text.substr(0, text.find("\"Manifest-Checksum")));
  EXPECT_THAT(place.problem(), HasSubstr("backup_manifest is damaged"));
}

}  // namespace
}  // namespace weir::backup::tar_check_test

#include "archive/backup_manifest.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "support/error_of.h"

namespace weir::archive::backup_manifest_test {
namespace {

/// A file in memory that counts what is read of it.
class TestBytes final : public io::Bytes {
 public:
  explicit TestBytes(std::string content) : content_(std::move(content)) {}
  std::size_t read_at(std::uint64_t offset, std::span<std::byte> bytes) override {
    if (offset >= content_.size()) return 0;
    const auto count = std::min<std::size_t>(bytes.size(), content_.size() - offset);
    std::memcpy(bytes.data(), content_.data() + offset, count);
    read += count;
    return count;
  }
  std::uint64_t size() override { return content_.size(); }
  std::uint64_t read = 0;

 private:
  const std::string content_;
};

/// As a server writes it (backup/backup_manifest.c), with so many files.
std::string manifest(int files, const std::string& more = {}) {
  std::string text =
      "{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n\"System-Identifier\": 7301234567890123456,\n"
      "\"Files\": [";
  for (int i = 0; i < files; ++i)
    text += fmt::format(
        "{}\n{{ \"Path\": \"base/5/{}\", \"Size\": 8192, \"Last-Modified\": \"2026-11-20 03:14:15 "
        "GMT\", \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"fee7df95\" }}",
        i > 0 ? "," : "", i);
  text += more;
  return text +
         "\n],\n\"WAL-Ranges\": [\n{ \"Timeline\": 3, \"Start-LSN\": \"0/3000028\", \"End-LSN\": "
         "\"0/5000100\" }\n],\n\"Manifest-Checksum\": \"" +
         std::string(64, 'a') + "\"}\n";
}

void expect_right(const BackupPoint& point) {
  EXPECT_EQ(point.start, wal::Lsn(0x3000028));
  EXPECT_EQ(point.end, wal::Lsn(0x5000100));
  EXPECT_EQ(point.timeline, 3u);
  EXPECT_EQ(point.end_timeline, 3u);
  EXPECT_EQ(point.system_identifier, 7301234567890123456u);
  EXPECT_EQ(point.file, "m");
}

TEST(BackupManifest, OfAnySizeIsReadAtItsEnds) {
  for (const int files : {0, 1, 20, 400, 100'000}) {
    SCOPED_TRACE(files);
    const auto text = manifest(files);
    TestBytes bytes(text);
    expect_right(read_backup_manifest(bytes, "m"));
    EXPECT_LE(bytes.read, 70'000u);
    if (files <= 400) expect_right(parse_backup_manifest(text, "m"));
  }
}

TEST(BackupManifest, IsReadFromFrontToEndWhereItsEndsDoNotTell) {
  // A file with a name that looks like it, and another order: both are read as they are meant.
  const auto name = R"(,
{ "Path": "\"WAL-Ranges\": [{ \"Timeline\": 9", "Size": 0 })";
  TestBytes odd(manifest(10, name));
  expect_right(read_backup_manifest(odd, "m"));
  const std::string other =
      R"({"WAL-Ranges": [{"Timeline": 3, "Start-LSN": "0/3000028", "End-LSN": "0/5000100"}],
          "Files": [)" +
      std::string(200'000, ' ') + R"({"Path": "x", "WAL-Ranges": [], "deep": [[{"Files": []}]]}, 3],
          "System-Identifier": 7301234567890123456})";
  TestBytes reversed(other);
  expect_right(read_backup_manifest(reversed, "m"));
  EXPECT_LE(reversed.read, other.size() + 70'000) << "once, beside its ends";
}

TEST(BackupManifest, IsRefusedWithoutValidRanges) {
  const auto refused = [](const std::string& ranges) {
    const auto error =
        test::error_of([&] { static_cast<void>(parse_backup_manifest("{" + ranges + "}", "m")); });
    return std::string(error.what());
  };
  using ::testing::HasSubstr;
  for (const char* const none : {"", R"("WAL-Ranges": [])", R"("WAL-Ranges": {})"})
    EXPECT_THAT(refused(none), HasSubstr("it has no WAL-Ranges")) << none;
  for (const char* const line : {"0", "4294967296", "-1", "\"1\"", "1.5"})
    EXPECT_THAT(refused(fmt::format(R"("WAL-Ranges": [{{"Timeline": {}, "Start-LSN": "0/1",
                                    "End-LSN": "0/2"}}])",
                                    line)),
                HasSubstr("no valid Timeline"))
        << line;
  EXPECT_THAT(refused(R"("WAL-Ranges": [3])"), HasSubstr("no valid Timeline"));
  for (const char* const lsn : {"null", "\"0/0\"", "\"x\"", "7"})
    EXPECT_THAT(
        refused(fmt::format(
            R"("WAL-Ranges": [{{"Timeline": 1, "Start-LSN": {}, "End-LSN": "0/2"}}])", lsn)),
        HasSubstr("no valid Start-LSN"))
        << lsn;
}

TEST(BackupManifest, ThatBreaksOffIsNone) {
  const auto text = manifest(50);
  for (std::size_t length = 0; length < text.size() - 2; length += 1 + length % 37) {
    SCOPED_TRACE(length);
    TestBytes bytes(text.substr(0, length));
    const auto error = test::error_of([&] { static_cast<void>(read_backup_manifest(bytes, "m")); });
    EXPECT_EQ(error.kind(), ErrorKind::damage);
    EXPECT_FALSE(error.hint().empty());
  }
}

TEST(BackupManifest, IsRefusedIfItsRangesDoNotGoOnFromOneAnother) {
  const auto manifest = [](const std::string& ranges) {
    return R"({"PostgreSQL-Backup-Manifest-Version": 1, "WAL-Ranges": [)" + ranges + "]}";
  };
  const auto range = [](int timeline, const char* from, const char* to) {
    return fmt::format(R"({{"Timeline": {}, "Start-LSN": "{}", "End-LSN": "{}"}})", timeline, from,
                       to);
  };
  const auto whole = parse_backup_manifest(
      manifest(range(3, "0/5000060", "0/6000000") + "," + range(1, "0/3000028", "0/5000060")), "m");
  EXPECT_EQ(whole.start, wal::Lsn(0x3000028));
  EXPECT_EQ(whole.timeline, 1u);
  EXPECT_EQ(whole.end, wal::Lsn(0x6000000));
  EXPECT_EQ(whole.end_timeline, 3u);
  const std::pair<const char*, std::string> cases[] = {
      {"ends before it starts", range(1, "0/3000028", "0/2000000")},
      {"a gap between",
       range(1, "0/3000028", "0/4000000") + "," + range(2, "0/5000000", "0/6000000")},
      {"the older one is later",
       range(1, "0/5000000", "0/6000000") + "," + range(2, "0/3000028", "0/5000000")},
      {"one timeline twice",
       range(1, "0/3000028", "0/4000000") + "," + range(1, "0/4000000", "0/5000000")},
  };
  for (const auto& [name, ranges] : cases) {
    SCOPED_TRACE(name);
    const auto text = manifest(ranges);
    const auto error = test::error_of([&] { static_cast<void>(parse_backup_manifest(text, "m")); });
    EXPECT_EQ(error.kind(), ErrorKind::conflict) << error.what();
  }
}

}  // namespace
}  // namespace weir::archive::backup_manifest_test

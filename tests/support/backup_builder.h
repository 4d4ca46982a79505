#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/archive_builder.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::test {

/// A directory of this test, gone with the object.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = std::filesystem::temp_directory_path() / "pgweir-test-XXXXXX";
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  [[nodiscard]] std::string path(std::string_view name = {}) const {
    return name.empty() ? path_.string() : (path_ / name).string();
  }
  /// With the directories that are missing. Returns the path.
  std::string write(std::string_view name, std::string_view content) const {
    const auto file = path_ / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << content;
    return file.string();
  }

 private:
  std::filesystem::path path_;
};

/// What each data directory has, in addition to PG_VERSION and global/pg_control.
inline void write_parts(const TemporaryDirectory& place, const std::string& name) {
  for (const auto* const file :
       {"base/1/pg_filenode.map", "global/pg_filenode.map", "pg_xact/0000"})
    place.write(name + "/" + file, "x");
  for (const auto* const directory : {"pg_logical", "pg_multixact", "pg_tblspc", "pg_twophase"})
    std::filesystem::create_directories(place.path(name + "/" + directory));
}

struct TarEntry {
  std::string name;
  std::string content;
  char type = '0';
};

/// As pg_basebackup writes one (tarCreateHeader in port/tar.c).
inline std::string tar(const std::vector<TarEntry>& entries, bool finished = true) {
  std::string text;
  for (const auto& entry : entries) {
    std::string header(512, '\0');
    const auto put = [&](std::size_t at, const std::string& value) {
      header.replace(at, value.size(), value);
    };
    put(0, entry.name);
    put(100, "0000600 ");
    put(124, fmt::format("{:011o} ", entry.content.size()));
    put(136, fmt::format("{:011o} ", 1'800'000'000));
    put(148, "        ");
    header[156] = entry.type;
    put(257, "ustar");
    put(263, "00");
    unsigned sum = 0;
    for (const char byte : header) sum += static_cast<unsigned char>(byte);
    put(148, fmt::format("{:06o} ", sum));
    text += header + entry.content;
    text.resize((text.size() + 511) / 512 * 512);
  }
  if (finished) text.resize(text.size() + 1024);
  return text;
}

inline std::string packed(codec::Method method, std::string_view content) {
  return text_of(verify::packed(method, as_bytes(content)));
}

/// What a server writes of a backup.
inline std::string backup_label(wal::Lsn start, wal::TimelineId timeline = 1,
                                wal::SegmentSize size = {}, const std::string& more = {}) {
  return fmt::format(
      "START WAL LOCATION: {} (file {})\nCHECKPOINT LOCATION: {}\nBACKUP METHOD: streamed\n"
      "BACKUP FROM: primary\nSTART TIME: 2026-11-20 03:14:15 UTC\nLABEL: pg_basebackup base "
      "backup\nSTART TIMELINE: {}\n{}",
      start, wal::SegmentName(timeline, size.segno(start), size), start + 0x38, timeline, more);
}

inline std::string backup_manifest(wal::Lsn start, wal::Lsn end, wal::TimelineId timeline = 1,
                                   const std::vector<std::pair<std::string, std::size_t>>& files = {
                                       {"PG_VERSION", 3}}) {
  std::string entries;
  for (const auto& [path, size] : files)
    entries += fmt::format(
        "{}{{ \"Path\": \"{}\", \"Size\": {}, \"Last-Modified\": \"2026-11-20 03:14:15 GMT\" }}",
        entries.empty() ? "" : ",\n", path, size);
  return fmt::format(
      "{{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [\n{}\n],\n\"WAL-Ranges\": [\n{{ "
      "\"Timeline\": {}, \"Start-LSN\": \"{}\", \"End-LSN\": \"{}\" }}\n],\n"
      "\"Manifest-Checksum\": \"0\"}}\n",
      entries, timeline, start, end);
}

/// global/pg_control with these fields and zeros; 1300 is 13 to 16, 1905 is 19.
inline std::string control_file(std::uint64_t system_identifier, wal::Lsn min_recovery = {},
                                std::uint32_t version = 1300) {
  std::string content(8192, '\0');
  std::memcpy(content.data(), &system_identifier, sizeof(system_identifier));
  std::memcpy(content.data() + 8, &version, sizeof(version));
  const auto point = min_recovery.byte();
  std::memcpy(content.data() + (version == 1905 ? 144 : 136), &point, sizeof(point));
  return content;
}

}  // namespace weir::test

#include "backup/tar_check.h"

#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "archive/backup_files.h"
#include "archive/backup_manifest.h"
#include "archive/content.h"
#include "archive/tar_reader.h"
#include "base/error.h"
#include "base/text.h"
#include "base/units.h"
#include "crypto/digest.h"
#include "io/user_tree.h"
#include "wal/crc32c.h"

namespace weir::backup {

namespace {

using archive::ManifestFile;
using Expected = std::map<std::string, ManifestFile, std::less<>>;

Error differs(const std::string& tar, std::string_view what, const std::string& name) {
  return Error(ErrorKind::damage, fmt::format("the backup does not match its manifest: {}", what))
      .with("file", tar)
      .with("entry", name);
}

/// One tar file; what it has is taken out of what is expected.
class TarAgainstManifest final : public archive::TarReader::Visitor {
 public:
  TarAgainstManifest(Expected& expected, std::string tar, std::string prefix)
      : expected_(expected), tar_(std::move(tar)), prefix_(std::move(prefix)) {}

  bool on_entry(const archive::TarReader::Entry& entry) override {
    finish();
    if (entry.type != archive::TarReader::Type::file) return true;
    std::string_view name = entry.name;
    while (name.starts_with("./")) name.remove_prefix(2);
    const auto found = expected_.find(prefix_ + std::string(name));
    if (found == expected_.end()) throw differs(tar_, "a file is not listed in it", entry.name);
    file_ = std::move(found->second);
    expected_.erase(found);
    if (entry.size != file_->size)
      throw differs(tar_, fmt::format("a file has {} bytes instead of {}", entry.size, file_->size),
                    entry.name);
    crc_ = ~0U;
    return true;
  }
  void on_content(std::span<const std::byte> bytes) override { crc_ = wal::crc32c(crc_, bytes); }

  void finish() {
    if (!file_) return;
    // pg_checksum_final() in common/checksum_helper.c copies the number as it lies in memory.
    const auto crc = ~crc_;
    std::array<std::byte, sizeof crc> raw{};
    for (std::size_t i = 0; i < raw.size(); ++i) raw[i] = static_cast<std::byte>(crc >> (8 * i));
    if (file_->algorithm != "CRC32C")
      throw differs(tar_, "a file has no CRC32C in the manifest", file_->path);
    if (file_->checksum != crypto::to_hex(raw))
      throw differs(tar_, "a file has a different checksum", file_->path);
    file_.reset();
  }

 private:
  Expected& expected_;
  const std::string tar_;
  const std::string prefix_;
  std::optional<ManifestFile> file_;  ///< that is being read
  std::uint32_t crc_ = 0;
};

}  // namespace

void check_tars(const std::string& directory, const std::function<bool()>& stop) {
  const auto name = directory + "/backup_manifest";
  Expected expected;
  {
    const auto manifest = io::open_user_file(name);
    archive::require_manifest_checksum(*manifest, name);
    archive::for_each_entry(*manifest, name, [&](ManifestFile entry) {
      auto path = entry.path;
      expected.insert_or_assign(std::move(path), std::move(entry));
      return true;
    });
  }
  for (const auto& entry : io::list_user_directory(directory)) {
    if (entry.type != io::PathType::file || !archive::is_tar_name(entry.name)) continue;
    const auto tar = directory + "/" + entry.name;
    const auto oid = entry.name.substr(0, entry.name.find('.'));
    const bool tablespace = parse_number<std::uint32_t>(oid).has_value();
    TarAgainstManifest check(expected, tar, tablespace ? "pg_tblspc/" + oid + "/" : "");
    archive::TarReader reader(check);
    const auto file = io::open_user_file(tar);
    archive::read_content(
        *file, *archive::tar_method(tar), tar, [&](std::span<const std::byte> piece) {
          if (stop()) throw Error(ErrorKind::retry, "stopped while the backup was being checked");
          static_cast<void>(reader.ended() || reader.feed(piece));
          return true;
        });
    if (!reader.ended())
      throw Error(ErrorKind::damage, "the tar file of the backup is truncated").with("file", tar);
    check.finish();
  }
  if (!expected.empty())
    throw differs(directory, counted(expected.size(), "file") + " missing",
                  expected.begin()->first);
}

}  // namespace weir::backup

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "archive/tar_reader.h"

namespace weir::archive {

/// Reads a tar file from its start and extracts the files at the front of a base backup:
/// backup_label, which the server sends first (perform_base_backup in backup/basebackup.c), and
/// backup_manifest, if it is among the first entries. Pure. Both may be in one directory
/// ("./backup_label"), not deeper.
class TarFront final : private TarReader::Visitor {
 public:
  /// Maximum number of bytes examined.
  static constexpr std::uint64_t kMost = std::uint64_t{32} << 20;
  static constexpr std::uint64_t kLargestLabel = std::uint64_t{64} << 10;
  static constexpr std::uint64_t kLargestManifest = std::uint64_t{8} << 20;

  TarFront() : reader_(*this) {}
  TarFront(const TarFront&) = delete;
  TarFront& operator=(const TarFront&) = delete;

  /// Feeds the next bytes, in pieces of any size. Returns false if no further input is needed.
  /// Throws Error{damage} if the input is not a tar file.
  bool feed(std::span<const std::byte> bytes);

  [[nodiscard]] const std::optional<std::string>& label() const { return label_; }
  /// True if it was read completely.
  [[nodiscard]] bool was_short() const { return reader_.seen() < kMost; }
  [[nodiscard]] const std::optional<std::string>& manifest() const { return manifest_; }

 private:
  bool on_entry(const TarReader::Entry& entry) override;
  void on_content(std::span<const std::byte> bytes) override;
  [[nodiscard]] bool all_there() const { return label_ && manifest_; }

  TarReader reader_;
  std::optional<std::string>* into_ = nullptr;  ///< destination of a file's content; nullptr:
                                                ///< ignored
  std::uint64_t size_ = 0;                      ///< of that file
  std::string text_;
  std::optional<std::string> label_;
  std::optional<std::string> manifest_;
};

}  // namespace weir::archive

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace weir::archive {

/// Takes a tar file (POSIX ustar, as pg_basebackup and tar write it) from its begin on and picks
/// out what a base backup has at its front: backup_label, which the server sends first
/// (perform_base_backup in backup/basebackup.c), and backup_manifest, if that is among the first
/// entries. Pure. Both may lie in one folder ("./backup_label"), not deeper.
class TarFront {
 public:
  /// So much of the tar is looked at.
  static constexpr std::uint64_t kMost = std::uint64_t{32} << 20;
  static constexpr std::uint64_t kLargestLabel = std::uint64_t{64} << 10;
  static constexpr std::uint64_t kLargestManifest = std::uint64_t{8} << 20;

  /// The next bytes, in pieces of any size. False: nothing that follows is wanted. Throws
  /// Error{damage} if this is no tar file.
  bool feed(std::span<const std::byte> bytes);

  [[nodiscard]] const std::optional<std::string>& label() const { return label_; }
  /// All of it was seen.
  [[nodiscard]] bool was_short() const { return seen_ < kMost; }
  [[nodiscard]] const std::optional<std::string>& manifest() const { return manifest_; }

 private:
  static constexpr std::size_t kBlock = 512;

  bool begin_entry();
  void take_content(std::span<const std::byte> bytes);
  [[nodiscard]] bool all_there() const { return label_ && manifest_; }

  std::uint64_t seen_ = 0;                      ///< bytes
  std::vector<std::byte> header_;               ///< of an entry, as far as it came
  std::uint64_t content_left_ = 0;              ///< of the entry
  std::uint64_t padding_left_ = 0;              ///< behind it
  std::optional<std::string>* into_ = nullptr;  ///< where its content goes; nullptr: nowhere
  std::string text_;
  std::optional<std::string> label_;
  std::optional<std::string> manifest_;
};

}  // namespace weir::archive

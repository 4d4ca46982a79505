#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace weir::archive {

/// Reads a tar file (POSIX ustar, as pg_basebackup and tar write it) from its start, in pieces of
/// any size, and passes its entries on. Supports long names of GNU tar and of pax. Sparse files
/// (tar -S; bsdtar, for each file with holes) are Type::other: the stored bytes are not their
/// content. Pure. One thread.
class TarReader {
 public:
  enum class Type { file, directory, symbolic_link, other };
  struct Entry {
    std::string name{};  ///< as stored: "./backup_label", "base/1/1259"
    Type type = Type::file;
    std::uint64_t size = 0;  ///< of a file
    std::string link{};      ///< target of a symbolic link
    unsigned mode = 0;       ///< permission bits, 0 if unknown
  };
  class Visitor {
   public:
    virtual ~Visitor() = default;
    /// Returns false if no further input is needed.
    virtual bool on_entry(const Entry& entry) = 0;
    /// Content of the last entry's file, in order; a file of 0 bytes has none.
    virtual void on_content(std::span<const std::byte> bytes) = 0;
  };

  explicit TarReader(Visitor& visitor) : visitor_(visitor) {}

  /// Feeds the next bytes. Returns false if no further input is needed, or the end was reached.
  /// Throws Error{damage} if the input is not a tar file, and what the visitor throws.
  bool feed(std::span<const std::byte> bytes);
  /// Skips the rest of the content of the last entry's file, and its padding: the next byte fed
  /// must be the first one after it. Returns the number of bytes to skip; 0 if the following bytes
  /// are needed.
  [[nodiscard]] std::uint64_t skip_content();
  /// The block of zeros that follows the last entry was read: the file is not truncated.
  [[nodiscard]] bool ended() const { return ended_; }
  /// Number of bytes read.
  [[nodiscard]] std::uint64_t seen() const { return seen_; }

 private:
  static constexpr std::size_t kBlock = 512;
  enum class Into { nothing, visitor, name, link, pax };

  bool begin_entry();
  void take_content(std::span<const std::byte> bytes);
  void take_text();
  void take_pax(std::string_view text);

  Visitor& visitor_;
  std::uint64_t seen_ = 0;
  std::vector<std::byte> header_;   ///< of an entry, as far as received
  std::uint64_t content_left_ = 0;  ///< of the entry
  std::uint64_t padding_left_ = 0;  ///< after it
  Into into_ = Into::nothing;       ///< destination of the entry's content
  std::string text_;                ///< of a long name
  // Attributes for the next entry from preceding ones.
  std::optional<std::string> long_name_;
  std::optional<std::string> long_link_;
  std::optional<std::uint64_t> long_size_;
  bool is_sparse_ = false;
  bool ended_ = false;
};

}  // namespace weir::archive

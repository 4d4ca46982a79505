#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace weir::archive {

/// Takes a tar file (POSIX ustar, as pg_basebackup and tar write it) from its begin on, in pieces
/// of any size, and hands on its entries. Long names of GNU tar and of pax are understood. Pure.
/// One thread.
class TarReader {
 public:
  enum class Type { file, directory, symbolic_link, other };
  struct Entry {
    std::string name{};  ///< as it is written: "./backup_label", "base/1/1259"
    Type type = Type::file;
    std::uint64_t size = 0;  ///< of a file
    std::string link{};      ///< where a symbolic link leads
    unsigned mode = 0;       ///< permission bits, 0 if it does not tell
  };
  class Visitor {
   public:
    virtual ~Visitor() = default;
    /// False: nothing that follows is wanted.
    virtual bool on_entry(const Entry& entry) = 0;
    /// Content of the file whose entry came last, in order; a file of 0 bytes has none.
    virtual void on_content(std::span<const std::byte> bytes) = 0;
  };

  explicit TarReader(Visitor& visitor) : visitor_(visitor) {}

  /// The next bytes. False: nothing that follows is wanted, or the end was seen. Throws
  /// Error{damage} if this is no tar file, and what the visitor throws.
  bool feed(std::span<const std::byte> bytes);
  /// What is left of the content of the file whose entry came last, and of its padding, is not
  /// fed: the next byte that is fed is the one so far behind. Returns how far that is; 0 where what
  /// follows is needed.
  [[nodiscard]] std::uint64_t skip_content();
  /// The block of zeros was seen that stands behind the last entry: the file is not cut off.
  [[nodiscard]] bool ended() const { return ended_; }
  /// Bytes that were taken.
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
  std::vector<std::byte> header_;   ///< of an entry, as far as it came
  std::uint64_t content_left_ = 0;  ///< of the entry
  std::uint64_t padding_left_ = 0;  ///< behind it
  Into into_ = Into::nothing;       ///< where the entry's content goes
  std::string text_;                ///< of a long name
  // What entries before it say of the next one.
  std::optional<std::string> long_name_;
  std::optional<std::string> long_link_;
  std::optional<std::uint64_t> long_size_;
  bool ended_ = false;
};

}  // namespace weir::archive

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/sealing.h"
#include "io/shelf.h"
#include "store/sealed/age_keys.h"

namespace weir::store {

// Files of age, version 1 (age-encryption.org/v1; C2SP "age"): a header with the file key wrapped
// for each recipient, and chunks of 64 KiB, each sealed with its number and a flag for the last
// one. A chunk that is cut off, left out, repeated, swapped or changed is therefore detected, and
// each chunk can be opened separately.

/// A content as an age file for these recipients. It is sealed as it is read, so reading it twice
/// gives the same bytes, and nothing is kept. Does not own the content. One thread.
class AgeSealed final : public io::Bytes {
 public:
  /// Creates a random file key. At least one recipient.
  AgeSealed(io::Bytes& content, std::span<const AgeRecipient> recipients);

  [[nodiscard]] std::uint64_t size() override;
  [[nodiscard]] std::size_t read_at(std::uint64_t offset, std::span<std::byte> bytes) override;

 private:
  void seal(std::uint64_t chunk);

  io::Bytes& content_;
  const std::uint64_t plain_size_;
  std::vector<std::byte> front_;  ///< header and nonce
  std::unique_ptr<crypto::ChaCha20Poly1305> cipher_;
  std::optional<std::uint64_t> sealed_;  ///< number of the chunk in chunk_
  std::vector<std::byte> chunk_;
};

/// The content of an age file, opened as it is read. The last chunk is opened first: this verifies
/// the size, and that the file is complete. Every byte returned has been authenticated. One thread.
class AgeOpened final : public io::Bytes {
 public:
  /// `name` is for messages. Throws Error{damage} if the file is not an age file or is incomplete,
  /// Error{refused} if none of the identities is a recipient, and what `file` throws.
  AgeOpened(std::unique_ptr<io::Bytes> file, std::span<const AgeIdentity> identities,
            std::string name);

  [[nodiscard]] std::uint64_t size() override { return size_; }
  /// Throws Error{damage} if a chunk cannot be authenticated.
  [[nodiscard]] std::size_t read_at(std::uint64_t offset, std::span<std::byte> bytes) override;

 private:
  void open(std::uint64_t chunk);
  [[nodiscard]] std::uint64_t place_of(std::uint64_t chunk) const;

  const std::unique_ptr<io::Bytes> file_;
  const std::string name_;
  std::uint64_t payload_ = 0;  ///< offset of the first chunk
  std::uint64_t last_ = 0;     ///< number of the last chunk
  std::uint64_t size_ = 0;
  std::unique_ptr<crypto::ChaCha20Poly1305> cipher_;
  std::optional<std::uint64_t> opened_;
  std::vector<std::byte> chunk_;
};

}  // namespace weir::store

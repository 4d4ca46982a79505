#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "store/age_keys.h"
#include "store/object_store.h"
#include "wal/segment.h"

namespace weir::store {

/// How what is sent is encrypted: to whom, and by which key its content can be compared all the
/// same, without being read: an HMAC of it is part of the object's metadata. A value.
struct Sealing {
  std::vector<AgeRecipient> recipients{};  ///< none: it is sent as it is
  std::vector<std::byte> compare_key{};    ///< empty: nothing is compared
  /// What was sent with one of these is compared, too.
  std::vector<std::vector<std::byte>> former_keys{};
};

/// What the metadata of an encrypted object tell of its content. The HMAC is of the WAL that means
/// something, whatever form it has: `digest` is its SHA-256.
[[nodiscard]] std::string hmac_of_wal(std::span<const std::byte> compare_key,
                                      wal::SegmentName segment, const std::string& digest);
/// Which key an HMAC is of, without telling the key.
[[nodiscard]] std::string compare_key_id(std::span<const std::byte> compare_key);
void add_sealed_metadata(Metadata& metadata, std::uint64_t plain_size);
void add_hmac_metadata(Metadata& metadata, std::span<const std::byte> compare_key,
                       const std::string& hmac);
/// Of these keys the one that the object's HMAC is of; empty: it is none of them.
[[nodiscard]] std::span<const std::byte> comparing_key(const Sealing& sealing,
                                                       const Metadata& metadata);
/// What is told under that name; empty: nothing.
[[nodiscard]] std::string told_of(const Metadata& metadata, const std::string& name);

inline constexpr const char* kHmacMetadata = "pgweir-hmac";

}  // namespace weir::store

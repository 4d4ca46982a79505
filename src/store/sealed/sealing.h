#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "store/object_store.h"
#include "store/sealed/age_keys.h"
#include "wal/segment.h"

namespace weir::store {

/// How uploads are encrypted: the recipients, and the key by which contents can be compared without
/// decryption: the object's metadata has an HMAC of the content. A value.
struct Sealing {
  std::vector<AgeRecipient> recipients{};  ///< none: not encrypted
  std::vector<std::byte> compare_key{};    ///< empty: contents are not compared
  /// Uploads made with one of these are compared, too.
  std::vector<std::vector<std::byte>> former_keys{};
};

/// What the metadata of an encrypted object say about its content. The HMAC covers the meaningful
/// WAL, regardless of the file format: `digest` is its SHA-256.
[[nodiscard]] std::string hmac_of_wal(std::span<const std::byte> compare_key,
                                      wal::SegmentName segment, const std::string& digest);
/// Identifies the key of an HMAC without revealing it.
[[nodiscard]] std::string compare_key_id(std::span<const std::byte> compare_key);
void add_sealed_metadata(Metadata& metadata, std::uint64_t plain_size);
void add_hmac_metadata(Metadata& metadata, std::span<const std::byte> compare_key,
                       const std::string& hmac);
/// The key, among these, of the object's HMAC; empty: none of them.
[[nodiscard]] std::span<const std::byte> comparing_key(const Sealing& sealing,
                                                       const Metadata& metadata);
/// The metadata value of that name; empty: none.
[[nodiscard]] std::string told_of(const Metadata& metadata, const std::string& name);

inline constexpr const char* kHmacMetadata = "pgweir-hmac";

}  // namespace weir::store

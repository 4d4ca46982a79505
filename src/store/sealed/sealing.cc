#include "store/sealed/sealing.h"

#include "crypto/digest.h"
#include "crypto/primitives.h"

namespace weir::store {

namespace {

constexpr const char* kPlainSize = "pgweir-plain-size";
constexpr const char* kHmacKey = "pgweir-hmac-key";

}  // namespace

std::string hmac_of_wal(std::span<const std::byte> compare_key, wal::SegmentName segment,
                        const std::string& digest) {
  return crypto::to_hex(crypto::hmac_sha256(compare_key, segment.to_string() + digest));
}

std::string compare_key_id(std::span<const std::byte> compare_key) {
  const auto id = crypto::hmac_sha256(compare_key, "which key it is");
  return crypto::to_hex(std::span(id).first(8));
}

void add_sealed_metadata(Metadata& metadata, std::uint64_t plain_size) {
  metadata[kPlainSize] = std::to_string(plain_size);
}

void add_hmac_metadata(Metadata& metadata, std::span<const std::byte> compare_key,
                       const std::string& hmac) {
  metadata[kHmacMetadata] = hmac;
  metadata[kHmacKey] = compare_key_id(compare_key);
}

std::span<const std::byte> comparing_key(const Sealing& sealing, const Metadata& metadata) {
  const auto theirs = told_of(metadata, kHmacKey);
  if (theirs.empty()) return {};
  if (!sealing.compare_key.empty() && theirs == compare_key_id(sealing.compare_key))
    return sealing.compare_key;
  for (const auto& former : sealing.former_keys)
    if (!former.empty() && theirs == compare_key_id(former)) return former;
  return {};
}

std::string told_of(const Metadata& metadata, const std::string& name) {
  const auto found = metadata.find(name);
  return found == metadata.end() ? std::string() : found->second;
}

}  // namespace weir::store

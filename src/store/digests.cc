#include "store/digests.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "base/buffer.h"
#include "crypto/digest.h"

namespace weir::store {

Digests digests_of(io::Bytes& bytes) {
  crypto::Digest sha256(crypto::Digest::Kind::sha256);
  crypto::Digest md5(crypto::Digest::Kind::md5);
  Buffer buffer(256 * 1024);
  for (std::uint64_t offset = 0;;) {
    const auto count = bytes.read_at(offset, buffer);
    sha256.add(std::span(buffer).first(count));
    md5.add(std::span(buffer).first(count));
    offset += count;
    if (count < buffer.size()) break;
  }
  return {crypto::to_hex(sha256.finish()), crypto::to_hex(md5.finish())};
}

Content content_of(io::Bytes& bytes) {
  auto digests = digests_of(bytes);
  return {.bytes = &bytes, .sha256 = std::move(digests.sha256), .md5 = std::move(digests.md5)};
}

}  // namespace weir::store

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace weir::archive {

/// 96 bits of two different polynomials, and the length, over a stream of bytes: to compare
/// contents. Not resistant to deliberate forgery.
class Digest {
 public:
  void add(std::span<const std::byte> bytes);
  [[nodiscard]] std::uint64_t size() const { return size_; }
  bool operator==(const Digest&) const = default;

 private:
  std::uint64_t crc64_ = 0;
  std::uint32_t crc32c_ = ~0u;
  std::uint64_t size_ = 0;
};

}  // namespace weir::archive

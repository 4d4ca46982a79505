#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "io/shelf.h"

namespace weir::store {

/// Bytes in memory, not owned.
class MemoryBytes final : public io::Bytes {
 public:
  explicit MemoryBytes(std::span<const std::byte> bytes) : bytes_(bytes) {}

  [[nodiscard]] std::size_t read_at(std::uint64_t offset, std::span<std::byte> bytes) override {
    if (offset >= bytes_.size()) return 0;
    const auto rest = bytes_.subspan(static_cast<std::size_t>(offset));
    const auto count = std::min(rest.size(), bytes.size());
    std::copy_n(rest.begin(), count, bytes.begin());
    return count;
  }
  [[nodiscard]] std::uint64_t size() override { return bytes_.size(); }

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace weir::store

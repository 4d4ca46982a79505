#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace weir::relay {

/// Immutable, shared buffer of WAL.
struct WalPiece {
  std::span<const std::byte> wal{};
  std::shared_ptr<const std::vector<std::byte>> memory{};  ///< that contains it

  [[nodiscard]] bool empty() const { return wal.empty(); }
};

}  // namespace weir::relay

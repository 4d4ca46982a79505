#pragma once

#include <cstddef>
#include <memory>
#include <span>

namespace weir::relay {

/// Immutable, shared buffer of WAL.
struct WalPiece {
  std::span<const std::byte> wal{};
  std::shared_ptr<const void> memory{};  ///< that contains it

  [[nodiscard]] bool empty() const { return wal.empty(); }
};

}  // namespace weir::relay

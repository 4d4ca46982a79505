#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace weir::relay {

/// WAL in memory that several may hold, and nobody changes.
struct WalPiece {
  std::span<const std::byte> wal{};
  std::shared_ptr<const std::vector<std::byte>> memory{};  ///< in which it lies

  [[nodiscard]] bool empty() const { return wal.empty(); }
};

}  // namespace weir::relay

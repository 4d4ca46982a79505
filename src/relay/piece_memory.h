#pragma once

#include <cstddef>
#include <mutex>
#include <span>
#include <vector>

#include "base/growing_buffer.h"
#include "relay/wal_piece.h"

namespace weir::relay {

/// Memory for pieces of WAL. A large unused one is reused: new memory from the kernel costs as much
/// as reading into it. Thread-safe; must outlive the memory it has provided.
class PieceMemory {
 public:
  using Bytes = GrowingBuffer;

  PieceMemory() = default;
  PieceMemory(const PieceMemory&) = delete;
  PieceMemory& operator=(const PieceMemory&) = delete;

  /// Returns an empty buffer with a capacity of `room` bytes, to be filled.
  [[nodiscard]] Bytes take(std::size_t room);
  /// For shared use: `wal`, which is in `filled`. If it is small, it is copied, and `filled`
  /// reused.
  [[nodiscard]] WalPiece keep(Bytes filled, std::span<const std::byte> wal);

 private:
  void give_back(Bytes bytes);

  std::mutex mutex_;
  std::vector<Bytes> spare_;
};

}  // namespace weir::relay

#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

namespace weir::relay {

/// Memory for pieces of WAL. A large unused one is reused: new memory from the kernel costs as much
/// as reading into it. Thread-safe; must outlive the memory it has provided.
class PieceMemory {
 public:
  using Bytes = std::vector<std::byte>;

  PieceMemory() = default;
  PieceMemory(const PieceMemory&) = delete;
  PieceMemory& operator=(const PieceMemory&) = delete;

  /// Returns an empty buffer with a capacity of `room` bytes, to be filled.
  [[nodiscard]] Bytes take(std::size_t room);
  /// For shared use. A small content in a large buffer is copied.
  [[nodiscard]] std::shared_ptr<const Bytes> keep(Bytes filled);

 private:
  void give_back(Bytes bytes);

  std::mutex mutex_;
  std::vector<Bytes> spare_;
};

}  // namespace weir::relay

#include "relay/piece_memory.h"

#include <memory>
#include <utility>

namespace weir::relay {

namespace {

/// A smaller one can be allocated quickly, and would occupy the memory of a large one.
constexpr std::size_t kLarge = std::size_t{64} << 10;
constexpr std::size_t kMostReused = std::size_t{1} << 20;
constexpr std::size_t kMostSpare = 3;

}  // namespace

PieceMemory::Bytes PieceMemory::take(std::size_t room) {
  Bytes bytes;
  if (room >= kLarge) {
    const std::lock_guard lock(mutex_);
    if (!spare_.empty()) {
      bytes = std::move(spare_.back());
      spare_.pop_back();
    }
  }
  bytes.reserve(room);
  return bytes;
}

WalPiece PieceMemory::keep(Bytes filled, std::span<const std::byte> wal) {
  if (wal.size() < kLarge) {
    const auto copy = std::make_shared<Bytes>();
    copy->append(wal);
    give_back(std::move(filled));
    return {*copy, copy};
  }
  return {wal, std::shared_ptr<const Bytes>(new Bytes(std::move(filled)), [this](Bytes* done) {
            give_back(std::move(*done));
            delete done;
          })};
}

void PieceMemory::give_back(Bytes bytes) {
  if (bytes.capacity() < kLarge || bytes.capacity() > kMostReused) return;
  bytes.truncate(0);
  const std::lock_guard lock(mutex_);
  if (spare_.size() < kMostSpare) spare_.push_back(std::move(bytes));
}

}  // namespace weir::relay

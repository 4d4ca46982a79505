#include "receive/first_wal.h"

#include <algorithm>

namespace weir::receive {

void FirstWal::on_wal(wal::Lsn at, std::span<const std::byte> wal) {
  const auto have = count_.load(std::memory_order_relaxed);
  const auto wanted = begin_ + have;
  if (have == bytes_.size() || wanted < at || wanted >= at + wal.size()) return;
  const auto piece = wal.subspan(wanted - at);
  const auto count = std::min(piece.size(), bytes_.size() - have);
  std::transform(piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(count),
                 bytes_.begin() + static_cast<std::ptrdiff_t>(have),
                 [](std::byte byte) { return static_cast<char>(byte); });
  count_.store(have + count, std::memory_order_release);
}

std::string FirstWal::so_far() const {
  return {bytes_.data(), count_.load(std::memory_order_acquire)};
}

}  // namespace weir::receive

#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <span>
#include <string>

#include "receive/choose_host.h"
#include "wal/lsn.h"

namespace weir::receive {

/// The first bytes of a timeline, saved as they stream: if two servers were promoted to the same
/// timeline ID at the same position, nothing else that can be queried differs (kFirstWalBytes). One
/// thread at a time writes; any thread reads.
class FirstWal {
 public:
  explicit FirstWal(wal::Lsn begin) : begin_(begin) {}

  /// `wal` starts at `at`. Repeated WAL is ignored.
  void on_wal(wal::Lsn at, std::span<const std::byte> wal);
  /// As many of them as have arrived.
  [[nodiscard]] std::string so_far() const;

 private:
  const wal::Lsn begin_;
  std::array<char, kFirstWalBytes> bytes_{};
  std::atomic<std::size_t> count_ = 0;  ///< of bytes_ that will not change any more
};

}  // namespace weir::receive

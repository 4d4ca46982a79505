#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <span>
#include <string>

#include "receive/choose_host.h"
#include "wal/lsn.h"

namespace weir::receive {

/// The first bytes of a timeline, put by as they stream: two servers that were both promoted to one
/// number, in one place, differ in nothing else that could be asked for (kFirstWalBytes). One
/// thread at a time writes; any thread reads.
class FirstWal {
 public:
  explicit FirstWal(wal::Lsn begin) : begin_(begin) {}

  /// `wal` begins at `at`. What comes again is known already.
  void on_wal(wal::Lsn at, std::span<const std::byte> wal);
  /// As many of them as have come.
  [[nodiscard]] std::string so_far() const;

 private:
  const wal::Lsn begin_;
  std::array<char, kFirstWalBytes> bytes_{};
  std::atomic<std::size_t> count_ = 0;  ///< of bytes_ that do not change any more
};

}  // namespace weir::receive

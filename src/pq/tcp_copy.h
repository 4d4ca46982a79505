#pragma once

#include <cstddef>
#include <span>

#include "pq/direct_copy.h"

namespace weir::pq {

/// Reads messages from unencrypted TCP: the kernel copies each one to its destination. Only
/// complete ones are read, if the socket buffer can hold them; everything except CopyData stays on
/// the socket.
class TcpCopy final : public DirectCopy {
 public:
  TcpCopy(int socket, std::size_t largest) : DirectCopy(socket, largest) {}
  Found next(std::span<std::byte> place) override;

 private:
  Found take_rest();

  bool was_left_ = false;   ///< it was incomplete at the last check
  std::size_t unread_ = 0;  ///< at least this many bytes are available
};

}  // namespace weir::pq

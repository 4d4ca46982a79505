#pragma once

#include <cstddef>
#include <span>

#include "pq/direct_copy.h"

namespace weir::pq {

/// Messages from TCP without encryption: the kernel puts each one where it is wanted. Only whole
/// ones are taken, if the socket can hold so much; what is not CopyData stays on the socket.
class TcpCopy final : public DirectCopy {
 public:
  TcpCopy(int socket, std::size_t largest) : DirectCopy(socket, largest) {}
  Found next(std::span<std::byte> place) override;

 private:
  Found take_rest();

  bool was_left_ = false;   ///< it was incomplete when it was looked at
  std::size_t unread_ = 0;  ///< at least so much is there
};

}  // namespace weir::pq

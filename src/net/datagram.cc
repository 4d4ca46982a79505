#include "net/datagram.h"

#include <cerrno>

#include "base/error.h"

namespace weir::net {

DatagramSender::DatagramSender(const Address& to)
    : to_(to), socket_(::socket(to.family(), SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
  if (!socket_) throw system_error(errno, "could not create a socket");
}

DatagramSender::Sent DatagramSender::send(std::string_view message) const {
  const auto sent = ::sendto(socket_.get(), message.data(), message.size(),
                             MSG_DONTWAIT | MSG_NOSIGNAL, to_.data(), to_.size());
  if (sent >= 0) return Sent::yes;
  const bool full = errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS;
  return full ? Sent::no_room : Sent::nobody;
}

}  // namespace weir::net

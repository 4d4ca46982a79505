#include "net/address.h"

#include <fmt/format.h>
#include <netdb.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>

#include "base/error.h"

namespace weir::net {

Address Address::in_directory(int directory, std::string_view name) {
  return unix_socket(fmt::format("/proc/self/fd/{}/{}", directory, name));
}

Address Address::unix_socket(std::string_view name) {
  sockaddr_un socket{};
  socket.sun_family = AF_UNIX;
  const bool abstract = name.starts_with('@');
  if ((!abstract && !name.starts_with('/')) || name.size() >= sizeof socket.sun_path)
    throw Error(ErrorKind::usage, fmt::format("invalid address of a local socket: \"{}\"", name))
        .hint("Use an absolute path of at most 107 bytes, or @ and a name.");
  std::copy(name.begin(), name.end(), socket.sun_path);
  if (abstract) socket.sun_path[0] = '\0';
  Address address;
  std::memcpy(&address.storage_, &socket, sizeof socket);
  // A path includes its terminating zero, an abstract name does not: every byte of it counts.
  address.size_ =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size() + (abstract ? 0 : 1));
  return address;
}

Address Address::tcp(const std::string& host_and_port) {
  const auto colon = host_and_port.rfind(':');
  auto host = host_and_port.substr(0, colon);
  const auto port = colon == std::string::npos ? std::string() : host_and_port.substr(colon + 1);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']')
    host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int code = port.empty() ? EAI_NONAME
                                : ::getaddrinfo(host.empty() ? nullptr : host.c_str(), port.c_str(),
                                                &hints, &found);
  if (code != 0)
    throw Error(ErrorKind::usage,
                fmt::format("wrong address \"{}\": {}", host_and_port, ::gai_strerror(code)));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, &::freeaddrinfo);
  Address address;
  std::memcpy(&address.storage_, found->ai_addr, found->ai_addrlen);
  address.size_ = found->ai_addrlen;
  return address;
}

Address Address::of(int socket) {
  Address address;
  address.size_ = sizeof address.storage_;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address.storage_), &address.size_) != 0)
    throw system_error(errno, "could not access a socket");
  return address;
}

std::string Address::to_string() const {
  if (family() == AF_UNIX) {
    sockaddr_un socket{};
    std::memcpy(&socket, &storage_, size_);
    std::string name(socket.sun_path, size_ - offsetof(sockaddr_un, sun_path));
    if (name.starts_with('\0')) {
      name.front() = '@';
      return name;
    }
    return name.substr(0, name.find('\0'));
  }
  std::array<char, NI_MAXHOST> host{};
  std::array<char, NI_MAXSERV> port{};
  const int code = ::getnameinfo(data(), size_, host.data(), host.size(), port.data(), port.size(),
                                 NI_NUMERICHOST | NI_NUMERICSERV);
  if (code != 0) return "(unknown)";
  return family() == AF_INET6 ? fmt::format("[{}]:{}", host.data(), port.data())
                              : fmt::format("{}:{}", host.data(), port.data());
}

}  // namespace weir::net

#pragma once

#include <sys/socket.h>

#include <string>
#include <string_view>

namespace weir::net {

/// The address of a listening socket, or to connect to. Value type.
class Address {
 public:
  /// A Unix socket with a name in an open directory, which must outlive the address: the name is
  /// resolved by the directory's descriptor, since an address is limited to 107 bytes and a path
  /// may be longer.
  [[nodiscard]] static Address in_directory(int directory, std::string_view name);
  /// A Unix socket at a path, or, with a leading '@', in the abstract namespace: a name without a
  /// file. Throws Error{usage} if the name is neither, or too long.
  [[nodiscard]] static Address unix_socket(std::string_view name);
  /// "127.0.0.1:9187", "[::1]:5432", "0.0.0.0:5432": numeric, without a look-up. Throws
  /// Error{usage}.
  [[nodiscard]] static Address tcp(const std::string& host_and_port);
  /// The address to which the socket is bound: for port 0, with the port assigned.
  [[nodiscard]] static Address of(int socket);

  [[nodiscard]] int family() const { return storage_.ss_family; }
  [[nodiscard]] const sockaddr* data() const {
    return reinterpret_cast<const sockaddr*>(&storage_);
  }
  [[nodiscard]] socklen_t size() const { return size_; }
  /// In the syntax of tcp(); for a Unix socket its name.
  [[nodiscard]] std::string to_string() const;

 private:
  Address() = default;
  sockaddr_storage storage_{};
  socklen_t size_ = 0;
};

}  // namespace weir::net

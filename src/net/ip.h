#pragma once

#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace weir::net {

/// An address of the internet protocol, of either version. A value.
struct Ip {
  bool v6 = false;
  std::array<std::uint8_t, 16> bytes{};  ///< of version 4 the first four

  /// Numbers only, no names: "192.0.2.7", "2001:db8::7".
  [[nodiscard]] static std::optional<Ip> parse(const std::string& text);
  /// nullopt for a different kind of socket. An IPv4 address mapped to IPv6 (::ffff:192.0.2.7)
  /// becomes the IPv4 address.
  [[nodiscard]] static std::optional<Ip> of(const sockaddr* address);
  /// With the leading `bits` bits set; `bits` fits the version.
  [[nodiscard]] static Ip mask(bool v6, unsigned bits);

  [[nodiscard]] unsigned bits() const { return v6 ? 128 : 32; }
  [[nodiscard]] std::string to_string() const;
  bool operator==(const Ip&) const = default;
};

struct Network {
  Ip address;
  Ip mask;  ///< of the same version

  [[nodiscard]] bool contains(const Ip& ip) const;
  bool operator==(const Network&) const = default;
};

/// The addresses of this machine, each with the mask of its network. Throws Error{io}.
[[nodiscard]] std::vector<Network> own_networks();

/// Resolves a name with the host's resolver; empty if there is no address. Waits for name servers.
[[nodiscard]] std::vector<Ip> look_up(const std::string& name);
/// The name of this machine.
[[nodiscard]] std::string host_name();

/// The peer's address of a connected socket; nullopt for a Unix socket. Throws Error{io} if it is
/// no longer known: the other side has reset the connection, although data that it sent before can
/// still be read.
[[nodiscard]] std::optional<Ip> peer_address(int socket);
/// The name of the user on the other side of a Unix socket; nullopt if there is none, or if the
/// user namespace of this process lacks that user.
[[nodiscard]] std::optional<std::string> peer_user(int socket);
/// `id` is that of one user, by the content of /proc/self/uid_map: the kernel reports all users
/// that a user namespace lacks under one id (user_namespaces(7), "Unmapped user and group IDs").
[[nodiscard]] bool is_one_user(std::uint32_t id, const std::string& uid_map);

}  // namespace weir::net

#include "net/ip.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>  // check-includes: /proc
#include <iterator>
#include <limits>
#include <memory>
#include <sstream>

#include "base/error.h"

namespace weir::net {

std::optional<Ip> Ip::parse(const std::string& text) {
  Ip ip;
  if (::inet_pton(AF_INET, text.c_str(), ip.bytes.data()) == 1) return ip;
  ip.v6 = true;
  if (::inet_pton(AF_INET6, text.c_str(), ip.bytes.data()) == 1) return ip;
  return std::nullopt;
}

std::optional<Ip> Ip::of(const sockaddr* address) {
  Ip ip;
  if (address->sa_family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, address, sizeof in);
    std::memcpy(ip.bytes.data(), &in.sin_addr, 4);
    return ip;
  }
  if (address->sa_family != AF_INET6) return std::nullopt;
  sockaddr_in6 in{};
  std::memcpy(&in, address, sizeof in);
  const auto* const raw = in.sin6_addr.s6_addr;
  if (IN6_IS_ADDR_V4MAPPED(&in.sin6_addr)) {
    std::copy_n(raw + 12, 4, ip.bytes.begin());
    return ip;
  }
  ip.v6 = true;
  std::copy_n(raw, 16, ip.bytes.begin());
  return ip;
}

Ip Ip::mask(bool v6, unsigned bits) {
  Ip ip{v6, {}};
  for (unsigned bit = 0; bit < bits; ++bit)
    ip.bytes[bit / 8] = static_cast<std::uint8_t>(ip.bytes[bit / 8] | 0x80u >> bit % 8);
  return ip;
}

std::string Ip::to_string() const {
  std::array<char, INET6_ADDRSTRLEN> text{};
  ::inet_ntop(v6 ? AF_INET6 : AF_INET, bytes.data(), text.data(), text.size());
  return text.data();
}

bool Network::contains(const Ip& ip) const {
  if (ip.v6 != address.v6) return false;
  for (std::size_t i = 0; i < ip.bytes.size(); ++i)
    if (((ip.bytes[i] ^ address.bytes[i]) & mask.bytes[i]) != 0) return false;
  return true;
}

std::vector<Network> own_networks() {
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0)
    throw system_error(errno, "could not determine this machine's network addresses");
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(list, &::freeifaddrs);
  std::vector<Network> networks;
  for (const auto* each = list; each != nullptr; each = each->ifa_next) {
    if (each->ifa_addr == nullptr || each->ifa_netmask == nullptr) continue;
    const auto address = Ip::of(each->ifa_addr);
    const auto mask = Ip::of(each->ifa_netmask);
    if (address && mask && address->v6 == mask->v6) networks.push_back({*address, *mask});
  }
  return networks;
}

std::vector<Ip> look_up(const std::string& name) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  if (::getaddrinfo(name.c_str(), nullptr, &hints, &list) != 0) return {};
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(list, &::freeaddrinfo);
  std::vector<Ip> found;
  for (const auto* each = list; each != nullptr; each = each->ai_next)
    if (const auto ip = Ip::of(each->ai_addr)) found.push_back(*ip);
  return found;
}

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "";
}

std::optional<Ip> peer_address(int socket) {
  sockaddr_storage storage{};
  auto* const address = reinterpret_cast<sockaddr*>(&storage);
  // The local side determines the kind, regardless of the state of the other one.
  socklen_t size = sizeof storage;
  if (::getsockname(socket, address, &size) != 0)
    throw system_error(errno, "could not determine the type of a socket");
  if (address->sa_family == AF_UNIX) return std::nullopt;
  size = sizeof storage;
  if (::getpeername(socket, address, &size) != 0)
    throw system_error(errno, "could not determine the address of a connection");
  const auto ip = Ip::of(address);
  if (!ip) throw system_error(EAFNOSUPPORT, "could not determine the address of a connection");
  return ip;
}

std::optional<std::string> peer_user(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return std::nullopt;
  std::ifstream map("/proc/self/uid_map");  // check-includes: /proc
  const std::string text((std::istreambuf_iterator<char>(map)), std::istreambuf_iterator<char>());
  if (!is_one_user(peer.uid, text)) return std::nullopt;
  passwd entry{};
  passwd* found = nullptr;
  std::string buffer(16 * 1024, '\0');
  if (::getpwuid_r(peer.uid, &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr)
    return std::nullopt;
  return std::string(found->pw_name);
}

bool is_one_user(std::uint32_t id, const std::string& uid_map) {
  constexpr std::uint32_t kNobody = 65534;
  std::istringstream words(uid_map);
  bool has = uid_map.empty();  // a kernel without user namespaces
  for (std::uint64_t first = 0, outside = 0, count = 0; words >> first >> outside >> count;) {
    if (count >= std::numeric_limits<std::uint32_t>::max()) return true;  // all users
    has = has || (id >= first && id - first < count);
  }
  return has && id != kNobody;
}

}  // namespace weir::net

#include "cli/runtime/serve_listeners.h"

#include <fmt/format.h>

#include <cerrno>
#include <string>

#include "base/error.h"

namespace weir::cli {

namespace {

constexpr std::string_view kUsualPort = "5432";

Error cannot_listen(const Error& error, const std::string& where) {
  return Error(ErrorKind::retry, error.message())
      .with("address", where)
      .hint(
          "Another program may listen there (ss -ltnp shows which), or this machine does not have "
          "the address.");
}

/// All addresses: of both IP versions, or IPv4 only if there is no IPv6.
net::Listener bind_all(const std::string& port) {
  try {
    return net::Listener::bind(net::Address::tcp("[::]:" + port), net::Kind::bytes);
  } catch (const Error& error) {
    if (error.system_code() != EAFNOSUPPORT && error.system_code() != EADDRNOTAVAIL) throw;
  }
  return net::Listener::bind(net::Address::tcp("0.0.0.0:" + port), net::Kind::bytes);
}

}  // namespace

net::Listener bind_tcp(const ListenAddress& address) {
  const auto& [host, port] = address;
  const auto where = fmt::format("{}:{}", host.empty() ? "127.0.0.1" : host, port);
  try {
    return host == "*" ? bind_all(port)
                       : net::Listener::bind(net::Address::tcp(where), net::Kind::bytes);
  } catch (const Error& error) {
    throw cannot_listen(error, where);
  }
}

std::string socket_path(const ServeRequest& request) {
  return fmt::format("{}/.s.PGSQL.{}", *request.socket,
                     request.listen ? request.listen->port : std::string(kUsualPort));
}

std::vector<net::Listener> bind_listeners(const ServeRequest& request) {
  std::vector<net::Listener> listeners;
  if (request.listen) listeners.push_back(bind_tcp(*request.listen));
  if (request.socket) {
    const auto path = socket_path(request);
    try {
      // The rules determine access, as with a server.
      listeners.push_back(net::Listener::bind_over_stale(net::Address::unix_socket(path), 0777));
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::usage) throw;
      throw cannot_listen(error, path);
    }
  }
  return listeners;
}

}  // namespace weir::cli

#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "cli/options/serve_options.h"
#include "net/listener.h"

namespace weir::cli {

/// Takes the addresses; nobody can connect before they listen. Throws Error{retry} for one that
/// cannot be had, Error{usage} for one that cannot be.
[[nodiscard]] std::vector<net::Listener> bind_listeners(const ServeRequest& request);
/// Of the Unix socket; there is one to be.
[[nodiscard]] std::string socket_path(const ServeRequest& request);
/// sockaddr_un has no room for more.
inline constexpr std::size_t kLongestSocketPath = 107;
[[nodiscard]] net::Listener bind_tcp(const ListenAddress& address);

}  // namespace weir::cli

#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "cli/options/serve_options.h"
#include "net/listener.h"

namespace weir::cli {

/// Takes the addresses; no client can connect before they listen. Throws Error{retry} for an
/// address that is not available, Error{usage} for an invalid one.
[[nodiscard]] std::vector<net::Listener> bind_listeners(const ServeRequest& request);
/// Path of the Unix socket; one must be configured.
[[nodiscard]] std::string socket_path(const ServeRequest& request);
/// sockaddr_un has no room for more.
inline constexpr std::size_t kLongestSocketPath = 107;
[[nodiscard]] net::Listener bind_tcp(const ListenAddress& address);

}  // namespace weir::cli

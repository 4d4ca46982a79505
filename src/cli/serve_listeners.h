#pragma once

#include <vector>

#include "cli/serve_options.h"
#include "net/listener.h"

namespace weir::cli {

/// Takes the addresses; nobody can connect before they listen. Throws Error{retry} for one that
/// cannot be had, Error{usage} for one that cannot be.
[[nodiscard]] std::vector<net::Listener> bind_listeners(const ServeRequest& request);
[[nodiscard]] net::Listener bind_tcp(const ListenAddress& address);

}  // namespace weir::cli

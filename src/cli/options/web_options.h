#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/arguments.h"
#include "cli/options/common_options.h"
#include "cli/options/limit_options.h"
#include "cli/options/serve_options.h"

namespace weir::cli {

// Options of what serves a page: `pgweir receive`, `pgweir web`.

inline constexpr auto kWebListen =
    option_of<listen_value>("web-listen", "[ADDRESS:]PORT",
                            "serve the web page at http://ADDRESS:PORT/; without an address, on "
                            "this host only; can be the port of --metrics-listen");
inline constexpr auto kWebTokenFile =
    option_of<any_text>("web-token-file", "FILE",
                        "require the token in FILE (bearer token or login form); mandatory unless "
                        "listening on a loopback address");
inline constexpr auto kWebHost =
    repeated(option_of<any_text>("web-host", "NAME",
                                 "accept NAME as the host name in requests, in addition to "
                                 "localhost and IP addresses; can be repeated"));
inline constexpr auto kReadyMaxLag = option_of<size_value>(
    "ready-max-lag", "SIZE",
    "report not ready on /readyz if the archive lags by more than SIZE (default: no limit)");
inline constexpr auto kWebBackups =
    repeated(option_of<any_text>("backups", "DIR",
                                 "list the base backups under DIR, at any depth; can be repeated "
                                 "(backups with a .backup file are always listed)"));

inline constexpr Relation kWithPage{.others = {{kWebListen}}};

struct WebRequest {
  std::optional<ListenAddress> listen;
  std::optional<std::string> token_file;
  std::vector<std::string> names;
  std::optional<std::uint64_t> ready_max_lag;
  std::vector<std::string> backups;
  status::Limits limits;  ///< of the page's findings
};

/// Throws Error{usage} for a page that others reach without a token; the token file is not read.
[[nodiscard]] WebRequest read_web(const Arguments& arguments);

/// "127.0.0.1:9190", as accepted by Address::tcp().
[[nodiscard]] std::string host_and_port(const ListenAddress& address);

/// The token. Throws Error{usage} if it cannot be read, if others can, or if it can be guessed.
[[nodiscard]] std::optional<std::string> read_token(const WebRequest& request);

}  // namespace weir::cli

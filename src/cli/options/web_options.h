#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/arguments.h"
#include "cli/options/common_options.h"
#include "cli/options/serve_options.h"

namespace weir::cli {

// Options of what serves a page: `pgweir receive`, `pgweir web`.

inline constexpr auto kWebListen = option_of<listen_value>(
    "web-listen", "[ADDRESS:]PORT",
    "serve the page at http://ADDRESS:PORT/; without an address for this machine only. It may be "
    "the port of --metrics-listen");
inline constexpr auto kWebTokenFile = option_of<any_text>(
    "web-token-file", "FILE",
    "who looks needs the token in FILE, as a bearer or by the form; any other address than this "
    "machine's own needs it");
inline constexpr auto kWebHost = repeated(option_of<any_text>(
    "web-host", "NAME",
    "what the page may be called by in a browser, beside localhost and numbers; may be repeated"));
inline constexpr auto kReadyMaxLag = option_of<size_value>(
    "ready-max-lag", "SIZE",
    "/readyz says no if more WAL than this is missing here (default: it does not matter)");
inline constexpr auto kWebBackups = repeated(option_of<any_text>(
    "backups", "DIR",
    "show the base backups that are found there, at any depth; may be repeated. Those that the "
    "archive has a .backup file of are shown without it"));

struct WebRequest {
  std::optional<ListenAddress> listen;
  std::optional<std::string> token_file;
  std::vector<std::string> names;
  std::optional<std::uint64_t> ready_max_lag;
  std::vector<std::string> backups;
};

/// Throws Error{usage} for what contradicts itself; the token file is not read.
[[nodiscard]] WebRequest read_web(const Arguments& arguments);

/// "127.0.0.1:9190", as Address::tcp() takes it.
[[nodiscard]] std::string host_and_port(const ListenAddress& address);

/// The token. Throws Error{usage} if it cannot be read, if others can, or if it can be guessed.
[[nodiscard]] std::optional<std::string> read_token(const WebRequest& request);

}  // namespace weir::cli

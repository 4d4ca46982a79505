#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "cli/options/serve_options.h"
#include "relay/entrance_state.h"

namespace weir::cli {

// Reads the files of the access and TLS options. All throw Error{usage} for an invalid file, an
// unreadable one, or one that others can read and must not.

[[nodiscard]] std::shared_ptr<const relay::Access> read_access(const ServeRequest& request);
/// The parts of it.
[[nodiscard]] relay::Rules read_rules(const ServeRequest& request);
[[nodiscard]] relay::Users read_users(const ServeRequest& request);
[[nodiscard]] std::shared_ptr<const crypto::TlsServer> read_tls(const TlsRequest& request);

/// All users of this host can read the file: reported for the users file.
[[nodiscard]] bool open_to_others(const std::string& path);

}  // namespace weir::cli

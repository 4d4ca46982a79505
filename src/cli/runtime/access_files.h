#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "cli/options/serve_options.h"
#include "relay/entrance_state.h"

namespace weir::cli {

// Who may come in and what TLS needs: the files of the options are read. All throw Error{usage} for
// one that is wrong, that cannot be read, or that others could read and must not.

[[nodiscard]] std::shared_ptr<const relay::Access> read_access(const ServeRequest& request);
/// The parts of it.
[[nodiscard]] relay::Rules read_rules(const ServeRequest& request);
[[nodiscard]] relay::Users read_users(const ServeRequest& request);
[[nodiscard]] std::shared_ptr<const crypto::TlsServer> read_tls(const TlsRequest& request);

/// All users of this host can read the file: reported for the users file.
[[nodiscard]] bool open_to_others(const std::string& path);

}  // namespace weir::cli

#pragma once

#include <memory>

#include "cli/serve_options.h"
#include "relay/entrance_state.h"

namespace weir::cli {

/// Who may come in and what TLS needs: the files of the options are read. Throws Error{usage} for
/// one that is wrong, that cannot be read, or that others could read and must not.
[[nodiscard]] std::shared_ptr<const relay::Access> read_access(const ServeRequest& request);

}  // namespace weir::cli

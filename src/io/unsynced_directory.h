#pragma once

#include "io/directory.h"

namespace weir::io {

/// The same directory, but every sync() of it and of its files returns at once. Written data
/// survives the end of the process, but not a power loss: for users that request exactly that. Does
/// not own `directory`.
[[nodiscard]] std::unique_ptr<Directory> without_syncs(Directory& directory);

}  // namespace weir::io

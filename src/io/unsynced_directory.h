#pragma once

#include "io/directory.h"

namespace weir::io {

/// The same directory, but every sync() of it and of its files returns at once. What was written
/// survives the end of the process and not a power loss: for those who ask for just that. Does not
/// own `directory`.
[[nodiscard]] std::unique_ptr<Directory> without_syncs(Directory& directory);

}  // namespace weir::io

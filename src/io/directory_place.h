#pragma once

#include "io/directory.h"

namespace weir::io {

/// Throws Error{durability} if another directory, or none, is by now at the path that a directory
/// of the file system had when it was opened: it was moved or replaced.
void require_found(Directory& directory);

}  // namespace weir::io

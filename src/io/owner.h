#pragma once

#include "io/directory.h"

namespace weir::io {

/// Files created in the directory from now on get its owner and its group, if this process runs as
/// root: the archive's readers run as that user. Does nothing for other users, and for a directory
/// that is not the host's. If the owner cannot be changed, the file is not created: create() throws
/// Error{io}.
void keep_owner(Directory& directory);

}  // namespace weir::io

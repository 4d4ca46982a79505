#pragma once

#include "io/directory.h"

namespace weir::io {

/// Files made in the directory from now on get its owner and its group, where this process is
/// root's: those who read the archive are that user's. Does nothing for other users, and for a
/// directory that is none of the machine's. What cannot be given away is not made: create() throws
/// Error{io}.
void keep_owner(Directory& directory);

}  // namespace weir::io

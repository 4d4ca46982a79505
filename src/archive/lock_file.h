#pragma once

#include <memory>
#include <string>

#include "io/directory.h"

namespace weir::archive {

/// Takes the lock that the file of this name stands for; it is made if it is not there. The lock
/// ends with the object, and with the process; the file stays. nullptr: somebody else has it.
/// Throws Error{io} where it cannot be had at all, as in a directory that is read-only.
[[nodiscard]] std::unique_ptr<io::File> try_lock_file(io::Directory& directory,
                                                      const std::string& name);

}  // namespace weir::archive

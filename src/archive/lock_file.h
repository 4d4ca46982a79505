#pragma once

#include <memory>
#include <string>

#include "io/directory.h"

namespace weir::archive {

/// Acquires the lock that the named file represents, creating the file if necessary. The lock ends
/// with the object and with the process; the file remains. Returns nullptr if another process holds
/// it. Throws Error{io} if it cannot be acquired at all, for example in a read-only directory.
[[nodiscard]] std::unique_ptr<io::File> try_lock_file(io::Directory& directory,
                                                      const std::string& name);

}  // namespace weir::archive

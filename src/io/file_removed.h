#pragma once

#include "base/error.h"

namespace weir::io {

/// Thrown by File::sync(), with ErrorKind::durability, for a file that no longer has a name: it was
/// removed, or another file was renamed over it. The sync itself has succeeded. A caller that has
/// not written the file, and only needs the file of that name to be durable, opens it again.
class FileRemoved : public ErrorAs<FileRemoved> {
 public:
  using ErrorAs::ErrorAs;
};

}  // namespace weir::io

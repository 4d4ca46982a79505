#pragma once

#include "archive/leftovers.h"
#include "io/directory.h"

namespace weir::archive {

/// Held by commands that remove segments from the start of the archive, or add segments in its
/// middle. What one of them has read must not be changed by the other: an import that fills a hole
/// while a prune passes it would leave segments beyond the range that is removed next. Several of
/// one kind may run. Each announces itself by a locked file of its own (leftovers.h); if the file
/// system does not support locks, there is no exclusion.
class Upkeep {
 public:
  enum class Kind { prune, import };

  /// Throws Error{retry} if a command of the other kind is running, Error{disk_full, io}. A prune
  /// starts even on a full disk, because it frees space.
  Upkeep(io::Directory& directory, Kind kind);
  /// Removes the file; what cannot be removed now is by remove_leftovers().
  ~Upkeep();
  Upkeep(const Upkeep&) = delete;
  Upkeep& operator=(const Upkeep&) = delete;

 private:
  void release() noexcept;

  io::Directory& directory_;
  LockedFile own_;
};

}  // namespace weir::archive

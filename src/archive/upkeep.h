#pragma once

#include "archive/leftovers.h"
#include "io/directory.h"

namespace weir::archive {

/// Held by who removes segments from the archive's front, or puts some into its middle. What one of
/// them has looked up must not change under it by the other: an import that fills a hole while a
/// prune passes it would leave segments on the far side of what is removed next. Several of one
/// kind may be at work. It says so by a locked file of its own (leftovers.h); where the file system
/// knows no locks, nobody is kept off.
class Upkeep {
 public:
  enum class Kind { prune, import };

  /// Throws Error{retry} if the other kind is at work, Error{disk_full, io}. A prune begins on a
  /// full disk, too: it makes room.
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

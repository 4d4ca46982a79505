#pragma once

#include <memory>

#include "archive/listing.h"
#include "io/directory.h"
#include "receive/machine.h"

namespace weir::io {
class NamesWatch;
}

namespace weir::receive {

/// Caches the names in the archive's directory for the checks before WAL streams. With a million
/// segments reading them is most of the startup time. They are reread unless the kernel guarantees
/// that none has changed, and always after a while. One thread.
class KnownNames {
 public:
  /// Both must outlive this object.
  KnownNames(io::Directory& directory, Machine& machine);
  ~KnownNames();
  KnownNames(const KnownNames&) = delete;
  KnownNames& operator=(const KnownNames&) = delete;

  /// As archive::list_archive_names() at this moment.
  [[nodiscard]] std::shared_ptr<const archive::Listing> read();
  /// They use memory, and are not needed for now.
  void forget();

 private:
  [[nodiscard]] bool still_true();

  io::Directory& directory_;
  Machine& machine_;
  std::unique_ptr<io::NamesWatch> watch_;
  std::shared_ptr<archive::Listing> listing_;
  Time read_at_{};
};

}  // namespace weir::receive

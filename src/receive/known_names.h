#pragma once

#include <memory>

#include "archive/listing.h"
#include "io/directory.h"
#include "receive/machine.h"

namespace weir::io {
class NamesWatch;
}

namespace weir::receive {

/// The names of the archive's directory, for who looks at them several times before WAL streams.
/// With a million segments to read them is most of a start. They are read anew where the kernel
/// does not tell that none has changed since, and after a while in any case. One thread.
class KnownNames {
 public:
  /// Both outlive this object.
  KnownNames(io::Directory& directory, Machine& machine);
  ~KnownNames();
  KnownNames(const KnownNames&) = delete;
  KnownNames& operator=(const KnownNames&) = delete;

  /// As archive::list_archive_names() at this moment.
  [[nodiscard]] std::shared_ptr<const archive::Listing> read();
  /// They take memory, and are not needed for now.
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

#pragma once

#include <memory>
#include <string>

#include "base/descriptor.h"

namespace weir::io {

/// Reports whether names were created, removed or changed in a directory since the last call,
/// without reading the directory: inotify(7). Changes by other hosts are not seen, so a network
/// file system has no watch. One thread.
class NamesWatch {
 public:
  /// Returns nullptr if it could miss changes, or if the kernel has no watch left: then the names
  /// must be read.
  [[nodiscard]] static std::unique_ptr<NamesWatch> begin(const std::string& directory);

  /// Also true if the kernel could not keep up, and after the directory itself was removed.
  [[nodiscard]] bool changed();

 private:
  explicit NamesWatch(Descriptor events) : events_(std::move(events)) {}

  Descriptor events_;
  bool blind_ = false;
};

}  // namespace weir::io

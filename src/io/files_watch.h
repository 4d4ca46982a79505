#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/descriptor.h"

namespace weir::io {

/// Tells that one of some files may have changed or been replaced since begin(), without reading
/// any: inotify(7) of the files, of their directories, and of those where a symbolic link on the
/// way to them lies. Good for one piece of news: then the way may be another one, and what is
/// watched has to be begun anew. Who begins first and reads the files then misses nothing of this.
/// What is not seen: that a directory above was renamed, or another file system mounted there.
class FilesWatch {
 public:
  /// nullptr where a change could be made by another machine or program without this kernel's
  /// knowing, where a way cannot be followed, or where the kernel has no watch left to give.
  [[nodiscard]] static std::unique_ptr<FilesWatch> begin(const std::vector<std::string>& paths);

  /// Can be read once there is news.
  [[nodiscard]] int fd() const { return events_.get(); }

 private:
  explicit FilesWatch(Descriptor events) : events_(std::move(events)) {}

  Descriptor events_;
};

}  // namespace weir::io

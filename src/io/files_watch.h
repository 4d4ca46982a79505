#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/descriptor.h"

namespace weir::io {

/// Reports that one of some files may have changed or been replaced since begin(), without reading
/// them: inotify(7) of the files, of their directories, and of the directories of symbolic links on
/// their paths. Reports one change: then the path may have changed, and the watch must be
/// restarted. If the files are read after begin(), no change is missed. Not detected: that a
/// directory higher up was renamed, or another file system mounted there.
class FilesWatch {
 public:
  /// Returns nullptr if a change could be made by another host or program without the knowledge of
  /// this kernel, if a path cannot be followed, or if the kernel has no watch left.
  [[nodiscard]] static std::unique_ptr<FilesWatch> begin(const std::vector<std::string>& paths);

  /// Can be read once there is news.
  [[nodiscard]] int fd() const { return events_.get(); }

 private:
  explicit FilesWatch(Descriptor events) : events_(std::move(events)) {}

  Descriptor events_;
};

}  // namespace weir::io

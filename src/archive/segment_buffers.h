#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "io/pages.h"

namespace weir::archive {

/// Memory for segments. Reused for the next segment while segments are buffered, since the kernel
/// is slow to provide new pages; otherwise released. Any thread.
class SegmentBuffers {
 public:
  explicit SegmentBuffers(std::size_t bytes) : bytes_(bytes) {}

  /// nullptr if there is no memory: then the segment is not buffered.
  [[nodiscard]] static std::shared_ptr<io::Pages> take(const std::shared_ptr<SegmentBuffers>& from);
  void keep_none();

 private:
  void give_back(io::Pages* used);

  const std::size_t bytes_;
  std::mutex mutex_;
  bool keep_ = true;
  std::vector<std::unique_ptr<io::Pages>> free_;
};

}  // namespace weir::archive

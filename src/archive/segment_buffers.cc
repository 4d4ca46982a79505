#include "archive/segment_buffers.h"

#include <new>
#include <utility>

namespace weir::archive {

std::shared_ptr<io::Pages> SegmentBuffers::take(const std::shared_ptr<SegmentBuffers>& from) {
  std::unique_ptr<io::Pages> pages;
  {
    const std::lock_guard lock(from->mutex_);
    from->keep_ = true;
    if (!from->free_.empty()) {
      pages = std::move(from->free_.back());
      from->free_.pop_back();
    }
  }
  try {
    if (!pages) pages = std::make_unique<io::Pages>(from->bytes_);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
  return {pages.release(), [from](io::Pages* used) { from->give_back(used); }};
}

void SegmentBuffers::keep_none() {
  std::vector<std::unique_ptr<io::Pages>> unused;
  const std::lock_guard lock(mutex_);
  keep_ = false;
  unused.swap(free_);
}

void SegmentBuffers::give_back(io::Pages* used) {
  std::unique_ptr<io::Pages> pages(used);
  const std::lock_guard lock(mutex_);
  if (keep_) free_.push_back(std::move(pages));
}

}  // namespace weir::archive

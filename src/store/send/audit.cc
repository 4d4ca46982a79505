#include "store/send/audit.h"

#include <algorithm>
#include <utility>

#include "store/ledger/manifest_report.h"

namespace weir::store {

Audit::Audit(Mark mark, const Layout& layout, std::vector<wal::SegmentName> begins, bool emptied)
    : mark_(std::move(mark)), layout_(layout), begins_(std::move(begins)), emptied_(emptied) {
  if (mark_.sent.empty()) return;
  next_ = mark_.sent.front().first.segno(mark_.segment_size);
  after_ = layout_.before(mark_.sent.front().first, mark_.segment_size);
}

std::optional<std::string> Audit::after() const {
  if (mark_.sent.empty() || look_ == Look::over) return std::nullopt;
  return look_ == Look::runs ? after_ : std::string();
}

bool Audit::before_front(wal::SegmentName name) const {
  if (is_pruned(name, begins_)) return true;
  return !emptied_ && first_ &&
         (name < *first_ || name.segno(mark_.segment_size) < first_->segno(mark_.segment_size));
}

/// The rest of the run from next_ on, before `behind`.
void Audit::miss(std::uint64_t behind) {
  const auto timeline = mark_.sent[run_].first.timeline();
  for (; next_ < behind; ++next_) {
    const wal::SegmentName name(timeline, next_, mark_.segment_size);
    if (!before_front(name)) missing_.push_back(name);
  }
}

void Audit::end_run() {
  miss(mark_.sent[run_].last.segno(mark_.segment_size) + 1);
  ++run_;
  if (run_ == mark_.sent.size()) {
    look_ = Look::front_again;
    return;
  }
  const auto& first = mark_.sent[run_].first;
  next_ = first.segno(mark_.segment_size);
  after_ = layout_.before(first, mark_.segment_size);
}

/// The store's first segment may precede the mark, which is rebuilt from the store if it is lost.
/// Checked again at the end: a prune may have run meanwhile.
void Audit::take_front(const ObjectPage& page) {
  look_ = look_ == Look::front ? Look::runs : Look::over;
  for (const auto& object : page.objects) {
    const auto name = layout_.file_of(object.key);
    const auto file = name ? archive::SegmentFileName::parse(*name) : std::nullopt;
    if (!file || file->partial || !file->segment.fits(mark_.segment_size)) continue;
    first_ = file->segment;
    break;
  }
  if (look_ == Look::over)
    std::erase_if(missing_, [this](const auto& name) { return before_front(name); });
}

void Audit::take(const ObjectPage& page) {
  if (look_ != Look::runs) return take_front(page);
  const auto& run = mark_.sent[run_];
  for (const auto& object : page.objects) {
    after_ = object.key;
    const auto name = layout_.file_of(object.key);
    const auto file = name ? archive::SegmentFileName::parse(*name) : std::nullopt;
    if (!file || file->partial || !file->segment.fits(mark_.segment_size) ||
        file->segment < run.first)
      continue;
    if (!first_) {
      first_ = file->segment;
      if (!emptied_) missing_.clear();
    }
    if (run.last < file->segment) return end_run();
    const auto segno = file->segment.segno(mark_.segment_size);
    miss(segno);
    next_ = std::max(next_, segno + 1);
  }
  if (!page.more || page.objects.empty()) end_run();
}

}  // namespace weir::store

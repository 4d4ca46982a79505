#include "store/send/stored_end.h"

#include <algorithm>

#include "archive/timelines.h"

namespace weir::store {

namespace {

/// A recovery along the history reads it. All else is of an abandoned branch: the server does not
/// have it, so what the server retains does not replace it.
bool is_read_along(const wal::TimelineHistory& history, const UploadItem& item,
                   wal::SegmentSize size) {
  if (!item.segment) return history.contains(item.timeline);
  return archive::timeline_of_segment(history, item.segment->segno(size), size) == item.timeline;
}

}  // namespace

void StoredEnd::begin(const Stream& stream, const std::set<UploadItem>& finished, const Mark& mark,
                      const std::optional<wal::TimelineHistory>& history) {
  stream_ = stream;
  before_.clear();
  gone_.clear();
  next_ = mark.segment_size.segno(stream.start);
  last_ = {};
  for (const auto& item : finished)
    if ((!item.segment || item.segment->segno(mark.segment_size) < next_) && !has(mark, item) &&
        (!history || is_read_along(*history, item, mark.segment_size)))
      before_.insert(item);
}

void StoredEnd::end() { stream_.reset(); }

void StoredEnd::gone(const UploadItem& item) {
  before_.erase(item);
  if (item.segment) gone_.insert(*item.segment);
}

std::vector<UploadItem> StoredEnd::waits_for(const Mark& mark, wal::Lsn durable) const {
  std::vector<UploadItem> items;
  if (!stream_) return items;
  const auto& size = mark.segment_size;
  for (const auto& item : before_)
    if (!has(mark, item)) items.push_back(item);
  for (auto segno = next_; size.start(segno + 1) <= durable; ++segno) {
    const wal::SegmentName segment(stream_->timeline, segno, size);
    if (!mark.has(segment) && !gone_.contains(segment))
      items.push_back({stream_->timeline, segment});
  }
  return items;
}

void StoredEnd::on_open(wal::SegmentName segment, wal::Lsn end) { open_ = Open{segment, end}; }

std::optional<StoredEnd::Position> StoredEnd::position(const Mark& mark) {
  if (!stream_) return std::nullopt;
  const auto& size = mark.segment_size;
  std::erase_if(before_, [&](const UploadItem& item) { return has(mark, item); });
  if (!before_.empty()) {
    // A segment is useless without its timeline's history.
    auto first = stream_->start;
    for (const auto& item : before_)
      first = std::min(first, item.segment ? item.segment->start(size) : wal::Lsn());
    if (!first.valid()) return std::nullopt;
    last_ = std::max(last_, first);
    return Position{stream_->timeline, last_};
  }
  const auto at = [&](std::uint64_t segno) {
    return wal::SegmentName(stream_->timeline, segno, size);
  };
  while (mark.has(at(next_)) || gone_.contains(at(next_))) ++next_;
  auto end = size.start(next_);
  if (open_ && open_->segment == at(next_)) end = std::max(end, open_->end);
  last_ = std::max(last_, end);
  return Position{stream_->timeline, last_};
}

}  // namespace weir::store

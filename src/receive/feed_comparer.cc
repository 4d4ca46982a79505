#include "receive/feed_comparer.h"

#include <algorithm>

#include "base/error.h"
#include "wal/page.h"
#include "wal/records.h"

namespace weir::receive {

namespace {

/// The position after `count` bytes of a record from `at`, which may be a page's first byte: page
/// headers do not count.
wal::Lsn behind_content(wal::Lsn at, std::uint64_t count, wal::SegmentSize size) {
  while (count > 0) {
    const auto in_page = at.byte() % wal::kPageSize;
    if (in_page == 0)
      at = at + (size.offset(at) == 0 ? wal::kLongHeaderSize : wal::kShortHeaderSize);
    const auto taken = std::min(count, wal::kPageSize - at.byte() % wal::kPageSize);
    at = at + taken;
    count -= taken;
  }
  return at;
}

constexpr std::uint64_t kAlignment = 8;
wal::Lsn aligned(wal::Lsn at) {
  return wal::Lsn((at.byte() + kAlignment - 1) / kAlignment * kAlignment);
}

}  // namespace

void FeedComparer::Frames::on_record(wal::Lsn start, wal::Lsn end, const wal::RecordHeader& header,
                                     std::span<const std::byte> /*body*/) {
  Frame frame{.start = start,
              .end = end,
              .raw_end = behind_content(start, header.total_length, size_),
              .resource_manager = header.resource_manager};
  if (wal::is_xlog(header, wal::XlogRecord::segment_switch) && size_.offset(end) != 0)
    frame.end = size_.start_of(end) + size_.bytes();
  frames.push_back(frame);
}

FeedComparer::FeedComparer(wal::SegmentSize segment_size, wal::TimelineId timeline, wal::Lsn start)
    : size_(segment_size),
      timeline_(timeline),
      start_(start),
      archive_frames_(segment_size),
      other_frames_(segment_size),
      archive_({.segment_size = segment_size, .timeline = timeline, .observer = &archive_frames_},
               start),
      other_({.segment_size = segment_size, .timeline = timeline, .observer = &other_frames_},
             start),
      position_(start),
      settled_(start) {
  PGWEIR_CHECK(size_.offset(start) == 0);
}

std::optional<FeedDifference> FeedComparer::feed(std::span<const std::byte> archive,
                                                 std::span<const std::byte> other) {
  PGWEIR_CHECK(archive.size() == other.size());
  const Piece piece{position_, archive, other};
  if (!found_) {
    archive_frames_.frames.clear();
    other_frames_.frames.clear();
    archive_damage_ = archive_.feed(archive);
  }
  other_damage_ = other_.feed(other);
  position_ = piece.end();
  if (!found_) compare(piece);
  return found_ && resolved() ? found_ : std::nullopt;
}

void FeedComparer::compare(const Piece& piece) {
  judge_continuation(piece);
  if (found_) return;
  for (const auto& frame : archive_frames_.frames) {
    if (judge(piece, frame.raw_end,
              {.archive = {frame.start, frame.end}, .resource_manager = frame.resource_manager}))
      return;
    settled_ = frame.end;
  }
  if (archive_damage_) {
    if (judge(piece, piece.end(), {.archive = {archive_damage_->at, {}}})) return;
    // The same bytes, but not a record: neither is right.
    found_ = {.timeline = timeline_,
              .at = archive_damage_->found_at,
              .archive = {archive_damage_->at, {}},
              .other = {archive_damage_->at, {}}};
    return;
  }
  if (open_ && open_->at < settled_) open_.reset();
  if (!open_) open_ = first_difference(piece, settled_, piece.end());
}

/// The record that started before the stream: the first page has its remaining length.
void FeedComparer::judge_continuation(const Piece& piece) {
  if (front_.size() < wal::kLongHeaderSize) {
    const auto wanted =
        std::min<std::size_t>(wal::kLongHeaderSize - front_.size(), piece.archive.size());
    front_.insert(front_.end(), piece.archive.begin(),
                  piece.archive.begin() + static_cast<std::ptrdiff_t>(wanted));
    if (front_.size() < wal::kLongHeaderSize) return;
    const auto page = wal::decode_page_header(front_);
    if (page && page->first_is_continuation() && page->remaining > 0)
      continuation_ = behind_content(start_, page->remaining, size_);
  }
  // A page may have overwritten its continuation.
  const auto& frames = archive_frames_.frames;
  if (continuation_ && !frames.empty() && frames.front().start < *continuation_)
    continuation_.reset();
  if (!continuation_ || *continuation_ > piece.end()) return;
  if (judge(piece, *continuation_, {})) return;
  settled_ = aligned(*continuation_);
  continuation_.reset();
}

/// Compares everything between the settled position and `to`. Returns true if a difference was
/// found.
bool FeedComparer::judge(const Piece& piece, wal::Lsn to, const FeedDifference& as) {
  auto differs = open_ && open_->at >= settled_ && open_->at < to
                     ? open_
                     : first_difference(piece, settled_, to);
  if (!differs) return false;
  found_ = as;
  found_->timeline = timeline_;
  found_->at = differs->at;
  found_->archive_byte = differs->archive;
  found_->other_byte = differs->other;
  return true;
}

std::optional<FeedComparer::Byte> FeedComparer::first_difference(const Piece& piece, wal::Lsn from,
                                                                 wal::Lsn to) {
  from = std::max(from, piece.begin);
  to = std::min(to, piece.end());
  if (from >= to) return std::nullopt;
  const auto skipped = static_cast<std::size_t>(from - piece.begin);
  const auto count = static_cast<std::size_t>(to - from);
  const auto archive = piece.archive.subspan(skipped, count);
  const auto other = piece.other.subspan(skipped, count);
  const auto [left, right] = std::mismatch(archive.begin(), archive.end(), other.begin());
  if (left == archive.end()) return std::nullopt;
  return Byte{from + static_cast<std::uint64_t>(left - archive.begin()), *left, *right};
}

/// Whether the other record is known.
bool FeedComparer::resolved() {
  using Checksums = FeedDifference::Checksums;
  auto& found = *found_;
  for (const auto& frame : other_frames_.frames) {
    if (found.at >= frame.end) continue;
    if (frame.start <= found.at ||
        (found.archive.start.valid() && frame.start == found.archive.start)) {
      found.other = {frame.start, frame.end};
      found.checksums = archive_damage_             ? Checksums::archive_fails
                        : found.archive.end.valid() ? Checksums::both_pass
                                                    : Checksums::not_checked;
    }
    // Otherwise it is in a page's header, or in the record that started before the stream.
    return true;
  }
  if (other_damage_) {
    found.other = {other_damage_->at, {}};
    found.checksums = archive_damage_ ? Checksums::both_fail : Checksums::other_fails;
    return true;
  }
  // Behind a magic that looks like a newer version's, no record is found; nor are longer records
  // searched for.
  if (other_.unchecked()) return true;
  constexpr std::uint64_t kMost = std::uint64_t{16} << 20;
  return position_ - found.at > kMost;
}

}  // namespace weir::receive

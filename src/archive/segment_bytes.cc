#include "archive/segment_bytes.h"

#include <algorithm>
#include <array>

#include "base/error.h"

namespace weir::archive {

std::unique_ptr<SegmentBytes> SegmentBytes::open(io::Shelf& shelf, const SegmentFileName& name,
                                                 wal::SegmentSize segment_size,
                                                 codec::Checksums checksums) {
  const auto file_name = name.to_string();
  auto file = shelf.open_bytes(file_name);
  if (!file) return nullptr;
  auto path = shelf.path_of(file_name);
  if (name.method == codec::Method::none) {
    const auto expected = segment_size.bytes();
    const auto found = file->size();
    if (name.partial ? found > expected : found != expected)
      throw Error(ErrorKind::damage, "unexpected size of a segment file")
          .with("file", path)
          .with(name.partial ? "expected at most" : "expected", expected)
          .with("found", found);
  }
  return std::unique_ptr<SegmentBytes>(
      new SegmentBytes(std::move(file), std::move(path), name, segment_size, checksums));
}

std::size_t SegmentBytes::read_at(std::uint64_t offset, std::span<std::byte> bytes) {
  if (offset >= size()) return 0;
  bytes = bytes.first(std::min<std::uint64_t>(bytes.size(), size() - offset));
  if (bytes.empty()) return 0;
  if (name_.method != codec::Method::none) return unpack_at(offset, bytes);
  const auto count = file_->read_at(offset, bytes);
  if (count < bytes.size() && !name_.partial)
    throw Error(ErrorKind::damage, "the segment file became shorter while it was read")
        .with("file", path_)
        .with("expected", size())
        .with("found", offset + count);
  return count;
}

std::size_t SegmentBytes::unpack_at(std::uint64_t offset, std::span<std::byte> bytes) {
  try {
    if (!content_ || offset != position_) enter(offset);
    std::vector<std::byte> skipped;
    while (position_ < offset) {
      skipped.resize(std::min<std::uint64_t>(codec::kOutput, offset - position_));
      if (unpack(skipped) < skipped.size()) return 0;  // a partial one ends before
    }
    return unpack(bytes);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::damage) throw;
    Error placed(error.kind(), error.what());
    placed.with("file", path_).with("offset in the file", content_ ? content_->offset() : 0);
    placed.with("offset in the segment", position_);
    throw placed;
  }
}

/// Positions at `offset`, or as close before it as possible.
void SegmentBytes::enter(std::uint64_t offset) {
  if (!frames_ && offset > 0 && !name_.partial)
    frames_ = codec::find_frames(
        name_.method,
        [&](std::uint64_t at, std::span<std::byte> bytes) { return file_->read_at(at, bytes); },
        file_->size(), size());
  codec::Frame entry;
  if (frames_)
    for (const auto& frame : *frames_)
      if (frame.content_offset <= offset) entry = frame;
  if (content_ && position_ <= offset && entry.content_offset <= position_) return;
  content_.emplace(
      *file_, name_.method,
      ContentReader::Options{
          .from = entry.offset, .checksums = checksums_, .may_break_off = name_.partial});
  position_ = entry.content_offset;
}

std::size_t SegmentBytes::unpack(std::span<std::byte> bytes) {
  const auto count = content_->read(bytes);
  position_ += count;
  if (name_.partial) return count;
  if (count < bytes.size())
    throw Error(ErrorKind::damage, "unexpected size of a segment's content")
        .with("expected", size())
        .with("found", position_);
  // The end of the file must be valid, too, and nothing may follow.
  std::array<std::byte, 1> more{};
  if (position_ == size() && content_->read(more) != 0)
    throw Error(ErrorKind::damage, "the content is longer than a segment").with("expected", size());
  return count;
}

}  // namespace weir::archive

#include "archive/border.h"

#include <array>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "archive/history_store.h"
#include "archive/listing.h"
#include "archive/segment_reader.h"
#include "base/error.h"
#include "codec/codec.h"
#include "wal/page.h"

namespace weir::archive {

namespace {

using codec::Method;
using wal::Lsn;

constexpr std::size_t kReadAtOnce = 64 * 1024;
constexpr int kLooks = 5;

/// A finished segment, in the form that is there.
struct Finished {
  SegmentFileName name;
  Lsn start;
};

std::optional<Finished> find_finished(io::Directory& directory, wal::TimelineId timeline, Lsn start,
                                      wal::SegmentSize size) {
  const wal::SegmentName segment(timeline, size.segno(start), size);
  // The raw form goes when another one is durable.
  for (const auto method : {Method::none, Method::zstd, Method::lz4, Method::gzip}) {
    const SegmentFileName name{segment, method, false};
    if (directory.find(name.to_string())) return Finished{name, start};
  }
  return std::nullopt;
}

/// The record that a segment begins in goes on to its end or further: no record begins in it.
bool filled_by_one_record(const wal::PageHeader& first_page, wal::SegmentSize size) {
  const auto pages = size.bytes() / wal::kPageSize;
  const auto room =
      size.bytes() - wal::kLongHeaderSize - (pages - 1) * std::uint64_t{wal::kShortHeaderSize};
  return first_page.first_is_continuation() && first_page.remaining >= room;
}

/// The last page of a raw segment in which a record begins, as far as the page headers tell.
Lsn last_page_with_a_record(io::File& file, Lsn segment, wal::SegmentSize size) {
  std::array<std::byte, wal::kLongHeaderSize> bytes{};
  for (auto offset = size.bytes() - wal::kPageSize; offset > 0; offset -= wal::kPageSize) {
    const auto count = file.read_at(offset, bytes);
    const auto page = wal::decode_page_header(std::span(bytes).first(count));
    const bool filled =
        page && page->first_is_continuation() && page->remaining >= wal::kPageSize - page->size();
    if (!filled) return segment + offset;
  }
  return segment;
}

/// False if what is read ends in damage.
bool feed(io::Directory& directory, const Finished& segment, wal::RecordVerifier& verifier,
          wal::SegmentSize size) {
  bool sound = true;
  if (segment.name.method == Method::none) {
    const auto file = directory.open_for_reading(segment.name.to_string());
    if (!file)
      throw Error(ErrorKind::io, "the segment file is gone").with("file", segment.name.to_string());
    if (file->size() != size.bytes()) return false;
    std::vector<std::byte> buffer(kReadAtOnce);
    for (auto at = verifier.position() - segment.start; sound && at < size.bytes();) {
      const auto count = file->read_at(at, buffer);
      sound = count != 0 && !verifier.feed(std::span(buffer).first(count));
      at += count;
    }
    return sound;
  }
  read_segment(directory, segment.name, size, [&](std::span<const std::byte> wal) {
    if (sound && verifier.feed(wal)) sound = false;
  });
  return sound;
}

/// The timeline that the byte at `lsn` is of, by the archive's history of `timeline`.
wal::TimelineId timeline_at(io::Directory& directory, wal::TimelineId timeline, Lsn lsn) {
  const auto content = read_history(directory, timeline);
  const auto history = content ? wal::TimelineHistory::parse(timeline, *content) : std::nullopt;
  return history ? history->timeline_of(lsn) : timeline;
}

/// The segment of that timeline, or of the ancestor that it was written on: before the first
/// segment of a timeline there is only an ancestor's.
std::optional<Finished> find_in_history(io::Directory& directory, wal::TimelineId timeline,
                                        Lsn start, wal::SegmentSize size) {
  if (auto found = find_finished(directory, timeline, start, size)) return found;
  // The last byte tells: behind a switch in it the ancestor's segment has other WAL.
  const auto ancestor = timeline_at(directory, timeline, Lsn(start.byte() + size.bytes() - 1));
  return ancestor == timeline ? std::nullopt : find_finished(directory, ancestor, start, size);
}

/// nullopt if the segments before `start` cannot tell.
std::optional<wal::RecordVerifier> read_up_to(io::Directory& directory,
                                              const wal::RecordVerifier::Options& options,
                                              Lsn start) {
  const auto& size = options.segment_size;
  std::vector<Finished> segments;  // the newest first
  for (bool found = false; !found;) {
    const auto behind = segments.empty() ? start : segments.back().start;
    if (size.segno(behind) == 0) return std::nullopt;
    const auto segment =
        find_in_history(directory, options.timeline, Lsn(behind.byte() - size.bytes()), size);
    if (!segment) return std::nullopt;
    const auto page = read_first_page_header(directory, segment->name);
    if (!page) return std::nullopt;
    segments.push_back(*segment);
    found = !filled_by_one_record(*page, size);
  }
  auto begin = segments.back().start;
  if (segments.back().name.method == Method::none)
    if (const auto file = directory.open_for_reading(segments.back().name.to_string());
        file && file->size() == size.bytes())
      begin = last_page_with_a_record(*file, begin, size);
  wal::RecordVerifier verifier(options, begin);
  for (auto segment = segments.rbegin(); segment != segments.rend(); ++segment)
    if (!feed(directory, *segment, verifier, size)) return std::nullopt;
  return verifier;
}

}  // namespace

wal::RecordVerifier verifier_at(io::Directory& directory,
                                const wal::RecordVerifier::Options& options, Lsn start) {
  const wal::RecordVerifier fresh(options, start);
  if (fresh.unchecked()) return fresh;
  for (int look = 1;; ++look) {
    try {
      if (auto verifier = read_up_to(directory, options, start)) return std::move(*verifier);
      return fresh;
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::damage) return fresh;
      // The compressor may have given a segment its other form meanwhile.
      if (look == kLooks) throw;
    }
  }
}

}  // namespace weir::archive

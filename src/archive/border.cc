#include "archive/border.h"

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "archive/forms.h"
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
/// Of the WAL before the last page with a record so much is in a tail, too: an xlog switch that
/// stands alone on its page is the same on every server whose WAL comes up to there.
constexpr std::uint64_t kPagesBefore = 7 * wal::kPageSize;
/// A record may be as long as a segment or longer; to compare so much of it is enough.
constexpr std::uint64_t kMostOfALongRecord = 1024 * 1024;

/// A finished segment, in the form that is there.
struct Finished {
  SegmentFileName name;
  Lsn start;
};

std::optional<Finished> find_finished(io::Shelf& directory, wal::TimelineId timeline, Lsn start,
                                      wal::SegmentSize size) {
  const auto name =
      archive::find_finished(directory, wal::SegmentName(timeline, size.segno(start), size));
  return name ? std::optional(Finished{*name, start}) : std::nullopt;
}

/// The record that a segment begins in goes on to its end or further: no record begins in it.
bool filled_by_one_record(const wal::PageHeader& first_page, wal::SegmentSize size) {
  const auto pages = size.bytes() / wal::kPageSize;
  const auto room =
      size.bytes() - wal::kLongHeaderSize - (pages - 1) * std::uint64_t{wal::kShortHeaderSize};
  return first_page.first_is_continuation() && first_page.remaining >= room;
}

/// A record begins on this page, as far as the page itself tells. `front`: its first bytes.
bool has_record(io::Bytes& file, std::uint64_t offset, std::span<const std::byte> front) {
  const auto page = wal::decode_page_header(front);
  if (!page || page->magic == 0) return false;  // behind an xlog switch
  std::uint64_t at = page->size();
  if (page->first_is_continuation()) at += (page->remaining + 7) & ~std::uint64_t{7};
  if (at >= wal::kPageSize) return false;
  // A record begins with its length. Behind an xlog switch are zeros, perhaps below a page header.
  std::array<std::byte, sizeof(std::uint32_t)> length{};
  if (at + length.size() <= front.size())
    std::copy_n(front.begin() + static_cast<std::ptrdiff_t>(at), length.size(), length.begin());
  else if (file.read_at(offset + at, length) != length.size())
    return false;
  return std::any_of(length.begin(), length.end(),
                     [](std::byte byte) { return byte != std::byte{0}; });
}

/// The last page of a raw segment, before `end`, in which a record begins, as far as the pages
/// tell; else its first page.
Lsn last_page_with_a_record(io::Bytes& file, Lsn segment, Lsn end) {
  std::array<std::byte, wal::kLongHeaderSize + sizeof(std::uint32_t)> front{};
  for (auto offset = (end - segment - 1) / wal::kPageSize * wal::kPageSize; offset > 0;
       offset -= wal::kPageSize) {
    const auto count = file.read_at(offset, front);
    if (has_record(file, offset, std::span(front).first(count))) return segment + offset;
  }
  return segment;
}

/// False if what is read, up to `end`, ends in damage.
bool feed(io::Shelf& directory, const Finished& segment, wal::RecordVerifier& verifier,
          wal::SegmentSize size, Lsn end) {
  const auto upto = std::min(size.bytes(), end - segment.start);
  bool sound = true;
  if (segment.name.method == Method::none) {
    const auto file = directory.open_bytes(segment.name.to_string());
    if (!file)
      throw Error(ErrorKind::io, "the segment file is gone").with("file", segment.name.to_string());
    if (file->size() != size.bytes()) return false;
    std::vector<std::byte> buffer(kReadAtOnce);
    for (auto at = verifier.position() - segment.start; sound && at < upto;) {
      const auto count = file->read_at(
          at, std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), upto - at)));
      sound = count != 0 && !verifier.feed(std::span(buffer).first(count));
      at += count;
    }
    return sound;
  }
  std::uint64_t at = 0;
  read_segment(directory, segment.name, size, [&](std::span<const std::byte> wal) {
    const auto wanted = wal.first(std::min<std::uint64_t>(wal.size(), upto - at));
    at += wanted.size();
    sound = !verifier.feed(wanted);
    return sound;
  });
  return sound;
}

/// The timeline that the byte at `lsn` is of, by the archive's history of `timeline`.
wal::TimelineId timeline_at(io::Shelf& directory, wal::TimelineId timeline, Lsn lsn) {
  const auto content = read_history(directory, timeline);
  const auto history = content ? wal::TimelineHistory::parse(timeline, *content) : std::nullopt;
  return history ? history->timeline_of(lsn) : timeline;
}

/// The segment that lies before `end`, of that timeline or of the ancestor that it was written on:
/// before the first segment of a timeline there is only an ancestor's.
std::optional<Finished> find_in_history(io::Shelf& directory, wal::TimelineId timeline, Lsn end,
                                        wal::SegmentSize size) {
  if (end.byte() <= size.bytes()) return std::nullopt;
  const Lsn last(end.byte() - 1);
  const auto start = size.start_of(last);
  if (auto found = find_finished(directory, timeline, start, size)) return found;
  // The last byte tells: behind a switch in it the ancestor's segment has other WAL.
  const auto ancestor = timeline_at(directory, timeline, last);
  return ancestor == timeline ? std::nullopt : find_finished(directory, ancestor, start, size);
}

/// What the segments before a place tell.
struct Reading {
  Finished newest;
  wal::RecordVerifier verifier;  ///< has read up to there, and knows the last record
};

struct Attempt {
  wal::RecordVerifier verifier;
  bool sound = true;
  [[nodiscard]] bool knows_a_record() const { return verifier.newest_record_start().valid(); }
};

/// From the last page with a record of the oldest of `segments` (the newest first) up to `end`.
Attempt read_segments(io::Shelf& directory, const std::vector<Finished>& segments,
                      const wal::RecordVerifier::Options& options, Lsn end) {
  const auto& size = options.segment_size;
  const auto& oldest = segments.back();
  const auto read_from = [&](Lsn begin) {
    Attempt attempt{wal::RecordVerifier(options, begin)};
    for (auto segment = segments.rbegin(); attempt.sound && segment != segments.rend(); ++segment)
      attempt.sound = feed(directory, *segment, attempt.verifier, size, end);
    return attempt;
  };
  if (oldest.name.method == Method::none)
    if (const auto file = directory.open_bytes(oldest.name.to_string());
        file && file->size() == size.bytes()) {
      const auto upto = std::min(end, oldest.start + size.bytes());
      auto attempt = read_from(last_page_with_a_record(*file, oldest.start, upto));
      // Else: what lies behind an xlog switch may look like anything.
      if (attempt.sound && attempt.knows_a_record()) return attempt;
    }
  return read_from(oldest.start);
}

/// nullopt if the segments before `end` cannot tell.
std::optional<Reading> read_up_to(io::Shelf& directory, const wal::RecordVerifier::Options& options,
                                  Lsn end) {
  const auto& size = options.segment_size;
  std::vector<Finished> segments;  // the newest first
  for (;;) {
    const auto segment = find_in_history(directory, options.timeline,
                                         segments.empty() ? end : segments.back().start, size);
    if (!segment) return std::nullopt;
    const auto page = read_first_page_header(directory, segment->name);
    if (!page) return std::nullopt;
    segments.push_back(*segment);
    if (filled_by_one_record(*page, size)) continue;
    auto attempt = read_segments(directory, segments, options, end);
    if (attempt.knows_a_record())
      return attempt.sound ? std::optional(Reading{segments.front(), std::move(attempt.verifier)})
                           : std::nullopt;
    // No record begins in what an xlog switch leaves that crosses a border.
    if (!page->first_is_continuation()) return std::nullopt;
  }
}

/// `look` is tried again where a segment is given another form meanwhile; nullopt for damage.
template <typename Look>
auto look_again(const Look& look) -> decltype(look()) {
  for (int times = 1;; ++times) {
    try {
      return look();
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::damage) return std::nullopt;
      if (times == kLooks) throw;
    }
  }
}

std::vector<std::byte> read_wal(io::Shelf& directory, const Finished& segment,
                                wal::SegmentSize size, Lsn begin, Lsn end) {
  std::vector<std::byte> wal;
  wal.reserve(end - begin);
  if (segment.name.method == Method::none) {
    const auto file = directory.open_bytes(segment.name.to_string());
    if (!file)
      throw Error(ErrorKind::io, "the segment file is gone").with("file", segment.name.to_string());
    wal.resize(end - begin);
    wal.resize(file->read_at(begin - segment.start, wal));
  } else {
    read_segment_from(directory, segment.name, size, begin - segment.start,
                      [&](std::span<const std::byte> piece) {
                        const auto wanted = piece.first(
                            std::min<std::uint64_t>(piece.size(), end - begin - wal.size()));
                        wal.insert(wal.end(), wanted.begin(), wanted.end());
                        return true;  // up to the checksum at the end
                      });
  }
  return wal;
}

/// Where all of the segment is of one record, the bytes before `end` are its own. It may begin in a
/// segment that the archive no longer has.
std::optional<Tail> tail_of_a_long_record(io::Shelf& directory,
                                          const wal::RecordVerifier::Options& options, Lsn end) {
  const auto& size = options.segment_size;
  const auto segment = find_in_history(directory, options.timeline, end, size);
  if (!segment) return std::nullopt;
  const auto page = read_first_page_header(directory, segment->name);
  if (!page || !filled_by_one_record(*page, size)) return std::nullopt;
  const auto begin = std::max(
      segment->start, Lsn((end.byte() - 1) / wal::kPageSize * wal::kPageSize - kPagesBefore));
  return Tail{segment->name.to_string(), segment->name.segment.timeline(), begin,
              read_wal(directory, *segment, size, begin, end)};
}

std::optional<Tail> read_tail(io::Shelf& directory, const wal::RecordVerifier::Options& options,
                              Lsn end) {
  const auto reading = read_up_to(directory, options, end);
  if (!reading) return tail_of_a_long_record(directory, options, end);
  const auto& verifier = reading->verifier;
  const auto& segment = reading->newest;
  const auto stop = verifier.inside_record() ? end : std::min(verifier.records_end(), end);
  const auto page = verifier.newest_record_start().byte() / wal::kPageSize * wal::kPageSize;
  const auto begin =
      std::max({segment.start, Lsn(std::max(page, kPagesBefore) - kPagesBefore),
                Lsn(std::max(stop.byte(), kMostOfALongRecord) - kMostOfALongRecord)});
  // (A switch record that only ends in this segment may leave nothing of it to be compared.)
  const Lsn first_page(begin.byte() / wal::kPageSize * wal::kPageSize);
  if (stop <= first_page) return std::nullopt;
  return Tail{segment.name.to_string(), segment.name.segment.timeline(), first_page,
              read_wal(directory, segment, options.segment_size, first_page, stop), verifier};
}

}  // namespace

wal::RecordVerifier verifier_at(io::Shelf& directory, const wal::RecordVerifier::Options& options,
                                Lsn start) {
  wal::RecordVerifier fresh(options, start);
  if (fresh.unchecked()) return fresh;
  auto reading = look_again([&] { return read_up_to(directory, options, start); });
  return reading ? std::move(reading->verifier) : fresh;
}

std::optional<Tail> tail_before(io::Shelf& directory, const wal::RecordVerifier::Options& options,
                                Lsn end) {
  if (wal::RecordVerifier(options, options.segment_size.start_of(end)).unchecked())
    return std::nullopt;
  return look_again([&] { return read_tail(directory, options, end); });
}

}  // namespace weir::archive

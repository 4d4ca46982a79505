// The end of the archive is compared, not only linked. After a complete segment the archive has
// nothing to compare with new WAL, and idle servers write WAL of the same layout, so that even the
// links between records match. Therefore, once on each connection, the server is asked for the last
// pages before that position (`step::CompareTail`, `archive::tail_before`), without the slot, and
// without a flush position, which a primary might count for a synchronous commit. Bytes after an
// xlog switch have no meaning and are not compared. If the archive is past a timeline switch, it is
// compared up to the switchpoint. This also keeps a different server's history file out of the
// archive, because it is stored only afterwards. If the server no longer has those pages, the link
// to the last record decides (`archive::verifier_at`, `Intake`); it is carried through the zeros.

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
#include "archive/look_again.h"
#include "archive/segment_reader.h"
#include "archive/wal_reader.h"
#include "base/buffer.h"
#include "base/error.h"
#include "codec/codec.h"
#include "wal/page.h"

namespace weir::archive {

namespace {

using codec::Method;
using wal::Lsn;

constexpr std::size_t kReadAtOnce = 64 * 1024;
/// If the WAL before the last page with a record is available, the tail includes this much of it:
/// an xlog switch that is alone on its page is the same on every server whose WAL reaches it.
constexpr std::uint64_t kPagesBefore = 7 * wal::kPageSize;
/// A record may be as long as a segment or longer; to compare so much of it is enough.
constexpr std::uint64_t kMostOfALongRecord = 1024 * 1024;

/// A complete segment, in its current format.
struct Finished {
  SegmentFileName name;
  Lsn start;
};

/// True if the record continued at the segment's start reaches its end: no record starts in the
/// segment.
bool filled_by_one_record(const wal::PageHeader& first_page, wal::SegmentSize size) {
  const auto pages = size.bytes() / wal::kPageSize;
  const auto room =
      size.bytes() - wal::kLongHeaderSize - (pages - 1) * std::uint64_t{wal::kShortHeaderSize};
  return first_page.first_is_continuation() && first_page.remaining >= room;
}

/// True if a record starts on this page, as far as the page itself shows. `front`: its first bytes.
bool has_record(io::Bytes& file, std::uint64_t offset, std::span<const std::byte> front) {
  const auto page = wal::decode_page_header(front);
  if (!page || page->magic == 0) return false;  // after an xlog switch
  std::uint64_t at = page->size();
  if (page->first_is_continuation()) at += (page->remaining + 7) & ~std::uint64_t{7};
  if (at >= wal::kPageSize) return false;
  // A record starts with its length. After an xlog switch there are zeros, perhaps after a page
  // header.
  std::array<std::byte, sizeof(std::uint32_t)> length{};
  if (at + length.size() <= front.size())
    std::copy_n(front.begin() + static_cast<std::ptrdiff_t>(at), length.size(), length.begin());
  else if (file.read_at(offset + at, length) != length.size())
    return false;
  return std::any_of(length.begin(), length.end(),
                     [](std::byte byte) { return byte != std::byte{0}; });
}

/// The last page of a raw segment, before `end`, on which a record starts, as far as the pages
/// show; otherwise its first page.
Lsn last_page_with_a_record(io::Bytes& file, Lsn segment, Lsn end) {
  std::array<std::byte, wal::kLongHeaderSize + sizeof(std::uint32_t)> front{};
  for (auto offset = (end - segment - 1) / wal::kPageSize * wal::kPageSize; offset > 0;
       offset -= wal::kPageSize) {
    const auto count = file.read_at(offset, front);
    if (has_record(file, offset, std::span(front).first(count))) return segment + offset;
  }
  return segment;
}

/// If the format of a segment has changed meanwhile, the caller retries.
Error gone(const WalReader& reader, Lsn at) {
  return Error(ErrorKind::io, "the segment file is gone")
      .with("file", reader.segment_at(at).to_string());
}

/// False if what is read, up to `end`, ends in damage.
bool feed(WalReader& reader, wal::RecordVerifier& verifier, Lsn end) {
  if (verifier.position() >= end) return true;
  Buffer buffer(std::min<std::uint64_t>(kReadAtOnce, end - verifier.position()));
  while (verifier.position() < end) {
    const auto at = verifier.position();
    const auto read =
        reader.read(at, std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), end - at)));
    if (read.state == WalReader::State::gone) throw gone(reader, at);
    if (read.state != WalReader::State::bytes || verifier.feed(std::span(buffer).first(read.count)))
      return false;
  }
  return true;
}

/// A reader for the archive's WAL along the history of `options.timeline`, as far as it exists.
WalReader open_reader(io::Shelf& archive, const wal::RecordVerifier::Options& options) {
  const auto content = read_history(archive, options.timeline);
  return WalReader(archive,
                   {.segment_size = options.segment_size,
                    .timeline = options.timeline,
                    .history = content ? wal::TimelineHistory::parse(options.timeline, *content)
                                       : std::nullopt});
}

/// The segment that ends at `end`, of that timeline or of the ancestor that it was written on.
/// Before the first segment of a timeline there is only an ancestor's segment, and after a
/// switchpoint within it, the ancestor's segment has different WAL.
std::optional<Finished> find_in_history(io::Shelf& directory, const WalReader& reader, Lsn end,
                                        wal::SegmentSize size) {
  if (end.byte() <= size.bytes()) return std::nullopt;
  const Lsn last(end.byte() - 1);
  const auto name = find_finished(directory, reader.segment_at(last));
  return name ? std::optional(Finished{*name, size.start_of(last)}) : std::nullopt;
}

/// The result of reading the segments before a position.
struct Reading {
  Finished newest;
  wal::RecordVerifier verifier;  ///< has read up to there, and knows the last record
};

struct Attempt {
  wal::RecordVerifier verifier;
  bool sound = true;
  [[nodiscard]] bool knows_a_record() const { return verifier.newest_record_start().valid(); }
};

/// From the last page with a record of the oldest segment up to `end`.
Attempt read_segments(io::Shelf& directory, WalReader& reader, const Finished& oldest,
                      const wal::RecordVerifier::Options& options, Lsn end) {
  const auto& size = options.segment_size;
  const auto read_from = [&](Lsn begin) {
    Attempt attempt{wal::RecordVerifier(options, begin)};
    attempt.sound = feed(reader, attempt.verifier, end);
    return attempt;
  };
  if (oldest.name.method == Method::none)
    if (const auto file = directory.open_bytes(oldest.name.to_string());
        file && file->size() == size.bytes()) {
      const auto upto = std::min(end, oldest.start + size.bytes());
      auto attempt = read_from(last_page_with_a_record(*file, oldest.start, upto));
      // Otherwise: the bytes after an xlog switch can have any content.
      if (attempt.sound && attempt.knows_a_record()) return attempt;
    }
  return read_from(oldest.start);
}

/// nullopt if the segments before `end` are not sufficient.
std::optional<Reading> read_up_to(io::Shelf& directory, const wal::RecordVerifier::Options& options,
                                  Lsn end) {
  const auto& size = options.segment_size;
  auto reader = open_reader(directory, options);
  std::optional<Finished> newest;
  for (auto before = end;;) {
    const auto segment = find_in_history(directory, reader, before, size);
    if (!segment) return std::nullopt;
    const auto page = read_first_page_header(directory, segment->name);
    if (!page) return std::nullopt;
    if (!newest) newest = segment;
    before = segment->start;
    if (filled_by_one_record(*page, size)) continue;
    auto attempt = read_segments(directory, reader, *segment, options, end);
    if (attempt.knows_a_record())
      return attempt.sound ? std::optional(Reading{*newest, std::move(attempt.verifier)})
                           : std::nullopt;
    // No record starts in the remainder of an xlog switch that crosses a boundary.
    if (!page->first_is_continuation()) return std::nullopt;
  }
}

/// Repeats `read` if the format of a segment changes meanwhile; nullopt for damage.
template <typename Read>
auto read_again(const Read& read) -> decltype(read()) {
  for (int times = 1;; ++times) {
    try {
      return read();
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::damage) return std::nullopt;
      if (times == kMostLooksAtSegment) throw;
    }
  }
}

/// Reads from one segment. A compressed segment is decompressed to its end, because the checksum
/// follows the data.
std::vector<std::byte> read_wal(WalReader& reader, wal::SegmentSize size, Lsn begin, Lsn end) {
  std::vector<std::byte> wal;
  wal.reserve(end - begin);
  Buffer buffer(kReadAtOnce);
  const auto segment_end = size.start_of(begin) + size.bytes();
  for (auto at = begin; at < segment_end;) {
    const auto read = reader.read(at, buffer);
    if (read.state == WalReader::State::damaged) throw Error(*read.error);
    if (read.state != WalReader::State::bytes) throw gone(reader, at);
    const auto wanted = std::min<std::uint64_t>(read.count, at < end ? end - at : 0);
    wal.insert(wal.end(), buffer.begin(), buffer.begin() + wanted);
    at = at + read.count;
    if (at >= end && reader.file()->method == Method::none) break;
  }
  return wal;
}

/// If the whole segment belongs to one record, the bytes before `end` are part of that. It may
/// start in a segment that the archive no longer has.
std::optional<Tail> tail_of_a_long_record(io::Shelf& directory,
                                          const wal::RecordVerifier::Options& options, Lsn end) {
  const auto& size = options.segment_size;
  auto reader = open_reader(directory, options);
  const auto segment = find_in_history(directory, reader, end, size);
  if (!segment) return std::nullopt;
  const auto page = read_first_page_header(directory, segment->name);
  if (!page || !filled_by_one_record(*page, size)) return std::nullopt;
  const auto begin = std::max(
      segment->start, Lsn((end.byte() - 1) / wal::kPageSize * wal::kPageSize - kPagesBefore));
  return Tail{segment->name.to_string(), segment->name.segment.timeline(), begin,
              read_wal(reader, size, begin, end)};
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
  auto reader = open_reader(directory, options);
  return Tail{segment.name.to_string(), segment.name.segment.timeline(), first_page,
              read_wal(reader, options.segment_size, first_page, stop), verifier};
}

}  // namespace

wal::RecordVerifier verifier_at(io::Shelf& directory, const wal::RecordVerifier::Options& options,
                                Lsn start) {
  wal::RecordVerifier fresh(options, start);
  if (fresh.unchecked()) return fresh;
  auto reading = read_again([&] { return read_up_to(directory, options, start); });
  return reading ? std::move(reading->verifier) : fresh;
}

std::optional<Tail> tail_before(io::Shelf& directory, const wal::RecordVerifier::Options& options,
                                Lsn end) {
  if (wal::RecordVerifier(options, options.segment_size.start_of(end)).unchecked())
    return std::nullopt;
  return read_again([&] { return read_tail(directory, options, end); });
}

}  // namespace weir::archive

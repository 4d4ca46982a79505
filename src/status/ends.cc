#include "status/ends.h"

#include <algorithm>
#include <cerrno>
#include <memory>
#include <vector>

#include "archive/border.h"
#include "archive/forms.h"
#include "archive/segment_reader.h"
#include "archive/unfinished_files.h"
#include "archive/wal_reader.h"
#include "archive/written_bytes.h"
#include "base/error.h"
#include "wal/page.h"
#include "wal/record_verifier.h"

namespace weir::status {

namespace {

using archive::SegmentFileName;

constexpr std::size_t kMostSegments = 4;  ///< at each end
constexpr std::uint64_t kFirstWindow = std::uint64_t{1} << 20;

struct Scan {
  std::optional<wal::Commit> commit;
  wal::Lsn end;
  std::uint64_t sound_to = 0;  ///< read up to here, in the segment, without finding fault
};

class EndsReader {
 public:
  EndsReader(io::Shelf& directory, wal::TimelineId timeline, wal::SegmentSize size,
             const archive::Timelines& timelines, std::uint64_t& budget)
      : directory_(directory),
        timeline_(timeline),
        size_(size),
        history_(timelines.history(timeline)),
        begin_(history_ ? history_->begin_of(timeline).value_or(wal::Lsn()) : wal::Lsn()),
        budget_(budget) {}

  /// It counts for the end: not if it is empty, and no other file has its WAL either.
  [[nodiscard]] bool counts(const archive::SegmentEntry& entry);
  std::optional<wal::Commit> first(std::span<const SegmentFileName> files);
  Scan last(const SegmentFileName& file);
  /// End of the record in which an unfinished segment begins, if that is complete, as the segments
  /// before show; 0/0 if it is not, or they do not.
  wal::Lsn end_of_first(const SegmentFileName& file);
  /// False: a recovery does not come to the segment behind it.
  [[nodiscard]] bool is_whole(const SegmentFileName& file);

 private:
  /// How many files an unfinished segment's WAL may be read from; 1 for a finished one.
  [[nodiscard]] std::size_t files_of(const SegmentFileName& name);
  Scan last_of_whole(const SegmentFileName& name);
  Scan last_of_raw(const SegmentFileName& name);
  std::span<const std::byte> next(archive::WalReader& reader, wal::Lsn at, wal::Lsn end);
  Scan scan_window(io::Bytes& file, wal::Lsn start, std::uint64_t from, std::uint64_t to);
  [[nodiscard]] wal::RecordVerifier verifier(wal::Lsn start, wal::RecordObserver& observer) const;

  io::Shelf& directory_;
  wal::TimelineId timeline_;
  wal::SegmentSize size_;
  std::optional<wal::TimelineHistory> history_;
  wal::Lsn begin_;
  std::uint64_t& budget_;
  std::vector<std::byte> buffer_;
};

/// Returns one file for each of the first (or last) segments, the one that counts, in the order in
/// which to read them.
template <typename Iterator>
std::vector<SegmentFileName> choose(Iterator entry, Iterator end, EndsReader& reader,
                                    wal::SegmentSize size) {
  std::vector<SegmentFileName> chosen;
  for (; entry != end; ++entry) {
    if (!entry->name.segment.fits(size) || !reader.counts(*entry)) continue;
    if (!chosen.empty() && chosen.back().segment == entry->name.segment) {
      if (archive::counts_before(entry->name, chosen.back())) chosen.back() = entry->name;
      continue;
    }
    if (chosen.size() == kMostSegments) break;
    chosen.push_back(entry->name);
  }
  return chosen;
}

/// A kill leaves several unfinished segments in a row, and not all that was received of the first.
/// After a known hole the archive continues all the same. `files`: the newest first.
void leave_out_unreachable(std::vector<SegmentFileName>& files, EndsReader& reader,
                           wal::SegmentSize size, std::span<const wal::Lsn> behind_holes) {
  const auto is_behind_hole = [&](const SegmentFileName& file) {
    return std::find(behind_holes.begin(), behind_holes.end(), file.segment.start(size)) !=
           behind_holes.end();
  };
  for (auto i = files.size(); i-- > 1;) {
    const auto& file = files[i];
    const auto& next = files[i - 1];
    const bool row = file.partial && next.partial &&
                     file.segment.segno(size) + 1 == next.segment.segno(size) &&
                     !is_behind_hole(next);
    if (!row || reader.is_whole(file)) continue;
    auto reached = i - 1;
    while (reached > 0 && !is_behind_hole(files[reached - 1])) --reached;
    files.erase(files.begin() + static_cast<std::ptrdiff_t>(reached),
                files.begin() + static_cast<std::ptrdiff_t>(i));
    i = reached;
  }
}

}  // namespace

Ends read_ends(io::Shelf& directory, std::span<const archive::SegmentEntry> segments,
               wal::SegmentSize size, const archive::Timelines& timelines, std::uint64_t& budget,
               std::span<const wal::Lsn> behind_holes) {
  Ends ends;
  if (segments.empty()) return ends;
  EndsReader reader(directory, segments.front().name.segment.timeline(), size, timelines, budget);
  // The end first: it is what counts if the budget does not suffice for both.
  std::vector<SegmentFileName> newest;
  try {
    newest = choose(segments.rbegin(), segments.rend(), reader, size);
    leave_out_unreachable(newest, reader, size, behind_holes);
  } catch (const Error& error) {
    ends.moved = ends.moved || archive::is_gone(error);
  }
  for (const auto& name : newest) {
    try {
      const auto found = reader.last(name);
      if (!ends.end.valid())
        ends.end = found.end.valid() || !name.partial ? found.end : reader.end_of_first(name);
      ends.last = found.commit;
    } catch (const Error& error) {
      ends.moved = ends.moved || archive::is_gone(error);
      break;
    }
    if (ends.last) break;
  }
  try {
    ends.first = reader.first(choose(segments.begin(), segments.end(), reader, size));
  } catch (const Error& error) {
    ends.moved = ends.moved || archive::is_gone(error);
    ends.first = std::nullopt;
  }
  return ends;
}

namespace {

std::optional<wal::Commit> EndsReader::first(std::span<const SegmentFileName> files) {
  std::optional<wal::Commit> found;
  wal::TransactionObserver observer([&](const wal::TransactionEnd& end) {
    if (end.aborted || end.commit.start < begin_) return true;
    found = end.commit;
    return false;
  });
  if (files.empty()) return found;
  auto check = verifier(files.front().segment.start(size_), observer);
  archive::WalReader reader(directory_,
                            {.segment_size = size_, .timeline = timeline_, .unfinished = true});
  for (const auto& name : files) {
    if (check.position() != name.segment.start(size_)) break;
    const auto end = name.segment.start(size_) + size_.bytes();
    while (check.position() < end) {
      const auto wal = next(reader, check.position(), end);
      if (wal.empty() || budget_ < wal.size()) return found;
      budget_ -= wal.size();
      if (check.feed(wal) || observer.done()) return found;
    }
  }
  return found;
}

/// (An empty one may have been written to since it was listed. In this order: once it is past the
/// switchpoint, the parent's file no longer counts: seed 488779 of 0dbd19d6.)
bool EndsReader::counts(const archive::SegmentEntry& entry) {
  if (entry.bytes.value() > 0 || files_of(entry.name) > 1) return true;
  const auto now = directory_.find(entry.name.to_string());
  if (!now) throw system_error(ENOENT, "the segment file is gone");
  return now->size > 0;
}

std::size_t EndsReader::files_of(const SegmentFileName& name) {
  if (!name.partial) return 1;
  return archive::unfinished_files(directory_, name.segment, size_, history_ ? &*history_ : nullptr)
      .size();
}

Scan EndsReader::last(const SegmentFileName& name) {
  return name.method == codec::Method::none && files_of(name) <= 1 ? last_of_raw(name)
                                                                   : last_of_whole(name);
}

/// From its beginning, from the file that a recovery with --partial reads.
Scan EndsReader::last_of_whole(const SegmentFileName& name) {
  Scan scan;
  // If there are several, each is read to find the longest.
  const auto several = files_of(name);
  const auto cost = size_.bytes() * (several > 1 ? several + 1 : 1);
  if (budget_ < cost) throw Error(ErrorKind::retry, "too much to read");
  budget_ -= cost;
  wal::TransactionObserver observer([&](const wal::TransactionEnd& end) {
    if (!end.aborted && end.commit.start >= begin_) scan.commit = end.commit;
    return true;
  });
  const auto start = name.segment.start(size_);
  auto check = verifier(start, observer);
  archive::WalReader reader(directory_, {.segment_size = size_,
                                         .timeline = timeline_,
                                         .history = several > 1 ? history_ : std::nullopt,
                                         .unfinished = true});
  while (check.position() < start + size_.bytes()) {
    const auto wal = next(reader, check.position(), start + size_.bytes());
    if (wal.empty() || check.feed(wal)) break;
  }
  scan.end = check.last_record_end();
  scan.sound_to = check.position() - start;
  return scan;
}

wal::Lsn EndsReader::end_of_first(const SegmentFileName& name) {
  const auto start = name.segment.start(size_);
  const auto cost = 2 * size_.bytes();  // at most, if the segment before is compressed
  if (budget_ < cost) return {};
  budget_ -= cost;
  auto check = archive::verifier_at(
      directory_,
      {.segment_size = size_, .timeline = timeline_, .history = history_ ? &*history_ : nullptr},
      start);
  if (!check.inside_record()) return {};
  archive::WalReader reader(
      directory_,
      {.segment_size = size_, .timeline = timeline_, .history = history_, .unfinished = true});
  while (check.position() < start + size_.bytes()) {
    const auto wal = next(reader, check.position(), start + size_.bytes());
    if (wal.empty() || check.feed(wal)) break;
  }
  return check.last_record_end() > start ? check.last_record_end() : wal::Lsn();
}

/// The bytes at `at`, before `end`; none where an unfinished segment ends.
std::span<const std::byte> EndsReader::next(archive::WalReader& reader, wal::Lsn at, wal::Lsn end) {
  constexpr std::size_t kRead = std::size_t{128} << 10;
  buffer_.resize(kRead);
  const auto read =
      reader.read(at, std::span(buffer_).first(std::min<std::uint64_t>(kRead, end - at)));
  if (read.state == archive::WalSource::State::damaged) throw Error(*read.error);
  if (read.state == archive::WalSource::State::gone)
    throw system_error(ENOENT, "the segment file is gone");
  return std::span(buffer_).first(read.count);
}

Scan EndsReader::last_of_raw(const SegmentFileName& name) {
  const auto file = directory_.open_bytes(name.to_string());
  if (!file) throw system_error(ENOENT, "the segment file is gone");
  const auto start = name.segment.start(size_);
  const auto end = archive::written_bytes(*file, start, size_);
  Scan scan;
  for (auto window = kFirstWindow; end > 0; window *= 4) {
    const auto from = (end - std::min(window, end)) / wal::kPageSize * wal::kPageSize;
    if (budget_ < end - from) break;
    budget_ -= end - from;
    const auto found = scan_window(*file, start, from, end);
    if (found.end.valid()) scan = found;
    if (scan.commit || from == 0) break;
  }
  return scan;
}

/// (Behind an xlog switch nothing need be written.)
bool EndsReader::is_whole(const SegmentFileName& name) {
  if (files_of(name) > 1) return last_of_whole(name).sound_to == size_.bytes();
  if (name.method != codec::Method::none) return true;
  const auto file = directory_.open_bytes(name.to_string());
  if (!file) throw system_error(ENOENT, "the segment file is gone");
  const auto start = name.segment.start(size_);
  const auto written = archive::written_bytes(*file, start, size_);
  if (written == size_.bytes()) return true;
  const auto from = (written - std::min(kFirstWindow, written)) / wal::kPageSize * wal::kPageSize;
  if (written == 0 || file->size() < size_.bytes() || budget_ < size_.bytes() - from) return false;
  const auto sound_to = scan_window(*file, start, from, size_.bytes()).sound_to;
  budget_ -= sound_to - from;
  return sound_to == size_.bytes();
}

Scan EndsReader::scan_window(io::Bytes& file, wal::Lsn start, std::uint64_t from,
                             std::uint64_t to) {
  Scan scan;
  wal::TransactionObserver observer([&](const wal::TransactionEnd& end) {
    if (!end.aborted && end.commit.start >= begin_) scan.commit = end.commit;
    return true;
  });
  auto check = verifier(start + from, observer);
  std::vector<std::byte> piece(std::min(kFirstWindow, to - from));
  while (from < to) {
    const auto bytes = std::span(piece).first(std::min<std::uint64_t>(piece.size(), to - from));
    const auto count = file.read_at(from, bytes);
    if (count == 0 || check.feed(bytes.first(count))) break;
    from += count;
  }
  scan.sound_to = from;
  scan.end = check.last_record_end();
  return scan;
}

wal::RecordVerifier EndsReader::verifier(wal::Lsn start, wal::RecordObserver& observer) const {
  return wal::RecordVerifier({.segment_size = size_,
                              .timeline = timeline_,
                              .observer = &observer,
                              .history = history_ ? &*history_ : nullptr},
                             start);
}

}  // namespace

}  // namespace weir::status

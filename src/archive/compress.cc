#include "archive/compress.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>

#include "archive/border.h"
#include "archive/compare.h"
#include "archive/content.h"
#include "archive/forms.h"
#include "archive/history_store.h"
#include "archive/home.h"
#include "archive/own_names.h"
#include "archive/segment_reader.h"
#include "base/buffer.h"
#include "base/error.h"
#include "wal/record_verifier.h"
#include "wal/timeline_history.h"

namespace weir::archive {

namespace {

constexpr std::size_t kCompressPiece = 256 * 1024;

enum class Match { equal, different, stopped };

class SegmentCompression {
 public:
  SegmentCompression(io::Directory& directory, wal::SegmentName segment, wal::SegmentSize size,
                     io::File& raw, const std::function<bool()>& stop)
      : directory_(directory), segment_(segment), size_(size), raw_(raw), stop_(stop) {}

  /// An earlier run or another program has created the compressed file.
  bool remove_raw_beside(const std::string& name, codec::Method method) {
    const auto file = directory_.open(name);
    if (!file) return true;
    auto match = compare(*file, method, name);
    // Copies from a primary and a standby may differ after an xlog switch.
    if (match == Match::different)
      match = compare(*file, method, name,
                      meaningful_bytes(raw_, codec::Method::none, segment_, size_));
    switch (match) {
      case Match::stopped:
        return false;
      case Match::different:
        throw Error(ErrorKind::conflict,
                    "the uncompressed and the compressed file of a segment differ")
            .with("raw", path_of(raw_name()))
            .with("compressed", path_of(name))
            .hint(
                "Neither file was changed. Check both with pg_waldump, and remove the wrong one.");
      case Match::equal:
        break;
    }
    // The program that created it may not have flushed it. If the raw file were removed first, a
    // crash could leave neither.
    file->sync();
    file->close();
    directory_.sync();
    remove_raw();
    return true;
  }

  bool write(codec::Compression compression) {
    const std::string name = SegmentFileName{segment_, compression.method, false}.to_string();
    bool interrupted = false;
    const auto fill = [&](Draft& draft) {
      interrupted = !compress(draft, compression);
      if (interrupted) return false;
      // The raw file is about to be removed, so the compressed one is verified first. This costs a
      // fraction of the compression.
      const auto match = compare(draft.written(), compression.method, name);
      if (match == Match::different)
        throw Error(ErrorKind::damage, "a compressed segment does not match its original")
            .with("path", path_of(raw_name()))
            .hint("The raw file stays as it is. Check the memory of this machine.");
      interrupted = match == Match::stopped;
      return !interrupted;
    };
    // A prune that removed the raw file did not see the compressed one, which would then follow a
    // gap. Checked only up to this point: once the compressed file is renamed into place, the raw
    // one may also have been removed because of it ("pgweir compress"), and then the compressed
    // file is the only copy.
    const auto still_wanted = [&] { return directory_.find(raw_name()).has_value(); };
    // Durable before the raw file is removed: a crash must leave one of the two.
    if (DirectoryHome(directory_).publish({.name = name, .still_wanted = still_wanted}, fill))
      remove_raw();
    return !interrupted;
  }

 private:
  [[nodiscard]] std::string raw_name() const { return segment_.to_string(); }
  [[nodiscard]] std::string path_of(const std::string& name) const {
    return directory_.path() + "/" + name;
  }
  [[nodiscard]] bool stopped() const { return stop_ && stop_(); }

  /// Not flushed: if a crash brings the raw file back, it is compared and removed again.
  void remove_raw() { directory_.remove(raw_name()); }

  /// False if stopped.
  bool compress(Draft& to, codec::Compression compression) {
    const auto compressor = codec::make_compressor(compression, size_.bytes());
    const codec::PackedSink sink = [&](std::span<const std::byte> bytes) { to.write(bytes); };
    Buffer buffer(std::min<std::uint64_t>(kCompressPiece, size_.bytes()));
    for (std::uint64_t at = 0; at < size_.bytes(); at += buffer.size()) {
      if (stopped()) return false;
      read_raw(at, buffer);
      compressor->feed(buffer, sink);
    }
    compressor->finish(sink);
    return true;
  }

  /// Of equally many bytes, those before `upto`.
  Match compare(io::Bytes& compressed, codec::Method method, const std::string& name,
                std::uint64_t upto = UINT64_MAX) {
    std::vector<std::byte> buffer;
    std::uint64_t at = 0;
    Match match = Match::equal;
    read_content(compressed, method, path_of(name), [&](std::span<const std::byte> bytes) {
      if (stopped()) {
        match = Match::stopped;
        return false;
      }
      if (at + bytes.size() > size_.bytes()) {
        match = Match::different;
        return false;
      }
      const auto count = std::min<std::uint64_t>(bytes.size(), upto - std::min(upto, at));
      buffer.resize(count);
      read_raw(at, buffer);
      at += bytes.size();
      if (count > 0 && std::memcmp(bytes.data(), buffer.data(), count) != 0)
        match = Match::different;
      return match == Match::equal;
    });
    if (match == Match::equal && at != size_.bytes()) match = Match::different;
    return match;
  }

  void read_raw(std::uint64_t at, std::span<std::byte> bytes) {
    if (raw_.read_at(at, bytes) != bytes.size())
      throw Error(ErrorKind::damage, "a complete segment became shorter while it was read")
          .with("path", path_of(raw_name()))
          .hint("Only pgweir may change the files of the archive.");
  }

  io::Directory& directory_;
  const wal::SegmentName segment_;
  const wal::SegmentSize size_;
  io::File& raw_;
  const std::function<bool()>& stop_;
};

int highest_level(codec::Method method) { return method == codec::Method::gzip ? 9 : 12; }

/// The end of the last byte that is not zero.
std::uint64_t end_of_content(io::File& file) {
  Buffer buffer(kCompressPiece);
  for (std::uint64_t end = file.size(); end > 0;) {
    const std::uint64_t begin = end - std::min<std::uint64_t>(end, buffer.size());
    const auto piece = std::span(buffer).first(end - begin);
    const std::size_t count = file.read_at(begin, piece);
    for (std::size_t i = count; i > 0; --i)
      if (piece[i - 1] != std::byte{0}) return begin + i;
    end = begin;
  }
  return 0;
}

/// Knows the record that crosses the segment's start, if the WAL before it is there and valid.
/// `history` gets that of `timeline`; the result refers to it.
wal::RecordVerifier verifier_of(io::Directory& directory, wal::TimelineId timeline,
                                wal::SegmentSize size, wal::Lsn start,
                                std::optional<wal::TimelineHistory>& history) {
  wal::RecordVerifier::Options options{.segment_size = size, .timeline = timeline};
  try {
    if (const auto content = read_history(directory, timeline))
      history = wal::TimelineHistory::parse(timeline, *content);
    if (history) options.history = &*history;
    return verifier_at(directory, options, start);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::damage && !is_gone(error)) throw;
    options.history = nullptr;
    return {options, start};  // and without that WAL, no reader can use the record
  }
}

/// End of the last valid record: its body may end with zeros, and its padding consists of zeros. A
/// reader does not count a record whose padding is missing.
std::uint64_t end_of_records(io::Directory& directory, io::File& file, wal::SegmentName segment,
                             wal::SegmentSize size) {
  const auto start = segment.start(size);
  std::optional<wal::TimelineHistory> history;
  auto verifier = verifier_of(directory, segment.timeline(), size, start, history);
  Buffer buffer(kCompressPiece);
  const auto bytes = std::min(file.size(), size.bytes());
  for (std::uint64_t at = 0; at < bytes;) {
    const auto count = file.read_at(
        at, std::span(buffer).first(std::min<std::uint64_t>(kCompressPiece, bytes - at)));
    if (count == 0 || verifier.feed(std::span(buffer).first(count))) break;
    at += count;
  }
  return verifier.records_end() > start ? verifier.records_end() - start : 0;
}

/// Number of bytes in an older compressed file, which may be cut off. Throws Error{conflict} if
/// they differ from the first `end` bytes of `raw`.
std::uint64_t common_length(io::File& compressed, codec::Method method, const std::string& path,
                            io::File& raw, std::uint64_t end) {
  std::uint64_t at = 0;
  std::vector<std::byte> buffer;
  try {
    read_content(compressed, method, path, [&](std::span<const std::byte> bytes) {
      const auto common =
          bytes.first(at < end ? std::min<std::uint64_t>(bytes.size(), end - at) : 0);
      buffer.resize(common.size());
      if (raw.read_at(at, buffer) != buffer.size() ||
          !std::equal(common.begin(), common.end(), buffer.begin()))
        throw Error(ErrorKind::conflict, "two partial files of a segment differ")
            .with("path", path)
            .hint(
                "Neither file was changed. Check both with pg_waldump, and remove the wrong one.");
      at += bytes.size();
      return true;
    });
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::damage) throw;  // cut off: its content is what was decompressed
  }
  return at;
}

}  // namespace

bool compress_segment(io::Directory& directory, wal::SegmentName segment,
                      wal::SegmentSize segment_size, codec::Compression compression,
                      const std::function<bool()>& stop) {
  PGWEIR_CHECK(compression.method != codec::Method::none);
  const auto raw = directory.open_for_reading(segment.to_string());
  if (!raw) return true;
  if (const std::uint64_t bytes = raw->size(); bytes != segment_size.bytes())
    throw Error(ErrorKind::damage, "a complete segment has the wrong size")
        .with("path", directory.path() + "/" + segment.to_string())
        .with("size", bytes)
        .with("expected", segment_size.bytes())
        .hint("It is left as it is. Restore it from a copy, or move it away.");

  SegmentCompression work(directory, segment, segment_size, *raw, stop);
  for (const auto& form : finished_names(segment))
    if (form.method != codec::Method::none && directory.find(form.to_string()))
      return work.remove_raw_beside(form.to_string(), form.method);
  try {
    return work.write(compression);
  } catch (const Error& error) {
    // "pgweir compress" may have been faster.
    const std::string name = SegmentFileName{segment, compression.method, false}.to_string();
    if (error.kind() != ErrorKind::conflict || !directory.find(name)) throw;
    return work.remove_raw_beside(name, compression.method);
  }
}

void compress_partial(io::Directory& directory, wal::SegmentName segment,
                      wal::SegmentSize segment_size, codec::Method method, std::uint64_t written) {
  PGWEIR_CHECK(method == codec::Method::gzip || method == codec::Method::lz4);
  const std::string raw_name = SegmentFileName{segment, codec::Method::none, true}.to_string();
  const auto raw = directory.open_for_reading(raw_name);
  if (!raw) return;
  const std::uint64_t end = std::max({std::min(written, raw->size()), end_of_content(*raw),
                                      end_of_records(directory, *raw, segment, segment_size)});

  bool older_holds_more = false;
  std::vector<std::string> older;
  for (const auto& form : partial_names(segment)) {
    if (form.method == codec::Method::none) continue;
    const std::string name = form.to_string();
    const auto file = directory.open_for_reading(name);
    if (!file) continue;
    const auto held = common_length(*file, form.method, directory.path() + "/" + name, *raw, end);
    if (held <= end) {
      older.push_back(name);
      continue;
    }
    older_holds_more = true;
    // The program that created it may not have flushed it, and the raw file is about to be removed.
    file->sync();
    directory.sync();
  }

  if (end > 0 && !older_holds_more) {
    const std::string name = SegmentFileName{segment, method, true}.to_string();
    const auto compressor = codec::make_compressor({method, highest_level(method)}, end);
    const auto fill = [&](Draft& draft) {
      const codec::PackedSink sink = [&](std::span<const std::byte> bytes) { draft.write(bytes); };
      Buffer buffer(kCompressPiece);
      for (std::uint64_t at = 0; at < end;) {
        const auto piece =
            std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), end - at));
        if (raw->read_at(at, piece) != piece.size())
          throw Error(ErrorKind::io, "a partial segment became shorter while it was read")
              .with("path", directory.path() + "/" + raw_name);
        compressor->feed(piece, sink);
        at += piece.size();
      }
      compressor->finish(sink);
      return true;
    };
    // Durable before the raw file is removed: a crash must leave one of the two.
    DirectoryHome(directory).publish({.name = name, .replace = true}, fill);
    std::erase(older, name);
    for (const std::string& other : older) directory.remove(other);
  }
  directory.remove(raw_name);
  directory.sync();
}

namespace {

/// A mark has no meaning any more if its segment is complete, never existed, or was removed.
bool speaks(wal::SegmentName marked, const Listing& listing) {
  bool begun = false;
  for (const SegmentEntry& entry : listing.segments) {
    if (entry.name.segment != marked) continue;
    if (!entry.name.partial) return false;
    begun = true;
  }
  return begun;
}

}  // namespace

void clean_up(io::Directory& directory, const Listing& listing) {
  bool unmarked = false;
  for (const std::string& name : listing.hidden) {
    const auto marked = parse_hole_mark(name);
    const bool silent = marked && !speaks(*marked, listing);
    if (is_own_hidden_name(name) || silent) directory.remove(name);
    unmarked = unmarked || silent;
  }
  if (unmarked) directory.sync();  // it must not return when there is such a segment again
  // A segment that was compressed straight from memory leaves a `.partial` of zeros if the process
  // ends between the rename and the removal of the `.partial`. A `.partial` with content is not
  // touched. The new name must be durable first: a process that was killed may not have flushed it,
  // and after a crash the segment would be in the archive under no name.
  std::vector<std::string> zeros;
  for (const SegmentForms& forms : segment_forms(listing)) {
    // (The last complete file: in the order of the formats it is a compressed one, if there is
    // any.)
    if (forms.finished.empty() || forms.finished.back().name.method == codec::Method::none)
      continue;
    for (const SegmentEntry& entry : forms.partial) {
      if (entry.name.method != codec::Method::none) continue;
      const std::string name = entry.name.to_string();
      const auto file = directory.open_for_reading(name);
      if (file && end_of_content(*file) == 0) zeros.push_back(name);
    }
  }
  if (!zeros.empty()) directory.sync();
  for (const std::string& name : zeros) directory.remove(name);
}

std::vector<wal::SegmentName> uncompressed_segments(const Listing& listing) {
  std::vector<wal::SegmentName> segments;
  for (const SegmentEntry& entry : listing.segments)
    if (entry.name.method == codec::Method::none && !entry.name.partial)
      segments.push_back(entry.name.segment);
  return segments;
}

}  // namespace weir::archive

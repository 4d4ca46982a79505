#include "archive/segment_reader.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "archive/content.h"
#include "archive/unpack_team.h"
#include "base/error.h"
#include "io/processor_limit.h"

namespace weir::archive {

namespace {

/// Counts the bytes that go to the sink, cuts them into pieces, and distinguishes an error of the
/// sink from one of the codec.
class PieceSink {
 public:
  PieceSink(const codec::Sink& sink, std::uint64_t limit) : sink_(sink), limit_(limit) {}

  bool take(std::span<const std::byte> raw) {
    if (raw.size() > limit_ - given_) {
      too_much_ = true;
      raw = raw.first(limit_ - given_);
    }
    while (!raw.empty()) {
      const auto piece = raw.first(std::min(raw.size(), kPiece));
      raw = raw.subspan(piece.size());
      try {
        had_enough_ = !sink_(piece);
      } catch (...) {
        sink_failed_ = true;
        throw;
      }
      given_ += piece.size();
      if (had_enough_) return false;
    }
    if (too_much_)
      throw Error(ErrorKind::damage, "the content is longer than a segment")
          .with("expected", limit_);
    return true;
  }

  [[nodiscard]] std::uint64_t given() const { return given_; }
  [[nodiscard]] bool had_enough() const { return had_enough_; }
  [[nodiscard]] bool sink_failed() const { return sink_failed_; }

 private:
  const codec::Sink& sink_;
  std::uint64_t limit_;
  std::uint64_t given_ = 0;
  bool too_much_ = false;
  bool had_enough_ = false;
  bool sink_failed_ = false;
};

Error with_place(const Error& error, const std::string& path, std::uint64_t file_offset,
                 std::uint64_t segment_offset) {
  Error placed(error.kind(), error.what());
  placed.with("file", path).with("offset in the file", file_offset);
  placed.with("offset in the segment", segment_offset);
  if (!error.hint().empty()) placed.hint(error.hint());
  return placed;
}

std::unique_ptr<io::Bytes> open_existing(io::Shelf& directory, const std::string& name) {
  auto file = directory.open_bytes(name);
  if (!file)
    throw system_error(ENOENT, "the segment file is gone").with("file", directory.path_of(name));
  return file;
}

/// Before a byte is passed on: a short file would waste its reader's work, and more.
std::uint64_t require_size_of_raw(io::Bytes& file, const std::string& path, std::uint64_t expected,
                                  bool partial) {
  const auto size = file.size();
  if (partial ? size > expected : size != expected)
    throw Error(ErrorKind::damage, "unexpected size of a segment file")
        .with("file", path)
        .with(partial ? "expected at most" : "expected", expected)
        .with("found", size);
  return size;
}

enum class Unpack { one, two_for_frames, two };

/// A complete raw file of a wrong size.
enum class WrongRaw { refused, read_first };

/// For less, a thread costs more than it saves.
constexpr std::uint64_t kWorthAThread = 1024 * 1024;

std::uint64_t read(io::Shelf& directory, const SegmentFileName& name, wal::SegmentSize segment_size,
                   const codec::Sink& sink, Unpack threads,
                   codec::Checksums checksums = codec::Checksums::compared,
                   WrongRaw wrong = WrongRaw::refused) {
  const auto file_name = name.to_string();
  const auto path = directory.path_of(file_name);
  const auto file = open_existing(directory, file_name);
  PieceSink output(sink, segment_size.bytes());
  const codec::Sink take = [&](std::span<const std::byte> raw) { return output.take(raw); };
  if (name.method == codec::Method::none) {
    const auto require_size = [&] {
      return require_size_of_raw(*file, path, segment_size.bytes(), name.partial);
    };
    const bool size_first = name.partial || wrong == WrongRaw::refused;
    const auto size = size_first ? require_size() : std::uint64_t{0};
    const bool whole = ContentReader(*file, name.method, {.whole = true}).read(take);
    if (whole && output.given() < size)
      throw Error(ErrorKind::damage, "the segment file became shorter while it was read")
          .with("file", path)
          .with("expected", size)
          .with("found", output.given());
    if (whole && !size_first) static_cast<void>(require_size());
    return output.given();
  }

  std::optional<ContentReader> content;
  const auto open_at = [&](std::uint64_t from) -> ContentReader& {
    return content.emplace(
        *file, name.method,
        ContentReader::Options{
            .from = from, .checksums = checksums, .whole = true, .may_break_off = name.partial});
  };
  open_at(0);
  try {
    std::vector<codec::Frame> frames;
    if (threads != Unpack::one && !name.partial)
      frames = frames_for_two_threads(*file, name.method, segment_size.bytes());
    if (!frames.empty()) {
      const auto given = read_frames_in_two_threads(*file, frames, take);
      // The error in a frame, and the extent of its valid part, are determined by decompressing it
      // again piece by piece.
      if (given < frames.size() && !output.had_enough()) open_at(frames[given].offset).read(take);
    } else if (threads == Unpack::two) {
      read_in_second_thread(*content, take);
    } else {
      content->read(take);
    }
  } catch (const Error& error) {
    if (output.sink_failed() || error.kind() != ErrorKind::damage) throw;
    throw with_place(error, path, content->offset(), output.given());
  }
  if (!name.partial && !output.had_enough() && output.given() != segment_size.bytes())
    throw Error(ErrorKind::damage, "unexpected size of a segment's content")
        .with("file", path)
        .with("expected", segment_size.bytes())
        .with("found", output.given());
  return output.given();
}

}  // namespace

bool is_gone(const Error& error) { return error.system_code() == ENOENT; }

std::uint64_t read_segment(io::Shelf& directory, const SegmentFileName& name,
                           wal::SegmentSize segment_size, const codec::Sink& sink) {
  return read(directory, name, segment_size, sink, Unpack::one);
}

std::uint64_t read_segment_front(io::Shelf& directory, const SegmentFileName& name,
                                 wal::SegmentSize segment_size, const codec::Sink& sink) {
  return read(directory, name, segment_size, sink, Unpack::one, codec::Checksums::compared,
              WrongRaw::read_first);
}

std::uint64_t read_segment_in_two_threads(io::Shelf& directory, const SegmentFileName& name,
                                          wal::SegmentSize segment_size, const codec::Sink& sink,
                                          Processor other) {
  const bool worth_it = name.method != codec::Method::none &&
                        segment_size.bytes() >= kWorthAThread && io::usable_processors() > 1;
  const auto threads = !worth_it                  ? Unpack::one
                       : other == Processor::free ? Unpack::two
                                                  : Unpack::two_for_frames;
  return read(directory, name, segment_size, sink, threads);
}

void read_segment_from(io::Shelf& directory, const SegmentFileName& name,
                       wal::SegmentSize segment_size, std::uint64_t offset, const codec::Sink& sink,
                       codec::Checksums checksums) {
  std::uint64_t at = 0;
  const codec::Sink behind = [&](std::span<const std::byte> wal) {
    const auto skip = std::min<std::uint64_t>(offset > at ? offset - at : 0, wal.size());
    at += wal.size();
    return skip == wal.size() || sink(wal.subspan(skip));
  };
  const auto file_name = name.to_string();
  const auto file = open_existing(directory, file_name);
  const auto frames = codec::find_frames(
      name.method,
      [&](std::uint64_t from, std::span<std::byte> bytes) { return file->read_at(from, bytes); },
      file->size(), segment_size.bytes());
  const auto entry = std::find_if(frames.rbegin(), frames.rend(), [&](const codec::Frame& frame) {
    return frame.content_offset <= offset;
  });
  if (entry == frames.rend() || entry->offset == 0) {
    read(directory, name, segment_size, behind, Unpack::one, checksums);
    return;
  }
  at = entry->content_offset;
  PieceSink output(behind, segment_size.bytes() - at);
  ContentReader content(*file, name.method,
                        ContentReader::Options{.from = entry->offset, .checksums = checksums});
  try {
    content.read([&](std::span<const std::byte> raw) { return output.take(raw); });
  } catch (const Error& error) {
    if (output.sink_failed() || error.kind() != ErrorKind::damage) throw;
    throw with_place(error, directory.path_of(file_name), content.offset(),
                     entry->content_offset + output.given());
  }
}

std::optional<wal::PageHeader> read_first_page_header(io::Shelf& directory,
                                                      const SegmentFileName& name) {
  const auto file_name = name.to_string();
  const auto file = open_existing(directory, file_name);
  std::array<std::byte, wal::kLongHeaderSize> header{};
  std::size_t have = 0;
  ContentReader content(*file, name.method, ContentReader::Options{.may_break_off = true});
  try {
    content.read([&](std::span<const std::byte> raw) {
      const auto count = std::min(header.size() - have, raw.size());
      std::copy_n(raw.begin(), count, header.begin() + static_cast<std::ptrdiff_t>(have));
      have += count;
      return have < header.size();
    });
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::damage) throw;
    throw with_place(error, directory.path_of(file_name), content.offset(), have);
  }
  const auto page = wal::decode_page_header(std::span(header).first(have));
  if (!page || !page->long_header) return std::nullopt;
  return page;
}

}  // namespace weir::archive

#include "archive/segment_reader.h"

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "base/error.h"

namespace weir::archive {

namespace {

/// Bytes of the file read at once: large enough for few calls, small enough that what was read is
/// still in the processor's cache when it is checked and written on.
constexpr std::size_t kRead = 256 * 1024;

/// Counts what goes to the sink, cuts it into pieces, and tells an error of the sink from one of
/// the codec between.
class Output {
 public:
  Output(const codec::Sink& sink, std::uint64_t limit) : sink_(sink), limit_(limit) {}

  void take(std::span<const std::byte> raw) {
    if (raw.size() > limit_ - given_) {
      too_much_ = true;
      raw = raw.first(limit_ - given_);
    }
    while (!raw.empty()) {
      const auto piece = raw.first(std::min(raw.size(), kPiece));
      raw = raw.subspan(piece.size());
      try {
        sink_(piece);
      } catch (...) {
        sink_failed_ = true;
        throw;
      }
      given_ += piece.size();
    }
    if (too_much_)
      throw Error(ErrorKind::damage, "the content is longer than a segment")
          .with("expected", limit_);
  }

  [[nodiscard]] std::uint64_t given() const { return given_; }
  [[nodiscard]] bool sink_failed() const { return sink_failed_; }

 private:
  const codec::Sink& sink_;
  std::uint64_t limit_;
  std::uint64_t given_ = 0;
  bool too_much_ = false;
  bool sink_failed_ = false;
};

std::string path_of(io::Directory& directory, const std::string& file) {
  const auto& path = directory.path();
  return path.ends_with('/') ? path + file : path + "/" + file;
}

Error with_place(const Error& error, const std::string& path, std::uint64_t file_offset,
                 std::uint64_t segment_offset) {
  Error placed(error.kind(), error.what());
  placed.with("file", path).with("offset in the file", file_offset);
  placed.with("offset in the segment", segment_offset);
  if (!error.hint().empty()) placed.hint(error.hint());
  return placed;
}

std::unique_ptr<io::File> open_existing(io::Directory& directory, const std::string& name) {
  auto file = directory.open_for_reading(name);
  if (!file)
    throw Error(ErrorKind::io, "the segment file is gone").with("file", path_of(directory, name));
  return file;
}

std::uint64_t read_raw(io::File& file, const std::string& path, std::uint64_t expected,
                       bool partial, Output& output) {
  // Before a byte is given: a short file would cost its reader the work, and more.
  const auto size = file.size();
  if (partial ? size > expected : size != expected)
    throw Error(ErrorKind::damage, "unexpected size of a segment file")
        .with("file", path)
        .with(partial ? "expected at most" : "expected", expected)
        .with("found", size);
  std::vector<std::byte> buffer(static_cast<std::size_t>(std::min<std::uint64_t>(kRead, size)));
  for (std::uint64_t at = 0; at < size;) {
    const auto count = file.read_at(at, buffer);
    if (count == 0) break;
    output.take(std::span(buffer).first(count));
    at += count;
  }
  if (output.given() != size)
    throw Error(ErrorKind::damage, "the segment file became shorter while it was read")
        .with("file", path)
        .with("expected", size)
        .with("found", output.given());
  return output.given();
}

}  // namespace

std::uint64_t read_segment(io::Directory& directory, const SegmentFileName& name,
                           wal::SegmentSize segment_size, const codec::Sink& sink) {
  const auto file_name = name.to_string();
  const auto path = path_of(directory, file_name);
  const auto file = open_existing(directory, file_name);
  Output output(sink, segment_size.bytes());
  if (name.method == codec::Method::none)
    return read_raw(*file, path, segment_size.bytes(), name.partial, output);

  const auto decompressor = codec::make_decompressor(name.method);
  const codec::Sink take = [&](std::span<const std::byte> raw) { output.take(raw); };
  std::vector<std::byte> buffer(kRead);
  std::uint64_t at = 0;
  try {
    while (const auto count = file->read_at(at, buffer)) {
      decompressor->feed(std::span(buffer).first(count), take);
      at += count;
    }
    // Whoever wrote a .partial may have been stopped in the middle of a frame.
    if (!name.partial) decompressor->finish();
  } catch (const Error& error) {
    if (output.sink_failed() || error.kind() != ErrorKind::damage) throw;
    throw with_place(error, path, at, output.given());
  }
  if (!name.partial && output.given() != segment_size.bytes())
    throw Error(ErrorKind::damage, "unexpected size of a segment's content")
        .with("file", path)
        .with("expected", segment_size.bytes())
        .with("found", output.given());
  return output.given();
}

std::optional<wal::PageHeader> read_first_page_header(io::Directory& directory,
                                                      const SegmentFileName& name) {
  const auto file_name = name.to_string();
  const auto file = open_existing(directory, file_name);
  std::array<std::byte, wal::kLongHeaderSize> header{};
  std::size_t have = 0;
  if (name.method == codec::Method::none) {
    have = file->read_at(0, header);
  } else {
    const auto decompressor = codec::make_decompressor(name.method);
    const codec::Sink take = [&](std::span<const std::byte> raw) {
      const auto count = std::min(header.size() - have, raw.size());
      std::copy_n(raw.begin(), count, header.begin() + static_cast<std::ptrdiff_t>(have));
      have += count;
    };
    constexpr std::size_t kLook = 16 * 1024;
    std::vector<std::byte> buffer(kLook);
    std::uint64_t at = 0;
    try {
      while (have < header.size()) {
        const auto count = file->read_at(at, buffer);
        if (count == 0) break;
        decompressor->feed(std::span(buffer).first(count), take);
        at += count;
      }
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::damage) throw;
      throw with_place(error, path_of(directory, file_name), at, have);
    }
  }
  const auto page = wal::decode_page_header(std::span(header).first(have));
  if (!page || !page->long_header) return std::nullopt;
  return page;
}

}  // namespace weir::archive

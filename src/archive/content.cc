#include "archive/content.h"

#include <algorithm>
#include <span>

#include "base/error.h"

namespace weir::archive {

namespace {

/// Bytes of a raw file read at once: large enough for few calls, small enough that the data is
/// still in the CPU's cache when it is checked and written.
constexpr std::size_t kReadRaw = 256 * 1024;
/// The same of a compressed file, of which one reads less for the same content.
constexpr std::size_t kReadPacked = 64 * 1024;
constexpr std::size_t kFirstRead = 8 * 1024;

}  // namespace

ContentReader::ContentReader(io::Bytes& file, codec::Method method, const Options& options)
    : file_(file),
      decompressor_(codec::make_decompressor(method, options.checksums)),
      may_break_off_(options.may_break_off),
      offset_(options.from) {
  // One byte more than the size, so that a small file is read at once.
  const std::size_t usual = method == codec::Method::none ? kReadRaw : kReadPacked;
  most_ = static_cast<std::size_t>(std::min<std::uint64_t>(usual, file.size() + 1));
  buffer_ = Buffer(options.whole ? most_ : std::min(most_, kFirstRead));
}

void ContentReader::next_piece() {
  if (piece_ > 0 && buffer_.size() < most_) buffer_ = Buffer(most_);
  offset_ += piece_;
  piece_ = file_.read_at(offset_, buffer_);
  left_ = std::span(buffer_).first(piece_);
  last_piece_ = piece_ < buffer_.size();
}

bool ContentReader::read(const codec::Sink& sink) {
  while (!last_piece_) {
    next_piece();
    if (!decompressor_->feed(left_, sink)) return false;
  }
  if (!may_break_off_) decompressor_->finish();
  return true;
}

std::size_t ContentReader::read(std::span<std::byte> bytes) {
  std::size_t given = 0;
  while (given < bytes.size()) {
    if (left_.empty() && !last_piece_) next_piece();
    const auto step = decompressor_->unpack(left_, bytes.subspan(given));
    left_ = left_.subspan(step.taken);
    given += step.given;
    if (step.given > 0 || !left_.empty() || !last_piece_) continue;
    if (!may_break_off_) decompressor_->finish();
    break;
  }
  return given;
}

bool read_content(io::Bytes& file, codec::Method method, const std::string& path,
                  const codec::Sink& sink) {
  ContentReader reader(file, method);
  try {
    return reader.read(sink);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::damage || method == codec::Method::none) throw;
    throw Error(error).with("path", path);
  }
}

}  // namespace weir::archive

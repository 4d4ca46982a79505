#include "archive/content.h"

#include <algorithm>
#include <span>

#include "base/error.h"

namespace weir::archive {

namespace {

/// Bytes of a raw file read at once: large enough for few calls, small enough that what was read is
/// still in the processor's cache when it is checked and written on.
constexpr std::size_t kRead = 256 * 1024;
/// The same of a compressed file, of which one reads less for the same content.
constexpr std::size_t kReadPacked = 64 * 1024;
constexpr std::size_t kFirstRead = 8 * 1024;  ///< many want no more than the first page header

}  // namespace

ContentReader::ContentReader(io::Bytes& file, codec::Method method, const Options& options)
    : file_(file),
      decompressor_(codec::make_decompressor(method, options.checksums)),
      may_break_off_(options.may_break_off),
      offset_(options.from) {
  // One byte more than there is, so that a small file is read at once.
  const std::size_t usual = method == codec::Method::none ? kRead : kReadPacked;
  most_ = static_cast<std::size_t>(std::min<std::uint64_t>(usual, file.size() + 1));
  buffer_.resize(std::min(most_, kFirstRead));
}

bool ContentReader::read(const codec::Sink& sink) {
  for (;;) {
    const auto count = file_.read_at(offset_, buffer_);
    if (!decompressor_->feed(std::span(buffer_).first(count), sink)) return false;
    offset_ += count;
    if (count < buffer_.size()) break;
    if (buffer_.size() < most_) buffer_.resize(most_);
  }
  if (!may_break_off_) decompressor_->finish();
  return true;
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

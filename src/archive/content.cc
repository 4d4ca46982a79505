#include "archive/content.h"

#include <algorithm>
#include <vector>

#include "base/error.h"

namespace weir::archive {

namespace {

constexpr std::size_t kPiece = 256 * 1024;
constexpr std::size_t kFirstPiece = 8 * 1024;  ///< many want no more than the first page header

/// Ends the decompressor's work from within its sink; never leaves this file.
struct Enough {};

}  // namespace

bool read_content(io::File& file, codec::Method method, const std::string& path,
                  const std::function<bool(std::span<const std::byte>)>& want) {
  // One byte more than there is, so that a small file is read at once.
  const auto most = std::min<std::uint64_t>(kPiece, file.size() + 1);
  std::vector<std::byte> buffer(std::min<std::uint64_t>(most, kFirstPiece));
  std::uint64_t offset = 0;
  const auto read = [&] {
    if (offset == buffer.size() && buffer.size() < most) buffer.resize(most);
    const std::size_t count = file.read_at(offset, buffer);
    offset += count;
    return std::span(buffer).first(count);
  };
  if (method == codec::Method::none) {
    for (;;) {
      const auto raw = read();
      if (!raw.empty() && !want(raw)) return false;
      if (raw.size() < buffer.size()) return true;
    }
  }

  const auto decompressor = codec::make_decompressor(method);
  const codec::Sink sink = [&](std::span<const std::byte> raw) {
    if (!want(raw)) throw Enough();
  };
  while (true) {
    const auto piece = read();
    try {
      decompressor->feed(piece, sink);
      if (piece.size() == buffer.size()) continue;
      decompressor->finish();
      return true;
    } catch (const Enough&) {
      return false;
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::damage) throw;
      throw Error(error).with("path", path);
    }
  }
}

}  // namespace weir::archive

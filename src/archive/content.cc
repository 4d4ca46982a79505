#include "archive/content.h"

#include <algorithm>
#include <vector>

#include "base/error.h"

namespace weir::archive {

namespace {

constexpr std::size_t kPiece = 256 * 1024;

/// Ends the decompressor's work from within its sink; never leaves this file.
struct Enough {};

}  // namespace

bool read_content(io::File& file, codec::Method method, const std::string& path,
                  const std::function<bool(std::span<const std::byte>)>& want) {
  const auto decompressor = codec::make_decompressor(method);
  const codec::Sink sink = [&](std::span<const std::byte> raw) {
    if (!want(raw)) throw Enough();
  };
  // One byte more than there is, so that a small file is read at once.
  std::vector<std::byte> buffer(std::min<std::uint64_t>(kPiece, file.size() + 1));
  std::uint64_t offset = 0;
  while (true) {
    const std::size_t count = file.read_at(offset, buffer);
    offset += count;
    try {
      decompressor->feed(std::span(buffer).first(count), sink);
      if (count == buffer.size()) continue;
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

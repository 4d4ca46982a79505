#include "codec/size_claim.h"

// A frame's header: zstd has that only for those who link it into their own program, as we do.
#define ZSTD_STATIC_LINKING_ONLY
#include <lz4frame.h>
#include <zstd.h>

#include <array>
#include <memory>
#include <span>

#include "codec/zstd_frames.h"

namespace weir::codec {

namespace {

SizeClaim zstd_claim(const ReadAt& read_at, std::uint64_t content_size) {
  std::array<std::byte, ZSTD_FRAMEHEADERSIZE_MAX> front{};
  const auto count = read_at(0, front);
  ZSTD_frameHeader header{};
  if (ZSTD_getFrameHeader(&header, front.data(), count) != 0) return SizeClaim::differs;
  if (header.frameType != ZSTD_frame || header.frameContentSize == ZSTD_CONTENTSIZE_UNKNOWN)
    return SizeClaim::none;
  if (header.frameContentSize == content_size) return SizeClaim::fits;
  for (const int level : {1, 3, 4})
    if (header.frameContentSize == first_frame(level, content_size)) return SizeClaim::fits;
  return SizeClaim::differs;
}

/// The last four bytes are the size of the last member (RFC 1952, 2.3.1).
SizeClaim gzip_claim(const ReadAt& read_at, std::uint64_t file_size, std::uint64_t content_size) {
  constexpr std::uint64_t kLeast = 18;  // header and trailer
  std::array<std::byte, 2> front{};
  std::array<std::byte, 4> end{};
  if (file_size < kLeast || read_at(0, front) != front.size() || front[0] != std::byte{0x1F} ||
      front[1] != std::byte{0x8B} || read_at(file_size - end.size(), end) != end.size())
    return SizeClaim::differs;
  std::uint32_t size = 0;
  for (std::size_t i = 0; i < end.size(); ++i)
    size |= std::to_integer<std::uint32_t>(end[i]) << 8 * i;
  return size == static_cast<std::uint32_t>(content_size) ? SizeClaim::fits : SizeClaim::differs;
}

SizeClaim lz4_claim(const ReadAt& read_at, std::uint64_t content_size) {
  std::array<std::byte, LZ4F_HEADER_SIZE_MAX> front{};
  auto count = read_at(0, front);
  LZ4F_dctx* made = nullptr;
  if (LZ4F_isError(LZ4F_createDecompressionContext(&made, LZ4F_VERSION))) return SizeClaim::none;
  const std::unique_ptr<LZ4F_dctx, decltype(&LZ4F_freeDecompressionContext)> context(
      made, LZ4F_freeDecompressionContext);
  LZ4F_frameInfo_t frame{};
  if (LZ4F_isError(LZ4F_getFrameInfo(context.get(), &frame, front.data(), &count)))
    return SizeClaim::differs;
  if (frame.frameType != LZ4F_frame || frame.contentSize == 0) return SizeClaim::none;
  return frame.contentSize == content_size ? SizeClaim::fits : SizeClaim::differs;
}

}  // namespace

SizeClaim size_claim(Method method, const ReadAt& read_at, std::uint64_t file_size,
                     std::uint64_t content_size) {
  switch (method) {
    case Method::zstd:
      return zstd_claim(read_at, content_size);
    case Method::gzip:
      return gzip_claim(read_at, file_size, content_size);
    case Method::lz4:
      return lz4_claim(read_at, content_size);
    case Method::none:
      break;
  }
  return file_size == content_size ? SizeClaim::fits : SizeClaim::differs;
}

}  // namespace weir::codec

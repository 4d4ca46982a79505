#include "codec/size_claim.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <lz4frame.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>

#include "support/bytes.h"

namespace weir::codec::size_claim_test {
namespace {

using test::Bytes;

Bytes compressed(std::string_view how, std::size_t size) {
  const auto raw = test::pattern(size, 3);
  Bytes out;
  const PackedSink sink = [&](auto bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); };
  const auto compressor = make_compressor(Compression::parse(how), raw.size());
  compressor->feed(raw, sink);
  compressor->finish(sink);
  return out;
}

SizeClaim claim(Method method, const Bytes& file, std::uint64_t size) {
  const auto read_at = [&](std::uint64_t at, std::span<std::byte> bytes) {
    const auto count = at < file.size() ? std::min(bytes.size(), file.size() - at) : 0;
    if (count > 0) std::memcpy(bytes.data(), file.data() + at, count);
    return count;
  };
  return size_claim(method, read_at, file.size(), size);
}

constexpr std::uint64_t kMiB = 1 << 20;

TEST(SizeClaim, OfWhatPgweirWritesFitsAtEachLevelAndSize) {
  for (const auto& [how, method] :
       {std::pair{"zstd:1", Method::zstd}, std::pair{"zstd", Method::zstd},
        std::pair{"zstd:9", Method::zstd}, std::pair{"gzip:1", Method::gzip},
        std::pair{"lz4", Method::lz4}, std::pair{"none", Method::none}})
    for (const auto size : {kMiB, 2 * kMiB, 4 * kMiB, 8 * kMiB, 16 * kMiB}) {
      SCOPED_TRACE(fmt::format("{} of {}", how, size));
      const auto file = compressed(how, size);
      EXPECT_EQ(claim(method, file, size), SizeClaim::fits);
      // (Of several frames the first one says how much is in it alone.)
      if (method != Method::zstd || size == kMiB) {
        EXPECT_EQ(claim(method, file, size + 8192), SizeClaim::differs);
      }
      EXPECT_EQ(claim(method, compressed(how, 1000), size), SizeClaim::differs);
    }
}

TEST(SizeClaim, OfAFileThatIsNoSuchThingDiffers) {
  for (const auto method : {Method::zstd, Method::gzip, Method::lz4}) {
    EXPECT_EQ(claim(method, {}, kMiB), SizeClaim::differs);
    EXPECT_EQ(claim(method, Bytes(100), kMiB), SizeClaim::differs);
    EXPECT_EQ(claim(method, test::pattern(100, 1), kMiB), SizeClaim::differs);
  }
}

TEST(SizeClaim, IsNoneWhereTheWriterDidNotSay) {
  // As "zstd < segment" and pg_receivewal's lz4 make them.
  const auto raw = test::pattern(kMiB, 5);
  Bytes zstd(ZSTD_compressBound(raw.size()));
  ZSTD_CCtx* const context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0);
  zstd.resize(ZSTD_compress2(context, zstd.data(), zstd.size(), raw.data(), raw.size()));
  ZSTD_freeCCtx(context);
  EXPECT_EQ(claim(Method::zstd, zstd, kMiB), SizeClaim::none);
  Bytes lz4(LZ4F_compressFrameBound(raw.size(), nullptr));
  lz4.resize(LZ4F_compressFrame(lz4.data(), lz4.size(), raw.data(), raw.size(), nullptr));
  EXPECT_EQ(claim(Method::lz4, lz4, kMiB), SizeClaim::none);
}

}  // namespace
}  // namespace weir::codec::size_claim_test

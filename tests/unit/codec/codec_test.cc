#include "codec/codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <lz4frame.h>
#include <zstd.h>

#include <algorithm>

#include "base/error.h"
#include "support/bytes.h"

namespace weir::codec {
namespace {

using test::Bytes;
using ::testing::HasSubstr;

Bytes compress(std::string_view how, std::span<const std::byte> raw, std::size_t piece = 100'000) {
  Bytes out;
  const Sink sink = [&](auto bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); };
  const auto compressor = make_compressor(Compression::parse(how), raw.size());
  for (std::size_t at = 0; at < raw.size(); at += piece)
    compressor->feed(raw.subspan(at, std::min(piece, raw.size() - at)), sink);
  compressor->finish(sink);
  return out;
}

Bytes decompress(Method method, std::span<const std::byte> in, std::size_t piece = 100'000) {
  Bytes out;
  const Sink sink = [&](auto bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); };
  const auto decompressor = make_decompressor(method);
  for (std::size_t at = 0; at < in.size(); at += piece)
    decompressor->feed(in.subspan(at, std::min(piece, in.size() - at)), sink);
  decompressor->finish();
  return out;
}

template <typename Action>
ErrorKind kind_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.kind();
  }
  ADD_FAILURE() << "no error";
  return ErrorKind::usage;
}

constexpr std::pair<const char*, Method> kMethods[] = {
    {"none", Method::none},    {"zstd", Method::zstd}, {"zstd:1", Method::zstd},
    {"zstd:19", Method::zstd}, {"gzip", Method::gzip}, {"gzip:1", Method::gzip},
    {"lz4", Method::lz4},      {"lz4:9", Method::lz4},
};

TEST(Codec, GivesBackWhatItWasFedInPiecesOfAnySize) {
  for (const auto& [how, method] : kMethods)
    for (const std::size_t size : {0, 1, 1000, 300'000, 5'000'000})
      for (const std::size_t piece : {std::size_t{977}, std::size_t{1 << 20}}) {
        if (size > 100'000 && std::string_view(how).size() > 6) continue;  // high levels are slow
        if (size > 100'000 && piece < 1000 && method == Method::lz4) continue;
        SCOPED_TRACE(::testing::Message() << how << ", " << size << " bytes by " << piece);
        const Bytes raw = test::pattern(size, 1);
        const Bytes packed = compress(how, raw, piece);
        EXPECT_TRUE(decompress(method, packed, piece) == raw);
        if (size > 0 && method != Method::none) {
          EXPECT_LT(compress(how, Bytes(size)).size(), size + 64);
          EXPECT_TRUE(decompress(method, compress(how, Bytes(size))) == Bytes(size));
        }
      }
}

TEST(Codec, ReadsOneByteAtATime) {
  const Bytes raw = test::pattern(30'000, 2);
  for (const auto& [how, method] : kMethods) {
    SCOPED_TRACE(how);
    EXPECT_TRUE(decompress(method, compress(how, raw), 1) == raw);
  }
}

TEST(Codec, ReadsFramesInARow) {
  const Bytes first = test::pattern(300'000, 3);
  const Bytes second = test::pattern(200'000, 4);
  Bytes both = first;
  both.insert(both.end(), second.begin(), second.end());
  for (const auto& [how, method] : kMethods) {
    SCOPED_TRACE(how);
    Bytes packed = compress(how, first);
    const Bytes more = compress(how, second);
    packed.insert(packed.end(), more.begin(), more.end());
    for (const std::size_t piece : {std::size_t{1}, std::size_t{1 << 20}})
      EXPECT_TRUE(decompress(method, packed, piece) == both);
  }
}

TEST(Codec, PutsContentSizeAndChecksumIntoTheFrame) {
  const Bytes raw = test::pattern(100'000, 5);
  const Bytes zstd = compress("zstd", raw);
  EXPECT_EQ(ZSTD_getFrameContentSize(zstd.data(), zstd.size()), raw.size());
  EXPECT_NE(static_cast<unsigned>(zstd[4]) & 0x04u, 0u);  // Content_Checksum_flag, RFC 8878 3.1.1.1
  const Bytes lz4 = compress("lz4", raw);
  LZ4F_dctx* context = nullptr;
  ASSERT_FALSE(LZ4F_isError(LZ4F_createDecompressionContext(&context, LZ4F_VERSION)));
  LZ4F_frameInfo_t info{};
  std::size_t size = lz4.size();
  EXPECT_FALSE(LZ4F_isError(LZ4F_getFrameInfo(context, &info, lz4.data(), &size)));
  EXPECT_EQ(info.contentSize, raw.size());
  EXPECT_EQ(info.contentChecksumFlag, LZ4F_contentChecksumEnabled);
  LZ4F_freeDecompressionContext(context);
}

TEST(Codec, ReadsLz4FramesWithoutSizeAndChecksum) {  // as pg_receivewal writes them
  const Bytes raw = test::pattern(100'000, 6);
  Bytes packed(LZ4F_compressFrameBound(raw.size(), nullptr));
  packed.resize(LZ4F_compressFrame(packed.data(), packed.size(), raw.data(), raw.size(), nullptr));
  EXPECT_TRUE(decompress(Method::lz4, packed) == raw);
}

TEST(Codec, RefusesEveryKindOfDamage) {
  const Bytes raw = test::pattern(200'000, 7);
  for (const auto& [how, method] : kMethods) {
    if (method == Method::none) continue;
    const Bytes sound = compress(how, raw);
    const auto expect_damage = [&, m = method](const char* what, Bytes bytes) {
      for (const std::size_t piece : {std::size_t{333}, std::size_t{1 << 20}}) {
        SCOPED_TRACE(::testing::Message() << how << ": " << what << " by " << piece);
        EXPECT_EQ(kind_of([&] { decompress(m, bytes, piece); }), ErrorKind::damage);
      }
    };
    expect_damage("nothing at all", {});
    expect_damage("text", test::bytes_of("not compressed, only called so"));
    expect_damage("zeros", Bytes(1000));
    for (const std::size_t left : {std::size_t{1}, std::size_t{3}, std::size_t{10},
                                   sound.size() / 2, sound.size() - 4, sound.size() - 1})
      expect_damage("cut", Bytes(sound.begin(), sound.begin() + static_cast<long>(left)));
    for (const char* rubbish : {"x", "\0\0\0\0\0\0\0\0", "rubbish behind the end"}) {
      Bytes longer = sound;
      const std::string_view text =
          *rubbish == '\0' ? std::string_view(rubbish, 8) : std::string_view(rubbish);
      for (const char c : text) longer.push_back(static_cast<std::byte>(c));
      expect_damage("rubbish behind the end", longer);
    }
    for (const std::size_t at : {sound.size() / 3, sound.size() / 2, sound.size() - 1}) {
      Bytes flipped = sound;
      flipped[at] ^= std::byte{0x10};
      expect_damage("a flipped bit", flipped);
    }
  }
}

TEST(Codec, LetsWhatTheSinkThrowsPass) {
  struct Stop {};
  for (const auto& [how, method] : kMethods) {
    SCOPED_TRACE(how);
    const Bytes packed = compress(how, test::pattern(200'000, 8));
    EXPECT_THROW(make_decompressor(method)->feed(packed, [](auto) { throw Stop(); }), Stop);
  }
}

TEST(Compression, IsReadFromAnOption) {
  struct Case {
    const char* text;
    Method method;
    int level;
  };
  for (const Case& c : {Case{"none", Method::none, 0}, Case{"zstd", Method::zstd, 3},
                        Case{"zstd:1", Method::zstd, 1}, Case{"zstd:22", Method::zstd, 22},
                        Case{"gzip", Method::gzip, 6}, Case{"gzip:9", Method::gzip, 9},
                        Case{"lz4", Method::lz4, 1}, Case{"lz4:12", Method::lz4, 12}}) {
    SCOPED_TRACE(c.text);
    const Compression compression = Compression::parse(c.text);
    EXPECT_EQ(compression.method, c.method);
    EXPECT_EQ(compression.level, c.level);
  }
}

TEST(Compression, SaysWhatIsAllowed) {
  struct Case {
    const char* text;
    const char* hint;
  };
  for (const Case& c : {Case{"", "zstd, gzip or lz4"}, Case{"bzip2", "zstd, gzip or lz4"},
                        Case{"ZSTD", "zstd, gzip or lz4"}, Case{"3", "zstd, gzip or lz4"},
                        Case{":3", "zstd, gzip or lz4"}, Case{"none:1", "no level"},
                        Case{"zstd:", "from 1 to 22"}, Case{"zstd:0", "from 1 to 22"},
                        Case{"zstd:23", "from 1 to 22"}, Case{"zstd:-5", "from 1 to 22"},
                        Case{"zstd:3x", "from 1 to 22"}, Case{"zstd: 3", "from 1 to 22"},
                        Case{"zstd:99999999999", "from 1 to 22"}, Case{"gzip:10", "from 1 to 9"},
                        Case{"lz4:13", "from 1 to 12"}, Case{"lz4:0", "from 1 to 12"}}) {
    SCOPED_TRACE(c.text);
    try {
      static_cast<void>(Compression::parse(c.text));
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::usage);
      EXPECT_THAT(error.hint(), HasSubstr(c.hint));
      EXPECT_THAT(error.what(), HasSubstr(c.text));
    }
  }
}

TEST(Codec, RefusesAZstdFrameOfAnotherSizeThanItSaysHoweverItIsCut) {
  // One empty block, where the header says 222 bytes; found by fuzzing.
  constexpr unsigned char kFrame[] = {0x28, 0xb5, 0x2f, 0xfd, 0x24, 0xde, 0x01,
                                      0x00, 0x00, 0x99, 0xe9, 0xd8, 0x51};
  const auto frame = std::as_bytes(std::span(kFrame));
  for (std::size_t piece = 1; piece <= frame.size(); ++piece) {
    SCOPED_TRACE(piece);
    const auto decompressor = make_decompressor(Method::zstd);
    EXPECT_THROW(
        {
          for (std::size_t at = 0; at < frame.size(); at += piece)
            decompressor->feed(frame.subspan(at, std::min(piece, frame.size() - at)), [](auto) {});
          decompressor->finish();
        },
        Error);
  }
}

}  // namespace
}  // namespace weir::codec

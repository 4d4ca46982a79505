#include "codec/codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <lz4frame.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "base/error.h"
#include "codec/names.h"
#include "support/bytes.h"

namespace weir::codec::codec_test {
namespace {

using test::Bytes;
using ::testing::HasSubstr;

Bytes compress(std::string_view how, std::span<const std::byte> raw, std::size_t piece = 100'000) {
  Bytes out;
  const PackedSink sink = [&](auto bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); };
  const auto compressor = make_compressor(Compression::parse(how), raw.size());
  for (std::size_t at = 0; at < raw.size(); at += piece)
    compressor->feed(raw.subspan(at, std::min(piece, raw.size() - at)), sink);
  compressor->finish(sink);
  return out;
}

Bytes decompress(Method method, std::span<const std::byte> in, std::size_t piece = 100'000) {
  Bytes out;
  const Sink sink = [&](auto bytes) {
    out.insert(out.end(), bytes.begin(), bytes.end());
    return true;
  };
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

/// As WAL is: records of an insert, whose heads and rows differ in a few bytes from one to the
/// next.
Bytes insert_records(std::size_t size) {
  Bytes out;
  std::mt19937 random(7);
  const auto add = [&](std::uint64_t value, std::size_t bytes) {
    for (std::size_t i = 0; i < bytes; ++i) out.push_back(static_cast<std::byte>(value >> 8 * i));
  };
  for (std::uint64_t row = 0; out.size() < size; ++row) {
    const auto begin = out.size();
    add(120, 4);                           // length
    add(750 + row / 1000, 4);              // transaction
    add(0x16'0000'0000 + begin - 120, 8);  // the record before
    add(0x0a00, 4);                        // what it is
    add(random(), 4);                      // checksum
    add(0x0000'4000'0630, 6);              // of which file
    add(row / 61, 4);                      // page
    add(row % 61 + 1, 2);                  // line
    add(row, 4);                           // the row
    add(row / 100'000, 4);
    add(random() % 100'000, 4);
    for (int i = 0; i < 72; ++i) out.push_back(std::byte{' '});
  }
  out.resize(size);
  return out;
}

TEST(Codec, OfWalMakesNoMoreThanZstdItselfAtItsLevel) {
  const auto raw = insert_records(16 << 20);
  for (const int level : {1, 2, 3}) {
    SCOPED_TRACE(level);
    Bytes whole(ZSTD_compressBound(raw.size()));
    const auto size = ZSTD_compress(whole.data(), whole.size(), raw.data(), raw.size(), level);
    ASSERT_FALSE(ZSTD_isError(size));
    // In one frame, which only one thread could unpack.
    EXPECT_LE(static_cast<double>(compress(fmt::format("zstd:{}", level), raw, raw.size()).size()),
              1.02 * static_cast<double>(size));
  }
}

TEST(Codec, ReadsLz4FramesWithoutSizeAndChecksum) {  // as pg_receivewal writes them
  const Bytes raw = test::pattern(100'000, 6);
  Bytes packed(LZ4F_compressFrameBound(raw.size(), nullptr));
  packed.resize(LZ4F_compressFrame(packed.data(), packed.size(), raw.data(), raw.size(), nullptr));
  EXPECT_TRUE(decompress(Method::lz4, packed) == raw);
}

TEST(Codec, RefusesEveryKindOfDamage) {
  const Bytes raw = test::pattern(200'000, 7);
  for (const auto& each : kMethods) {
    const auto method = each.second;
    if (method == Method::none) continue;
    const Bytes sound = compress(each.first, raw);
    const auto expect_damage = [&](const char* what, Bytes bytes) {
      for (const std::size_t piece : {std::size_t{333}, std::size_t{1 << 20}}) {
        SCOPED_TRACE(::testing::Message() << each.first << ": " << what << " by " << piece);
        EXPECT_EQ(kind_of([&] { decompress(method, bytes, piece); }), ErrorKind::damage);
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

TEST(Codec, UnpacksIntoWhatItIsGiven) {
  for (const auto& [how, method] : kMethods)
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{70'000}})
      for (const std::size_t in : {std::size_t{1}, std::size_t{1000}, std::size_t{1 << 20}})
        for (const std::size_t out : {std::size_t{1}, std::size_t{777}, std::size_t{70'000}}) {
          SCOPED_TRACE(std::string(how) + " " + std::to_string(size) + " bytes, in pieces of " +
                       std::to_string(in) + ", out of " + std::to_string(out));
          const auto raw = test::pattern(size, 4);
          // Twice: a frame may end with the output full.
          auto packed = compress(how, raw);
          const auto again = packed;
          packed.insert(packed.end(), again.begin(), again.end());
          const auto decompressor = make_decompressor(method);
          Bytes content;
          Bytes buffer(out);
          for (std::size_t at = 0; at < packed.size(); at += in) {
            auto rest = std::span(packed).subspan(at, std::min(in, packed.size() - at));
            for (;;) {
              const auto step = decompressor->unpack(rest, buffer);
              rest = rest.subspan(step.taken);
              content.insert(content.end(), buffer.begin(),
                             buffer.begin() + static_cast<std::ptrdiff_t>(step.given));
              if (rest.empty() && step.given < buffer.size()) break;
            }
          }
          decompressor->finish();
          Bytes twice = raw;
          twice.insert(twice.end(), raw.begin(), raw.end());
          EXPECT_EQ(content, twice);
        }
}

TEST(Codec, EndsWhereTheSinkHasEnough) {
  for (const auto& [how, method] : kMethods) {
    SCOPED_TRACE(how);
    const Bytes packed = compress(how, test::pattern(1'000'000, 8));
    int calls = 0;
    EXPECT_FALSE(make_decompressor(method)->feed(packed, [&](auto) { return ++calls < 1; }));
    EXPECT_EQ(calls, 1);
  }
}

TEST(Codec, LetsWhatTheSinkThrowsPass) {
  struct Stop {};
  for (const auto& [how, method] : kMethods) {
    SCOPED_TRACE(how);
    const Bytes packed = compress(how, test::pattern(200'000, 8));
    EXPECT_THROW(make_decompressor(method)->feed(packed, [](auto) -> bool { throw Stop(); }), Stop);
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
            decompressor->feed(frame.subspan(at, std::min(piece, frame.size() - at)),
                               [](auto) { return true; });
          decompressor->finish();
        },
        Error);
  }
}

// ---- the last frame of its own

Bytes one_frame(std::span<const std::byte> raw, bool with_size) {
  Bytes packed(ZSTD_compressBound(raw.size()));
  auto* const context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, with_size ? 1 : 0);
  packed.resize(ZSTD_compress2(context, packed.data(), packed.size(), raw.data(), raw.size()));
  ZSTD_freeCCtx(context);
  return packed;
}

std::vector<Frame> frames_of(std::span<const std::byte> file, std::uint64_t content_size,
                             Method method = Method::zstd) {
  const ReadAt read_at = [&](std::uint64_t offset, std::span<std::byte> bytes) {
    const auto there = file.subspan(std::min<std::size_t>(offset, file.size()));
    const auto count = std::min(there.size(), bytes.size());
    std::copy_n(there.begin(), count, bytes.begin());
    return count;
  };
  return find_frames(method, read_at, file.size(), content_size);
}

/// Its frames begin there, and each has its part of the content.
void check_frames(std::span<const std::byte> raw, std::span<const std::byte> packed,
                  std::span<const std::size_t> begins) {
  const auto frames = frames_of(packed, raw.size());
  ASSERT_EQ(frames.size(), begins.size());
  FrameDecompressor decompressor;
  std::uint64_t end = 0;
  for (std::size_t i = 0; i < frames.size(); ++i) {
    const auto& frame = frames[i];
    EXPECT_EQ(frame.content_offset, begins[i]);
    EXPECT_EQ(frame.offset, end);
    end += frame.size;
    Bytes content(frame.content_size);
    decompressor.unpack(packed.subspan(frame.offset, frame.size), content);
    EXPECT_TRUE(std::equal(content.begin(), content.end(),
                           raw.begin() + static_cast<std::ptrdiff_t>(frame.content_offset)));
  }
  EXPECT_EQ(end, packed.size());
  EXPECT_EQ(frames.back().content_offset + frames.back().content_size, raw.size());
}

TEST(FindFrames, FindsThoseThatTheCompressorMakes) {
  constexpr std::size_t kMiB = 1 << 20;
  struct Case {
    const char* how;
    std::size_t size;
    std::vector<std::size_t> begins;  ///< in the content
  };
  for (const auto& c :
       {Case{"zstd:1", 1000, {0}}, Case{"zstd:1", kMiB, {0, kMiB * 15 / 16}},
        Case{"zstd:1", 3'000'001, {0, 2 * kMiB, 2'812'501}},
        Case{"zstd:2",
             16 * kMiB,
             {0, 2 * kMiB, 4 * kMiB, 6 * kMiB, 8 * kMiB, 10 * kMiB, 12 * kMiB, 14 * kMiB,
              15 * kMiB}},
        Case{"zstd:3", 16 * kMiB, {0, 5 * kMiB, 10 * kMiB, 15 * kMiB}},
        Case{"zstd:4", 16 * kMiB, {0, 15 * kMiB}}, Case{"zstd:4", 40 * kMiB, {0, 39 * kMiB}}}) {
    SCOPED_TRACE(fmt::format("{} of {}", c.how, c.size));
    const auto raw = test::pattern(c.size, 5);
    // In pieces that do not end where frames do, as a whole, and in pieces of which the first one
    // ends in the middle of a frame and the second one has the next frames whole.
    for (const std::size_t piece : {std::size_t{100'000}, c.size, 9 * kMiB})
      if (piece != 9 * kMiB || c.size == 16 * kMiB)
        check_frames(raw, compress(c.how, raw, piece), c.begins);
  }
}

TEST(FindFrames, FindsNoneWhereTheyDoNotTellOrDoNotAddUp) {
  const auto raw = test::pattern(2'000'000, 5);
  const auto packed = compress("zstd:1", raw);
  const auto frames = frames_of(packed, raw.size());
  ASSERT_EQ(frames.size(), 2u);
  const auto front = std::span(packed).first(frames[1].offset);
  const auto back = std::span(packed).subspan(frames[1].offset);
  const auto joined = [](std::initializer_list<std::span<const std::byte>> parts) {
    Bytes all;
    for (const auto part : parts) all.insert(all.end(), part.begin(), part.end());
    return all;
  };
  EXPECT_EQ(frames_of(one_frame(raw, true), raw.size()).size(), 1u);
  struct Case {
    const char* name;
    Bytes file;
    std::size_t content = 2'000'000;
  };
  for (const auto& c :
       {Case{"without its size", one_frame(raw, false)}, Case{"nothing", {}}, Case{"no zstd", raw},
        Case{"the last frame is missing", joined({front})},
        Case{"the first one is", joined({back})}, Case{"one too many", joined({front, back, back})},
        Case{"cut", joined({front, back.first(back.size() - 1)})},
        Case{"cut in a block", joined({front, back.first(back.size() - 1000)})},
        Case{"cut in a header", joined({front, back.first(7)})},
        Case{"rubbish behind", joined({packed, std::span(packed).first(3)})},
        Case{"expected to be longer", packed, 2'000'001},
        Case{"expected to be shorter", packed, 1'999'999},
        Case{"expected to be of another size", packed, 5}}) {
    SCOPED_TRACE(c.name);
    EXPECT_TRUE(frames_of(c.file, c.content).empty());
  }
  EXPECT_TRUE(frames_of(packed, raw.size(), Method::gzip).empty());
  Bytes many;
  for (int i = 0; i < 5000; ++i) {
    const auto frame = one_frame(std::span(raw).first(1), true);
    many.insert(many.end(), frame.begin(), frame.end());
  }
  EXPECT_TRUE(frames_of(many, 5000).empty());
}

TEST(FrameDecompressor, RefusesWhatIsNoWholeSoundFrameOfThatSize) {
  const auto raw = test::pattern(100'000, 5);
  const auto packed = compress("zstd:1", raw);
  FrameDecompressor decompressor;
  Bytes content(raw.size());
  const auto unpack = [&](Bytes frame, std::size_t size) {
    decompressor.unpack(frame, std::span(content).first(size));
  };
  auto flipped = packed;
  flipped.back() ^= std::byte{1};  // of its checksum
  EXPECT_THROW(unpack(flipped, raw.size()), Error);
  EXPECT_THROW(unpack(Bytes(packed.begin(), packed.end() - 1), raw.size()), Error);
  EXPECT_THROW(unpack(packed, raw.size() - 1), Error);
  EXPECT_THROW(unpack(compress("zstd:1", std::span(raw).first(99'999)), raw.size()), Error);
  EXPECT_THROW(unpack(Bytes(50), raw.size()), Error);
  unpack(packed, raw.size());
  EXPECT_EQ(content, raw);
}

TEST(Codec, LeavesItsBufferToAnotherThread) {
  const auto raw = test::pattern(700'000, 3);
  for (const auto& [how, method] : kMethods) {
    SCOPED_TRACE(how);
    const auto decompressor = make_decompressor(method);
    std::vector<std::pair<Bytes, std::size_t>> taken;
    decompressor->feed(compress(how, raw), [&](std::span<const std::byte> bytes) {
      taken.emplace_back(decompressor->take_buffer(Bytes(kOutput)), bytes.size());
      return true;
    });
    decompressor->finish();
    Bytes all;
    for (const auto& [buffer, size] : taken)
      all.insert(all.end(), buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_EQ(all, raw);
  }
}

TEST(Codec, ReadsWhatZstdSkips) {
  const auto raw = test::pattern(300'000, 3);
  const auto packed = compress("zstd:1", raw);
  const auto skippable = [](std::size_t size) {
    Bytes bytes(8 + size, std::byte{0x28});
    const std::uint32_t fields[] = {0x184D2A53u, static_cast<std::uint32_t>(size)};
    std::memcpy(bytes.data(), fields, sizeof fields);
    return bytes;
  };
  for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, std::size_t{1000}, raw.size()}) {
    SCOPED_TRACE(piece);
    Bytes file = skippable(0);
    for (const auto& part : {skippable(70'000), packed, skippable(5)})
      file.insert(file.end(), part.begin(), part.end());
    const auto read = [&] {
      const auto decompressor = make_decompressor(Method::zstd);
      Bytes all;
      for (std::size_t at = 0; at < file.size(); at += piece)
        decompressor->feed(std::span(file).subspan(at, std::min(piece, file.size() - at)),
                           [&](auto bytes) {
                             all.insert(all.end(), bytes.begin(), bytes.end());
                             return true;
                           });
      decompressor->finish();
      return all;
    };
    EXPECT_EQ(read(), raw);
    file.pop_back();
    EXPECT_THROW(read(), Error);
  }
}

TEST(Codec, IgnoresOnlyTheChecksumWhereItIsToldTo) {
  const auto raw = test::pattern(300'000, 3);
  auto packed = compress("zstd:1", raw);
  packed.back() ^= std::byte{1};
  EXPECT_THROW(decompress(Method::zstd, packed), Error);
  const auto decompressor = make_decompressor(Method::zstd, Checksums::ignored);
  Bytes all;
  const Sink sink = [&](auto bytes) {
    all.insert(all.end(), bytes.begin(), bytes.end());
    return true;
  };
  decompressor->feed(packed, sink);
  decompressor->finish();
  EXPECT_EQ(all, raw);
  const auto cut = make_decompressor(Method::zstd, Checksums::ignored);
  cut->feed(std::span(packed).first(packed.size() - 1), sink);
  EXPECT_THROW(cut->finish(), Error);
}

TEST(Codec, NamesWhatItCompressesBy) {
  EXPECT_EQ(form_name(Method::none), "raw");
  for (const auto method : {Method::zstd, Method::gzip, Method::lz4}) {
    SCOPED_TRACE(form_name(method));
    const auto usual = usual_compression(method);
    const auto parsed = Compression::parse(form_name(method));
    EXPECT_EQ(usual.method, method);
    EXPECT_EQ(parsed.method, method);
    EXPECT_EQ(usual.level, parsed.level);
    EXPECT_GT(usual.level, 0);
  }
  EXPECT_EQ(usual_compression(Method::none).method, Method::none);
  EXPECT_EQ(usual_compression(Method::none).level, Compression::parse("none").level);
}

}  // namespace
}  // namespace weir::codec::codec_test

// Decompressors: only Error{damage}, and the same bytes however the input was cut.

#include <algorithm>
#include <optional>

#include "codec/codec.h"
#include "fuzz.h"

using namespace weir;

namespace {

constexpr codec::Method kMethods[] = {codec::Method::gzip, codec::Method::lz4, codec::Method::zstd};
/// A few bytes can stand for very many.
constexpr std::size_t kMost = 4 << 20;

struct Outcome {
  test::Bytes raw;
  bool sound = false;
};

/// nullopt: more than kMost.
std::optional<Outcome> decompress(codec::Method method, std::span<const std::byte> input,
                                  std::size_t piece) {
  Outcome outcome;
  const auto decompressor = codec::make_decompressor(method);
  const auto sink = [&](std::span<const std::byte> raw) {
    outcome.raw.insert(outcome.raw.end(), raw.begin(), raw.end());
    return outcome.raw.size() <= kMost;
  };
  try {
    while (!input.empty()) {
      const auto part = input.first(std::min(piece, input.size()));
      input = input.subspan(part.size());
      if (!decompressor->feed(part, sink)) return std::nullopt;
    }
    decompressor->finish();
    outcome.sound = true;
  } catch (const Error& error) {
    PGWEIR_CHECK(error.kind() == ErrorKind::damage);
  }
  return outcome;
}

/// Frame by frame it is the same, where there are such.
void check_frames(codec::Method method, std::span<const std::byte> input, const Outcome& whole) {
  const codec::ReadAt read_at = [&](std::uint64_t offset, std::span<std::byte> bytes) {
    const auto there = input.subspan(std::min<std::size_t>(offset, input.size()));
    const auto count = std::min(there.size(), bytes.size());
    std::copy_n(there.begin(), count, bytes.begin());
    return count;
  };
  const auto frames = codec::find_frames(method, read_at, input.size(), whole.raw.size());
  test::Bytes raw(whole.raw.size());
  codec::FrameDecompressor decompressor;
  try {
    for (const auto& frame : frames)
      decompressor.unpack(input.subspan(frame.offset, frame.size),
                          std::span(raw).subspan(frame.content_offset, frame.content_size));
  } catch (const Error& error) {
    PGWEIR_CHECK(error.kind() == ErrorKind::damage && !whole.sound);
    return;
  }
  PGWEIR_CHECK(frames.empty() || (whole.sound && whole.raw == raw));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto input = fuzz::bytes(data, size);
  const auto how = fuzz::take(input);
  const auto method = kMethods[how % std::size(kMethods)];
  const auto whole = decompress(method, input, SIZE_MAX);
  const auto pieces = decompress(method, input, 1 + how / std::size(kMethods));
  if (!whole || !pieces) return 0;
  PGWEIR_CHECK(whole->sound == pieces->sound);
  // Of a broken stream more or less may have come out before the damage was seen.
  PGWEIR_CHECK(!whole->sound || whole->raw == pieces->raw);
  check_frames(method, input, *whole);
  return 0;
}

std::vector<test::Bytes> fuzz::corpus() {
  std::vector<test::Bytes> inputs;
  for (std::uint8_t method = 0; method < std::size(kMethods); ++method)
    for (const std::size_t size : {0, 1, 500, 70'000}) {
      const auto raw = test::pattern(size, 7);
      const char* const names[] = {"gzip", "lz4", "zstd"};
      test::Bytes input{static_cast<std::byte>(method + 3 * (size % 50))};
      const auto sink = [&](std::span<const std::byte> piece) {
        input.insert(input.end(), piece.begin(), piece.end());
      };
      for (int frames = size == 500 ? 2 : 1; frames > 0; --frames) {
        const auto compressor =
            codec::make_compressor(codec::Compression::parse(names[method]), raw.size());
        compressor->feed(raw, sink);
        compressor->finish(sink);
      }
      inputs.push_back(std::move(input));
    }
  return inputs;
}

#include "codec/codec.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "codec/methods.h"
#include "codec/names.h"

namespace weir::codec {

namespace {

struct Range {
  std::string_view name;
  Method method;
  int least;
  int most;
  int usual;
};
constexpr std::array kRanges = {
    Range{"zstd", Method::zstd, 1, 22, 3},
    Range{"gzip", Method::gzip, 1, 9, 6},
    Range{"lz4", Method::lz4, 1, 12, 1},
};

/// For an uncompressed file, so that readers treat both alike.
class Passing final : public Compressor, public Decompressor {
 public:
  void feed(std::span<const std::byte> bytes, const PackedSink& sink) override {
    if (!bytes.empty()) sink(bytes);
  }
  void finish(const PackedSink&) override {}
  Step unpack(std::span<const std::byte> bytes, std::span<std::byte> out) override {
    const auto count = std::min(bytes.size(), out.size());
    std::copy_n(bytes.begin(), count, out.begin());
    return {count, count};
  }
  bool feed(std::span<const std::byte> bytes, const Sink& sink) override {
    given_ = bytes;
    return bytes.empty() || sink(bytes);
  }
  void finish() override {}
  std::vector<std::byte> take_buffer(std::vector<std::byte>) override {
    return {given_.begin(), given_.end()};
  }

 private:
  std::span<const std::byte> given_;
};

}  // namespace

bool Decompressor::feed(std::span<const std::byte> compressed, const Sink& sink) {
  if (buffer_.empty()) buffer_.resize(kBuffer);
  for (;;) {
    const auto step = unpack(compressed, buffer_);
    compressed = compressed.subspan(step.taken);
    if (step.given > 0 && !sink(std::span(buffer_).first(step.given))) return false;
    if (compressed.empty() && step.given < buffer_.size()) return true;
  }
}

std::vector<std::byte> Decompressor::take_buffer(std::vector<std::byte> fresh) {
  PGWEIR_CHECK(fresh.size() == buffer_.size());
  return std::exchange(buffer_, std::move(fresh));
}

std::string_view suffix(Method method) {
  switch (method) {
    case Method::none:
      return "";
    case Method::gzip:
      return ".gz";
    case Method::lz4:
      return ".lz4";
    case Method::zstd:
      return ".zst";
  }
  return "";
}

std::string_view form_name(Method method) {
  const auto range = std::find_if(kRanges.begin(), kRanges.end(),
                                  [&](const Range& known) { return known.method == method; });
  return range == kRanges.end() ? "raw" : range->name;
}

Compression usual_compression(Method method) {
  const auto range = std::find_if(kRanges.begin(), kRanges.end(),
                                  [&](const Range& known) { return known.method == method; });
  return {method, range == kRanges.end() ? 0 : range->usual};
}

Compression Compression::parse(std::string_view text) {
  if (text == "none") return {};
  const auto colon = text.find(':');
  const std::string_view name = text.substr(0, colon);
  const auto range = std::find_if(kRanges.begin(), kRanges.end(),
                                  [&](const Range& known) { return known.name == name; });
  if (range == kRanges.end())
    throw Error(ErrorKind::usage, fmt::format("unknown compression \"{}\"", text))
        .hint(name == "none"
                  ? "\"none\" has no level."
                  : "Use none, zstd, gzip or lz4, optionally with a level, as in zstd:3.");
  if (colon == std::string_view::npos) return {range->method, range->usual};
  const auto level = parse_number<int>(text.substr(colon + 1));
  if (!level || *level < range->least || *level > range->most)
    throw Error(ErrorKind::usage, fmt::format("invalid compression level in \"{}\"", text))
        .hint(fmt::format("{} supports levels from {} to {}; the default is {}.", range->name,
                          range->least, range->most, range->usual));
  return {range->method, *level};
}

std::uint64_t compression_memory(Compression compression, std::uint64_t content_size) {
  constexpr std::uint64_t kSmall = 1024 * 1024;  // gzip's and lz4's tables
  if (compression.method != Method::zstd) return compression.method == Method::none ? 0 : kSmall;
  return zstd_memory(compression.level, content_size);
}

std::unique_ptr<Compressor> make_compressor(Compression compression, std::uint64_t content_size) {
  switch (compression.method) {
    case Method::gzip:
      return make_gzip_compressor(compression.level, content_size);
    case Method::lz4:
      return make_lz4_compressor(compression.level, content_size);
    case Method::zstd:
      return make_zstd_compressor(compression.level, content_size);
    case Method::none:
      break;
  }
  return std::make_unique<Passing>();
}

std::unique_ptr<Decompressor> make_decompressor(Method method, Checksums checksums) {
  switch (method) {
    case Method::gzip:
      return make_gzip_decompressor();
    case Method::lz4:
      return make_lz4_decompressor();
    case Method::zstd:
      return make_zstd_decompressor(checksums);
    case Method::none:
      break;
  }
  return std::make_unique<Passing>();
}

}  // namespace weir::codec

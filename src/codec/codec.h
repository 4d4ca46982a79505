#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace weir::codec {

enum class Method { none, gzip, lz4, zstd };

/// ".zst", ".gz", ".lz4", "" for none.
[[nodiscard]] std::string_view suffix(Method method);

/// What --compress says: "none", "zstd", "zstd:7", "gzip:1", "lz4". Throws Error{usage} that
/// names the allowed range.
struct Compression {
  Method method = Method::none;
  int level = 0;  ///< already the method's default where none was given
  [[nodiscard]] static Compression parse(std::string_view text);
};

/// Receives output pieces, valid during the call. What it throws passes through.
using Sink = std::function<void(std::span<const std::byte>)>;

/// One compressed frame: feed() any number of times, finish() once. zstd: content size and
/// checksum are in the frame; lz4: the frame format with content size and checksum; gzip: one
/// member. One thread.
class Compressor {
 public:
  virtual ~Compressor() = default;
  virtual void feed(std::span<const std::byte> raw, const Sink& sink) = 0;
  virtual void finish(const Sink& sink) = 0;
};
/// `content_size` is the exact number of raw bytes that will be fed.
[[nodiscard]] std::unique_ptr<Compressor> make_compressor(Compression compression,
                                                          std::uint64_t content_size);

/// The other way: takes frames (several in a row too, as `zstd -T0` or appended gzip members
/// are), gives raw bytes. Throws Error{damage} for bytes that are no such stream, a wrong
/// checksum, or rubbish after the last frame. One thread.
class Decompressor {
 public:
  virtual ~Decompressor() = default;
  virtual void feed(std::span<const std::byte> compressed, const Sink& sink) = 0;
  /// Call at the end of the input. Throws Error{damage} if the last frame is not complete.
  virtual void finish() = 0;
};
[[nodiscard]] std::unique_ptr<Decompressor> make_decompressor(Method method);

}  // namespace weir::codec

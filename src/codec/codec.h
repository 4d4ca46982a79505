#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace weir::codec {

enum class Method { none, gzip, lz4, zstd };

/// ".zst", ".gz", ".lz4", "" for none.
[[nodiscard]] std::string_view suffix(Method method);

/// The value of --compress: "none", "zstd", "zstd:7", "gzip:1", "lz4". Throws Error{usage} that
/// names the allowed range.
struct Compression {
  Method method = Method::none;
  int level = 0;  ///< already the method's default if no level was given
  [[nodiscard]] static Compression parse(std::string_view text);
};

/// Approximate memory of a Compressor for that many bytes, in bytes; slightly overestimated, never
/// underestimated.
[[nodiscard]] std::uint64_t compression_memory(Compression compression, std::uint64_t content_size);

/// Receives content in pieces, valid during the call. Returns whether to continue: false if it has
/// enough. Its exceptions are passed on.
using Sink = std::function<bool(std::span<const std::byte>)>;
/// Receives compressed bytes in pieces, valid during the call: they are usable only if all of them
/// were received. Its exceptions are passed on.
using PackedSink = std::function<void(std::span<const std::byte>)>;

/// Compresses: feed() any number of times, finish() once. zstd: one frame for the last sixteenth
/// and one for the rest, at levels 1 to 3 several of equal content (find_frames()), each with
/// content size and checksum; input that contains a whole frame is not copied; lz4: one frame of
/// the frame format with content size and checksum; gzip: one member. One thread.
class Compressor {
 public:
  virtual ~Compressor() = default;
  virtual void feed(std::span<const std::byte> raw, const PackedSink& sink) = 0;
  virtual void finish(const PackedSink& sink) = 0;
};
/// `content_size` is the exact number of raw bytes that will be fed.
[[nodiscard]] std::unique_ptr<Compressor> make_compressor(Compression compression,
                                                          std::uint64_t content_size);

/// Maximum number of bytes that a decompressor passes to a sink at once.
inline constexpr std::size_t kOutput = 128 * 1024;

/// Decompresses: accepts frames (several in a row too, as from `zstd -T0` or appended gzip
/// members), returns raw bytes. Throws Error{damage} for bytes in a different format, a wrong
/// checksum, or garbage after the last frame. Either the content is requested (unpack()) or it is
/// passed to a sink (feed()), not both. One thread.
class Decompressor {
 public:
  virtual ~Decompressor() = default;
  struct Step {
    std::size_t taken = 0;  ///< bytes of the input
    std::size_t given = 0;  ///< bytes of the output
  };
  /// Consumes input and returns as much content as fits. As long as `given` is out.size() there may
  /// be more: call again, with the rest of the input, even if that is empty.
  [[nodiscard]] virtual Step unpack(std::span<const std::byte> compressed,
                                    std::span<std::byte> out) = 0;
  /// False if the sink has had enough: then this object has done its work, and is only destroyed.
  virtual bool feed(std::span<const std::byte> compressed, const Sink& sink);
  /// Call at the end of the input. Throws Error{damage} if the last frame is not complete.
  virtual void finish() = 0;
  /// Called from within a sink: the bytes passed to it are at the front of the returned buffer and
  /// stay there, so that another thread may process them; the decompressor continues with `fresh`,
  /// of kOutput bytes.
  [[nodiscard]] virtual std::vector<std::byte> take_buffer(std::vector<std::byte> fresh);

 private:
  std::vector<std::byte> buffer_;  ///< of feed()
};
enum class Checksums {
  compared,
  ignored,  ///< of zstd frames: for callers that verify the content by other means
};
[[nodiscard]] std::unique_ptr<Decompressor> make_decompressor(
    Method method, Checksums checksums = Checksums::compared);

/// An entry point in a compressed file, whose part can be decompressed independently.
struct Frame {
  std::uint64_t offset = 0;  ///< in the file
  std::uint64_t size = 0;
  std::uint64_t content_offset = 0;
  std::uint64_t content_size = 0;
};
/// Reads up to `bytes.size()` bytes at an offset of the file, fewer only at its end; returns the
/// number read.
using ReadAt = std::function<std::size_t(std::uint64_t offset, std::span<std::byte> bytes)>;
/// Returns all frames, if each declares its content's size, the sum is `content_size`, and there
/// are no more than some thousands; otherwise none. Their content is not read. Only zstd has such
/// frames.
[[nodiscard]] std::vector<Frame> find_frames(Method method, const ReadAt& read_at,
                                             std::uint64_t file_size, std::uint64_t content_size);

/// Decompresses zstd's frames, each at once and independently. One thread.
class FrameDecompressor {
 public:
  FrameDecompressor();
  ~FrameDecompressor();
  FrameDecompressor(const FrameDecompressor&) = delete;
  FrameDecompressor& operator=(const FrameDecompressor&) = delete;
  /// Fills `content`, which must have the size of the frame's content. Throws Error{damage}
  /// otherwise.
  void unpack(std::span<const std::byte> frame, std::span<std::byte> content);

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

}  // namespace weir::codec

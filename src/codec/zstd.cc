// A frame's header, and checksums that are not compared: zstd has that only for those who link it
// into their own program, as we do.
#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "codec/methods.h"
#include "codec/zstd_frames.h"

namespace weir::codec {

namespace {

/// Maximum size of a frame's content compressed in one go, if it arrives at once: larger ones would
/// need as much space again for the output.
constexpr std::uint64_t kMostInOneGo = std::uint64_t{8} << 20;

/// The longest hash and the shortest match of level 1 are designed for any content. WAL is pages
/// and records, with short repetitions and few kinds of them: with these parameters, the output is
/// 1 to 10 % smaller, and the table (32 kB) fits into the CPU's first-level cache.
constexpr int kQuickestLevel = 1;
constexpr int kQuickestHashLog = 13;
constexpr int kQuickestMinMatch = 5;

class ZstdCompressor final : public Compressor {
 public:
  ZstdCompressor(int level, std::uint64_t content_size)
      : context_(ZSTD_createCCtx()),
        expected_(content_size),
        last_frame_(begin_of_last_frame(content_size)),
        most_in_a_frame_(most_in_a_frame(level)) {
    if (!context_) throw library_error("zstd", "out of memory");
    set(ZSTD_c_compressionLevel, level);
    if (level == kQuickestLevel) {
      set(ZSTD_c_hashLog, kQuickestHashLog);
      set(ZSTD_c_minMatch, kQuickestMinMatch);
    }
    set(ZSTD_c_checksumFlag, 1);
    set(ZSTD_c_contentSizeFlag, 1);
    begin_frame();
  }

  void feed(std::span<const std::byte> raw, const PackedSink& sink) override {
    PGWEIR_CHECK(raw.size() <= expected_ - fed_);
    while (!raw.empty()) {
      const auto part = raw.first(
          static_cast<std::size_t>(std::min<std::uint64_t>(raw.size(), frame_end_ - fed_)));
      const bool whole = part.size() == frame_end_ - frame_begin_;
      if (whole && part.size() <= kMostInOneGo)
        pack_frame(part, sink);
      else
        add(part, sink);
      if (fed_ == frame_end_ && fed_ < expected_) begin_frame();
      raw = raw.subspan(part.size());
    }
  }

  void finish(const PackedSink& sink) override {
    PGWEIR_CHECK(fed_ == expected_);
    if (expected_ == 0) end_frame(sink);
  }

 private:
  void begin_frame() {
    const auto border = fed_ < last_frame_ ? last_frame_ : expected_;
    frame_begin_ = fed_;
    frame_end_ = fed_ + std::min(border - fed_, most_in_a_frame_);
  }

  /// Compresses a frame as a whole: the library neither copies it, nor searches for repetitions in
  /// two parts of a ring.
  void pack_frame(std::span<const std::byte> raw, const PackedSink& sink) {
    const auto room = ZSTD_compressBound(raw.size());
    if (room > room_) {
      packed_ = std::make_unique_for_overwrite<std::byte[]>(room);
      room_ = room;
    }
    const auto size =
        check(ZSTD_compress2(context_.get(), packed_.get(), room_, raw.data(), raw.size()));
    fed_ += raw.size();
    sink(std::span(packed_.get(), size));
  }

  /// A part of a frame.
  void add(std::span<const std::byte> raw, const PackedSink& sink) {
    if (fed_ == frame_begin_)
      check(ZSTD_CCtx_setPledgedSrcSize(context_.get(), frame_end_ - frame_begin_));
    fed_ += raw.size();
    ZSTD_inBuffer in{raw.data(), raw.size(), 0};
    while (in.pos < in.size) step(in, ZSTD_e_continue, sink);
    if (fed_ == frame_end_) end_frame(sink);
  }

  void end_frame(const PackedSink& sink) {
    ZSTD_inBuffer in{nullptr, 0, 0};
    while (step(in, ZSTD_e_end, sink) != 0) {
    }
  }

  std::size_t step(ZSTD_inBuffer& in, ZSTD_EndDirective directive, const PackedSink& sink) {
    buffer_.resize(kBuffer);
    ZSTD_outBuffer out{buffer_.data(), buffer_.size(), 0};
    const std::size_t left = check(ZSTD_compressStream2(context_.get(), &out, &in, directive));
    if (out.pos > 0) sink(std::span(buffer_).first(out.pos));
    return left;
  }

  void set(ZSTD_cParameter parameter, int value) {
    check(ZSTD_CCtx_setParameter(context_.get(), parameter, value));
  }

  static std::size_t check(std::size_t result) {
    if (ZSTD_isError(result)) throw library_error("zstd", ZSTD_getErrorName(result));
    return result;
  }

  Owned<ZSTD_CCtx, ZSTD_freeCCtx> context_;
  std::uint64_t expected_;
  std::uint64_t last_frame_;  ///< offset at which it starts
  std::uint64_t most_in_a_frame_;
  std::uint64_t frame_begin_ = 0;  ///< offset of the frame being written
  std::uint64_t frame_end_ = 0;    ///< likewise
  std::uint64_t fed_ = 0;
  std::vector<std::byte> buffer_;        ///< for frames that arrive in parts
  std::unique_ptr<std::byte[]> packed_;  ///< for frames that arrive as a whole: only the used part
                                         ///< of it
  std::size_t room_ = 0;                 ///< it is touched
};

/// Throws if the library rejects its arguments.
std::size_t accepted(std::size_t result) {
  if (!ZSTD_isError(result)) return result;
  const auto reason = ZSTD_getErrorName(result);
  const bool memory = ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation;
  throw memory ? library_error("zstd", reason) : damage("zstd", reason);
}

/// zstd queries the CPU's features (CPUID) for each context, and in a virtual machine that takes
/// longer than decompressing a page. A thread therefore keeps a small context for its next file.
thread_local Owned<ZSTD_DCtx, ZSTD_freeDCtx> spare_context;
constexpr std::size_t kLargestSpare = std::size_t{1} << 20;

class ZstdDecompressor final : public Decompressor {
 public:
  explicit ZstdDecompressor(Checksums checksums) : context_(std::move(spare_context)) {
    if (!context_) context_.reset(ZSTD_createDCtx());
    if (!context_) throw library_error("zstd", "out of memory");
    if (checksums == Checksums::ignored)
      ZSTD_DCtx_setParameter(context_.get(), ZSTD_d_forceIgnoreChecksum, ZSTD_d_ignoreChecksum);
    // The output of `zstd --long=31` is valid, too.
    ZSTD_DCtx_setParameter(context_.get(), ZSTD_d_windowLogMax, 31);
  }
  ~ZstdDecompressor() override {
    if (ZSTD_sizeof_DCtx(context_.get()) <= kLargestSpare &&
        ZSTD_isError(ZSTD_DCtx_reset(context_.get(), ZSTD_reset_session_and_parameters)) == 0)
      spare_context = std::move(context_);
  }
  ZstdDecompressor(const ZstdDecompressor&) = delete;
  ZstdDecompressor& operator=(const ZstdDecompressor&) = delete;

  Step unpack(std::span<const std::byte> compressed, std::span<std::byte> out) override {
    if (compressed.empty() && left_ == 0) return {};  // it would expect another frame
    ZSTD_inBuffer in{compressed.data(), compressed.size(), 0};
    ZSTD_outBuffer given{out.data(), out.size(), 0};
    left_ = accepted(ZSTD_decompressStream(context_.get(), &given, &in));
    const auto taken = compressed.first(in.pos);
    const auto kept = std::min(taken.size(), kMostHeader - header_.size());
    header_.insert(header_.end(), taken.begin(), taken.begin() + static_cast<std::ptrdiff_t>(kept));
    produced_ += given.pos;
    if (left_ == 0) check_content_size();
    return {in.pos, given.pos};
  }

  void finish() override {
    if (left_ != 0) throw damage("zstd", "the end is missing");
  }

 private:
  static constexpr std::size_t kMostHeader = 18;  // ZSTD_FRAMEHEADERSIZE_MAX

  /// libzstd 1.5 compares the frame's size with its content only if the frame does not end in an
  /// empty block, or arrives in one piece.
  void check_content_size() {
    const auto size = ZSTD_getFrameContentSize(header_.data(), header_.size());
    const bool told = size != ZSTD_CONTENTSIZE_UNKNOWN && size != ZSTD_CONTENTSIZE_ERROR;
    if (told && size != produced_)
      throw damage("zstd",
                   fmt::format("the frame header specifies {} bytes, but its content has {}", size,
                               produced_));
    header_.clear();
    produced_ = 0;
  }

  Owned<ZSTD_DCtx, ZSTD_freeDCtx> context_;
  std::vector<std::byte> header_;  ///< the front of the frame, as far as received
  std::uint64_t produced_ = 0;     ///< by this frame
  std::size_t left_ = 1;           ///< 0 at the end of a frame; at the beginning there is none yet
};

}  // namespace

std::unique_ptr<Compressor> make_zstd_compressor(int level, std::uint64_t content_size) {
  return std::make_unique<ZstdCompressor>(level, content_size);
}

std::unique_ptr<Decompressor> make_zstd_decompressor(Checksums checksums) {
  return std::make_unique<ZstdDecompressor>(checksums);
}

std::uint64_t zstd_memory(int level, std::uint64_t content_size) {
  const auto frame = std::min(content_size, most_in_a_frame(level));
  const auto parameters = ZSTD_getCParams(level, frame, 0);
  // In parts, or as a whole: then there is space for the output, and no ring.
  const auto in_parts = ZSTD_estimateCStreamSize_usingCParams(parameters) + kBuffer;
  const auto in_one_go = frame > kMostInOneGo ? 0
                                              : ZSTD_estimateCCtxSize_usingCParams(parameters) +
                                                    ZSTD_compressBound(frame);
  return std::max<std::uint64_t>(in_parts, in_one_go);
}

// ---- Independent frames

namespace {

constexpr std::size_t kBlockHeader = 3;
constexpr std::size_t kChecksum = 4;

/// The size in the file of the frame that starts at `offset` with this header; nullopt if it does
/// not end. Its blocks contain their sizes (RFC 8878, 3.1.1.2).
std::optional<std::uint64_t> size_of_frame(const ZSTD_frameHeader& header, const ReadAt& read_at,
                                           std::uint64_t offset, std::uint64_t file_size) {
  auto at = offset + header.headerSize;
  for (bool last = false; !last;) {
    std::array<std::byte, kBlockHeader> bytes{};
    if (at >= file_size || read_at(at, bytes) != bytes.size()) return std::nullopt;
    const auto value = std::to_integer<std::uint32_t>(bytes[0]) |
                       std::to_integer<std::uint32_t>(bytes[1]) << 8 |
                       std::to_integer<std::uint32_t>(bytes[2]) << 16;
    constexpr std::uint32_t kRepeatedByte = 1, kReserved = 3;
    const auto type = value >> 1 & 3;
    if (type == kReserved) return std::nullopt;
    last = (value & 1) != 0;
    at += kBlockHeader + (type == kRepeatedByte ? 1 : value >> 3);
  }
  if (header.checksumFlag != 0) at += kChecksum;
  return at <= file_size ? std::optional(at - offset) : std::nullopt;
}

}  // namespace

std::vector<Frame> find_frames(Method method, const ReadAt& read_at, std::uint64_t file_size,
                               std::uint64_t content_size) {
  if (method != Method::zstd) return {};
  constexpr std::size_t kMostFrames = 4096;  // a file with more is not a segment, and costs memory
  std::vector<Frame> frames;
  Frame frame;
  while (frame.offset < file_size) {
    if (frames.size() == kMostFrames) return {};
    std::array<std::byte, ZSTD_FRAMEHEADERSIZE_MAX> front{};
    const auto count = read_at(frame.offset, front);
    ZSTD_frameHeader header{};
    if (ZSTD_getFrameHeader(&header, front.data(), count) != 0 || header.frameType != ZSTD_frame ||
        header.frameContentSize == ZSTD_CONTENTSIZE_UNKNOWN ||
        header.frameContentSize > content_size - frame.content_offset)
      return {};
    const auto size = size_of_frame(header, read_at, frame.offset, file_size);
    if (!size) return {};
    frame.size = *size;
    frame.content_size = header.frameContentSize;
    frames.push_back(frame);
    frame.offset += frame.size;
    frame.content_offset += frame.content_size;
  }
  if (frame.content_offset != content_size) return {};
  return frames;
}

struct FrameDecompressor::Context {
  Owned<ZSTD_DCtx, ZSTD_freeDCtx> context{ZSTD_createDCtx()};
};

FrameDecompressor::FrameDecompressor() : context_(std::make_unique<Context>()) {
  if (!context_->context) throw library_error("zstd", "out of memory");
}
FrameDecompressor::~FrameDecompressor() = default;

void FrameDecompressor::unpack(std::span<const std::byte> frame, std::span<std::byte> content) {
  const auto count = accepted(ZSTD_decompressDCtx(context_->context.get(), content.data(),
                                                  content.size(), frame.data(), frame.size()));
  if (count != content.size())
    throw damage("zstd", fmt::format("the frame header specifies {} bytes, but its content has {}",
                                     content.size(), count));
}

}  // namespace weir::codec

#include "codec/codec.h"

// A frame's header, and checksums that are not compared: zstd has that only for those who link it
// into their own program, as we do.
#define ZSTD_STATIC_LINKING_ONLY
#include <lz4frame.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "codec/zstd_frames.h"

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

constexpr std::size_t kBuffer = kOutput;

template <typename T, auto kFree>
struct Freer {
  void operator()(T* object) const { kFree(object); }
};
template <typename T, auto kFree>
using Owned = std::unique_ptr<T, Freer<T, kFree>>;

Error damage(std::string_view method, std::string_view reason) {
  return Error(ErrorKind::damage, fmt::format("broken {} data: {}", method, reason));
}

/// Out of memory, or a call that cannot fail did.
Error library_error(std::string_view method, std::string_view reason) {
  return Error(ErrorKind::io, fmt::format("{} does not work: {}", method, reason));
}

// ---- zstd ----

class ZstdCompressor final : public Compressor {
 public:
  ZstdCompressor(int level, std::uint64_t content_size)
      : context_(ZSTD_createCCtx()),
        expected_(content_size),
        last_frame_(begin_of_last_frame(content_size)),
        most_in_a_frame_(most_in_a_frame(level)) {
    if (!context_) throw library_error("zstd", "out of memory");
    check(ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel, level));
    check(ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_checksumFlag, 1));
    check(ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_contentSizeFlag, 1));
    begin_frame();
  }

  void feed(std::span<const std::byte> raw, const PackedSink& sink) override {
    PGWEIR_CHECK(raw.size() <= expected_ - fed_);
    while (frame_end_ < expected_ && raw.size() >= frame_end_ - fed_) {
      const auto front = raw.first(static_cast<std::size_t>(frame_end_ - fed_));
      add(front, sink);
      end_frame(sink);
      begin_frame();
      raw = raw.subspan(front.size());
    }
    add(raw, sink);
  }

  void finish(const PackedSink& sink) override {
    PGWEIR_CHECK(fed_ == expected_);
    end_frame(sink);
  }

 private:
  void begin_frame() {
    const auto border = fed_ < last_frame_ ? last_frame_ : expected_;
    frame_end_ = fed_ + std::min(border - fed_, most_in_a_frame_);
    check(ZSTD_CCtx_setPledgedSrcSize(context_.get(), frame_end_ - fed_));
  }

  void add(std::span<const std::byte> raw, const PackedSink& sink) {
    fed_ += raw.size();
    ZSTD_inBuffer in{raw.data(), raw.size(), 0};
    while (in.pos < in.size) step(in, ZSTD_e_continue, sink);
  }

  void end_frame(const PackedSink& sink) {
    ZSTD_inBuffer in{nullptr, 0, 0};
    while (step(in, ZSTD_e_end, sink) != 0) {
    }
  }

  std::size_t step(ZSTD_inBuffer& in, ZSTD_EndDirective directive, const PackedSink& sink) {
    ZSTD_outBuffer out{buffer_.data(), buffer_.size(), 0};
    const std::size_t left = check(ZSTD_compressStream2(context_.get(), &out, &in, directive));
    if (out.pos > 0) sink(std::span(buffer_).first(out.pos));
    return left;
  }

  static std::size_t check(std::size_t result) {
    if (ZSTD_isError(result)) throw library_error("zstd", ZSTD_getErrorName(result));
    return result;
  }

  Owned<ZSTD_CCtx, ZSTD_freeCCtx> context_;
  std::uint64_t expected_;
  std::uint64_t last_frame_;  ///< offset at which it begins
  std::uint64_t most_in_a_frame_;
  std::uint64_t frame_end_ = 0;  ///< offset, of the one that is being made
  std::uint64_t fed_ = 0;
  std::vector<std::byte> buffer_ = std::vector<std::byte>(kBuffer);
};

/// Throws if the library refuses what it was given.
std::size_t accepted(std::size_t result) {
  if (!ZSTD_isError(result)) return result;
  const auto reason = ZSTD_getErrorName(result);
  const bool memory = ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation;
  throw memory ? library_error("zstd", reason) : damage("zstd", reason);
}

class ZstdDecompressor final : public Decompressor {
 public:
  explicit ZstdDecompressor(Checksums checksums) : context_(ZSTD_createDCtx()) {
    if (!context_) throw library_error("zstd", "out of memory");
    if (checksums == Checksums::ignored)
      ZSTD_DCtx_setParameter(context_.get(), ZSTD_d_forceIgnoreChecksum, ZSTD_d_ignoreChecksum);
    // What `zstd --long=31` makes is sound, too.
    ZSTD_DCtx_setParameter(context_.get(), ZSTD_d_windowLogMax, 31);
  }

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
  /// empty block, or comes in one piece.
  void check_content_size() {
    const auto size = ZSTD_getFrameContentSize(header_.data(), header_.size());
    const bool told = size != ZSTD_CONTENTSIZE_UNKNOWN && size != ZSTD_CONTENTSIZE_ERROR;
    if (told && size != produced_)
      throw damage("zstd",
                   fmt::format("the frame says {} bytes, its content has {}", size, produced_));
    header_.clear();
    produced_ = 0;
  }

  Owned<ZSTD_DCtx, ZSTD_freeDCtx> context_;
  std::vector<std::byte> header_;  ///< the front of the frame, as far as it has come
  std::uint64_t produced_ = 0;     ///< by this frame
  std::size_t left_ = 1;           ///< 0 at the end of a frame; at the beginning there is none yet
};

// ---- gzip ----

constexpr int kGzipWindow = 15 + 16;  ///< zlib's way to ask for a gzip header

class GzipCompressor final : public Compressor {
 public:
  GzipCompressor(int level, std::uint64_t content_size) : expected_(content_size) {
    if (deflateInit2(&stream_, level, Z_DEFLATED, kGzipWindow, 8, Z_DEFAULT_STRATEGY) != Z_OK)
      throw library_error("gzip", "out of memory");
  }
  ~GzipCompressor() override { deflateEnd(&stream_); }
  GzipCompressor(const GzipCompressor&) = delete;
  GzipCompressor& operator=(const GzipCompressor&) = delete;

  void feed(std::span<const std::byte> raw, const PackedSink& sink) override {
    fed_ += raw.size();
    PGWEIR_CHECK(fed_ <= expected_);
    for (; !raw.empty(); raw = raw.subspan(stream_size(raw)))
      run(raw.first(stream_size(raw)), Z_NO_FLUSH, sink);
  }

  void finish(const PackedSink& sink) override {
    PGWEIR_CHECK(fed_ == expected_);
    run({}, Z_FINISH, sink);
  }

 private:
  static std::size_t stream_size(std::span<const std::byte> bytes) {
    return std::min<std::size_t>(bytes.size(), std::numeric_limits<uInt>::max());
  }

  void run(std::span<const std::byte> raw, int flush, const PackedSink& sink) {
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(raw.data()));
    stream_.avail_in = static_cast<uInt>(raw.size());
    do {
      stream_.next_out = reinterpret_cast<Bytef*>(buffer_.data());
      stream_.avail_out = static_cast<uInt>(buffer_.size());
      const int result = deflate(&stream_, flush);
      if (result == Z_STREAM_ERROR) throw library_error("gzip", "wrong state");
      const std::size_t count = buffer_.size() - stream_.avail_out;
      if (count > 0) sink(std::span(buffer_).first(count));
    } while (stream_.avail_out == 0);
  }

  z_stream stream_{};
  std::uint64_t expected_;
  std::uint64_t fed_ = 0;
  std::vector<std::byte> buffer_ = std::vector<std::byte>(kBuffer);
};

class GzipDecompressor final : public Decompressor {
 public:
  GzipDecompressor() {
    if (inflateInit2(&stream_, kGzipWindow) != Z_OK) throw library_error("gzip", "out of memory");
  }
  ~GzipDecompressor() override { inflateEnd(&stream_); }
  GzipDecompressor(const GzipDecompressor&) = delete;
  GzipDecompressor& operator=(const GzipDecompressor&) = delete;

  Step unpack(std::span<const std::byte> compressed, std::span<std::byte> out) override {
    const auto in = compressed.first(stream_size(compressed.size()));
    const auto room = stream_size(out.size());
    if (complete_) {  // another member follows, or rubbish
      if (in.empty()) return {};
      inflateReset(&stream_);
      complete_ = false;
    }
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(in.data()));
    stream_.avail_in = static_cast<uInt>(in.size());
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(room);
    const int result = inflate(&stream_, Z_NO_FLUSH);
    if (result == Z_MEM_ERROR) throw library_error("gzip", "out of memory");
    if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
      throw damage("gzip", stream_.msg ? stream_.msg : "not understood");
    complete_ = result == Z_STREAM_END;
    return {in.size() - stream_.avail_in, room - stream_.avail_out};
  }

  void finish() override {
    if (!complete_) throw damage("gzip", "the end is missing");
  }

 private:
  static std::size_t stream_size(std::size_t bytes) {
    return std::min<std::size_t>(bytes, std::numeric_limits<uInt>::max());
  }

  z_stream stream_{};
  bool complete_ = false;  ///< at the end of a member
};

// ---- lz4 ----

class Lz4Compressor final : public Compressor {
 public:
  Lz4Compressor(int level, std::uint64_t content_size) : expected_(content_size) {
    LZ4F_cctx* context = nullptr;
    check(LZ4F_createCompressionContext(&context, LZ4F_VERSION));
    context_.reset(context);
    preferences_.frameInfo.contentSize = content_size;
    preferences_.frameInfo.contentChecksumFlag = LZ4F_contentChecksumEnabled;
    preferences_.frameInfo.blockSizeID = block_size(content_size);
    preferences_.compressionLevel = level;
    buffer_.resize(LZ4F_compressBound(kBuffer, &preferences_));
  }

  void feed(std::span<const std::byte> raw, const PackedSink& sink) override {
    fed_ += raw.size();
    PGWEIR_CHECK(fed_ <= expected_);
    begin(sink);
    while (!raw.empty()) {
      const auto piece = raw.first(std::min(raw.size(), kBuffer));
      pass(LZ4F_compressUpdate(context_.get(), buffer_.data(), buffer_.size(), piece.data(),
                               piece.size(), nullptr),
           sink);
      raw = raw.subspan(piece.size());
    }
  }

  void finish(const PackedSink& sink) override {
    PGWEIR_CHECK(fed_ == expected_);
    begin(sink);
    pass(LZ4F_compressEnd(context_.get(), buffer_.data(), buffer_.size(), nullptr), sink);
  }

 private:
  /// The library keeps memory for some blocks: no larger ones than are needed.
  static LZ4F_blockSizeID_t block_size(std::uint64_t content) {
    constexpr std::uint64_t kKilobyte = 1024;
    if (content <= 64 * kKilobyte) return LZ4F_max64KB;
    if (content <= 256 * kKilobyte) return LZ4F_max256KB;
    return content <= 1024 * kKilobyte ? LZ4F_max1MB : LZ4F_max4MB;
  }

  void begin(const PackedSink& sink) {
    if (std::exchange(begun_, true)) return;
    pass(LZ4F_compressBegin(context_.get(), buffer_.data(), buffer_.size(), &preferences_), sink);
  }

  void pass(std::size_t result, const PackedSink& sink) {
    check(result);
    if (result > 0) sink(std::span(buffer_).first(result));
  }

  static void check(std::size_t result) {
    if (LZ4F_isError(result)) throw library_error("lz4", LZ4F_getErrorName(result));
  }

  Owned<LZ4F_cctx, LZ4F_freeCompressionContext> context_;
  LZ4F_preferences_t preferences_{};
  std::uint64_t expected_;
  std::uint64_t fed_ = 0;
  bool begun_ = false;
  std::vector<std::byte> buffer_;
};

class Lz4Decompressor final : public Decompressor {
 public:
  Lz4Decompressor() {
    LZ4F_dctx* context = nullptr;
    if (LZ4F_isError(LZ4F_createDecompressionContext(&context, LZ4F_VERSION)))
      throw library_error("lz4", "out of memory");
    context_.reset(context);
  }

  Step unpack(std::span<const std::byte> compressed, std::span<std::byte> out) override {
    if (compressed.empty() && left_ == 0) return {};  // it would expect another frame
    std::size_t taken = compressed.size();
    std::size_t given = out.size();
    left_ = LZ4F_decompress(context_.get(), out.data(), &given, compressed.data(), &taken, nullptr);
    if (LZ4F_isError(left_)) throw damage("lz4", LZ4F_getErrorName(left_));
    return {taken, given};
  }

  void finish() override {
    if (left_ != 0) throw damage("lz4", "the end is missing");
  }

 private:
  Owned<LZ4F_dctx, LZ4F_freeDecompressionContext> context_;
  std::size_t left_ = 1;  ///< 0 at the end of a frame; at the beginning there is none yet
};

/// For an uncompressed file, so that readers need not tell the two apart.
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

Compression Compression::parse(std::string_view text) {
  if (text == "none") return {};
  const auto colon = text.find(':');
  const std::string_view name = text.substr(0, colon);
  const auto range = std::find_if(kRanges.begin(), kRanges.end(),
                                  [&](const Range& known) { return known.name == name; });
  if (range == kRanges.end())
    throw Error(ErrorKind::usage, fmt::format("unknown compression \"{}\"", text))
        .hint(name == "none" ? "\"none\" has no level."
                             : "Use none, zstd, gzip or lz4, with a level if you like: zstd:3.");
  if (colon == std::string_view::npos) return {range->method, range->usual};
  const std::string_view digits = text.substr(colon + 1);
  int level = 0;
  const auto [end, failed] = std::from_chars(digits.data(), digits.data() + digits.size(), level);
  if (failed != std::errc() || end != digits.data() + digits.size() || level < range->least ||
      level > range->most)
    throw Error(ErrorKind::usage, fmt::format("wrong compression level in \"{}\"", text))
        .hint(fmt::format("{} takes levels from {} to {}; without one it uses {}.", range->name,
                          range->least, range->most, range->usual));
  return {range->method, level};
}

std::uint64_t compression_memory(Compression compression, std::uint64_t content_size) {
  constexpr std::uint64_t kSmall = 1024 * 1024;  // gzip's and lz4's tables
  if (compression.method != Method::zstd) return compression.method == Method::none ? 0 : kSmall;
  const auto frame = std::min(content_size, most_in_a_frame(compression.level));
  const auto parameters = ZSTD_getCParams(compression.level, frame, 0);
  return ZSTD_estimateCStreamSize_usingCParams(parameters) + kBuffer;
}

std::unique_ptr<Compressor> make_compressor(Compression compression, std::uint64_t content_size) {
  switch (compression.method) {
    case Method::gzip:
      return std::make_unique<GzipCompressor>(compression.level, content_size);
    case Method::lz4:
      return std::make_unique<Lz4Compressor>(compression.level, content_size);
    case Method::zstd:
      return std::make_unique<ZstdCompressor>(compression.level, content_size);
    case Method::none:
      break;
  }
  return std::make_unique<Passing>();
}

std::unique_ptr<Decompressor> make_decompressor(Method method, Checksums checksums) {
  switch (method) {
    case Method::gzip:
      return std::make_unique<GzipDecompressor>();
    case Method::lz4:
      return std::make_unique<Lz4Decompressor>();
    case Method::zstd:
      return std::make_unique<ZstdDecompressor>(checksums);
    case Method::none:
      break;
  }
  return std::make_unique<Passing>();
}

namespace {

constexpr std::size_t kBlockHeader = 3;
constexpr std::size_t kChecksum = 4;

/// The size in the file of the frame that begins at `offset` with this header; nullopt if it does
/// not end. Its blocks tell their sizes (RFC 8878, 3.1.1.2).
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
  constexpr std::size_t kMostFrames = 4096;  // more is no segment, and costs memory
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
    throw damage("zstd",
                 fmt::format("the frame says {} bytes, its content has {}", content.size(), count));
}

}  // namespace weir::codec

#include <lz4frame.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "codec/methods.h"

namespace weir::codec {

namespace {

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
  /// The library allocates memory for some blocks: no larger ones than needed.
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

}  // namespace

std::unique_ptr<Compressor> make_lz4_compressor(int level, std::uint64_t content_size) {
  return std::make_unique<Lz4Compressor>(level, content_size);
}

std::unique_ptr<Decompressor> make_lz4_decompressor() {
  return std::make_unique<Lz4Decompressor>();
}

}  // namespace weir::codec

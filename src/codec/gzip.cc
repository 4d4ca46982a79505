#include <zlib.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "codec/methods.h"

namespace weir::codec {

namespace {

constexpr int kGzipWindow = 15 + 16;  ///< zlib's flag for a gzip header

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
    if (complete_) {  // another member follows, or garbage
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

}  // namespace

std::unique_ptr<Compressor> make_gzip_compressor(int level, std::uint64_t content_size) {
  return std::make_unique<GzipCompressor>(level, content_size);
}

std::unique_ptr<Decompressor> make_gzip_decompressor() {
  return std::make_unique<GzipDecompressor>();
}

}  // namespace weir::codec

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "codec/codec.h"
#include "io/shelf.h"

namespace weir::archive {

/// Reads the raw content of an open file with any compression method. The only code that feeds a
/// file to a decompressor. Does not own the file. One thread. Memory: some hundred kB.
class ContentReader {
 public:
  struct Options {
    std::uint64_t from = 0;  ///< offset in the file at which one of its frames starts
    codec::Checksums checksums = codec::Checksums::compared;
    /// The whole content is needed: read in large pieces from the first one on. Otherwise the first
    /// one is small, since many callers only need the first page header.
    bool whole = false;
    /// The end may be missing: who writes a `.partial` may be stopped in the middle of a frame.
    bool may_break_off = false;
  };
  ContentReader(io::Bytes& file, codec::Method method, const Options& options);
  ContentReader(io::Bytes& file, codec::Method method) : ContentReader(file, method, Options{}) {}

  /// Passes the content on in pieces. Returns false if the sink has enough: then the rest is not
  /// read. Throws Error{io}; Error{damage} if the compressed file is broken or ends early; and what
  /// the sink throws. Call it once, or the other function any number of times.
  bool read(const codec::Sink& sink);
  /// Reads the next bytes of the content: fewer than requested only at its end. Throws likewise.
  [[nodiscard]] std::size_t read(std::span<std::byte> bytes);
  /// Offset in the file: everything before it was read and is valid.
  [[nodiscard]] std::uint64_t offset() const { return offset_; }
  /// codec::Decompressor::take_buffer(), from within the sink.
  [[nodiscard]] std::vector<std::byte> take_buffer(std::vector<std::byte> fresh) {
    return decompressor_->take_buffer(std::move(fresh));
  }

 private:
  /// Advances to the next piece of the file.
  void next_piece();

  io::Bytes& file_;
  std::unique_ptr<codec::Decompressor> decompressor_;
  bool may_break_off_;
  std::uint64_t offset_;  ///< of the piece
  std::size_t most_;      ///< bytes read at once
  Buffer buffer_;
  std::size_t piece_ = 0;            ///< bytes of the piece, at the front of the buffer
  std::span<const std::byte> left_;  ///< of the piece, not decompressed yet
  bool last_piece_ = false;
};

/// The same in one call. Errors name `path`.
bool read_content(io::Bytes& file, codec::Method method, const std::string& path,
                  const codec::Sink& sink);

}  // namespace weir::archive

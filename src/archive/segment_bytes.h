#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "archive/content.h"
#include "archive/listing.h"
#include "codec/codec.h"
#include "io/shelf.h"
#include "wal/segment.h"

namespace weir::archive {

/// The raw WAL of one segment file in any format, with random access. A compressed file is
/// decompressed from its start, or from the frame that contains the position; sequential reading
/// decompresses each byte once. Reading backwards starts over. One thread. Memory: some hundred kB.
class SegmentBytes final : public io::Bytes {
 public:
  /// Returns nullptr if there is no such file. Throws Error{damage} if a complete raw file does not
  /// have the size of a segment, or a partial one is longer; Error{io}.
  [[nodiscard]] static std::unique_ptr<SegmentBytes> open(
      io::Shelf& shelf, const SegmentFileName& name, wal::SegmentSize segment_size,
      codec::Checksums checksums = codec::Checksums::compared);

  /// Reads fewer bytes than requested only at the end: of the segment, or of a partial one's
  /// content (a compressed one may be cut off). The last byte of a segment is returned only after
  /// the whole file, from the entry point on, was verified. Throws Error{damage} that names the
  /// file and the position; then the object cannot be used any more. Error{io}.
  [[nodiscard]] std::size_t read_at(std::uint64_t offset, std::span<std::byte> bytes) override;
  /// Size of a segment.
  [[nodiscard]] std::uint64_t size() override { return segment_size_.bytes(); }

  [[nodiscard]] const SegmentFileName& name() const { return name_; }

 private:
  SegmentBytes(std::unique_ptr<io::Bytes> file, std::string path, const SegmentFileName& name,
               wal::SegmentSize segment_size, codec::Checksums checksums)
      : file_(std::move(file)),
        path_(std::move(path)),
        name_(name),
        segment_size_(segment_size),
        checksums_(checksums) {}

  std::size_t unpack_at(std::uint64_t offset, std::span<std::byte> bytes);
  void enter(std::uint64_t offset);
  std::size_t unpack(std::span<std::byte> bytes);

  const std::unique_ptr<io::Bytes> file_;
  const std::string path_;
  const SegmentFileName name_;
  const wal::SegmentSize segment_size_;
  const codec::Checksums checksums_;

  // Frames of a compressed file.
  std::optional<std::vector<codec::Frame>> frames_;  ///< read when they are first needed
  std::optional<ContentReader> content_;
  std::uint64_t position_ = 0;  ///< offset in the segment of the next byte of content_
};

}  // namespace weir::archive

#pragma once

#include <cstdint>
#include <optional>

#include "archive/listing.h"
#include "codec/codec.h"
#include "io/shelf.h"
#include "wal/record_verifier.h"
#include "wal/segment.h"

namespace weir::archive {

/// Offset of the first byte in which the raw contents of two files of one segment differ before
/// `upto`; where one ends earlier, that end. nullopt if they agree. Each file is read once (and a
/// second time up to a difference). Memory: some hundred kB. Throws as read_segment().
[[nodiscard]] std::optional<std::uint64_t> first_difference(
    io::Shelf& left_shelf, const SegmentFileName& left, io::Shelf& right_shelf,
    const SegmentFileName& right, wal::SegmentSize segment_size, std::uint64_t upto);
/// Compares two files of one shelf.
[[nodiscard]] std::optional<std::uint64_t> first_difference(io::Shelf& directory,
                                                            const SegmentFileName& left,
                                                            const SegmentFileName& right,
                                                            wal::SegmentSize segment_size,
                                                            std::uint64_t upto);

/// Number of meaningful bytes of a segment: those after an xlog switch have no meaning. `verifier`
/// started at the segment's first byte, `start`, and was fed all of it.
[[nodiscard]] std::uint64_t meaningful_bytes(const wal::RecordVerifier& verifier, wal::Lsn start,
                                             wal::SegmentSize segment_size);
/// The same for a file with the whole content of a segment: all of it, unless it is valid WAL in
/// itself. Throws as read_content().
[[nodiscard]] std::uint64_t meaningful_bytes(io::Bytes& file, codec::Method method,
                                             wal::SegmentName segment,
                                             wal::SegmentSize segment_size);

}  // namespace weir::archive

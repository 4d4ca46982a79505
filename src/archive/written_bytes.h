#pragma once

#include <cstdint>

#include "io/shelf.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::archive {

/// Number of bytes of the raw file of the segment at `start` that were written without a hole: up
/// to the first page whose header does not name its own position. After it there are zeros, or
/// pages of an older segment; a segment written in pieces (segment_writer.h) may also have later
/// pieces there after a kill. Checks the end of each piece, and bisects the incomplete one, so it
/// reads a few page headers. For a complete segment it is all of it, unless that ends after an xlog
/// switch. Throws Error{io}.
[[nodiscard]] std::uint64_t written_bytes(io::Bytes& file, wal::Lsn start, wal::SegmentSize size);

}  // namespace weir::archive

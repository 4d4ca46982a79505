#pragma once

#include <cstdint>

#include "io/shelf.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::archive {

/// How much of the raw file of the segment at `start` has been written without a hole: up to the
/// first page that does not say it is of that place. Behind it there are zeros, or pages of an
/// older segment; of a segment that is written in pieces (segment_writer.h) a kill may leave later
/// ones there, too. Looks at the end of each piece, and halves in the one that is not whole, so it
/// reads a few page headers. Of a finished segment it is all, unless that ends behind an xlog
/// switch. Throws Error{io}.
[[nodiscard]] std::uint64_t written_bytes(io::Bytes& file, wal::Lsn start, wal::SegmentSize size);

}  // namespace weir::archive

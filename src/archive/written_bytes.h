#pragma once

#include <cstdint>

#include "io/shelf.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::archive {

/// How much of the raw file of the segment at `start` has been written: up to the end of the last
/// page that says it is of that place. Behind it there are zeros, or pages of an older segment.
/// Finds that by halving, so it reads a few page headers. Of a finished segment it is all, unless
/// that ends behind an xlog switch. Throws Error{io}.
[[nodiscard]] std::uint64_t written_bytes(io::Bytes& file, wal::Lsn start, wal::SegmentSize size);

}  // namespace weir::archive

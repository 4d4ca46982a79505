#pragma once

#include <functional>
#include <vector>

#include "archive/listing.h"
#include "codec/codec.h"
#include "io/directory.h"
#include "wal/segment.h"

namespace weir::archive {

/// Turns a finished raw segment into its compressed form: hidden temporary file, sync, rename,
/// directory sync, and only then the raw file is removed. A crash between any two steps leaves
/// something that clean_up() or the next call sorts out. The raw file must have exactly
/// `segment_size` bytes, else Error{damage}. If the raw file is gone already: nothing happens.
/// If the final compressed name exists: compared with the raw file's content, Error{conflict} if
/// it differs, else the raw file is removed.
/// `stop` is asked between pieces; when true the temporary file is removed and false returned.
bool compress_segment(io::Directory& directory, wal::SegmentName segment,
                      wal::SegmentSize segment_size, codec::Compression compression,
                      const std::function<bool()>& stop);

/// Removes what an interrupted earlier run left: hidden temporary files of ours, a spare. Hidden
/// names that are not ours stay. To be called under the archive's lock.
void clean_up(io::Directory& directory, const Listing& listing);

/// Finished raw segments, oldest first: what a compressor has to do.
[[nodiscard]] std::vector<wal::SegmentName> uncompressed_segments(const Listing& listing);

}  // namespace weir::archive

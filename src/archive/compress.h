#pragma once

#include <functional>
#include <vector>

#include "archive/listing.h"
#include "codec/codec.h"
#include "io/directory.h"
#include "wal/segment.h"

namespace weir::archive {

/// Converts a complete raw segment to its compressed form: hidden temporary file, fsync, rename,
/// directory fsync, and only then the raw file is removed. A crash between any two steps leaves a
/// state that clean_up() or the next call repairs. The raw file must have exactly `segment_size`
/// bytes, otherwise throws Error{damage}. If the raw file is already gone, does nothing. If the
/// final compressed file exists, it is compared with the raw file's content: throws Error{conflict}
/// if it differs, otherwise the raw file is removed. `stop` is queried between pieces; if it
/// returns true the temporary file is removed and false returned.
bool compress_segment(io::Directory& directory, wal::SegmentName segment,
                      wal::SegmentSize segment_size, codec::Compression compression,
                      const std::function<bool()>& stop);

/// Gives a raw partial segment the format in which pg_receivewal leaves one, "<segment>.gz.partial"
/// or ".lz4.partial": a complete stream that ends after the last byte written. `written` of its
/// bytes are known to be WAL. More are included if they are followed by more than zeros, and in any
/// case all bytes up to the end of the last valid record, which may end with zeros. Durable WAL
/// stays durable at every step. An older compressed file that holds more is kept, and the raw one
/// is removed. The level is always the method's highest: pg_receivewal overwrites the file without
/// truncating it, and must not leave the end of our file after its own. Throws Error{conflict} if
/// an older file holds different WAL; then nothing is changed.
void compress_partial(io::Directory& directory, wal::SegmentName segment,
                      wal::SegmentSize segment_size, codec::Method method, std::uint64_t written);

/// Removes the leftovers of an interrupted earlier run: our hidden temporary files, a spare, marks
/// of holes that are visible without them by now. Other hidden names are kept. Must be called under
/// the archive's lock.
void clean_up(io::Directory& directory, const Listing& listing);

/// Returns complete raw segments, oldest first: the work of a compressor.
[[nodiscard]] std::vector<wal::SegmentName> uncompressed_segments(const Listing& listing);

}  // namespace weir::archive

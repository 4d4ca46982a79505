#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "archive/listing.h"
#include "base/error.h"
#include "codec/codec.h"
#include "io/shelf.h"
#include "wal/page.h"
#include "wal/segment.h"

namespace weir::archive {

/// Passes the raw WAL of one segment file, in any format, to `sink`, from its first byte on and in
/// pieces of at most `kPiece` bytes; the name determines the format. A complete file must have
/// exactly `segment_size` bytes; a `.partial` may have fewer (a compressed one may also end where
/// its stream is cut off, which is how pg_receivewal leaves it). Returns the number of bytes
/// passed. Reading stops when the sink has enough; the rest is not checked. Exceptions of the sink
/// are passed on. Throws Error{damage}, which names the file, the offset in it and the offset in
/// the segment, for a broken frame, a wrong checksum, a wrong size, or garbage after the end;
/// Error{io}, also if the file is gone. Memory: some hundred kB, regardless of the segment size.
inline constexpr std::size_t kPiece = 1024 * 1024;
std::uint64_t read_segment(io::Shelf& directory, const SegmentFileName& name,
                           wal::SegmentSize segment_size, const codec::Sink& sink);

/// The same, but a complete raw file of a wrong size, too, is passed on as far as it can be before
/// the error is thrown, as a compressed one is.
std::uint64_t read_segment_front(io::Shelf& directory, const SegmentFileName& name,
                                 wal::SegmentSize segment_size, const codec::Sink& sink);

/// True for the errors that read_segment() and the other functions throw if the file does not exist
/// (any more): it was completed, compressed or removed after it was listed. The caller must list
/// the directory again.
[[nodiscard]] bool is_gone(const Error& error);

/// The same; with more than one CPU and a compressed file, a second thread reads and decompresses
/// while this one is in `sink`. For zstd with several frames both decompress. Memory: about 1 MB,
/// and four frames of the latter (up to 2 or 5 MB each as pgweir writes them, 8 at most).
/// kept_busy: the caller has other work for the second CPU, so only frames justify a second thread.
enum class Processor { free, kept_busy };
std::uint64_t read_segment_in_two_threads(io::Shelf& directory, const SegmentFileName& name,
                                          wal::SegmentSize segment_size, const codec::Sink& sink,
                                          Processor other = Processor::free);

/// Passes the bytes from `offset` on. A zstd file of several frames is entered in the middle; the
/// frames before it are not checked. zstd's checksums are not checked either if they are ignored
/// (saves a tenth of the work): for bytes that have checksums of their own. Throws as
/// read_segment() does.
void read_segment_from(io::Shelf& directory, const SegmentFileName& name,
                       wal::SegmentSize segment_size, std::uint64_t offset, const codec::Sink& sink,
                       codec::Checksums checksums = codec::Checksums::compared);

/// Returns the header of the first page, which determines the segment size; fast, regardless of
/// format and size. nullopt if the content does not start with a long page header (or is shorter).
/// Nothing else is checked. Throws as read_segment() does.
[[nodiscard]] std::optional<wal::PageHeader> read_first_page_header(io::Shelf& directory,
                                                                    const SegmentFileName& name);

}  // namespace weir::archive

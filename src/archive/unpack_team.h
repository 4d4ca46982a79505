#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "archive/content.h"
#include "codec/codec.h"
#include "io/shelf.h"

namespace weir::archive {

// Two threads for the content of one file: the sink gets the bytes in order and in the calling
// thread, as with a single thread.

/// As content.read(sink), with a second thread that decompresses while this one runs `sink`. Works
/// without a second thread if none can be started.
void read_in_second_thread(ContentReader& content, const codec::Sink& sink);

/// The frames of a file for which two decompressing threads are worthwhile; none if there is only
/// one frame, or one of them is too large to be kept in memory.
[[nodiscard]] std::vector<codec::Frame> frames_for_two_threads(io::Bytes& file,
                                                               codec::Method method,
                                                               std::uint64_t content_size);

/// Both threads decompress, each one whole frames. Returns the number of frames passed to the sink:
/// fewer than all if one could not be decompressed, or if the sink has enough. Exceptions of the
/// sink are passed on. Memory: four frames.
std::size_t read_frames_in_two_threads(io::Bytes& file, const std::vector<codec::Frame>& frames,
                                       const codec::Sink& sink);

}  // namespace weir::archive

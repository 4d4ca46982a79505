#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "archive/listing.h"
#include "base/error.h"
#include "codec/codec.h"
#include "io/directory.h"
#include "wal/segment.h"

namespace weir::compress {

struct Options {
  codec::Compression compression{};  ///< zstd
  unsigned jobs = 1;
  std::function<bool()> stop{};  ///< queried between pieces
  /// Called from any of the threads, one at a time: bytes of WAL done and in all.
  std::function<void(std::uint64_t done, std::uint64_t total)> progress{};
};

struct Result {
  std::size_t segments = 0;        ///< converted
  std::uint64_t bytes_before = 0;  ///< of their files
  std::uint64_t bytes_after = 0;
  struct Failure {
    std::string file{};
    std::string what{};
    std::string hint{};
    ErrorKind kind = ErrorKind::io;
  };
  std::vector<Failure> failures{};  ///< segments that were left as they are
  bool stopped = false;
};

/// Segments that have a complete file other than .zst, oldest first: the work to do.
struct Work {
  std::vector<std::vector<archive::SegmentEntry>> segments{};  ///< complete files of each
  std::uint64_t bytes = 0;
};
[[nodiscard]] Work find_work(const archive::Listing& listing);

/// Converts every complete segment that is raw, .gz or .lz4 to .zst, several at a time. The records
/// of each are verified while it is read, and the output is read again and compared, before the old
/// file is removed; a crash at any point leaves the old file, the new one, or both, and the next
/// run continues from there. A segment that is damaged, or whose files differ, is not changed and
/// is reported in the result. Takes no lock, so that a receiver can continue archiving: its
/// temporary files have names of their own, and of two processes that publish a segment, the second
/// one finds it done. Throws Error{disk_full, durability}, and Error{io} if the directory cannot be
/// read or its file system is read-only.
[[nodiscard]] Result compress_archive(io::Directory& directory, const Work& work,
                                      wal::SegmentSize segment_size, const Options& options);

}  // namespace weir::compress

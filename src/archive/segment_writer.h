#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "archive/resume.h"
#include "archive/sync_job.h"
#include "base/error.h"
#include "base/threads.h"
#include "codec/codec.h"
#include "io/directory.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::archive {

/// The WAL to be written differs from the archive's WAL at that position.
class OtherWal final : public ErrorAs<OtherWal> {
 public:
  OtherWal(const Error& error, wal::Lsn at) : ErrorAs(error), at_(at) {}
  [[nodiscard]] wal::Lsn at() const { return at_; }  ///< the first byte that differs

 private:
  wal::Lsn at_;
};

/// Larger segments are buffered in pieces of this size: memory stays bounded.
inline constexpr std::uint64_t kLargestBuffered = std::uint64_t{16} * 1024 * 1024;

/// Bytes of a segment that are buffered at once, if any are. `largest`: as
/// SegmentWriter::Options::largest_buffered.
[[nodiscard]] inline std::uint64_t piece_bytes(wal::SegmentSize segment, std::uint64_t largest) {
  return largest == 0 ? segment.bytes() : std::min(segment.bytes(), largest);
}

/// Writes a stream of WAL into `.partial` files of full segment size and completes them. The order
/// of the fsyncs is the archive's guarantee (P1, P2):
///   data of the segment → its final name → the directory,
/// and the name of a new .partial is made durable by the first job taken after it was created. If
/// whole segments arrive at once, they may be buffered in memory instead of being written piece by
/// piece: the job then writes each in one go, past the page cache, or compresses it at once. The
/// files on disk are the same at every moment, except that the `.partial` holds zeros until its job
/// runs. Large segments are buffered in pieces, and a job writes each piece; but not if they are to
/// be compressed at once, which needs the whole segment. All functions except prepare_spare() must
/// be called by the thread that currently writes.
class SegmentWriter {
 public:
  struct Options {
    wal::SegmentSize segment_size;
    /// Complete files that are known to be none and may be replaced; all others are a conflict.
    std::set<std::string> replaceable = {};
    /// The format of segments that were buffered in memory. A method that is much slower than the
    /// WAL arrives would delay it: then the segments are better compressed later.
    codec::Compression compression = {};
    /// Bytes, a power of two. 0: none is ever buffered.
    std::uint64_t largest_buffered = kLargestBuffered;
    Threads* threads = &machine_threads();  ///< whose jobs wait for each other; not owned
  };
  SegmentWriter(io::Directory& directory, Options options);
  ~SegmentWriter();

  /// Resumes (or starts) at the first byte of a segment. An existing .partial is written into
  /// again, extended to full size if it is shorter; Error{conflict} if it is longer. If `open`
  /// names a trusted range of it, bytes that are received again are compared first: Error{conflict}
  /// if they differ, because confirmed WAL is never replaced by different WAL. (Equal bytes are
  /// still written again: after a failed write-back of an earlier process the page cache may differ
  /// from the disk.)
  void begin(wal::TimelineId timeline, wal::Lsn segment_start, std::span<const OpenSegment> open);

  /// The next byte to be written.
  [[nodiscard]] wal::Lsn position() const;
  [[nodiscard]] wal::TimelineId timeline() const;

  /// Writes at position(), across segment boundaries. Throws Error{disk_full, io, conflict}:
  /// position() is then the end of the written part, and the rest can be retried; Error{durability}
  /// is final. `wal` may already be in place(), at its position.
  void write(std::span<const std::byte> wal);

  /// The buffer for the next bytes of a segment in memory, up to its end or that of the piece.
  /// Empty if there is none. Must be written to before the next call of any other function.
  [[nodiscard]] std::span<std::byte> place() const;

  /// Determines whether segments started from now on, and pieces of large ones, are buffered in
  /// memory until a job takes them, if the segment started in a new file. The caller limits the
  /// amount that is written and not yet durable, and thereby the memory.
  void buffer_new_segments(bool buffer_new);
  /// Everything written before this position, and not yet covered by a finished job, may be in
  /// memory only.
  [[nodiscard]] wal::Lsn buffered_end() const;

  /// Returns nullptr if nothing was written (or created) since the last job was taken. Writes the
  /// buffered part of the current segment to its file (where space is reserved for it); throws as
  /// write().
  [[nodiscard]] std::unique_ptr<SyncJob> take_sync_job();

  /// After this begin() may be called for another position; the current segment remains a
  /// `.partial`. The caller must have taken, run and finished the last job; data that no job has
  /// covered is abandoned. Throws Error{durability} from closing.
  void end();

  /// Prepares a zero-filled, flushed file for the next segment under a hidden name, so that opening
  /// it is a rename. Any thread, one at a time; a no-op if there is one. Throws as io does; a
  /// failure only affects performance. write() uses it if it is ready and never waits for it.
  void prepare_spare();
  [[nodiscard]] bool spare_ready() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace weir::archive

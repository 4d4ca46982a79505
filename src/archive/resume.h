#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "archive/listing.h"
#include "io/directory.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::archive {

/// A raw .partial into which streaming will write again, and the known facts about its content.
struct OpenSegment {
  wal::Lsn start;         ///< of the segment
  wal::Lsn first_record;  ///< first record that starts in it; `start` of the trusted range
  wal::Lsn trusted_end;   ///< end of its last valid record; == first_record if there is none
  bool operator==(const OpenSegment&) const = default;
};

/// Where an archive ends, and streaming therefore resumes.
struct ResumePoint {
  wal::TimelineId timeline = 0;
  wal::Lsn start;  ///< always a segment's first byte
  /// Partial raw segments from `start` on, oldest first. Usually one; two after a crash while one
  /// segment was being completed and the next one was already being written.
  std::vector<OpenSegment> open;
  /// End of the last partial segment, in any format; `start` or less if there is none.
  wal::Lsn unfinished_end;
  /// End of the last record of the archive's contiguous WAL from `start` on: the records in the
  /// partial segments are linked with each other, and with the last complete segment. `start` if
  /// there is none.
  wal::Lsn sound_end;
  /// The same, with what follows if it may be the received part of an incomplete record: that ends
  /// here or before.
  wal::Lsn unbroken_end;
  /// Missing segments of this timeline between complete ones, or before a partial one that follows
  /// a recorded hole (losses.h).
  struct Hole {
    wal::Lsn begin;
    wal::Lsn end;
    bool operator==(const Hole&) const = default;
  };
  std::vector<Hole> holes;
};

/// Finds the highest timeline that has a segment, and on it the end of the last complete segment,
/// or the start of the partial ones that follow it. A partial segment before a complete one is a
/// hole, not a place to resume: the hole is reported, and the end is unchanged. If a segment is
/// missing between the last complete and the first partial one, streaming resumes at the missing
/// one: a crash may have lost its name, and none of it was confirmed. The exception is a partial
/// segment that follows a recorded hole (losses.h). Returns nullopt if there is no segment in the
/// archive. Reads the raw .partial files to find the end of their valid WAL; writes nothing. Throws
/// Error{conflict} for a .partial that is too long and for names of another segment size,
/// Error{damage} if the newest complete segment does not have the size of a segment (decompressed),
/// or is not valid WAL to its end.
[[nodiscard]] std::optional<ResumePoint> find_resume_point(io::Shelf& directory,
                                                           const Listing& listing,
                                                           wal::SegmentSize segment_size);

/// Flushes the newest complete segment and the names: if streaming resumes after it, its end is
/// reported as flushed, so all WAL before that must be durable. A process that was killed between a
/// rename and the directory's fsync, or an archive_command without fsync, may have left it
/// non-durable. Its format may change concurrently ("pgweir compress"). Throws Error{durability},
/// and Error{io} if it no longer exists in any format.
void make_end_durable(io::Directory& directory, const Listing& listing);

/// The same, preceded by the partial segments of `resume`: a process that was killed has written
/// data without flushing it. The part read as valid is durable then. Throws likewise. For the
/// process that has the archive's lock: while the newest complete segment is flushed, kSyncMark
/// exists.
void make_end_durable(io::Directory& directory, const Listing& listing, const ResumePoint& resume,
                      wal::SegmentSize segment_size);

/// After a failed fsync() the kernel may keep pages that it has not written and count them as
/// clean, so that the next fsync() succeeds without them. A process that fails there ends (P6), but
/// the next process would believe its own fsync(). If kSyncMark says that an earlier process did
/// not see the sync of the newest complete segment succeed, each form of it is written to a new
/// file, which is synced and renamed over the old one. Returns whether that was so. Called before
/// anything is concluded from the segment's content. Throws Error{durability, disk_full, io}.
bool rewrite_unsynced_end(io::Directory& directory, const Listing& listing);

/// After this time, the kernel has written back what "cp" has copied, and not flushed.
inline constexpr std::chrono::seconds kWrittenBack(60);

/// True if the file was changed less than `time` ago, as far as the directory can tell.
[[nodiscard]] bool was_changed_within(io::Directory& directory, const std::string& name,
                                      std::chrono::seconds time,
                                      std::chrono::system_clock::time_point now);

/// Flushes the complete segments that another program has copied into the archive within
/// kWrittenBack, except for the newest one (make_end_durable()) and those before `durable_before`:
/// a position after them is about to be reported. The look goes back past a limited number of older
/// segments, since one of several may have been copied again. Throws Error{durability, io}.
void sync_copies(io::Directory& directory, const Listing& listing,
                 const std::optional<wal::SegmentName>& durable_before,
                 std::chrono::system_clock::time_point now);

/// Flushes a file. Returns false if there is none of that name. Throws Error{durability}.
bool sync_if_present(io::Directory& directory, const std::string& name);
/// Flushes the files of one complete segment, without the names. Throws as make_end_durable() does.
void sync_finished(io::Directory& directory, wal::SegmentName segment);
/// Flushes a listed partial one. Throws Error{durability}, and Error{io} if it no longer exists.
void sync_unfinished(io::Directory& directory, const SegmentFileName& name);

}  // namespace weir::archive

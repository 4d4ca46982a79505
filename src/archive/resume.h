#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "archive/listing.h"
#include "io/directory.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::archive {

/// A raw .partial that streaming will write into again, and what is known of its content.
struct OpenSegment {
  wal::Lsn start;         ///< of the segment
  wal::Lsn first_record;  ///< first record that begins in it; `start` of the trusted range
  wal::Lsn trusted_end;   ///< end of its last sound record; == first_record if there is none
  bool operator==(const OpenSegment&) const = default;
};

/// Where an archive ends and so where streaming goes on.
struct ResumePoint {
  wal::TimelineId timeline = 0;
  wal::Lsn start;  ///< always a segment's first byte
  /// Unfinished raw segments from `start` on, oldest first. Usually one; two after a crash while
  /// one segment was being finished and the next one was already being written.
  std::vector<OpenSegment> open;
  /// Behind the last unfinished segment, in whatever form that is; `start` or less if there is
  /// none.
  wal::Lsn unfinished_end;
  /// Behind the last record of what the archive holds from `start` on without a break: the records
  /// in the unfinished segments follow each other, and the last finished one. `start` if there is
  /// none.
  wal::Lsn sound_end;
  /// Missing segments of this timeline between finished ones, or before an unfinished one behind a
  /// hole that is recorded (losses.h).
  struct Hole {
    wal::Lsn begin;
    wal::Lsn end;
    bool operator==(const Hole&) const = default;
  };
  std::vector<Hole> holes;
};

/// The highest timeline that has a segment, and on it: behind the last finished segment, or at the
/// beginning of the unfinished ones that trail it. An unfinished segment below a finished one is a
/// hole, not a place to go on: the hole is reported, the end stays the end. Where a segment is
/// missing between the last finished and the first unfinished one, streaming goes on at the missing
/// one: a crash may have lost its name, and nothing of it was acknowledged; unless a record says
/// that the unfinished one stands behind a hole (losses.h). nullopt if there is no segment in the
/// archive. Reads the raw .partial files to find their sound end; writes nothing. Throws
/// Error{conflict} for a .partial that is too long and for names of another segment size,
/// Error{damage} if the newest finished segment has not (unpacked) the size of one, or is no WAL to
/// its end.
[[nodiscard]] std::optional<ResumePoint> find_resume_point(io::Shelf& directory,
                                                           const Listing& listing,
                                                           wal::SegmentSize segment_size);

/// Syncs the newest finished segment and the names: where streaming goes on behind it, the start is
/// reported as flushed, so what lies before it has to be. A process that was killed between a
/// rename and the directory's sync, or an archive_command that never synced, may have left it less
/// than durable. Its form may change meanwhile ("pgweir compress" runs beside us). Throws
/// Error{durability}, and Error{io} if it has vanished in every form.
void make_end_durable(io::Directory& directory, const Listing& listing);

/// The same, and before that the unfinished segments of `resume`: a process that was killed has
/// written what it has not synced. What was read of them as sound is durable then. Throws likewise.
/// For the process that has the archive's lock: while the newest finished segment is synced,
/// kSyncMark is there.
void make_end_durable(io::Directory& directory, const Listing& listing, const ResumePoint& resume,
                      wal::SegmentSize segment_size);

/// After a failed fsync() the kernel may keep pages that it has not written and count them as
/// clean, so that the next fsync() succeeds without them. A process that fails there ends (P6), but
/// the next process would believe its own fsync(). If kSyncMark says that an earlier process did
/// not see the sync of the newest finished segment succeed, each form of it is written to a new
/// file, which is synced and renamed over the old one. Returns whether that was so. Called before
/// anything is concluded from the segment's content. Throws Error{durability, disk_full, io}.
bool rewrite_unsynced_end(io::Directory& directory, const Listing& listing);

/// The forms of one finished segment, without the names. Throws as make_end_durable().
void sync_finished(io::Directory& directory, wal::SegmentName segment);
/// An unfinished one, which was listed. Throws Error{durability}, and Error{io} if it is gone.
void sync_unfinished(io::Directory& directory, const SegmentFileName& name);

}  // namespace weir::archive

#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "io/shelf.h"
#include "wal/lsn.h"
#include "wal/record_verifier.h"
#include "wal/segment.h"

namespace weir::archive {

/// Returns a verifier for a stream that resumes at `start`, the first byte of a segment. A record
/// that crosses this boundary has one checksum over the bytes of both sides. If the archive has the
/// preceding complete segment (or several, for a record longer than a segment), in any format, of
/// the same timeline or of the ancestor that the archive's history names, the verifier has read the
/// first part of the record there. A record whose first part is damaged is therefore found when the
/// rest arrives, even if another process received the first part. The verifier also knows the last
/// record before the boundary, which the first record after it must name as its predecessor,
/// however far back it is: an xlog switch leaves the rest of its segment empty. If that segment is
/// missing, cannot be decompressed, or does not end in valid WAL, the verifier starts at `start`
/// and does not check the rest of such a record. Throws Error{io}.
[[nodiscard]] wal::RecordVerifier verifier_at(io::Shelf& directory,
                                              const wal::RecordVerifier::Options& options,
                                              wal::Lsn start);

/// The end of the archive's WAL before the position at which a server's WAL continues it. A server
/// whose WAL continues this archive has the same bytes there; any other server has different bytes.
struct Tail {
  std::string file;              ///< complete, in any format
  wal::TimelineId timeline = 0;  ///< from the file's name: the timeline to request from a server
  wal::Lsn begin;                ///< of `wal`: a page's first byte
  /// Up to the end of the last record, or to where it is cut off. The bytes after an xlog switch
  /// have no meaning and are excluded.
  std::vector<std::byte> wal;
  /// As returned by verifier_at() for the end; not set if the segments before it are not
  /// sufficient.
  std::optional<wal::RecordVerifier> verifier = std::nullopt;
};

/// Returns the tail before `end`. `end` is either a segment's first byte, and the preceding
/// complete segment is found as by verifier_at(); or a position within a complete segment of
/// options.timeline at which the history leaves that timeline. The tail has some pages, including
/// the last one with a record; of a record longer than a segment it has a part, even if the archive
/// lacks the record's start. Returns nullopt if there is no such segment, if it is not valid WAL up
/// to there, or if its server version is newer than the supported ones. Throws Error{io}.
[[nodiscard]] std::optional<Tail> tail_before(io::Shelf& directory,
                                              const wal::RecordVerifier::Options& options,
                                              wal::Lsn end);

}  // namespace weir::archive

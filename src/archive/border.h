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

/// A verifier for a stream that goes on at `start`, the first byte of a segment. A record that
/// crosses this border has one checksum over the bytes of both sides: where the archive has the
/// finished segment before (those before, of a record longer than a segment), in whatever form, of
/// the same timeline or of the ancestor that the archive's history names, the verifier has read the
/// front of the record there. So a record of which the front came damaged is found whenever the
/// rest comes, also by another process than the one that received the front. And it knows the last
/// record before the border, which the first one behind it must name, however far before the
/// border that lies: an xlog switch leaves the rest of its segment empty. Where that segment is
/// not there, cannot be unpacked, or is itself no sound WAL at its end, the verifier begins at
/// `start` and leaves the rest of such a record unchecked. Throws Error{io}.
[[nodiscard]] wal::RecordVerifier verifier_at(io::Shelf& directory,
                                              const wal::RecordVerifier::Options& options,
                                              wal::Lsn start);

/// The end of what the archive holds before the place where a server's WAL is to go on. A server
/// has the same bytes there if its WAL continues this archive, and some others if it does not.
struct Tail {
  std::string file;              ///< finished, in whatever form
  wal::TimelineId timeline = 0;  ///< by the file's name: the one to ask a server for
  wal::Lsn begin;                ///< of `wal`: a page's first byte
  /// Up to the end of the last record, or to where it is cut off. What lies behind an xlog switch
  /// means nothing and is not part of it.
  std::vector<std::byte> wal;
  /// As verifier_at() gives it for the end; not set where the segments before cannot tell.
  std::optional<wal::RecordVerifier> verifier = std::nullopt;
};

/// The tail before `end`: either a segment's first byte, and the finished segment before it is
/// found as verifier_at() finds it; or a position within a finished segment of options.timeline,
/// where that timeline was left. Some pages, the last one with a record among them; of a record
/// that is longer than a segment some of it, even if the archive lacks where it begins. nullopt if
/// there is no such segment, if it is no sound WAL up to there, or of a server newer than we know.
/// Throws Error{io}.
[[nodiscard]] std::optional<Tail> tail_before(io::Shelf& directory,
                                              const wal::RecordVerifier::Options& options,
                                              wal::Lsn end);

}  // namespace weir::archive

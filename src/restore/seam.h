#pragma once

#include <functional>
#include <optional>

#include "codec/codec.h"
#include "wal/lsn.h"
#include "wal/record_verifier.h"
#include "wal/segment.h"
#include "wal/timeline_history.h"

namespace weir::restore {

/// Gives the WAL of the segment that begins at `start`, from byte `offset` of it on, to the sink;
/// false if it is not there. What the sink throws passes through.
using ReadWal = std::function<bool(wal::Lsn start, std::uint64_t offset, const codec::Sink& sink)>;

/// The record that a segment begins in the middle of: its checksum needs the segment before, so a
/// check of one segment alone leaves the front of it unchecked. The first record that begins in
/// the segment names (xl_prev) where the one before began; from there both are read, and nothing
/// else. That is a page or two, however large the segments are.
struct Seam {
  wal::Lsn segment_start;
  wal::Lsn first_record;     ///< RecordVerifier::first_record_start() of the segment, not 0/0
  wal::Lsn previous_record;  ///< its first_record_previous()
  wal::SegmentSize segment_size;
  wal::TimelineId timeline = 1;
  const wal::TimelineHistory* history = nullptr;
};

enum class SeamVerdict {
  fits,
  unknown,  ///< the segments before are not there, or not sound themselves
  broken,   ///< the record does not go on in the segment as it began
};
struct SeamResult {
  SeamVerdict verdict = SeamVerdict::unknown;
  std::optional<wal::Damage> damage;  ///< if broken
};

/// `before` reads segments before the seam, `after` the segment itself.
[[nodiscard]] SeamResult check_seam(const Seam& seam, const ReadWal& before, const ReadWal& after);

}  // namespace weir::restore

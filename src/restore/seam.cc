#include "restore/seam.h"

#include "base/error.h"

namespace weir::restore {

namespace {

/// Ends a reading when enough has been seen.
struct Enough {};

}  // namespace

SeamResult check_seam(const Seam& seam, const ReadWal& before, const ReadWal& after) {
  const auto& size = seam.segment_size;
  const wal::Lsn page(seam.previous_record.byte() & ~(wal::kPageSize - 1));
  if (!seam.previous_record.valid() || page >= seam.segment_start) return {};

  wal::RecordVerifier verifier(
      {.segment_size = size, .timeline = seam.timeline, .history = seam.history}, page);
  std::optional<wal::Damage> damage;
  bool in_segment = false;
  const codec::Sink feed = [&](std::span<const std::byte> wal) {
    damage = verifier.feed(wal);
    // The header of the first record, with its link to the one before, has passed: it may be split
    // by a page header.
    const auto passed = seam.first_record + wal::kRecordHeaderSize + wal::kLongHeaderSize;
    if (damage ||
        (verifier.newest_record_start() >= seam.first_record && verifier.position() >= passed))
      throw Enough{};
  };
  try {
    for (auto at = page; at < seam.segment_start; at = size.start_of(at) + size.bytes()) {
      if (!before(size.start_of(at), size.offset(at), feed)) return {};
      if (verifier.position() != size.start_of(at) + size.bytes()) return {};  // short
    }
    in_segment = true;
    if (!after(seam.segment_start, 0, feed)) return {};
  } catch (const Enough&) {
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::damage && error.kind() != ErrorKind::io) throw;
    return {};
  }
  // Of the first record only its link to the one before is in question here, and nothing behind it:
  // in an unfinished segment the WAL may end there.
  const bool beyond =
      damage && (damage->at > seam.first_record ||
                 (damage->at == seam.first_record && !damage->what.starts_with("incorrect link")));
  if (!damage || beyond) return {SeamVerdict::fits, std::nullopt};
  // The segment itself was found sound: what does not fit is the record over the border, unless
  // the WAL before is broken in itself or is not what the segment goes on from.
  if (!in_segment) return {};
  return {SeamVerdict::broken, damage};
}

}  // namespace weir::restore

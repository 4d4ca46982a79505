#include "restore/seam.h"

#include "base/error.h"

namespace weir::restore {

namespace {

/// Ends a reading when enough has been seen.
struct Enough {};

/// Reads from `page` on; nullopt if what comes before the seam is not sound from there on.
std::optional<SeamResult> check_from(wal::Lsn page, const Seam& seam, const ReadWal& before,
                                     const ReadWal& after);

}  // namespace

SeamResult check_seam(const Seam& seam, const ReadWal& before, const ReadWal& after) {
  const auto& size = seam.segment_size;
  const wal::Lsn page(seam.previous_record.byte() & ~(wal::kPageSize - 1));
  if (!seam.previous_record.valid() || page >= seam.segment_start) return {};
  const auto result = check_from(page, seam, before, after);
  if (result && result->verdict != SeamVerdict::unknown) return *result;
  // WAL of another history names a record that the segment before does not have, maybe at a place
  // without any record, behind an xlog switch, or in a segment that is not there: then all of the
  // segment before has to tell.
  const auto start = size.start_of(wal::Lsn(seam.segment_start.byte() - 1));
  return check_from(start, seam, before, after).value_or(SeamResult{});
}

namespace {

std::optional<SeamResult> check_from(wal::Lsn page, const Seam& seam, const ReadWal& before,
                                     const ReadWal& after) {
  const auto& size = seam.segment_size;
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
      if (!before(size.start_of(at), size.offset(at), feed)) return SeamResult{};
      if (verifier.position() != size.start_of(at) + size.bytes()) return SeamResult{};  // short
    }
    in_segment = true;
    if (!after(seam.segment_start, 0, feed)) return SeamResult{};
  } catch (const Enough&) {
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::damage && error.kind() != ErrorKind::io) throw;
    return SeamResult{};
  }
  // Of the first record only its link to the one before is in question here, and nothing behind it:
  // in an unfinished segment the WAL may end there.
  const bool beyond =
      damage && (damage->at > seam.first_record ||
                 (damage->at == seam.first_record && !damage->what.starts_with("incorrect link")));
  if (!damage || beyond) return SeamResult{SeamVerdict::fits, std::nullopt};
  // The segment itself was found sound: what does not fit is the record over the border, unless
  // the WAL before is broken in itself or is not what the segment goes on from.
  if (!in_segment) return std::nullopt;
  return SeamResult{SeamVerdict::broken, damage};
}

}  // namespace

}  // namespace weir::restore

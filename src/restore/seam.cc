#include "restore/seam.h"

#include <algorithm>
#include <array>
#include <span>

#include "base/error.h"

namespace weir::restore {

using archive::WalSource;

namespace {

/// Maximum length of a record (XLogRecordMaxSize): no record that starts further back reaches this
/// far.
constexpr std::uint64_t kFarthest = 1020 * 1024 * 1024;

/// The result of reading from a page on.
struct Reading {
  bool whole = false;         ///< all segments were there
  bool in_segment = false;    ///< it reached the seam
  bool record_began = false;  ///< before the seam: so the record over it was checked
  std::optional<wal::Damage> damage;
};

SeamResult check_from_segments_before(const Seam& seam, WalSource& before, WalSource& after);
Reading read_from(wal::Lsn page, const Seam& seam, WalSource& before, WalSource& after);
SeamResult judge(const Seam& seam, const Reading& reading);

}  // namespace

SeamResult check_seam(const Seam& seam, WalSource& before, WalSource& after) {
  const wal::Lsn page(seam.previous_record.byte() & ~(wal::kPageSize - 1));
  if (seam.previous_record.valid() && page < seam.segment_start) {
    const auto reading = read_from(page, seam, before, after);
    // Damage before the seam does not concern the record that continues in this segment.
    if (reading.in_segment) return judge(seam, reading);
  }
  // WAL of another history names a record that the segment before does not have, maybe at a place
  // without any record, after an xlog switch, or in a segment that is not there: then the whole
  // segment before must be read, as if no link is known.
  return check_from_segments_before(seam, before, after);
}

namespace {

/// From the start of the segment before, or of earlier ones if a record fills it.
SeamResult check_from_segments_before(const Seam& seam, WalSource& before, WalSource& after) {
  const auto& size = seam.segment_size;
  auto start = seam.segment_start;
  while (start.byte() >= size.bytes() && seam.segment_start - start < kFarthest) {
    start = wal::Lsn(start.byte() - size.bytes());
    const auto reading = read_from(start, seam, before, after);
    if (!reading.whole || !reading.in_segment) return {};
    auto result = judge(seam, reading);
    if (reading.record_began || result.verdict == SeamVerdict::broken) return result;
  }
  return {};
}

Reading read_from(wal::Lsn page, const Seam& seam, WalSource& before, WalSource& after) {
  const auto& size = seam.segment_size;
  wal::RecordVerifier verifier(
      {.segment_size = size, .timeline = seam.timeline, .history = seam.history}, page);
  Reading reading;
  // With a link: the header of the first record, with its link to the one before, was read; it may
  // be split by a page header. Without one: the record over the seam is complete.
  const auto enough = [&] {
    return seam.previous_record.valid()
               ? verifier.newest_record_start() >= seam.first_record &&
                     verifier.position() >=
                         seam.first_record + wal::kRecordHeaderSize + wal::kLongHeaderSize
               : verifier.position() >= seam.first_record;
  };
  std::array<std::byte, 2 * wal::kPageSize> buffer;
  const auto feed = [&](WalSource& source, std::uint64_t most) {
    const auto read =
        source.read(verifier.position(), std::span(buffer).first(std::min(most, buffer.size())));
    if (read.state == WalSource::State::bytes)
      reading.damage = verifier.feed(std::span(buffer).first(read.count));
    return read.state;
  };
  try {
    while (verifier.position() < seam.segment_start) {
      if (feed(before, seam.segment_start - verifier.position()) != WalSource::State::bytes)
        return reading;
      reading.whole = reading.damage.has_value();
      if (reading.whole) return reading;
    }
    reading.record_began = verifier.newest_record_start().valid();
    reading.in_segment = true;
    auto state = WalSource::State::bytes;
    while (state == WalSource::State::bytes && !reading.damage && !enough())
      state = feed(after, buffer.size());
    reading.whole = state == WalSource::State::bytes || state == WalSource::State::end;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::damage && error.kind() != ErrorKind::io) throw;
    reading.whole = false;
  }
  return reading;
}

SeamResult judge(const Seam& seam, const Reading& reading) {
  if (!reading.whole) return {};
  const auto& damage = reading.damage;
  // The segment itself was found valid: what does not fit is the record over the boundary. Only the
  // prev-link of the first record after it is checked here, and nothing later: in a partial segment
  // the WAL may end there.
  const bool broken =
      damage && (damage->at < seam.first_record ||
                 (damage->at == seam.first_record && damage->what.starts_with("incorrect link")));
  if (broken) return {SeamVerdict::broken, damage};
  return {SeamVerdict::fits, std::nullopt};
}

}  // namespace

}  // namespace weir::restore

#include "restore/long_record.h"

#include <span>

#include "base/buffer.h"
#include "base/error.h"
#include "wal/record_verifier.h"

namespace weir::restore {

using archive::WalSource;

namespace {

constexpr std::uint64_t kLong = std::uint64_t{64} << 10;     ///< bytes
constexpr int kMostSegments = 8;                             ///< before the segment, and after it
constexpr std::size_t kReadAtOnce = std::size_t{128} << 10;  ///< bytes at once

std::optional<wal::Lsn> segment_of_beginning(const Fetched& segment,
                                             const wal::RecordVerifier::Options& options,
                                             WalSource& others);

}  // namespace

bool ends_in_a_long_record(const Fetched& segment) {
  if (!segment.ends_inside_record) return false;
  const auto end = segment.source.segment.start(segment.size) + segment.size.bytes();
  return !segment.first_record.valid() || end - segment.newest_record >= kLong;
}

SeamResult check_long_record(const Fetched& segment, const wal::TimelineHistory* history,
                             WalSource& others, WalSource& content) {
  const auto size = segment.size;
  const auto start = segment.source.segment.start(size);
  const auto end = start + size.bytes();
  const wal::RecordVerifier::Options options{
      .segment_size = size, .timeline = segment.source.segment.timeline(), .history = history};
  try {
    const auto from = segment_of_beginning(segment, options, others);
    if (!from) return {};
    wal::RecordVerifier verifier(options, *from);
    std::optional<wal::Damage> damage;
    Buffer buffer(kReadAtOnce);
    const auto limit = end + kMostSegments * size.bytes();
    while (!damage && verifier.last_record_end() <= end && verifier.position() < limit) {
      const auto at = verifier.position();
      const auto read = (at >= start && at < end ? content : others).read(at, buffer);
      if (read.state != WalSource::State::bytes) return {};
      damage = verifier.feed(std::span(buffer).first(read.count));
    }
    if (!damage)
      return {verifier.last_record_end() > end ? SeamVerdict::fits : SeamVerdict::unknown,
              std::nullopt};
    // Other faults are those of the other segments: in itself this one was found valid.
    const bool of_this_record =
        damage->at < end && damage->what.starts_with("incorrect record checksum");
    return of_this_record ? SeamResult{SeamVerdict::broken, damage} : SeamResult{};
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::damage && error.kind() != ErrorKind::io) throw;
    return {};
  }
}

namespace {

/// nullopt if a preceding segment is missing, not valid, or too far away.
std::optional<wal::Lsn> segment_of_beginning(const Fetched& segment,
                                             const wal::RecordVerifier::Options& options,
                                             WalSource& others) {
  const auto size = segment.size;
  auto at = segment.source.segment.start(size);
  if (segment.first_record.valid()) return at;
  Buffer buffer(kReadAtOnce);
  for (int steps = 0; steps < kMostSegments && at.byte() >= size.bytes(); ++steps) {
    at = wal::Lsn(at.byte() - size.bytes());
    wal::RecordVerifier verifier(options, at);
    std::optional<wal::Damage> damage;
    while (!damage && !verifier.first_record_start().valid() &&
           verifier.position() < at + size.bytes()) {
      const auto read = others.read(verifier.position(), buffer);
      if (read.state != WalSource::State::bytes) return std::nullopt;
      damage = verifier.feed(std::span(buffer).first(read.count));
    }
    if (damage) return std::nullopt;
    if (verifier.first_record_start().valid()) return at;
  }
  return std::nullopt;
}

}  // namespace

}  // namespace weir::restore

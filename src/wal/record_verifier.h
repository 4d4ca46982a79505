#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "wal/lsn.h"
#include "wal/page.h"
#include "wal/segment.h"

namespace weir::wal {

/// What is wrong with WAL, and where. `at` is the record's or page's start; `found_at` the byte.
struct Damage {
  Lsn at;
  Lsn found_at;
  std::string what;  ///< "incorrect record checksum: expected 0x…, found 0x…"
};

/// Told of every record whose CRC was right, in order. For readers that look into records (commit
/// times, xids). Called from within feed().
class RecordObserver {
 public:
  virtual ~RecordObserver() = default;
  /// True if the observer wants this record's body; then it is collected (bounded by the record).
  [[nodiscard]] virtual bool wants(const RecordHeader& header) = 0;
  /// `body` is what follows the 24 bytes of header, empty if not wanted; valid during the call.
  virtual void on_record(Lsn start, Lsn end, const RecordHeader& header,
                         std::span<const std::byte> body) = 0;
};

/// Checks a stream of WAL while it passes: page headers (magic, address, timeline, system
/// identifier, segment and page size, flags), record headers, prev-links and the CRC-32C of every
/// record, as xlogreader.c does. Pure: bytes in, verdict out; keeps no copy of the stream (only a
/// record header, and a body where an observer wants it). Accepts every legal oddity: a start in
/// the middle of a record, records over pages and segments, xlog-switch records and the zeros
/// behind them, overwritten continuation records, page headers of an ancestor timeline in the
/// first segment of a new one.
/// One thread. Never throws on what the bytes say.
class RecordVerifier {
 public:
  struct Options {
    SegmentSize segment_size;
    TimelineId timeline = 1;              ///< pages may carry this or a lower (ancestor's) timeline
    std::uint64_t system_identifier = 0;  ///< 0: take it from the first long header
    std::optional<int> server_major;      ///< nullopt: take the version from the first magic
    RecordObserver* observer = nullptr;   ///< not owned
  };

  /// The stream begins at `start`, which lies on a page boundary (usually a segment's first byte).
  RecordVerifier(Options options, Lsn start);

  /// The next bytes of the stream, in pieces of any size. nullopt: all of it is sound so far.
  /// After damage the verifier stays at it: every further call returns the same damage.
  [[nodiscard]] std::optional<Damage> feed(std::span<const std::byte> wal);

  /// The next byte expected.
  [[nodiscard]] Lsn position() const;
  /// End of the last complete, sound record (8-byte aligned), or the end of the segment after an
  /// xlog-switch record that ends there; 0/0 before the first record was complete.
  [[nodiscard]] Lsn last_record_end() const;
  /// Start of that record; 0/0 before.
  [[nodiscard]] Lsn last_record_start() const;
  /// Where the first record that begins in this stream begins; 0/0 as long as none did.
  [[nodiscard]] Lsn first_record_start() const;
  /// True while position() lies inside a record (or its alignment padding's page gap).
  [[nodiscard]] bool inside_record() const;
  /// The WAL is of a server newer than we know: positions move, nothing is checked.
  [[nodiscard]] bool unchecked() const;
  [[nodiscard]] std::uint64_t records() const;
  /// From the first long header, 0 before it.
  [[nodiscard]] std::uint64_t system_identifier() const;

 private:
  // (implementation)
};

}  // namespace weir::wal

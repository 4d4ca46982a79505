#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <vector>

#include "store/ledger/mark.h"
#include "store/send/upload_plan.h"
#include "wal/lsn.h"
#include "wal/segment.h"
#include "wal/timeline_history.h"

namespace weir::store {

/// The position up to which a store has all of the WAL streamed into an archive, so that the server
/// does not have to retain it (--confirm stored). It advances only over files that count as sent.
/// Pure.
class StoredEnd {
 public:
  struct Stream {
    wal::TimelineId timeline = 0;
    wal::Lsn start;  ///< a segment's first byte; everything in the archive before it is complete
    bool operator==(const Stream&) const = default;
  };
  /// A stream starts. `finished`: all complete segments and histories of the archive, listed since.
  /// `history`: that of the stream's timeline, whose files alone are waited for; nullopt: unknown,
  /// so all are.
  void begin(const Stream& stream, const std::set<UploadItem>& finished, const Mark& mark,
             const std::optional<wal::TimelineHistory>& history = {});
  /// The next stream is not known yet.
  void end();
  /// It is no longer in the archive, and was never sent: it is not waited for.
  void gone(const UploadItem& item);
  /// The complete files to wait for: those before the stream's start, and those of its timeline
  /// before `durable`, the position up to which all WAL is durable under final names.
  [[nodiscard]] std::vector<UploadItem> waits_for(const Mark& mark, wal::Lsn durable) const;
  /// An object with the segment's first bytes is in the store.
  void on_open(wal::SegmentName segment, wal::Lsn end);

  struct Position {
    wal::TimelineId timeline = 0;
    wal::Lsn end;
    bool operator==(const Position&) const = default;
  };
  [[nodiscard]] wal::TimelineId timeline() const { return stream_ ? stream_->timeline : 0; }
  /// nullopt: unknown. Never decreases during a stream.
  [[nodiscard]] std::optional<Position> position(const Mark& mark);

 private:
  std::optional<Stream> stream_;
  std::set<UploadItem> before_;      ///< in the archive, before the start, and not sent
  std::set<wal::SegmentName> gone_;  ///< likewise, and no longer there
  std::uint64_t next_ = 0;           ///< the first segment that does not count yet
  struct Open {
    wal::SegmentName segment;
    wal::Lsn end;
  };
  std::optional<Open> open_;
  wal::Lsn last_;
};

}  // namespace weir::store

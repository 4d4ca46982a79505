#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <vector>

#include "store/mark.h"
#include "store/upload_plan.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::store {

/// Up to where a store has all of the WAL that streams into an archive: what the server need not
/// keep any more (--confirm stored). It moves over what counts as sent only, and over nothing of
/// the archive that does not. Pure.
class StoredEnd {
 public:
  struct Stream {
    wal::TimelineId timeline = 0;
    wal::Lsn start;  ///< a segment's first byte; everything of the archive before it is finished
    bool operator==(const Stream&) const = default;
  };
  /// A stream begins. `finished`: all finished segments and histories of the archive, found since.
  void begin(const Stream& stream, const std::set<UploadItem>& finished, const Mark& mark);
  /// Nothing is known of the stream that comes.
  void end();
  /// It is no longer in the archive, and was never sent: nobody waits for it.
  void gone(const UploadItem& item);
  /// What is waited for, of what the archive was said to have finished: before the stream's start,
  /// and of its timeline before `durable`, to where all of it is durable under final names.
  [[nodiscard]] std::vector<UploadItem> waits_for(const Mark& mark, wal::Lsn durable) const;
  /// An object of the segment's first bytes is in the store.
  void on_open(wal::SegmentName segment, wal::Lsn end);

  struct Position {
    wal::TimelineId timeline = 0;
    wal::Lsn end;
    bool operator==(const Position&) const = default;
  };
  [[nodiscard]] wal::TimelineId timeline() const { return stream_ ? stream_->timeline : 0; }
  /// nullopt: not known. Not before the one before, as long as one stream runs.
  [[nodiscard]] std::optional<Position> position(const Mark& mark);

 private:
  std::optional<Stream> stream_;
  std::set<UploadItem> before_;      ///< of the archive, before the start, and not sent
  std::set<wal::SegmentName> gone_;  ///< likewise, and not any more
  std::uint64_t next_ = 0;           ///< the first segment that did not count yet
  struct Open {
    wal::SegmentName segment;
    wal::Lsn end;
  };
  std::optional<Open> open_;
  wal::Lsn last_;
};

}  // namespace weir::store

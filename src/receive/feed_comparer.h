#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "receive/feed_difference.h"
#include "wal/lsn.h"
#include "wal/record_verifier.h"
#include "wal/segment.h"

namespace weir::receive {

/// Compares the WAL of two servers, byte by byte, except for meaningless bytes: the padding after a
/// record, and everything after an xlog switch up to the segment's end (a cascading standby sends
/// the old content of a recycled file there). Pure; keeps no copy of the stream. One thread.
class FeedComparer {
 public:
  /// Starts at `start`, a segment's first byte. Pages may have timelines below `timeline`.
  FeedComparer(wal::SegmentSize segment_size, wal::TimelineId timeline, wal::Lsn start);
  FeedComparer(const FeedComparer&) = delete;
  FeedComparer& operator=(const FeedComparer&) = delete;

  /// Compares the next bytes, equally many of both. Returns the first difference once it is known
  /// whose record is valid; after that there is nothing more to feed.
  [[nodiscard]] std::optional<FeedDifference> feed(std::span<const std::byte> archive,
                                                   std::span<const std::byte> other);
  /// The stream has ended: a difference that was found, but not fully examined.
  [[nodiscard]] std::optional<FeedDifference> finish() const { return found_; }

  [[nodiscard]] wal::Lsn position() const { return position_; }
  /// Everything before it was compared. A record counts when it is complete.
  [[nodiscard]] wal::Lsn compared() const { return settled_; }
  /// WAL of a newer server than the known versions: positions of its records are unknown.
  [[nodiscard]] bool unchecked() const { return archive_.unchecked(); }

 private:
  struct Frame {
    wal::Lsn start;
    wal::Lsn end;      ///< aligned; for an xlog switch the segment's end
    wal::Lsn raw_end;  ///< without padding
    std::uint8_t resource_manager = 0;
  };
  class Frames final : public wal::RecordObserver {
   public:
    explicit Frames(wal::SegmentSize size) : size_(size) {}
    bool wants(const wal::RecordHeader& /*header*/) override { return false; }
    void on_record(wal::Lsn start, wal::Lsn end, const wal::RecordHeader& header,
                   std::span<const std::byte> body) override;
    std::vector<Frame> frames;

   private:
    const wal::SegmentSize size_;
  };
  /// A piece of both.
  struct Piece {
    wal::Lsn begin;
    std::span<const std::byte> archive;
    std::span<const std::byte> other;
    [[nodiscard]] wal::Lsn end() const { return begin + archive.size(); }
  };
  struct Byte {
    wal::Lsn at;
    std::byte archive{};
    std::byte other{};
  };

  void compare(const Piece& piece);
  void judge_continuation(const Piece& piece);
  [[nodiscard]] bool judge(const Piece& piece, wal::Lsn to, const FeedDifference& as);
  [[nodiscard]] static std::optional<Byte> first_difference(const Piece& piece, wal::Lsn from,
                                                            wal::Lsn to);
  [[nodiscard]] bool resolved();

  const wal::SegmentSize size_;
  const wal::TimelineId timeline_;
  const wal::Lsn start_;
  Frames archive_frames_;
  Frames other_frames_;
  wal::RecordVerifier archive_;
  wal::RecordVerifier other_;
  std::optional<wal::Damage> archive_damage_;
  std::optional<wal::Damage> other_damage_;
  std::vector<std::byte> front_;  ///< of the first page's header
  /// End of the record that began before the start; 0/0: none.
  std::optional<wal::Lsn> continuation_;
  wal::Lsn position_;
  wal::Lsn settled_;
  std::optional<Byte> open_;  ///< the first one that differs after settled_
  std::optional<FeedDifference> found_;
};

}  // namespace weir::receive

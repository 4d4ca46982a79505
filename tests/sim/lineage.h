#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "random.h"
#include "support/wal_builder.h"
#include "wal/lsn.h"
#include "wal/segment.h"
#include "wal/timeline_history.h"

namespace weir::sim {

/// Far smaller than PostgreSQL's smallest, so that many worlds go into a second; the code under
/// test takes sizes from the server and the files (see PGWEIR_LEAST_SEGMENT_BYTES).
inline constexpr std::uint64_t kSegmentBytes = 64 * 1024;
inline const wal::SegmentSize kSegment = *wal::SegmentSize::of(kSegmentBytes);
inline constexpr std::uint64_t kSystem = 7301234567890123456;

/// The true WAL of a cluster over all its timelines, 1, 2, 3 …, each forked off the one before.
/// Made once and used by many runs, since making WAL costs more than a run.
class Lineage {
 public:
  static constexpr std::uint64_t kVariants = 32;
  /// Built at the first call. One thread.
  static const Lineage& variant(std::uint64_t number);

  struct Timeline {
    wal::TimelineId id;
    wal::Lsn begin;  ///< its switchpoint from the one before
    /// How far a standby that is promoted had received; the fork lies before it, at the end of the
    /// last record that was complete. Of the last timeline: the end of the story.
    wal::Lsn received;
    wal::Lsn switchpoint;  ///< to the next one; of the last one 0/0
    testing::WalBuilder wal;
  };

  [[nodiscard]] wal::TimelineId newest() const {
    return static_cast<wal::TimelineId>(timelines_.size());
  }
  [[nodiscard]] const Timeline& timeline(wal::TimelineId id) const { return timelines_[id - 1]; }
  [[nodiscard]] wal::Lsn start() const { return timelines_.front().wal.start(); }
  [[nodiscard]] int server_major() const { return timelines_.front().wal.options().server_major; }

  /// What a server on `id` has at [from, to): the bytes of its ancestors below its switchpoint.
  [[nodiscard]] std::span<const std::byte> bytes(wal::TimelineId id, wal::Lsn from,
                                                 wal::Lsn to) const;
  /// How far the WAL of `id` goes on, in the hands of a primary that was left behind.
  [[nodiscard]] wal::Lsn end(wal::TimelineId id) const { return timeline(id).wal.end(); }
  /// Content of its history file; not for timeline 1.
  [[nodiscard]] const std::string& history(wal::TimelineId id) const { return histories_[id - 1]; }

  /// Another server's idea of the newest timeline: the same up to `fork`, then its own, far beyond
  /// the end of the story. In the one records lie where they do in the true WAL, in the other not.
  struct OtherBranch {
    wal::Lsn fork;
    testing::WalBuilder same_layout;
    testing::WalBuilder own_layout;
    [[nodiscard]] const testing::WalBuilder& wal(bool same) const {
      return same ? same_layout : own_layout;
    }
  };
  /// Only where that timeline is long.
  [[nodiscard]] const std::optional<OtherBranch>& other_branch() const { return other_branch_; }

  /// Another child of the timeline before the newest: what a server has that was promoted
  /// separately, to the same number or the next one.
  struct Sibling {
    wal::TimelineId id;
    wal::Lsn fork;
    testing::WalBuilder wal;
    std::string history;
  };
  /// Only where there are two timelines at least.
  [[nodiscard]] const std::optional<Sibling>& sibling() const { return sibling_; }

  /// A byte of which a change has to be noticed: of a record (all of it must be read for that) or
  /// of a page header. WAL up to `begin` is sound whatever happens to it; a position of `end` or
  /// behind must not be acknowledged.
  struct Spot {
    wal::Lsn byte;
    wal::Lsn begin;
    wal::Lsn end;
    bool page_header = false;
  };
  /// The first byte of `wal`, said to be that of `id` from `at` on, that is not what the cluster
  /// wrote and is read by somebody: a byte of a complete record or of a page header. Nobody reads
  /// the padding of both, what lies behind an xlog switch, and a record of which the continuation
  /// was overwritten.
  [[nodiscard]] std::optional<wal::Lsn> first_wrong(wal::TimelineId id, wal::Lsn at,
                                                    std::span<const std::byte> wal) const;
  /// Where the record that the byte at `lsn` belongs to ends.
  [[nodiscard]] wal::Lsn record_end(wal::TimelineId id, wal::Lsn lsn) const;
  /// Puts the WAL of the records whose continuation was overwritten into `wal`, which begins at
  /// `start`, a segment's first byte: where it has their headers, or the segment before has them.
  void take_over_aborted(wal::TimelineId id, wal::Lsn start, std::span<std::byte> wal) const;
  /// What a reader that begins at `lsn` can read first: it drops the rest of a record that begins
  /// before.
  [[nodiscard]] wal::Lsn first_read_from(wal::TimelineId id, wal::Lsn lsn) const;
  /// One at [from, to), if the draw hits one.
  [[nodiscard]] std::optional<Spot> spot(wal::TimelineId id, wal::Lsn from, wal::Lsn to,
                                         Random& random) const;

 private:
  explicit Lineage(std::uint64_t seed);
  void make_sibling(Random& random, std::uint64_t seed);
  [[nodiscard]] bool is_read(wal::TimelineId id, wal::Lsn byte) const;
  std::vector<Timeline> timelines_;
  std::vector<std::string> histories_;
  std::optional<OtherBranch> other_branch_;
  std::optional<Sibling> sibling_;
};

}  // namespace weir::sim

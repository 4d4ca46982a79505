#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "archive/listing.h"
#include "io/directory.h"
#include "wal/lsn.h"
#include "wal/segment.h"
#include "wal/timeline_history.h"

namespace weir::archive {

/// WAL that is known to be lost. The names of segments do not show it: as long as only partial
/// segments follow a hole, it looks like the state after a crash, which a receiver requests again
/// at its next start; a branch abandoned by the cluster's history looks like any other timeline;
/// WAL written with wal_level=minimal looks like any other WAL. Each loss therefore has a small
/// file of its own, ".pgweir-loss-<id>" (docs/archive-directory.md), which is durable before
/// streaming resumes after the loss.
struct Loss {
  enum class Kind {
    hole,         ///< WAL that the archive should have and has not
    lost_branch,  ///< WAL in the archive that the cluster's history has abandoned
    minimal_wal,  ///< WAL that the archive has, written with wal_level=minimal: no recovery passes
  };
  /// By an operator: the loss is known, and no longer raises an alert.
  struct Acknowledgement {
    std::string time{};
    std::string who{};
    std::string reason{};
    bool operator==(const Acknowledgement&) const = default;
  };
  struct Range {
    wal::Lsn begin;
    wal::Lsn end;
    bool operator==(const Range&) const = default;
  };

  Kind kind = Kind::hole;
  /// The differences between the kinds, except for the fields that only a hole or a branch has: a
  /// new kind gets a row (losses.cc).
  struct Words {
    Kind kind;
    std::string_view name;       ///< in records, JSON, events and metrics: "hole"
    std::string_view id_prefix;  ///< "hole-"
    std::string_view list;       ///< the key of the receiver's JSON: "holes"
    std::string_view summary;    ///< before "from … to …": "WAL is missing"
    std::string_view what;       ///< in the record, for a person who finds it
    std::string_view if_lost;    ///< likewise, if the record is lost
    /// Complete segments in the range are the missing WAL, and close the loss.
    bool is_filled_by_segments;
    /// An acknowledgement applies to the loss as of its time: not if the range has grown since.
    bool grows;
  };
  [[nodiscard]] static std::span<const Words> kinds();  ///< in the order of Kind
  [[nodiscard]] const Words& words() const { return kinds()[static_cast<std::size_t>(kind)]; }

  /// Timeline of `begin`.
  wal::TimelineId timeline = 0;
  /// For a hole: the timeline of `end`, the same or a later one. For a lost branch: the timeline
  /// with which the cluster continued at `begin`, the switchpoint. For minimal WAL: `timeline`.
  wal::TimelineId next_timeline = 0;
  /// For a hole, a segment's first byte; for minimal WAL, the start of the record that sets
  /// wal_level.
  wal::Lsn begin;
  wal::Lsn end;                         ///< always after `begin`
  std::uint64_t system_identifier = 0;  ///< 0: not known
  wal::SegmentSize segment_size{};
  /// For a hole: the end of the valid WAL in the partial segment in which it starts; `begin` if
  /// there is none.
  wal::Lsn sound_end;
  std::string found{};   ///< when it was recorded
  std::string cause{};   ///< how it was detected, in words
  std::string server{};  ///< on which streaming resumed after it
  /// For a lost branch: number of transactions that committed in it; nullopt if not counted.
  std::optional<std::uint64_t> commits = std::nullopt;
  /// Likewise: of transactions that were prepared in it (PREPARE TRANSACTION), and did not end.
  std::uint64_t prepared = 0;
  wal::Lsn counted_to;  ///< commits were counted up to here; before `end`, there may be more
  /// For minimal WAL: the record that raises wal_level again was not found yet. `end` is that of
  /// the record that lowered it; otherwise of the one that raised it.
  bool goes_on = false;

  // Not part of the record itself.
  bool recorded = true;  ///< false: only detected, by names or by the mark of an earlier version
  std::optional<Acknowledgement> acknowledged = std::nullopt;
  /// Why the record or its acknowledgement cannot be read, for reports. If it is the record, its
  /// name gives kind, timeline and start, and the rest is a guess.
  std::optional<std::string> complaint = std::nullopt;
  /// For a hole: the ranges still missing, by the names of complete segments; in order.
  std::vector<Range> missing{};

  /// "hole-1-0-3000000", "branch-1-0-34B2D40", "minimal-1-0-34B2D40".
  [[nodiscard]] std::string id() const;
  /// Segments of the range: for a hole the missing ones, for a lost branch those to be read.
  [[nodiscard]] wal::SegmentName first_segment() const;
  [[nodiscard]] wal::SegmentName last_segment() const;
  [[nodiscard]] std::uint64_t bytes() const;  ///< for a hole, only the bytes still missing
  bool operator==(const Loss&) const = default;
};

/// "hole", "lost_branch" or "minimal_wal", as records and JSON call it.
[[nodiscard]] std::string_view to_string(Loss::Kind kind);

/// "7 commits", "0 commits and 1 prepared transaction".
[[nodiscard]] std::string transactions_text(std::uint64_t commits, std::uint64_t prepared);

/// Whether a recovery along `history` reaches the start of that minimal WAL, if it gets that far.
[[nodiscard]] bool lies_on(const Loss& minimal, const wal::TimelineHistory& history);
/// The parts of [begin, end) that can be recovered along `history`: a recovery that starts before a
/// period of wal_level=minimal ends at its start, and a recovery that starts within it ends at
/// once. In order; a range that is not cut is unchanged, even an empty one.
[[nodiscard]] std::vector<Loss::Range> without_minimal_wal(Loss::Range range,
                                                           const wal::TimelineHistory& history,
                                                           std::span<const Loss> losses);

/// Returns the losses that are recorded in the archive and open, ordered by start. A hole is open
/// until complete segments of the right size (sizes.h) cover it, and as long as something of the
/// archive precedes it. For files in its range whose size `listing` lacks, the size is read. A mark
/// of earlier versions (hole_mark_name()) counts as the record of a hole, with `recorded` false.
/// Takes no lock: a receiver and "pgweir ack" may be running. A record that cannot be read is
/// included, with a complaint. Throws what `directory` throws if it cannot be opened. `recorded`
/// returns all of them, including closed ones: their WAL is in the archive, or it starts after
/// them.
[[nodiscard]] std::vector<Loss> read_losses(io::Shelf& directory, const Listing& listing,
                                            std::vector<Loss>* recorded = nullptr);

/// Records the loss durably: when this returns, its record survives a power loss. A record of the
/// same range is not changed (returns false). A different or unreadable record is replaced, and its
/// acknowledgement does not apply to the new one. Needs no lock: two processes that find the same
/// loss write the same. Throws Error{disk_full, io, durability}.
///
/// Only the receiver that resumes after a hole knows where the hole ends; other programs see single
/// segments. With Longer::kept, a readable record of a hole that starts at the same place and ends
/// later is not changed (returns false), because it covers the new one.
enum class Longer { replaced, kept };
bool record_loss(io::Directory& directory, const Loss& loss, Longer longer = Longer::replaced);

/// Records the acknowledgement likewise. It is a separate file (".pgweir-loss-<id>.ack"), so that
/// acknowledging needs no lock, and a running receiver never writes the same file. Replaces an
/// earlier one.
void acknowledge_loss(io::Directory& directory, const Loss& loss,
                      const Loss::Acknowledgement& acknowledgement);
/// Returns the current acknowledgement, if it is for this range; cheap.
[[nodiscard]] std::optional<Loss::Acknowledgement> read_acknowledgement(io::Shelf& directory,
                                                                        const Loss& loss);

/// Removes the records of losses that are not open any more, acknowledgements without a record, and
/// marks of earlier versions that say nothing (any more). Durable when it returns. Returns the ids.
/// `listing` is of now. Throws as record_loss().
std::vector<std::string> close_losses(io::Directory& directory, const Listing& listing);

/// Removes these records regardless of their content: streaming resumes before them. Durable when
/// it returns.
void remove_losses(io::Directory& directory, std::span<const std::string> ids);

}  // namespace weir::archive

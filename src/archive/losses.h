#pragma once

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

/// WAL that is known to be lost, one way or the other. Names of segments cannot tell it: while only
/// unfinished segments lie behind a hole, it looks like what a crash has left, which the next start
/// of a receiver asks for again; a branch that the cluster's history left behind looks like any
/// other timeline; WAL that was written with wal_level=minimal looks like any other WAL. So each
/// has a small file of its own, ".pgweir-loss-<id>" (docs/archive.md), which is durable before
/// streaming goes on behind the loss.
struct Loss {
  enum class Kind {
    hole,         ///< WAL that the archive should have and has not
    lost_branch,  ///< WAL that the archive has and that the cluster's history has left behind
    minimal_wal,  ///< WAL that the archive has, written with wal_level=minimal: no recovery passes
  };
  /// By a person: the loss is known, and nobody needs to be called for it any more.
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
  /// What differs between the kinds, but for what only a hole or a branch has: a new kind gets a
  /// row (losses.cc).
  struct Words {
    Kind kind;
    std::string_view name;       ///< in records, JSON, events and metrics: "hole"
    std::string_view id_prefix;  ///< "hole-"
    std::string_view list;       ///< the key of the receiver's JSON: "holes"
    std::string_view summary;    ///< before "from … to …": "WAL is missing"
    std::string_view what;       ///< in the record, for a person who finds it
    std::string_view if_lost;    ///< likewise: if the record is lost
    /// Finished segments in the range are what is missing, and close the loss.
    bool is_filled_by_segments;
    /// An acknowledgement counts for the loss as it was: not if the range has grown since.
    bool grows;
  };
  [[nodiscard]] static std::span<const Words> kinds();  ///< in the order of Kind
  [[nodiscard]] const Words& words() const { return kinds()[static_cast<std::size_t>(kind)]; }

  /// That `begin` belongs to.
  wal::TimelineId timeline = 0;
  /// Of a hole: that `end` belongs to, the same or a later one. Of a lost branch: the one that the
  /// cluster went on with from `begin`, the switchpoint. Of minimal WAL: `timeline`.
  wal::TimelineId next_timeline = 0;
  /// Of a hole a segment's first byte; of minimal WAL the start of the record that sets wal_level.
  wal::Lsn begin;
  wal::Lsn end;                         ///< always behind `begin`
  std::uint64_t system_identifier = 0;  ///< 0: not known
  wal::SegmentSize segment_size{};
  /// Of a hole: the unfinished segment in which it begins holds sound WAL up to here; `begin` if
  /// there is none.
  wal::Lsn sound_end;
  std::string found{};   ///< when it was recorded
  std::string cause{};   ///< how it came to be known, in words
  std::string server{};  ///< that went on behind it
  /// Of a lost branch: transactions that committed in it; nullopt: not counted.
  std::optional<std::uint64_t> commits = std::nullopt;
  wal::Lsn counted_to;  ///< commits were counted up to here; before `end`, there may be more
  /// Of minimal WAL: the record that raises wal_level again has not been seen. `end` is that of the
  /// record that lowered it; else of the one that raised it.
  bool goes_on = false;

  // Not in the record itself.
  bool recorded = true;  ///< false: it is only seen, by names or by the mark of an earlier version
  std::optional<Acknowledgement> acknowledged = std::nullopt;
  /// Why the record or its acknowledgement cannot be read: to be told. If it is the record, its
  /// name tells kind, timeline and begin, and the rest is a guess.
  std::optional<std::string> complaint = std::nullopt;
  /// Of a hole: what of it is still missing, by the names of finished segments; in order.
  std::vector<Range> missing{};

  /// "hole-1-0-3000000", "branch-1-0-34B2D40", "minimal-1-0-34B2D40".
  [[nodiscard]] std::string id() const;
  /// Segments of the range: of a hole the missing ones, of a lost branch those to be read.
  [[nodiscard]] wal::SegmentName first_segment() const;
  [[nodiscard]] wal::SegmentName last_segment() const;
  [[nodiscard]] std::uint64_t bytes() const;  ///< of a hole those that are still missing
  bool operator==(const Loss&) const = default;
};

/// "hole", "lost_branch" or "minimal_wal", as records and JSON call it.
[[nodiscard]] std::string_view to_string(Loss::Kind kind);

/// Whether a recovery along `history` meets the begin of that minimal WAL, if it comes that far.
[[nodiscard]] bool lies_on(const Loss& minimal, const wal::TimelineHistory& history);
/// What can be recovered of [begin, end) along `history`: a recovery that begins before a time of
/// wal_level=minimal ends there, and one that begins in it ends at once. In order; a range that is
/// not cut stays as it is, also an empty one.
[[nodiscard]] std::vector<Loss::Range> without_minimal_wal(Loss::Range range,
                                                           const wal::TimelineHistory& history,
                                                           std::span<const Loss> losses);

/// Losses that are recorded in the archive and open, by begin. A hole is open until finished
/// segments of the right size (sizes.h) cover it, and as long as something of the archive lies
/// before it; of files in its range that `listing` has no size of, the size is looked at. The mark
/// of earlier versions (hole_mark_name()) counts as the record of a hole, with `recorded` false.
/// Takes no lock: a receiver and "pgweir ack" may be at work. A record that cannot be read is among
/// them, with a complaint. Throws what `directory` throws when it cannot be entered.
[[nodiscard]] std::vector<Loss> read_losses(io::Shelf& directory, const Listing& listing);

/// Makes the loss known for good: when this returns, its record survives a power loss. A record of
/// the same range is left as it is (false is returned); one that says something else, or cannot be
/// read, is replaced, and an acknowledgement of what it said does not count for the new one. Needs
/// no lock: two who see the same loss write the same. Throws Error{disk_full, io, durability}.
///
/// Only the receiver that goes on behind a hole knows where the hole ends. Others see single
/// segments: with Longer::kept a readable record of a hole that begins at the same place and ends
/// later is left as it is (false is returned), since it covers what they saw.
enum class Longer { replaced, kept };
bool record_loss(io::Directory& directory, const Loss& loss, Longer longer = Longer::replaced);

/// The same for the acknowledgement; it is a file of its own (".pgweir-loss-<id>.ack"), so that who
/// acknowledges needs no lock, and a receiver at work and he never write the same file. Replaces an
/// earlier one.
void acknowledge_loss(io::Directory& directory, const Loss& loss,
                      const Loss::Acknowledgement& acknowledgement);
/// As it is now, if it is for this range; a cheap look.
[[nodiscard]] std::optional<Loss::Acknowledgement> read_acknowledgement(io::Shelf& directory,
                                                                        const Loss& loss);

/// Removes the records of losses that are not open any more, acknowledgements without a record, and
/// marks of earlier versions that say nothing (any more). Durable when it returns. Returns the ids.
/// `listing` is of now. Throws as record_loss().
std::vector<std::string> close_losses(io::Directory& directory, const Listing& listing);

/// Removes these, whatever they say: streaming goes on before them. Durable when it returns.
void remove_losses(io::Directory& directory, std::span<const std::string> ids);

}  // namespace weir::archive

#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "archive/backup_point.h"
#include "archive/wal_reader.h"
#include "wal/lsn.h"
#include "wal/records.h"
#include "wal/segment.h"
#include "wal/timeline_history.h"
#include "wal/transaction_end.h"

namespace weir::recovery {

/// The recovery target.
struct Target {
  enum class Kind { latest, time, lsn, xid, name, immediate };
  Kind kind = Kind::latest;
  wal::PgTime time{};
  wal::Lsn lsn{};
  std::uint32_t xid = 0;
  std::string name{};      ///< of a restore point
  bool exclusive = false;  ///< just before it; of a time, an LSN or an xid alone

  /// "latest", an LSN, or a time. Throws Error{usage}.
  [[nodiscard]] static Target parse(const std::string& text);
  /// The same, or "xid:N", "name:RESTOREPOINT", "immediate".
  [[nodiscard]] static Target parse_any(const std::string& text);
  [[nodiscard]] std::string to_string() const;
};

/// The WAL of the archives along one history.
struct Way {
  archive::WalSource& source;
  wal::TimelineHistory history;
  wal::SegmentSize segment_size;
  std::uint64_t system_identifier = 0;
  /// Returns where WAL of the history starts again at or after a position; nullopt if there is
  /// none. A recovery that ends before such a position ends in a hole.
  std::function<std::optional<wal::Lsn>(wal::Lsn)> goes_on;
  /// Describes a segment in this hole that exists, and is not read; empty: there is none.
  std::function<std::string(wal::Lsn from, wal::Lsn to)> unread = nullptr;
  /// True if the WAL read last is from a partial segment.
  std::function<bool()> unfinished;
  /// True if the segment with this byte exists as a complete one now.
  std::function<bool(wal::Lsn)> is_finished;
  /// Returns where the first complete segment starts at or after a position. A partial segment
  /// before it is not the last one, and is not restored.
  std::function<std::optional<wal::Lsn>(wal::Lsn)> complete_after;
  /// Called if the WAL read last, of the partial segment with this byte, is not valid. True: more
  /// WAL follows in it, so that it is not restored, not even so far; false: that is its end.
  std::function<bool(wal::Lsn)> has_wal_after_damage;
  /// True if a later timeline begins in the segment with this byte, at or before it: the followed
  /// timeline was left there, and how its segment ends does not matter.
  std::function<bool(wal::Lsn)> is_left_before;
  /// True if the WAL read last is of the backup itself, with nothing but zeros from this byte to
  /// the end of its segment: pg_basebackup received no more.
  std::function<bool(wal::Lsn)> is_padding;
  /// Called if the WAL read last is not valid. True: there is another copy, which is read from now
  /// on.
  std::function<bool()> has_another_copy;
  /// Reads WAL from this byte on that precedes the damage of an unreadable file: a server can be
  /// given so much of its segment. Returns the number of bytes.
  std::function<std::size_t(wal::Lsn, std::span<std::byte>)> read_front = nullptr;
  /// Called if the file with this byte cannot be read. True: another program is copying it directly
  /// to its final name, or has just done so: it is read again. Waits for a moment.
  std::function<bool(wal::Lsn)> is_being_written = nullptr;
  /// A timeline whose history file the server requests, and which no archive has: it stops without
  /// it, or, as a standby, follows no newer timeline.
  std::optional<wal::TimelineId> missing_history = std::nullopt;
  /// The followed timeline has WAL up to this position, as the history of a later one shows: a
  /// recovery to the end of the timeline needs it.
  std::optional<wal::Lsn> reached = std::nullopt;
  /// Why a server that has followed this history cannot be promoted; empty: it can.
  std::string no_promotion{};
};

/// The archives, as used by a recovery.
class Archives {
 public:
  virtual ~Archives() = default;
  /// Along the history that a recovery of this backup follows to the newest timeline, or to that
  /// one. Throws Error{gap, conflict, damage, io}. Valid until the next call.
  virtual Way way(const archive::BackupPoint& backup, std::optional<wal::TimelineId> timeline) = 0;
  /// An archive that did not respond to a query, and its error.
  struct Silence {
    std::size_t archive = 0;  ///< its index
    Error error;
  };
  virtual std::vector<Silence> silent() = 0;
  /// Newest timeline that the server may follow; nullopt: there is no WAL.
  virtual std::optional<wal::TimelineId> newest_timeline() = 0;
  /// A timeline whose history file is archived, but none of its WAL.
  struct WithoutWal {
    wal::TimelineId timeline = 0;
    std::optional<wal::TimelineHistory> history;  ///< nullopt: it cannot be read, or is lost
    /// By the store's manifest or by `record`, it had WAL or a history file, which is missing.
    bool lost = false;
    std::string backup{};  ///< a base backup of it, so that it had WAL; empty: none was found
    std::string record{};  ///< a file in the archive directory; empty: it is the manifest
  };
  /// The newest of all timelines, if it is such a one, and the server does not follow it.
  virtual std::optional<WithoutWal> newest_without_wal() = 0;
};

/// Why a recovery of a backup along `followed` does not lead to the newest timeline of the archive.
[[nodiscard]] std::string of_a_left_branch(wal::TimelineId followed, wal::TimelineId newest);

/// Obstacles to a recovery.
enum class Obstacle {
  none,
  too_early,  ///< the backup is later than the target: an older one may serve
  not_found,  ///< the target is not in the WAL after the backup, which was read to its end
  ends,       ///< the archive ends before
  hole,
  damage,
  minimal,     ///< WAL that was written with wal_level=minimal
  no_history,  ///< Way::missing_history
};

/// The result that a recovery must reach, according to the WAL itself, every record of which was
/// read and is valid.
struct Promise {
  wal::Lsn position;     ///< end of the last record that is replayed, or of the backup's checkpoint
  wal::Lsn last_record;  ///< start of the last one that is replayed; 0/0: none is
  std::optional<wal::Commit> commit;  ///< the last one that is replayed
  std::uint64_t bytes = 0;            ///< of WAL, from the backup's start
  wal::Lsn read_to;                   ///< all WAL before it was available
  int server_major = 0;               ///< the version that wrote it; 0: nothing was read
  /// Why the target cannot be reached; empty if it can.
  std::string problem;
  std::string hint;
  Obstacle obstacle = Obstacle::none;
  /// A record whose replay would write outside of the sandbox: creation of a tablespace.
  struct Tablespace {
    wal::Lsn at;
    std::string location;
  };
  std::vector<Tablespace> tablespaces;
  /// The first one that is not replayed, if it is in the segment in which the recovery ends.
  std::optional<wal::Commit> next_commit;
  /// The highest value of each on the WAL's server.
  wal::ServerLimits limits{};
  /// Set with `problem`: a transaction that the backup already contains, and that is later than the
  /// target. Only a backup that ended before it is suitable.
  std::optional<wal::Commit> held;
  /// Damage in the segment in which the recovery ends, after all replayed WAL. The server requests
  /// whole segments: pgweir restore must be told to deliver the valid part of this one.
  struct Behind {
    wal::Lsn at;
    std::string segment;
    std::string what;
    bool is_padding = false;  ///< Way::is_padding(): the file is as it should be
  };
  std::optional<Behind> damage_behind;
};

/// Reads the WAL from the backup's start to the target, checking every record. Nothing is replayed
/// here: problems are found before a server is started. Throws Error{conflict} if another record is
/// where the backup's checkpoint should be; Error{io, refused}; Error{retry} if `stop` returns
/// true, or if an archive does not respond.
[[nodiscard]] Promise look_through(const Way& way, const archive::BackupPoint& backup,
                                   const Target& target, const std::function<bool()>& stop);

/// For of_a_timeline_without_wal(), if it is lost.
[[nodiscard]] std::string hint_of_lost_files(const Archives::WithoutWal& newer);

/// For Way::no_promotion.
[[nodiscard]] std::string of_no_promotion(const std::string& why);
inline constexpr const char* kNoPromotionHint =
    "Copy the file into the archive from another copy of the archive, or from pg_wal of a server "
    "of "
    "that timeline.";

/// What a recovery along `followed` lacks of a newer timeline; empty if that does not concern its
/// target. Pure.
[[nodiscard]] std::string of_a_timeline_without_wal(const Archives::WithoutWal& newer,
                                                    wal::TimelineId followed, const Target& target,
                                                    const Promise& promise);

}  // namespace weir::recovery

#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "archive/backup_point.h"
#include "prune/find_backups.h"
#include "wal/pg_time.h"
#include "wal/timeline_history.h"

// Translates the user's rules, "the last 7 days", "the last 3 backups", to backups whose WAL must
// be kept. Pure: facts about the archive come from WalFacts.

namespace weir::prune {

/// WAL of a timeline's history without a hole.
struct Stretch {
  wal::Lsn begin;  ///< a segment's first byte
  wal::Lsn end;    ///< after its last segment, complete or not
  bool operator==(const Stretch&) const = default;
};
/// The archive's WAL for a recovery along one timeline.
struct Line {
  wal::TimelineHistory history;
  std::vector<Stretch> stretches{};  ///< in order, at least one; they are separated by a hole, a
                                     ///< boundary that was not verified, or WAL that was written
                                     ///< with wal_level=minimal
};

/// What the WAL shows about a backup.
struct WalOfBackup {
  enum class State {
    sound,
    not_ended,  ///< its end is missing: it is in progress, or was aborted
    stranger,   ///< it is of another cluster, or of a branch that the archive does not have
    damaged,    ///< it cannot become consistent
  };
  State state = State::sound;
  /// Time of the first commit at or after its end: all points in time from there on can be reached.
  std::optional<wal::PgTime> time = std::nullopt;
  std::string what{};  ///< for all except a valid one: why
  /// The WAL does not show where it ends (for a standby's backup without a manifest): `time` is its
  /// start.
  bool guessed = false;
  /// Its end, if its files do not name it and the WAL does.
  std::optional<wal::Lsn> end = std::nullopt;
  wal::TimelineId end_timeline = 0;
};

struct NewestCommit {
  std::optional<wal::PgTime> time = std::nullopt;  ///< nullopt: there is no commit
  bool unsure = false;  ///< WAL could not be read: there may be a later one
};

class WalFacts {
 public:
  virtual ~WalFacts() = default;
  WalFacts() = default;
  WalFacts(const WalFacts&) = default;
  WalFacts& operator=(const WalFacts&) = default;

  /// One for each timeline that has segments, ascending; the last one is the cluster's own history.
  [[nodiscard]] virtual const std::vector<Line>& lines() = 0;
  [[nodiscard]] virtual NewestCommit newest_commit(const Line& line, const Stretch& stretch) = 0;
  /// Checks that the backup is within the stretch, including its end as far as it is known. With
  /// `until`, a backup with a later time is not checked any further.
  [[nodiscard]] virtual WalOfBackup look(const FoundBackup& backup, const Line& line,
                                         const Stretch& stretch,
                                         std::optional<wal::PgTime> until) = 0;
};

struct Rules {
  /// Each point in time of this duration must stay reachable.
  std::optional<std::chrono::milliseconds> window = std::nullopt;
  /// Number of full backups.
  std::optional<std::size_t> count = std::nullopt;
  wal::PgTime now;
};

/// An archive in which nothing was committed for this time is idle or cut off, or the clock is
/// wrong: then a window is counted back from its newest commit.
inline constexpr std::chrono::hours kSilence{24};

struct Retention {
  /// Backups that fulfil the rules: their WAL must be kept.
  std::vector<archive::BackupPoint> kept{};
  /// It is unknown whether these will be completed: the WAL from their start on is kept, too.
  std::vector<archive::BackupPoint> doubtful{};
  /// What the kept and the doubtful ones are incremental to, down to full ones.
  std::vector<archive::BackupPoint> bases{};
  /// Paths of whole backups that no rule needs, and that none of the above builds upon: each began
  /// before every one that is kept. Newest first, so that an incremental one comes before what it
  /// builds upon.
  std::vector<std::string> obsolete{};
  /// Nothing may go at all.
  bool nothing = false;
  /// Something is wrong: a rule is not fulfilled, or a backup is in doubt.
  bool complaint = false;
  std::vector<std::string> remarks{};  ///< what an operator should know, complaints and other
                                       ///< remarks
  std::vector<std::string> choice{};   ///< a line for each backup: its relation to the rules
};

[[nodiscard]] Retention choose(const std::vector<FoundBackup>& backups, const Rules& rules,
                               WalFacts& wal);

/// Adds the end that the WAL shows, if the backup's files do not name it.
void add_end(archive::BackupPoint& backup, WalFacts& wal);

/// Why a backup does not count that is not on the history of the newest timeline.
[[nodiscard]] std::string not_in_history_of(wal::TimelineId newest);
/// True if the backup is on the history of that timeline, as far as it is known.
[[nodiscard]] bool lies_on(const archive::BackupPoint& backup, const wal::TimelineHistory& history);

/// True if the stretch has the backup's start, and its end as far as it is known.
[[nodiscard]] bool lies_in(const archive::BackupPoint& backup, const Stretch& stretch);

}  // namespace weir::prune

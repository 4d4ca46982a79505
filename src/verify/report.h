#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "archive/backup_point.h"
#include "wal/lsn.h"
#include "wal/timeline_history.h"

namespace weir::verify {

struct BesideReport;

/// The possible findings. The names are those of the JSON output (to_string()).
enum class FindingKind {
  gap,            ///< segments that a recovery needs and no archive has
  damage,         ///< a page or a record is not what it must be
  broken_file,    ///< the file is too short, too long, or its compressed data is broken
  wrong_name,     ///< the WAL in the file belongs under another name
  other_cluster,  ///< the WAL in the file is of another cluster
  forms_differ,   ///< two files that must contain the same WAL differ
  history,        ///< a history file is broken, missing, or contradicts others or the WAL
  unreadable,     ///< the system refused to read it
  not_a_file,     ///< a directory, a broken link, … with a segment's name
  backup,         ///< the backup cannot be brought to consistency
  lost_branch,    ///< WAL in the archive that the cluster's history has abandoned
  minimal_wal,    ///< WAL that is here and was written with wal_level=minimal
};
[[nodiscard]] std::string_view to_string(FindingKind kind);

/// A stretch of WAL that cannot be replayed: [from, to).
struct LostRange {
  wal::TimelineId timeline = 0;
  wal::Lsn from;
  wal::Lsn to;
  auto operator<=>(const LostRange&) const = default;
};

/// A known loss that an operator has accepted, and why.
struct AcceptedLoss {
  LostRange loss;
  std::string reason;
  int line = 0;  ///< of the file
};

/// Reads lines of "<timeline> <from> <to> <reason>", comments after '#'. Throws Error{usage} that
/// names `path` and the line.
[[nodiscard]] std::vector<AcceptedLoss> parse_accepted(std::string_view content,
                                                       const std::string& path);

struct Finding {
  FindingKind kind = FindingKind::damage;
  std::string file{};     ///< its name in the archive; of a gap the first segment that is missing
  std::string to_file{};  ///< of a gap the last one
  wal::TimelineId timeline = 0;
  std::optional<wal::Lsn> lsn = std::nullopt;          ///< of the damaged record or page
  std::optional<wal::Lsn> found_at = std::nullopt;     ///< the byte that is not what it must be
  std::optional<std::uint64_t> offset = std::nullopt;  ///< of found_at in the raw segment
  std::string resource_manager{};                      ///< of the damaged record, where known
  std::string what{};
  std::string hint{};
  std::optional<LostRange> loss = std::nullopt;
  std::optional<std::string> accepted = std::nullopt;  ///< the reason
};

/// One history in the archive: that of a recovery to the end of `timeline`.
struct HistoryReport {
  wal::TimelineId timeline = 0;
  std::vector<wal::TimelineHistory::Ancestor> ancestors{};
  struct Range {
    wal::Lsn begin;
    wal::Lsn end;  ///< of the valid WAL: the end of a segment, or of the last valid record
    bool operator==(const Range&) const = default;
  };
  std::vector<Range> sound{};  ///< in order; the ranges between cannot be replayed
  std::size_t segments = 0;    ///< files along this history
  std::string partial{};       ///< the file the last range ends in, if it is a .partial
};

struct BackupReport {
  archive::BackupPoint point{};
  std::optional<wal::Lsn> consistent_at = std::nullopt;  ///< nullopt: not known
  bool reaches_consistency = false;
  struct Reach {
    wal::TimelineId timeline;  ///< along the history of
    wal::Lsn end;
  };
  std::vector<Reach> reaches{};
  std::string verdict{};  ///< a sentence
};

struct Report {
  std::string path{};
  std::uint64_t system_identifier = 0;  ///< 0: no segment shows it
  std::uint64_t segment_size = 0;
  std::optional<int> server_major = std::nullopt;
  std::vector<HistoryReport> histories{};
  std::vector<Finding> findings{};   ///< by timeline and position
  std::vector<std::string> notes{};  ///< worth knowing, not wrong
  /// False: the WAL is of a newer PostgreSQL than this program knows, and nothing is known of its
  /// records. Then the archive is not called valid.
  bool records_checked = true;
  std::optional<BackupReport> backup = std::nullopt;
  std::size_t segments = 0;  ///< files read
  std::uint64_t wal_bytes = 0;
  std::uint64_t records = 0;
  std::chrono::milliseconds elapsed{};

  /// True if a recovery over the verified range finds everything, except for losses that were
  /// accepted.
  [[nodiscard]] bool sound() const;
};

/// Readable report: contents, errors first, actions. At most `most_findings` in full.
[[nodiscard]] std::string to_text(const Report& report, std::size_t most_findings = 20);
/// docs/verify.md describes the schema. Includes the comparison with another archive, if there was
/// one.
[[nodiscard]] std::string to_json(const Report& report, const BesideReport* beside = nullptr);

}  // namespace weir::verify

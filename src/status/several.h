#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "status/check.h"
#include "status/report.h"

namespace weir::status {

// Several archives, reported one after another, and which of them reaches furthest. Pure.

/// One of them.
struct ArchiveStatus {
  std::string directory;
  std::optional<StatusReport> report;  ///< unset: the directory could not be read
  std::string error{};                 ///< why
  std::optional<Verdict> verdict{};    ///< of --check
};

/// How far one archive reaches.
struct Reach {
  std::string directory;
  std::optional<std::uint64_t> system_identifier;  ///< unset: unknown
  wal::TimelineId timeline = 0;  ///< the newest that it has WAL of; 0: there is nothing to compare
  wal::Lsn end;                  ///< it is durable up to here
  std::string why_not{};         ///< why there is nothing to compare
  /// Bytes up to the end of the furthest archive, along that archive's history; unset: unknown.
  std::optional<std::uint64_t> behind{};
  /// Bytes of its WAL that are not part of that history.
  std::uint64_t diverged = 0;
};

struct Comparison {
  std::vector<Reach> archives;  ///< in the order of the reports
  /// Of `archives`, by timeline, then by position; the first one if several reach equally far.
  /// Unset: none has WAL, or they belong to different clusters.
  std::optional<std::size_t> furthest;
  bool different_clusters = false;
};

/// By the durable end of each. Missing WAL before it is not considered.
[[nodiscard]] Comparison compare(const std::vector<ArchiveStatus>& archives);

/// In words, without line end.
[[nodiscard]] std::string text_of(const Comparison& comparison);

/// The lines of --check, each with its line end: those of the archives, which must have a verdict,
/// each after its directory, gravest first; before them, if necessary, one about different
/// clusters.
[[nodiscard]] std::string check_lines(const std::vector<ArchiveStatus>& archives,
                                      const Comparison& comparison);
/// The gravest level, critical for different clusters.
[[nodiscard]] Level level_of(const std::vector<ArchiveStatus>& archives,
                             const Comparison& comparison);

/// Documented in docs/status.md.
[[nodiscard]] std::string several_json(const std::vector<ArchiveStatus>& archives,
                                       const Comparison& comparison);

}  // namespace weir::status

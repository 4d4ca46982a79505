#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "wal/lsn.h"
#include "wal/pg_time.h"
#include "wal/transaction_end.h"

namespace weir::drill {

/// The result of a drill. The numbers are the exit statuses.
enum class Outcome {
  recovered = 0,  ///< and everything promised and required was fulfilled
  failed = 1,     ///< the archive or the backup is not what it must be, or a check failed
  not_tried = 3,  ///< no server programs, no space, stopped: no result about the archive
};

struct Report {
  struct Phase {
    std::string name;
    std::chrono::milliseconds time{};
  };
  struct Check {
    std::string name;  ///< "pg_checksums", or the statement
    bool passed = false;
    std::string answer;
  };

  Outcome outcome = Outcome::not_tried;
  std::string backup;
  std::vector<std::string> archives;
  std::string target;
  std::optional<int> server_major;
  std::string server;  ///< "postgres (PostgreSQL) 15.18"
  std::uint64_t backup_bytes = 0;
  std::uint64_t shared_bytes = 0;  ///< of them, that were not copied but share blocks
  std::uint64_t wal_bytes = 0;
  std::optional<wal::TimelineId> timeline;
  bool of_left_branch = false;  ///< the archive has a newer timeline, without the backup's history
  // The end that the archive promises, and the end reached.
  std::optional<wal::Lsn> promised;
  std::optional<wal::Commit> promised_commit;
  std::optional<wal::Lsn> reached;
  std::optional<bool> commit_reached;  ///< unset: there is none, or it cannot be determined
  std::vector<Phase> phases;
  std::vector<Check> checks;
  std::vector<std::string> skipped;  ///< checks that were omitted, and why
  /// Facts that a restore by hand must take into account, and this drill did not test: of the
  /// backup's own settings, and of the restore_command. Not part of the outcome.
  std::vector<std::string> warnings;
  std::vector<std::string> problems;  ///< why it is not recovered
  std::vector<std::string> hints;
  std::vector<std::string> server_log;  ///< its last words, of a recovery that failed

  /// Tells a problem; the first one decides the outcome.
  void fail(Outcome how, std::string problem, std::string hint = {});
  void fail(Outcome how, const Error& error);
  [[nodiscard]] bool failed() const { return !problems.empty(); }
  [[nodiscard]] std::chrono::milliseconds time() const;  ///< of all phases
};

[[nodiscard]] std::string_view to_string(Outcome outcome);
[[nodiscard]] std::string report_text(const Report& report);
[[nodiscard]] std::string report_json(const Report& report);

}  // namespace weir::drill

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "wal/lsn.h"
#include "wal/pg_time.h"
#include "wal/segment.h"
#include "wal/transaction_end.h"

namespace weir::recover {

/// The state of the directory. Written into it before anything else, and updated to the end.
enum class State {
  none,        ///< nothing was created
  incomplete,  ///< it is being filled, or that broke off: no server can be started on it
  prepared,    ///< a server that is started on it recovers to the target
  recovering,  ///< one was started
  reached,     ///< it ended at the promised position
  failed,      ///< it is not
};
[[nodiscard]] std::string_view to_string(State state);

struct Report {
  int status = 0;  ///< the exit status
  State state = State::none;
  bool dry_run = false;
  std::string into;
  std::string backup;
  std::vector<std::string> archives;
  std::string target;  ///< as interpreted
  struct Tablespace {
    std::string oid;
    std::string from;
    std::string to;
  };
  std::vector<Tablespace> tablespaces;
  std::string id;      ///< of mark_in(), in the file in the directory alone
  std::string server;  ///< "postgres (PostgreSQL) 15.18"
  std::uint64_t backup_bytes = 0;
  std::uint64_t shared_bytes = 0;
  std::uint64_t wal_bytes = 0;
  std::uint64_t segment_bytes = 0;  ///< of a WAL segment
  std::optional<wal::TimelineId> timeline;
  std::optional<wal::Lsn> promised;
  std::optional<wal::Commit> promised_commit;
  std::optional<wal::Commit> next_commit;  ///< the first one that is not recovered, if it is known
  std::optional<wal::Lsn> reached;
  std::optional<bool> commit_reached;    ///< unset: cannot be determined
  std::vector<std::string> passed_over;  ///< newer backups that do not serve, and why
  std::vector<std::string> notes;        ///< what a person should know
  std::vector<std::string> next;         ///< what to do now
  std::vector<std::string> problems;
  std::vector<std::string> hints;
  std::vector<std::string> server_log;

  /// Tells a problem; the first one decides the status.
  void fail(int how, std::string problem, std::string hint = {});
  void fail(int how, const Error& error);
  [[nodiscard]] bool failed() const { return !problems.empty(); }
};

[[nodiscard]] std::string report_text(const Report& report);
/// `words`: Options::words, for the file in the directory; empty: left out.
[[nodiscard]] std::string report_json(const Report& report, const std::string& words = {});

/// The state left in the directory by an earlier call.
struct Left {
  State state = State::none;
  std::string words;
  Report report;  ///< what is needed to continue: the promise, and the places
};
/// nullopt: this is no such file.
[[nodiscard]] std::optional<Left> parse_left(const std::string& json);

}  // namespace weir::recover

#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "archive/backup_point.h"
#include "io/tree.h"
#include "net/wake.h"
#include "recovery/promise.h"

namespace weir::recover {

/// The server's action at its target (recovery_target_action).
enum class Action { promote, pause, shutdown };

/// A base backup that was found under the places that were named.
struct Candidate {
  std::string path;
  std::optional<archive::BackupPoint> point{};
  std::string problem{};    ///< why it cannot be used; empty: no known problem
  bool beside = false;      ///< it was not named: it is available as a base for others
  bool in_tar = false;      ///< prune::FoundBackup::in_tar
  bool unreadable = false;  ///< its files cannot be read, so its position is unknown
};

struct Options {
  std::vector<Candidate> backups;
  std::string into;  ///< absolute
  recovery::Target target;
  std::optional<wal::TimelineId> timeline;
  Action action = Action::promote;
  std::map<std::string, std::string> mapping;  ///< places of tablespaces: old, new
  std::vector<std::string> keep_settings;
  std::optional<std::string> standby;       ///< primary_conninfo: a standby is created
  std::optional<std::string> standby_slot;  ///< primary_slot_name
  bool dry_run = false;
  bool start = false;
  std::optional<std::string> start_command;  ///< in place of pg_ctl
  std::optional<std::string> bindir;
  std::optional<io::User> owner;  ///< of root: whose the server is

  std::vector<std::string> archives;             ///< as they are named in messages
  std::vector<std::string> archive_directories;  ///< of them, the directories
  /// The archives, and these directories with them.
  std::function<std::unique_ptr<recovery::Archives>(const std::vector<std::string>& more)> open;
  /// The restore_command of the archives without some (by their places), with more directories, and
  /// with an option.
  std::function<std::string(const std::vector<std::size_t>& without,
                            const std::vector<std::string>& more, const std::string& option)>
      restore_command;
  std::vector<std::string> notes;  ///< of the command line, for the report
  /// The options that determine the result of this call: a call with the same words continues from
  /// what it left.
  std::string words;
  std::function<void(const std::string&)> tell;  ///< what is done now
  /// How far `what` ("copy", "replay") has come, in bytes.
  std::function<void(std::string_view what, std::uint64_t done, std::uint64_t total)> progress;
  std::function<bool()> stop;
  const net::Wake* interrupt = nullptr;  ///< raised when `stop` returns true
};

}  // namespace weir::recover

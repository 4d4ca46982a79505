#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "drill/report.h"
#include "net/wake.h"
#include "recovery/promise.h"

namespace weir::drill {

using recovery::Target;
using recovery::Way;

struct Options {
  std::string backup;
  Target target;
  std::vector<std::string> checks;  ///< SQL
  std::string sandbox;              ///< the directory in which the sandbox is created
  std::optional<std::string> bindir;
  std::string preload;
  std::string username = "postgres";
  std::string database = "postgres";
  std::string restore_command;  ///< of the archives
  /// The same, but also delivers the valid part of a damaged segment: for damage after the target.
  std::string restore_command_up_to_damage;
  std::function<void(const std::string&)> tell;  ///< what is done now
  std::function<bool()> stop;
  const net::Wake* interrupt = nullptr;  ///< raised when `stop` returns true
};

/// The archives, as used by a drill.
class Archives : public recovery::Archives {
 public:
  /// The end that `status` promises for a backup that started there; nullopt: none.
  virtual std::optional<wal::Lsn> promised_by_status(const archive::BackupPoint& backup,
                                                     wal::TimelineId timeline) = 0;
};

/// Runs the drill; errors are in the report. The sandbox is removed when it returns. Only throws
/// Error{usage}, before anything was created.
[[nodiscard]] Report run(const Options& options, Archives& archives);

}  // namespace weir::drill

#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "backup/options.h"
#include "io/child_process.h"
#include "pq/conninfo.h"

namespace weir::backup {

// How pg_basebackup is called. Pure.

struct CopyPlan {
  Format format = Format::plain;
  std::string compress;
  std::string rate;
  std::string into;  ///< absolute
  /// Places of tablespaces: the original, then the one in the backup.
  std::vector<std::pair<std::string, std::string>> tablespaces;
  std::optional<std::string> base_manifest;  ///< of the backup that this one is incremental to
  int tool_major = 0;
};

/// A connection string from these values.
[[nodiscard]] std::string conninfo_text(const pq::ConninfoValues& values);

/// `values` without a password: the arguments of a process are visible to other users. Throws
/// Error{retry} for what the program is too old for.
[[nodiscard]] io::Command basebackup_command(const std::string& program,
                                             const pq::ConninfoValues& values,
                                             const CopyPlan& plan);

}  // namespace weir::backup

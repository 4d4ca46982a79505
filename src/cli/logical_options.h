#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "cli/arguments.h"
#include "cli/program.h"
#include "logical/session.h"

namespace weir::cli {

struct LogicalRequest {
  enum class Verb { stream, create, drop, peek, get };
  Verb verb = Verb::stream;
  logical::Options options;  ///< of the stream; `path` is a whole path here
  bool exact = true;         ///< a file with its state
  pq::LogicalSlotOptions slot;
  bool if_exists = false;
  std::string snapshot_command;
  std::optional<std::uint64_t> limit;  ///< of peek and get
  std::optional<std::string> log_file;
  LogLevel level = LogLevel::info;
  bool help = false;
};

/// What follows "logical" on the command line. Throws Error{usage}.
[[nodiscard]] LogicalRequest parse_logical(const Words& words);
/// All options but --option, which may be given several times.
[[nodiscard]] std::vector<Option> logical_option_list();

}  // namespace weir::cli

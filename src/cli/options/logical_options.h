#pragma once

#include <optional>
#include <string>

#include "base/log.h"
#include "cli/arguments.h"
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
};

/// Reads the request. Throws Error{usage} for contradictory options.
[[nodiscard]] LogicalRequest read_logical(const Arguments& arguments);

int logical_command(const Arguments& arguments);

}  // namespace weir::cli

#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>

#include "base/log.h"
#include "cli/arguments.h"
#include "cli/logger.h"
#include "cli/reporter.h"
#include "receive/notifier.h"
#include "receive/options.h"

namespace weir::cli {

/// All that `pgweir receive` was asked.
struct ReceiveRequest {
  receive::Options options;
  std::optional<receive::Notifier::Options> notify;
  LogLevel log_level = LogLevel::info;
  std::optional<std::string> log_file;
  LogFormat log_format = LogFormat::text;
  MetricsOptions metrics;
  std::optional<std::string> config_file;
  bool log_level_fixed = false;  ///< by the command line: SIGHUP does not change it
  bool password_on_command_line = false;
  bool help = false;  ///< then nothing else is set
};

[[nodiscard]] std::span<const Option> receive_option_list();

/// Reads and checks everything. `read_file` gives the content of a configuration file. Throws
/// Error{usage}; with `errors` all that is wrong with the options is added there instead, and what
/// is returned is of no use if something was.
[[nodiscard]] ReceiveRequest parse_receive(
    const std::vector<std::string>& words,
    const std::function<std::string(const std::string&)>& read_file,
    std::vector<Error>* errors = nullptr);

/// "debug", "info", "warning", "error".
[[nodiscard]] std::optional<LogLevel> parse_log_level(std::string_view text);

}  // namespace weir::cli

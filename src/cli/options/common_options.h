#pragma once

#include "cli/option.h"
#include "cli/values.h"

namespace weir::cli {

// Options that several commands have.

[[nodiscard]] constexpr auto shared_option(auto option) {
  option.shared = true;
  return option;
}
[[nodiscard]] constexpr auto connection_string(auto option) {
  option.connection = true;
  return option;
}

[[nodiscard]] constexpr auto repeated(auto option) {
  option.repeated = true;
  return option;
}
[[nodiscard]] constexpr auto for_the_command_line(auto option) {
  option.in_file = false;
  return option;
}

inline constexpr auto kDirectory =
    shared_option(option_of<any_text>('D', "directory", "DIR", "archive directory"));
inline constexpr auto kSlot =
    shared_option(option_of<slot_value>('S', "slot", "NAME", "replication slot"));
inline constexpr auto kConfig = for_the_command_line(option_of<any_text>(
    'c', "config", "FILE", "read options from FILE, too; see pgweir config --help"));
inline constexpr auto kHelp = for_the_command_line(flag('?', "help", "show this help, then exit"));
inline constexpr auto kJobs =
    option_of<jobs_value>('j', "jobs", "N", "number of threads (default: number of CPUs)");
inline constexpr auto kNoProgress = flag("no-progress", "no progress bar on the terminal");
inline constexpr auto kMetricsFile = option_of<metrics_file_value>(
    "metrics-file", "FILE", "write metrics to FILE, whose name must end in .prom");
inline constexpr auto kTimeline = option_of<timeline_value>("timeline", "N", "only this timeline");

// Which server.
inline constexpr auto kDbname = shared_option(connection_string(option_of<database_value>(
    'd', "dbname", "CONNINFO", "connection string, URI, or database name")));
inline constexpr auto kHost =
    shared_option(option_of<any_text>('h', "host", "HOST", "host name or socket directory"));
inline constexpr auto kPort =
    shared_option(option_of<any_text>('p', "port", "PORT", "port number"));
inline constexpr auto kUsername = shared_option(
    option_of<any_text>('U', "username", "NAME", "role with the REPLICATION attribute"));
inline constexpr auto kNoPassword = shared_option(flag(
    'w', "no-password", "ignored, accepted for compatibility; there is never a password prompt"));

}  // namespace weir::cli

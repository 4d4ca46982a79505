#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "cli/arguments.h"
#include "cli/metrics/reporter.h"
#include "cli/options/serve_options.h"
#include "cli/options/web_options.h"
#include "cli/runtime/store_feed.h"
#include "daemon/logger.h"
#include "receive/compare_feed.h"
#include "receive/notifier.h"
#include "receive/options.h"

namespace weir::cli {

/// The options of `pgweir receive`.
struct ReceiveRequest {
  receive::Options options;
  std::optional<receive::Notifier::Options> notify;
  std::optional<receive::CompareFeed::Options> compare;
  ServeRequest serve;
  std::optional<StoreRequest> store;
  LogLevel log_level = LogLevel::info;
  std::optional<std::string> log_file;
  daemon::LogFormat log_format = daemon::LogFormat::text;
  MetricsOptions metrics;
  WebRequest web;
  std::optional<std::string> config_file;
  /// By the command line or the environment: SIGHUP does not change it.
  bool log_level_fixed = false;
  bool password_on_command_line = false;
};

/// Reads the request. Throws Error{usage} for contradictory or missing options; with `errors` all
/// of them are added there instead, and the result must not be used if there were any.
[[nodiscard]] ReceiveRequest read_receive(const Arguments& arguments,
                                          std::vector<Error>* errors = nullptr);

int receive_command(const Arguments& arguments);

}  // namespace weir::cli

#include "cli/receive_options.h"

#include <fmt/format.h>

#include <utility>

#include "base/units.h"
#include "cli/config_file.h"
#include "cli/connection_options.h"
#include "pq/conninfo.h"
#include "pq/notifications.h"

namespace weir::cli {

namespace {

using std::chrono::milliseconds;

std::vector<Option> make_list() {
  auto list = connection_options();
  const std::vector<Option> own = {
      {"directory", 'D'},
      {"slot", 'S'},
      {"create-slot", '\0', false},
      {"if-not-exists", '\0', false},
      {"monitor-conninfo"},
      {"notify-channel"},
      {"notify-conninfo"},
      {"start"},
      {"endpos", 'E'},
      {"no-loop", 'n', false},
      {"on-gap"},
      {"on-disk-full"},
      {"flush"},
      {"apply-position"},
      {"compress", 'Z'},
      {"status-interval", 's'},
      {"timeout"},
      {"log-level"},
      {"log-file"},
      {"log-format"},
      {"verbose", 'v', false},
      {"quiet", 'q', false},
      {"metrics-file"},
      {"metrics-listen"},
      {"metrics-interval"},
      {"config", 'c', true, false},
      {"help", '?', false, false},
  };
  list.insert(list.end(), own.begin(), own.end());
  return list;
}

/// Takes the options one after the other: the first that is wrong ends it, or all are told.
class Steps {
 public:
  explicit Steps(std::vector<Error>* errors) : errors_(errors) {}
  template <typename Step>
  void operator()(Step step) const {
    try {
      step();
    } catch (Error& error) {
      if (errors_ == nullptr) throw;
      errors_->push_back(std::move(error));
    }
  }

 private:
  std::vector<Error>* errors_;
};

Error wrong_value(const Arguments& arguments, std::string_view option) {
  return Error(ErrorKind::usage, fmt::format("wrong value \"{}\" of {}", *arguments.value(option),
                                             arguments.source(option)));
}

/// What a lower room's parser throws does not know which option it was.
template <typename Parse>
auto parse_with(const Arguments& arguments, std::string_view option, Parse parse) {
  try {
    return parse(*arguments.value(option));
  } catch (Error& error) {
    throw std::move(error).with("given by", arguments.source(option));
  }
}

template <typename Value>
Value one_of(const Arguments& arguments, std::string_view option, Value otherwise,
             std::initializer_list<std::pair<std::string_view, Value>> choices) {
  const auto value = arguments.value(option);
  if (!value) return otherwise;
  std::string names;
  for (const auto& [name, meaning] : choices) {
    if (*value == name) return meaning;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", name);
  }
  throw wrong_value(arguments, option).hint(fmt::format("It can be: {}.", names));
}

milliseconds time_of(const Arguments& arguments, std::string_view option, milliseconds otherwise,
                     milliseconds least) {
  const auto text = arguments.value(option);
  if (!text) return otherwise;
  const auto time = parse_duration(*text);
  constexpr milliseconds kMost = std::chrono::hours(24);
  if (!time)
    throw wrong_value(arguments, option)
        .hint("Give a time with a unit: \"500ms\", \"10s\", \"5min\".");
  if (*time < least || *time > kMost)
    throw wrong_value(arguments, option)
        .hint(fmt::format("It can be from {} to {}.", format_duration(least),
                          format_duration(kMost)));
  return *time;
}

void require(bool condition, std::string message) {
  if (!condition) throw Error(ErrorKind::usage, std::move(message));
}

void read_positions(const Arguments& arguments, receive::Options& options, const Steps& step) {
  step([&] {
    const auto text = arguments.value("start");
    if (!text) return;
    options.start_segment = wal::SegmentName::parse(*text);
    if (!options.start_segment) options.start = wal::Lsn::parse(*text);
    if (!options.start_segment && (!options.start || !options.start->valid()))
      throw wrong_value(arguments, "start")
          .hint(
              "Give an LSN such as 16/B374D848, or the 24 digits of a segment's name such as "
              "000000010000001600000002.");
  });
  step([&] {
    const auto text = arguments.value("endpos");
    if (!text) return;
    options.endpos = wal::Lsn::parse(*text);
    if (!options.endpos || !options.endpos->valid())
      throw wrong_value(arguments, "endpos").hint("Give an LSN such as 16/B374D848.");
    require(
        !options.start || *options.start < *options.endpos,
        fmt::format("{} is not before {}", arguments.source("start"), arguments.source("endpos")));
  });
}

void read_slot(const Arguments& arguments, receive::Options& options, const Steps& step) {
  options.slot = arguments.value("slot");
  step([&] {
    if (options.slot) require_slot_name(arguments, "slot");
  });
  options.create_slot = arguments.has("create-slot");
  options.if_not_exists = arguments.has("if-not-exists");
  options.monitor_conninfo = arguments.value("monitor-conninfo");
  step([&] {
    require(!options.create_slot || options.slot,
            fmt::format("{} needs --slot NAME", arguments.source("create-slot")));
  });
  step([&] {
    require(!options.if_not_exists || options.create_slot,
            fmt::format("{} needs --create-slot", arguments.source("if-not-exists")));
  });
  step([&] {
    require(!options.monitor_conninfo || options.slot,
            fmt::format("{} watches a slot and needs --slot NAME",
                        arguments.source("monitor-conninfo")));
  });
  if (options.monitor_conninfo) {
    step([&] { require_conninfo(arguments, "monitor-conninfo", *options.monitor_conninfo); });
  } else if (options.slot) {
    // A connection string that names a database is meant for ordinary connections, too.
    const auto values = pq::parse_conninfo(options.conninfo);
    const auto database = values.find("dbname");
    if (database != values.end() && !database->second.empty() && database->second != "replication")
      options.monitor_conninfo = options.conninfo;
  }
}

void read_notify(const Arguments& arguments, ReceiveRequest& request) {
  const auto conninfo = arguments.value("notify-conninfo");
  require(!conninfo || arguments.has("notify-channel"),
          fmt::format("{} needs --notify-channel CHANNEL", arguments.source("notify-conninfo")));
  if (!arguments.has("notify-channel")) return;
  const auto channel = parse_with(arguments, "notify-channel", [](const std::string& name) {
    pq::require_channel(name);
    return name;
  });
  if (conninfo) require_conninfo(arguments, "notify-conninfo", *conninfo);
  request.notify = receive::Notifier::Options{
      .conninfo = ordinary_conninfo(conninfo.value_or(request.options.conninfo)),
      .channel = channel,
      .archive = request.options.directory};
}

void read_logging(const Arguments& arguments, ReceiveRequest& request) {
  const auto level_of = [&](bool command_line) -> std::optional<LogLevel> {
    std::optional<LogLevel> level;
    int given = 0;
    for (const auto name : {"verbose", "quiet", "log-level"}) {
      if (!arguments.has(name) || arguments.on_command_line(name) != command_line) continue;
      ++given;
      if (name == std::string_view("log-level")) {
        level = parse_log_level(*arguments.value(name));
        if (!level)
          throw wrong_value(arguments, name).hint("It can be: debug, info, warning, error.");
      } else {
        level = name == std::string_view("verbose") ? LogLevel::debug : LogLevel::warning;
      }
    }
    require(given <= 1, "only one of --verbose, --quiet and --log-level can be given");
    return level;
  };
  const auto by_file = level_of(false);
  const auto by_user = level_of(true);
  request.log_level_fixed = by_user.has_value();
  request.log_level = by_user ? *by_user : by_file.value_or(LogLevel::info);
  request.log_file = arguments.value("log-file");
}

void read_metrics(const Arguments& arguments, MetricsOptions& metrics, const Steps& step) {
  metrics.file = arguments.value("metrics-file");
  step([&] {
    require(!metrics.file || metrics.file->ends_with(".prom"),
            fmt::format("{} is a name that ends with .prom: node_exporter reads no other",
                        arguments.source("metrics-file")));
  });
  step([&] {
    if (arguments.has("metrics-listen"))
      metrics.listen = parse_with(arguments, "metrics-listen", metrics::parse_listen_address);
  });
  step([&] {
    metrics.interval =
        time_of(arguments, "metrics-interval", metrics.interval, std::chrono::seconds(1));
  });
  step([&] {
    require(!arguments.has("metrics-interval") || metrics.file,
            fmt::format("{} needs --metrics-file", arguments.source("metrics-interval")));
  });
}

bool has_password(const std::string& conninfo) {
  const auto values = pq::parse_conninfo(conninfo);
  return values.contains("password") || values.contains("sslpassword");
}

}  // namespace

ReceiveRequest parse_receive(const std::vector<std::string>& words,
                             const std::function<std::string(const std::string&)>& read_file,
                             std::vector<Error>* errors) {
  const Steps step(errors);
  ReceiveRequest request;
  auto arguments = Arguments::parse(receive_option_list(), words);
  if (arguments.has("help")) {
    request.help = true;
    return request;
  }
  if (const auto path = arguments.value("config")) {
    request.config_file = *path;
    arguments.add_file(*path, read_file(*path), shared_file("receive"), errors);
  }

  auto& options = request.options;
  const auto directory = arguments.value("directory");
  step([&] {
    if (!directory)
      throw Error(ErrorKind::usage, "no archive directory given")
          .hint("Give it with -D DIRECTORY; see \"pgweir receive --help\".");
    options.directory = *directory;
  });
  step([&] { options.conninfo = conninfo_of(arguments); });
  read_slot(arguments, options, step);
  read_positions(arguments, options, step);
  options.loop = !arguments.has("no-loop");
  step([&] {
    if (arguments.has("flush"))
      options.flush = parse_with(arguments, "flush", receive::FlushPolicy::parse);
  });
  step([&] {
    options.apply =
        one_of(arguments, "apply-position", receive::ApplyPosition::flush,
               {{"none", receive::ApplyPosition::none}, {"flush", receive::ApplyPosition::flush}});
  });
  step([&] {
    options.on_gap = one_of(arguments, "on-gap", receive::OnGap::stop,
                            {{"stop", receive::OnGap::stop}, {"continue", receive::OnGap::go_on}});
  });
  step([&] {
    options.on_disk_full =
        one_of(arguments, "on-disk-full", receive::OnDiskFull::wait,
               {{"wait", receive::OnDiskFull::wait}, {"stop", receive::OnDiskFull::stop}});
  });
  step([&] {
    if (!arguments.has("compress")) return;
    options.compression = parse_with(arguments, "compress", codec::Compression::parse);
    if (options.compression.method != codec::Method::none &&
        options.compression.method != codec::Method::zstd)
      throw wrong_value(arguments, "compress")
          .hint(
              "receive compresses with zstd only: \"none\", \"zstd\", \"zstd:1\" to \"zstd:22\".");
  });
  step([&] {
    options.status_interval =
        time_of(arguments, "status-interval", options.status_interval, milliseconds(100));
  });
  step([&] {
    options.silence_limit =
        time_of(arguments, "timeout", options.silence_limit, std::chrono::seconds(1));
  });
  step([&] { read_notify(arguments, request); });
  step([&] { read_logging(arguments, request); });
  step([&] {
    request.log_format = one_of(arguments, "log-format", LogFormat::text,
                                {{"text", LogFormat::text}, {"json", LogFormat::json}});
  });
  read_metrics(arguments, request.metrics, step);
  step([&] {
    request.password_on_command_line =
        (arguments.on_command_line("dbname") && has_password(options.conninfo)) ||
        (arguments.on_command_line("monitor-conninfo") &&
         has_password(*options.monitor_conninfo)) ||
        (arguments.on_command_line("notify-conninfo") &&
         has_password(*arguments.value("notify-conninfo")));
  });
  return request;
}

std::span<const Option> receive_option_list() {
  static const auto list = make_list();
  return list;
}

std::optional<LogLevel> parse_log_level(std::string_view text) {
  if (text == "debug") return LogLevel::debug;
  if (text == "info") return LogLevel::info;
  if (text == "warning") return LogLevel::warning;
  if (text == "error") return LogLevel::error;
  return std::nullopt;
}

}  // namespace weir::cli

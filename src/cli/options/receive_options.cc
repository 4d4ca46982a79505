#include "cli/options/receive_options.h"

#include <fmt/format.h>

#include <utility>
#include <variant>

#include "cli/commands.h"
#include "cli/options/common_options.h"
#include "cli/options/connection_options.h"
#include "cli/options/manifest_options.h"
#include "cli/options/metrics_options.h"
#include "cli/options/store_options.h"
#include "pq/conninfo.h"
#include "pq/notifications.h"

namespace weir::cli {

namespace {

using std::chrono::milliseconds;

using receive::ApplyPosition;
using receive::OnDiskFull;
using receive::OnGap;
using receive::Prefer;

constexpr Choice<ApplyPosition> kApplyPositions[] = {{"none", ApplyPosition::none},
                                                     {"flush", ApplyPosition::flush}};
constexpr Choice<OnGap> kOnGapChoices[] = {{"stop", OnGap::stop}, {"continue", OnGap::go_on}};
constexpr Choice<receive::OnUncompared> kOnUncomparedChoices[] = {
    {"stop", receive::OnUncompared::stop}, {"continue", receive::OnUncompared::go_on}};
constexpr Choice<receive::SlotHosts> kSlotHostsChoices[] = {
    {"current", receive::SlotHosts::current},
    {"all", receive::SlotHosts::all},
    {"none", receive::SlotHosts::current, /*former=*/true},
    {"listed", receive::SlotHosts::all, /*former=*/true}};
constexpr Choice<OnDiskFull> kOnDiskFullChoices[] = {{"wait", OnDiskFull::wait},
                                                     {"stop", OnDiskFull::stop}};
constexpr Choice<Prefer> kPreferChoices[] = {
    {"any", Prefer::any}, {"primary", Prefer::primary}, {"standby", Prefer::standby}};
constexpr Choice<LogLevel> kLogLevels[] = {{"debug", LogLevel::debug},
                                           {"info", LogLevel::info},
                                           {"warning", LogLevel::warning},
                                           {"error", LogLevel::error}};
constexpr Choice<daemon::LogFormat> kLogFormats[] = {{"text", daemon::LogFormat::text},
                                                     {"json", daemon::LogFormat::json}};

/// Where an empty archive begins.
using Start = std::variant<wal::Lsn, wal::SegmentName>;
Start start_value(const std::string& text) {
  if (const auto segment = wal::SegmentName::parse(text)) return *segment;
  if (const auto lsn = wal::Lsn::parse(text); lsn && lsn->valid()) return *lsn;
  throw Error(ErrorKind::usage, "neither an LSN nor a segment's name")
      .hint("Give it as in 16/B374D848, or the 24 digits of a segment: 000000010000001600000002.");
}

codec::Compression compression_value(const std::string& text) {
  const auto compression = hinted_value<codec::Compression::parse>(text);
  if (compression.method != codec::Method::none && compression.method != codec::Method::zstd)
    throw Error(ErrorKind::usage, "")
        .hint("receive compresses with zstd only: \"none\", \"zstd\", \"zstd:1\" to \"zstd:22\".");
  return compression;
}

std::string channel_value(const std::string& text) {
  pq::require_channel(text);
  return text;
}

constexpr auto kCompress = option_of<compression_value>(
    'Z', "compress", "METHOD",
    "none, zstd, or zstd:LEVEL with 1 to 22: compress finished segments in the background "
    "(default: none)");
constexpr Option kWhereTo[] = {kDirectory.says("the archive; must exist. One receiver at a time."),
                               kCompress};

constexpr auto kPrefer = option_of<choice_value<kPreferChoices>>(
    "prefer", "ROLE",
    "of several hosts that are as good: any (default), primary or standby. The stream is moved "
    "back to that role when it is there again");
constexpr auto kPreferAfter = option_of<time_value<kSecond, kDay>>(
    "prefer-after", "TIME", "and has been so for so long (default: 30s)");
constexpr auto kReconnectOnRotation =
    flag("reconnect-on-rotation",
         "when certificates, keys or the password file are replaced, connect anew with them at "
         "once, if that works (default: they are used by the next connection)");
constexpr Option kWhereFrom[] = {
    kDbname.says("connection string or URI; several hosts are asked at once (docs/ha.md). With "
                 "dbname=..., the slot is watched, too."),
    kHost,
    kPort,
    kUsername,
    kNoPassword.says("accepted; a password is never asked for. Use a password file (~/.pgpass)."),
    kPrefer,
    kPreferAfter,
    kReconnectOnRotation,
};

constexpr auto kCreateSlot =
    flag("create-slot",
         "create it when the server is known to be the right one; it reserves WAL at once");
constexpr auto kIfNotExists = flag("if-not-exists", "no error if it exists");
constexpr auto kSlotHosts = option_of<choice_value<kSlotHostsChoices>>(
    "slot-hosts", "WHERE",
    "all: keep it on all hosts of the connection string, so that a failover leaves no gap; "
    "current (default): on the one that streams (docs/ha.md)");
constexpr auto kSlotInterval = option_of<time_value<100, kDay>>(
    "slot-interval", "TIME", "with --slot-hosts, look at the others so often (default: 10s)");
constexpr auto kMonitorConninfo = connection_string(option_of<conninfo_value>(
    "monitor-conninfo", "CONNINFO",
    "ordinary connection to watch the slot's health over (default: -d, if that names a database)"));
constexpr Option kOfSlot[] = {kSlot.says("stream from this physical slot"),
                              kCreateSlot,
                              kIfNotExists,
                              kSlotHosts,
                              kSlotInterval,
                              kMonitorConninfo};

constexpr auto kNotifyChannel = option_of<channel_value>(
    "notify-channel", "CHANNEL",
    "by NOTIFY: segments finished and compressed, timelines switched, trouble. Never holds up the "
    "archive");
constexpr auto kNotifyConninfo = connection_string(option_of<conninfo_value>(
    "notify-conninfo", "CONNINFO",
    "ordinary connection to a primary to send it over (default: -d; database postgres if none is "
    "named)"));
constexpr Option kNotifications[] = {kNotifyChannel, kNotifyConninfo};

constexpr auto kCompareWith = connection_string(option_of<conninfo_value>(
    "compare-with", "CONNINFO",
    "a second upstream: what it has is compared with the archive, record by record, off the way of "
    "a byte"));
constexpr auto kCompareRate = option_of<some_size_value>(
    "compare-rate", "SIZE", "read no more of it in a second (default: 16MB)");
constexpr Option kComparison[] = {kCompareWith, kCompareRate};

constexpr auto kServe = option_of<listen_value>(
    "serve", "[ADDRESS:]PORT",
    "serve them there; without an address on this machine alone (127.0.0.1), *:PORT on all "
    "addresses");
constexpr auto kServeSynchronousStandbyNames = option_of<relay::StandbyNames::parse>(
    "serve-synchronous-standby-names", "'ANY K (NAMES)'",
    "report as applied what so many of these standbys have applied, so that remote_apply reaches "
    "through; instead of --apply-position");
constexpr Option kServing[] = {kServe,
                               kServeSocket,
                               kServeHba,
                               kServeUsers,
                               kServeTlsCert,
                               kServeTlsKey,
                               kServeTlsCa,
                               kServeMaxClients,
                               kServeAuthTimeout,
                               kServeMaxSlotWalKeepSize,
                               kServeAutoSlot,
                               kServeSynchronousStandbyNames,
                               kServeSynchronizedStandbys,
                               kServeBaseBackup,
                               kServeMaxBaseBackups};

constexpr auto kStart = option_of<start_value>(
    "start", "LSN|SEGMENT",
    "begin an empty archive there (default: the slot's restart position, else the server's "
    "position)");
constexpr auto kEndpos =
    option_of<valid_lsn_value>('E', "endpos", "LSN", "stop when everything before it is durable");
constexpr Option kEnds[] = {kStart, kEndpos};

constexpr auto kNoLoop = flag('n', "no-loop", "end at the first failure instead of trying again");
constexpr auto kOnGap = option_of<choice_value<kOnGapChoices>>(
    "on-gap", "WHAT",
    "the server no longer has the WAL that comes next: stop (default), or continue, leaving a "
    "hole");
constexpr auto kOnUncompared = option_of<choice_value<kOnUncomparedChoices>>(
    "on-uncompared", "WHAT",
    "the server has removed the WAL that the archive ends with, so nothing shows that it is not a "
    "copy that went its own way: stop (default), or continue");
constexpr auto kGapTimeout = option_of<time_value<kSecond, kDay>>(
    "gap-timeout", "TIME",
    "of several hosts, those that do not answer are waited for so long before that, or any other "
    "refusal by all, is believed (default: 10min)");
constexpr auto kOnDiskFull = option_of<choice_value<kOnDiskFullChoices>>(
    "on-disk-full", "WHAT", "wait (default) until there is space, or stop");
constexpr auto kTimeout = option_of<time_value<kSecond, kDay>>(
    "timeout", "TIME", "a server silent for so long is gone (default: 60s)");
constexpr Option kTrouble[] = {kNoLoop, kOnGap, kOnUncompared, kGapTimeout, kOnDiskFull, kTimeout};

constexpr auto kFlush = option_of<hinted_value<receive::FlushPolicy::parse>>(
    "flush", "WHEN",
    "make WAL durable: continuous (default), at once; a time, 200ms: at least so often; segment: "
    "when one is complete");
constexpr auto kApplyPosition = option_of<choice_value<kApplyPositions>>(
    "apply-position", "P",
    "flush (default): commits that wait for remote_apply do not hang; none: report nothing");
constexpr auto kStatusInterval = option_of<time_value<100, kDay>>(
    's', "status-interval", "TIME", "report at least so often (default: 10s)");
constexpr Option kReports[] = {kFlush, kApplyPosition, kStatusInterval};

constexpr auto kLogLevel = option_of<choice_value<kLogLevels>>(
    "log-level", "LEVEL", "debug, info (default), warning, error");
constexpr auto kVerbose = flag('v', "verbose", "--log-level debug");
constexpr auto kQuiet = flag('q', "quiet", "--log-level warning");
constexpr auto kLogFile = option_of<any_text>("log-file", "FILE", "log there instead of stderr");
constexpr auto kLogFormat = option_of<choice_value<kLogFormats>>(
    "log-format", "FORMAT", "text (default), or json: one object on each line");
constexpr Option kMessages[] = {
    kLogLevel,
    kVerbose,
    kQuiet,
    kLogFile,
    kLogFormat,
    kConfig.says("read options from FILE: lines such as slot = weir; the command line wins; see "
                 "pgweir config --help"),
    kHelp};

constexpr auto kForce =
    flag("force",
         "--confirm stored also where synchronous_standby_names names this receiver: each "
         "commit then waits for the store");
constexpr Option kStoring[] = {kStorePartialInterval.of_section("store"),
                               kLocalRetention.of_section("store"),
                               kEncryptTo.of_section("store"),
                               kManifestKey.of_section("store"),
                               kConfirm.of_section("store"),
                               kForce};

constexpr Option kMetrics[] = {kTextfile, kMetricsInterval, kMetricsListen};
constexpr Option kWeb[] = {kWebListen, kWebTokenFile, kWebHost, kWebBackups, kReadyMaxLag};

constexpr OptionGroup kGroups[] = {
    {"Where to:", kWhereTo},
    {"Where from:", kWhereFrom,
     "  Without these libpq's defaults count: PGHOST, PGUSER, PGSERVICE, ...\n"},
    {"Slot, so that the server keeps what is not archived yet:", kOfSlot},
    {"To tell others what the archive does (docs/notify.md):", kNotifications},
    {"To find what no checksum can (docs/compare.md):", kComparison},
    {"To serve standbys and other receivers, too (docs/serve.md, docs/cascade.md):", kServing},
    {"To keep a second copy in an object store (docs/store.md):", kStoring},
    {"The store ([store] in a configuration file):", kStoreOptionsAlone},
    {"Where to begin and end:", kEnds},
    {"When something is wrong:", kTrouble},
    {"What the server is told:", kReports},
    {"Messages:", kMessages},
    {"Metrics, for Prometheus (docs/monitoring.md lists them):", kMetrics},
    {"A page to look at, with /healthz and /readyz (docs/monitoring.md):", kWeb},
};

/// Looks for contradictions one after the other: the first one ends it, or all are told.
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

void require(bool condition, std::string message) {
  if (!condition) throw Error(ErrorKind::usage, std::move(message));
}

void read_positions(const Arguments& arguments, receive::Options& options, const Steps& step) {
  if (const auto start = arguments.get(kStart)) {
    if (const auto* lsn = std::get_if<wal::Lsn>(&*start)) options.start = *lsn;
    if (const auto* segment = std::get_if<wal::SegmentName>(&*start))
      options.start_segment = *segment;
  }
  options.endpos = arguments.get(kEndpos);
  step([&] {
    require(
        !options.start || !options.endpos || *options.start < *options.endpos,
        fmt::format("{} is not before {}", arguments.source(kStart), arguments.source(kEndpos)));
  });
}

void read_slot(const Arguments& arguments, receive::Options& options, const Steps& step) {
  options.slot = arguments.get(kSlot);
  options.create_slot = arguments.has(kCreateSlot);
  options.if_not_exists = arguments.has(kIfNotExists);
  options.monitor_conninfo = arguments.get(kMonitorConninfo);
  options.slot_hosts = arguments.get(kSlotHosts, options.slot_hosts);
  options.slot_interval = arguments.get(kSlotInterval, options.slot_interval);
  step([&] {
    require(options.slot_hosts == receive::SlotHosts::current || options.slot,
            fmt::format("{} needs --slot NAME", arguments.source(kSlotHosts)));
  });
  step([&] {
    require(!arguments.has(kSlotInterval) || options.slot_hosts != receive::SlotHosts::current,
            fmt::format("{} needs --slot-hosts all", arguments.source(kSlotInterval)));
  });
  step([&] {
    require(!options.create_slot || options.slot,
            fmt::format("{} needs --slot NAME", arguments.source(kCreateSlot)));
  });
  step([&] {
    require(!options.if_not_exists || options.create_slot,
            fmt::format("{} needs --create-slot", arguments.source(kIfNotExists)));
  });
  step([&] {
    require(
        !options.monitor_conninfo || options.slot,
        fmt::format("{} watches a slot and needs --slot NAME", arguments.source(kMonitorConninfo)));
  });
  if (!options.monitor_conninfo && options.slot) {
    // A connection string that names a database is meant for ordinary connections, too.
    const auto values = pq::parse_conninfo(options.conninfo);
    const auto database = values.find("dbname");
    if (database != values.end() && !database->second.empty() && database->second != "replication")
      options.monitor_conninfo = options.conninfo;
  }
}

void read_notify(const Arguments& arguments, ReceiveRequest& request) {
  const auto conninfo = arguments.get(kNotifyConninfo);
  require(!conninfo || arguments.has(kNotifyChannel),
          fmt::format("{} needs --notify-channel CHANNEL", arguments.source(kNotifyConninfo)));
  if (!arguments.has(kNotifyChannel)) return;
  request.notify = receive::Notifier::Options{
      .conninfo = ordinary_conninfo(conninfo.value_or(request.options.conninfo)),
      .channel = *arguments.get(kNotifyChannel),
      .archive = request.options.directory};
}

void read_comparison(const Arguments& arguments, ReceiveRequest& request) {
  constexpr std::uint64_t kRate = std::uint64_t{16} << 20;
  const auto conninfo = arguments.get(kCompareWith);
  require(conninfo || !arguments.has(kCompareRate),
          fmt::format("{} needs --compare-with CONNINFO", arguments.source(kCompareRate)));
  if (conninfo)
    request.compare =
        receive::CompareFeed::Options{.conninfo = *conninfo,
                                      .archive = request.options.directory,
                                      .bytes_per_second = arguments.get(kCompareRate, kRate)};
}

void read_logging(const Arguments& arguments, ReceiveRequest& request) {
  using Origin = Arguments::Origin;
  const auto level_of = [&](Origin origin) -> std::optional<LogLevel> {
    std::optional<LogLevel> level;
    int given = 0;
    const auto take = [&](const Option& option, std::optional<LogLevel> meaning) {
      if (!arguments.has(option) || arguments.origin(option) != origin) return;
      ++given;
      level = meaning;
    };
    take(kVerbose, LogLevel::debug);
    take(kQuiet, LogLevel::warning);
    take(kLogLevel, arguments.get(kLogLevel));
    require(given <= 1, "only one of --verbose, --quiet and --log-level can be given");
    return level;
  };
  const auto by_file = level_of(Origin::file);
  auto by_user = level_of(Origin::command_line);
  const auto by_environment = level_of(Origin::environment);
  if (!by_user) by_user = by_environment;
  request.log_level_fixed = by_user.has_value();
  request.log_level = by_user ? *by_user : by_file.value_or(LogLevel::info);
  request.log_file = arguments.get(kLogFile);
  request.log_format = arguments.get(kLogFormat, daemon::LogFormat::text);
}

/// --prefer orders hosts; target_session_attrs leaves some out. Both together say nothing clear.
void read_hosts(const Arguments& arguments, receive::Options& options, const Steps& step) {
  options.prefer = arguments.get(kPrefer, Prefer::any);
  options.prefer_after = arguments.get(kPreferAfter, options.prefer_after);
  options.reconnect_on_rotation = arguments.has(kReconnectOnRotation);
  options.gap_timeout = arguments.get(kGapTimeout, options.gap_timeout);
  step([&] {
    require(!arguments.has(kPreferAfter) || options.prefer != Prefer::any,
            fmt::format("{} needs --prefer primary or standby", arguments.source(kPreferAfter)));
  });
  step([&] {
    if (!arguments.has(kPrefer)) return;
    const auto values = pq::expand_conninfo(options.conninfo);
    const auto wanted = values.find("target_session_attrs");
    if (wanted == values.end() || wanted->second.empty() || wanted->second == "any") return;
    throw Error(ErrorKind::usage, fmt::format("{} and target_session_attrs={} exclude each other",
                                              arguments.source(kPrefer), wanted->second))
        .hint(
            "target_session_attrs shuts hosts out, --prefer only says which one is better. Leave "
            "one of them away.");
  });
}

void read_serving(const Arguments& arguments, ReceiveRequest& request) {
  request.serve = read_serve(arguments, arguments.get(kServe));
  if (request.serve.somewhere()) {
    request.serve.waiting.sync = arguments.get(kServeSynchronousStandbyNames);
    if (!request.serve.waiting.sync) return;
    if (arguments.has(kApplyPosition))
      throw Error(ErrorKind::usage, fmt::format("{} and {} exclude each other",
                                                arguments.source(kServeSynchronousStandbyNames),
                                                arguments.source(kApplyPosition)));
    request.options.apply = ApplyPosition::downstream;
    return;
  }
  for (const Option& option : kServing)
    if (arguments.has(option))
      throw Error(ErrorKind::usage,
                  fmt::format("{} needs --serve or --serve-socket", arguments.source(option)));
}

void read_store(const Arguments& arguments, ReceiveRequest& request) {
  if (!names_store(arguments)) {
    for (const Option& option : kStoring)
      if (arguments.has(option))
        throw Error(ErrorKind::usage, fmt::format("{} needs --store", arguments.source(option)));
    return;
  }
  request.store = StoreRequest{store_options_of(arguments), arguments.get(kLocalRetention),
                               arguments.get(kStorePartialInterval)};
  auto& options = request.options;
  const bool stored = arguments.get(kConfirm, false);
  request.store->confirm_stored = stored;
  options.confirm = stored ? receive::Confirm::stored : receive::Confirm::local;
  options.commits_may_wait = arguments.has(kForce);
  require(stored || !options.commits_may_wait,
          fmt::format("{} needs --confirm stored", arguments.source(kForce)));
  if (stored && !options.slot)
    throw Error(ErrorKind::usage, fmt::format("{} needs --slot NAME", arguments.source(kConfirm)))
        .hint("Without a slot the server keeps nothing for the archive, whatever it is told.");
}

}  // namespace

constinit const Command kReceiveCommand = {
    .name = "receive",
    .summary = "stream WAL from a server into an archive directory",
    .about = R"(pgweir receive streams WAL from a PostgreSQL server, primary or standby, into a
directory, and acknowledges only what is durable there. Stopped in whatever way,
it goes on where the archive ends.

Usage:
  pgweir receive -D DIRECTORY [-d CONNINFO] [OPTION]...
)",
    .groups = kGroups,
    .notes = R"(Times have a unit: 500ms, 10s, 5min.

Signals:
  SIGTERM, SIGINT   make durable what was received, report it, end with 0;
                    the second one ends at once with 3
  SIGHUP            open the log file anew, read log-level from the file of -c,
                    and read anew who may look or connect: token file, rules,
                    users, certificate

Examples:
  An archive with a slot that is made when it is not there:
    pgweir receive -D /srv/wal -d "host=db1 user=repl dbname=postgres" \
                   -S weir --create-slot --if-not-exists --compress zstd
  From the one of two hosts that leads on from the archive, a standby if any:
    pgweir receive -D /srv/wal -d "host=db1,db2 user=repl" --prefer standby
  Commits wait for the archive (on the server):
    synchronous_standby_names = 'pgweir'
  "requested WAL segment has already been removed": the error names the missing
  range. Fetch it from another archive into DIR and start again; or take a new
  base backup and accept the hole:
    pgweir receive -D /srv/wal -d "host=db1 user=repl" -S weir --on-gap continue
  How is it doing?
    pgweir status -D /srv/wal

Exit status: 0 stopped as asked; 2 wrong options; 3 may pass if tried again;
4 needs a person.
)",
    .may_be_process_one = true,
    .refuses_strays = true,
    .run = receive_command,
};

ReceiveRequest read_receive(const Arguments& arguments, std::vector<Error>* errors) {
  const Steps step(errors);
  ReceiveRequest request;
  request.config_file = arguments.text(kConfig);
  auto& options = request.options;
  step([&] { options.directory = required_directory(arguments); });
  step([&] { options.conninfo = conninfo_of(arguments); });
  read_slot(arguments, options, step);
  read_hosts(arguments, options, step);
  read_positions(arguments, options, step);
  options.loop = !arguments.has(kNoLoop);
  options.flush = arguments.get(kFlush, options.flush);
  options.apply = arguments.get(kApplyPosition, ApplyPosition::flush);
  options.on_gap = arguments.get(kOnGap, OnGap::stop);
  options.on_uncompared = arguments.get(kOnUncompared, receive::OnUncompared::stop);
  options.on_disk_full = arguments.get(kOnDiskFull, OnDiskFull::wait);
  options.compression = arguments.get(kCompress, options.compression);
  options.status_interval = arguments.get(
      kStatusInterval, std::chrono::duration_cast<milliseconds>(options.status_interval));
  options.silence_limit =
      arguments.get(kTimeout, std::chrono::duration_cast<milliseconds>(options.silence_limit));
  step([&] { read_notify(arguments, request); });
  step([&] { read_comparison(arguments, request); });
  step([&] { read_serving(arguments, request); });
  step([&] { read_store(arguments, request); });
  step([&] { read_logging(arguments, request); });
  step([&] { request.metrics = read_metrics(arguments); });
  step([&] { request.web = read_web(arguments); });
  request.password_on_command_line =
      (arguments.on_command_line(kDbname) && has_password(options.conninfo)) ||
      (arguments.on_command_line(kMonitorConninfo) && has_password(*options.monitor_conninfo)) ||
      (arguments.on_command_line(kNotifyConninfo) &&
       has_password(*arguments.get(kNotifyConninfo))) ||
      request.serve.password_on_command_line;
  return request;
}

}  // namespace weir::cli

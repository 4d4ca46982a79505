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

/// Start position of an empty archive.
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
    "compress complete segments: none (default), zstd, or zstd:LEVEL with LEVEL from 1 to 22");

constexpr auto kPrefer = option_of<choice_value<kPreferChoices>>(
    "prefer", "ROLE",
    "preferred role among several suitable hosts: any (default), primary, or standby");
constexpr Relation kWithPreference{.others = {{kPrefer, "primary"}, {kPrefer, "standby"}}};
constexpr auto kPreferAfter = option_of<time_value<kSecond, kDay>>(
    "prefer-after", "TIME",
    "with --prefer, move only to a host that has been suitable for TIME (default: 30s)",
    {.needs = &kWithPreference});
constexpr auto kReconnectOnRotation =
    flag("reconnect-on-rotation",
         "reconnect as soon as certificates, keys, or the password file change (default: use them "
         "for the next connection)");
constexpr Option kConnection[] = {
    kDbname.says("connection string or URI, with one or several hosts (docs/ha.md); a dbname "
                 "enables monitoring of the slot"),
    kHost, kPort, kUsername, kPrefer};
constexpr Option kMoreOfConnection[] = {
    kNoPassword.says("ignored, accepted for compatibility; passwords are read from a password "
                     "file (~/.pgpass)"),
    kPreferAfter, kReconnectOnRotation};

constexpr Relation kWithSlot{.others = {{kSlot}}};
constexpr auto kCreateSlot =
    flag("create-slot", "create the slot, reserving WAL immediately", {.needs = &kWithSlot});
constexpr Relation kWithCreateSlot{.others = {{kCreateSlot}}};
constexpr auto kIfNotExists = flag("if-not-exists", "with --create-slot, use the slot if it exists",
                                   {.needs = &kWithCreateSlot});
constexpr Relation kAllHostsWithSlot{.others = {{kSlot}}, .value = "all"};
constexpr auto kSlotHosts = option_of<choice_value<kSlotHostsChoices>>(
    "slot-hosts", "WHERE",
    "hosts to maintain the slot on: current (default), the upstream; or all hosts of -d, so that a "
    "failover leaves no gap (docs/ha.md)",
    {.needs = &kAllHostsWithSlot});
constexpr Relation kWithAllHosts{.others = {{kSlotHosts, "all"}}};
constexpr auto kSlotInterval = option_of<time_value<100, kDay>>(
    "slot-interval", "TIME",
    "with --slot-hosts all, interval between checks of the other hosts (default: 10s)",
    {.needs = &kWithAllHosts});
constexpr auto kMonitorConninfo = connection_string(option_of<conninfo_value>(
    "monitor-conninfo", "CONNINFO",
    "regular connection for monitoring the slot (default: that of -d, if it names a database)",
    {.needs = &kWithSlot}));
constexpr Option kMoreOfSlot[] = {kSlotInterval, kMonitorConninfo};

constexpr auto kNotifyChannel =
    option_of<channel_value>("notify-channel", "CHANNEL",
                             "send a notification for complete and compressed segments, timeline "
                             "switches, and problems; archiving does not wait for it");
constexpr Relation kWithNotifyChannel{.others = {{kNotifyChannel}}};
constexpr auto kNotifyConninfo = connection_string(
    option_of<conninfo_value>("notify-conninfo", "CONNINFO",
                              "regular connection to a primary for sending them (default: that of "
                              "-d; database postgres if none is named)",
                              {.needs = &kWithNotifyChannel}));
constexpr Option kNotifications[] = {kNotifyChannel, kNotifyConninfo};

constexpr auto kCompareWith = connection_string(option_of<conninfo_value>(
    "compare-with", "CONNINFO",
    "compare the archive with this server's WAL, record by record, in the background"));
constexpr Relation kWithCompareWith{.others = {{kCompareWith}}};
constexpr auto kCompareRate = option_of<some_size_value>(
    "compare-rate", "SIZE", "maximum read rate of that server per second (default: 16MB)",
    {.needs = &kWithCompareWith});
constexpr Option kComparison[] = {kCompareWith, kCompareRate};

constexpr auto kServe =
    option_of<listen_value>("serve", "[ADDRESS:]PORT",
                            "serve WAL to standbys and other receivers; without an address on this "
                            "host only (127.0.0.1), *:PORT on all addresses");
constexpr Relation kNoApplyPosition{.others = {{"apply-position"}}};
constexpr auto kServeSynchronousStandbyNames = option_of<relay::StandbyNames::parse>(
    "serve-synchronous-standby-names", "'ANY K (NAMES)'",
    "report as applied the position that K of the named standbys have applied, so that "
    "remote_apply works across the relay; overrides --apply-position",
    {.excludes = &kNoApplyPosition});
constexpr Option kServing[] = {kServeSocket,
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

constexpr auto kStart =
    option_of<start_value>("start", "LSN|SEGMENT",
                           "position at which an empty archive begins (default: the slot's "
                           "restart_lsn, else the server's current position)");
constexpr auto kEndpos = option_of<valid_lsn_value>(
    'E', "endpos", "LSN", "exit when all WAL before LSN has been flushed");
constexpr Option kEnds[] = {kStart, kEndpos};

constexpr auto kNoLoop = flag('n', "no-loop", "exit at the first failure instead of retrying");
constexpr auto kOnGap = option_of<choice_value<kOnGapChoices>>(
    "on-gap", "WHAT",
    "if the server no longer has the next WAL: stop (default), or continue, leaving a hole");
constexpr auto kOnUncompared = option_of<choice_value<kOnUncomparedChoices>>(
    "on-uncompared", "WHAT",
    "if the server has removed the WAL at the archive's end, so that it cannot be checked whether "
    "the archive belongs to its history: stop (default), or continue");
constexpr auto kGapTimeout = option_of<time_value<kSecond, kDay>>(
    "gap-timeout", "TIME",
    "with several hosts, time to wait for unresponsive hosts before concluding that the WAL is "
    "gone or that no host is suitable (default: 10min)");
constexpr auto kOnDiskFull = option_of<choice_value<kOnDiskFullChoices>>(
    "on-disk-full", "WHAT", "when the disk is full: wait (default) or stop");
constexpr auto kTimeout = option_of<time_value<kSecond, kDay>>(
    "timeout", "TIME", "close the connection if nothing is received for TIME (default: 60s)");
constexpr Option kSlots[] = {kSlot.says("physical replication slot to stream from"), kCreateSlot,
                             kIfNotExists, kSlotHosts, kOnGap};
constexpr Option kRetries[] = {kNoLoop, kOnUncompared, kGapTimeout, kTimeout};

constexpr auto kFlush = option_of<hinted_value<receive::FlushPolicy::parse>>(
    "flush", "WHEN",
    "when to flush WAL to disk: continuous (default), a maximum interval such as 200ms, or "
    "segment");
constexpr auto kApplyPosition = option_of<choice_value<kApplyPositions>>(
    "apply-position", "P",
    "position reported as applied: flush (default), the flush position, so that remote_apply "
    "commits do not hang; or none");
constexpr auto kStatusInterval = option_of<time_value<100, kDay>>(
    's', "status-interval", "TIME", "maximum interval between status reports (default: 10s)");
constexpr Option kArchive[] = {kDirectory.says("archive directory; must exist"), kCompress, kFlush,
                               kOnDiskFull};
constexpr Option kReports[] = {kApplyPosition, kStatusInterval};

constexpr auto kLogLevel = option_of<choice_value<kLogLevels>>(
    "log-level", "LEVEL", "debug, info (default), warning, or error");
constexpr auto kVerbose = flag('v', "verbose", "same as --log-level debug");
constexpr auto kQuiet = flag('q', "quiet", "same as --log-level warning");
constexpr auto kLogFile =
    option_of<any_text>("log-file", "FILE", "write messages to FILE instead of standard error");
constexpr auto kLogFormat = option_of<choice_value<kLogFormats>>(
    "log-format", "FORMAT", "text (default), or json, with one object per line");
constexpr Option kGeneral[] = {
    kConfig.says("read options from FILE, with lines such as slot = weir; the command line takes "
                 "precedence; see pgweir config --help"),
    kLogLevel, kHelp};
constexpr Option kMessages[] = {kVerbose, kQuiet, kLogFile, kLogFormat};

constexpr Relation kConfirmStored{.others = {{kConfirm, "stored"}}};
constexpr auto kForce =
    flag("force",
         "allow --confirm stored although synchronous_standby_names names this receiver; "
         "each commit then waits for the store",
         {.needs = &kConfirmStored});
constexpr Relation kStoredWithSlot{
    .others = {{kSlot}},
    .value = "stored",
    .hint = "Without a slot, the server retains no WAL for the archive."};
constexpr Option kStoring[] = {kStorePartialInterval.of_section("store"),
                               kLocalRetention.of_section("store"),
                               kStoreCompression.of_section("store"),
                               kEncryptTo.of_section("store"),
                               kManifestKey.of_section("store"),
                               kConfirm.with({.needs = &kStoredWithSlot}).of_section("store"),
                               kForce};

constexpr Option kMetrics[] = {kTextfile, kMetricsInterval};
constexpr Option kWeb[] = {kWebTokenFile, kWebHost, kWebBackups, kReadyMaxLag};
constexpr Option kOutlets[] = {kServe, kMetricsListen, kWebListen};

constexpr Relation kWithServe{.others = {{kServe}, {kServeSocket}}};
constexpr Relation kWithStore{.others = {{"store"}}};

constexpr Topic kOnConnection{"connection", "authentication, choice of host, rotated certificates"};
constexpr Topic kOnSlot{"slot", "interval of checks, monitoring connection"};
constexpr Topic kOnPosition{"position", "--start and --endpos"};
constexpr Topic kOnRetries{"retry", "retries, timeouts"};
constexpr Topic kOnReports{"report", "status reports to the server"};
constexpr Topic kOnMessages{"log", "log file, format, verbosity"};
constexpr Topic kOnServing{"serve", "clients, authentication, TLS, slots, base backups"};
constexpr Topic kOnStoring{"store", "endpoint, credentials, encryption, retention, --confirm"};
constexpr Topic kOnMetrics{"metrics", "metrics file and interval"};
constexpr Topic kOnWeb{"web", "web page: token, health checks, backups, thresholds"};
constexpr Topic kOnNotifications{"notify", "notifications (NOTIFY) on archive events"};
constexpr Topic kOnComparison{"compare", "comparison with a second server"};

constexpr OptionGroup kGroups[] = {
    {"Archive:", kArchive},
    {"Connection:", kConnection},
    {"Replication slot:", kSlots},
    {"Serving, monitoring, second copy:", kOutlets},
    {"", kStoreItself},
    {"General:", kGeneral},
    {"Connection:", kMoreOfConnection,
     "  Defaults are those of libpq: PGHOST, PGUSER, PGSERVICE, ...\n", &kOnConnection},
    {"Replication slot:", kMoreOfSlot, {}, &kOnSlot},
    {"Start and end:", kEnds, {}, &kOnPosition},
    {"Retries and timeouts:", kRetries, {}, &kOnRetries},
    {"Status reports:", kReports, {}, &kOnReports},
    {"Messages:", kMessages, {}, &kOnMessages},
    {"Serving standbys and receivers (docs/serve.md, docs/cascade.md):",
     kServing,
     {},
     &kOnServing,
     {.needs = &kWithServe}},
    {"Uploads to an object store (docs/store.md):",
     kStoring,
     {},
     &kOnStoring,
     {.needs = &kWithStore}},
    {"Object store ([store] in a configuration file):", kStoreAccess, {}, &kOnStoring},
    {"Metrics (docs/metrics.md):", kMetrics, {}, &kOnMetrics},
    {"Web page with /healthz and /readyz (docs/web-page.md):",
     kWeb,
     {},
     &kOnWeb,
     {.needs = &kWithPage}},
    {"Thresholds of the page's findings:", kLimits, {}, &kOnWeb, {.needs = &kWithPage}},
    {"Notifications (docs/notify.md):", kNotifications, {}, &kOnNotifications},
    {"Comparison with a second server (docs/compare.md):", kComparison, {}, &kOnComparison},
};

/// Checks for contradictions one after the other: the first one ends it, or all are collected.
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

void read_slot(const Arguments& arguments, receive::Options& options) {
  options.slot = arguments.get(kSlot);
  options.create_slot = arguments.has(kCreateSlot);
  options.if_not_exists = arguments.has(kIfNotExists);
  options.monitor_conninfo = arguments.get(kMonitorConninfo);
  options.slot_hosts = arguments.get(kSlotHosts, options.slot_hosts);
  options.slot_interval = arguments.get(kSlotInterval, options.slot_interval);
  if (!options.monitor_conninfo && options.slot) {
    // A connection string that names a database is used for ordinary connections, too.
    const auto values = pq::parse_conninfo(options.conninfo);
    const auto database = values.find("dbname");
    if (database != values.end() && !database->second.empty() && database->second != "replication")
      options.monitor_conninfo = options.conninfo;
  }
}

void read_notify(const Arguments& arguments, ReceiveRequest& request) {
  if (!arguments.has(kNotifyChannel)) return;
  const auto conninfo = arguments.get(kNotifyConninfo);
  request.notify = receive::Notifier::Options{
      .conninfo = ordinary_conninfo(conninfo.value_or(request.options.conninfo)),
      .channel = *arguments.get(kNotifyChannel),
      .archive = request.options.directory};
}

void read_comparison(const Arguments& arguments, ReceiveRequest& request) {
  constexpr std::uint64_t kRate = std::uint64_t{16} << 20;
  if (const auto conninfo = arguments.get(kCompareWith))
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

/// --prefer orders hosts; target_session_attrs excludes some. The combination would be ambiguous.
void read_hosts(const Arguments& arguments, receive::Options& options, const Steps& step) {
  options.prefer = arguments.get(kPrefer, Prefer::any);
  options.prefer_after = arguments.get(kPreferAfter, options.prefer_after);
  options.reconnect_on_rotation = arguments.has(kReconnectOnRotation);
  options.gap_timeout = arguments.get(kGapTimeout, options.gap_timeout);
  step([&] {
    if (!arguments.has(kPrefer)) return;
    const auto values = pq::expand_conninfo(options.conninfo);
    const auto wanted = values.find("target_session_attrs");
    if (wanted == values.end() || wanted->second.empty() || wanted->second == "any") return;
    throw Error(ErrorKind::usage, fmt::format("{} and target_session_attrs={} exclude each other",
                                              arguments.source(kPrefer), wanted->second))
        .hint("target_session_attrs excludes hosts, --prefer only ranks them. Use one of the two.");
  });
}

void read_serving(const Arguments& arguments, ReceiveRequest& request) {
  request.serve = read_serve(arguments, arguments.get(kServe));
  request.serve.waiting.sync = arguments.get(kServeSynchronousStandbyNames);
  if (request.serve.waiting.sync) request.options.apply = ApplyPosition::downstream;
}

void read_store(const Arguments& arguments, ReceiveRequest& request) {
  if (!names_store(arguments)) return;
  request.store = StoreRequest{store_options_of(arguments), arguments.get(kLocalRetention),
                               arguments.get(kStorePartialInterval)};
  auto& options = request.options;
  request.store->warnings = warnings_of_private_keys(arguments);
  const bool stored = arguments.get(kConfirm, false);
  request.store->confirm_stored = stored;
  options.confirm = stored ? receive::Confirm::stored : receive::Confirm::local;
  options.commits_may_wait = arguments.has(kForce);
}

}  // namespace

constinit const Command kReceiveCommand = {
    .name = "receive",
    .summary = "stream WAL from a server into an archive directory",
    .about = R"(pgweir receive streams WAL from a PostgreSQL primary or standby into an archive
directory. It confirms WAL to the server only after flushing it to disk. After
any interruption, it resumes where the archive ends.

Usage:
  pgweir receive -D DIRECTORY [-d CONNINFO] [OPTION]...
)",
    .groups = kGroups,
    .notes = R"(Times have a unit: 500ms, 10s, 5min.

Signals:
  SIGTERM, SIGINT   flush and confirm received WAL, then exit with status 0; a
                    second signal exits immediately with status 3
  SIGHUP            reopen the log file and reload log level, certificates, HBA
                    file, users, and web token

Examples:
  Archive with a slot that is created if it does not exist:
    pgweir receive -D /srv/wal -d "host=db1 user=repl dbname=postgres" \
                   -S weir --create-slot --if-not-exists --compress zstd
  Archive from two hosts, from a standby if possible:
    pgweir receive -D /srv/wal -d "host=db1,db2 user=repl" --prefer standby
  Make commits wait for the archive (setting on the server):
    synchronous_standby_names = 'pgweir'
  Report the state of the archive:
    pgweir status -D /srv/wal

If the server reports "requested WAL segment has already been removed", import
the segments that the error lists (pgweir import), or take a new base backup and
accept the hole with --on-gap continue.

Exit status: 0 stopped on request; 2 invalid options or configuration;
3 temporary failure; 4 manual intervention required.
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
  read_slot(arguments, options);
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
  read_comparison(arguments, request);
  step([&] { read_serving(arguments, request); });
  step([&] { read_store(arguments, request); });
  step([&] { read_logging(arguments, request); });
  request.metrics = read_metrics(arguments);
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

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <exception>
#include <optional>
#include <string>
#include <string_view>

#include "archive/identity.h"
#include "archive/listing.h"
#include "base/exit_status.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/help.h"
#include "cli/metrics/receiver_metrics.h"
#include "cli/options/common_options.h"
#include "cli/options/connection_options.h"
#include "cli/options/metrics_options.h"
#include "cli/options/serve_options.h"
#include "cli/options/web_options.h"
#include "cli/runtime/serve_page.h"
#include "cli/runtime/serving.h"
#include "cli/shared/ask_archive.h"
#include "daemon/long_run.h"
#include "daemon/service_manager.h"
#include "daemon/signals.h"
#include "io/foreign_writer.h"
#include "io/posix_directory.h"
#include "relay/sockets.h"
#include "status/view_json.h"

namespace weir::cli {

namespace {

constexpr auto kListen = option_of<listen_value>(
    "listen", "[ADDRESS:]PORT",
    "listen address; without an address this host only (127.0.0.1), *:PORT for all addresses");
constexpr auto kServeQuiet = flag('q', "quiet", "only warnings and errors on standard error");
constexpr Option kServeOptions[] = {
    kDirectory,  kListen, kServeSocket, kServeMaxClients, kServeSynchronizedStandbys,
    kServeQuiet, kConfig, kHelp};
constexpr Option kServeBackups[] = {kServeBaseBackup, kServeMaxBaseBackups};
constexpr Option kWho[] = {kServeHba, kServeUsers, kServeAuthTimeout};
constexpr Option kTls[] = {kServeTlsCert, kServeTlsKey, kServeTlsCa};
constexpr Option kSlots[] = {kServeMaxSlotWalKeepSize, kServeAutoSlot};
constexpr Option kMetrics[] = {kTextfile, kMetricsInterval, kMetricsListen};
constexpr Option kPage[] = {
    kWebListen.says("serve the archive's web page at http://ADDRESS:PORT/, with /healthz, /readyz "
                    "and /metrics; without an address, on this host only; can be the port of "
                    "--metrics-listen"),
    kWebTokenFile, kWebHost, kWebBackups};
constexpr OptionGroup kServeGroups[] = {
    {"Options:", kServeOptions},
    {"Client authentication:", kWho},
    {"TLS:", kTls},
    {"Replication slots:", kSlots},
    {"Base backups:", kServeBackups},
    {"Metrics (docs/metrics.md):", kMetrics},
    {"Web page (docs/web-page.md):", kPage, {}, nullptr, {.needs = &kWithPage}},
    {"Thresholds of the page's findings:", kLimits, {}, nullptr, {.needs = &kWithPage}}};

/// For example pg_receivewal.
std::optional<std::string> writer_into(const std::string& directory) {
  const auto writer = io::find_foreign_writer(directory, [](std::string_view name) {
    return archive::SegmentFileName::parse(name).has_value();
  });
  if (!writer) return std::nullopt;
  return fmt::format("process {} ({})", writer->process,
                     writer->program.empty() ? "unknown" : writer->program);
}

void serve(const std::string& directory, const ServeRequest& request, MetricsOptions metrics,
           const WebRequest& web, daemon::LongRun& long_run, daemon::ServiceManager& service) {
  Log& log = long_run.log();
  const auto archive = io::open_existing_directory(directory);
  archive::require_not_a_server_directory(*archive);
  // Its end is queried before each search for a writer. A receiver that waits for its server has
  // the directory's lock, but does not write: all of its WAL counts, as after it has ended.
  ReceiverQuery receiver(directory);
  Serving serving(
      request, *archive, [&] { return receiver.durable_end(); }, log, {},
      [&] { return receiver.was_idle() ? std::nullopt : writer_into(directory); });
  const auto view = [&, started = std::chrono::system_clock::now()] {
    return archive::Relay{.taken = std::chrono::system_clock::now(),
                          .pid = ::getpid(),
                          .version = PGWEIR_VERSION,
                          .started = started,
                          .serving = serving.view()};
  };
  const relay::ServeSocket socket(
      *archive, [&] { return status::to_json(view()); }, log);
  const auto figures = [&](bool up) { return serve_metrics(view(), directory, up); };
  const bool one_port = take_page_port(metrics, web);
  const Reporter reporter(metrics, figures, log);
  std::optional<ServePage> page;
  if (web.listen)
    page.emplace(web, directory, view, PageMetrics{[&] { return figures(true); }, one_port}, log);
  net::Wake stop;
  daemon::Signals::Handlers handlers;
  handlers.stop = [&] {
    service.stopping();
    log.info("stopping; a second signal exits immediately");
    stop.raise();
  };
  handlers.reload = [&] {
    serving.reload();
    if (page) page->reload();
  };
  const auto handling = long_run.handle(std::move(handlers));
  service.start();
  serving.run(stop, [&](const std::string& what) {
    log.info("{}", what);
    service.ready(what);
  });
}

int serve_command(const Arguments& arguments) {
  const auto directory = required_directory(arguments);
  const auto request = read_serve(arguments, arguments.get(kListen));
  const auto metrics = read_metrics(arguments);
  const auto web = read_web(arguments);
  if (!request.somewhere())
    throw Error(ErrorKind::usage, "no listen address given")
        .hint(
            "Give a port, \"--listen 5433\", or a directory for a Unix socket, \"--serve-socket "
            "/run/pgweir\".");
  daemon::LongRun long_run(
      {.level = arguments.has(kServeQuiet) ? LogLevel::warning : LogLevel::info});
  auto& log = long_run.log();
  for (const auto& each : arguments.former_names()) log.info("{}", each);
  int status = kDone;
  try {
    if (request.password_on_command_line) log.warning("{}", kPasswordOnCommandLine);
    daemon::ServiceManager service(log);
    serve(directory, request, metrics, web, long_run, service);
  } catch (const Error& error) {
    log.error(error);
    status = exit_status(error.kind());
  } catch (const std::exception& error) {
    const Error told = unexpected(error);
    log.error(told);
    status = exit_status(told.kind());
  }
  return long_run.end(status);
}

}  // namespace

constinit const Command kServeCommand = {
    .name = "serve",
    .summary = "serve an archive's WAL to standbys and other receivers",
    .about = R"(pgweir serve serves an archive's WAL by streaming replication to standbys
(primary_conninfo), pg_receivewal and other receivers. It needs no server:
standbys continue to stream while the primary is down, and a standby that was
away for a long time finds all WAL of the archive.

Usage:
  pgweir serve -D DIRECTORY --listen [ADDRESS:]PORT [OPTION]...
  pgweir serve -D DIRECTORY --serve-socket DIR [OPTION]...
)",
    .groups = kServeGroups,
    .notes = R"(Only WAL that is durable and whose records were verified is sent, up to the last
complete record or, while "pgweir receive" writes the archive, up to its flush
position, within a second ("pgweir receive --serve" does both in one process,
without a delay). SIGHUP reloads the HBA file, users, certificate and key.
Clients have replication slots as with a server; WAL that these retain is not
removed by "pgweir prune".

Example:
  pgweir serve -D /srv/wal --listen 5433 --serve-users /etc/pgweir/users

Exit status: 0 stopped by SIGTERM or SIGINT; 2 invalid options, HBA file, users
or certificate; 3 the address is in use; 4 manual intervention required
(corrupted WAL, I/O errors).
)",
    .may_be_process_one = true,
    .refuses_strays = true,
    .run = serve_command,
};

}  // namespace weir::cli

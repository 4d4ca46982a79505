#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <utility>

#include "base/error.h"
#include "base/exit_status.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/options/common_options.h"
#include "cli/options/web_options.h"
#include "cli/runtime/fleet.h"
#include "cli/runtime/memory.h"
#include "cli/runtime/receiver_page.h"
#include "daemon/long_run.h"
#include "daemon/service_manager.h"
#include "daemon/signals.h"
#include "io/small_file.h"
#include "net/wait.h"
#include "net/wake.h"

namespace weir::cli {

namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kLargestFile = 1 << 20;

constexpr auto kFleet = option_of<any_text>(
    "fleet", "FILE", "archives: a section for each, with directory = DIR or url = URL");
constexpr auto kFleetCa =
    option_of<any_text>("fleet-ca", "FILE",
                        "CA certificates of pages at https:// whose sections do not name any "
                        "(default: the system's)");
constexpr Option kWebOptions[] = {
    kFleet,
    kFleetCa,
    kWebListen.says(
        "serve the table at http://ADDRESS:PORT/; without an address, on this host only"),
    kWebTokenFile,
    kWebHost,
    kConfig,
    kHelp};
constexpr OptionGroup kWebGroups[] = {
    {"Options:", kWebOptions},
    {"Thresholds for archives on this machine:", kLimits, {}, nullptr, {.needs = &kWithPage}}};

void serve(Fleet& fleet, const WebRequest& request, std::size_t count, daemon::LongRun& long_run) {
  Log& log = long_run.log();
  daemon::ServiceManager service(log);
  net::Wake stop;
  daemon::Signals::Handlers handlers;
  handlers.stop = [&] {
    service.stopping();
    log.info("stopping; a second signal exits immediately");
    stop.raise();
  };
  handlers.reload = [&] {
    service.reloading();
    fleet.reload(request, log);
    log.info("SIGHUP: reloaded the token files; the list of archives is read only at startup");
    service.reloaded();
  };
  const auto server = serve_site(
      *request.listen, [&fleet](const http::Request& asked) { return fleet.answer(asked); });
  const auto what = fmt::format("{} archives at http://{}/", count, host_and_port(*request.listen));
  log.info("{}", what);
  const auto handling = long_run.handle(std::move(handlers));
  service.start();
  service.ready(what);
  while (net::pause(stop, 1h)) {
  }
}

int web_command(const Arguments& arguments) {
  const auto path = arguments.get(kFleet);
  if (!path)
    throw Error(ErrorKind::usage, "no archives specified")
        .hint("Name the file that lists them with --fleet; docs/web-page.md shows one.");
  const auto request = read_web(arguments);
  if (!request.listen)
    throw Error(ErrorKind::usage, "no listen address given")
        .hint("Give a port: \"--web-listen 9190\".");
  auto members = web::parse_fleet(io::read_small_file(*path, kLargestFile), *path);
  const auto count = members.size();
  use_one_arena();
  daemon::LongRun long_run({});
  int status = kDone;
  try {
    Fleet fleet(std::move(members), gate_of(request), request.limits, arguments.get(kFleetCa),
                long_run.log());
    serve(fleet, request, count, long_run);
  } catch (const Error& error) {
    long_run.log().error(error);
    status = exit_status(error.kind());
  }
  return long_run.end(status);
}

}  // namespace

constinit const Command kWebCommand = {
    .name = "web",
    .summary = "serve a web page of many archives, worst first",
    .about = R"(pgweir web serves one page of many archives, worst first: archives on this
machine, and the pages of receivers on other machines ("pgweir receive
--web-listen"). An archive that does not answer is shown in red.

Usage:
  pgweir web --fleet FILE --web-listen [ADDRESS:]PORT [OPTION]...
)",
    .groups = kWebGroups,
    .notes = R"(FILE has a section for each archive:

  [orders]
  directory = /srv/wal/orders
  backups = /srv/backup/orders

  [billing]
  url = https://db2.example.org:9190
  token-file = /etc/pgweir/billing-token
  ca = /etc/pgweir/ca.crt

"receiver = none" declares that no receiver writes the archive. The command
makes no changes.

SIGHUP reloads the token files.

Exit status: 0 stopped by SIGTERM or SIGINT; 2 invalid options or file; 3 the
address is in use.
)",
    .may_be_process_one = true,
    .refuses_strays = true,
    .run = web_command,
};

}  // namespace weir::cli

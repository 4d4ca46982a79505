#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>
#include <vector>

#include "base/exit_status.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/common_options.h"
#include "cli/connection_options.h"
#include "cli/help.h"
#include "cli/serve_options.h"
#include "cli/serving_checks.h"
#include "doctor/checks.h"
#include "doctor/inspect.h"
#include "doctor/report.h"
#include "pq/conninfo.h"

namespace weir::cli {

namespace {

constexpr auto kMeasure = option_of<time_value<0, 600 * kSecond>>(
    "measure", "TIME", "how long to measure the rate of WAL (default: 3s)");
constexpr auto kJson = flag("json", "for programs; docs/doctor.md tells the format");
constexpr Option kOptions[] = {
    kDbname.says("connection string, URI, or a database's name: the one that receive is going to "
                 "be given"),
    kHost,
    kPort,
    kUsername.says("the role that is to receive"),
    kNoPassword,
    kSlot.says("the slot that is to be used"),
    kDirectory.says("the archive; syncs of a hidden file are timed in it"),
    kMeasure,
    kJson,
    kConfig,
    kHelp,
};

constexpr auto kServe = option_of<listen_value>(
    "serve", "[ADDRESS:]PORT", "where serve, or receive with --serve, is going to listen");
constexpr Option kServing[] = {kServe,      kServeSocket,   kServeHba,
                               kServeUsers, kServeTlsCert,  kServeTlsKey,
                               kServeTlsCa, kServeSlotKeep, kServeBaseBackup};
constexpr Option kConnection[] = {kDbname, kHost, kPort, kUsername, kSlot};

/// Where only serving is asked about there may be no server any more.
bool asks_for_server(const Arguments& arguments, bool serving) {
  return !serving || std::any_of(std::begin(kConnection), std::end(kConnection),
                                 [&](const Option& option) { return arguments.has(option); });
}

int doctor_command(const Arguments& arguments) {
  const auto directory = arguments.get(kDirectory);
  doctor::Plan plan;
  plan.slot = arguments.get(kSlot);
  const auto measure = arguments.get(kMeasure, std::chrono::seconds(3));
  const bool serving = std::any_of(std::begin(kServing), std::end(kServing),
                                   [&](const Option& option) { return arguments.has(option); });
  const auto request = read_serve(arguments, arguments.get(kServe));
  const auto conninfo = conninfo_of(arguments);
  if (const auto values = pq::expand_conninfo(conninfo); true)
    if (const auto name = values.find("application_name"); name != values.end())
      if (!name->second.empty()) plan.application_name = name->second;

  std::vector<doctor::Check> checks;
  const auto add = [&](std::vector<doctor::Check> more) {
    std::move(more.begin(), more.end(), std::back_inserter(checks));
  };
  std::optional<doctor::ServerFacts> server;
  if (asks_for_server(arguments, serving)) {
    server = doctor::inspect_server(conninfo, ordinary_conninfo(conninfo), plan.slot, measure);
    add(doctor::judge_server(*server, plan));
  }
  if (directory) {
    std::optional<wal::SegmentSize> size;
    if (const auto bytes = server ? server->size("wal_segment_size") : std::nullopt)
      size = wal::SegmentSize::of(*bytes);
    const auto archive = doctor::inspect_archive(*directory, size);
    add(doctor::judge_archive(archive));
    if (server) add(doctor::judge_both(*server, archive, plan));
  }
  if (serving) add(check_serving(request, directory));
  print(arguments.has(kJson) ? doctor::to_json(checks) + "\n" : doctor::to_text(checks));
  return doctor::healthy(checks) ? kDone : kNo;
}

constexpr OptionGroup kGroups[] = {
    {"Options:", kOptions},
    {"What serving needs (without -d, -h, -p, -U, -S no server is asked):", kServing}};

}  // namespace

constinit const Command kDoctorCommand = {
    .name = "doctor",
    .summary = "check what archiving needs: server, slot, directory, disk",
    .about = R"(pgweir doctor checks what archiving needs before it is needed: the server's
settings, the role, the slot, the directory and its disk. Each finding says what
to change. It changes nothing.

Usage:
  pgweir doctor [-d CONNINFO] [-S SLOT] [-D DIRECTORY] [OPTION]...
)",
    .groups = kGroups,
    .notes = R"(Examples:
  pgweir doctor -d "host=db1 user=archiver" -S archive -D /srv/wal
  pgweir -c /etc/pgweir/main.conf doctor --measure 1min
  pgweir doctor --serve '*:5433' --serve-users /etc/pgweir/users

A role that may only replicate is enough; what it cannot look at is said.

Exit status: 0 archiving will work, though there may be warnings; 1 it will not,
or WAL can be lost; 2 wrong options.
)",
    .run = doctor_command,
};

}  // namespace weir::cli

#include <fmt/format.h>

#include "base/exit_status.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/common_options.h"
#include "cli/connection_options.h"
#include "cli/help.h"
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

int doctor_command(const Arguments& arguments) {
  const auto directory = arguments.get(kDirectory);
  doctor::Plan plan;
  plan.slot = arguments.get(kSlot);
  const auto measure = arguments.get(kMeasure, std::chrono::seconds(3));
  const auto conninfo = conninfo_of(arguments);
  if (const auto values = pq::expand_conninfo(conninfo); true)
    if (const auto name = values.find("application_name"); name != values.end())
      if (!name->second.empty()) plan.application_name = name->second;

  const auto server =
      doctor::inspect_server(conninfo, ordinary_conninfo(conninfo), plan.slot, measure);
  auto checks = doctor::judge_server(server, plan);
  if (directory) {
    std::optional<wal::SegmentSize> size;
    if (const auto bytes = server.size("wal_segment_size")) size = wal::SegmentSize::of(*bytes);
    const auto archive = doctor::inspect_archive(*directory, size);
    for (auto& check : doctor::judge_archive(archive)) checks.push_back(std::move(check));
    for (auto& check : doctor::judge_both(server, archive, plan))
      checks.push_back(std::move(check));
  }
  print(arguments.has(kJson) ? doctor::to_json(checks) + "\n" : doctor::to_text(checks));
  return doctor::healthy(checks) ? kDone : kNo;
}

constexpr OptionGroup kGroups[] = {{"Options:", kOptions}};

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

A role that may only replicate is enough; what it cannot look at is said.

Exit status: 0 archiving will work, though there may be warnings; 1 it will not,
or WAL can be lost; 2 wrong options.
)",
    .run = doctor_command,
};

}  // namespace weir::cli

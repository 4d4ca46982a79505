#include <fmt/format.h>

#include "base/units.h"
#include "cli/arguments.h"
#include "cli/config_file.h"
#include "cli/connection_options.h"
#include "cli/exit_status.h"
#include "cli/help.h"
#include "cli/program.h"
#include "doctor/checks.h"
#include "doctor/look.h"
#include "doctor/report.h"
#include "pq/conninfo.h"

namespace weir::cli {

namespace {

constexpr std::chrono::milliseconds kMeasure(3000);
constexpr std::chrono::milliseconds kLongest(600'000);

}  // namespace

std::vector<Option> doctor_option_list() {
  auto list = connection_options();
  for (const Option option : {Option{"directory", 'D'}, Option{"slot", 'S'}, Option{"measure"},
                              Option{"json", '\0', false}, Option{"config", 'c', true, false},
                              Option{"help", '?', false, false}})
    list.push_back(option);
  return list;
}

int doctor_command(const Words& words) {
  auto arguments = Arguments::parse(doctor_option_list(), words);
  if (arguments.has("help")) {
    print(doctor_help());
    return kDone;
  }
  add_config(arguments, "doctor");
  const auto directory = arguments.value("directory");
  doctor::Plan plan;
  if (arguments.has("slot")) {
    require_slot_name(arguments, "slot");
    plan.slot = arguments.value("slot");
  }
  auto measure = kMeasure;
  if (const auto text = arguments.value("measure")) {
    const auto time = parse_duration(*text);
    if (!time || *time > kLongest)
      throw Error(ErrorKind::usage, "--measure is a time of up to 10min")
          .with("value", *text)
          .hint("Give it with a unit, such as 3s or 1min.");
    measure = *time;
  }
  const auto conninfo = conninfo_of(arguments);
  if (const auto values = pq::expand_conninfo(conninfo); true)
    if (const auto name = values.find("application_name"); name != values.end())
      if (!name->second.empty()) plan.application_name = name->second;

  const auto server =
      doctor::look_at_server(conninfo, ordinary_conninfo(conninfo), plan.slot, measure);
  auto checks = doctor::judge_server(server, plan);
  if (directory) {
    std::optional<wal::SegmentSize> size;
    if (const auto bytes = server.size("wal_segment_size")) size = wal::SegmentSize::of(*bytes);
    const auto archive = doctor::look_at_archive(*directory, size);
    for (auto& check : doctor::judge_archive(archive)) checks.push_back(std::move(check));
    for (auto& check : doctor::judge_both(server, archive, plan))
      checks.push_back(std::move(check));
  }
  print(arguments.has("json") ? doctor::to_json(checks) + "\n" : doctor::to_text(checks));
  return doctor::healthy(checks) ? kDone : kNo;
}

std::string_view doctor_help() {
  return R"(pgweir doctor checks what archiving needs before it is needed: the server's
settings, the role, the slot, the directory and its disk. Each finding says what
to change. It changes nothing.

Usage:
  pgweir doctor [-d CONNINFO] [-S SLOT] [-D DIRECTORY] [OPTION]...

Options:
  -d, --dbname CONNINFO    connection string, URI, or a database's name: the
                           one that receive is going to be given
  -h, --host HOST          host or socket directory
  -p, --port PORT
  -U, --username NAME      the role that is to receive
  -w, --no-password        accepted; a password is never asked for
  -S, --slot NAME          the slot that is to be used
  -D, --directory DIR      the archive; syncs of a hidden file are timed in it
      --measure TIME       how long to measure the rate of WAL (default: 3s)
      --json               for programs; docs/doctor.md tells the format
  -c, --config FILE        take options from FILE, too: pgweir config --help
  -?, --help               this help

Examples:
  pgweir doctor -d "host=db1 user=archiver" -S archive -D /srv/wal
  pgweir -c /etc/pgweir/main.conf doctor --measure 1min

A role that may only replicate is enough; what it cannot look at is said.

Exit status: 0 archiving will work, though there may be warnings; 1 it will not,
or WAL can be lost; 2 wrong options.

Manual: man pgweir-doctor
)";
}

}  // namespace weir::cli

#include "recovery/programs.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <span>

#include "base/error.h"
#include "base/text.h"
#include "io/small_file.h"
#include "io/tree.h"
#include "io/user_tree.h"
#include "recovery/backup.h"
#include "recovery/settings.h"
#include "wal/control_file.h"
#include "wal/timeline_history.h"

namespace weir::recovery {

io::Environment environment(const std::vector<std::string>& more) {
  auto result = io::own_environment([](std::string_view entry) {
    const bool libpq = entry.starts_with("PG") && !entry.starts_with("PGWEIR_");
    return libpq || entry.starts_with("LC_") || entry.starts_with("LANG");
  });
  result.emplace_back("LC_ALL=C");
  result.insert(result.end(), more.begin(), more.end());
  return result;
}

Finished run_tool(const io::Command& command, const io::Environment& environment,
                  const std::function<bool()>& stop, const ToolWatch& watch) {
  constexpr std::size_t kMost = std::size_t{64} << 10;
  auto done = io::run_captured(
      command,
      {.environment = environment,
       .errors_to_output = true,
       .keep = watch.keep,
       .on_our_death = SIGKILL},
      {.most = kMost, .keep = io::Capture::Keep::back, .line = watch.line, .stop = stop});
  if (done.cut != io::Captured::Cut::none)
    throw Error(ErrorKind::retry, "stopped while a program was running")
        .with("tool", command.front());
  return {done.end, std::move(done.output)};
}

bool ask_version(Programs& programs, const std::string& program,
                 const std::function<bool()>& stop) {
  const auto asked = run_tool({programs.path(program), "--version"}, environment(), stop);
  programs.version = std::string(trimmed(asked.output));
  // "postgres (PostgreSQL) 15.18 (Debian …)", "… 18beta1"
  constexpr std::string_view kBefore = "(PostgreSQL) ";
  const auto at = programs.version.find(kBefore);
  const auto number =
      at == std::string::npos ? std::string() : programs.version.substr(at + kBefore.size());
  programs.major =
      parse_number<int>(number.substr(0, number.find_first_not_of("0123456789"))).value_or(0);
  return asked.done();
}

Programs find_programs(int major, const std::optional<std::string>& bindir,
                       const std::function<bool()>& stop) {
  Programs programs{.directory = bindir.value_or(fmt::format("/usr/lib/postgresql/{}/bin", major))};
  const auto postgres = programs.path("postgres");
  if (!io::is_program(postgres))
    throw Error(ErrorKind::refused,
                fmt::format("could not find the server programs of PostgreSQL {}", major))
        .with("path", postgres)
        .hint(
            "Install the server of that version (it does not have to run), or specify the "
            "directory of its programs with --bindir.");
  if (!ask_version(programs, "postgres", stop) || programs.major != major)
    throw Error(
        ErrorKind::refused,
        fmt::format("the server programs are not of PostgreSQL {}, the version of the backup",
                    major))
        .with("path", postgres)
        .with("version", programs.version)
        .hint("Specify a directory with programs of that version with --bindir.");
  return programs;
}

Control read_control(const Programs& programs, const std::string& data,
                     const std::function<bool()>& stop) {
  Control control;
  const auto tool = programs.path("pg_controldata");
  if (!io::is_program(tool)) {
    const auto front = io::read_front(data + "/global/pg_control", wal::kControlFront);
    control.system_identifier =
        wal::system_identifier_in(std::as_bytes(std::span(front))).value_or(0);
    control.state = wal::cluster_state_in(std::as_bytes(std::span(front)));
    return control;
  }
  const auto told = run_tool({tool, "-D", data}, environment(), stop);
  const auto value = [&](std::string_view name) -> std::optional<std::uint64_t> {
    std::optional<std::uint64_t> found;
    each_line(told.output, [&](std::string_view line) {
      if (line.starts_with(name) && line.substr(name.size()).starts_with(":"))
        found = parse_number<std::uint64_t>(trimmed(line.substr(name.size() + 1)));
    });
    return found;
  };
  const auto identifier = value("Database system identifier");
  if (!told.done() || !identifier)
    throw Error(ErrorKind::damage, "pg_control cannot be read")
        .with("path", data)
        .with("pg_controldata", trimmed(told.output));
  // pg_controldata continues with a warning.
  if (told.output.find("CRC checksum does not match") != std::string::npos)
    throw Error(ErrorKind::damage, "pg_control is damaged: its checksum is wrong")
        .with("path", data);
  control.system_identifier = *identifier;
  constexpr std::array<std::string_view, wal::kServerLimits.size()> kLimits = {
      "max_connections setting", "max_worker_processes setting", "max_wal_senders setting",
      "max_prepared_xacts setting", "max_locks_per_xact setting"};
  for (std::size_t i = 0; i < kLimits.size(); ++i)
    control.limits[i] = static_cast<std::uint32_t>(value(kLimits[i]).value_or(0));
  constexpr std::string_view kState = "Database cluster state:";
  each_line(told.output, [&](std::string_view line) {
    if (line.starts_with(kState)) control.state = trimmed(line.substr(kState.size()));
  });
  control.checksums = value("Data page checksum version").value_or(0) != 0;
  return control;
}

std::optional<wal::Lsn> reached_position(const std::string& data, wal::TimelineId followed) {
  const auto directory = data + "/pg_wal";
  std::optional<wal::TimelineId> newest;
  for (const auto& entry : io::list_user_directory(directory))
    if (const auto timeline = wal::parse_history_name(entry.name))
      newest = std::max(newest.value_or(0), *timeline);
  if (!newest || *newest <= followed) return std::nullopt;
  constexpr std::uint64_t kLargest = std::uint64_t{1} << 20;
  const auto history = wal::TimelineHistory::parse(
      *newest, io::read_small_file(directory + "/" + wal::history_name(*newest), kLargest));
  if (!history || history->ancestors().empty()) return std::nullopt;
  return history->ancestors().back().switchpoint;
}

io::Command verify_command(const Programs& programs, const std::string& manifest,
                           const std::string& data, const std::vector<std::string>& ignored) {
  io::Command command{programs.path("pg_verifybackup"), "--no-parse-wal", "--quiet",
                      "--manifest-path=" + manifest};
  for (const auto& name : changed_files()) command.push_back("--ignore=" + name);
  for (const auto& name : ignored) command.push_back("--ignore=" + name);
  command.push_back(data);
  return command;
}

}  // namespace weir::recovery

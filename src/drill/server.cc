#include "drill/server.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <span>
#include <string_view>

#include "base/error.h"
#include "base/text.h"
#include "drill/sandbox.h"
#include "io/small_file.h"
#include "io/tree.h"
#include "io/user_tree.h"
#include "wal/control_file.h"
#include "wal/server_version.h"

namespace weir::drill {

namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kMega = std::uint64_t{1} << 20;
constexpr std::uint64_t kLargestLog = 64 * kMega;

/// A value of postgresql.conf.
std::string quoted(std::string_view value) {
  std::string text = "'";
  for (const char c : value) text += c == '\'' || c == '\\' ? std::string(2, c) : std::string(1, c);
  return text + "'";
}

/// "LOG:  redo starts at …" behind the time in milliseconds and the process.
struct LogLine {
  std::optional<std::chrono::milliseconds> time;
  std::string_view text;
};
LogLine parse_line(std::string_view line) {
  const auto bracket = line.find("] ");
  const auto dot = line.find('.');
  if (bracket == std::string_view::npos || dot == std::string_view::npos || dot + 4 > bracket)
    return {std::nullopt, line};
  const auto seconds = parse_number<std::int64_t>(line.substr(0, dot));
  const auto millis = parse_number<std::int64_t>(line.substr(dot + 1, 3));
  if (!seconds || !millis) return {std::nullopt, line};
  return {std::chrono::seconds(*seconds) + std::chrono::milliseconds(*millis),
          line.substr(bracket + 2)};
}

template <typename Visit>
void each_line(std::string_view text, Visit visit) {
  while (!text.empty()) {
    const auto line = text.substr(0, text.find('\n'));
    if (!line.empty()) visit(line);
    text.remove_prefix(std::min(line.size() + 1, text.size()));
  }
}

}  // namespace

Programs find_programs(int major, const std::optional<std::string>& bindir,
                       const std::function<bool()>& stop) {
  Programs programs{.directory = bindir.value_or(fmt::format("/usr/lib/postgresql/{}/bin", major))};
  const auto postgres = programs.path("postgres");
  if (!io::is_program(postgres))
    throw Error(ErrorKind::refused,
                fmt::format("there are no server programs of PostgreSQL {} here", major))
        .with("path", postgres)
        .hint(
            "Install the server of that version (it need not run), or name its directory of "
            "programs with --bindir.");
  const auto asked = run_tool({postgres, "--version"}, environment(), stop);
  programs.version = std::string(trimmed(asked.output));
  // "postgres (PostgreSQL) 15.18 (Debian …)", "… 18beta1"
  constexpr std::string_view kBefore = "(PostgreSQL) ";
  const auto at = programs.version.find(kBefore);
  const auto number =
      at == std::string::npos ? std::string() : programs.version.substr(at + kBefore.size());
  programs.major =
      parse_number<int>(number.substr(0, number.find_first_not_of("0123456789"))).value_or(0);
  if (!asked.done() || programs.major != major)
    throw Error(
        ErrorKind::refused,
        fmt::format("the server programs are not of PostgreSQL {}, as the backup is", major))
        .with("path", postgres)
        .with("version", programs.version)
        .hint("Name a directory with programs of that version with --bindir.");
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
    throw Error(ErrorKind::damage, "the backup's pg_control cannot be read")
        .with("pg_controldata", trimmed(told.output));
  control.system_identifier = *identifier;
  control.prepared_transactions = value("max_prepared_xacts setting").value_or(0);
  control.checksums = value("Data page checksum version").value_or(0) != 0;
  return control;
}

std::string server_configuration(const ServerSettings& settings, int major,
                                 const std::string& sandbox) {
  const wal::ServerVersion version(major);
  std::string text;
  const auto set = [&](std::string_view name, std::string_view value) {
    text += fmt::format("{} = {}\n", name, quoted(value));
  };
  // Nobody hears of it, and it tells nobody.
  set("listen_addresses", "");
  set("unix_socket_directories", "..");  // from the data directory, so that it is never too long
  set("unix_socket_permissions", "0700");
  set("port", "5432");
  set("hba_file", sandbox + "/pg_hba.conf");
  set("ident_file", sandbox + "/pg_ident.conf");
  set("ssl", "off");
  set("archive_mode", "off");
  set("primary_conninfo", "");
  set("synchronous_standby_names", "");
  set("max_wal_senders", "0");
  set("max_logical_replication_workers", "0");
  set("cluster_name", "pgweir drill");
  // Its own libraries only, and nothing that works by itself.
  set("shared_preload_libraries", settings.preload);
  set("session_preload_libraries", "");
  set("local_preload_libraries", "");
  set("autovacuum", "off");
  set("jit", "off");
  if (version.has_event_triggers_setting()) set("event_triggers", "off");
  // Nothing is left outside of the sandbox, not even by a kill -9; nothing is taken from others.
  set("dynamic_shared_memory_type", "mmap");
  set("huge_pages", "off");
  set("restart_after_crash", "off");
  // A recovery that nobody reads in asks for no settings of the old server, but for this one. The
  // origins of replication are replayed into slots.
  set("hot_standby", "off");
  constexpr std::uint64_t kPrepared = 1000;
  set("max_prepared_transactions",
      std::to_string(std::max(settings.prepared_transactions, kPrepared)));
  set("max_connections", "30");
  set(version.has_own_limit_of_origins() ? "max_active_replication_origins"
                                         : "max_replication_slots",
      "1000");
  // What is kept of the WAL that was restored, at most.
  const auto segment = settings.segment_size.bytes() / kMega;
  constexpr std::uint64_t kKept = 512;
  set("max_wal_size", fmt::format("{}MB", std::max<std::uint64_t>(kKept, 4 * segment)));
  set("min_wal_size", fmt::format("{}MB", std::max<std::uint64_t>(80, 2 * segment)));
  // Where the recovery goes.
  set("restore_command", settings.restore_command);
  set("recovery_target_timeline", std::to_string(settings.timeline));
  set("recovery_target_action", "promote");
  set("recovery_target_inclusive", "on");
  switch (settings.target.kind) {
    case Target::Kind::latest:
      set("recovery_target_lsn", settings.last_record.to_string());
      break;
    case Target::Kind::lsn:
      set("recovery_target_lsn", settings.target.lsn.to_string());
      break;
    case Target::Kind::time:
      set("recovery_target_time", settings.target.time.to_string());
      break;
  }
  // Reading ahead it would ask for WAL behind the target, which may be missing.
  if (version.has_recovery_prefetch() && settings.target.kind != Target::Kind::latest)
    set("recovery_prefetch", "off");
  // What it says is read.
  set("log_destination", "stderr");
  set("logging_collector", "off");
  set("log_line_prefix", "%n [%p] ");
  set("log_min_messages", "warning");
  set("lc_messages", "C");
  set("timezone", "UTC");
  set("log_timezone", "UTC");
  return text;
}

Server::Server(const Programs& programs, const Sandbox& sandbox, const ServerSettings& settings)
    : log_path_(sandbox.path() + "/log") {
  constexpr unsigned kOwn = 0600;
  const auto file = [&](const char* name) { return sandbox.path() + "/" + name; };
  io::replace_small_file(file("postgresql.conf"),
                         server_configuration(settings, programs.major, sandbox.path()), kOwn);
  // The socket lies in a directory that only this user can enter.
  io::replace_small_file(file("pg_hba.conf"), "local all all trust\n", kOwn);
  io::replace_small_file(file("pg_ident.conf"), "", kOwn);
  io::replace_small_file(sandbox.data() + "/recovery.signal", "", kOwn);
  io::replace_small_file(sandbox.data() + "/postgresql.auto.conf", "", kOwn);
  const auto output = io::open_log(log_path_);
  child_ = std::make_unique<Child>(
      Command{programs.path("postgres"), "-D", sandbox.data(), "-c",
              "config_file=" + file("postgresql.conf")},
      environment(),
      Child::Settings{.output = output.get(), .keep = {sandbox.lock()}, .on_our_death = SIGQUIT});
}

Server::~Server() {
  // SIGQUIT: each process of the server ends at once. Its files are thrown away.
  constexpr auto kPatience = 10s;
  child_->signal(SIGQUIT);
  child_->wait(kPatience);
}

std::string Server::log() const { return io::read_front(log_path_, kLargestLog); }

Server::View Server::look() {
  View view;
  std::optional<std::chrono::milliseconds> began, redo, open;
  const bool ended = child_->status().has_value();
  each_line(log(), [&](std::string_view line) {
    const auto said = parse_line(line);
    if (!said.time) return;
    if (!began) began = said.time;
    if (!redo && said.text.starts_with("LOG:  redo starts at")) redo = said.time;
    if (!open && said.text.starts_with("LOG:  database system is ready to accept connections"))
      open = said.time;
  });
  if (began && redo) view.start = *redo - *began;
  if (redo && open) view.replay = *open - *redo;
  // With nothing to replay it says nothing of it.
  if (began && open && !redo) view.start = *open - *began;
  view.state = ended ? State::ended : open ? State::open : redo ? State::replays : State::starts;
  return view;
}

bool Server::shut_down() {
  constexpr auto kPatience = 60s;
  child_->signal(SIGINT);
  return child_->wait(kPatience) && child_->status() == 0;
}

std::vector<std::string> Server::complaints(std::size_t most) const {
  std::vector<std::string> lines;
  each_line(log(), [&](std::string_view line) {
    const auto said = parse_line(line);
    const bool serious = said.text.starts_with("FATAL:") || said.text.starts_with("PANIC:") ||
                         said.text.starts_with("ERROR:") || said.text.starts_with("WARNING:") ||
                         said.text.starts_with("DETAIL:") || said.text.starts_with("HINT:") ||
                         said.text.starts_with("pgweir: error:") ||
                         said.text.starts_with("hint:") || said.text.starts_with("LOG:  invalid") ||
                         !said.time;
    if (serious) lines.emplace_back(said.text);
  });
  if (lines.size() > most)
    lines.erase(lines.begin(), lines.end() - static_cast<std::ptrdiff_t>(most));
  return lines;
}

bool Server::said(std::string_view words) const { return log().find(words) != std::string::npos; }

std::optional<wal::Lsn> reached_position(const std::string& data) {
  const auto directory = data + "/pg_wal";
  std::optional<wal::TimelineId> newest;
  for (const auto& entry : io::list_user_directory(directory))
    if (const auto timeline = wal::parse_history_name(entry.name))
      newest = std::max(newest.value_or(0), *timeline);
  if (!newest) return std::nullopt;
  constexpr std::uint64_t kLargest = kMega;
  const auto history = wal::TimelineHistory::parse(
      *newest, io::read_small_file(directory + "/" + wal::history_name(*newest), kLargest));
  if (!history || history->ancestors().empty()) return std::nullopt;
  return history->ancestors().back().switchpoint;
}

}  // namespace weir::drill

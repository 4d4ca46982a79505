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
#include "recovery/settings.h"
#include "wal/server_version.h"

namespace weir::drill {

namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kMega = std::uint64_t{1} << 20;
constexpr std::uint64_t kLargestLog = 64 * kMega;

/// "LOG:  redo starts at …" after the time in milliseconds and the process.
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

}  // namespace

std::string server_configuration(const ServerSettings& settings, int major,
                                 const std::string& sandbox) {
  const wal::ServerVersion version(major);
  std::string text;
  const auto set = [&](std::string_view name, std::string_view value) {
    text += fmt::format("{} = {}\n", name, recovery::quoted_setting(value));
  };
  // The server accepts no TCP connections, and sends no notifications.
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
  // Its own libraries only, and no automatic activity.
  set("shared_preload_libraries", settings.preload);
  set("session_preload_libraries", "");
  set("local_preload_libraries", "");
  set("autovacuum", "off");
  set("jit", "off");
  if (version.has_event_triggers_setting()) set("event_triggers", "off");
  // Nothing remains outside of the sandbox, not even after a kill -9; no shared resources are used.
  set("dynamic_shared_memory_type", "mmap");
  set("huge_pages", "off");
  set("restart_after_crash", "off");
  // A recovery without hot standby requires no settings of the old server, except for this one.
  // Replication origins are replayed into slots.
  set("hot_standby", "off");
  constexpr std::uint64_t kPrepared = 1000;
  set("max_prepared_transactions",
      std::to_string(std::max(settings.prepared_transactions, kPrepared)));
  set("max_connections", "30");
  set(version.has_own_limit_of_origins() ? "max_active_replication_origins"
                                         : "max_replication_slots",
      "1000");
  // Maximum size of restored WAL that is kept.
  const auto segment = settings.segment_size.bytes() / kMega;
  constexpr std::uint64_t kKept = 512;
  set("max_wal_size", fmt::format("{}MB", std::max<std::uint64_t>(kKept, 4 * segment)));
  set("min_wal_size", fmt::format("{}MB", std::max<std::uint64_t>(80, 2 * segment)));
  // Target and source of the recovery.
  set("restore_command", settings.restore_command);
  set("recovery_target_timeline", std::to_string(settings.timeline));
  set("recovery_target_action", "promote");
  set("recovery_target_inclusive", settings.target.exclusive ? "off" : "on");
  const auto target = recovery::target_setting(settings.target, settings.last_record);
  set(target.name, target.value);
  // Prefetching would request WAL after the target, which may be missing.
  if (version.has_recovery_prefetch() && settings.target.kind != Target::Kind::latest)
    set("recovery_prefetch", "off");
  // The log output is parsed.
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
  // The socket is in a directory that only this user can enter.
  io::replace_small_file(file("pg_hba.conf"), "local all all trust\n", kOwn);
  io::replace_small_file(file("pg_ident.conf"), "", kOwn);
  io::replace_small_file(sandbox.data() + "/recovery.signal", "", kOwn);
  io::replace_small_file(sandbox.data() + "/postgresql.auto.conf", "", kOwn);
  const auto output = io::open_log(log_path_);
  child_ = std::make_unique<io::ChildProcess>(
      io::Command{programs.path("postgres"), "-D", sandbox.data(), "-c",
                  "config_file=" + file("postgresql.conf")},
      io::ChildProcess::Settings{.environment = recovery::environment(),
                                 .output = output.get(),
                                 .errors_to_output = true,
                                 .keep = {sandbox.lock()},
                                 .on_our_death = SIGQUIT});
}

Server::~Server() {
  // SIGQUIT: each process of the server ends at once. Its files are thrown away.
  constexpr auto kPatience = 10s;
  try {
    child_->signal(SIGQUIT);
    static_cast<void>(child_->wait(kPatience));
  } catch (const Error&) {
    return;  // its status is unknown: it has ended
  }
}

std::string Server::log() const { return io::read_front(log_path_, kLargestLog); }

Server::View Server::look() {
  View view;
  std::optional<std::chrono::milliseconds> began, redo, open;
  const bool ended = child_->ended().has_value();
  recovery::each_line(log(), [&](std::string_view line) {
    const auto said = parse_line(line);
    if (!said.time) return;
    if (!began) began = said.time;
    if (!redo && said.text.starts_with("LOG:  redo starts at")) redo = said.time;
    if (!open && said.text.starts_with("LOG:  database system is ready to accept connections"))
      open = said.time;
  });
  if (began && redo) view.start = *redo - *began;
  if (redo && open) view.replay = *open - *redo;
  // With nothing to replay it does not log that.
  if (began && open && !redo) view.start = *open - *began;
  view.state = ended ? State::ended : open ? State::open : redo ? State::replays : State::starts;
  return view;
}

bool Server::shut_down() {
  constexpr auto kPatience = 60s;
  child_->signal(SIGINT);
  return child_->wait(kPatience) && child_->ended()->success();
}

std::vector<std::string> Server::complaints(std::size_t most) const {
  std::vector<std::string> lines;
  recovery::each_line(log(), [&](std::string_view line) {
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

}  // namespace weir::drill

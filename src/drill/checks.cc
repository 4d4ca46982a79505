#include "drill/checks.h"

#include <fmt/format.h>

#include <chrono>

#include "base/error.h"
#include "base/text.h"
#include "drill/sandbox.h"
#include "io/tree.h"
#include "pq/connection.h"
#include "recovery/has_commit.h"
#include "wal/server_version.h"

namespace weir::drill {

namespace {

using namespace std::chrono_literals;
using recovery::environment;
using recovery::run_tool;

/// A statement may take any time: the drill can be stopped.
constexpr std::chrono::milliseconds kNoLimit = std::chrono::hours(24 * 365);

/// Settings of a database or a role of the cluster do not apply here: their libraries belong to
/// another host.
std::string session_options(int major) {
  std::string options = "-c session_preload_libraries= -c local_preload_libraries=";
  if (wal::ServerVersion(major).has_event_triggers_setting()) options += " -c event_triggers=off";
  return options;
}

std::string quoted(const std::string& value) {
  std::string text = "'";
  for (const char c : value) text += c == '\'' || c == '\\' ? std::string{'\\', c} : std::string{c};
  return text + "'";
}

pq::Connection connect(const CheckOptions& options) {
  pq::ConnectOptions connect;
  connect.conninfo =
      fmt::format("host={} port=5432 user={} dbname={} options='{}' sslmode=disable passfile={}",
                  quoted(options.sandbox.socket_directory()), quoted(options.username),
                  quoted(options.database), session_options(options.programs.major),
                  // Not the user's own one. (For a device, libpq prints a warning to stderr.)
                  quoted(options.sandbox.path() + "/no-passfile"));
  connect.replication = pq::Replication::none;
  connect.fallback_application_name = "pgweir drill";
  return pq::Connection::open(connect, options.interrupt);
}

/// The first and the last lines of a tool's output.
std::string short_form(const std::string& output) {
  constexpr std::size_t kMost = 600;
  std::string text(trimmed(output));
  for (auto& c : text)
    if (c == '\n') c = ' ';
  if (text.size() > kMost)
    text = text.substr(0, kMost / 2) + " … " + text.substr(text.size() - kMost / 2);
  return text;
}

void add_check(Report& report, std::string name, bool passed, std::string answer) {
  if (!passed) report.fail(Outcome::failed, fmt::format("{} failed: {}", name, answer));
  report.checks.push_back({std::move(name), passed, std::move(answer)});
}

bool is_there(const CheckOptions& options, const std::string& program, Report& report) {
  if (io::is_program(options.programs.path(program))) return true;
  report.skipped.push_back(fmt::format("{}: it is not in {}", program, options.programs.directory));
  return false;
}

}  // namespace

void verify_backup(const CheckOptions& options, const std::string& manifest, Report& report) {
  if (manifest.empty()) {
    report.skipped.emplace_back(
        "pg_verifybackup: the backup has no manifest, so its files cannot be checked");
    return;
  }
  if (!is_there(options, "pg_verifybackup", report)) return;
  const auto told = recovery::run_tool(
      recovery::verify_command(options.programs, manifest, options.sandbox.data()),
      recovery::environment(), options.stop);
  add_check(report, "pg_verifybackup", told.done(), short_form(told.output));
}

void look_for_commit(const CheckOptions& options, Report& report) {
  auto connection = connect(options);
  if (report.promised_commit)
    report.commit_reached = recovery::has_commit(connection, *report.promised_commit);
}

void ask(const CheckOptions& options, const std::vector<std::string>& statements, Report& report) {
  for (const auto& statement : statements) {
    try {
      auto connection = connect(options);
      const auto rows = connection.execute(statement, kNoLimit);
      const bool any = !rows.empty() && !rows[0].empty();
      const auto value = any ? rows[0][0] : std::nullopt;
      add_check(report, statement, value == "t" || value == "true",
                !any ? "no row" : short_form(value.value_or("NULL")));
    } catch (const Error& error) {
      if (options.stop()) throw;
      add_check(report, statement, false, error.what());
    } catch (const net::Interrupted&) {
      throw Error(ErrorKind::retry, "stopped while a query was running");
    }
  }
}

void run_amcheck(const CheckOptions& options, Report& report) {
  if (!is_there(options, "pg_amcheck", report)) return;
  {
    auto connection = connect(options);
    if (connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'amcheck'")
            .empty()) {
      report.skipped.emplace_back("pg_amcheck: the server has no extension amcheck (contrib)");
      return;
    }
  }
  const auto told =
      run_tool({options.programs.path("pg_amcheck"), "--all", "--install-missing", "--host",
                options.sandbox.socket_directory(), "--port", "5432", "--username",
                options.username, "--maintenance-db", options.database, "--no-password"},
               environment({"PGOPTIONS=" + session_options(options.programs.major)}), options.stop);
  add_check(report, "pg_amcheck", told.done(), short_form(told.output));
}

void run_checksums(const CheckOptions& options, const Control& control, Report& report) {
  if (control.checksums == false) {
    report.skipped.emplace_back("pg_checksums: the cluster has no data checksums");
    return;
  }
  if (!is_there(options, "pg_checksums", report)) return;
  const auto told =
      run_tool({options.programs.path("pg_checksums"), "--check", "-D", options.sandbox.data()},
               environment(), options.stop);
  add_check(report, "pg_checksums", told.done(), told.done() ? "" : short_form(told.output));
}

}  // namespace weir::drill

#include "backup/server.h"

#include <fmt/format.h>

#include <chrono>
#include <string_view>
#include <utility>

#include "backup/command.h"
#include "base/error.h"
#include "pq/commands.h"
#include "pq/connection.h"
#include "pq/hang_up.h"
#include "pq/parameters.h"
#include "wal/server_version.h"

namespace weir::backup {

namespace {

constexpr const char* kApplication = "pgweir backup";

/// The connection string for the one host that has answered.
void keep_host(Server& server, const std::string& conninfo, std::size_t index) {
  auto& values = server.values;
  values = pq::parse_conninfo(conninfo);
  // (The password is passed in the environment.)
  for (const std::string_view name : pq::kSecretKeywords)
    if (name != "password" && !pq::value_of(values, name).empty())
      throw Error(
          ErrorKind::usage,
          fmt::format("a connection string with {} cannot be passed to pg_basebackup", name))
          .hint(
              "Other users of this machine could see it. Use a password file, or a key without a "
              "password that only this user can read.");
  server.password = pq::value_of(values, "password");
  const auto host = pq::hosts_of(conninfo).at(index);
  for (const auto* name : {"host", "hostaddr", "port", "password", "replication"})
    values.erase(name);
  if (!host.host.empty()) values["host"] = host.host;
  if (!host.hostaddr.empty()) values["hostaddr"] = host.hostaddr;
  if (!host.port.empty()) values["port"] = host.port;
  // A server that vanishes is noticed.
  values.try_emplace("keepalives_idle", "30");
  values.try_emplace("keepalives_interval", "10");
  values.try_emplace("keepalives_count", "3");
}

bool is_on(pq::Connection& connection, const char* parameter) {
  return pq::show(connection, parameter) != "off";
}

}  // namespace

Server ask_server(const std::string& conninfo, const net::Wake& interrupt) {
  auto connection = pq::Connection::open(
      {.conninfo = conninfo, .fallback_application_name = kApplication}, interrupt);
  Server server{.name = connection.server_name(), .major = connection.server_major()};
  keep_host(server, conninfo, connection.host_index());
  const auto identity = pq::identify_system(connection);
  server.system_identifier = identity.system_identifier;
  server.place.timeline = identity.timeline;
  server.place.position = identity.flush_position;
  server.place.standby = pq::show_if_standby(connection);
  server.segment_size = pq::show_wal_segment_size(connection);
  server.archives = is_on(connection, "archive_mode");
  server.summarizes =
      wal::ServerVersion(server.major).has_combine_backup() && is_on(connection, "summarize_wal");
  if (identity.timeline == 1) {
    server.place.history = wal::TimelineHistory(1);
  } else {
    try {
      server.place.history = wal::TimelineHistory::parse(
          identity.timeline, pq::timeline_history(connection, identity.timeline));
    } catch (const Error& error) {
      // It may be without the file; the archive's own is taken then.
      if (error.kind() != ErrorKind::conflict) throw;
    }
  }
  // One free walsender is enough for a backup: this one must not count any more.
  pq::hang_up(std::move(connection), std::chrono::seconds(10));
  return server;
}

pq::BackupPlan ask_plan(const Server& server, const net::Wake& interrupt) {
  auto values = server.values;
  if (!server.password.empty()) values["password"] = server.password;
  return pq::ask_backup_plan(pq::Connection::open(
      {.conninfo = conninfo_text(values), .fallback_application_name = kApplication}, interrupt));
}

}  // namespace weir::backup

#include "pq/commands.h"

#include <chrono>
#include <utility>

#include "pq/answers.h"
#include "wal/server_version.h"

namespace weir::pq {

namespace {

constexpr std::size_t kMaxHistory = 16 * 1024 * 1024;

wal::ServerVersion version_of(Connection& connection) {
  return wal::ServerVersion(connection.server_major());
}

}  // namespace

SystemIdentity identify_system(Connection& connection) {
  // systemid, timeline, xlogpos, dbname
  const Row row = one_row(connection, "IDENTIFY_SYSTEM", 3);
  const auto identifier = row[0] ? parse_number<std::uint64_t>(*row[0]) : std::nullopt;
  const auto timeline = parse_timeline(row[1]);
  const auto position = parse_lsn(row[2]);
  if (!identifier || !timeline || !position) throw unexpected(connection, "IDENTIFY_SYSTEM");
  return {*identifier, *timeline, *position};
}

std::optional<SlotState> read_replication_slot(Connection& connection, const std::string& slot) {
  if (!version_of(connection).has_read_replication_slot()) return std::nullopt;
  // slot_type, restart_lsn, restart_tli; all NULL if there is no such slot
  const std::string command = "READ_REPLICATION_SLOT " + connection.quote_identifier(slot);
  const Row row = one_row(connection, command, 3);
  SlotState state;
  if (!row[0]) return state;
  state.exists = true;
  state.type = *row[0];
  state.restart_lsn = parse_lsn(row[1]);
  state.restart_timeline = parse_timeline(row[2]);
  if (row[1] && !state.restart_lsn) throw unexpected(connection, command);
  return state;
}

bool create_physical_slot(Connection& connection, const std::string& slot, bool reserve_wal,
                          bool temporary, bool may_exist) {
  const bool options_in_parentheses = version_of(connection).has_slot_options_in_parentheses();
  try {
    connection.execute("CREATE_REPLICATION_SLOT " + connection.quote_identifier(slot) +
                       (temporary ? " TEMPORARY" : "") +
                       (!reserve_wal             ? " PHYSICAL"
                        : options_in_parentheses ? " PHYSICAL (RESERVE_WAL)"
                                                 : " PHYSICAL RESERVE_WAL"));
  } catch (const Error& error) {
    if (may_exist && error.sqlstate() == "42710") return false;  // duplicate_object
    throw;
  }
  return true;
}

std::optional<LogicalSlot> create_logical_slot(Connection& connection, const std::string& slot,
                                               const LogicalSlotOptions& options) {
  const int major = connection.server_major();
  const auto needs = [&](bool asked, std::string_view option, int version) {
    if (asked && major < version)
      throw Error(ErrorKind::usage,
                  fmt::format("the server is too old for {} of a logical slot", option))
          .with("server", connection.server_name())
          .with("version", major)
          .hint(fmt::format("It is supported from PostgreSQL {} on.{}", version,
                            version_of(connection).has_two_phase_in_sql_only() &&
                                    version == wal::ServerVersion::kFirstWithTwoPhase
                                ? " With PostgreSQL 14, use SQL: SELECT "
                                  "pg_create_logical_replication_slot(NAME, PLUGIN, false, true)."
                                : ""));
  };
  needs(options.two_phase, "TWO_PHASE", wal::ServerVersion::kFirstWithTwoPhase);
  needs(options.failover, "FAILOVER", wal::ServerVersion::kFirstWithFailover);

  std::string command = "CREATE_REPLICATION_SLOT " + connection.quote_identifier(slot);
  if (options.temporary) command += " TEMPORARY";
  command += " LOGICAL " + connection.quote_identifier(options.plugin);
  if (version_of(connection).has_slot_options_in_parentheses()) {
    command += options.snapshot == Snapshot::export_ ? " (SNAPSHOT 'export'"
               : options.snapshot == Snapshot::use   ? " (SNAPSHOT 'use'"
                                                     : " (SNAPSHOT 'nothing'";
    if (options.two_phase) command += ", TWO_PHASE";
    if (options.failover) command += ", FAILOVER";
    command += ")";
  } else {
    command += options.snapshot == Snapshot::export_ ? " EXPORT_SNAPSHOT"
               : options.snapshot == Snapshot::use   ? " USE_SNAPSHOT"
                                                     : " NOEXPORT_SNAPSHOT";
  }
  Rows rows;
  try {
    rows = connection.execute(command, std::chrono::hours(24 * 365));
  } catch (const Error& error) {
    if (options.may_exist && error.sqlstate() == "42710") return std::nullopt;  // duplicate_object
    // Here a missing file is the plugin's.
    const bool no_plugin = error.sqlstate() == "58P01";
    const bool no_logical_wal = error.sqlstate() == "55000";
    if (!no_plugin && !no_logical_wal) throw;
    throw Error(ErrorKind::refused, error.message())
        .reported_as(error)
        .with("server", connection.server_name())
        .with("plugin", options.plugin)
        .hint(no_plugin ? "The output plugin is not installed on the server. pgoutput is always "
                          "available; wal2json is a separate package."
              : version_of(connection).has_effective_wal_level()
                  ? "Logical decoding needs wal_level = replica or logical on the server; on "
                    "a standby, wal_level = logical on its primary, or a logical slot there. "
                    "wal_level takes effect after a restart."
                  : "Logical decoding needs wal_level = logical on the server (on a standby "
                    "also on its primary), which takes effect after a restart.");
  }
  // slot_name, consistent_point, snapshot_name, output_plugin
  if (rows.size() != 1 || rows[0].size() < 3) throw unexpected(connection, command);
  const auto point = parse_lsn(rows[0][1]);
  if (!point) throw unexpected(connection, command);
  return LogicalSlot{*point, rows[0][2].value_or("")};
}

void enlarge_buffer(Connection& connection, std::size_t bytes) {
  try {
    // It doubles until the message fits.
    connection.execute(fmt::format("SELECT pg_catalog.repeat(' ', {})", bytes / 2 + 1));
  } catch (const Error& error) {
    if (error.sqlstate().empty()) throw;
    // On an error: small reads cost more, but work.
  }
}

void drop_slot(Connection& connection, const std::string& slot) {
  try {
    connection.execute("DROP_REPLICATION_SLOT " + connection.quote_identifier(slot));
  } catch (const Error& error) {
    if (error.sqlstate() != "42704") throw;
    // The general hint is for a slot that is needed.
    throw Error(error.kind(), error.message())
        .reported_as(error)
        .with("server", connection.server_name())
        .hint("\"pgweir slot list\" shows the existing slots.");
  }
}

std::string timeline_history(Connection& connection, wal::TimelineId timeline) {
  const std::string command = fmt::format("TIMELINE_HISTORY {}", timeline);
  Row row;
  try {
    row = one_row(connection, command, 2);  // filename, content
  } catch (const Error& error) {
    if (error.sqlstate() != "58P01") throw;
    // Here a missing file is the history file.
    throw Error(ErrorKind::conflict,
                "the server has no history of the timeline: " + error.message())
        .reported_as(error)
        .with("server", connection.server_name())
        .with("timeline", timeline)
        .hint(
            "Either the server does not descend from that timeline, or its pg_wal has lost the "
            "file. Restore the file there from an archive.");
  }
  if (!row[0] || !row[1] || row[1]->size() > kMaxHistory) throw unexpected(connection, command);
  if (*row[0] != wal::history_name(timeline))
    throw Error(ErrorKind::protocol, "the server sent a history file that was not requested")
        .with("server", connection.server_name())
        .with("expected", wal::history_name(timeline))
        .with("got", *row[0]);
  return *row[1];
}

}  // namespace weir::pq

#include "status/upstream.h"

#include <chrono>
#include <string_view>

#include "base/error.h"
#include "net/wake.h"
#include "pq/commands.h"
#include "pq/connection.h"
#include "pq/parameters.h"
#include "pq/slot_view.h"

namespace weir::status {

namespace {

constexpr std::chrono::milliseconds kTime{5'000};

void add_slot_view(Upstream::Slot& slot, const std::string& conninfo) {
  const net::Wake never;
  auto connection = pq::Connection::open(
      {.conninfo = conninfo, .replication = pq::Replication::none, .timeout = kTime}, never);
  const auto rows = connection.execute(
      "SELECT restart_lsn, wal_status, active FROM pg_catalog.pg_replication_slots "
      "WHERE slot_name = " +
          connection.quote_literal(slot.name),
      kTime);
  slot.exists = !rows.empty();
  if (rows.empty()) return;
  const auto& row = rows.front();
  slot.restart_lsn = row.at(0) ? wal::Lsn::parse(*row[0]) : std::nullopt;
  slot.wal_status = row.at(1).value_or("");
  slot.active = row.at(2) == "t";
}

/// By a walsender, which is the server's again when this returns.
Upstream ask_walsender(const std::string& conninfo, const std::optional<std::string>& slot) {
  const net::Wake never;
  auto connection = pq::Connection::open({.conninfo = conninfo, .timeout = kTime}, never);
  const auto identity = pq::identify_system(connection);
  Upstream upstream;
  upstream.server = connection.server_name();
  upstream.system_identifier = identity.system_identifier;
  upstream.timeline = identity.timeline;
  upstream.position = identity.flush_position;
  upstream.standby = pq::show_if_standby(connection);
  if (upstream.timeline == 1) {
    upstream.history = wal::TimelineHistory(1);
  } else {
    try {
      upstream.history = wal::TimelineHistory::parse(
          upstream.timeline, pq::timeline_history(connection, upstream.timeline));
    } catch (const Error& error) {
      // It may be without the file; the archive's own is taken then. The connection is of use.
      if (error.kind() != ErrorKind::conflict) throw;
    }
  }
  try {
    upstream.synchronous_standby_names = pq::show(connection, "synchronous_standby_names");
  } catch (const Error& error) {
    if (error.sqlstate().empty()) throw;  // the role may lack the permission to see it
  }
  if (!slot) return upstream;
  constexpr std::string_view kNotSupported = "0A000";  // a logical one
  try {
    if (const auto state = pq::read_replication_slot(connection, *slot)) {
      upstream.slot =
          Upstream::Slot{.name = *slot, .exists = state->exists, .restart_lsn = state->restart_lsn};
      if (state->restart_lsn)
        upstream.slot->unseen_invalidation = pq::setting_of_unseen_invalidation(connection);
    }
  } catch (const Error& error) {
    // It exists; the ordinary connection reads what it reserves.
    if (error.sqlstate() != kNotSupported) throw;
  }
  return upstream;
}

}  // namespace

Upstream ask_upstream(const std::string& conninfo, const std::string& ordinary_conninfo,
                      const std::optional<std::string>& slot) {
  auto upstream = ask_walsender(conninfo, slot);
  if (!slot) return upstream;
  auto found = upstream.slot.value_or(Upstream::Slot{.name = *slot});
  bool known = upstream.slot.has_value();
  try {
    add_slot_view(found, ordinary_conninfo);
    known = true;
  } catch (const Error& error) {
    upstream.slot_error = error.what();
    upstream.slot_hint = error.hint();
  }
  if (known) upstream.slot = found;
  return upstream;
}

}  // namespace weir::status

#include "pq/slot_view.h"

#include <fmt/format.h>

#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "pq/connection.h"
#include "pq/parameters.h"
#include "wal/server_version.h"

namespace weir::pq {

// The reasons: SlotInvalidationCauses in src/backend/replication/slot.c.
std::string why_invalidated(const std::optional<std::string>& reason, int server_major) {
  if (reason == "wal_removed")
    return "It retained more WAL than max_slot_wal_keep_size allows. Raise that setting, or make "
           "sure that the receiver is connected and fast enough.";
  if (reason == "idle_timeout")
    return "No receiver was connected to it for idle_replication_slot_timeout. Raise that "
           "setting, or keep the receiver connected.";
  if (reason == "wal_level_insufficient" &&
      wal::ServerVersion(server_major).has_effective_wal_level())
    return "It is a logical slot, and the WAL no longer contains the information for logical "
           "decoding: on a standby, the last logical slot of its primary was dropped, or the "
           "primary's wal_level was set below replica. Set wal_level = logical on the primary, "
           "or keep a logical slot there.";
  if (reason == "wal_level_insufficient")
    return "It is a logical slot, and wal_level was set below logical.";
  if (reason == "rows_removed")
    return "It is a logical slot of a standby, and rows that it needed were removed.";
  if (wal::ServerVersion(server_major).has_idle_slot_timeout())
    return "A server does that if the slot retains more WAL than max_slot_wal_keep_size, or if "
           "no receiver is connected for idle_replication_slot_timeout. Raise that setting, or "
           "make sure that the receiver is connected and fast enough.";
  return "A server does that if the slot retains more WAL than max_slot_wal_keep_size. Raise "
         "that setting, or make sure that the receiver is connected and fast enough.";
}

// An invalidation removes the restart_lsn only if the slot retained too much WAL
// (InvalidatePossiblyObsoleteSlot() in replication/slot.c). 16 and 17 then let a receiver use the
// slot again, and its first status gives the slot a restart_lsn. A slot that was idle for too long
// keeps it.
std::optional<UnseenInvalidation> unseen_invalidation(int server_major) {
  const wal::ServerVersion version(server_major);
  if (!version.keeps_slots_invalidated()) return std::nullopt;
  if (!version.refuses_invalidated_physical_slots())
    return UnseenInvalidation{"max_slot_wal_keep_size", "-1"};
  return UnseenInvalidation{"idle_replication_slot_timeout", "0"};
}

std::string setting_of_unseen_invalidation(Connection& connection) {
  const auto unseen = unseen_invalidation(connection.server_major());
  if (!unseen) return "";
  std::string setting(unseen->setting);
  try {
    return show(connection, setting) == unseen->off ? "" : setting;
  } catch (const Error& error) {
    if (error.sqlstate().empty()) throw;
    return "";  // a relay does not have it, and invalidates no slot unseen
  }
}

std::vector<ServerSlot> read_slots(Connection& connection, const std::optional<std::string>& name,
                                   std::chrono::milliseconds timeout) {
  const auto number = [](const std::optional<std::string>& text) {
    return text ? parse_number<std::int64_t>(*text) : std::nullopt;
  };
  const wal::ServerVersion version(connection.server_major());
  const auto rows = connection.execute(
      fmt::format(
          "SELECT slot_name, slot_type, temporary, active, restart_lsn, wal_status, "
          "safe_wal_size, pg_catalog.pg_wal_lsn_diff({}, restart_lsn)::bigint, {}, plugin, "
          "database, confirmed_flush_lsn, pg_catalog.age(coalesce(catalog_xmin, xmin)), {} "
          "FROM pg_catalog.pg_replication_slots {}ORDER BY slot_name",
          kPositionSql,
          version.has_invalidation_reason() ? "invalidation_reason::text" : "NULL::text",
          // A promotion does not change the column.
          version.synchronizes_slots() ? "synced AND pg_catalog.pg_is_in_recovery()" : "false",
          name ? "WHERE slot_name = " + connection.quote_literal(*name) + " " : ""),
      timeout);
  std::vector<ServerSlot> slots;
  for (const auto& row : rows) {
    auto& slot = slots.emplace_back();
    slot.name = row[0].value_or("");
    slot.type = row[1].value_or("");
    slot.temporary = row[2] == "t";
    slot.view.exists = true;
    slot.view.active = row[3] == "t";
    slot.view.wal_status = row[5].value_or("");
    slot.view.safe_wal_size = number(row[6]);
    slot.view.retained = number(row[7]);
    slot.view.invalidation_reason = row[8];
    slot.restart_lsn = row[4];
    slot.plugin = row[9];
    slot.database = row[10];
    slot.confirmed_lsn = row[11];
    slot.xmin_age = number(row[12]);
    slot.synchronized = row[13] == "t";
  }
  return slots;
}

std::optional<ServerSlot> find_slot(Connection& connection, const std::string& name,
                                    std::chrono::milliseconds timeout) {
  auto slots = read_slots(connection, name, timeout);
  return slots.empty() ? std::nullopt : std::optional(std::move(slots.front()));
}

std::optional<std::string> invalidation_reason_in(std::string_view message) {
  for (const std::string_view reason :
       {"wal_removed", "rows_removed", "wal_level_insufficient", "idle_timeout"})
    if (message.find(reason) != std::string_view::npos) return std::string(reason);
  return std::nullopt;
}

}  // namespace weir::pq

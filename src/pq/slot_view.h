#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace weir::pq {

class Connection;

/// The columns of pg_replication_slots that describe a slot's WAL retention.
struct SlotView {
  bool exists = false;
  bool active = false;
  std::string wal_status;  ///< reserved, extended, unreserved, lost; empty if no WAL is reserved
  std::optional<std::int64_t> safe_wal_size;  ///< bytes that can still be written before it is lost
  std::optional<std::int64_t> retained;       ///< bytes of WAL retained for it
  std::optional<std::string> invalidation_reason;  ///< 17 and later
};

/// A row of pg_replication_slots.
struct ServerSlot {
  std::string name;
  std::string type;  ///< physical, logical
  bool temporary = false;
  SlotView view;
  std::optional<std::string> restart_lsn;  ///< as the server prints it
  // of a logical slot
  std::optional<std::string> plugin;
  std::optional<std::string> database;
  std::optional<std::string> confirmed_lsn;  ///< as the server prints it
  std::optional<std::int64_t> xmin_age;      ///< transactions since its (catalog_)xmin
  /// A standby copies it from its primary; it cannot be used before the promotion.
  bool synchronized = false;
};
/// The slots of a server, by name, or the one with this name; over an ordinary connection. Throws
/// as Connection::execute().
[[nodiscard]] std::vector<ServerSlot> read_slots(
    Connection& connection, const std::optional<std::string>& name = std::nullopt,
    std::chrono::milliseconds timeout = std::chrono::milliseconds(60'000));
/// The same for one slot; nullopt: there is none of that name.
[[nodiscard]] std::optional<ServerSlot> find_slot(
    Connection& connection, const std::string& name,
    std::chrono::milliseconds timeout = std::chrono::milliseconds(60'000));

/// The position up to which a server has WAL: an SQL expression.
inline constexpr std::string_view kPositionSql =
    "CASE WHEN pg_catalog.pg_is_in_recovery() THEN coalesce(pg_catalog.pg_last_wal_receive_lsn(), "
    "pg_catalog.pg_last_wal_replay_lsn()) ELSE pg_catalog.pg_current_wal_lsn() END";

/// Whether a standby's walreceiver streams. Any role sees its row, but the state needs
/// pg_read_all_stats (pg_stat_get_wal_receiver() in walreceiver.c): then the row counts.
inline constexpr std::string_view kReceivesSql =
    "EXISTS (SELECT FROM pg_catalog.pg_stat_wal_receiver WHERE coalesce(status, 'streaming') = "
    "'streaming')";

/// A setting because of which a server may have invalidated a physical slot for which
/// READ_REPLICATION_SLOT gives a restart_lsn nevertheless: only pg_replication_slots shows that
/// such a slot retains no WAL.
struct UnseenInvalidation {
  std::string_view setting;
  std::string_view off;  ///< the value with which no slot is invalidated, as SHOW prints it
};
/// nullopt: READ_REPLICATION_SLOT gives no restart_lsn for any invalidated slot.
[[nodiscard]] std::optional<UnseenInvalidation> unseen_invalidation(int server_major);
/// Over a replication connection: the setting's name, if it is not off; otherwise empty.
[[nodiscard]] std::string setting_of_unseen_invalidation(Connection& connection);

/// Why a server has invalidated a slot, which setting caused it, and what to do, in full sentences.
/// `reason` as in pg_replication_slots; if it is unset, the possible reasons depend on the version.
[[nodiscard]] std::string why_invalidated(const std::optional<std::string>& reason,
                                          int server_major);
/// The reason that a server of version 18 or later gives, untranslated, when it rejects an
/// invalidated slot.
[[nodiscard]] std::optional<std::string> invalidation_reason_in(std::string_view message);

}  // namespace weir::pq

#include <fmt/format.h>

#include <charconv>
#include <cstdint>
#include <nlohmann/json.hpp>

#include "base/units.h"
#include "cli/arguments.h"
#include "cli/config_file.h"
#include "cli/connection_options.h"
#include "cli/exit_status.h"
#include "cli/help.h"
#include "cli/program.h"
#include "cli/slot_table.h"
#include "net/wake.h"
#include "pq/commands.h"
#include "pq/connection.h"
#include "pq/slot_view.h"

namespace weir::cli {

namespace {

using namespace std::chrono_literals;

/// An option of one of the three that was given to another one.
void refuse(const Arguments& arguments, const std::string& verb,
            std::initializer_list<std::string_view> names) {
  for (const auto name : names)
    if (arguments.on_command_line(name))
      throw Error(ErrorKind::usage, fmt::format("slot {} has no option --{}", verb, name));
}

std::string required_slot(const Arguments& arguments, const std::string& verb) {
  const auto slot = arguments.value("slot");
  if (!slot) throw Error(ErrorKind::usage, fmt::format("slot {} needs --slot NAME", verb));
  require_slot_name(arguments, "slot");
  return *slot;
}

int create(const Arguments& arguments, const std::string& conninfo) {
  refuse(arguments, "create", {"if-exists", "json"});
  const auto slot = required_slot(arguments, "create");
  const net::Wake never;
  auto connection = pq::Connection::open({.conninfo = conninfo}, never);
  const bool created = pq::create_physical_slot(connection, slot);
  if (!created && !arguments.has("if-not-exists"))
    throw Error(ErrorKind::refused, fmt::format("replication slot \"{}\" exists already", slot))
        .with("server", connection.server_name())
        .hint("With --if-not-exists that is no error.");

  auto text =
      fmt::format("replication slot \"{}\" {}", slot, created ? "created" : "exists already");
  // "Ready" is only what the server confirms; before 15 there is no command to ask it.
  const auto ask = [&] {
    try {
      return pq::read_replication_slot(connection, slot);
    } catch (Error& error) {
      if (!created) throw;
      throw error.hint(
          fmt::format("The slot was made, and keeps WAL until it is dropped: SELECT "
                      "pg_drop_replication_slot('{}').",
                      slot));
    }
  };
  if (const auto state = ask()) {
    if (!state->exists || state->type != "physical")
      throw Error(ErrorKind::refused,
                  fmt::format("replication slot \"{}\" is not a physical one", slot))
          .with("server", connection.server_name())
          .hint("WAL can be archived through a physical slot only; choose another name.");
    if (!state->restart_lsn)
      throw Error(ErrorKind::refused, fmt::format("replication slot \"{}\" keeps no WAL", slot))
          .with("server", connection.server_name())
          .hint("It was made without reserving WAL, or was invalidated: drop it and create it. " +
                pq::why_invalidated(std::nullopt, connection.server_major()));
    text += fmt::format("; WAL is kept from {} on", *state->restart_lsn);
    if (state->restart_timeline) text += fmt::format(" (timeline {})", *state->restart_timeline);
  }
  print(text + "\n");
  return kDone;
}

int drop(const Arguments& arguments, const std::string& conninfo) {
  refuse(arguments, "drop", {"if-not-exists", "json"});
  const auto slot = required_slot(arguments, "drop");
  const net::Wake never;
  auto connection = pq::Connection::open({.conninfo = conninfo}, never);
  try {
    pq::drop_slot(connection, slot);
  } catch (const Error& error) {
    constexpr std::string_view kUndefinedObject = "42704";
    if (error.sqlstate() != kUndefinedObject) throw;
    if (!arguments.has("if-exists"))
      throw Error(ErrorKind::refused, fmt::format("replication slot \"{}\" does not exist", slot))
          .with("server", connection.server_name())
          .hint("\"pgweir slot list\" shows those that do; with --if-exists this is no error.");
    print(fmt::format("replication slot \"{}\" does not exist\n", slot));
    return kDone;
  }
  print(fmt::format("replication slot \"{}\" dropped\n", slot));
  return kDone;
}

std::optional<std::int64_t> number(const std::optional<std::string>& text) {
  if (!text) return std::nullopt;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size()) return std::nullopt;
  return value;
}

int list(const Arguments& arguments, const std::string& conninfo) {
  refuse(arguments, "list", {"if-not-exists", "if-exists", "slot"});
  const net::Wake never;
  auto connection = pq::Connection::open(
      {.conninfo = ordinary_conninfo(conninfo), .replication = pq::Replication::none}, never);
  const std::string reason =
      connection.server_major() >= 17 ? "invalidation_reason::text" : "NULL::text";
  const auto rows = connection.execute(
      "SELECT slot_name, slot_type, active, restart_lsn, wal_status, safe_wal_size, "
      "pg_catalog.pg_wal_lsn_diff(CASE WHEN pg_catalog.pg_is_in_recovery() THEN "
      "coalesce(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn()) "
      "ELSE pg_catalog.pg_current_wal_lsn() END, restart_lsn)::bigint, " +
      reason +
      ", plugin, database, confirmed_flush_lsn, pg_catalog.age(coalesce(catalog_xmin, xmin))"
      " FROM pg_catalog.pg_replication_slots ORDER BY slot_name");
  std::vector<SlotRow> slots;
  for (const auto& row : rows) {
    SlotRow slot;
    slot.name = row[0].value_or("");
    slot.type = row[1].value_or("");
    slot.view.exists = true;
    slot.view.active = row[2] == "t";
    slot.restart_lsn = row[3];
    slot.view.wal_status = row[4].value_or("");
    slot.view.safe_wal_size = number(row[5]);
    slot.view.retained = number(row[6]);
    slot.view.invalidation_reason = row[7];
    slot.plugin = row[8];
    slot.database = row[9];
    slot.confirmed_lsn = row[10];
    slot.xmin_age = number(row[11]);
    slots.push_back(std::move(slot));
  }
  print(arguments.has("json") ? slots_json(slots) + "\n" : slots_text(slots));
  return kDone;
}

}  // namespace

std::vector<Option> slot_option_list() {
  auto list = connection_options();
  list.push_back({"slot", 'S'});
  list.push_back({"if-not-exists", '\0', false});
  list.push_back({"if-exists", '\0', false});
  list.push_back({"json", '\0', false});
  list.push_back({"config", 'c', true, false});
  list.push_back({"help", '?', false, false});
  return list;
}

int slot_command(const Words& words) {
  auto arguments = Arguments::parse(slot_option_list(), words, 1);
  if (arguments.has("help")) {
    print(slot_help());
    return kDone;
  }
  add_config(arguments, "slot");
  if (arguments.words().empty())
    throw Error(ErrorKind::usage, "what to do with a slot?")
        .hint("create, drop or list; see \"pgweir slot --help\".");
  const auto& verb = arguments.words().front();
  const auto conninfo = conninfo_of(arguments);
  if (verb == "create") return create(arguments, conninfo);
  if (verb == "drop") return drop(arguments, conninfo);
  if (verb == "list") return list(arguments, conninfo);
  throw Error(ErrorKind::usage, fmt::format("unknown command \"slot {}\"", verb))
      .hint("It can be create, drop or list.");
}

}  // namespace weir::cli

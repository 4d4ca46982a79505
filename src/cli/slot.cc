#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>

#include "base/exit_status.h"
#include "base/text.h"
#include "base/units.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/help.h"
#include "cli/options/common_options.h"
#include "cli/options/connection_options.h"
#include "cli/shared/archive_slots.h"
#include "cli/slot_table.h"
#include "net/wake.h"
#include "pq/commands.h"
#include "pq/connection.h"
#include "pq/conninfo.h"
#include "pq/slot_view.h"
#include "relay/entrance_state.h"
#include "relay/slots_report.h"
#include "relay/sockets.h"

namespace weir::cli {

namespace {

using namespace std::chrono_literals;

std::string existing_slot_value(const std::string& text) {
  if (text.empty()) throw Error(ErrorKind::usage, "invalid slot name");
  return text;
}
/// For drop: earlier versions of "pgweir serve" accepted other names, too.
constexpr auto kAnySlot =
    shared_option(option_of<existing_slot_value>('S', "slot", "NAME", "name of the slot"));
constexpr OfVerbs kOfCreate{"create"};
constexpr OfVerbs kOfDrop{"drop"};
constexpr OfVerbs kOfList{"list"};
constexpr OfVerbs kOfOneSlot{"create drop"};
constexpr auto kIfNotExists = flag("if-not-exists", "create: no error if it exists");
constexpr auto kIfExists = flag("if-exists", "drop: no error if it does not exist");
constexpr auto kSlotJson = flag("json", "list: JSON output");
constexpr auto kAllHosts = flag(
    "all-hosts",
    "on each host of the connection string, regardless of its role; not only on the first one");
// A file's "directory" is for all commands: it does not say that no server is used.
constexpr Relation kNoDirectory{.others = {{.option = kDirectory, .command_line = true}},
                                .command_line = true};
constexpr Option kSlotOptions[] = {
    kDirectory.says(
        "list, drop: slots of pgweir serve for this archive, whether it is running or not"),
    kAnySlot.with({.verbs = &kOfOneSlot}),
    kIfNotExists.with({.verbs = &kOfCreate}),
    kIfExists.with({.verbs = &kOfDrop}),
    kSlotJson.with({.verbs = &kOfList}),
};
constexpr Option kSlotServer[] = {
    kAllHosts,
    kDbname.says("connection string, URI, or database name; list uses a regular connection, by "
                 "default to the database postgres"),
    kHost,
    kPort,
    kUsername,
    kNoPassword,
};
constexpr Option kSlotGeneral[] = {kConfig, kHelp};

std::string required_slot(const Arguments& arguments, const std::string& verb) {
  const auto slot = arguments.get(kAnySlot);
  if (!slot) throw Error(ErrorKind::usage, fmt::format("slot {} needs --slot NAME", verb));
  if (verb == "drop") return *slot;
  try {
    return slot_value(*slot);
  } catch (const Error& error) {
    throw Error(ErrorKind::usage, fmt::format("wrong value \"{}\" of {}: {}", *slot,
                                              arguments.source(kAnySlot), error.what()))
        .hint(error.hint());
  }
}

/// The target: one host of the connection string, or the first suitable one.
struct SlotHost {
  std::string conninfo;
  std::optional<std::size_t> host = std::nullopt;

  [[nodiscard]] pq::Connection connect(pq::Replication replication, const net::Wake& stop) const {
    return pq::Connection::open(
        {.conninfo = replication == pq::Replication::none ? ordinary_conninfo(conninfo) : conninfo,
         .replication = replication,
         .first_host = host.value_or(0),
         .only_first_host = host.has_value(),
         .any_role = host.has_value()},
        stop);
  }
};

std::vector<std::string> host_names(const std::string& conninfo) {
  std::vector<std::string> names;
  for (const auto& host : pq::hosts_of(conninfo)) names.push_back(host.to_string());
  return names;
}

/// Does it on each host, even after one where it failed. Returns the most severe status.
template <typename Function>
int on_all_hosts(const std::string& conninfo, Function&& function) {
  const auto names = host_names(conninfo);
  int status = kDone;
  for (std::size_t i = 0; i < names.size(); ++i) {
    try {
      function(names[i], SlotHost{conninfo, i});
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::usage) throw;
      print_error(error);
      status = std::max(status, exit_status(error.kind()));
    }
  }
  return status;
}

std::string create(const Arguments& arguments, const SlotHost& target) {
  const auto slot = required_slot(arguments, "create");
  const net::Wake never;
  auto connection = target.connect(pq::Replication::physical, never);
  const bool created = pq::create_physical_slot(connection, slot);
  if (!created && !arguments.has(kIfNotExists))
    throw Error(ErrorKind::refused, fmt::format("replication slot \"{}\" exists already", slot))
        .with("server", connection.server_name())
        .hint("With --if-not-exists, this is not an error.");

  auto text =
      fmt::format("replication slot \"{}\" {}", slot, created ? "created" : "exists already");
  // "Ready" is only written if the server confirms it; before 15 there is no command to query it.
  const auto ask = [&] {
    try {
      return pq::read_replication_slot(connection, slot);
    } catch (Error& error) {
      if (!created) throw;
      throw error.hint(
          fmt::format("The slot was created, and retains WAL until it is dropped: SELECT "
                      "pg_drop_replication_slot('{}').",
                      slot));
    }
  };
  if (const auto state = ask()) {
    if (!state->exists || state->type != "physical")
      throw Error(ErrorKind::refused,
                  fmt::format("replication slot \"{}\" is not a physical one", slot))
          .with("server", connection.server_name())
          .hint("Archiving needs a physical slot. Choose another name.");
    if (!state->restart_lsn)
      throw Error(ErrorKind::refused, fmt::format("replication slot \"{}\" keeps no WAL", slot))
          .with("server", connection.server_name())
          .hint("It was created without reserving WAL, or was invalidated. Drop and recreate it. " +
                pq::why_invalidated(std::nullopt, connection.server_major()));
    text += fmt::format("; WAL is retained from {} on", *state->restart_lsn);
    if (state->restart_timeline) text += fmt::format(" (timeline {})", *state->restart_timeline);
  }
  return text + "\n";
}

std::string drop(const Arguments& arguments, const SlotHost& target) {
  const auto slot = required_slot(arguments, "drop");
  const net::Wake never;
  auto connection = target.connect(pq::Replication::physical, never);
  try {
    pq::drop_slot(connection, slot);
  } catch (const Error& error) {
    constexpr std::string_view kUndefinedObject = "42704";
    if (error.sqlstate() != kUndefinedObject) throw;
    if (!arguments.has(kIfExists))
      throw Error(ErrorKind::refused, fmt::format("replication slot \"{}\" does not exist", slot))
          .with("server", connection.server_name())
          .hint(
              "\"pgweir slot list\" shows the existing slots. With --if-exists, this is not an "
              "error.");
    return fmt::format("replication slot \"{}\" does not exist\n", slot);
  }
  return fmt::format("replication slot \"{}\" dropped\n", slot);
}

/// nullopt: that is a relay, which has no SQL.
std::optional<pq::Connection> open_for_sql(const SlotHost& target, const net::Wake& never) {
  try {
    return target.connect(pq::Replication::none, never);
  } catch (const Error& error) {
    if (error.message().find(relay::kReplicationOnly) == std::string::npos) throw;
    return std::nullopt;
  }
}

std::vector<SlotRow> list_of_relay(const SlotHost& target, const net::Wake& never) {
  auto connection = target.connect(pq::Replication::physical, never);
  const auto rows = connection.execute(fmt::format("SHOW {}", relay::kSlotsSetting));
  const bool told = rows.size() == 1 && rows[0].size() == 1 && rows[0][0];
  std::vector<SlotRow> slots;
  for (const auto& slot : slots_of_report(told ? *rows[0][0] : "", connection.server_name()))
    slots.push_back(row_of(slot));
  return slots;
}

std::vector<SlotRow> list(const SlotHost& target) {
  const net::Wake never;
  auto opened = open_for_sql(target, never);
  if (!opened) return list_of_relay(target, never);
  auto& connection = *opened;
  std::vector<SlotRow> slots;
  for (auto& each : pq::read_slots(connection)) {
    SlotRow slot;
    slot.name = std::move(each.name);
    slot.type = std::move(each.type);
    slot.view = std::move(each.view);
    slot.restart_lsn = std::move(each.restart_lsn);
    slot.plugin = std::move(each.plugin);
    slot.database = std::move(each.database);
    slot.confirmed_lsn = std::move(each.confirmed_lsn);
    slot.xmin_age = each.xmin_age;
    slots.push_back(std::move(slot));
  }
  return slots;
}

int create_command(const Arguments& arguments, const std::string& conninfo) {
  if (!arguments.has(kAllHosts)) {
    print(create(arguments, {conninfo}));
    return kDone;
  }
  return on_all_hosts(conninfo, [&](const std::string& host, const SlotHost& target) {
    print(fmt::format("{}: {}", host, create(arguments, target)));
  });
}

int drop_command(const Arguments& arguments, const std::string& conninfo) {
  if (!arguments.has(kAllHosts)) {
    print(drop(arguments, {conninfo}));
    return kDone;
  }
  return on_all_hosts(conninfo, [&](const std::string& host, const SlotHost& target) {
    print(fmt::format("{}: {}", host, drop(arguments, target)));
  });
}

int list_command(const Arguments& arguments, const std::string& conninfo) {
  const bool json = arguments.has(kSlotJson);
  if (!arguments.has(kAllHosts)) {
    const auto slots = list({conninfo});
    if (json)
      print_data(slots_json(slots) + "\n");
    else
      print(slots_text(slots));
    return kDone;
  }
  auto all = nlohmann::json::array();
  const auto status = on_all_hosts(conninfo, [&](const std::string& host, const SlotHost& target) {
    try {
      const auto slots = list(target);
      if (!json) print(fmt::format("{}:\n{}", host, slots_text(slots)));
      all.push_back({{"host", host}, {"slots", nlohmann::json::parse(slots_json(slots))}});
    } catch (const Error& error) {
      all.push_back({{"host", host}, {"error", error.what()}});
      throw;
    }
  });
  // A server's messages need not be UTF-8.
  if (json) print_data(all.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  return status;
}

/// Without a server.
int slot_of_archive(const Arguments& arguments, std::string_view verb) {
  const auto directory = required_directory(arguments);
  if (verb == "create")
    throw Error(ErrorKind::usage,
                "slots of an archive are created over a connection to pgweir "
                "serve")
        .hint(
            "Use \"pgweir slot create -d 'host=… port=…'\" with the address on which \"pgweir "
            "serve\" listens, or let pg_receivewal create the slot.");
  if (verb == "list") {
    std::vector<SlotRow> slots;
    for (const auto& slot : list_archive_slots(directory, relay::SlotsSocket::kAskTime))
      slots.push_back(row_of(slot));
    if (arguments.has(kSlotJson))
      print_data(slots_json(slots) + "\n");
    else
      print(slots_text(slots));
    return kDone;
  }
  const auto slot = required_slot(arguments, "drop");
  const bool dropped = drop_archive_slot(directory, slot);
  if (!dropped && !arguments.has(kIfExists))
    throw Error(ErrorKind::refused, fmt::format("replication slot \"{}\" does not exist", slot))
        .with("directory", directory)
        .hint(
            "\"pgweir slot list -D\" shows the existing slots. With --if-exists, this is not "
            "an error.");
  print(fmt::format("replication slot \"{}\" {}\n", slot, dropped ? "dropped" : "does not exist"));
  return kDone;
}

int slot_command(const Arguments& arguments) {
  const auto verb = arguments.verb();
  if (arguments.on_command_line(kDirectory)) return slot_of_archive(arguments, verb);
  const auto conninfo = conninfo_of(arguments);
  if (verb == "create") return create_command(arguments, conninfo);
  if (verb == "drop") return drop_command(arguments, conninfo);
  return list_command(arguments, conninfo);
}

constexpr CommandVerb kSlotVerbs[] = {{"create"}, {"drop"}, {"list"}};
constexpr OptionGroup kSlotGroups[] = {
    {"Options:", kSlotOptions},
    {.options = kSlotServer, .rules = {.excludes = &kNoDirectory}},
    {.options = kSlotGeneral}};

}  // namespace

constinit const Command kSlotCommand = {
    .name = "slot",
    .summary = "create, drop or list replication slots",
    .about = R"(pgweir slot creates, drops and lists replication slots.

Usage:
  pgweir slot create -S NAME [-d CONNINFO] [--if-not-exists] [--all-hosts]
  pgweir slot drop   -S NAME [-d CONNINFO] [--if-exists] [--all-hosts]
  pgweir slot list   [-d CONNINFO] [--json] [--all-hosts]
  pgweir slot list   -D DIRECTORY [--json]
  pgweir slot drop   -D DIRECTORY -S NAME [--if-exists]

  create   create a physical slot that reserves WAL immediately; report its
           restart_lsn
  drop     drop an unused slot; the server can then remove the WAL it retained
  list     list all slots, the WAL they retain, and whether one may be
           invalidated

With -D, the slots are those of "pgweir serve" for an archive, whether it is
running or not. WAL that they retain is not removed by "pgweir prune".
)",
    .groups = kSlotGroups,
    .notes = R"(Examples:
  pgweir slot create -S weir -d "host=db1 user=repl"
  pgweir slot list -h db1 -U postgres
  pgweir slot drop -S weir -d "host=db1,db2 user=repl" --all-hosts --if-exists

An unused slot retains WAL until the server's disk is full, unless
max_slot_wal_keep_size limits it: drop slots that you do not need.

Exit status: 0 done; 2 invalid options; 3 temporary failure (no connection, slot
in use); 4 manual intervention required (the slot exists already or does not
exist, insufficient privilege).
)",
    .most_words = 1,
    .verbs = kSlotVerbs,
    .run = slot_command,
};

}  // namespace weir::cli

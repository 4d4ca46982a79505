#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "wal/lsn.h"
#include "wire/backend_messages.h"

namespace weir::relay {

/// A client's command to a walsender, one type for each command of its grammar
/// (replication/repl_gram.y).
namespace command {

/// As CREATE_REPLICATION_SLOT accepts them: "name", "name 'value'", "name 1".
struct Option {
  std::string name;
  std::optional<std::string> value;
  bool operator==(const Option&) const = default;
};

struct IdentifySystem {
  bool operator==(const IdentifySystem&) const = default;
};
struct Show {
  std::string name;
  bool operator==(const Show&) const = default;
};
struct TimelineHistory {
  wal::TimelineId timeline = 0;
  bool operator==(const TimelineHistory&) const = default;
};
struct ReadSlot {
  std::string slot;
  bool operator==(const ReadSlot&) const = default;
};
struct CreateSlot {
  std::string slot;
  bool temporary = false;
  std::optional<std::string> plugin;  ///< of a logical one
  std::vector<Option> options;
  bool operator==(const CreateSlot&) const = default;
};
struct DropSlot {
  std::string slot;
  bool wait = false;
  bool operator==(const DropSlot&) const = default;
};
struct StartReplication {
  std::optional<std::string> slot;
  wal::Lsn start;
  wal::TimelineId timeline = 0;  ///< 0: the server's newest
  bool operator==(const StartReplication&) const = default;
};
struct StartLogical {
  std::string slot;
  bool operator==(const StartLogical&) const = default;
};
/// Its options are checked by the server that takes it.
struct BaseBackup {
  std::string text;  ///< the command, as received
  bool operator==(const BaseBackup&) const = default;
};
/// Anything else: a walsender takes it for SQL.
struct Sql {
  bool operator==(const Sql&) const = default;
};

}  // namespace command

using Command = std::variant<command::IdentifySystem, command::Show, command::TimelineHistory,
                             command::ReadSlot, command::CreateSlot, command::DropSlot,
                             command::StartReplication, command::StartLogical, command::BaseBackup,
                             command::Sql>;

/// Parses a command as a walsender does: keywords are in capitals, other names are folded to lower
/// case unless they are quoted, one semicolon may follow. The report is a walsender's error for an
/// invalid command. Pure.
[[nodiscard]] std::variant<Command, wire::ErrorReport> parse_command(std::string_view text);

/// PostgreSQL's NAMEDATALEN: a name has fewer bytes.
inline constexpr std::size_t kNameLength = 64;

}  // namespace weir::relay

#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "relay/slots_state.h"
#include "wal/lsn.h"

namespace weir::relay {

/// A relay answers SHOW of this with a SlotsReport: a walsender has no command that lists slots.
inline constexpr std::string_view kSlotsSetting = "pgweir.replication_slots";

/// The answer to `pgweir slot` from the process that has the slots, as JSON. Pure.
struct SlotsReport {
  wal::Lsn end;  ///< up to where WAL is served
  std::vector<Slot> slots{};
};
[[nodiscard]] std::string to_json(const SlotsReport& report);
/// Returns nullopt if it is not valid.
[[nodiscard]] std::optional<SlotsReport> parse_slots_report(const std::string& json);

/// The answer to "drop NAME": nothing, or the SQLSTATE and the message.
[[nodiscard]] std::string drop_answer(const std::optional<wire::ErrorReport>& refused);
struct DropAnswer {
  bool done = false;
  std::string sqlstate{};
  std::string message{};
};
[[nodiscard]] DropAnswer parse_drop_answer(const std::string& json);

}  // namespace weir::relay

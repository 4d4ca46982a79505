#pragma once

#include <optional>
#include <string>
#include <vector>

#include "relay/slots_state.h"
#include "wal/lsn.h"

namespace weir::relay {

/// What `pgweir slot -D` hears of the process that has the slots, as JSON. Pure.
struct SlotsReport {
  wal::Lsn end;  ///< up to where WAL is served
  std::vector<Slot> slots{};
};
[[nodiscard]] std::string to_json(const SlotsReport& report);
/// nullopt: it is none.
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

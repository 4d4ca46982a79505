#pragma once

#include <optional>
#include <span>
#include <string>

#include "archive/serving_view.h"
#include "receive/slot_guard.h"

namespace weir::cli {

/// A row of `pgweir slot list`.
struct SlotRow {
  std::string name;
  std::string type;
  std::optional<std::string> restart_lsn;
  receive::SlotView view;
  // of a logical slot
  std::optional<std::string> plugin = std::nullopt;
  std::optional<std::string> database = std::nullopt;
  std::optional<std::string> confirmed_lsn = std::nullopt;
  /// Number of transactions since those whose dead rows the slot keeps from vacuum; for a physical
  /// slot with hot_standby_feedback, too.
  std::optional<std::int64_t> xmin_age = std::nullopt;
  /// For a slot of the relay: since when it is unused.
  std::optional<std::string> inactive_since = std::nullopt;
  /// It is one of the relay's.
  std::optional<archive::ServedSlot> served = std::nullopt;
};

/// The slot's problem or its high cost; nullopt if there is none. An unused slot counts only if it
/// retains 1 GB or more.
[[nodiscard]] std::optional<std::string> slot_warning(const SlotRow& slot);

/// A table, and a line for each warning.
[[nodiscard]] std::string slots_text(std::span<const SlotRow> slots);
/// An array of objects; documented in docs/status.md.
[[nodiscard]] std::string slots_json(std::span<const SlotRow> slots);

}  // namespace weir::cli

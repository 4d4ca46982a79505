#include "cli/slot_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/units.h"

namespace weir::cli {

namespace {

constexpr std::int64_t kMuch = std::int64_t{1} << 30;
constexpr std::int64_t kOld = 50'000'000;  // a quarter of autovacuum_freeze_max_age's default

std::string size(const std::optional<std::int64_t>& bytes) {
  if (!bytes) return "-";
  if (*bytes < 0) return "0 B";  // a standby's receive position can be before the slot's
  return format_size(static_cast<std::uint64_t>(*bytes));
}

}  // namespace

std::optional<std::string> slot_warning(const SlotRow& slot) {
  if (slot.served) return archive::warning_of(*slot.served);
  const auto& view = slot.view;
  if (view.invalidation_reason || view.wal_status == "lost")
    return fmt::format(
        "\"{}\" is lost ({}): the server has removed WAL that it needs, so it can no longer be "
        "used; drop it",
        slot.name, view.invalidation_reason.value_or("wal_status lost"));
  if (view.wal_status == "unreserved")
    return fmt::format(
        "\"{}\" retains {}, more than max_slot_wal_keep_size allows: the next checkpoint may "
        "invalidate it",
        slot.name, size(view.retained));
  if (!view.active && view.retained && *view.retained >= kMuch)
    return fmt::format(
        "\"{}\" retains {} and is not in use: start its receiver, or drop it before the server's "
        "disk is full",
        slot.name, size(view.retained));
  if (slot.xmin_age && *slot.xmin_age >= kOld)
    return fmt::format(
        "\"{}\" prevents vacuum from removing rows that are dead since the last {} million "
        "transactions: start its receiver, or drop it before the tables become bloated",
        slot.name, *slot.xmin_age / 1'000'000);
  return std::nullopt;
}

std::string slots_text(std::span<const SlotRow> slots) {
  if (slots.empty()) return "no replication slots\n";
  const bool logical =
      std::any_of(slots.begin(), slots.end(), [](const auto& slot) { return slot.plugin; });
  using Cells = std::vector<std::string>;
  std::vector<Cells> table = {
      {"name", "type", "active", "restart_lsn", "wal_status", "safe_wal_size", "retained"}};
  const bool since =
      std::any_of(slots.begin(), slots.end(), [](const auto& slot) { return slot.inactive_since; });
  if (since) table[0].push_back("inactive_since");
  if (logical) table[0].insert(table[0].end(), {"confirmed", "plugin", "database"});
  for (const auto& slot : slots) {
    table.push_back({slot.name, slot.type, slot.view.active ? "yes" : "no",
                     slot.restart_lsn.value_or("-"),
                     slot.view.wal_status.empty() ? "-" : slot.view.wal_status,
                     size(slot.view.safe_wal_size), size(slot.view.retained)});
    if (since) table.back().push_back(slot.inactive_since.value_or("-"));
    if (logical)
      table.back().insert(table.back().end(),
                          {slot.confirmed_lsn.value_or("-"), slot.plugin.value_or("-"),
                           slot.database.value_or("-")});
  }
  std::vector<std::size_t> widths(table[0].size());
  for (const auto& row : table)
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());

  std::string text;
  for (const auto& row : table) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i)
      line += fmt::format("{:<{}}{}", row[i], widths[i], i + 1 < row.size() ? "  " : "");
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  for (const auto& slot : slots)
    if (const auto warning = slot_warning(slot)) text += fmt::format("warning: {}\n", *warning);
  return text;
}

std::string slots_json(std::span<const SlotRow> slots) {
  auto json = nlohmann::json::array();
  const auto or_null = [](const auto& value) {
    return value ? nlohmann::json(*value) : nlohmann::json(nullptr);
  };
  for (const auto& slot : slots) {
    nlohmann::json one;
    one["name"] = slot.name;
    one["type"] = slot.type;
    one["active"] = slot.view.active;
    one["restart_lsn"] = or_null(slot.restart_lsn);
    one["wal_status"] = slot.view.wal_status;
    if (slot.view.wal_status.empty()) one["wal_status"] = nullptr;
    one["safe_wal_size"] = or_null(slot.view.safe_wal_size);
    one["retained_bytes"] = or_null(slot.view.retained);
    one["invalidation_reason"] = or_null(slot.view.invalidation_reason);
    one["plugin"] = or_null(slot.plugin);
    one["database"] = or_null(slot.database);
    one["confirmed_flush_lsn"] = or_null(slot.confirmed_lsn);
    one["xmin_age"] = or_null(slot.xmin_age);
    if (slot.inactive_since) one["inactive_since"] = *slot.inactive_since;
    one["warning"] = or_null(slot_warning(slot));
    json.push_back(std::move(one));
  }
  // The name of a database need not be UTF-8.
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace weir::cli

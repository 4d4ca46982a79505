#include "archive/serving_view.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/units.h"

namespace weir::archive {

namespace {

constexpr std::uint64_t kMuch = std::uint64_t{1} << 30;

}  // namespace

std::uint64_t retained_by(const KeptSlot& slot, wal::Lsn end) {
  if (slot.lost || !slot.restart_lsn.valid() || end <= slot.restart_lsn) return 0;
  return end - slot.restart_lsn;
}

std::optional<std::string> warning_of(const ServedSlot& slot) {
  const auto& name = slot.kept.name;
  if (slot.kept.lost)
    return fmt::format(
        "the replication slot \"{}\" is lost (--serve-max-slot-wal-keep-size), and its client is "
        "rejected; drop the slot and create it again: the archive may still have the WAL that the "
        "client needs",
        name);
  if (!slot.active_pid && slot.retained >= kMuch)
    return fmt::format(
        "the replication slot \"{}\" retains {} that pgweir prune would remove, and has been "
        "unused{}: start its client, or drop the slot before the disk is full",
        name, format_size(slot.retained),
        slot.kept.inactive_since.empty() ? "" : " since " + slot.kept.inactive_since);
  return std::nullopt;
}

std::optional<std::uint64_t> bytes_behind(const DownstreamClient& client, wal::Lsn end) {
  if (client.timeline == 0 || (client.state != "streaming" && client.state != "catchup"))
    return std::nullopt;
  const auto reached = client.replay.valid() ? client.replay : client.flush;
  if (!reached.valid()) return std::nullopt;
  return reached < end ? end - reached : 0;
}

std::vector<DownstreamClient> furthest_behind_first(std::vector<DownstreamClient> clients) {
  std::stable_sort(clients.begin(), clients.end(), [](const auto& a, const auto& b) {
    return a.behind.value_or(0) > b.behind.value_or(0);
  });
  return clients;
}

}  // namespace weir::archive

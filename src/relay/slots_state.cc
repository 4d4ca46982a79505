// A slot's change is durable at once if the slot holds more as a result, and later if it holds less
// (`relay::SlotsState::due()`). The file may therefore lag behind the relay, and then retains more
// than is needed: `prune` reads it without asking the relay. For the same reason, the xmins sent
// upstream (`SlotsState::held()`) are what a restart would find in the file, or earlier: an
// upstream that is once told "none" lets vacuum proceed, which cannot be undone. Sessions only note
// their clients' feedback; the slots' own thread writes, so a disk that hangs delays no streaming.

#include "relay/slots_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "relay/command.h"

namespace weir::relay {

namespace {

using archive::KeptSlot;
using wire::ErrorReport;

/// Reserved by servers since 19 (CONFLICT_DETECTION_SLOT in replication/slot.h).
constexpr std::string_view kReservedName = "pg_conflict_detection";

/// 0 is unset, and retains nothing.
bool holds_more(std::uint64_t now, std::uint64_t saved) {
  return now != 0 && (saved == 0 || now < saved);
}

/// The value of one xmin that may be reported upstream: a restart finds `saved` in the file, and
/// reports that. A newer value would be revoked then.
std::uint64_t said_upstream(std::uint64_t now, std::uint64_t saved) {
  return holds_more(now, saved) ? saved : now;
}

std::uint64_t earlier(std::uint64_t a, std::uint64_t b) {
  if (a == 0 || b == 0) return std::max(a, b);
  return std::min(a, b);
}

void take_in(std::uint64_t& held, std::uint64_t asked) {
  if (held == 0 || asked == 0 || held < asked) held = asked;
}

}  // namespace

std::optional<ErrorReport> wrong_slot_name(const std::string& name) {
  if (name.empty()) return ErrorReport{"42602", "replication slot name \"\" is too short"};
  if (name.size() >= kNameLength)
    return ErrorReport{"42622", fmt::format("replication slot name \"{}\" is too long", name)};
  const bool fits = std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  });
  if (name == kReservedName)
    return ErrorReport{
        "42939",
        fmt::format("replication slot name \"{}\" is reserved", name),
        {},
        fmt::format("The name \"{}\" is reserved for the conflict detection slot.", name)};
  if (fits) return std::nullopt;
  return ErrorReport{
      "42602",
      fmt::format("replication slot name \"{}\" contains invalid character", name),
      {},
      "Replication slot names may only contain lower case letters, numbers, and the underscore "
      "character."};
}

SlotsState::SlotsState(std::vector<KeptSlot> kept) {
  for (auto& each : kept) {
    // If two have the same name, the one that retains more WAL counts.
    const auto* const known = saved(each.name);
    if (known != nullptr && !holds_more(each.restart_lsn.byte(), known->restart_lsn.byte()))
      continue;
    saved_[each.name] = each;
    const auto name = each.name;
    slots_[name] = Slot{.kept = std::move(each)};
  }
}

SlotsState::Refusal SlotsState::create(SessionId session, const std::string& name, bool temporary,
                                       wal::Lsn restart_lsn, const std::string& now) {
  if (auto wrong = wrong_slot_name(name)) return wrong;
  if (slots_.contains(name))
    return ErrorReport{"42710", fmt::format("replication slot \"{}\" already exists", name)};
  if (slots_.size() >= kMost)
    return ErrorReport{"53400", "all replication slots are in use",
                       fmt::format("This is pgweir, which supports at most {} slots.", kMost),
                       "Drop unused slots."};
  slots_[name] = {.kept = {.name = name, .restart_lsn = restart_lsn, .created = now},
                  .temporary = temporary,
                  .active = session};
  used_[session] = name;
  return std::nullopt;
}

SlotsState::Acquired SlotsState::acquire(SessionId session, const std::string& name,
                                         Invalid invalid) {
  const auto found = slots_.find(name);
  if (found == slots_.end())
    return ErrorReport{"42704", fmt::format("replication slot \"{}\" does not exist", name)};
  auto& slot = found->second;
  if (slot.active && *slot.active != session)
    return Busy{
        {"55006", fmt::format("replication slot \"{}\" is active for PID {}", name, *slot.active)}};
  // With the wording of PostgreSQL 18's ReplicationSlotAcquire(); 13 to 16 start, and fail at the
  // missing WAL.
  if (slot.kept.lost && invalid == Invalid::refused)
    return ErrorReport{
        "55000", fmt::format("can no longer access replication slot \"{}\"", name),
        "This replication slot has been invalidated due to \"wal_removed\".",
        "Drop and recreate it; the archive may still have the WAL that its client needs."};
  slot.active = session;
  slot.kept.inactive_since.clear();
  used_[session] = name;
  return std::monostate{};
}

void SlotsState::remove(const std::string& name) { slots_.erase(name); }

void SlotsState::release(SessionId session, const std::string& now) {
  auto* const slot = used_by(session);
  used_.erase(session);
  if (slot == nullptr || slot->temporary) return;
  slot->active.reset();
  slot->kept.inactive_since = now;
}

void SlotsState::clean_up(SessionId session, const std::string& now) {
  release(session, now);
  std::erase_if(slots_, [&](const auto& each) {
    return each.second.temporary && each.second.active == session;
  });
}

const Slot* SlotsState::find(const std::string& name) const {
  const auto found = slots_.find(name);
  return found == slots_.end() ? nullptr : &found->second;
}

std::vector<Slot> SlotsState::all() const {
  std::vector<Slot> all;
  for (const auto& [name, slot] : slots_) all.push_back(slot);
  return all;
}

void SlotsState::on_flush(SessionId session, wal::Lsn flush) {
  auto* const slot = used_by(session);
  if (slot == nullptr || slot->kept.lost || flush == wal::Lsn()) return;
  slot->kept.restart_lsn = flush;
}

bool SlotsState::on_feedback(SessionId session, Xmins asked) {
  auto* const slot = used_by(session);
  if (slot == nullptr) return false;
  take_in(slot->kept.xmin, asked.xmin);
  take_in(slot->kept.catalog_xmin, asked.catalog_xmin);
  return true;
}

Xmins SlotsState::held() const {
  Xmins held;
  for (const auto& [name, slot] : slots_) {
    if (slot.kept.lost) continue;
    // A temporary slot does not exist after a restart, and neither does its client.
    const auto* const file = slot.temporary ? &slot.kept : saved(name);
    const KeptSlot none;
    const auto& kept = file == nullptr ? none : *file;
    held.xmin = earlier(held.xmin, said_upstream(slot.kept.xmin, kept.xmin));
    held.catalog_xmin =
        earlier(held.catalog_xmin, said_upstream(slot.kept.catalog_xmin, kept.catalog_xmin));
  }
  return held;
}

std::vector<SlotsState::Lost> SlotsState::enforce(wal::Lsn end, wal::SegmentSize size,
                                                  std::uint64_t keep) {
  std::vector<Lost> lost;
  const auto now = size.segno(end);
  for (auto& [name, slot] : slots_) {
    auto& kept = slot.kept;
    if (kept.lost || kept.restart_lsn == wal::Lsn() || kept.restart_lsn >= end) continue;
    if (now - size.segno(kept.restart_lsn) <= keep / size.bytes()) continue;
    lost.push_back({name, kept.restart_lsn, slot.active});
    kept.lost = true;
  }
  return lost;
}

bool SlotsState::evicted(SessionId session) const {
  const auto used = used_.find(session);
  if (used == used_.end()) return false;
  const auto* const slot = find(used->second);
  return slot == nullptr || slot->kept.lost || slot->active != session;
}

SlotsState::Due SlotsState::due() const {
  auto due = Due::nothing;
  std::size_t permanent = 0;
  for (const auto& [name, slot] : slots_) {
    if (slot.temporary) continue;
    ++permanent;
    const auto* const file = saved(name);
    const auto& kept = slot.kept;
    if (file == nullptr || file->lost != kept.lost ||
        holds_more(kept.restart_lsn.byte(), file->restart_lsn.byte()) ||
        holds_more(kept.xmin, file->xmin) || holds_more(kept.catalog_xmin, file->catalog_xmin))
      return Due::at_once;
    if (*file != kept) due = Due::some_time;
  }
  return permanent == saved_.size() ? due : Due::at_once;  // one was dropped
}

std::vector<KeptSlot> SlotsState::to_save(const std::optional<std::string>& without) const {
  std::vector<KeptSlot> kept;
  for (const auto& [name, slot] : slots_)
    if (!slot.temporary && name != without) kept.push_back(slot.kept);
  return kept;
}

void SlotsState::on_saved(const std::vector<KeptSlot>& kept) {
  saved_.clear();
  for (const auto& each : kept) saved_[each.name] = each;
}

Slot* SlotsState::used_by(SessionId session) {
  const auto used = used_.find(session);
  if (used == used_.end()) return nullptr;
  const auto found = slots_.find(used->second);
  // It may have been dropped, and another session may have created one of that name.
  return found == slots_.end() || found->second.active != session ? nullptr : &found->second;
}

const KeptSlot* SlotsState::saved(const std::string& name) const {
  const auto found = saved_.find(name);
  return found == saved_.end() ? nullptr : &found->second;
}

}  // namespace weir::relay

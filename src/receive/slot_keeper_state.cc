#include "receive/slot_keeper_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/units.h"
#include "pq/slot_view.h"
#include "receive/choose_host.h"

namespace weir::receive {

std::string_view to_string(Cover cover) {
  switch (cover) {
    case Cover::covered:
      return "covered";
    case Cover::not_looked_at:
      return "not_looked_at";
    case Cover::no_answer:
      return "no_answer";
    case Cover::other_cluster:
      return "other_cluster";
    case Cover::other_branch:
      return "other_branch";
    case Cover::second_primary:
      return "second_primary";
    case Cover::no_history:
      return "no_history";
    case Cover::no_slot:
      return "no_slot";
    case Cover::slot_gone:
      return "slot_gone";
    case Cover::not_physical:
      return "not_physical";
    case Cover::reserves_none:
      return "reserves_none";
    case Cover::begins_later:
      return "begins_later";
    case Cover::begin_unknown:
      return "begin_unknown";
    case Cover::in_use:
      return "in_use";
    case Cover::refused:
      return "refused";
    case Cover::validity_unknown:
      return "validity_unknown";
  }
  return "";
}

namespace {

/// Both histories have the same switchpoints for their common timelines, up to `timeline`.
bool same_up_to(const wal::TimelineHistory& a, const wal::TimelineHistory& b,
                wal::TimelineId timeline) {
  const auto before = [&](const wal::TimelineHistory& history) {
    std::vector<wal::TimelineHistory::Ancestor> found;
    for (const auto& each : history.ancestors())
      if (each.timeline < timeline) found.push_back(each);
    return found;
  };
  return a.contains(timeline) && b.contains(timeline) && before(a) == before(b);
}

}  // namespace

std::optional<std::string> left_our_history(const OurEnd& ours, const wal::TimelineHistory& theirs,
                                            wal::Lsn end) {
  const auto our_timeline = ours.history.timeline();
  const auto their_timeline = theirs.timeline();
  const auto older = std::min(our_timeline, their_timeline);
  if (!same_up_to(ours.history, theirs, older))
    return fmt::format(
        "its timeline {} is another branch of the cluster's history than timeline {}, which is "
        "archived",
        their_timeline, our_timeline);
  if (their_timeline > our_timeline) {
    const auto left = *theirs.end_of(our_timeline);
    if (ours.durable <= left) return std::nullopt;
    return fmt::format(
        "it is on timeline {}, which left timeline {} at {}, and the archive has that up to {}",
        their_timeline, our_timeline, left, ours.durable);
  }
  if (their_timeline < our_timeline) {
    const auto left = *ours.history.end_of(their_timeline);
    if (end <= left) return std::nullopt;
    return fmt::format(
        "it is still on timeline {} and has that up to {}, beyond {}, where timeline {} started: "
        "it appears to be an old primary that must be rewound",
        their_timeline, end, left, *ours.history.successor_of(their_timeline));
  }
  return std::nullopt;
}

void SlotKeeperState::begin(OurEnd ours, int major, std::optional<bool> standby) {
  ours_ = std::move(ours);
  major_ = major;
  primary_ = standby == false;
  identity_.reset();
  history_.reset();
  ours_is_theirs_ = first_wal_read_ = missing_ = created_ = found_gone_ = done_ = false;
  slot_.reset();
  to_check_ = false;
}

KeepStep SlotKeeperState::next() const {
  if (done_) return keep::Done{};
  if (to_check_) return keep::CheckSlot{};
  if (!identity_) return keep::Identify{};
  if (!ours_is_theirs_) return keep::FetchHistory{identity_->timeline};
  if (const auto first = first_wal_to_compare()) return *first;
  if (can_be_asked() && !slot_) return keep::ReadSlot{};
  const bool absent = can_be_asked() ? !slot_->exists : missing_;
  if (absent) return keep::CreateSlot{};
  return keep::UseSlot{identity_->flush_position, identity_->timeline, target()};
}

void SlotKeeperState::on_identified(const pq::SystemIdentity& identity, WallTime now) {
  identity_ = identity;
  candidate_.answered = now;
  candidate_.timeline = identity.timeline;
  candidate_.end = identity.flush_position;
  candidate_.silent_since.reset();
  if (identity.system_identifier != ours_.system_identifier) {
    forget_slot();
    found(Cover::other_cluster,
          fmt::format("it belongs to another cluster (system identifier {}, not {})",
                      identity.system_identifier, ours_.system_identifier));
    return;
  }
  if (identity.timeline == 1) on_history(wal::TimelineHistory(1));
}

void SlotKeeperState::on_history(std::optional<wal::TimelineHistory> history) {
  if (!history) {
    found(Cover::no_history,
          fmt::format("it has no history of its timeline {}", identity_->timeline));
    return;
  }
  if (auto why = left_our_history(ours_, *history, identity_->flush_position)) {
    found(Cover::other_branch, std::move(*why));
    return;
  }
  history_ = std::move(history);
  ours_is_theirs_ = true;
  leave_second_primary();
}

/// A cluster has one primary, so the WAL of one of the two is not the archive's. On timeline 1, or
/// after a timeline was continued by a copy, nothing that is compared here differs.
void SlotKeeperState::leave_second_primary() {
  if (!primary_ || !ours_.primary || first_wal_to_compare() ||
      history_->timeline() != ours_.history.timeline())
    return;
  forget_slot();
  found(Cover::second_primary,
        fmt::format("it is a primary on timeline {}, as {} is: a split brain, or one is a clone of "
                    "the other (or both are names of one server). Its slot is left alone",
                    history_->timeline(), *ours_.primary));
}

std::optional<wal::TimelineId> SlotKeeperState::primary_on() const {
  return primary_ && ours_is_theirs_ ? std::optional(history_->timeline()) : std::nullopt;
}

/// For the newest common timeline.
std::optional<keep::ReadFirstWal> SlotKeeperState::first_wal_to_compare() const {
  const auto timeline = std::min(ours_.history.timeline(), history_->timeline());
  const auto ours = ours_.first_wal.find(timeline);
  if (first_wal_read_ || begins_as_ours_ == timeline || ours == ours_.first_wal.end())
    return std::nullopt;
  const auto begin = *history_->begin_of(timeline);
  const auto end = history_->end_of(timeline).value_or(identity_->flush_position);
  if (!begin.valid() || end <= begin || ours->second.empty()) return std::nullopt;
  return keep::ReadFirstWal{timeline, begin,
                            std::min<std::uint64_t>(ours->second.size(), end - begin)};
}

/// A few bytes may be equal regardless of their writer: then more are compared later.
void SlotKeeperState::on_first_wal(const std::string& wal) {
  const auto first = *first_wal_to_compare();
  const auto& ours = ours_.first_wal.at(first.timeline);
  first_wal_read_ = true;
  const auto count = std::min(wal.size(), first.bytes);
  if (ours.compare(0, count, wal, 0, count) != 0) {
    primary_ = false;  // of another branch
    forget_slot();
    found(Cover::other_branch,
          fmt::format("its timeline {} starts with WAL that differs from the archive's: two "
                      "servers were promoted to this timeline ID (split brain)",
                      first.timeline));
    return;
  }
  if (count == kFirstWalBytes || wal.empty()) begins_as_ours_ = first.timeline;
  leave_second_primary();
}

void SlotKeeperState::on_slot(const pq::SlotState& slot, std::string unseen_invalidation) {
  slot_ = slot;
  unseen_invalidation_ = std::move(unseen_invalidation);
  candidate_.slot_lsn = slot.restart_lsn;
  if (!slot.exists) {
    on_missing();
    return;
  }
  if (!slot.type.empty() && slot.type != "physical") {
    on_logical_slot();
    return;
  }
  if (!slot.restart_lsn)
    found(Cover::reserves_none,
          fmt::format("its slot reserves no WAL: it was created without reserving any, or the "
                      "server has invalidated it. Drop it, and it is recreated. {}",
                      pq::why_invalidated(std::nullopt, major_)));
}

/// It may be dropped again: a failover meanwhile leaves a gap, and recreating it at this visit does
/// not prevent that.
void SlotKeeperState::on_missing() {
  candidate_.slot_lsn.reset();
  if (!created_) {
    found_gone_ = std::exchange(was_there_, false);
    if (found_gone_ && !candidate_.slot_gone_since)
      candidate_.slot_gone_since = candidate_.answered;
  }
  if (!create_)
    found(Cover::no_slot, candidate_.slot_gone_since
                              ? fmt::format("its slot has been missing since {}",
                                            format_time(*candidate_.slot_gone_since))
                              : "it has no such slot");
  else if (created_)
    found(Cover::no_slot, "the slot was created there, but no longer exists");
}

void SlotKeeperState::on_logical_slot() {
  candidate_.slot_lsn.reset();
  found(Cover::not_physical, "its slot of that name is logical");
}

void SlotKeeperState::on_slot_created() {
  created_ = true;
  missing_ = false;
  slot_.reset();
  forget_slot();
  // The slot's position precedes the server's current end, not the end reported before.
  identity_.reset();
  ours_is_theirs_ = false;
}

/// Forward only; limited to the (confirmed) local flush position and to the server's WAL; to the
/// end of a record.
std::optional<wal::Lsn> SlotKeeperState::target() const {
  const auto most =
      std::min({ours_.durable, ours_.confirmed.value_or(ours_.durable), identity_->flush_position});
  const auto end = ours_.record_ends.last_up_to(most);
  if (!end) return std::nullopt;
  if (can_be_asked()) return *end > *slot_->restart_lsn ? end : std::nullopt;
  if (set_to_) return *end > *set_to_ ? end : std::nullopt;
  return not_behind_ && *end >= *not_behind_ ? end : std::nullopt;
}

void SlotKeeperState::on_slot_used(std::optional<wal::Lsn> flush, bool done) {
  if (!can_be_asked() && !not_behind_) not_behind_ = identity_->flush_position;
  if (!done) {
    found(Cover::refused, "its timeline ended during the check");
    return;
  }
  was_there_ = true;
  if (can_be_asked()) {
    if (flush) slot_->restart_lsn = flush;
    candidate_.slot_lsn = slot_->restart_lsn;
  } else {
    if (flush) set_to_ = flush;
    candidate_.slot_lsn = set_to_;
  }
  judge();
}

/// The slot exists, and retains WAL for us. From where on? (A slot just recreated may also start
/// too late: that it was dropped is the more serious problem.)
void SlotKeeperState::judge() {
  if (found_gone_) {
    found(Cover::slot_gone,
          fmt::format("its slot was gone at each visit since {}, and was created again: another "
                      "program drops it, as Patroni does with slots that it does not know",
                      format_time(*candidate_.slot_gone_since)));
    return;
  }
  candidate_.slot_gone_since.reset();
  if (!candidate_.slot_lsn) {
    found(Cover::begin_unknown,
          fmt::format(
              "PostgreSQL {} does not report the slot's restart_lsn: the slot is known to cover "
              "the archive once the ends of the archive and of the server have passed {}",
              major_, *not_behind_));
    return;
  }
  // WAL is retained in whole segments, and streaming starts with a whole one.
  if (ours_.segment_size.start_of(*candidate_.slot_lsn) > ours_.durable) {
    found(Cover::begins_later,
          fmt::format("its slot keeps WAL from {} on only, and the archive ends at {}",
                      *candidate_.slot_lsn, ours_.durable));
    return;
  }
  // From 18 on, an invalidated slot could not have been used.
  if (can_be_asked() && !unseen_invalidation_.empty() &&
      !wal::ServerVersion(major_).refuses_invalidated_physical_slots())
    to_check_ = true;
  else
    found(Cover::covered);
}

void SlotKeeperState::on_slot_checked(const pq::SlotView& slot) {
  if (!slot.exists) {
    candidate_.slot_lsn.reset();
    found(Cover::no_slot, "its slot was dropped during the check");
    return;
  }
  if (slot.wal_status == "lost" || slot.invalidation_reason) {
    found_invalidated(slot.invalidation_reason);
    return;
  }
  found(Cover::covered);
}

void SlotKeeperState::on_slot_not_checked(const Error& error) {
  found(Cover::validity_unknown,
        fmt::format("only an ordinary connection shows whether {} has invalidated its slot: {}",
                    unseen_invalidation_, error.message()));
}

void SlotKeeperState::on_refused(const Error& error) {
  constexpr std::string_view kInUse = "55006";
  constexpr std::string_view kUndefinedObject = "42704";
  constexpr std::string_view kInvalidated = "55000";
  if (error.sqlstate() == kUndefinedObject && !can_be_asked() && !created_) {
    forget_slot();
    missing_ = true;
    on_missing();
    return;
  }
  if (error.sqlstate() == kInUse) {
    // Any other user may move it.
    forget_slot();
    found(Cover::in_use, "its slot is in use by another process: " + error.message());
    return;
  }
  const auto reason =
      error.sqlstate() == kInvalidated ? pq::invalidation_reason_in(error.message()) : std::nullopt;
  if (reason)
    found_invalidated(reason);
  else
    found(Cover::refused, error.message());
}

void SlotKeeperState::on_no_answer(const Error& error, WallTime now) {
  begins_as_ours_.reset();  // another server may answer next time
  primary_ = false;
  if (!candidate_.silent_since) {
    candidate_.silent_since = now;
    candidate_.was_covered = candidate_.covered();
  }
  found(Cover::no_answer, error.message());
}

void SlotKeeperState::forget_slot() {
  set_to_.reset();
  not_behind_.reset();
}

void SlotKeeperState::found(Cover cover, std::string reason) {
  done_ = true;
  candidate_.cover = cover;
  candidate_.reason = std::move(reason);
}

/// Although it has a restart_lsn.
void SlotKeeperState::found_invalidated(const std::optional<std::string>& reason) {
  candidate_.slot_lsn.reset();
  found(Cover::reserves_none,
        fmt::format("the server has invalidated its slot ({}), which reserves no WAL. Drop it, and "
                    "it is recreated. {}",
                    reason.value_or("wal_status is lost"), pq::why_invalidated(reason, major_)));
}

}  // namespace weir::receive

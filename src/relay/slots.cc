// A slot has no owner. Any client that may connect may drop any unused slot, as any role with
// REPLICATION may on a server. Such a client can read every byte of the cluster here, so dropping a
// slot is the least of its powers, and WAL that the slot retained stays in the archive until the
// next `prune`. An owner would have to be stored in the file, be changed when a standby gets
// another user, and be overridden to remove slots of standbys that no longer exist. Users that must
// not see each other's slots need separate archives.

#include "relay/slots.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <utility>

#include "archive/home.h"
#include "base/error.h"
#include "base/units.h"
#include "relay/slots_report.h"
#include "wal/pg_time.h"

namespace weir::relay {

namespace {

using namespace std::chrono_literals;
using slot_answer::Done;
using wire::ErrorReport;

/// Interval for writing the positions that slots have released.
constexpr auto kSaveEvery = 10s;
/// Interval for comparing slots with their limit, and for querying another process's slots.
constexpr auto kLook = 1s;
/// With no slot there is nothing to do.
constexpr auto kNothingToDo = 1h;

std::string now() { return wal::PgTime::of(std::chrono::system_clock::now()).to_string(); }

/// For a command; the log has the disk's error.
ErrorReport not_saved(const Error& error) {
  return {error.kind() == ErrorKind::disk_full ? "53100" : "58030",
          "the file of the replication slots could not be written"};
}

/// Not reported as a slot that does not exist, for which a receiver would require manual
/// intervention: they may be available soon.
ErrorReport none_here(const std::string& why) {
  return {"57P03", "replication slots are not available",
          "This is pgweir, which has no slots for this archive: " + why + "."};
}

}  // namespace

Slots::Slots(io::Directory& archive, const Cluster& cluster, Options options, Hub& hub, Log& log,
             HeldChanged held_changed, Threads& threads)
    : archive_(archive),
      cluster_(cluster),
      options_(std::move(options)),
      hub_(hub),
      log_(log),
      held_changed_(std::move(held_changed)),
      threads_(threads),
      mutex_(threads.make_mutex()),
      something_(threads.make_condition()),
      writing_(threads.make_mutex()) {
  take_over();
  {
    const Threads::Lock lock(*mutex_);
    tell_held();
  }
  if (const auto why = why_none()) log_.warning("replication slots are not available: {}", *why);
  thread_ = threads_.start("slots", [this] { work(); });
}

Slots::~Slots() { end_thread(); }

void Slots::end_thread() {
  {
    const Threads::Lock lock(*mutex_);
    stops_ = true;
    something_->notify_all();
  }
  thread_.reset();  // it is waited for
  socket_.reset();
}

void Slots::close() {
  end_thread();
  if (hub_.abandoned() || why_none() || state_.due() == SlotsState::Due::nothing) return;
  try {
    save();
  } catch (const Error& error) {
    log_.error(error);
  }
}

SlotAnswer Slots::answer(SessionId session, const SlotQuestion& question) {
  return std::visit([&](const auto& each) { return ask(session, each); }, question);
}

SlotAnswer Slots::ask(SessionId, const slot_question::Read& question) {
  const Threads::Lock lock(*mutex_);
  const auto* const slot = state_.find(question.name);
  if (slot == nullptr && why_none_) return none_here(*why_none_);
  if (slot == nullptr) return slot_answer::NotThere{};
  return slot_answer::Found{slot->kept.lost ? wal::Lsn() : slot->kept.restart_lsn};
}

SlotAnswer Slots::ask(SessionId session, const slot_question::Create& question) {
  const Threads::Lock writing(*writing_);
  {
    const Threads::Lock lock(*mutex_);
    if (why_none_) return none_here(*why_none_);
    if (auto refusal =
            state_.create(session, question.name, question.temporary, question.restart_lsn, now()))
      return std::move(*refusal);
    wake();  // there is work to do from now on
  }
  if (question.temporary) {
    release(session);
    return Done{};
  }
  try {
    save();
  } catch (const Error& error) {
    log_.error(error);
    const Threads::Lock lock(*mutex_);
    state_.remove(question.name);
    state_.release(session, now());
    return not_saved(error);
  }
  release(session);
  log_.info("created replication slot \"{}\"", question.name);
  return Done{};
}

SlotAnswer Slots::ask(SessionId session, const slot_question::Drop& question) {
  const Threads::Lock writing(*writing_);
  bool temporary = false;
  {
    const Threads::Lock lock(*mutex_);
    auto acquired = state_.acquire(session, question.name, SlotsState::Invalid::allowed);
    if (auto* const busy = std::get_if<SlotsState::Busy>(&acquired))
      return slot_answer::Busy{std::move(busy->report)};
    if (auto* const report = std::get_if<ErrorReport>(&acquired))
      return or_none_here(std::move(*report));
    temporary = state_.find(question.name)->temporary;
  }
  std::optional<ErrorReport> failed;
  if (!temporary) try {
      save(question.name);
    } catch (const Error& error) {
      log_.error(error);
      failed = not_saved(error);
    }
  const Threads::Lock lock(*mutex_);
  if (!failed) state_.remove(question.name);
  state_.release(session, now());
  tell_held();
  if (failed) return std::move(*failed);
  if (!temporary) log_.info("dropped replication slot \"{}\"", question.name);
  return Done{};
}

SlotAnswer Slots::ask(SessionId session, const slot_question::Use& question) {
  bool to_make = options_.auto_create && !wrong_slot_name(question.name) &&
                 ::fnmatch(options_.auto_create->c_str(), question.name.c_str(), 0) == 0;
  if (to_make) {
    const Threads::Lock lock(*mutex_);
    to_make = !why_none_ && state_.find(question.name) == nullptr;
  }
  if (to_make && !question.make) return slot_answer::ToMake{};
  if (to_make) {
    auto made = ask(session, slot_question::Create{question.name, false, question.start});
    if (const auto* const report = std::get_if<ErrorReport>(&made);
        report != nullptr && report->sqlstate != "42710")
      return made;
  }
  const Threads::Lock lock(*mutex_);
  auto acquired = state_.acquire(session, question.name, SlotsState::Invalid::refused);
  if (auto* const busy = std::get_if<SlotsState::Busy>(&acquired))
    return slot_answer::Busy{std::move(busy->report)};
  if (auto* const report = std::get_if<ErrorReport>(&acquired))
    return or_none_here(std::move(*report));
  return Done{};
}

SlotAnswer Slots::ask(SessionId, const slot_question::List&) {
  auto slots = all();
  if (!slots) return none_here(why_none().value_or(""));
  return slot_answer::Listed{to_json({hub_.served()->end, std::move(*slots)})};
}

/// Adds the reason if the slot does not exist; the lock is held.
ErrorReport Slots::or_none_here(ErrorReport report) const {
  return why_none_ && report.sqlstate == "42704" ? none_here(*why_none_) : std::move(report);
}

void Slots::release(SessionId session) {
  const Threads::Lock lock(*mutex_);
  state_.release(session, now());
  tell_held();
  released_ = true;
  wake();
}

void Slots::clean_up(SessionId session) {
  const Threads::Lock lock(*mutex_);
  state_.clean_up(session, now());
  tell_held();
  released_ = true;
  wake();
}

void Slots::on_flush(SessionId session, wal::Lsn flush) {
  const Threads::Lock lock(*mutex_);
  state_.on_flush(session, flush);
  if (state_.due() == SlotsState::Due::at_once) wake();
}

bool Slots::on_feedback(SessionId session, Xmins asked) {
  const Threads::Lock lock(*mutex_);
  const bool kept = state_.on_feedback(session, asked);
  tell_held();
  if (kept && state_.due() == SlotsState::Due::at_once) wake();
  return kept;
}

bool Slots::evicted(SessionId session) const {
  const Threads::Lock lock(*mutex_);
  return state_.evicted(session);
}

/// Must be called under the lock.
void Slots::tell_held() {
  auto held = why_none_ ? std::nullopt : std::optional(state_.held());
  if (!held_changed_ || told_held_ == held) return;
  told_held_ = held;
  held_changed_(held);
}

std::optional<Xmins> Slots::held() const {
  const Threads::Lock lock(*mutex_);
  if (why_none_) return std::nullopt;
  return state_.held();
}

std::optional<std::vector<Slot>> Slots::all() const {
  const Threads::Lock lock(*mutex_);
  if (why_none_) return std::nullopt;
  return state_.all();
}

std::string Slots::told(const std::string& line) {
  constexpr SessionId kNobody = 0;  // sessions are counted from 1 on
  constexpr std::string_view kDrop = "drop ";
  if (line.starts_with(kDrop)) {
    const auto answer = ask(kNobody, slot_question::Drop{line.substr(kDrop.size())});
    if (const auto* report = std::get_if<ErrorReport>(&answer)) return drop_answer(*report);
    if (const auto* busy = std::get_if<slot_answer::Busy>(&answer))
      return drop_answer(busy->report);
    return drop_answer(std::nullopt);
  }
  auto slots = all();
  if (!slots) return {};  // as if no other process existed: then the file counts
  return to_json({hub_.served()->end, std::move(*slots)});
}

// --- The thread ----------------------------------------------------------------------------------

void Slots::work() {
  for (;;) {
    look();
    Threads::Lock lock(*mutex_);
    const bool idle = lost_for_good_ || (!why_none_ && state_.all().empty());
    const auto until = threads_.now() + kLook + (idle ? kNothingToDo : 0s);
    while (!stops_ && !wakes_ && threads_.now() < until) something_->wait_until(lock, until);
    if (stops_) return;
    wakes_ = false;
  }
}

/// Must be called under the lock.
void Slots::wake() {
  wakes_ = true;
  something_->notify_one();
}

void Slots::look() {
  if (hub_.abandoned()) return;
  {
    const Threads::Lock writing(*writing_);
    take_over();
    if (owns_ && !socket_ && options_.answers)
      socket_ = std::make_unique<SlotsSocket>(
          archive_.path(), [this](const std::string& line) { return told(line); }, log_);
  }
  enforce();
  const auto time = threads_.now();
  {
    const Threads::Lock lock(*mutex_);
    const auto due = state_.due();
    const bool soon = due == SlotsState::Due::at_once || std::exchange(released_, false);
    if (why_none_ || due == SlotsState::Due::nothing || time < try_at_) return;
    if (!soon && time < saved_at_ + kSaveEvery) return;
  }
  const Threads::Lock writing(*writing_);
  {
    const Threads::Lock lock(*mutex_);
    if (why_none_ || state_.due() == SlotsState::Due::nothing) return;  // a command has written it
  }
  try {
    save();
    told_failure_.clear();
  } catch (const Error& error) {
    // On a disk that stays full, a repeated error is not logged again.
    if (told_failure_ != error.what()) log_.error(error);
    told_failure_ = error.what();
    try_at_ = threads_.now() + kSaveEvery;
  }
}

/// Takes over the archive's slots if no process has them: their owner may have exited. With
/// writing_ held, or before there is a second thread.
void Slots::take_over() {
  if (owns_) return;
  {
    const Threads::Lock lock(*mutex_);
    if (lost_for_good_) return;
  }
  std::string why;
  try {
    auto lock = archive::SlotsLock::take(archive_);
    if (lock) {
      auto kept = archive::read_slots(archive_).value_or(archive::KeptSlots{});
      if (kept.system_identifier != 0 && kept.system_identifier != cluster_.system_identifier)
        throw Error(ErrorKind::conflict,
                    "the slots in the archive directory belong to another "
                    "cluster")
            .with("path", archive_.path_of(std::string(archive::kSlotsName)))
            .with("their system identifier", kept.system_identifier)
            .with("archive's", cluster_.system_identifier)
            .hint("Remove the file if its slots are not needed, and recreate them.");
      owns_ = std::move(lock);
      const Threads::Lock guard(*mutex_);
      state_ = SlotsState(std::move(kept.slots));
      why_none_.reset();
      tell_held();
      if (thread_) log_.info("this process now manages the archive's replication slots");
      saved_at_ = threads_.now();
      return;
    }
    why = "another process manages the slots of this directory";
  } catch (const Error& error) {
    why = error.message();
    const Threads::Lock guard(*mutex_);
    if (why_none_ != why && error.kind() != ErrorKind::io) log_.error(error);
  }
  const Threads::Lock guard(*mutex_);
  why_none_ = std::move(why);
}

void Slots::enforce() {
  if (!options_.keep) return;
  const auto end = hub_.served()->end;
  std::vector<SlotsState::Lost> lost;
  {
    const Threads::Lock lock(*mutex_);
    lost = state_.enforce(end, cluster_.segment_size, *options_.keep);
    if (!lost.empty()) tell_held();
  }
  for (const auto& each : lost)
    log_.warning(
        "replication slot \"{}\" is lost: its restart_lsn {} lags behind by more than "
        "--serve-max-slot-wal-keep-size {}{}",
        each.name, each.restart_lsn, format_size(*options_.keep),
        each.active ? "; its client is disconnected" : "");
  if (!lost.empty()) hub_.wake_all();
}

/// Writes the new content of the file. With writing_ held, or by the last thread.
void Slots::save(const std::optional<std::string>& without) {
  // It may be another cluster's by now.
  if (hub_.abandoned())
    throw Error(ErrorKind::io, "could not write the slots: the archive was replaced");
  archive::KeptSlots kept;
  kept.system_identifier = cluster_.system_identifier;
  {
    const Threads::Lock lock(*mutex_);
    if (why_none_) throw Error(ErrorKind::io, "could not write the slots: " + *why_none_);
    kept.slots = state_.to_save(without);
  }
  try {
    archive::DirectoryHome home(archive_);
    archive::keep_slots(home, kept);
  } catch (Error& error) {
    if (error.kind() != ErrorKind::durability) throw;
    give_up(error);
    throw error.hint(
        "The previous contents of the slots file stay in effect, and no slot can be created or "
        "dropped until this process is restarted. Check the disk and the kernel log.");
  }
  const Threads::Lock lock(*mutex_);
  saved_at_ = threads_.now();
  state_.on_saved(kept.slots);
  tell_held();
}

/// An fsync has failed: the content of the file is unknown, and a second fsync proves nothing. The
/// previous content retains at least as much.
void Slots::give_up(const Error& error) {
  const Threads::Lock lock(*mutex_);
  lost_for_good_ = true;
  why_none_ = error.message();
  tell_held();
}

std::optional<std::string> Slots::why_none() const {
  const Threads::Lock lock(*mutex_);
  return why_none_;
}

}  // namespace weir::relay

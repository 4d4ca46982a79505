// What ends the receiver with status 4 ends a relay, and its clients get the reason (57P03): a gap
// upstream, a dropped slot. Continuing would hide it: clients that have caught up would receive
// keepalives, and report streaming with no lag. With the process gone the unit has failed, and
// libpq tries the next host that a client names. It is not 58P01, which a downstream receiver would
// take for a gap of its own. Clients further behind can get the available WAL from `pgweir serve`,
// which needs no upstream and hides nothing.

#include "relay/hub.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/exit_status.h"

namespace weir::relay {

namespace {

using namespace std::chrono_literals;

/// Waking a session takes a microsecond or two.
constexpr std::size_t kFew = 8;

}  // namespace

Hub::Hub(Served begin, bool holds) : end_(std::move(begin)) {
  if (holds) hold_ = wal::Lsn();
  renew();
}

/// Must be called under the lock, or before the hub is shared.
void Hub::renew() {
  auto now = end_.now();
  now.hold = hold_;
  now.breaks_off = breaks_off_;
  served_ = std::make_shared<const Served>(std::move(now));
}

std::shared_ptr<const Served> Hub::served() const {
  const std::lock_guard lock(mutex_);
  return served_;
}

ServedEnd::Told Hub::on_durable(const wal::TimelineHistory& history, wal::Lsn end) {
  const std::lock_guard lock(mutex_);
  const auto before = served_->timeline();
  const auto told = end_.on_durable(history, end);
  if (told == ServedEnd::Told::further || told == ServedEnd::Told::switched) {
    // WAL flushed on the old timeline after the switchpoint differs from the new one's.
    if (told == ServedEnd::Told::switched && hold_)
      hold_ = std::min(*hold_, history.end_of(before).value_or(wal::Lsn()));
    breaks_off_.reset();
    renew();
    wake_guests();
  }
  return told;
}

bool Hub::on_durable_soon(wal::TimelineId timeline, wal::Lsn end) {
  const std::lock_guard lock(mutex_);
  if (timeline != served_->timeline() || guests_.size() > kFew) return false;
  if (end_.on_durable(served_->history, end) != ServedEnd::Told::further) return true;
  breaks_off_.reset();
  renew();
  wake_guests();
  return true;
}

void Hub::set_break(wal::Lsn end, std::optional<wire::ErrorReport> why) {
  const std::lock_guard lock(mutex_);
  if (breaks_off_ == why || (why && end != end_.now().end)) return;
  breaks_off_ = std::move(why);
  renew();
  wake_guests();
}

void Hub::on_flushed_downstream(wal::TimelineId timeline, wal::Lsn end) {
  const std::lock_guard lock(mutex_);
  if (!hold_ || timeline != end_.now().timeline() || end <= *hold_) return;
  hold_ = end;
  renew();
  wake_guests();
}

void Hub::set_version(std::string version) {
  const std::lock_guard lock(mutex_);
  version_ = std::move(version);
}

std::string Hub::version() const {
  const std::lock_guard lock(mutex_);
  return version_;
}

void Hub::stop() {
  const std::lock_guard lock(mutex_);
  stopping_ = true;
  wake_guests();
}

bool Hub::stopping() const {
  const std::lock_guard lock(mutex_);
  return stopping_;
}

void Hub::set_last_word(std::optional<wire::ErrorReport> word) {
  const std::lock_guard lock(mutex_);
  last_word_ = std::move(word);
}

std::optional<wire::ErrorReport> Hub::last_word() const {
  const std::lock_guard lock(mutex_);
  return last_word_;
}

void Hub::abandon(wire::ErrorReport word) {
  const std::lock_guard lock(mutex_);
  last_word_ = std::move(word);
  abandoned_ = stopping_ = true;
  wake_guests();
}

bool Hub::abandoned() const {
  const std::lock_guard lock(mutex_);
  return abandoned_;
}

void Hub::set_problem(const std::optional<Error>& error) {
  const std::lock_guard lock(mutex_);
  const auto since = problem_ ? problem_->since : std::chrono::system_clock::now();
  problem_.reset();
  if (error)
    problem_ =
        archive::ServingProblem{error->what(), exit_status(error->kind()) == kNeedsPerson, since};
}

std::optional<archive::ServingProblem> Hub::problem() const {
  const std::lock_guard lock(mutex_);
  return problem_;
}

void Hub::wake_all() {
  const std::lock_guard lock(mutex_);
  wake_guests();
}

void Hub::wake_guests() {
  for (const auto* const guest : guests_) guest->wake_();
}

Hub::Guest::Guest(Hub& hub, std::function<void()> wake) : hub_(hub), wake_(std::move(wake)) {
  const std::lock_guard lock(hub_.mutex_);
  hub_.guests_.insert(this);
}

Hub::Guest::~Guest() {
  const std::lock_guard lock(hub_.mutex_);
  hub_.guests_.erase(this);
}

}  // namespace weir::relay

#include "receive/successor_watch.h"

#include <algorithm>
#include <system_error>
#include <variant>

namespace weir::receive {

namespace {

using namespace std::chrono_literals;

/// While the server is silent.
constexpr auto kLooksEvery = 500ms;

}  // namespace

bool is_successor(const HostWord& host, const ArchivedSoFar& ours) {
  if (host.failure || host.standby != false || host.has_wal == false || host.has_slot == false)
    return false;
  if (host.identity.system_identifier != ours.system_identifier ||
      host.identity.timeline <= ours.end.timeline)
    return false;
  return std::holds_alternative<StartAt>(start_on(host, ours, {}));
}

SuccessorWatch::SuccessorWatch(Task task, Log& log)
    : task_(std::move(task)),
      log_(log),
      mutex_(task_.world.machine.threads().make_mutex()),
      changed_(task_.world.machine.threads().make_condition()) {
  try {
    thread_ = task_.world.machine.threads().start("successor", [this] { work(); });
  } catch (const std::system_error& error) {
    log_.warning(
        "could not start the thread that looks for a new primary while the server does not "
        "respond: {}",
        error.what());
  }
}

SuccessorWatch::~SuccessorWatch() {
  {
    const Threads::Lock lock(*mutex_);
    over_ = true;
  }
  stop_.raise();
  changed_->notify_all();
  if (thread_) thread_->join();
}

void SuccessorWatch::work() {
  auto& machine = task_.world.machine;
  Threads::Lock lock(*mutex_);
  while (!over_) {
    lock.unlock();
    const auto silent = task_.silent_for();
    const bool found = silent >= kSilence && look();
    lock.lock();
    if (found) return;
    const auto again =
        machine.now() + std::max<std::chrono::milliseconds>(kLooksEvery, kSilence - silent);
    while (!over_ && machine.now() < again) changed_->wait_until(lock, again);
  }
}

bool SuccessorWatch::look() {
  try {
    const auto ours = task_.ours();
    HostSurvey survey(task_.world, ours);
    for (const auto& host : survey.ask(task_.hosts, stop_)) {
      if (!is_successor(host, ours)) continue;
      task_.found(host);
      return true;
    }
  } catch (const net::Interrupted&) {
  } catch (const Error& error) {
    log_.debug("while looking for a new primary: {}", error.what());
  }
  return false;
}

}  // namespace weir::receive

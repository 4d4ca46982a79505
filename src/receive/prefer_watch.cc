#include "receive/prefer_watch.h"

#include <system_error>

namespace weir::receive {

PreferWatch::PreferWatch(Task task, Log& log)
    : task_(std::move(task)),
      log_(log),
      preferred_(task_.prefer, task_.after, task_.at_once_if_promoted),
      mutex_(task_.world.machine.threads().make_mutex()),
      changed_(task_.world.machine.threads().make_condition()) {
  try {
    thread_ = task_.world.machine.threads().start("preferred host", [this] { work(); });
  } catch (const std::system_error& error) {
    log_.warning("could not start the thread that looks for a host of the preferred role: {}",
                 error.what());
  }
}

PreferWatch::~PreferWatch() {
  {
    const Threads::Lock lock(*mutex_);
    over_ = true;
  }
  stop_.raise();
  changed_->notify_all();
  if (thread_) thread_->join();
}

void PreferWatch::work() {
  const auto begin = task_.world.machine.now();
  Threads::Lock lock(*mutex_);
  for (;;) {
    const auto now = task_.world.machine.now();
    const auto again =
        now + asks_every(task_.after, task_.prefer,
                         std::chrono::duration_cast<std::chrono::milliseconds>(now - begin));
    while (!over_ && task_.world.machine.now() < again) changed_->wait_until(lock, again);
    if (over_) return;
    lock.unlock();
    const bool found = look();
    lock.lock();
    if (found) return;
  }
}

bool PreferWatch::look() {
  try {
    const auto ours = task_.ours();
    HostSurvey survey(task_.world, ours);
    const auto hosts = survey.ask(task_.hosts, stop_);
    const auto there = preferred_.on_asked(hosts, ours, task_.world.machine.now());
    if (!there) return false;
    for (const auto& host : hosts)
      if (host.index == *there) task_.found(host.name);
    return true;
  } catch (const net::Interrupted&) {
  } catch (const Error& error) {
    log_.debug("while looking for a host of the preferred role: {}", error.what());
  }
  return false;
}

}  // namespace weir::receive

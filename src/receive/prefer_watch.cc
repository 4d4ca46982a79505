#include "receive/prefer_watch.h"

#include <system_error>

namespace weir::receive {

PreferWatch::PreferWatch(Task task, Log& log)
    : task_(std::move(task)),
      log_(log),
      preferred_(task_.prefer, task_.after, task_.at_once_if_promoted) {
  auto& machine = task_.world.machine;
  const auto next = [this, &machine, begin = machine.now()] {
    const auto now = machine.now();
    return now + asks_every(task_.after, task_.prefer,
                            std::chrono::duration_cast<std::chrono::milliseconds>(now - begin));
  };
  try {
    look_.emplace(machine.threads(), "preferred host", next(),
                  [this, next] { return look() ? std::nullopt : std::optional(next()); });
  } catch (const std::system_error& error) {
    log_.warning("could not start the thread that looks for a host of the preferred role: {}",
                 error.what());
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

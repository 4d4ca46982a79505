#include "receive/stall_watch.h"

#include <algorithm>
#include <system_error>

namespace weir::receive {

namespace {

using namespace std::chrono_literals;

/// Each query connects to each of the other hosts, and a cluster may be idle for days.
constexpr std::chrono::milliseconds kMostSeldom{60'000};

std::chrono::milliseconds confirms_after(std::chrono::milliseconds after) {
  return std::max<std::chrono::milliseconds>(after / 3, 500ms);
}

}  // namespace

StallWatch::StallWatch(Task task, Log& log)
    : task_(std::move(task)), log_(log), stalled_(confirms_after(task_.after)) {
  auto& machine = task_.world.machine;
  try {
    look_.emplace(machine.threads(), "stalled upstream", machine.now() + task_.after,
                  [this, &machine]() -> std::optional<Time> {
                    const auto idle = task_.idle_for();
                    if (idle < task_.after) return machine.now() + (task_.after - idle);
                    if (look()) return std::nullopt;
                    if (stalled_.suspects() && !told_blocked_)
                      return machine.now() + confirms_after(task_.after);
                    return machine.now() +
                           std::clamp(idle, task_.after, std::max(task_.after, kMostSeldom));
                  });
  } catch (const std::system_error& error) {
    log_.warning(
        "could not start the thread that looks for a host with more WAL while the server sends "
        "none: {}",
        error.what());
  }
}

bool StallWatch::look() {
  try {
    const auto ours = task_.ours();
    HostSurvey survey(task_.world, ours);
    auto hosts = survey.ask(task_.hosts, stop_);
    // (WAL that has arrived meanwhile shows that it has not stalled.)
    if (task_.idle_for() < task_.after) return false;
    const auto ahead = stalled_.on_asked(std::move(hosts), ours, task_.world.options.prefer,
                                         task_.world.machine.now());
    if (!ahead) return false;
    if (ahead->obstacle.empty()) return task_.found(ahead->host, ours.position);
    if (!std::exchange(told_blocked_, true)) task_.blocked(*ahead, ours.position);
  } catch (const net::Interrupted&) {
  } catch (const Error& error) {
    log_.debug("while looking for a host with more WAL: {}", error.what());
  }
  return false;
}

}  // namespace weir::receive

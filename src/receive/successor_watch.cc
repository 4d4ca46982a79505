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

SuccessorWatch::SuccessorWatch(Task task, Log& log) : task_(std::move(task)), log_(log) {
  auto& machine = task_.world.machine;
  try {
    look_.emplace(machine.threads(), "successor", machine.now(),
                  [this, &machine]() -> std::optional<Time> {
                    const auto silent = task_.silent_for();
                    if (silent >= kSilence && look()) return std::nullopt;
                    return machine.now() +
                           std::max<std::chrono::milliseconds>(kLooksEvery, kSilence - silent);
                  });
  } catch (const std::system_error& error) {
    log_.warning(
        "could not start the thread that looks for a new primary while the server does not "
        "respond: {}",
        error.what());
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

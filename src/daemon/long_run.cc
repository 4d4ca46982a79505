#include "daemon/long_run.h"

#include <unistd.h>

#include <chrono>
#include <utility>

namespace weir::daemon {

namespace {

using namespace std::chrono_literals;

/// For a log that cannot be written.
constexpr auto kPatience = 2s;

Signals before_the_first_thread() {
  ignore_broken_pipes();
  return Signals();
}

}  // namespace

LongRun::LongRun(LogSettings settings)
    : signals_(before_the_first_thread()),
      screen_(STDERR_FILENO),
      log_(screen_, settings.level, std::move(settings.file), std::move(settings.program),
           settings.format) {}

LongRun::Handling LongRun::handle(Signals::Handlers handlers) {
  if (!handlers.patient)
    handlers.leave = [&screen = screen_] {
      screen.write_now("pgweir: terminated by a second signal\n");
    };
  signals_.start(std::move(handlers));
  return Handling(signals_);
}

int LongRun::end(int status) {
  screen_.clear();
  if (!log_.close(kPatience)) ::_exit(status);
  return status;
}

}  // namespace weir::daemon

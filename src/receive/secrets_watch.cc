#include "receive/secrets_watch.h"

#include <poll.h>

#include <array>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "net/wait.h"

namespace weir::receive {

namespace {

using namespace std::chrono_literals;

/// The server may have to be configured for new files first.
constexpr auto kTryEvery = 10s;

}  // namespace

SecretsWatch::SecretsWatch(Task task, Log& log)
    : task_(std::move(task)), log_(log), changes_(task_.used) {
  try {
    thread_ = task_.machine.threads().start("secrets", [this] { work(); });
  } catch (const std::system_error& error) {
    log_.warning("could not start the thread that monitors certificate files: {}", error.what());
  }
}

SecretsWatch::~SecretsWatch() {
  stop_.raise();
  if (thread_) thread_->join();
}

void SecretsWatch::work() {
  while (!stopped_within(task_.pause, nullptr)) {
    // Before the check, so that later changes are noticed.
    const auto news = io::FilesWatch::begin(task_.used.paths);
    look();
    if (move_wanted_ && move()) return;
    if (news && !move_wanted_ && stopped_within(task_.look_anyway, news.get())) return;
  }
}

/// Returns early if the files change.
bool SecretsWatch::stopped_within(std::chrono::nanoseconds time, const io::FilesWatch* news) {
  const auto deadline = task_.machine.now() + time;
  std::array<pollfd, 2> fds{
      {{stop_.fd(), POLLIN, 0}, {news != nullptr ? news->fd() : -1, POLLIN, 0}}};
  do {
    task_.machine.poll(fds, deadline);
    if (fds[0].revents != 0) return true;
  } while (fds[1].revents == 0 && task_.machine.now() < deadline);
  return false;
}

void SecretsWatch::look() {
  using Change = SecretChanges::Change;
  const auto found = task_.look();
  const auto change = changes_.on_look(found);
  const auto& problem = changes_.problem();
  // Before the log: status has what the log has reported.
  task_.seen(found, problem);
  switch (change) {
    case Change::none:
      break;
    case Change::broken:
      move_wanted_ = false;
      log_.warning(
          "{}; this connection stays open, but the next one cannot be made until this is fixed",
          problem);
      break;
    case Change::mended:
      log_.info("the certificate files of the connection have been restored");
      break;
    case Change::replaced:
      log_.info("the certificate files of the connection were replaced: {} made with them",
                task_.leave ? "a new one is" : "the next one is");
      move_wanted_ = static_cast<bool>(task_.leave);
      next_try_ = {};
      refused_.clear();
      break;
  }
}

/// A connection with the new files must succeed before the working one is given up.
bool SecretsWatch::move() {
  if (task_.machine.now() < next_try_) return false;
  next_try_ = task_.machine.now() + kTryEvery;
  try {
    task_.try_out(stop_);
  } catch (const net::Interrupted&) {
    return false;
  } catch (const Error& error) {
    if (std::exchange(refused_, error.what()) != error.what())
      log_.warning(
          "no connection could be made with the new files: {}; the existing connection stays open",
          error.what());
    return false;
  }
  log_.info("reconnecting with the new files (--reconnect-on-rotation)");
  task_.leave();
  return true;
}

}  // namespace weir::receive

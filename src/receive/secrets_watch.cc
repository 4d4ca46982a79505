#include "receive/secrets_watch.h"

#include <poll.h>

#include <array>
#include <future>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/left_behind.h"
#include "net/wait.h"

namespace weir::receive {

namespace {

using namespace std::chrono_literals;

/// The server may have to be configured for new files first.
constexpr auto kTryEvery = 10s;
/// For a look in progress, at the end.
constexpr auto kForALook = 1s;

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
    const auto seen = look_unless_stopped();
    if (!seen) return;
    const auto& news = seen->news;
    judge(seen->found);
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

/// The file system of the files may hang. Then this thread, which is joined, must still end: only
/// the look is left behind. nullopt: stopped.
std::optional<SecretsWatch::Seen> SecretsWatch::look_unless_stopped() {
  const auto over = std::make_shared<net::Wake>();
  std::future<Seen> answer;
  try {
    answer = begin_left_behind([over, paths = task_.used.paths, look = task_.look] {
      struct Raised {
        net::Wake& wake;
        ~Raised() { wake.raise(); }
      } const raised{*over};
      // Before the check, so that later changes are noticed.
      auto news = io::FilesWatch::begin(paths);
      return Seen{std::move(news), look()};
    });
  } catch (const std::system_error& error) {
    log_.warning("could not start the thread that monitors certificate files: {}", error.what());
    return std::nullopt;
  }
  std::array<pollfd, 2> fds{{{stop_.fd(), POLLIN, 0}, {over->fd(), POLLIN, 0}}};
  do {
    task_.machine.poll(fds, task_.machine.now() + 1h);
  } while (fds[0].revents == 0 && fds[1].revents == 0);
  if (fds[1].revents == 0 && answer.wait_for(kForALook) != std::future_status::ready)
    return std::nullopt;
  return answer.get();
}

void SecretsWatch::judge(const pq::SecretsLook& found) {
  using Change = SecretChanges::Change;
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

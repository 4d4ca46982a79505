#include "cli/service_manager.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <utility>

#include "base/units.h"
#include "cli/logger.h"

namespace weir::cli {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto kTellEvery = 30s;

/// The functions of libsystemd, as sd-daemon.h declares them: an interface that is promised to
/// stay.
struct Systemd {
  int (*notify)(int unset_environment, const char* state) = nullptr;
  int (*watchdog_enabled)(int unset_environment, std::uint64_t* usec) = nullptr;
};

const Systemd& systemd() {
  static const Systemd functions = [] {
    Systemd found;
    void* const library = ::dlopen("libsystemd.so.0", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return found;
    found.notify = reinterpret_cast<decltype(found.notify)>(::dlsym(library, "sd_notify"));
    found.watchdog_enabled =
        reinterpret_cast<decltype(found.watchdog_enabled)>(::dlsym(library, "sd_watchdog_enabled"));
    return found;
  }();
  return functions;
}

/// systemd tells a reload that ends from one that has not begun by this time.
std::string monotonic_usec() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return fmt::format("{}", static_cast<std::int64_t>(now.tv_sec) * 1'000'000 + now.tv_nsec / 1000);
}

/// The text may come from a server.
std::string one_line(const std::string& text) {
  auto line = one_message(text);
  std::replace(line.begin(), line.end(), '\n', ' ');
  return line;
}

}  // namespace

ServiceManager::ServiceManager(Log& log) {
  const char* const socket = std::getenv("NOTIFY_SOCKET");
  if (socket == nullptr || *socket == '\0') return;
  if (systemd().notify == nullptr || systemd().watchdog_enabled == nullptr) {
    log.warning(
        "systemd wants to be notified, but libsystemd.so.0 could not be loaded: install "
        "libsystemd0, "
        "or use Type=exec in the unit");
    return;
  }
  present_ = true;
  std::uint64_t usec = 0;
  if (systemd().watchdog_enabled(0, &usec) > 0) watchdog_ = std::chrono::microseconds(usec);
}

ServiceManager::~ServiceManager() { stop(); }

std::optional<std::chrono::milliseconds> ServiceManager::heartbeat_interval() const {
  if (watchdog_ == 0us) return std::nullopt;
  return std::max(std::chrono::duration_cast<std::chrono::milliseconds>(watchdog_ / 4), 1ms);
}

void ServiceManager::start(receive::StatusBoard& board) {
  if (!present_) return;
  board_ = &board;
  heartbeat();
  board.set_listener([this] { wake_.raise(); });
  thread_ = std::thread([this, &board] { work(board); });
}

void ServiceManager::stop() {
  if (!thread_.joinable()) return;
  board_->set_listener({});
  end_ = true;
  wake_.raise();
  thread_.join();
}

void ServiceManager::work(receive::StatusBoard& board) {
  const auto interval =
      std::min<std::chrono::milliseconds>(heartbeat_interval().value_or(kTellEvery), kTellEvery);
  std::string told;
  bool streamed = false;
  auto watchdog_at = Clock::now();
  while (!end_) {
    // Waits for the stream's own lock: if that is never free, the watchdog's silence is right.
    const auto view = board.view();
    const auto now = Clock::now();
    if (view.stream && !std::exchange(streamed, true)) heartbeat();
    if (!view.stream) streamed = false;
    if (!ready_ && (view.stream || view.content.state == "waiting")) {
      ready_ = true;
      tell("READY=1");
    }
    if (auto line = status_line(view); line != told) {
      tell("STATUS=" + line);
      told = std::move(line);
    }
    if (watchdog_ > 0us && now >= watchdog_at) {
      const Clock::time_point heard{Clock::duration(heard_.load())};
      if (!view.stream || now - heard < watchdog_ / 2) tell("WATCHDOG=1");
      watchdog_at = now + interval;
    }
    pollfd fd{wake_.fd(), POLLIN, 0};
    ::poll(&fd, 1, static_cast<int>(interval.count()));
    wake_.clear();
  }
}

void ServiceManager::tell(const std::string& state) {
  if (present_) static_cast<void>(systemd().notify(0, state.c_str()));
}

void ServiceManager::ready(const std::string& line) {
  if (!ready_.exchange(true)) tell("READY=1");
  status(line);
}

void ServiceManager::status(const std::string& line) { tell("STATUS=" + one_line(line)); }

void ServiceManager::reloading() {
  if (ready_) tell("RELOADING=1\nMONOTONIC_USEC=" + monotonic_usec());
}

void ServiceManager::reloaded() {
  if (ready_) tell("READY=1");
}

void ServiceManager::stopping() { tell("STOPPING=1"); }

std::string status_line(const receive::StatusBoard::View& view) {
  const auto& content = view.content;
  const std::string from = content.server.empty() ? "" : " from " + content.server;
  std::string line;
  if (view.stream) {
    const auto& stream = *view.stream;
    const auto lag = stream.server_end > stream.flush ? stream.server_end - stream.flush : 0;
    line = fmt::format("{} timeline {}{}, durable up to {}, {}",
                       content.disk_full ? "disk full: holding" : "streaming", stream.timeline,
                       from, stream.flush, lag == 0 ? "caught up" : format_size(lag) + " behind");
  } else {
    line = content.state + from;
    if (content.last_error) line += "; last error: " + *content.last_error;
  }
  if (!content.holes.empty())
    line += fmt::format("; {} hole(s) in the archive", content.holes.size());
  if (content.slot_warning) line += "; " + *content.slot_warning;
  return one_line(line);
}

}  // namespace weir::cli

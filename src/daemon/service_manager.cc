#include "daemon/service_manager.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <utility>

#include "base/text.h"
#include "base/units.h"
#include "daemon/logger.h"
#include "net/wait.h"

namespace weir::daemon {

namespace {

using namespace std::chrono_literals;

constexpr std::chrono::milliseconds kNotifyEvery = 30s;
constexpr std::chrono::milliseconds kNotifyWhileBehind = 5s;
constexpr std::chrono::milliseconds kRetryInterval = 200ms;
/// Messages that found no room; a newer STATUS= replaces an older one, so there are never many.
constexpr std::size_t kMostWaiting = 16;

/// By this time systemd distinguishes a reload that ends from one that has not started.
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

std::optional<std::int64_t> number_in(const char* variable) {
  const char* const text = std::getenv(variable);
  return text == nullptr ? std::nullopt : parse_number<std::int64_t>(text);
}

/// sd_watchdog_enabled(3)
std::chrono::microseconds watchdog_of_environment() {
  const auto usec = number_in("WATCHDOG_USEC");
  const auto pid = number_in("WATCHDOG_PID");
  if (!usec || *usec <= 0 || (pid && *pid != ::getpid())) return 0us;
  return std::chrono::microseconds(*usec);
}

}  // namespace

ServiceManager::ServiceManager(Log& log) {
  const char* const variable = std::getenv("NOTIFY_SOCKET");
  if (variable == nullptr || *variable == '\0') return;
  try {
    manager_.emplace(net::Address::unix_socket(variable));
  } catch (const Error& error) {
    log.warning("systemd cannot be notified: {}", error.what());
    return;
  }
  watchdog_ = watchdog_of_environment();
}

ServiceManager::~ServiceManager() { stop(); }

std::optional<std::chrono::milliseconds> ServiceManager::heartbeat_interval() const {
  if (watchdog_ == 0us) return std::nullopt;
  return std::max(std::chrono::duration_cast<std::chrono::milliseconds>(watchdog_ / 4), 1ms);
}

void ServiceManager::start(const receive::StatusBoard& board, receive::Feed& feed) {
  namespace event = receive::event;
  if (!manager_) return;
  subscription_ = feed.listen([this](const event::Progress&) { heartbeat(); },
                              [this](const event::StateChanged&) { wake_.raise(); },
                              [this](const event::StreamRuns&) { wake_.raise(); },
                              [this](const event::Trouble&) { wake_.raise(); });
  run([this, &board] { read_board(board); });
}

void ServiceManager::start() {
  if (manager_) run({});
}

void ServiceManager::run(std::function<void()> update) {
  heartbeat();
  thread_ = std::thread([this, update = std::move(update)] { work(update); });
}

void ServiceManager::stop() {
  if (!thread_.joinable()) return;
  subscription_ = {};
  end_ = true;
  wake_.raise();
  thread_.join();
}

void ServiceManager::work(const std::function<void()>& update) {
  const auto usual = std::min(heartbeat_interval().value_or(kNotifyEvery), kNotifyEvery);
  while (!end_) {
    if (update) update();
    const auto interval = behind_ ? std::min(usual, kNotifyWhileBehind) : usual;
    feed(Clock::now());
    notify_waiting();
    const bool waiting = [this] {
      const std::lock_guard lock(mutex_);
      return !waiting_.empty();
    }();
    static_cast<void>(net::pause(wake_, waiting ? std::min(interval, kRetryInterval) : interval));
    wake_.clear();
  }
  notify_waiting();
}

void ServiceManager::read_board(const receive::StatusBoard& board) {
  // Waits for the stream's own lock: if that is never free, the watchdog's silence is right.
  const auto view = board.view();
  if (view.stream && !std::exchange(streamed_, true)) heartbeat();
  if (!view.stream) streamed_ = false;
  behind_ = view.lag().value_or(0) > 0;
  excuse(!view.stream);
  if (view.stream || view.state == "waiting") notify_ready();
  set_line(status_line(view));
}

void ServiceManager::feed(Clock::time_point now) {
  if (watchdog_ == 0us || now < watchdog_at_) return;
  const Clock::time_point heard{Clock::duration(heard_.load())};
  if (excused_ || now - heard < watchdog_ / 2) notify("WATCHDOG=1");
  watchdog_at_ = now + *heartbeat_interval();
}

void ServiceManager::notify(const std::string& state) {
  if (!manager_) return;
  const std::lock_guard lock(mutex_);
  if (waiting_.empty() && send(state)) return;
  // The next one follows soon; a late one would be wrong.
  if (state == "WATCHDOG=1") return;
  if (waiting_.size() == kMostWaiting) waiting_.erase(waiting_.begin());
  waiting_.push_back(state);
}

void ServiceManager::notify_waiting() {
  const std::lock_guard lock(mutex_);
  while (!waiting_.empty() && send(waiting_.front())) waiting_.erase(waiting_.begin());
  if (waiting_.empty() && line_ != told_ && send("STATUS=" + line_)) told_ = line_;
}

/// Returns false if there is no room now. If there is no listener, the message is dropped.
bool ServiceManager::send(const std::string& state) {
  return manager_->send(state) != net::DatagramSender::Sent::no_room;
}

void ServiceManager::ready(const std::string& line) {
  notify_ready();
  status(line);
}

void ServiceManager::status(const std::string& line) {
  set_line(line);
  wake_.raise();
}

void ServiceManager::set_line(const std::string& line) {
  const std::lock_guard lock(mutex_);
  line_ = one_line(line);
}

void ServiceManager::notify_ready() {
  if (!ready_.exchange(true)) notify("READY=1");
}

void ServiceManager::reloading() {
  if (ready_) notify("RELOADING=1\nMONOTONIC_USEC=" + monotonic_usec());
}

void ServiceManager::reloaded() {
  if (ready_) notify("READY=1");
}

void ServiceManager::stopping() { notify("STOPPING=1"); }

std::string status_line(const receive::ReceiverView& view) {
  const std::string from = view.server.empty() ? "" : " from " + view.server;
  std::string line;
  if (view.stream) {
    const auto& stream = *view.stream;
    const auto lag = *view.lag();
    line = fmt::format("{} timeline {}{}, durable up to {}, {}",
                       view.disk_full_since ? "disk full: holding" : "streaming", stream.timeline,
                       from, stream.flush, lag == 0 ? "caught up" : format_size(lag) + " behind");
  } else {
    line = view.state == "waiting" ? view.state : view.state + from;  // the error names the server
    if (view.last_error) line += "; last error: " + *view.last_error;
  }
  const auto unsettled =
      std::count_if(view.losses.begin(), view.losses.end(),
                    [](const archive::Loss& loss) { return !loss.acknowledged; });
  if (unsettled > 0) line += fmt::format("; {} loss(es) of WAL, see pgweir status", unsettled);
  if (view.slot_warning) line += "; " + *view.slot_warning;
  return one_line(line);
}

}  // namespace weir::daemon

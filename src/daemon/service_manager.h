#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/log.h"
#include "net/datagram.h"
#include "net/wake.h"
#include "receive/feed.h"
#include "receive/status_board.h"

namespace weir::daemon {

/// Notifies systemd of the state of a service of Type=notify (sd_notify(3)), if systemd started it
/// as one; otherwise it does nothing and has no thread.
///
/// - READY=1 when it streams (or listens) for the first time, or when the first attempt failed with
///   a temporary error and is retried automatically: a server that is down must not delay booting.
///   Other errors end the process before.
/// - STATUS= with state, position and lag, whenever the state changes, about every half minute, and
///   every few seconds while it lags behind.
/// - WATCHDOG=1 while the thread that replies to the server runs: see heartbeat(). A process that
///   hangs is therefore noticed, and a disk that hangs does not cause a kill. While no stream runs,
///   every wait has a time limit.
/// - RELOADING=1, STOPPING=1.
///
/// The messages are datagrams, and are sent without blocking: libsystemd's sd_notify() would hang
/// if they are not read. Messages that find no room are kept and retried.
class ServiceManager {
 public:
  /// Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. Logs a warning for an unknown kind of
  /// address.
  explicit ServiceManager(Log& log);
  ~ServiceManager();
  ServiceManager(const ServiceManager&) = delete;
  ServiceManager& operator=(const ServiceManager&) = delete;

  /// Interval of heartbeat() while it is not suspended; nullopt: none.
  [[nodiscard]] std::optional<std::chrono::milliseconds> heartbeat_interval() const;
  /// Reports that the essential thread is running. Any thread, never blocks.
  void heartbeat() { heard_ = std::chrono::steady_clock::now().time_since_epoch().count(); }
  /// Suspends the heartbeat: the thread waits for a disk, or for something with a time limit.
  /// Initially suspended. Any thread, never blocks.
  void excuse(bool excused) { excused_ = excused; }

  /// Starts to report the board's state, whenever the feed has an event. Both must outlive this, or
  /// stop() must be called first; the board listens to the feed already. Heartbeats are expected
  /// while the board reports that WAL streams: each event::Progress is one.
  void start(const receive::StatusBoard& board, receive::Feed& feed);
  /// For a command without a board: sends what was passed to status() and ready().
  void start();
  void stop();

  /// Sends a new line for STATUS= at once. Any thread, never blocks.
  void status(const std::string& line);
  /// The same, sent within half a minute: for positions that move.
  void set_line(const std::string& line);
  /// Sends a new line at once, with READY=1 if that was not sent.
  void ready(const std::string& line);

  /// SIGHUP is being acted on, and was. Any thread.
  void reloading();
  void reloaded();
  /// Asked to stop.
  void stopping();

 private:
  using Clock = std::chrono::steady_clock;
  void run(std::function<void()> update);
  void work(const std::function<void()>& update);
  void read_board(const receive::StatusBoard& board);
  void feed(Clock::time_point now);
  void notify_ready();
  void notify(const std::string& state);
  void notify_waiting();
  bool send(const std::string& state);

  std::optional<net::DatagramSender> manager_;  ///< empty: not started by a service manager
  std::chrono::microseconds watchdog_{};        ///< zero: none
  std::atomic<Clock::rep> heard_ = 0;
  std::atomic<bool> excused_ = true;
  std::atomic<bool> ready_ = false;
  receive::Feed::Subscription subscription_;
  net::Wake wake_;
  std::atomic<bool> end_ = false;
  std::thread thread_;

  // The thread's own.
  bool streamed_ = false;
  bool behind_ = false;
  Clock::time_point watchdog_at_{};

  std::mutex mutex_;
  std::string line_;  ///< the newest for STATUS=
  std::string told_;  ///< the last one sent
  std::vector<std::string> waiting_;
};

/// The line that `systemctl status` shows. Pure.
[[nodiscard]] std::string status_line(const receive::ReceiverView& view);

}  // namespace weir::daemon

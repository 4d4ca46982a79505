#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>

#include "base/log.h"
#include "pq/connection.h"
#include "receive/status_board.h"

namespace weir::cli {

/// Tells systemd how a receiver is doing (sd_notify(3)), where systemd started it as a service of
/// Type=notify; elsewhere it does nothing and has no thread.
///
/// - READY=1 when WAL streams for the first time, or when the first attempt failed in a way that
/// may
///   pass and the receiver goes on trying by itself: a server that is down must not hold up a boot.
///   What will not pass by itself ends the process before.
/// - STATUS= with state, position and lag, whenever the state changes and about every half minute.
/// - WATCHDOG=1 while the guardian of the stream, the thread that answers the server whatever the
///   disk does, goes round: see heartbeat(). So a receiver that hangs is noticed, and a disk that
///   hangs is no reason to be killed. While no stream runs, every wait has a limit of its own.
/// - RELOADING=1, STOPPING=1.
///
/// libsystemd is loaded when it is first needed: nobody else pays for it.
class ServiceManager {
 public:
  /// Looks at NOTIFY_SOCKET and WATCHDOG_USEC. A missing library is told by a warning, once.
  explicit ServiceManager(Log& log);
  ~ServiceManager();
  ServiceManager(const ServiceManager&) = delete;
  ServiceManager& operator=(const ServiceManager&) = delete;

  /// How often heartbeat() is wanted while WAL streams; nullopt: never.
  [[nodiscard]] std::optional<std::chrono::milliseconds> heartbeat_interval() const;
  /// The guardian went round. Any thread, never blocks.
  void heartbeat() { heard_ = std::chrono::steady_clock::now().time_since_epoch().count(); }

  /// Begins to tell what the board says; the board outlives this, or stop() is called first.
  void start(receive::StatusBoard& board);
  void stop();

  /// For a command that has no board: READY=1 with a line for STATUS=, and a new line later. The
  /// watchdog is not fed.
  void ready(const std::string& line);
  void status(const std::string& line);

  /// SIGHUP is being acted on, and was. Any thread.
  void reloading();
  void reloaded();
  /// Asked to stop.
  void stopping();

 private:
  void work(receive::StatusBoard& board);
  void tell(const std::string& state);

  bool present_ = false;
  std::chrono::microseconds watchdog_{};  ///< zero: none
  std::atomic<std::chrono::steady_clock::rep> heard_ = 0;
  std::atomic<bool> ready_ = false;
  receive::StatusBoard* board_ = nullptr;
  pq::Interrupt wake_;
  std::atomic<bool> end_ = false;
  std::thread thread_;
};

/// The line that `systemctl status` shows. Pure.
[[nodiscard]] std::string status_line(const receive::StatusBoard::View& view);

}  // namespace weir::cli

#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "net/wake.h"
#include "pq/connection.h"
#include "receive/feed.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::receive {

/// An event of an archive, as a payload of at most 7999 bytes: one JSON object, whose format is in
/// docs/notify.md. Pure.
struct ArchiveEvent {
  std::string event;  ///< segment_finished, segment_compressed, timeline_switched, …
  std::chrono::system_clock::time_point time;
  std::optional<wal::TimelineId> timeline;
  std::optional<wal::Lsn> lsn;
  std::optional<std::string> segment;
  std::optional<std::string> file;
  std::optional<Error> error;
  std::optional<bool> asked;
  std::optional<archive::Loss> loss;
  std::optional<Candidate> candidate;
};
[[nodiscard]] std::string event_payload(const ArchiveEvent& event, const std::string& archive,
                                        std::uint64_t dropped);

/// Sends the archive's events by NOTIFY, over an ordinary connection of its own to a server that is
/// not a standby. A thread of its own sends, from a bounded queue; archiving neither waits for the
/// connection nor fails because of it. If the queue is full, the oldest events are dropped and
/// counted; the count is logged, and sent with the next notification.
class Notifier {
 public:
  struct Options {
    std::string conninfo;
    std::string channel;
    std::string archive;  ///< the directory, for the payload
    std::size_t most_waiting = 1000;
    std::chrono::milliseconds first_pause{500};
    std::chrono::milliseconds longest_pause{30'000};
    std::chrono::milliseconds patience_at_end{2'000};
  };

  /// Connects when there is an event. The log must outlive it.
  Notifier(Options options, Log& log);
  /// Sends queued events for at most patience_at_end, and logs how many were not sent.
  ~Notifier();
  Notifier(const Notifier&) = delete;
  Notifier& operator=(const Notifier&) = delete;

  /// Handles an event of the feed. Any thread; returns at once.
  void on_event(const Event& happened);

  /// Any thread; returns at once.
  void notify(ArchiveEvent event);

 private:
  void work();
  void send_all(std::unique_lock<std::mutex>& lock);
  void connect();
  bool pause(std::unique_lock<std::mutex>& lock, std::chrono::milliseconds time);
  [[nodiscard]] bool leads_to_another_host(const Error& error);
  void trouble(const Error& error);
  void notify_of_trouble(const Error& error);

  const Options options_;
  Log& log_;
  net::Wake give_up_;
  // For the thread only:
  std::optional<pq::Connection> connection_;
  std::size_t first_host_ = 0;  ///< to connect to
  std::size_t standbys_ = 0;    ///< connected to since the last success or pause

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<ArchiveEvent> queue_;
  std::uint64_t dropped_ = 0;                ///< since the last one sent
  std::optional<std::string> told_trouble_;  ///< the last error sent, which is not repeated
  bool ending_ = false;
  bool done_ = false;
  bool told_failure_ = false;
  std::thread thread_;
};

}  // namespace weir::receive

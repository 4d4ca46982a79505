#pragma once

#include <algorithm>
#include <chrono>

namespace weir::wire {

/// Recognizes by its requests for a reply that a server is shutting down. A walsender asks when it
/// has had no reply for half of wal_sender_timeout; during a shutdown it asks after each reply
/// until the flush position in it is the end of what it has sent (WalSndDone() in walsender.c, 13
/// to 18). It waits for that without a limit, since each reply restarts wal_sender_timeout. Pure.
class ShutdownSign {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// `soon_again`: a request is one of a row this soon after the previous one.
  explicit ShutdownSign(std::chrono::milliseconds soon_again) : soon_again_(soon_again) {}

  /// A time that only the requests of a shutdown keep. `wal_sender_timeout`: zero if there is none.
  [[nodiscard]] static std::chrono::milliseconds soon_again(
      std::chrono::milliseconds wal_sender_timeout) {
    constexpr std::chrono::milliseconds kSoonAgain{1'000};
    return wal_sender_timeout.count() > 0 ? std::min(kSoonAgain, wal_sender_timeout / 4)
                                          : kSoonAgain;
  }

  void on_request(Time now) {
    in_a_row_ = now <= last_ + soon_again_ ? in_a_row_ + 1 : 1;
    last_ = now;
  }
  /// The server has shown that it has more to send.
  void clear() { in_a_row_ = 0; }
  [[nodiscard]] bool shown(Time now) const {
    constexpr int kInARow = 8;
    return in_a_row_ >= kInARow && now <= last_ + soon_again_;
  }

 private:
  std::chrono::milliseconds soon_again_;
  int in_a_row_ = 0;
  Time last_{};
};

}  // namespace weir::wire

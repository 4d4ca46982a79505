#pragma once

#include <atomic>
#include <chrono>
#include <mutex>
#include <string>
#include <string_view>

namespace weir::daemon {

/// Output of log lines and the live line: one descriptor, a terminal or not. Keeps the two from
/// garbling each other. Any thread.
///
/// No call waits for a reader longer than its limit: a terminal stopped with Ctrl-S, or a pipe that
/// is not read, must not stop the archiving.
class Screen {
 public:
  /// Does not own `fd`.
  explicit Screen(int fd);

  /// True if it can show a live line: a terminal, and not a dumb one.
  [[nodiscard]] bool live() const { return live_; }
  /// False if the user disables color, or the terminal does not support it.
  [[nodiscard]] bool colour() const { return colour_; }
  /// Leads to systemd's journal, which has a clock and priorities of its own.
  [[nodiscard]] bool journal() const { return journal_; }
  /// Columns, 80 if unknown.
  [[nodiscard]] int width() const;

  /// Writes whole lines, above the live line. Waits for the reader until give_up() was called and
  /// its time is over. Returns false if not everything was written.
  bool write(std::string_view lines);
  /// Writes as much as possible at once, from any thread, even if another one is writing.
  void write_now(std::string_view lines) noexcept;
  /// Shows `line` (at most one line wide) as the live line, if that is possible without waiting.
  void show(const std::string& line);
  /// Removes the live line.
  void clear();

  /// From now on no write waits past `time`, also one that waits already.
  void give_up(std::chrono::milliseconds time);

 private:
  bool put(std::string_view text);
  [[nodiscard]] bool ready(int timeout_ms) const;

  const int fd_;
  bool live_ = false;
  bool colour_ = false;
  bool journal_ = false;
  std::mutex mutex_;
  bool shown_ = false;  ///< the live line is shown
  std::atomic<std::chrono::steady_clock::rep> deadline_;
};

}  // namespace weir::daemon

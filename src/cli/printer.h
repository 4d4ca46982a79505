#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace weir::cli {

/// Prints to the standard output in a thread of its own, in order, so that a slow reader of the
/// output does not block the caller. The buffer is bounded.
class Printer {
 public:
  /// `on_failure` is called by that thread, once; check() has the reason.
  Printer(std::size_t most_bytes, std::function<void()> on_failure);
  /// Waits until all is printed.
  ~Printer();
  Printer(const Printer&) = delete;
  Printer& operator=(const Printer&) = delete;

  /// Does not wait: see wait_for_room().
  void add(std::string text);
  /// Throws what printing has thrown.
  void check();
  /// False if there is still more to be printed than may wait after this time.
  [[nodiscard]] bool wait_for_room(std::chrono::milliseconds time);
  /// Waits until all is printed. Throws what printing has thrown.
  void finish();

 private:
  void work();

  const std::size_t most_bytes_;
  const std::function<void()> on_failure_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::string> texts_;  ///< the front one is being printed
  std::size_t bytes_ = 0;
  bool end_ = false;
  std::exception_ptr failure_;
  std::thread thread_;
};

}  // namespace weir::cli

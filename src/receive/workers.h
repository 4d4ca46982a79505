#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/threads.h"

namespace weir::receive {

/// The threads of a stream that take turns (leader/followers): at most one leads, the others wait
/// until there is no leader, or work for the previous leader. The leader knows its term, and so
/// whether it still leads: another thread may have passed the lead on. When all is over there is no
/// leader, no thread waits, and no thread is started any more.
///
/// Every function except wake_one() and join() is called with the stream's mutex held.
class Workers {
 public:
  /// Counts the leaders.
  using Term = std::uint64_t;

  /// At most `most` threads. Each runs `body`, which calls take_lead().
  Workers(Threads& threads, std::size_t most, Log& log, std::function<void()> body)
      : machine_(threads),
        most_(most),
        log_(log),
        body_(std::move(body)),
        free_(threads.make_condition()) {}
  /// A thread that is waited for here must not start another one.
  ~Workers() { over_ = true; }
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  /// The first thread. Throws std::system_error.
  void start() { threads_.push_back(machine_.start("worker", body_)); }

  /// On one of these threads. Waits until there is no leader, and leads then; `lock`, of the
  /// stream's mutex, is unlocked meanwhile. nullopt: all is over.
  [[nodiscard]] std::optional<Term> take_lead(Threads::Lock& lock) {
    ++waiting_;
    free_->wait(lock, [this] { return over_ || !led_; });
    --waiting_;
    if (over_) return std::nullopt;
    led_ = true;
    return ++term_;
  }
  /// The leader of this term still leads.
  [[nodiscard]] bool leads(Term term) const { return led_ && term == term_ && !over_; }
  /// A thread leads, or led when all was over.
  [[nodiscard]] bool led() const { return led_; }

  /// There is no leader any more: a waiting thread may lead. If none waits, a thread is started, if
  /// another one is allowed and can be started; else the first thread to finish its work leads. The
  /// caller wakes one.
  void pass_lead() {
    if (over_) return;
    led_ = false;
    if (waiting_ > 0 || threads_.size() >= most_) return;
    try {
      start();
    } catch (const std::system_error& error) {
      log_.debug("could not start a thread: {}", error.what());
    }
  }
  /// With or without the mutex. (A thread woken while it is locked would only sleep again.)
  void wake_one() { free_->notify_one(); }

  /// All is over.
  void end() {
    over_ = true;
    free_->notify_all();
  }
  [[nodiscard]] bool over() const { return over_; }
  /// Returns when no thread runs any more. The mutex is free, and all is over.
  void join() {
    for (const auto& thread : threads_) thread->join();
    threads_.clear();
  }

 private:
  Threads& machine_;
  const std::size_t most_;
  Log& log_;
  const std::function<void()> body_;
  const std::unique_ptr<Threads::Condition> free_;  ///< the lead is, or all is over
  Term term_ = 0;                                   ///< of the current or last leader
  bool led_ = false;
  bool over_ = false;
  std::size_t waiting_ = 0;
  std::vector<std::unique_ptr<Threads::Thread>> threads_;
};

}  // namespace weir::receive

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
/// until nobody does, or work for the one that led before. Whoever leads knows its term, and by
/// that whether it still leads: another thread may have passed the lead on. When all is over nobody
/// leads, nobody waits, and no thread is started any more.
///
/// Every function is called with the stream's mutex held, but wake_one() and join().
class Workers {
 public:
  /// Counts the times that somebody took the lead.
  using Term = std::uint64_t;

  /// At most `most` threads. Each runs `body`, which calls take_lead().
  Workers(Threads& threads, std::size_t most, Log& log, std::function<void()> body)
      : machine_(threads),
        most_(most),
        log_(log),
        body_(std::move(body)),
        free_(threads.make_condition()) {}

  /// The first thread. Throws std::system_error.
  void start() { threads_.push_back(machine_.start("worker", body_)); }

  /// On a thread of these. Waits until nobody leads, and leads then; `lock`, of the stream's mutex,
  /// is free meanwhile. nullopt: all is over.
  [[nodiscard]] std::optional<Term> take_lead(Threads::Lock& lock) {
    ++waiting_;
    free_->wait(lock, [this] { return over_ || !led_; });
    --waiting_;
    if (over_) return std::nullopt;
    led_ = true;
    return ++term_;
  }
  /// Who took the lead in this term has it still.
  [[nodiscard]] bool leads(Term term) const { return led_ && term == term_ && !over_; }
  /// Somebody leads, or led when all was over.
  [[nodiscard]] bool led() const { return led_; }

  /// Nobody leads any more: one who waits may. A thread is started where none waits, if there may
  /// be one more and the machine has it; else who is done first leads. The caller wakes one.
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
  /// With or without the mutex. (Who is woken while it is held would only sleep again.)
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
  Term term_ = 0;                                   ///< of who leads, or led last
  bool led_ = false;
  bool over_ = false;
  std::size_t waiting_ = 0;
  std::vector<std::unique_ptr<Threads::Thread>> threads_;
};

}  // namespace weir::receive

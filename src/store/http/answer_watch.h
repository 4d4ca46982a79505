#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <utility>

#include "store/http/transport.h"

namespace weir::store {

/// How long a store has not answered successfully: since the first request that failed, including
/// its retries. Requests that succeed may take any time in total. Any thread.
class AnswerWatch {
 public:
  using Clock = std::function<std::chrono::steady_clock::time_point()>;
  AnswerWatch(std::chrono::milliseconds bound, Clock clock)
      : bound_(bound), clock_(std::move(clock)) {}

  void asked() {
    auto none = kAnswered;
    since_.compare_exchange_strong(none, clock_().time_since_epoch().count());
  }
  void answered() { since_ = kAnswered; }
  [[nodiscard]] bool over() const {
    const auto since = since_.load();
    return since != kAnswered &&
           clock_().time_since_epoch() - std::chrono::steady_clock::duration(since) >= bound_;
  }
  [[nodiscard]] std::chrono::milliseconds bound() const { return bound_; }

 private:
  static constexpr std::chrono::steady_clock::rep kAnswered = -1;
  const std::chrono::milliseconds bound_;
  const Clock clock_;
  std::atomic<std::chrono::steady_clock::rep> since_{kAnswered};
};

/// A transport whose requests end when the watch has expired. `inner` must check the watch as well,
/// to end requests in progress.
class WatchedTransport final : public Transport {
 public:
  WatchedTransport(std::unique_ptr<Transport> inner, AnswerWatch& watch)
      : inner_(std::move(inner)), watch_(watch) {}
  [[nodiscard]] Answer perform(const Request& request) override;

 private:
  const std::unique_ptr<Transport> inner_;
  AnswerWatch& watch_;
};

}  // namespace weir::store

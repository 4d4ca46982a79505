#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "base/priority.h"

namespace weir::web {

/// Interval between checks.
struct Pace {
  std::chrono::milliseconds watched{3'000};     ///< while a page is viewed
  std::chrono::milliseconds unwatched{60'000};  ///< otherwise
  /// A check that takes longer is stuck: more than the directory of a large archive needs.
  std::chrono::milliseconds patience{60'000};
  /// It rests that many times as long as a check took, so that it delays nothing else. 0: a check
  /// needs nothing of this host, or rests by itself.
  int rest = 20;
  /// How long the destructor waits for the check in progress.
  std::chrono::milliseconds at_end{500};
};

/// The time between the end of a check and the next one. A check that hung, perhaps for hours, must
/// not be the last one for days.
[[nodiscard]] inline std::chrono::nanoseconds rest_after(std::chrono::nanoseconds took,
                                                         std::chrono::nanoseconds usual,
                                                         int rest = Pace().rest) {
  constexpr std::chrono::minutes kLongest(5);
  return std::max(usual, std::min<std::chrono::nanoseconds>(took * rest, kLongest));
}

/// Checks something repeatedly, and rests in between: in its own thread with low priority. If that
/// hangs in a call because the disk hangs, it is abandoned at the end, since it owns all that it
/// uses. Otherwise the thread has ended, with what libraries keep for it, when the destructor
/// returns: after that, exit() may free what those libraries use.
template <typename Look>
class Watch {
 public:
  using Clock = std::chrono::steady_clock;
  struct Hooks {
    std::function<Look()> look;  ///< may throw
    /// After each look, on the same thread; `last` when it is the last time. May be empty.
    std::function<void(bool last)> each_time;
    Pace pace{};
  };
  /// What the hooks refer to lives as long as they do, which may be longer than this.
  explicit Watch(Hooks hooks) : shared_(std::make_shared<Shared>(std::move(hooks))) {
    std::packaged_task<void()> run([shared = shared_] { shared->run(); });
    running_ = run.get_future();
    thread_ = std::thread(std::move(run));
  }
  /// Calls each_time once more, if that comes back soon.
  ~Watch() {
    {
      const std::lock_guard lock(shared_->mutex);
      shared_->over = true;
      shared_->changed.notify_all();
    }
    if (running_.wait_for(shared_->hooks.pace.at_end) == std::future_status::ready)
      thread_.join();
    else
      thread_.detach();
  }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  /// Checks at once, or again if it is checking. Any thread, never waits.
  void look_now() {
    const std::lock_guard lock(shared_->mutex);
    shared_->wanted = true;
    shared_->changed.notify_all();
  }

  struct Seen {
    std::shared_ptr<const Look> look;  ///< nullptr: not yet
    std::string error;                 ///< why the last one failed; empty otherwise
    /// When the current check began, if it has not returned for long.
    std::optional<std::chrono::system_clock::time_point> stuck_since{};
  };
  /// The latest. Any thread, never waits.
  [[nodiscard]] Seen peek() const {
    const std::lock_guard lock(shared_->mutex);
    Seen seen{.look = shared_->look, .error = shared_->error};
    if (shared_->looking && Clock::now() - shared_->began > shared_->hooks.pace.patience)
      seen.stuck_since = shared_->began_at;
    return seen;
  }
  /// The same, for a viewer.
  [[nodiscard]] Seen latest() {
    {
      const std::lock_guard lock(shared_->mutex);
      // A new viewer wakes it up; otherwise its rest is soon over.
      if (!shared_->is_watched()) shared_->changed.notify_all();
      shared_->watched = Clock::now();
    }
    return peek();
  }

 private:
  struct Shared {
    explicit Shared(Hooks made) : hooks(std::move(made)) {}

    const Hooks hooks;
    mutable std::mutex mutex{};
    std::condition_variable changed{};
    std::shared_ptr<const Look> look{};
    std::string error{};
    Clock::time_point began{};  ///< of the look that is being made
    std::chrono::system_clock::time_point began_at{};
    Clock::time_point watched = Clock::now() - std::chrono::hours(1);
    bool looking = false;
    bool wanted = false;
    bool over = false;

    [[nodiscard]] bool is_watched() const {
      constexpr std::chrono::seconds kStaysWatched(30);
      return watched + kStaysWatched > Clock::now();
    }

    void turn() {
      {
        const std::lock_guard lock(mutex);
        looking = true;
        wanted = false;
        began = Clock::now();
        began_at = std::chrono::system_clock::now();
      }
      std::shared_ptr<const Look> made;
      std::string failure;
      try {
        made = std::make_shared<const Look>(hooks.look());
      } catch (const std::exception& caught) {
        failure = caught.what();
      }
      if (hooks.each_time) hooks.each_time(false);
      const std::lock_guard lock(mutex);
      if (made) look = std::move(made);
      error = std::move(failure);
      looking = false;
    }

    void run() {
      lowest_priority();
      for (;;) {
        turn();
        std::unique_lock lock(mutex);
        const auto took = Clock::now() - began;
        const auto due = [&] {
          const Clock::duration usual = is_watched() ? hooks.pace.watched : hooks.pace.unwatched;
          return began + took + rest_after(took, usual, hooks.pace.rest);
        };
        while (!over && !wanted && Clock::now() < due()) changed.wait_until(lock, due());
        if (over) break;
      }
      if (hooks.each_time) hooks.each_time(true);
    }
  };

  std::shared_ptr<Shared> shared_;
  std::future<void> running_;  ///< ready when the thread is about to end
  std::thread thread_;
};

}  // namespace weir::web

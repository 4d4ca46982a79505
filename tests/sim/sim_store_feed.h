#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>

#include "archive/durable_end.h"
#include "io/directory.h"
#include "receive/feed.h"
#include "receive/mailbox.h"
#include "receive/status_board.h"
#include "scheduler.h"
#include "sim_store.h"
#include "store/send/follow.h"
#include "store/send/stored_end.h"

namespace weir::sim {

/// Sending to the store in the process of a receiver, as `receive --store` does it: store::Follow,
/// all of it, in threads of the simulation. What StoreFeed (src/cli) does with the events of the
/// receiver is done here, by a thread of its own, since a listener holds a lock of the machine
/// below. To be kept until Scheduler::end() has ended its threads.
class SimStoreFeed {
 public:
  struct Habits {
    bool compresses = false;
    bool confirm_stored = false;
    std::optional<store::KeepLocal> keep_local{};
    std::size_t jobs = 2;
    std::chrono::milliseconds look_every{1'000};
    std::chrono::milliseconds audit_every{5'000};
    std::optional<std::chrono::milliseconds> open_every{};  ///< as with --store-open
    std::uint64_t seed = 0;
  };
  SimStoreFeed(const Habits& habits, std::unique_ptr<io::Directory> archive, SimStore& store,
               receive::Feed& feed, const receive::StatusBoard& board, receive::StoreWords& word,
               Scheduler& scheduler, Story& story);

  /// Nothing waits.
  [[nodiscard]] bool settled() const;

 private:
  class SomethingTold;
  void on_event(const receive::Event& happened);
  void hand_over();
  void take(const store::StoredEnd::Position& position);

  const Habits habits_;
  const std::unique_ptr<io::Directory> archive_;
  SimStore& store_;
  receive::StoreWords& word_;
  Scheduler& scheduler_;
  Story& story_;
  std::optional<archive::DurableEnd> durable_;
  std::deque<std::function<void()>> told_;  ///< for hand_over()
  store::Follow follow_;
  receive::Feed::Subscription listening_;
};

}  // namespace weir::sim

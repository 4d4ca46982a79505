#pragma once

#include <memory>

#include "io/directory.h"
#include "receive/feed.h"
#include "receive/status_board.h"
#include "scheduler.h"
#include "sim_store.h"
#include "store/follow.h"

namespace weir::sim {

/// Sending to the store in the process of a receiver, as `receive --store` does it: store::Follow,
/// all of it, in threads of the simulation. What StoreFeed (src/cli) does with the events of the
/// receiver is done here. To be kept until Scheduler::end() has ended its threads.
class SimStoreFeed {
 public:
  struct Habits {
    bool compresses = false;
    std::optional<store::KeepLocal> keep_local{};
    std::size_t jobs = 2;
    std::chrono::milliseconds look_every{1'000};
    std::chrono::milliseconds audit_every{5'000};
    std::uint64_t seed = 0;
  };
  SimStoreFeed(const Habits& habits, std::unique_ptr<io::Directory> archive, SimStore& store,
               receive::Feed& feed, const receive::StatusBoard& board, Scheduler& scheduler,
               Story& story);

  /// Nothing waits.
  [[nodiscard]] bool settled() const;

 private:
  void on_event(const receive::Event& happened);

  const Habits habits_;
  const std::unique_ptr<io::Directory> archive_;
  SimStore& store_;
  Story& story_;
  store::Follow follow_;
  receive::Feed::Subscription listening_;
};

}  // namespace weir::sim

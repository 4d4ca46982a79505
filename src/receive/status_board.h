#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "archive/losses.h"
#include "receive/feed.h"
#include "receive/lag_age.h"
#include "receive/receiver_view.h"
#include "receive/sync_times.h"

namespace weir::receive {

/// The status of a running receiver: the source of `pgweir status`, the page, the metrics and the
/// line for the service manager. Written by the session, its guardian and its helpers; any thread,
/// never blocks for longer than a copy.
class StatusBoard {
 public:
  /// It listens to the feed during its lifetime; nullptr: none.
  explicit StatusBoard(Feed* feed = nullptr);

  /// Handles an event of the feed. Any thread.
  void on_event(const Event& happened);
  /// The archive's losses. Known acknowledgments are kept if it is the same loss.
  void set_losses(std::vector<archive::Loss> losses);
  /// Losses found by the size watch, in addition to these; and the ids of losses that are closed,
  /// regardless of their source.
  void set_watched_losses(std::vector<archive::Loss> losses, std::set<std::string> closed);
  /// Ids of losses whose records were removed, since their WAL was added.
  void set_removed_losses(std::set<std::string> ids);
  /// Any other change, made under the lock; must be quick.
  void update(const std::function<void(ReceiverView&)>& change);

  /// Source of the position while WAL streams; empty: no stream. On return an earlier function is
  /// not called any more.
  void set_live(std::function<StreamSnapshot()> live);
  /// Source of the served clients and positions; empty: not serving. As set_live().
  using AskServing = std::function<archive::ServingView()>;
  void set_serving(AskServing ask);
  /// Source of the object store's lag; empty: there is none. As set_live().
  using AskStore = std::function<store::StoreView()>;
  void set_store(AskStore ask);
  /// Called regularly while WAL streams, for the rate.
  void tick(const StreamSnapshot& snapshot, Time now);

  /// The reported values, without those determined at the time of view(): the stream, its silence
  /// and rate, the durations of fsyncs, served and stored WAL.
  [[nodiscard]] ReceiverView read() const;
  /// A consistent copy of everything.
  [[nodiscard]] ReceiverView view(Time now = std::chrono::steady_clock::now()) const;

 private:
  void set_state(const std::string& state);
  void set_error(const std::string& text);
  void set_disk_full(bool full);
  void gather_losses();
  /// In bytes per second; the mutex is locked.
  [[nodiscard]] std::optional<std::uint64_t> rate(const StreamSnapshot& stream, Time now) const;

  mutable std::mutex mutex_;
  /// Its archived_bytes are those of streams that have ended; a stream starts at a segment's start.
  ReceiverView content_;
  /// Positions of up to two ticks of the current stream, the newest last: for the rate.
  std::vector<std::pair<Time, wal::Lsn>> ticks_;
  // content_.losses is computed from these.
  std::vector<archive::Loss> losses_;
  std::vector<archive::Loss> watched_losses_;
  std::set<std::string> closed_losses_;
  std::set<std::string> removed_losses_;
  mutable std::mutex live_mutex_;  ///< locked before mutex_
  std::function<StreamSnapshot()> live_;
  AskServing ask_serving_;  ///< guarded likewise
  AskStore ask_store_;      ///< guarded likewise
  Time outage_began_;       ///< that of content_.outage_since; guarded by mutex_
  Time heard_;              ///< last message of an earlier stream; guarded likewise
  SyncTimes syncs_;         ///< guarded by mutex_
  mutable LagAge lag_age_;  ///< of the current stream; guarded by mutex_
  Feed::Subscription subscription_;

  /// What on_event() calls, one for each type of event.
  auto handlers();
};

}  // namespace weir::receive

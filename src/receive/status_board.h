#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "archive/losses.h"
#include "archive/serving_view.h"
#include "pq/slot_view.h"
#include "receive/candidate.h"
#include "receive/feed.h"
#include "receive/session_state.h"
#include "receive/stream_state.h"
#include "receive/sync_times.h"
#include "store/store_view.h"

namespace weir::receive {

/// What a running receiver would tell if asked: the source of `pgweir status`, of the line on a
/// terminal and of the minute's log line. Written by the session, its guardian and its helpers;
/// any thread, never blocks for longer than a copy.
class StatusBoard {
 public:
  struct Content {
    std::string state = "starting";  ///< starting, connecting, waiting, streaming, disk full, …
    std::chrono::system_clock::time_point state_since{};
    std::chrono::system_clock::time_point started{};
    std::string server;  ///< name of the upstream, empty while there is none
    /// Of several hosts: what was found of each when they were asked last.
    std::vector<HostVerdict> hosts;
    bool disk_full = false;
    std::chrono::system_clock::time_point disk_full_since{};  ///< while disk_full
    [[nodiscard]] std::chrono::system_clock::time_point shown_state_since() const {
      return disk_full ? disk_full_since : state_since;
    }
    std::optional<std::string> last_error;
    std::chrono::system_clock::time_point last_error_time{};
    std::vector<archive::Loss> losses;
    std::optional<std::string> slot;
    std::optional<std::string> slot_warning;  ///< by the slot guard
    std::optional<pq::SlotView> slot_view;    ///< what it saw at its last look
    std::chrono::system_clock::time_point slot_read_at{};
    /// The other servers of the connection string, by the slot keeper; in its order.
    std::vector<Candidate> candidates;
    /// With a second upstream (--compare-with).
    struct Comparison {
      std::string with;     ///< that server, as far as it is known
      std::string problem;  ///< why it cannot be compared; empty: it can
      wal::TimelineId timeline = 0;
      wal::Lsn position;  ///< compared up to there; 0/0: not yet
      std::uint64_t bytes = 0;
      std::uint64_t skipped_bytes = 0;          ///< that could not be compared
      std::uint64_t differences = 0;            ///< one in a segment at most is counted
      std::optional<std::string> difference{};  ///< the first one
      std::chrono::system_clock::time_point difference_time{};
    };
    std::optional<Comparison> comparison;
    /// What the connection to the upstream is made with.
    struct Certificates {
      std::string client{};  ///< the file of our own; empty: there is none
      std::optional<std::chrono::sys_seconds> client_expires{};
      std::optional<std::chrono::sys_seconds> server_expires{};  ///< of the server's
      /// Why the next connection could not be made with what is there; empty: it can.
      std::string problem{};
    };
    Certificates certificates;
    std::size_t to_compress = 0;  ///< finished segments still raw
    // Counted since the start.
    std::uint64_t streams = 0;  ///< begun; each reconnect and each timeline begins one
    std::uint64_t errors = 0;
    std::uint64_t segments_finished = 0;
    std::uint64_t slow_syncs = 0;  ///< longer than kSlowSync
    /// WAL that streams which have ended made durable; a stream begins at a segment's start.
    std::uint64_t archived_bytes = 0;
    std::optional<StreamSnapshot> last_stream;  ///< where the last one ended
    /// Positions of up to two ticks, the newest last, of the stream that runs: for the rate.
    std::vector<std::pair<Time, wal::Lsn>> ticks;
  };

  /// It listens to the feed as long as it lives; nullptr: to none.
  explicit StatusBoard(Feed* feed = nullptr);

  /// What the feed tells. Any thread.
  void on_event(const Event& happened);
  /// What the archive has lost. Acknowledgements that were seen stay, where it is the same loss.
  void set_losses(std::vector<archive::Loss> losses);
  /// What the watch over the segments' sizes has found, beside those; and the ids of losses that
  /// are none any more, whoever told them.
  void set_watched_losses(std::vector<archive::Loss> losses, std::set<std::string> closed);
  /// Ids of losses whose records somebody has removed, since their WAL has come.
  void set_removed_losses(std::set<std::string> ids);
  /// Any other change, done under the lock; must be quick.
  void update(const std::function<void(Content&)>& change);

  /// Where to ask for the position while WAL streams; empty: it doesn't. When this returns, an
  /// earlier function is not called any more.
  void set_live(std::function<StreamSnapshot()> live);
  /// Where to ask what is served, and to whom; empty: nothing is. As set_live().
  using AskServing = std::function<archive::ServingView()>;
  void set_serving(AskServing ask);
  /// Where to ask how far the object store is behind; empty: there is none. As set_live().
  using AskStore = std::function<store::StoreView()>;
  void set_store(AskStore ask);
  /// Called regularly while WAL streams, so that a rate can be told.
  void tick(const StreamSnapshot& snapshot, Time now);

  [[nodiscard]] Content read() const;
  /// All of it at one moment.
  struct View {
    Content content;
    std::optional<StreamSnapshot> stream;  ///< of the running stream; nullopt while none runs
    std::chrono::milliseconds silence{};   ///< since the server was last heard of, or the start
    std::optional<SyncTimes::Summary> syncs;
    /// nullopt: this receiver does not serve.
    std::optional<archive::ServingView> serving;
    std::optional<store::StoreView> store;  ///< nullopt: it sends to none
    /// WAL made durable since the start.
    [[nodiscard]] std::uint64_t archived_bytes() const;
    /// Over the last half minute to two minutes; nullopt while that is not known.
    [[nodiscard]] std::optional<std::uint64_t> bytes_per_second(Time now) const;
  };
  [[nodiscard]] View view() const;

 private:
  void set_state(const std::string& state);
  void set_error(const std::string& text);
  void set_disk_full(bool full);
  void gather_losses();

  mutable std::mutex mutex_;
  Content content_;
  // content_.losses is made of these.
  std::vector<archive::Loss> losses_;
  std::vector<archive::Loss> watched_losses_;
  std::set<std::string> closed_losses_;
  std::set<std::string> removed_losses_;
  mutable std::mutex live_mutex_;  ///< taken before mutex_, where both are
  std::function<StreamSnapshot()> live_;
  AskServing ask_serving_;  ///< guarded likewise
  AskStore ask_store_;      ///< guarded likewise
  Time heard_;  ///< when the server was last heard of, if it does not stream now; guarded likewise
  SyncTimes syncs_;  ///< guarded by mutex_
  Feed::Subscription subscription_;
};

}  // namespace weir::receive

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

/// The status of a running receiver: the source of `pgweir status`, of the line on a terminal and
/// of the log line each minute. Written by the session, its guardian and its helpers; any thread,
/// never blocks for longer than a copy.
class StatusBoard {
 public:
  struct Content {
    std::string state = "starting";  ///< starting, connecting, waiting, streaming, disk full, …
    std::chrono::system_clock::time_point state_since{};
    std::chrono::system_clock::time_point started{};
    std::string server;  ///< name of the upstream, empty while there is none
    /// With several hosts: the verdict about each after the last query.
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
    std::optional<pq::SlotView> slot_view;    ///< at its last check
    std::chrono::system_clock::time_point slot_read_at{};
    /// The other servers of the connection string, in its order; by the slot keeper.
    std::vector<Candidate> candidates;
    /// With a reference server (--compare-with).
    struct Comparison {
      std::string with;     ///< the server, if known
      std::string problem;  ///< why it cannot be compared; empty: it can
      wal::TimelineId timeline = 0;
      wal::Lsn position;  ///< compared up to there; 0/0: nothing yet
      std::uint64_t bytes = 0;
      std::uint64_t skipped_bytes = 0;          ///< could not be compared
      std::uint64_t differences = 0;            ///< at most one per segment is counted
      std::optional<std::string> difference{};  ///< the first one
      std::chrono::system_clock::time_point difference_time{};
    };
    std::optional<Comparison> comparison;
    /// Certificates of the upstream connection.
    struct Certificates {
      std::string client{};  ///< our client certificate's file; empty: none
      std::optional<std::chrono::sys_seconds> client_expires{};
      std::optional<std::chrono::sys_seconds> server_expires{};  ///< of the server's certificate
      /// Why the next connection could not be made with the current files; empty: it could.
      std::string problem{};
    };
    Certificates certificates;
    std::size_t to_compress = 0;  ///< finished segments still raw
    // Counted since the start.
    std::uint64_t streams = 0;  ///< started; each reconnect and each timeline starts one
    std::uint64_t errors = 0;
    std::uint64_t segments_finished = 0;
    std::uint64_t slow_syncs = 0;  ///< longer than kSlowSync
    /// WAL made durable by streams that have ended; a stream starts at a segment's start.
    std::uint64_t archived_bytes = 0;
    std::optional<StreamSnapshot> last_stream;  ///< where the last one ended
    /// Positions of up to two ticks of the current stream, the newest last: for the rate.
    std::vector<std::pair<Time, wal::Lsn>> ticks;
  };

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
  void update(const std::function<void(Content&)>& change);

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

  [[nodiscard]] Content read() const;
  /// A consistent copy.
  struct View {
    Content content;
    std::optional<StreamSnapshot> stream;  ///< of the current stream; nullopt if there is none
    std::chrono::milliseconds silence{};   ///< since the server's last message, or the start
    std::optional<SyncTimes::Summary> syncs;
    /// nullopt: this receiver does not serve.
    std::optional<archive::ServingView> serving;
    std::optional<store::StoreView> store;  ///< nullopt: no uploads
    /// WAL made durable since the start.
    [[nodiscard]] std::uint64_t archived_bytes() const;
    /// Over the last half minute to two minutes; nullopt if unknown.
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
  // content_.losses is computed from these.
  std::vector<archive::Loss> losses_;
  std::vector<archive::Loss> watched_losses_;
  std::set<std::string> closed_losses_;
  std::set<std::string> removed_losses_;
  mutable std::mutex live_mutex_;  ///< locked before mutex_
  std::function<StreamSnapshot()> live_;
  AskServing ask_serving_;  ///< guarded likewise
  AskStore ask_store_;      ///< guarded likewise
  Time heard_;       ///< last message of the server, if it is not streaming now; guarded likewise
  SyncTimes syncs_;  ///< guarded by mutex_
  Feed::Subscription subscription_;
};

}  // namespace weir::receive

#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <shared_mutex>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "archive/downstream_client.h"
#include "archive/losses.h"
#include "base/error.h"
#include "receive/candidate.h"
#include "receive/feed_difference.h"
#include "receive/stream_state.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::receive {

/// Events in a receiver, one type for each kind.
namespace event {

/// The receiver's state: connecting, waiting, streaming, stopping.
struct StateChanged {
  std::string state;
};
/// The connected server, by host and port; empty: none.
struct ServerChanged {
  std::string name;
  std::string version = {};  ///< its server_version; empty if unknown
};
/// A stream starts or has ended: the StatusBoard knows its positions, or no longer does.
struct StreamRuns {
  bool runs;
};
/// WAL of this timeline streams from `start`, a segment's first byte, on.
struct Streaming {
  wal::TimelineId timeline;
  wal::Lsn start;
};
/// Regularly while WAL streams (Environment::progress_interval).
struct Progress {
  StreamSnapshot snapshot;
};
/// Everything before `end` is durable in the archive, and may be served. Increases within a stream.
/// The stream's lock is held: its positions must not be queried.
struct DurableEnd {
  wal::TimelineId timeline;
  wal::Lsn end;
};
/// Everything before `end` was reported to the server as flushed: it does not have to retain it for
/// us. Increases within a stream, and the stream's lock is held, as above.
struct Confirmed {
  wal::TimelineId timeline;
  wal::Lsn end;
};
/// A sync of WAL succeeded; its duration. The stream's lock is held, as above.
struct SyncDone {
  std::chrono::nanoseconds duration;
};
/// A segment was renamed to its final name, and is durable.
struct SegmentFinished {
  wal::SegmentName segment;
  wal::Lsn end;
};
/// A segment was compressed to `file`. The raw file was removed.
struct SegmentCompressed {
  wal::SegmentName segment;
  std::string file;
};
/// A segment stays raw: it could not be compressed.
struct NotCompressed {
  wal::SegmentName segment;
  Error error;
};
struct TimelineSwitched {
  wal::TimelineId next;
  wal::Lsn switchpoint;
};
/// A loss was found or acknowledged just now, and is recorded.
struct LossRecorded {
  archive::Loss loss;
};
/// A server that is not streaming was checked: whether a failover to it would leave a gap has
/// changed, or why.
struct CandidateLooked {
  Candidate candidate;
};
/// The disk is full, or has space again.
struct DiskFull {
  bool full;
};
/// An error that stops archiving, each time it occurs, except for a full disk that is waited for.
/// It is over when WAL streams again, unless the run ends with it.
struct Trouble {
  Error error;
};
/// A reference server has different WAL (--compare-with).
struct FeedsDiffer {
  FeedDifference difference;
};
/// The partial segment that a stream left, by its resulting name.
struct LeftUnfinished {
  std::string file;
};
/// This process starts serving the archive's WAL to a client.
struct ClientCame {
  archive::DownstreamClient client;
};
/// It has ended, and why.
struct ClientGone {
  archive::DownstreamClient client;
  std::string why;
};
/// A segment or a history counts as sent to the object store (--store).
struct Stored {
  std::string file;  ///< its plain name
};
/// An error that prevents uploads of finished WAL. Streaming continues, and uploads are retried.
struct StoreTrouble {
  Error error;
};
/// That error is over.
struct StoreWorks {};
/// A stream ended as requested: by a signal, or (`by_signal` is false) at the end position.
struct Stopped {
  wal::TimelineId timeline;
  wal::Lsn reached;
  bool by_signal;
};

}  // namespace event

using Event =
    std::variant<event::StateChanged, event::ServerChanged, event::StreamRuns, event::Streaming,
                 event::Progress, event::DurableEnd, event::Confirmed, event::SyncDone,
                 event::SegmentFinished, event::SegmentCompressed, event::NotCompressed,
                 event::TimelineSwitched, event::LossRecorded, event::CandidateLooked,
                 event::DiskFull, event::Trouble, event::FeedsDiffer, event::LeftUnfinished,
                 event::ClientCame, event::ClientGone, event::Stored, event::StoreTrouble,
                 event::StoreWorks, event::Stopped>;

/// Calls the alternative for the event's type, or nothing if there is none: `on(event, [&](const
/// event::Trouble& trouble) { … }, …)`.
template <typename... Functions>
void on(const Event& happened, Functions&&... functions) {
  struct Overloads : std::decay_t<Functions>... {
    using std::decay_t<Functions>::operator()...;
  };
  const Overloads overloads{std::forward<Functions>(functions)...};
  std::visit(
      [&](const auto& one) {
        if constexpr (std::is_invocable_v<const Overloads&, decltype(one)>) overloads(one);
      },
      happened);
}

/// A stream of events, from components to their observers: status, log, notifications, systemd, a
/// downstream server. Thread-safe.
class Feed {
 public:
  /// Called on the thread of the event, perhaps on several at once. Must neither block, nor throw,
  /// nor subscribe or unsubscribe.
  using Listener = std::function<void(const Event&)>;

  /// Ends with the object: after that the listener is not called any more. The feed must outlive
  /// it.
  class Subscription {
   public:
    Subscription() = default;
    Subscription(Subscription&& other) noexcept
        : feed_(std::exchange(other.feed_, nullptr)), listener_(std::move(other.listener_)) {}
    Subscription& operator=(Subscription&& other) noexcept {
      end();
      feed_ = std::exchange(other.feed_, nullptr);
      listener_ = std::move(other.listener_);
      return *this;
    }
    ~Subscription() { end(); }

   private:
    friend class Feed;
    Subscription(Feed& feed, std::unique_ptr<Listener> listener)
        : feed_(&feed), listener_(std::move(listener)) {}
    void end();
    Feed* feed_ = nullptr;
    std::unique_ptr<Listener> listener_;
  };

  Feed() = default;
  Feed(const Feed&) = delete;
  Feed& operator=(const Feed&) = delete;

  [[nodiscard]] Subscription subscribe(Listener listener);
  void publish(const Event& event) const;

 private:
  mutable std::shared_mutex mutex_;
  std::vector<const Listener*> listeners_;  ///< in order of subscription
};

}  // namespace weir::receive

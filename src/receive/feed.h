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

/// What happens in a receiver, one type for each kind of event.
namespace event {

/// What the receiver is doing: connecting, waiting, streaming, stopping.
struct StateChanged {
  std::string state;
};
/// The server that is connected to, by host and port; empty: none.
struct ServerChanged {
  std::string name;
  std::string version = {};  ///< its server_version; empty if it is not known
};
/// A stream begins or has ended: the StatusBoard knows its positions, or does not any more.
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
/// Everything before `end` is durable in the archive, and may be served. Within one stream
/// each one is further than the one before. The stream's lock is held: its positions must not be
/// asked for.
struct DurableEnd {
  wal::TimelineId timeline;
  wal::Lsn end;
};
/// The server was told that everything before `end` is flushed: it need not keep it for us. Each
/// one of a stream is further than the one before, and the stream's lock is held, as above.
struct Confirmed {
  wal::TimelineId timeline;
  wal::Lsn end;
};
/// A sync of WAL ended well, after so long. The stream's lock is held, as above.
struct SyncDone {
  std::chrono::nanoseconds duration;
};
/// A segment has its final name, and is durable.
struct SegmentFinished {
  wal::SegmentName segment;
  wal::Lsn end;
};
/// A segment has its compressed form, named `file`. The raw one is gone.
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
/// A loss was found or accepted just now, and is recorded.
struct LossRecorded {
  archive::Loss loss;
};
/// A server that does not stream was looked at: whether a failover to it would leave a gap has
/// changed, or why.
struct CandidateLooked {
  Candidate candidate;
};
/// The disk is full, or has space again.
struct DiskFull {
  bool full;
};
/// What keeps the archive from growing, each time it comes up, but for a full disk that is waited
/// for. Streaming is the end of it, unless the run ends with it.
struct Trouble {
  Error error;
};
/// A second upstream has other WAL than the archive (--compare-with).
struct FeedsDiffer {
  FeedDifference difference;
};
/// The unfinished segment that a stream left, by its name in the end.
struct LeftUnfinished {
  std::string file;
};
/// Somebody is served the archive's WAL from now on, by this process.
struct ClientCame {
  archive::DownstreamClient client;
};
/// It is not any more, and why.
struct ClientGone {
  archive::DownstreamClient client;
  std::string why;
};
/// A segment or a history counts as sent to the object store (--store).
struct Stored {
  std::string file;  ///< its plain name
};
/// What keeps finished WAL from being sent there. Streaming goes on, and so does trying.
struct StoreTrouble {
  Error error;
};
/// That is over.
struct StoreWorks {};
/// A stream ended as asked: by a signal, or (`by_signal` is false) at the end position.
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

/// Calls the alternative for the event's type, and nothing for a type without one:
/// `on(event, [&](const event::Trouble& trouble) { … }, …)`.
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

/// One stream of events, from whoever does something to whoever wants to know: status, log,
/// notifications, systemd, a server downstream. Thread-safe.
class Feed {
 public:
  /// Called on the thread on which the event happened, perhaps on several at once. Must neither
  /// block, nor throw, nor subscribe or unsubscribe.
  using Listener = std::function<void(const Event&)>;

  /// Ends with the object: when that is gone, the listener is not called any more. The feed
  /// outlives it.
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
  std::vector<const Listener*> listeners_;  ///< in the order in which they subscribed
};

}  // namespace weir::receive

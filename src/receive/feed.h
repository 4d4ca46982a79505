#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
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

template <typename... Functions>
struct Overloads : std::decay_t<Functions>... {
  using std::decay_t<Functions>::operator()...;
};
template <typename... Functions>
Overloads(Functions...) -> Overloads<Functions...>;

/// Calls the alternative for the event's type, or nothing if there is none: `on(event, [&](const
/// event::Trouble& trouble) { … }, …)`.
template <typename... Functions>
void on(const Event& happened, Functions&&... functions) {
  const Overloads<Functions...> overloads{std::forward<Functions>(functions)...};
  std::visit(
      [&](const auto& one) {
        if constexpr (std::is_invocable_v<const Overloads<Functions...>&, decltype(one)>)
          overloads(one);
      },
      happened);
}

/// A set of types of events.
class EventTypes {
 public:
  [[nodiscard]] static constexpr EventTypes all() { return EventTypes(~std::uint32_t{0}); }
  /// Those that one of the function object's overloads takes.
  template <typename Overloads>
  [[nodiscard]] static constexpr EventTypes taken_by() {
    return taken_by<Overloads>(static_cast<const Event*>(nullptr));
  }
  template <typename Type>
  [[nodiscard]] constexpr bool contains() const {
    return (bits_ >> place_of<Type>(static_cast<const Event*>(nullptr)) & 1) != 0;
  }
  [[nodiscard]] constexpr bool contains(const Event& event) const {
    return (bits_ >> event.index() & 1) != 0;
  }
  constexpr EventTypes operator|(EventTypes other) const { return EventTypes(bits_ | other.bits_); }

  constexpr EventTypes() = default;  ///< none

 private:
  static_assert(std::variant_size_v<Event> <= 32);
  explicit constexpr EventTypes(std::uint32_t bits) : bits_(bits) {}
  template <typename Overloads, typename... Types>
  static constexpr EventTypes taken_by(const std::variant<Types...>*) {
    std::uint32_t bits = 0;
    std::size_t place = 0;
    ((bits |= std::uint32_t{std::is_invocable_v<const Overloads&, const Types&>} << place++), ...);
    return EventTypes(bits);
  }
  template <typename Type, typename... Types>
  static constexpr std::size_t place_of(const std::variant<Types...>*) {
    std::size_t place = 0;
    static_cast<void>(((std::is_same_v<Type, Types> || (++place, false)) || ...));
    return place;
  }
  std::uint32_t bits_ = 0;
};

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

  /// To all events, or only to those of some types.
  [[nodiscard]] Subscription subscribe(Listener listener, EventTypes types = EventTypes::all());
  /// To the events that one of the functions takes, as in on(). Prefer it: an event is published
  /// for each commit, and no listener is called for one that it does not take.
  template <typename... Functions>
  [[nodiscard]] Subscription listen(Functions&&... functions) {
    using Each = Overloads<Functions...>;
    return subscribe([each = Each{std::forward<Functions>(functions)...}](
                         const Event& happened) { on(happened, each); },
                     EventTypes::taken_by<Each>());
  }
  /// `happened` is one of the types of Event.
  template <typename Happened>
  void publish(Happened&& happened) const {
    if (wanted_.load(std::memory_order_acquire).template contains<std::decay_t<Happened>>())
      deliver(Event(std::forward<Happened>(happened)));
  }

 private:
  struct Entry {
    const Listener* listener;
    EventTypes types;
  };
  void deliver(const Event& event) const;
  void on_changed();

  mutable std::shared_mutex mutex_;
  std::vector<Entry> listeners_;                  ///< in order of subscription
  std::atomic<EventTypes> wanted_{EventTypes()};  ///< by one of them
};

}  // namespace weir::receive

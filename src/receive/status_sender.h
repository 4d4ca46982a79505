#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <utility>

#include "base/log.h"
#include "receive/feed.h"
#include "receive/machine.h"
#include "receive/mailbox.h"
#include "receive/server.h"
#include "receive/stream_policy.h"
#include "receive/stream_state.h"
#include "wal/lsn.h"
#include "wire/copy_messages.h"

namespace weir::receive {

/// Calls the listener for each message during its lifetime.
template <typename Word>
class Listening {
 public:
  /// `to` must outlive this; nullptr: no mailbox. `listener` is called under a lock.
  Listening(Mailbox<Word>* to, std::function<void()> listener) : to_(to) {
    if (to_ != nullptr) to_->set_listener(std::move(listener));
  }
  ~Listening() {
    if (to_ != nullptr) to_->set_listener({});
  }
  Listening(const Listening&) = delete;
  Listening& operator=(const Listening&) = delete;

 private:
  Mailbox<Word>* const to_;
};

/// Sends StreamState's messages to the server: statuses, and hot standby feedback. First reads the
/// newest messages of downstream clients and of the store from their mailboxes. Nothing is sent
/// once the stream has failed, or once nothing may be acknowledged any more (P6). A position is
/// published as confirmed when it was sent as flushed, and positions only increase. Called with the
/// stream's mutex held; does not wait. The sending thread is woken for new messages.
class StatusSender {
 public:
  /// All must outlive this object.
  struct Parts {
    WalStream& stream;
    StreamState& state;
    const StreamPolicy& policy;
    Machine& machine;
    Feed& feed;
    Log& log;
    const std::atomic<bool>& mute;  ///< nothing may be acknowledged any more
    Downstream* downstream;         ///< nullptr: none
    StoreWords* store;              ///< nullptr: there is none
    WakeUp& news;                   ///< raised for each new message, on any thread
  };
  explicit StatusSender(const Parts& parts)
      : parts_(parts),
        downstream_(parts.downstream, [&news = parts.news] { news.raise(); }),
        store_(parts.store, [&news = parts.news] { news.raise(); }) {}

  /// Sends due messages. Returns true if the socket did not accept all of it: then a thread must
  /// wait until it does, and call flush(). Throws as WalStream::send() and flush().
  [[nodiscard]] bool send_due() {
    if (parts_.policy.failed() || parts_.mute) return false;
    hear_others();
    const auto status = parts_.state.take_status(parts_.machine.now());
    const auto needs = parts_.state.take_feedback();
    if (!needs && !status) return false;
    if (needs) parts_.stream.send(*needs);
    if (status) parts_.stream.send(*status);
    flush();
    if (status) on_sent(*status);
    return unsent_;
  }
  /// The socket has not accepted everything yet.
  [[nodiscard]] bool unsent() const { return unsent_; }
  /// Throws as WalStream::flush().
  void flush() { unsent_ = !parts_.stream.flush(); }

 private:
  /// `heard` is the last known version, and is updated.
  template <typename Word>
  static bool has_news(const Mailbox<Word>* from, std::uint64_t& heard) {
    if (from == nullptr) return false;
    const auto version = from->version();
    return std::exchange(heard, version) != version;
  }

  void hear_others() {
    if (has_news(parts_.downstream, heard_downstream_))
      parts_.state.on_downstream(parts_.downstream->get());
    if (has_news(parts_.store, heard_store_)) parts_.state.on_store(parts_.store->get());
  }

  void on_sent(const wire::StandbyStatus& status) {
    if (status.flush > confirmed_) {
      confirmed_ = status.flush;
      parts_.feed.publish(event::Confirmed{parts_.state.timeline(), confirmed_});
    }
    if (parts_.state.leaves_without_store() && !std::exchange(told_leaving_, true))
      parts_.log.warning(
          "the server is shutting down, and would wait for the store: disconnecting. WAL that the "
          "store does not have is flushed in the archive, and the slot retains it on the server");
  }

  const Parts parts_;
  bool unsent_ = false;                 ///< libpq holds output that the socket did not accept
  std::uint64_t heard_downstream_ = 0;  ///< Downstream::version()
  std::uint64_t heard_store_ = 0;       ///< likewise
  wal::Lsn confirmed_;                  ///< as published
  bool told_leaving_ = false;           ///< the server shuts down without waiting for the store
  const Listening<DownstreamWord> downstream_;
  const Listening<StoreWord> store_;
};

}  // namespace weir::receive

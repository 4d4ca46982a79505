#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "archive/downstream_client.h"
#include "relay/feedback.h"
#include "relay/lag.h"
#include "relay/walsender_state.h"

namespace weir::relay {

/// The clients, and their combined state. Thread-safe; does not block.
class Clients {
 public:
  /// Called when the result of gather_feedback() has changed, in the order of the changes; a lock
  /// is held: must neither block nor call this object.
  using Changed = std::function<void(const Feedback&)>;
  /// Reports each client that connects or disconnects, and why it disconnects (empty: it connects).
  /// As Changed.
  using ComesOrGoes =
      std::function<void(const archive::DownstreamClient& client, const std::string& why)>;

  Clients(Waiting waiting, Changed changed, ComesOrGoes comes_or_goes = {});
  ~Clients() = default;
  Clients(const Clients&) = delete;
  Clients& operator=(const Clients&) = delete;

  /// One client, as long as the object exists. Belongs to one thread.
  class Guest;

  /// Sets the xmins that slots hold, with or without their clients; nullopt, as initially, while
  /// unknown.
  void set_slots(std::optional<Xmins> held);

  /// Nothing is sent to a client of this name beyond what those of --serve-synchronized-standbys
  /// have flushed.
  [[nodiscard]] bool holds_back(const std::string& application_name) const;
  [[nodiscard]] bool holds() const { return waiting_.hold.has_value(); }

  [[nodiscard]] std::vector<archive::DownstreamClient> view() const;

 private:
  struct Place {
    archive::DownstreamClient client;
    Member member;
    bool waited_for = false;  ///< a named standby
    Lag write;
    Lag flush;
    Lag replay;
  };

  void gather();

  const Waiting waiting_;
  const Changed changed_;
  const ComesOrGoes comes_or_goes_;
  mutable std::mutex mutex_;
  std::list<Place> places_;
  std::optional<Xmins> slots_;
  wal::TimelineHistory served_{1};  ///< as last reported
  std::optional<Feedback> told_;
};

class Clients::Guest {
 public:
  /// `who`: pid, user, names; the rest is filled in.
  Guest(Clients& clients, archive::DownstreamClient who);
  ~Guest();
  Guest(const Guest&) = delete;
  Guest& operator=(const Guest&) = delete;

  /// Sets the client's current state, and the served history.
  void tell(const WalsenderState::Status& status, const wal::TimelineHistory& served);
  /// Sets why it disconnects, before it does.
  void goes(std::string why) { why_ = std::move(why); }

 private:
  Clients& clients_;
  std::string why_;
  std::list<Place>::iterator place_;
};

}  // namespace weir::relay

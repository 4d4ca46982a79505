#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "archive/serving_view.h"
#include "base/error.h"
#include "relay/served.h"
#include "wire/backend_messages.h"

namespace weir::relay {

/// State shared by all sessions: the position up to which WAL may be sent, and the sessions to wake
/// when it advances. Thread-safe; does not block.
class Hub {
 public:
  /// `holds`: some clients are held back, and initially get nothing.
  explicit Hub(Served begin, bool holds = false);

  [[nodiscard]] std::shared_ptr<const Served> served() const;
  /// As ServedEnd::on_durable(); wakes all sessions if there is a change.
  ServedEnd::Told on_durable(const wal::TimelineHistory& history, wal::Lsn end);

  /// The same for a receiver's thread, which must not block: returns false, and does nothing, if
  /// the timeline differs from the served one, or more than a few sessions would have to be woken.
  bool on_durable_soon(wal::TimelineId timeline, wal::Lsn end);

  /// Sets why clients that have everything before `end`, the served end, get no more; nullopt: more
  /// may follow. Does nothing if a different end is served by now; a later end revokes it.
  void set_break(wal::Lsn end, std::optional<wire::ErrorReport> why);

  /// Clients that are held back may get the WAL before `end` on this timeline; wakes all sessions
  /// if it advances. It never goes back.
  void on_flushed_downstream(wal::TimelineId timeline, wal::Lsn end);

  /// Sets the version that the upstream server reports; for new clients.
  void set_version(std::string version);
  [[nodiscard]] std::string version() const;

  /// Requests all sessions to end.
  void stop();
  [[nodiscard]] bool stopping() const;
  /// What clients are sent at the end, unless it is an ordinary end.
  void set_last_word(std::optional<wire::ErrorReport> word);
  [[nodiscard]] std::optional<wire::ErrorReport> last_word() const;

  /// The directory no longer has the archive that is served: all sessions, also later ones, end
  /// with `word`, and nothing is written into the directory any more.
  void abandon(wire::ErrorReport word);
  [[nodiscard]] bool abandoned() const;
  /// Sets why no newer WAL is served, or none at all, for reports; nullopt: there is no such
  /// reason.
  void set_problem(const std::optional<Error>& error);
  [[nodiscard]] std::optional<archive::ServingProblem> problem() const;

  /// Wakes all sessions because of another change.
  void wake_all();

  /// While it exists, `wake` is called after each of the changes above; a lock is held, so it must
  /// neither block nor call the hub.
  class Guest {
   public:
    Guest(Hub& hub, std::function<void()> wake);
    ~Guest();
    Guest(const Guest&) = delete;
    Guest& operator=(const Guest&) = delete;

   private:
    friend class Hub;
    Hub& hub_;
    const std::function<void()> wake_;
  };

 private:
  void wake_guests();
  void renew();

  mutable std::mutex mutex_;
  ServedEnd end_;
  std::optional<wal::Lsn> hold_;
  std::optional<wire::ErrorReport> breaks_off_;
  std::shared_ptr<const Served> served_;
  std::string version_;
  bool stopping_ = false;
  std::optional<wire::ErrorReport> last_word_;
  bool abandoned_ = false;
  std::optional<archive::ServingProblem> problem_;
  std::set<const Guest*> guests_;
};

}  // namespace weir::relay

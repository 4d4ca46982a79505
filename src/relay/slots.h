#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "archive/kept_slots.h"
#include "base/log.h"
#include "base/threads.h"
#include "io/directory.h"
#include "relay/hub.h"
#include "relay/slot_questions.h"
#include "relay/slots_state.h"
#include "relay/sockets.h"

namespace weir::relay {

/// The slots of the served archive: SlotsState, with its file. One process has an archive's slots;
/// if another process has them, or the directory is not writable, there are none here until they
/// become available.
///
/// A command that creates or drops a permanent slot returns when that is durable. Replies of
/// streaming clients are only noted: a thread writes them, soon if a slot retains more than the
/// file says, otherwise every ten seconds. A hanging disk therefore blocks clients that create a
/// slot, but not streaming ones. Thread-safe. The objects it refers to must outlive it.
class Slots {
 public:
  struct Options {
    std::optional<std::uint64_t> keep{};       ///< bytes before the end; a slot that retains more
                                               ///< is lost
    std::optional<std::string> auto_create{};  ///< these are created when a client uses them
    bool answers = true;                       ///< "pgweir slot -D", by a socket in the directory
  };
  /// Called with the result of held(), initially and after each change; a lock is held: must
  /// neither block nor call this object.
  using HeldChanged = std::function<void(const std::optional<Xmins>&)>;
  Slots(io::Directory& archive, const Cluster& cluster, Options options, Hub& hub, Log& log,
        HeldChanged held_changed = {}, Threads& threads = machine_threads());
  ~Slots();
  Slots(const Slots&) = delete;
  Slots& operator=(const Slots&) = delete;

  /// Sessions have ended: pending changes are written. If that fails, it is logged, and the file
  /// retains more than needed.
  void close();

  [[nodiscard]] SlotAnswer answer(SessionId session, const SlotQuestion& question);
  void release(SessionId session);
  void clean_up(SessionId session);
  void on_flush(SessionId session, wal::Lsn flush);
  /// As SlotsState::on_feedback().
  bool on_feedback(SessionId session, Xmins asked);
  [[nodiscard]] bool evicted(SessionId session) const;

  /// As SlotsState::held(). nullopt if unknown, so nothing may be reported upstream.
  [[nodiscard]] std::optional<Xmins> held() const;
  /// nullopt: there are none here.
  [[nodiscard]] std::optional<std::vector<Slot>> all() const;

 private:
  using Time = std::chrono::steady_clock::time_point;

  SlotAnswer ask(SessionId session, const slot_question::Read& question);
  SlotAnswer ask(SessionId session, const slot_question::Create& question);
  SlotAnswer ask(SessionId session, const slot_question::Drop& question);
  SlotAnswer ask(SessionId session, const slot_question::Use& question);
  SlotAnswer ask(SessionId session, const slot_question::List& question);
  [[nodiscard]] wire::ErrorReport or_none_here(wire::ErrorReport report) const;

  /// The answer for SlotsSocket.
  [[nodiscard]] std::string told(const std::string& line);

  void work();
  void end_thread();
  void wake();
  void look();
  void take_over();
  void enforce();
  void save(const std::optional<std::string>& without = std::nullopt);
  void give_up(const Error& error);
  void tell_held();
  [[nodiscard]] std::optional<std::string> why_none() const;

  io::Directory& archive_;
  const Cluster& cluster_;
  const Options options_;
  Hub& hub_;
  Log& log_;
  const HeldChanged held_changed_;
  Threads& threads_;

  const std::unique_ptr<Threads::Mutex> mutex_;          ///< held briefly
  const std::unique_ptr<Threads::Condition> something_;  ///< for the thread to do
  bool wakes_ = false;                                   ///< guarded by mutex_
  bool stops_ = false;                                   ///< guarded by mutex_
  SlotsState state_;                                     ///< guarded by mutex_
  std::optional<std::string> why_none_{"the slots have not been read yet"};  ///< guarded by mutex_
  std::optional<std::optional<Xmins>> told_held_;                            ///< guarded by mutex_
  bool released_ = false;       ///< guarded by mutex_: a client has disconnected
  bool lost_for_good_ = false;  ///< guarded by mutex_: a sync has failed
  Time saved_at_{};             ///< guarded by mutex_

  /// Held while the file is written; taken before mutex_.
  const std::unique_ptr<Threads::Mutex> writing_;
  std::unique_ptr<archive::SlotsLock> owns_;  ///< guarded by writing_
  Time try_at_{};                             ///< the thread's own
  std::string told_failure_;                  ///< likewise: why the file could not be written
  std::unique_ptr<SlotsSocket> socket_;       ///< guarded by writing_
  std::unique_ptr<Threads::Thread> thread_;
};

}  // namespace weir::relay

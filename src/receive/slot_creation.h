#pragma once

#include <map>
#include <set>
#include <string>

#include "base/log.h"

namespace weir::receive {

/// On which hosts this process created the slot of `--create-slot`, or found it, and which of them
/// it drops again: on a server that is rejected, or from which nothing was received, a slot would
/// only retain WAL until that server's disk is full. A slot can be dropped only during the
/// connection that created it; slots that could not be dropped are reported at the end. Pure except
/// for the log.
///
/// Hosts are identified by their index in the connection string; "here" is the host of the current
/// connection.
class SlotCreation {
 public:
  /// `log` must outlive it. `slot` may be empty if no slot is used; then none is ever created.
  SlotCreation(std::string slot, Log& log) : slot_(std::move(slot)), log_(log) {}

  /// The slot was created on that host or found there.
  [[nodiscard]] bool is_on(int host) const { return hosts_.contains(host); }
  [[nodiscard]] bool is_on_any() const { return !hosts_.empty(); }
  /// CREATE_REPLICATION_SLOT has returned on this connection.
  [[nodiscard]] bool asked_here() const { return asked_here_; }
  [[nodiscard]] bool is_new_here() const { return new_here_; }
  /// Nothing was received through the slot created here.
  [[nodiscard]] bool is_new_and_unused_here() const { return new_here_ && !used_here_; }
  /// It must be dropped before anything else on this connection.
  [[nodiscard]] bool drop_wanted() const { return drop_wanted_; }

  void on_asked() { asked_here_ = true; }
  void on_created(int host, const std::string& server);
  void on_found(int host) { hosts_.insert(host); }
  /// It does not exist. Returns true if it did before.
  bool on_missing(int host) { return hosts_.erase(host) > 0; }
  /// WAL was received through it.
  void on_used(int host);
  /// The server is rejected, or the process ends. `wrong_wal`: the received WAL is of another
  /// history, so that no later start can use the slot.
  void take_back(bool wrong_wal) { drop_wanted_ = new_here_ && (!used_here_ || wrong_wal); }
  void on_dropped(int host, const std::string& server);
  /// There is no retry: the program ends, or the next host follows.
  void on_drop_failed(int host, const std::string& server);
  void on_disconnected(int host, const std::string& server);
  /// At the end, once: the remaining slots.
  void warn_of_left();

 private:
  const std::string slot_;
  Log& log_;
  std::set<int> hosts_;
  bool asked_here_ = false;
  bool new_here_ = false;
  bool used_here_ = false;
  bool drop_wanted_ = false;
  std::map<int, std::string> left_;  ///< servers, by their host's index
};

}  // namespace weir::receive

#pragma once

#include <map>
#include <set>
#include <string>

#include "base/log.h"

namespace weir::receive {

/// On which hosts this process made the slot of `--create-slot`, or found it there, and which of
/// those it takes back: on a server that is refused, or from which nothing came, a slot would only
/// keep WAL until that server's disk is full. A slot can be taken back only as long as the
/// connection lives that made it; what could not be taken back is told at the end. Pure: the log is
/// the only thing outside.
///
/// Hosts are named by their index in the connection string; "here" is the host of the present
/// connection.
class SlotCreation {
 public:
  /// `log` outlives it. `slot` may be empty where no slot is used; then nothing is ever made.
  SlotCreation(std::string slot, Log& log) : slot_(std::move(slot)), log_(log) {}

  /// The slot was made on that host or seen there.
  [[nodiscard]] bool is_on(int host) const { return hosts_.contains(host); }
  [[nodiscard]] bool is_on_any() const { return !hosts_.empty(); }
  /// CREATE_REPLICATION_SLOT was answered on this connection.
  [[nodiscard]] bool asked_here() const { return asked_here_; }
  [[nodiscard]] bool is_new_here() const { return new_here_; }
  /// Nothing came through the one that was made here.
  [[nodiscard]] bool is_new_and_unused_here() const { return new_here_ && !used_here_; }
  /// It is to be dropped before anything else is done on this connection.
  [[nodiscard]] bool drop_wanted() const { return drop_wanted_; }

  void on_asked() { asked_here_ = true; }
  void on_created(int host, const std::string& server);
  void on_found(int host) { hosts_.insert(host); }
  /// It is not there. True if it was before.
  bool on_missing(int host) { return hosts_.erase(host) > 0; }
  /// WAL came through it.
  void on_used(int host);
  /// The server is refused, or the process ends. `wrong_wal`: what came is of another history, so
  /// that no later start can go on with the slot.
  void take_back(bool wrong_wal) { drop_wanted_ = new_here_ && (!used_here_ || wrong_wal); }
  void on_dropped(int host, const std::string& server);
  /// Nobody waits for it: the end, or the next host, comes first.
  void on_drop_failed(int host, const std::string& server);
  void on_disconnected(int host, const std::string& server);
  /// At the end, once: what is left of them.
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

#include "receive/slot_creation.h"

namespace weir::receive {

void SlotCreation::on_created(int host, const std::string& server) {
  hosts_.insert(host);
  left_.erase(host);
  new_here_ = true;
  used_here_ = false;
  log_.info("created replication slot \"{}\" on {}", slot_, server);
}

void SlotCreation::on_used(int host) {
  used_here_ = true;
  left_.erase(host);
}

void SlotCreation::on_dropped(int host, const std::string& server) {
  drop_wanted_ = new_here_ = false;
  hosts_.erase(host);
  log_.info("dropped replication slot \"{}\" on {}, which this start had created", slot_, server);
}

void SlotCreation::on_drop_failed(int host, const std::string& server) {
  drop_wanted_ = new_here_ = false;
  left_[host] = server;
}

void SlotCreation::on_disconnected(int host, const std::string& server) {
  if (is_new_and_unused_here()) left_[host] = server;
  asked_here_ = new_here_ = used_here_ = false;
}

void SlotCreation::warn_of_left() {
  for (const auto& [host, server] : left_)
    log_.warning(
        "could not drop replication slot \"{}\", which this start had created on {}: it retains "
        "WAL there until that server's disk is full. Drop it: SELECT "
        "pg_drop_replication_slot('{}')",
        slot_, server, slot_);
  left_.clear();
}

}  // namespace weir::receive

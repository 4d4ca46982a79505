#include "receive/alarms.h"

#include <exception>

namespace weir::receive {

void Alarms::disk_full(bool full) {
  if (disk_full_.exchange(full) != full) feed_.publish(event::DiskFull{full});
}

void Alarms::trouble(const Error& error) {
  if (error.kind() == ErrorKind::disk_full)
    disk_full_ = true;  // the listeners handle this event
                        // themselves
  feed_.publish(event::Trouble{error});
}

void Alarms::durability_lost(const Error& error) {
  mute_ = true;
  end_process_(error);
  std::terminate();
}

std::function<void(const Error&)> Alarms::durability_lost_hook() {
  return [this](const Error& error) { durability_lost(error); };
}

}  // namespace weir::receive

#include "receive/confirm_stored.h"

#include <utility>

#include "base/error.h"
#include "pq/synchronous_names.h"

namespace weir::receive {

bool ConfirmStored::matters() const {
  return options_.confirm == Confirm::stored && !options_.commits_may_wait;
}

void ConfirmStored::ask(Server& server) {
  if (!matters()) return;
  const auto names = server.synchronous_names();
  {
    const std::lock_guard lock(mutex_);
    own_name_ = names ? names->own : std::string();
  }
  if (!names) {
    hear("");
    return;
  }
  if (!confirmed_before_ && pq::names_standby(names->setting, names->own))
    throw Error(ErrorKind::conflict, "with --confirm stored commits would wait for the store")
        .with("synchronous_standby_names", names->setting)
        .with("our application_name", names->own)
        .hint(
            "Remove the receiver's name from synchronous_standby_names, or use another "
            "application_name, or confirm flushed WAL (--confirm local). --force confirms stored "
            "WAL anyway: each commit then takes as long as the store.");
  confirmed_before_ = true;
  hear(names->setting);
}

void ConfirmStored::hear(const std::string& synchronous_standby_names) {
  if (!matters()) return;
  // Held to the end: if two threads call this, the later message must be the last one in the
  // mailbox.
  const std::lock_guard lock(mutex_);
  const bool wait = !own_name_.empty() && pq::names_standby(synchronous_standby_names, own_name_);
  if (std::exchange(commits_would_wait_, wait) != wait) {
    if (wait)
      log_.error(
          "synchronous_standby_names is now \"{}\" and contains this receiver: with --confirm "
          "stored, commits would wait for the store, so no flush position is confirmed to the "
          "server, and the slot retains all WAL from now on; remove the name, or start with "
          "--confirm local or --force",
          synchronous_standby_names);
    else
      log_.info(
          "synchronous_standby_names no longer contains this receiver: stored WAL is confirmed "
          "again");
  }
  store_->change([&](StoreWord& word) { word.commits_would_wait = wait; });
}

}  // namespace weir::receive

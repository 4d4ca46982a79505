#pragma once

#include <mutex>
#include <string>

#include "base/log.h"
#include "receive/mailbox.h"
#include "receive/options.h"
#include "receive/server.h"

namespace weir::receive {

/// With --confirm stored: whether commits of the server would wait for the store (P13), because
/// synchronous_standby_names includes this receiver. At startup that is an error. Exiting later
/// would help no commit, and lose the archive's position: so from then on no flush position is
/// reported to the server.
class ConfirmStored {
 public:
  /// All must outlive this object; `store` is not nullptr if Confirm::stored is requested.
  ConfirmStored(const Options& options, StoreWords* store, Log& log)
      : options_(options), store_(store), log_(log) {}

  /// Checks a server before streaming from it. Throws Error{conflict} if commits of the first one
  /// would wait. The session's thread.
  void ask(Server& server);
  /// Takes the current setting. Any thread.
  void hear(const std::string& synchronous_standby_names);

 private:
  [[nodiscard]] bool matters() const;

  const Options& options_;
  StoreWords* const store_;
  Log& log_;
  bool confirmed_before_ = false;  ///< a server was checked, and its commits did not wait for us
  std::mutex mutex_;               ///< guards the following
  std::string own_name_;           ///< application_name at the server; empty: commits cannot wait
                                   ///< for it
  bool commits_would_wait_ = false;
};

}  // namespace weir::receive

#pragma once

#include <mutex>
#include <string>

#include "base/log.h"
#include "receive/options.h"
#include "receive/server.h"
#include "receive/store_words.h"

namespace weir::receive {

/// With --confirm stored: whether commits of the server would wait for the store (P13), since
/// synchronous_standby_names names this receiver. At the start that is refused. To end later would
/// help no commit, and lose the archive's place: so then the server is told of no flush position
/// any more.
class ConfirmStored {
 public:
  /// All of it outlives this object; `store` is not nullptr where that confirmation is asked for.
  ConfirmStored(const Options& options, StoreWords* store, Log& log)
      : options_(options), store_(store), log_(log) {}

  /// Asks a server before anything is streamed from it. Throws Error{conflict} at the first one
  /// whose commits would wait. The session's thread.
  void ask(Server& server);
  /// The setting as it is now. Any thread.
  void hear(const std::string& synchronous_standby_names);

 private:
  [[nodiscard]] bool matters() const;

  const Options& options_;
  StoreWords* const store_;
  Log& log_;
  bool confirmed_before_ = false;  ///< a server was asked, and its commits did not wait for us
  std::mutex mutex_;               ///< of what follows
  std::string own_name_;           ///< at the server; empty: none that commits could wait for
  bool commits_would_wait_ = false;
};

}  // namespace weir::receive

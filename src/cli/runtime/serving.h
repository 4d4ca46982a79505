#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "archive/durable_end.h"
#include "archive/serving_view.h"
#include "base/log.h"
#include "base/threads.h"
#include "cli/options/serve_options.h"
#include "io/directory.h"
#include "net/listener.h"
#include "net/wake.h"
#include "relay/archive_watch.h"
#include "relay/clients.h"
#include "relay/server.h"

namespace weir::cli {

/// Serves an archive, according to its request. The objects it refers to must outlive it.
class Serving {
 public:
  /// Called under a lock: see relay::Clients.
  struct Listeners {
    relay::Clients::Changed feedback;
    relay::Clients::ComesOrGoes comes_or_goes;
    /// Not under a lock: see relay::ArchiveLook.
    std::function<void(const Error&)> durability_lost;
  };
  /// Reads the rules and the users and takes the addresses. Throws Error{usage} for errors in them,
  /// Error{retry} if an address is not available.
  Serving(ServeRequest request, io::Directory& archive, archive::AskDurableEnd ask, Log& log,
          Listeners listeners = {}, relay::FindWriter find_writer = {});

  using Tell = std::function<void(const std::string&)>;
  /// Waits until there is WAL, and serves it until `stop` is raised. `tell` is called when either
  /// begins, with a line that reports it. Throws Error{io, damage, durability, …}.
  void run(const net::Wake& stop, const Tell& tell);
  /// Rereads rules and users. Errors are logged, and the old ones remain in use.
  void reload();
  /// The result of `ask` has changed to this. Any thread; never blocks.
  void on_durable(const archive::DurableEnd& end);
  /// The upstream server reports this version (server_version). Any thread.
  void hear_version(const std::string& version);
  /// The message for clients when serving ends; nullopt: that of a server that is stopped. Any
  /// thread.
  void set_last_word(const std::optional<wire::ErrorReport>& word);
  /// The served WAL, and its clients. Any thread.
  [[nodiscard]] archive::ServingView view() const;
  ~Serving();
  Serving(const Serving&) = delete;
  Serving& operator=(const Serving&) = delete;

 private:
  class HubNow;
  class SlotsNow;
  std::optional<relay::Served> wait_for_wal(const net::Wake& stop, const Tell& tell);
  void watch_secrets();
  void renew_secrets();
  void tell_who_may_come() const;
  void tell_expiry() const;
  void on_feedback(const relay::Feedback& feedback);

  const ServeRequest request_;
  io::Directory& archive_;
  const archive::AskDurableEnd ask_;
  const relay::FindWriter find_writer_;
  Log& log_;
  relay::AccessBoard access_;
  std::vector<net::Listener> listeners_;
  std::mutex reload_mutex_;   ///< for changes of access_
  std::string secrets_read_;  ///< as they were when they were read last; guarded by it
  net::Wake over_;
  std::unique_ptr<Threads::Thread> secrets_thread_;
  std::optional<relay::Cluster> cluster_;
  net::Wake news_;
  const Listeners listening_;
  mutable std::mutex hub_mutex_;
  relay::Hub* hub_ = nullptr;  ///< while WAL is served
  mutable std::mutex slots_mutex_;
  relay::Slots* slots_ = nullptr;  ///< likewise; guarded by slots_mutex_
  std::string version_;
  std::optional<wire::ErrorReport> last_word_;
  relay::Clients clients_;
};

}  // namespace weir::cli

#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/seldom_log.h"
#include "base/threads.h"
#include "io/shelf.h"
#include "net/listener.h"
#include "net/stream.h"
#include "net/wake.h"
#include "relay/base_backup.h"
#include "relay/entrance_state.h"
#include "relay/hub.h"
#include "relay/session.h"
#include "relay/shared_wal.h"
#include "relay/slots.h"
#include "relay/tls_stream.h"

namespace weir::relay {

/// The access rules for new clients; existing sessions are kept. Any thread.
class AccessBoard {
 public:
  /// Initially rejects all clients.
  AccessBoard() : access_(std::make_shared<const Access>()) {}
  void set(std::shared_ptr<const Access> access) {
    const std::lock_guard lock(mutex_);
    access_ = std::move(access);
  }
  [[nodiscard]] std::shared_ptr<const Access> get() const {
    const std::lock_guard lock(mutex_);
    return access_;
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const Access> access_;
};

/// Accepts clients and serves each of them the archive's WAL.
///
/// The thread that calls run() accepts connections, and handles all clients that have not
/// authenticated yet, without blocking on any of them. Their number is limited; when it is
/// exceeded, the one that has been connected longest is disconnected. Each authenticated client
/// gets a thread of its own, which reads and decompresses WAL, and waits for its client, so that a
/// slow client or a slow file does not block any other client.
class Server {
 public:
  struct Options {
    std::size_t max_clients = 100;  ///< authenticated clients at the same time
    std::chrono::milliseconds authentication_time{60'000};
    std::size_t max_at_the_door = 200;
    std::optional<BackupSource::Options> backups{};  ///< unset: base backups are not available
  };
  /// The referenced objects must outlive it.
  Server(io::Shelf& archive, const Cluster& cluster, Hub& hub, Slots& slots, Clients& clients,
         const AccessBoard& access, Options options, Log& log);
  /// Sessions have ended: see run().
  ~Server() = default;
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Starts to accept connections: a client that connects from now on is served by run(). Throws
  /// Error{io}.
  static void listen(std::vector<net::Listener>& listeners);
  /// Serves clients of these listeners, which listen(), until `stop` is raised; then notifies all
  /// clients, and returns when all of them have disconnected. The same happens before it throws,
  /// for lack of memory for example; what fails for one client only disconnects that client. Call
  /// it once.
  void run(std::vector<net::Listener>& listeners, const net::Wake& stop);

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct Visitor {
    std::unique_ptr<net::Stream> stream;
    TlsStream* shakes_hands;                    ///< the same, during the handshake
    std::optional<archive::ConnectionSsl> ssl;  ///< once it has
    std::shared_ptr<const Access> access;       ///< as of its connection
    EntranceState state;
    Time until;
  };
  struct Guest {
    std::unique_ptr<Threads::Thread> thread;
    std::atomic<bool> gone = false;
  };

  void disconnect_all();
  template <typename Work>
  bool unless_it_fails(Work work);
  void welcome(net::Listener& listener, const net::Wake& stop);
  void wait_out(int error, const net::Wake& stop);
  /// False: it is not at the door any more.
  bool attend(Visitor& visitor, bool can_read);
  bool listen_to(Visitor& visitor);
  bool begin_tls(Visitor& visitor);
  bool shake_hands(Visitor& visitor);
  void refused(const Visitor& visitor, const std::string& why);
  void admit(Visitor& visitor);
  void tell_refusal(const Visitor& visitor);
  void reap();

  io::Shelf& archive_;
  const Cluster& cluster_;
  Hub& hub_;
  Slots& slots_;
  Clients& clients_;
  const AccessBoard& access_;
  const Options options_;
  Log& log_;
  SeldomLog seldom_;   ///< of clients
  SeldomLog trouble_;  ///< of the archive, which clients have met
  std::optional<BackupSource> backups_;
  SharedWal wal_;
  Cancels cancels_;
  bool told_shortage_ = false;
  std::list<Visitor> visitors_;  ///< the oldest first
  std::list<Guest> guests_;
  net::Wake reap_;
  std::uint32_t processes_ = 0;
};

}  // namespace weir::relay

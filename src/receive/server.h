#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "net/wake.h"
#include "pq/client_secrets.h"
#include "pq/commands.h"
#include "pq/replication_stream.h"
#include "pq/slot_view.h"
#include "receive/options.h"
#include "wal/lsn.h"
#include "wal/segment.h"
#include "wire/copy_messages.h"

namespace weir::receive {

/// A physical stream, as a receiver needs it; pq::ReplicationStream documents the functions. A
/// simulation replaces it.
class WalStream {
 public:
  virtual ~WalStream() = default;
  virtual void receive() = 0;
  [[nodiscard]] virtual pq::StreamEvent next(std::span<std::byte> place = {}) = 0;
  virtual void keep_last() = 0;
  virtual void send(const wire::StandbyStatus& status) = 0;
  virtual void send(const wire::HotStandbyFeedback& feedback) = 0;
  [[nodiscard]] virtual bool flush() = 0;
  virtual void finish(std::chrono::milliseconds timeout) = 0;
  virtual void let_go() = 0;
  virtual void gather(std::size_t bytes) = 0;
  [[nodiscard]] virtual int socket() const = 0;  ///< for Machine::poll()
};

/// A connected server. Errors are those of pq's functions of the same names; each may throw
/// net::Interrupted.
class Server {
 public:
  virtual ~Server() = default;
  [[nodiscard]] virtual std::string name() const = 0;
  [[nodiscard]] virtual std::size_t host_index() const = 0;
  [[nodiscard]] virtual std::size_t host_count() const = 0;
  [[nodiscard]] virtual int major() const = 0;
  /// In its own format: "15.18 (Debian 15.18-1)".
  [[nodiscard]] virtual std::string version() const = 0;
  /// Expiry time of its certificate; nullopt: no TLS, or unknown.
  [[nodiscard]] virtual std::optional<std::chrono::sys_seconds> certificate_expires() const {
    return std::nullopt;
  }
  /// Reported by servers from 14 on.
  [[nodiscard]] virtual std::optional<bool> in_hot_standby() const = 0;
  /// The same, queried if it is not reported; nullopt: unknown.
  [[nodiscard]] virtual std::optional<bool> ask_for_role() = 0;
  /// Which standbys its commits wait for, and our application_name; nullopt: none of its clients,
  /// since it is a standby, or unknown.
  struct SynchronousNames {
    std::string setting;  ///< synchronous_standby_names
    std::string own;
  };
  [[nodiscard]] virtual std::optional<SynchronousNames> synchronous_names() { return std::nullopt; }
  /// Its setting cluster_name; "" if that is not set, or it does not know the setting, like a
  /// relay.
  [[nodiscard]] virtual std::string cluster_name() { return {}; }
  /// From now on `stop` ends its waits; it must outlive the server.
  virtual void interrupted_by(const net::Wake& stop) = 0;

  [[nodiscard]] virtual pq::SystemIdentity identify_system() = 0;
  [[nodiscard]] virtual wal::SegmentSize wal_segment_size() = 0;
  [[nodiscard]] virtual std::chrono::milliseconds wal_sender_timeout() = 0;
  [[nodiscard]] virtual unsigned file_mode() = 0;
  [[nodiscard]] virtual bool create_physical_slot(const std::string& slot) = 0;
  virtual void drop_slot(const std::string& slot) = 0;
  /// Uses the slot for a moment, by a stream that starts at `position`, the end of the server's WAL
  /// on this timeline, and is ended at once. With `flush` the slot is moved there; the server
  /// allows both directions. The reported write position is the same, the apply position is 0/0.
  /// The slot's xmin is released.
  /// Returns false if the timeline has ended there: nothing was moved. Throws the server's Error:
  /// no such slot (42704), in use (55006), invalidated (55000).
  [[nodiscard]] virtual bool use_slot(const std::string& slot, wal::Lsn position,
                                      wal::TimelineId timeline, std::optional<wal::Lsn> flush) = 0;
  [[nodiscard]] virtual std::optional<pq::SlotState> read_replication_slot(
      const std::string& slot) = 0;
  /// Why a slot may be invalidated although it has a restart_lsn: as
  /// pq::setting_of_unseen_invalidation().
  [[nodiscard]] virtual std::string setting_of_unseen_invalidation() { return {}; }
  [[nodiscard]] virtual std::string timeline_history(wal::TimelineId timeline) = 0;
  [[nodiscard]] virtual std::unique_ptr<WalStream> start(const std::optional<std::string>& slot,
                                                         wal::Lsn start,
                                                         wal::TimelineId timeline) = 0;
  /// A stream to find out what WAL it has, without a slot. No status is sent on it: that would
  /// report a flush position to the server.
  [[nodiscard]] virtual std::unique_ptr<WalStream> question(wal::Lsn start,
                                                            wal::TimelineId timeline) = 0;
  /// Checks over another connection whether it is shutting down. May be called on any thread, also
  /// when this object is gone; takes up to five seconds.
  [[nodiscard]] virtual std::function<bool()> shutdown_probe() const = 0;
};

/// The state of a slot, read over an ordinary connection.
struct SlotReading {
  pq::SlotView view;
  int server_major = 0;
  /// synchronous_standby_names; nullopt: a standby, or unknown.
  std::optional<std::string> synchronous_names = {};
  /// End of the WAL of a standby whose walreceiver does not stream, as the server prints it.
  std::optional<std::string> cut_off_at = {};
};

/// The hosts in a connection string.
struct HostList {
  std::vector<std::string> names;  ///< for messages; never empty
  bool prefers_standby = false;    ///< target_session_attrs=prefer-standby
  bool shuffled = false;           ///< load_balance_hosts=random
};

/// A short visit to a host of the connection string while another one streams.
struct Visit {
  std::size_t host = 0;
  std::chrono::milliseconds timeout{5'000};
  std::string application_name;
};

/// Connects to servers.
class Servers {
 public:
  virtual ~Servers() = default;
  /// Throws Error{usage} for an invalid connection string.
  [[nodiscard]] virtual HostList hosts(const Options& options) = 0;
  /// To that host only. As pq::Connection::open().
  [[nodiscard]] virtual std::unique_ptr<Server> connect_to(
      const Options& options, std::size_t host, std::function<void(const std::string&)> notice,
      const net::Wake& stop) = 0;
  /// To a host of the connection string, `first_host` if it is available. As
  /// pq::Connection::open().
  [[nodiscard]] virtual std::unique_ptr<Server> connect(
      const Options& options, std::size_t first_host,
      std::function<void(const std::string&)> notice, const net::Wake& stop) = 0;
  /// To that host only, regardless of its role. As pq::Connection::open().
  [[nodiscard]] virtual std::unique_ptr<Server> visit(const Options& options, const Visit& visit,
                                                      const net::Wake& stop) = 0;
  /// Reads the state of the files used for connections. Empty: there are none.
  [[nodiscard]] virtual std::function<pq::SecretsLook()> secrets(const Options&) { return {}; }
  /// Uses a connection of its own for the duration of the call: to the host of `conninfo` with the
  /// name `server` (Server::name()), regardless of its role; if it names none like this, to any.
  /// Throws as pq::Connection::open() and execute().
  [[nodiscard]] virtual SlotReading read_slot_view(const std::string& conninfo,
                                                   const std::string& server,
                                                   const std::string& slot,
                                                   const net::Wake& stop) = 0;
  /// The same during a visit: of that host only, regardless of its role.
  [[nodiscard]] virtual pq::SlotView check_slot(const Options&, const Visit&, const std::string&,
                                                const net::Wake&) {
    return {};
  }
};

/// PostgreSQL servers, using libpq. Stateless.
[[nodiscard]] Servers& pq_servers();

}  // namespace weir::receive

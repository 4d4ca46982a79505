#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pgweir/error.h"

namespace weir {

/// A notification sent by NOTIFY or pg_notify().
struct Notification {
  std::string channel;
  std::string payload;  ///< up to 7999 bytes, in UTF-8 unless the connection string sets another
                        ///< encoding
  int server_pid = 0;   ///< of the server process whose transaction sent it
};

/// Listens on channels of one database (LISTEN), and reconnects when the connection is lost.
///
/// PostgreSQL does not keep notifications for a disconnected client. Notifications sent while the
/// connection was down are lost, and on_listening reports since when. Treat a notification as a
/// hint to check for work, and check after each on_listening, too.
///
/// Notifications of one connection come in the order in which their transactions committed; each
/// comes once. The server removes duplicates within one transaction.
///
/// A client that does not read blocks the server. The server process buffers data that the socket
/// does not accept. When that process blocks in a send, the server cannot remove notifications from
/// its queue (8 GB; once the queue is full, every NOTIFY of the cluster fails), and VACUUM cannot
/// remove dead rows. Therefore read in time, and pass long work to another thread; a program that
/// cannot do so must call hang_up(). A smart shutdown waits for this session, as for any other.
///
/// One thread at a time; only interrupt() may be called from any thread and from signal handlers.
/// Callbacks run on the thread that reads and must not call the Listener, except for interrupt().
class Listener {
 public:
  struct Listening {
    std::string server;  ///< "host:port", or the path of the socket
    /// Unset the first time. Else the server's last sign of life on the connection before, or, if
    /// hang_up() or reconnect() discarded notifications that were received and not read, the last
    /// one before these: notifications sent after it and before now may have been missed.
    std::optional<std::chrono::system_clock::time_point> missed_since;
  };

  struct Options {
    /// A connection string in libpq's key=value or URI form; several hosts are tried in turn. It
    /// must lead to a primary: a standby has no notifications. Both sides must name the same
    /// database.
    std::string conninfo;
    /// At least one, each of 1 to 63 bytes. Taken literally: no case folding, no quotes.
    std::vector<std::string> channels;
    /// Connect again after a loss, with growing pauses of up to 5 s, inside read(timeout) and
    /// consume(). False: they throw what ended the connection.
    bool reconnect = true;
    /// The constructor does not connect; the first read(timeout) or consume() does, and treats an
    /// unavailable server like a lost connection. Requires `reconnect`.
    bool wait_for_server = false;
    std::chrono::milliseconds connect_timeout{30'000};  ///< for all hosts together
    /// Interval at which an idle server is asked to reply; it is given up after the same time
    /// again. Bounds the time covered by missed_since. Zero: never, the kernel's TCP keepalives
    /// alone decide.
    std::chrono::milliseconds check_interval{30'000};
    std::string application_name = "pgweir";  ///< unless the connection string names one

    /// Called when listening has started, initially or after a loss. May be empty.
    std::function<void(const Listening&)> on_listening = {};
    /// Called when the connection was lost or an attempt failed, and another one follows. May be
    /// empty.
    std::function<void(const Error&)> on_lost = {};
  };

  /// Connects and listens, unless wait_for_server. Throws Error{usage} for invalid options,
  /// Error{retry} if no server responds, Error{refused} for permanent errors: no such database,
  /// wrong password, a standby.
  explicit Listener(Options options);
  ~Listener();
  Listener(Listener&&) noexcept;
  Listener& operator=(Listener&&) noexcept;

  /// Returns the next notification that has arrived; nullopt if there is none. Never blocks and
  /// never connects: throws Error{retry} when the connection is lost, after all received
  /// notifications; see reconnect().
  [[nodiscard]] std::optional<Notification> read();
  /// Waits for a notification. Returns nullopt when the time is over, or after interrupt(). Throws
  /// Error{refused} if a server rejects permanently, and, without `reconnect`, Error{retry}. The
  /// timeout also applies to connecting: the attempt ends with it.
  [[nodiscard]] std::optional<Notification> read(std::chrono::milliseconds timeout);
  /// Hands each notification to `handle` until that returns false, or interrupt() is called. Throws
  /// as read(timeout) does, and what `handle` throws.
  void consume(const std::function<bool(const Notification&)>& handle);

  /// Reconnects, once, and listens. Throws as the constructor does.
  void reconnect();
  /// Disconnects from the server, which then keeps nothing for this client. The next read(timeout)
  /// or consume(), or reconnect(), listens again, and on_listening reports which notifications may
  /// have been missed.
  void hang_up();
  [[nodiscard]] bool connected() const;

  /// For other event loops: when it is readable, call read() until that returns nullopt. The
  /// descriptor does not change during the object's lifetime; do not read from it or close it.
  [[nodiscard]] int fd() const;

  /// Ends the current read(timeout) or consume(), or else the next one.
  void interrupt() noexcept;

  /// Sends a notification over this connection (pg_notify): what this object listens to it receives
  /// itself, too. Throws Error{usage} for a channel or payload that cannot be.
  void notify(const std::string& channel, const std::string& payload);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/// The longest channel name and payload that PostgreSQL accepts, in bytes (NAMEDATALEN - 1 and
/// NOTIFY_PAYLOAD_MAX_LENGTH - 1 in commands/async.c).
inline constexpr std::size_t kMaxChannelBytes = 63;
inline constexpr std::size_t kMaxPayloadBytes = 7999;

}  // namespace weir

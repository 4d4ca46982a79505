#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "pq/connection.h"

namespace weir::pq {

// LISTEN and NOTIFY: PostgreSQL documentation, commands of that name; limits in commands/async.c.

/// Throws Error{usage} for an invalid channel name: empty, a zero byte, or longer than 63 bytes
/// (LISTEN would truncate it silently, NOTIFY reject it).
void require_channel(const std::string& channel);
/// Throws Error{usage} for a payload of 8000 bytes or more, or with a zero byte.
void require_payload(const std::string& channel, const std::string& payload);

/// SELECT pg_notify(channel, payload). Throws Error{usage} for invalid arguments, the server's
/// Error, Error{retry}, Interrupted.
void notify(Connection& connection, const std::string& channel, const std::string& payload,
            std::chrono::milliseconds timeout = std::chrono::seconds(60));

struct ReceivedNotification {
  std::string channel;
  std::string payload;
  int server_pid = 0;
};

/// The receiving side, on an ordinary connection that it does not own. Blocks only in listen(). One
/// thread at a time.
class Notifications {
 public:
  explicit Notifications(Connection& connection) : connection_(&connection) {}

  /// LISTEN. Throws Error{usage}, the server's Error (25006 on a standby), Error{retry},
  /// Interrupted.
  void listen(const std::string& channel);

  /// Checks the connection by sending an empty query. Not while one is in progress.
  void ask();
  /// True until the answer to ask() is read.
  [[nodiscard]] bool asking() const { return asking_; }

  /// Reads from the socket; returns true if anything arrived. A lost connection is reported by
  /// next().
  bool receive();
  /// The next received notification. Throws Error{retry}, or the server's Error with its reason, if
  /// the connection is lost and there is nothing left.
  [[nodiscard]] std::optional<ReceivedNotification> next();

  /// libpq has output that the socket did not accept; retry when it is writable.
  [[nodiscard]] bool unsent() const { return unsent_; }
  void flush();

 private:
  void read_answer();

  Connection* connection_;
  bool asking_ = false;
  bool unsent_ = false;
  bool lost_ = false;
};

}  // namespace weir::pq

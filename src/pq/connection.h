#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"

struct pg_conn;  // libpq's PGconn

namespace weir::pq {

/// Wakes a thread that waits for a server: an eventfd. raise() may be called from any thread and
/// from a signal handler; it stays raised until clear().
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;
  void raise() noexcept;
  void clear() noexcept;
  [[nodiscard]] bool raised() const noexcept;
  [[nodiscard]] int fd() const { return fd_; }

 private:
  int fd_;
};

/// Thrown where a wait ended because the Interrupt was raised; not an error to be shown.
struct Interrupted {};

/// An error the server reported to a command (ErrorResponse), with its SQLSTATE: decisions are
/// made by it, never by the text, which may be in any language.
class ServerError : public Error {
 public:
  ServerError(ErrorKind kind, std::string message, std::string sqlstate);
  [[nodiscard]] const std::string& sqlstate() const { return sqlstate_; }

 private:
  std::string sqlstate_;
};

/// Rows of text; nullopt is NULL.
using Row = std::vector<std::optional<std::string>>;
using Rows = std::vector<Row>;

/// What to connect to and as what.
struct ConnectOptions {
  std::string conninfo;     ///< libpq's key=value or URI form, several hosts allowed; may be ""
  bool replication = true;  ///< physical replication connection ("replication=true")
  std::string fallback_application_name = "pgweir";
  std::chrono::milliseconds timeout{30'000};  ///< for all hosts together; connect_timeout holds too
};

/// A libpq connection. Owns the PGconn. Never blocks but in poll(), so that an Interrupt ends every
/// wait. One thread at a time. Passwords appear in no message.
class Connection {
 public:
  /// Throws Error{retry} if no host answers or the server is starting up, shutting down or full
  /// (SQLSTATE 57P01-57P03, 53300), Error{refused} with a hint for what will not pass by itself:
  /// authentication (28xxx), no pg_hba entry, no such database (3D000), not a replication role,
  /// TLS refused, a server before 13; Error{usage} for a conninfo libpq can't read; Interrupted.
  static Connection open(const ConnectOptions& options, const Interrupt& interrupt);
  Connection(Connection&&) noexcept;
  Connection& operator=(Connection&&) noexcept;
  ~Connection();

  /// Sends a command and collects its rows. Throws ServerError, Error{retry} if the connection
  /// broke or `timeout` passed, Interrupted.
  Rows execute(const std::string& command,
               std::chrono::milliseconds timeout = std::chrono::milliseconds(60'000));

  [[nodiscard]] int server_version() const;  ///< PQserverVersion: 150018
  [[nodiscard]] int server_major() const { return server_version() / 10000; }
  /// "host:port" of the host that answered (or the socket's path), for messages.
  [[nodiscard]] std::string server_name() const;
  /// A server parameter that was reported at the start, e.g. "in_hot_standby" (14 and later).
  [[nodiscard]] std::optional<std::string> parameter(const std::string& name) const;
  [[nodiscard]] pg_conn* handle() const { return connection_; }
  [[nodiscard]] int socket() const;

  /// Quotes as the replication grammar and SQL want it.
  [[nodiscard]] std::string quote_identifier(const std::string& name) const;
  [[nodiscard]] std::string quote_literal(const std::string& text) const;

 private:
  explicit Connection(pg_conn* connection) : connection_(connection) {}
  pg_conn* connection_ = nullptr;
};

/// The conninfo with user, hosts, ports and dbname for messages; never a password.
[[nodiscard]] std::string describe(const std::string& conninfo);
/// The value a conninfo gives to `keyword` itself (not the environment or a service file).
[[nodiscard]] std::optional<std::string> conninfo_value(const std::string& conninfo,
                                                        const std::string& keyword);

}  // namespace weir::pq

#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "net/wake.h"

struct pg_conn;    // libpq's PGconn
struct pg_result;  // libpq's PGresult

namespace weir::crypto {
class TlsReader;
}

namespace weir::pq {

/// The error a PGresult with PGRES_FATAL_ERROR tells (an ErrorResponse of the server's):
/// classified, with its SQLSTATE and the server's detail and hint.
[[nodiscard]] Error server_error(const pg_result* result, const std::string& server_name);

/// Rows of text; nullopt is NULL.
using Row = std::vector<std::optional<std::string>>;
using Rows = std::vector<Row>;

/// What a connection is for, "replication=" in libpq's words.
enum class Replication {
  none,      ///< SQL
  physical,  ///< "true": a walsender without a database; replication commands, no SQL from 10 on
  logical,   ///< "database": a walsender in a database; logical decoding, replication commands, SQL
};

struct Advice;
struct Host;

/// What to connect to and as what.
struct ConnectOptions {
  std::string conninfo;  ///< libpq's key=value or URI form, several hosts allowed; may be ""
  Replication replication = Replication::physical;
  std::string fallback_application_name = "pgweir";
  std::chrono::milliseconds timeout{30'000};  ///< for all hosts together; connect_timeout holds too
  /// Index of the host to begin with; the others follow in turn. Taken modulo their number, so that
  /// a caller who cannot use the host that answered passes host_index() + 1.
  std::size_t first_host = 0;
  /// To that host and no other. (prefer-standby is a choice between hosts, and means nothing then.)
  bool only_first_host = false;
  /// target_session_attrs does not count.
  bool any_role = false;
  /// In the place of the connection string's own application_name; empty: that one counts.
  std::string application_name = {};
  /// Given each notice or warning of the server, on the thread that reads; may be empty. Nothing
  /// is ever printed.
  std::function<void(const std::string&)> notice = {};
  /// Given what to do about each host that did not do, where open() fails; may be empty.
  std::function<void(const std::string& host, const Advice& advice)> advice = {};
};

/// A libpq connection. Owns the PGconn. Never blocks but in poll(), so that a Wake ends every wait.
/// One thread at a time. Passwords appear in no message. The Wake outlives it.
class Connection {
 public:
  /// Tries the hosts one after the other, each of the addresses of each, and gives up one that does
  /// not answer after connect_timeout (10 s if that is not set: libpq applies it only where it
  /// blocks). Unlike libpq it also goes on to the next host after one that refused us.
  /// target_session_attrs and load_balance_hosts (libpq 16) mean what they mean to libpq.
  ///
  /// Half-open connections are to be found within about a minute: unless the user set them,
  /// keepalives_idle=30, keepalives_interval=10, keepalives_count=3 and, for what was sent and is
  /// not confirmed, tcp_user_timeout=60000. For the passfile a physical connection has the
  /// database "replication", unless the conninfo names one.
  ///
  /// Throws Error{retry} if no host answers or the server is starting up, shutting down or full
  /// (SQLSTATE 57P01-57P03, 53300), Error{refused} with a hint for what will not pass by itself:
  /// authentication (28xxx), no pg_hba entry, no such database (3D000), not a replication role,
  /// TLS refused, a server before 13; Error{usage} for a conninfo libpq can't read; Interrupted.
  /// Of several hosts one that may answer later makes it Error{retry}.
  static Connection open(const ConnectOptions& options, const net::Wake& interrupt);
  Connection(Connection&&) noexcept;
  Connection& operator=(Connection&&) noexcept;
  ~Connection();

  /// Sends a command and collects its rows. Throws the server's Error, Error{retry} if the
  /// connection broke or `timeout` passed, Interrupted.
  Rows execute(const std::string& command,
               std::chrono::milliseconds timeout = std::chrono::milliseconds(60'000));

  /// The two halves of execute(), for what is no plain command (START_REPLICATION). send() first
  /// reads away what an earlier command has left; await_result() returns when PQgetResult will not
  /// block. Throw Error{retry}, Interrupted.
  void send(const std::string& command, std::chrono::steady_clock::time_point deadline,
            const net::Wake& interrupt);
  void await_result(std::chrono::steady_clock::time_point deadline, const net::Wake& interrupt);

  [[nodiscard]] int server_version() const;  ///< PQserverVersion: 150018
  [[nodiscard]] int server_major() const { return server_version() / 10000; }
  /// "host:port" of the host that answered (or the socket's path), for messages.
  [[nodiscard]] std::string server_name() const;
  /// Which host of the list answered, and how many the list has.
  [[nodiscard]] std::size_t host_index() const { return host_index_; }
  [[nodiscard]] std::size_t host_count() const { return host_count_; }
  /// A server parameter that was reported at the start, e.g. "in_hot_standby" (14 and later).
  [[nodiscard]] std::optional<std::string> parameter(const std::string& name) const;
  /// Until when the server's certificate is valid; nullopt: no TLS, or it is not known.
  [[nodiscard]] std::optional<std::chrono::sys_seconds> server_certificate_expires() const;
  /// Beside libpq, once asked for; nullptr: no TLS, or none that can be read so.
  [[nodiscard]] std::shared_ptr<crypto::TlsReader> tls_reader();
  [[nodiscard]] pg_conn* handle() const { return connection_; }
  [[nodiscard]] int socket() const;

  [[nodiscard]] const net::Wake& interrupt() const { return *interrupt_; }
  /// From now on `wake` ends the waits, which outlives the connection.
  void interrupted_by(const net::Wake& wake) { interrupt_ = &wake; }

  /// Quotes as the replication grammar and SQL want it. Throws Error{usage} for what cannot be
  /// quoted: a zero byte, bytes that are no text in the connection's encoding, or, in a name for a
  /// replication command, a double quote.
  [[nodiscard]] std::string quote_identifier(const std::string& name) const;
  [[nodiscard]] std::string quote_literal(const std::string& text) const;

 private:
  struct Notices;

  Connection() = default;
  void connect(const std::vector<std::pair<std::string, std::string>>& parameters,
               std::chrono::steady_clock::time_point deadline, const Host& host,
               Replication replication, std::optional<Advice>& advice);

  pg_conn* connection_ = nullptr;
  const net::Wake* interrupt_ = nullptr;
  std::unique_ptr<Notices> notices_;  // libpq has its address
  std::shared_ptr<crypto::TlsReader> tls_reader_;
  bool replication_ = false;
  std::string server_name_;
  std::size_t host_index_ = 0;
  std::size_t host_count_ = 1;
};

/// The conninfo with user, hosts, ports and dbname for messages; never a password.
[[nodiscard]] std::string describe(const std::string& conninfo);
/// The value a conninfo gives to `keyword` itself (not the environment or a service file). Throws
/// Error{usage} for a conninfo libpq can't read.
[[nodiscard]] std::optional<std::string> conninfo_value(const std::string& conninfo,
                                                        const std::string& keyword);

}  // namespace weir::pq

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
struct ssl_st;     // OpenSSL's SSL

namespace weir::crypto {
class TlsReader;
}

namespace weir::pq {

/// The error in a PGresult with PGRES_FATAL_ERROR: an ErrorResponse of the server, classified, with
/// its SQLSTATE and the server's detail and hint, or Error{retry} if libpq lost the connection. Its
/// stock_text() is libpq's message, without what the program was doing.
[[nodiscard]] Error server_error(const pg_result* result, const std::string& server_name);

/// The stock_text() of a command that was rejected, or not answered, for that reason.
[[nodiscard]] std::string rejected_command(std::string_view command, std::string_view reason);

/// The TLS session of a connection, for weir::crypto. nullptr: none (any more), or libpq uses a
/// different OpenSSL library than weir::crypto.
[[nodiscard]] ssl_st* tls_session(pg_conn* connection);

/// Rows of text; nullopt is NULL.
using Row = std::vector<std::optional<std::string>>;
using Rows = std::vector<Row>;

/// The kind of connection, libpq's parameter "replication".
enum class Replication {
  none,      ///< SQL
  physical,  ///< "true": a walsender without a database; replication commands, no SQL from 10 on
  logical,   ///< "database": a walsender in a database; logical decoding, replication commands, SQL
};

struct Advice;
struct Host;

/// Connection parameters.
struct ConnectOptions {
  std::string conninfo;  ///< libpq's key=value or URI form, several hosts allowed; may be ""
  Replication replication = Replication::physical;
  std::string fallback_application_name = "pgweir";
  std::chrono::milliseconds timeout{30'000};  ///< for all hosts together; connect_timeout also
                                              ///< applies
  /// Index of the host to try first; the others follow in order. Taken modulo their number, so that
  /// a caller that cannot use the connected host passes host_index() + 1.
  std::size_t first_host = 0;
  /// Only that host. (prefer-standby, a choice between hosts, has no effect then.)
  bool only_first_host = false;
  /// Ignore target_session_attrs.
  bool any_role = false;
  /// Overrides the connection string's application_name unless empty.
  std::string application_name = {};
  /// Called with each notice or warning of the server, on the thread that reads; may be empty.
  /// Nothing is ever printed.
  std::function<void(const std::string&)> notice = {};
  /// Called with the advice for each rejected host if open() fails; may be empty.
  std::function<void(const std::string& host, const Advice& advice)> advice = {};
};

/// A libpq connection. Owns the PGconn. Blocks only in poll(), so that a Wake ends every wait. One
/// thread at a time. Passwords do not appear in messages. The Wake must outlive it.
class Connection {
 public:
  /// Tries the hosts in order, and each address of each host. Gives up an address that does not
  /// answer after connect_timeout (10 s if not set: libpq applies it only in blocking calls), or
  /// after its share of the time that is left for all of them. Unlike libpq it also tries the next
  /// host after one that rejected the connection. target_session_attrs and load_balance_hosts
  /// (libpq 16) have libpq's meaning.
  ///
  /// Half-open connections are detected within about a minute. Defaults, unless set by the user:
  /// keepalives_idle=30, keepalives_interval=10, keepalives_count=3 and, for unacknowledged data,
  /// tcp_user_timeout=60000. For the passfile a physical connection uses the database
  /// "replication", unless the conninfo names one.
  ///
  /// Throws Error{retry} if no host answers or the server is starting up, shutting down or full
  /// (SQLSTATE 57P01-57P03, 53300), Error{refused} with a hint for permanent errors: authentication
  /// (28xxx), no pg_hba entry, no such database (3D000), not a replication role, TLS rejected, a
  /// server before 13; Error{usage} for a conninfo libpq cannot parse; Interrupted. If at least one
  /// of several hosts may answer later, it is Error{retry}.
  static Connection open(const ConnectOptions& options, const net::Wake& interrupt);
  Connection(Connection&&) noexcept;
  Connection& operator=(Connection&&) noexcept;
  ~Connection();

  /// Sends a command and returns its rows. Throws the server's Error, Error{retry} if the
  /// connection broke or `timeout` expired, Interrupted.
  Rows execute(const std::string& command,
               std::chrono::milliseconds timeout = std::chrono::milliseconds(60'000));

  /// The two halves of execute(), for special commands (START_REPLICATION). send() first discards
  /// the remaining results of an earlier command; await_result() returns when PQgetResult will not
  /// block. Throw Error{retry}, Interrupted.
  void send(const std::string& command, std::chrono::steady_clock::time_point deadline,
            const net::Wake& interrupt);
  void await_result(std::chrono::steady_clock::time_point deadline, const net::Wake& interrupt);

  [[nodiscard]] int server_version() const;  ///< PQserverVersion: 150018
  [[nodiscard]] int server_major() const { return server_version() / 10000; }
  /// "host:port" of the connected host (or the socket's path), for messages.
  [[nodiscard]] std::string server_name() const;
  /// Index of the connected host in the list, and the list's size.
  [[nodiscard]] std::size_t host_index() const { return host_index_; }
  [[nodiscard]] std::size_t host_count() const { return host_count_; }
  /// A server parameter reported at connection start, e.g. "in_hot_standby" (14 and later).
  [[nodiscard]] std::optional<std::string> parameter(const std::string& name) const;
  /// Expiry time of the server's certificate; nullopt: no TLS, or unknown.
  [[nodiscard]] std::optional<std::chrono::sys_seconds> server_certificate_expires() const;
  /// Reads TLS without libpq; nullptr: no TLS, or not supported for this session.
  [[nodiscard]] std::shared_ptr<crypto::TlsReader> tls_reader();
  [[nodiscard]] pg_conn* handle() const { return connection_; }
  [[nodiscard]] int socket() const;

  [[nodiscard]] const net::Wake& interrupt() const { return *interrupt_; }
  /// From now on `wake` ends the waits; it must outlive the connection.
  void interrupted_by(const net::Wake& wake) { interrupt_ = &wake; }

  /// Quotes for the replication grammar and SQL. Throws Error{usage} for what cannot be quoted: a
  /// zero byte, bytes invalid in the connection's encoding, or, in a name for a replication
  /// command, a double quote.
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
  std::unique_ptr<Notices> notices_;  // libpq holds its address
  std::shared_ptr<crypto::TlsReader> tls_reader_;
  bool replication_ = false;
  std::string server_name_;
  std::size_t host_index_ = 0;
  std::size_t host_count_ = 1;
};

/// The conninfo with user, hosts, ports and dbname for messages; never a password.
[[nodiscard]] std::string describe(const std::string& conninfo);
/// The value that a conninfo itself sets for `keyword` (not the environment or a service file).
/// Throws Error{usage} for a conninfo libpq cannot parse.
[[nodiscard]] std::optional<std::string> conninfo_value(const std::string& conninfo,
                                                        const std::string& keyword);

}  // namespace weir::pq

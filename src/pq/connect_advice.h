#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "pq/connection.h"

namespace weir::pq {

// What a failed connection attempt means, and what to do about it. Used by all commands that
// connect (doctor, receive, slot, status, logical and others). Pure.

/// How far libpq came (PQstatus before the step that failed).
enum class ConnectPhase {
  connecting,  ///< to the socket
  encrypting,  ///< TLS, or GSSAPI encryption
  asking,      ///< startup packet, authentication, start of the session
  checking,    ///< target_session_attrs
};

/// State of the passfile, as libpq finds it.
enum class PassfileState {
  missing,
  unreadable,  ///< by this user
  open,        ///< group or world access: libpq ignores it
  fine,
};

/// Everything known about a failed attempt.
struct ConnectAttempt {
  ConnectPhase phase = ConnectPhase::connecting;
  bool timed_out = false;
  std::string text;      ///< the server's or libpq's message
  std::string sqlstate;  ///< empty: the error is not the server's
  std::string routine;   ///< the server function that raised the error (field R); may be empty
  Replication replication = Replication::physical;
  bool local = false;           ///< Unix-domain socket
  std::string host;             ///< as in the passfile: see passfile_host()
  std::string port;             ///< never empty
  std::string user;             ///< never empty if libpq got as far as asking
  std::string database;         ///< the same; the database searched for in a passfile
  std::string sslmode;          ///< may be empty: "prefer"
  std::string target;           ///< target_session_attrs
  bool needs_password = false;  ///< the server requested one and libpq had none
  bool password_given = false;  ///< in the connection string, PGPASSWORD or a service file
  std::string passfile;         ///< where libpq looks for it
  PassfileState passfile_state = PassfileState::missing;
};

/// What the operator can do: a full sentence, and the lines to type, if any: SQL that ends with a
/// semicolon, or "in pg_hba.conf: LINE".
struct Advice {
  ErrorKind kind = ErrorKind::retry;
  std::string text;
  std::vector<std::string> lines{};

  /// All of it in one line.
  [[nodiscard]] std::string hint() const;
};

[[nodiscard]] Advice advise(const ConnectAttempt& attempt);

/// The host name that libpq looks up in a passfile (passwordFromFile() in fe-connect.c): the host
/// as given, else hostaddr; "localhost" for libpq's default socket directory.
[[nodiscard]] std::string passfile_host(std::string_view host, std::string_view hostaddr,
                                        std::string_view default_socket_directory);
/// HOST:PORT:DATABASE:USER:PASSWORD, colons and backslashes escaped as libpq reads them.
[[nodiscard]] std::string passfile_line(const ConnectAttempt& attempt);

/// A name as an SQL identifier, quoted if necessary.
[[nodiscard]] std::string sql_identifier(std::string_view name);

}  // namespace weir::pq

#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "pq/connection.h"

namespace weir::pq {

// What the failure of an attempt to connect means, and what to do about it. The one place: doctor,
// receive, slot, status, logical and all others that connect say this. Pure.

/// How far libpq had come (PQstatus before the step that failed).
enum class ConnectPhase {
  connecting,  ///< to the socket
  encrypting,  ///< TLS, or GSSAPI encryption
  asking,      ///< start-up packet, authentication, start of the session
  checking,    ///< target_session_attrs
};

/// What libpq finds where the passfile should be.
enum class PassfileState {
  missing,
  unreadable,  ///< by this user
  open,        ///< to others: libpq does not read it
  fine,
};

/// All that is known of an attempt that failed.
struct ConnectAttempt {
  ConnectPhase phase = ConnectPhase::connecting;
  bool timed_out = false;
  std::string text;      ///< the server's or libpq's message
  std::string sqlstate;  ///< empty: it was not the server that refused
  std::string routine;   ///< the function of the server that refused, of the field R; may be empty
  Replication replication = Replication::physical;
  bool local = false;           ///< by a Unix-domain socket
  std::string host;             ///< as the passfile spells it: see passfile_host()
  std::string port;             ///< never empty
  std::string user;             ///< never empty where libpq got as far as to ask
  std::string database;         ///< the same; what a passfile is searched for
  std::string sslmode;          ///< may be empty: "prefer"
  std::string target;           ///< target_session_attrs
  bool needs_password = false;  ///< the server asked for one and libpq had none
  bool password_given = false;  ///< by the connection string, PGPASSWORD or a service file
  std::string passfile;         ///< where libpq looks for it
  PassfileState passfile_state = PassfileState::missing;
};

/// What the operator can do. A whole sentence, and the lines to be typed, if there are any: SQL
/// that ends with a semicolon, or "in pg_hba.conf: LINE".
struct Advice {
  ErrorKind kind = ErrorKind::retry;
  std::string text;
  std::vector<std::string> lines{};

  /// All of it in one line.
  [[nodiscard]] std::string hint() const;
};

[[nodiscard]] Advice advise(const ConnectAttempt& attempt);

/// What libpq searches a passfile for in the place of the host (passwordFromFile() in
/// fe-connect.c): the host as it is written, else hostaddr; "localhost" for the socket directory
/// that libpq was built with.
[[nodiscard]] std::string passfile_host(std::string_view host, std::string_view hostaddr,
                                        std::string_view default_socket_directory);
/// HOST:PORT:DATABASE:USER:PASSWORD, colons and backslashes escaped as libpq reads them.
[[nodiscard]] std::string passfile_line(const ConnectAttempt& attempt);

/// A name as SQL wants it: quoted where it has to be.
[[nodiscard]] std::string sql_identifier(std::string_view name);

}  // namespace weir::pq

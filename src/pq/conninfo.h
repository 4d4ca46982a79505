#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

struct pg_conn;

namespace weir::pq {

/// One server to try. An empty member is libpq's default (socket directory, 5432).
struct Host {
  std::string host;      ///< name, address or directory of the socket
  std::string hostaddr;  ///< numeric address; saves the look-up of `host`
  std::string port;
  bool operator==(const Host&) const = default;

  /// A Unix-domain socket: a path, an abstract name, or libpq's default.
  [[nodiscard]] bool local() const;
  /// "db1:5432", "[::1]:5432", "/run/postgresql/.s.PGSQL.5432".
  [[nodiscard]] std::string to_string() const;
};

/// libpq's comma-separated lists taken apart by libpq's rules: hostaddr decides the number if it is
/// set, else host; one port, or none, serves all hosts. Never empty. Throws Error{usage} where the
/// numbers do not match and for what is no port.
[[nodiscard]] std::vector<Host> split_hosts(std::string_view host, std::string_view hostaddr,
                                            std::string_view port);

/// Keywords and values, without those that are unset.
using ConninfoValues = std::map<std::string, std::string, std::less<>>;
/// Empty: it is not there.
[[nodiscard]] std::string value_of(const ConninfoValues& values, std::string_view keyword);

/// What the string itself says. Throws Error{usage}; the message has nothing of a string that
/// could hold a password.
[[nodiscard]] ConninfoValues parse_conninfo(const std::string& conninfo);

/// The same with everything libpq adds: service file, PG* environment, built-in defaults, all
/// checked as libpq checks it. Touches no network. Only a password that is in the string itself is
/// among the values: the environment's or a service's libpq adds when it connects. Throws
/// Error{usage}.
[[nodiscard]] ConninfoValues expand_conninfo(const std::string& conninfo);

/// The directory of the sockets that this libpq was built for (DEFAULT_PGSOCKET_DIR).
[[nodiscard]] std::string default_socket_directory();

/// What a connection was made with, or is being made with: all that libpq knows, the password too.
[[nodiscard]] ConninfoValues values_of(pg_conn* connection);

}  // namespace weir::pq

#pragma once

#include <array>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

struct pg_conn;

namespace weir::pq {

/// A server to connect to. An empty member means libpq's default (socket directory, 5432).
struct Host {
  std::string host;      ///< name, address or socket directory
  std::string hostaddr;  ///< numeric address; avoids a lookup of `host`
  std::string port;
  bool operator==(const Host&) const = default;

  /// A Unix-domain socket: a path, an abstract name, or libpq's default.
  [[nodiscard]] bool local() const;
  /// "db1:5432", "[::1]:5432", "/run/postgresql/.s.PGSQL.5432".
  [[nodiscard]] std::string to_string() const;
};

/// Splits libpq's comma-separated lists by libpq's rules: hostaddr determines the number if it is
/// set, else host; a single port, or none, applies to all hosts. Never empty. Throws Error{usage}
/// if the numbers do not match, and for an invalid port.
[[nodiscard]] std::vector<Host> split_hosts(std::string_view host, std::string_view hostaddr,
                                            std::string_view port);

/// Keywords and values, except unset ones.
using ConninfoValues = std::map<std::string, std::string, std::less<>>;
/// Keywords whose values are secret (PQconninfoOptions in fe-connect.c); the last three are of
/// libpq 18.
inline constexpr std::array<const char*, 5> kSecretKeywords = {
    "password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"};
/// Empty if it is not set.
[[nodiscard]] std::string value_of(const ConninfoValues& values, std::string_view keyword);
/// The hosts of these values, as split_hosts().
[[nodiscard]] std::vector<Host> hosts_of(const ConninfoValues& values);

/// The values in the string itself. Throws Error{usage}; the message does not quote a string that
/// could contain a password.
[[nodiscard]] ConninfoValues parse_conninfo(const std::string& conninfo);

/// The same with everything that libpq adds: service file, PG* environment, built-in defaults, all
/// checked by libpq. Accesses no network. Only a password in the string itself is included: libpq
/// adds the one of the environment or a service when it connects. Throws Error{usage}.
[[nodiscard]] ConninfoValues expand_conninfo(const std::string& conninfo);

/// The hosts of a connection string, with everything that libpq adds. Throws Error{usage}.
[[nodiscard]] std::vector<Host> hosts_of(const std::string& conninfo);

/// The index of the first of these that Host::to_string() names like this; nullopt: none.
[[nodiscard]] std::optional<std::size_t> find_host(const std::string& conninfo,
                                                   std::string_view name);

/// This libpq's default socket directory (DEFAULT_PGSOCKET_DIR).
[[nodiscard]] std::string default_socket_directory();

/// All of libpq's parameters of an open or starting connection, including the password.
[[nodiscard]] ConninfoValues values_of(pg_conn* connection);

/// Keywords and values as libpq's functions for connections take them. `all` must outlive it.
struct ConninfoArrays {
  template <typename Values>
  explicit ConninfoArrays(const Values& all) {
    for (const auto& [keyword, value] : all) {
      keywords.push_back(keyword.c_str());
      values.push_back(value.c_str());
    }
    keywords.push_back(nullptr);
    values.push_back(nullptr);
  }
  std::vector<const char*> keywords;
  std::vector<const char*> values;
};

}  // namespace weir::pq

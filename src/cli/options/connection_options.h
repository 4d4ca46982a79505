#pragma once

#include <string>
#include <string_view>

#include "cli/arguments.h"

namespace weir::cli {

/// The connection string that results from -d, -h, -p, -U and -w, in libpq's keyword form, or ""
/// for libpq's defaults alone. --dbname may be a connection string, a URI, or just a database's
/// name. --host and the like take precedence over a connection string from a file; if they differ
/// from one on the command line, that is an error. Throws Error{usage}; messages contain no
/// password.
[[nodiscard]] std::string conninfo_of(const Arguments& arguments);

/// The connection string with one value set or replaced.
[[nodiscard]] std::string with_value(const std::string& conninfo, const std::string& keyword,
                                     const std::string& value);

/// The same server over an ordinary connection, which requires a database: pg_replication_slots can
/// only be read over such a connection.
[[nodiscard]] std::string ordinary_conninfo(const std::string& conninfo);

/// For the connection itself, or for its key.
[[nodiscard]] bool has_password(const std::string& conninfo);
inline constexpr std::string_view kPasswordOnCommandLine =
    "a password on the command line can be read by other users of this machine until it is "
    "masked, and stays in the shell's history; use a password file (~/.pgpass, passfile=)";

/// A connection string or URI, and not just a database's name.
[[nodiscard]] bool is_connection_string(std::string_view text);

/// Throws Error{usage} if the directory of the archive is missing.
[[nodiscard]] std::string required_directory(const Arguments& arguments);

}  // namespace weir::cli

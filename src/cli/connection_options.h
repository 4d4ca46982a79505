#pragma once

#include <string>
#include <vector>

#include "cli/arguments.h"

namespace weir::cli {

/// -d, -h, -p, -U, -w: which server.
[[nodiscard]] std::vector<Option> connection_options();

/// The connection string they make together, in libpq's keyword form, or "" for libpq's defaults
/// alone. --dbname may be a connection string, a URI, or just a database's name. --host and the
/// like win over a connection string from a file; beside one on the command line that says
/// otherwise they are a contradiction. Throws Error{usage}; no message has a password.
[[nodiscard]] std::string conninfo_of(const Arguments& arguments);

/// The connection string with one value set or replaced.
[[nodiscard]] std::string with_value(const std::string& conninfo, const std::string& keyword,
                                     const std::string& value);

/// The same server over an ordinary connection, which needs a database: pg_replication_slots can be
/// read over such a one only.
[[nodiscard]] std::string ordinary_conninfo(const std::string& conninfo);

/// Checks that libpq can read the connection string given by `option`.
void require_conninfo(const Arguments& arguments, std::string_view option,
                      const std::string& conninfo);

/// Checks that a server can have a slot of that name (ReplicationSlotValidateName in
/// replication/slot.c).
void require_slot_name(const Arguments& arguments, std::string_view option);

}  // namespace weir::cli

#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace weir::pq {

// What a server's refusal means. Pure. SQLSTATEs: PostgreSQL documentation, appendix
// "PostgreSQL Error Codes".

/// The kind of a server's error by its SQLSTATE (five characters). Unknown ones are
/// ErrorKind::retry: trying again with a growing pause does no harm, giving up may.
[[nodiscard]] ErrorKind classify(std::string_view sqlstate);

/// What the operator can do about it when a command fails (connect_advice.h for connections); ""
/// where the server's own text says all there is to say.
[[nodiscard]] std::string_view hint_for(std::string_view sqlstate);

/// What PQerrorMessage says after a failed connection attempt, read apart.
struct ConnectFailure {
  std::string text;                     ///< one line, without libpq's prefixes and the SQLSTATE
  std::optional<std::string> sqlstate;  ///< set if the server itself refused
  std::string routine;                  ///< the server's function that did; may be empty
};
/// libpq hands out no PGresult for a failed start, so the SQLSTATE is read from the text of
/// PQERRORS_VERBOSE, "SEVERITY:  SQLSTATE: message": its colons and spaces are in no translation.
/// With sslmode=prefer or allow there are two attempts and two messages; a wrong password
/// (28P01) is then more telling than the pg_hba.conf complaint (28000) about the other attempt.
[[nodiscard]] ConnectFailure parse_connect_failure(std::string_view message);

}  // namespace weir::pq

#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace weir::pq {

// Classifies server errors. Pure. SQLSTATEs: PostgreSQL documentation, appendix "PostgreSQL Error
// Codes".

/// The kind of a server's error by its SQLSTATE (five characters). Unknown ones are
/// ErrorKind::retry: retries with increasing delays do no harm, giving up may.
[[nodiscard]] ErrorKind classify(std::string_view sqlstate);

/// What the operator can do if a command fails (connect_advice.h for connections); "" if the
/// server's message is sufficient.
[[nodiscard]] std::string_view hint_for(std::string_view sqlstate);

/// The parts of PQerrorMessage after a failed connection attempt.
struct ConnectFailure {
  std::string text;  ///< one line, without libpq's prefixes and the SQLSTATE
  std::optional<std::string> sqlstate = std::nullopt;  ///< set if the server reported the error
  std::string routine = {};  ///< the server function that raised it; may be empty
  std::string stock = {};    ///< the message without PQERRORS_VERBOSE
};
/// libpq returns no PGresult for a failed connection attempt, so the SQLSTATE is parsed from the
/// text of PQERRORS_VERBOSE, "SEVERITY:  SQLSTATE: message": its colons and spaces are never
/// translated. With sslmode=prefer or allow there are two attempts and two messages; a wrong
/// password (28P01) is then more informative than the pg_hba.conf error (28000) of the other
/// attempt.
[[nodiscard]] ConnectFailure parse_connect_failure(std::string_view message);

}  // namespace weir::pq

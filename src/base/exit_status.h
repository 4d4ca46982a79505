#pragma once

#include <exception>

#include "base/error.h"

namespace weir {

inline constexpr int kDone = 0;
inline constexpr int kNo = 1;  ///< the answer to the question is no
inline constexpr int kUsage = 2;
inline constexpr int kTryAgain = 3;     ///< may succeed if retried
inline constexpr int kNeedsPerson = 4;  ///< trying again does not help
/// An unexpected failure: a service that restarts blindly would hide it.
inline constexpr int kUnexpected = kNeedsPerson;
/// For `restore`, and for a command line without a known command, which may be a mistyped
/// restore_command: to PostgreSQL 1 to 125 mean "the archive ends, open the database"; 126, 127 and
/// 129 to 192 look like the shell's or a signal's (RestoreArchivedFile() in xlogarchive.c).
inline constexpr int kStopsRecovery = 200;

[[nodiscard]] int exit_status(ErrorKind kind);

/// An exception that no part of the program expects, except for resource shortages of the host.
[[nodiscard]] Error unexpected(const std::exception& failure);

/// "pgweir: error: …" and the hint, on stderr.
void print_error(const Error& error);
/// The same as "pgweir: warning: …", of what does not change the exit status.
void print_warning(const Error& error);

/// Converts an exception to an error that can be reported.
[[nodiscard]] Error error_of(const std::exception_ptr& failure);

/// Prints an exception to stderr; returns the corresponding exit status.
int tell_failure(const std::exception_ptr& failure);

}  // namespace weir

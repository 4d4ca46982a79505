#pragma once

#include "recover/options.h"
#include "recover/report.h"
#include "recovery/programs.h"

namespace weir::recover {

/// True if a server is running in the directory: its postmaster.pid names a process of this host
/// that works in that directory.
[[nodiscard]] bool server_lives(const std::string& data);

/// Starts the server, unless one is running there, and follows its recovery to the end: compares
/// the result with the promise, and sets report.state. The server continues when this returns, even
/// if `stop` returns true. Throws Error{retry} if it could not be started at all, or was stopped.
void start_and_watch(const recovery::Programs& programs, const Options& options, Report& report);

}  // namespace weir::recover

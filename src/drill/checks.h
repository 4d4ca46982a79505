#pragma once

#include <functional>
#include <string>
#include <vector>

#include "drill/report.h"
#include "drill/server.h"
#include "net/wake.h"

namespace weir::drill {

class Sandbox;

/// Questions to a server that has been recovered, and to its files.
struct CheckOptions {
  const Programs& programs;
  const Sandbox& sandbox;
  std::string username;
  std::string database;
  std::function<bool()> stop;
  const net::Wake& interrupt;  ///< raised when `stop` returns true
};

/// Runs pg_verifybackup on the copy, before a server is started on it: checks that each file named
/// in the manifest exists and is unchanged. Adds a check, or the omitted check and why.
void verify_backup(const CheckOptions& options, const std::string& manifest, Report& report);

/// Checks whether the transaction is committed in the recovered database. Sets
/// report.commit_reached. Throws Error{retry, refused} if the server accepts no connections.
void look_for_commit(const CheckOptions& options, Report& report);

/// Executes each statement: it passes if the first value of its first row is true.
void ask(const CheckOptions& options, const std::vector<std::string>& statements, Report& report);

/// Runs pg_amcheck on all databases, if it is installed.
void run_amcheck(const CheckOptions& options, Report& report);

/// Runs pg_checksums on the stopped server's files, if it is installed and they have checksums.
void run_checksums(const CheckOptions& options, const Control& control, Report& report);

}  // namespace weir::drill

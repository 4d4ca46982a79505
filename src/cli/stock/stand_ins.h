#pragma once

#include <span>
#include <string_view>

namespace weir::cli {

/// A program of PostgreSQL's that this one is when it is called by its name, with that program's
/// options, messages, files and exit statuses.
struct StandIn {
  std::string_view name;
  /// The whole program: `words[0]` is the name it was called by; the array ends with a null
  /// pointer.
  int (*run)(int count, char** words);
  /// Returns the output of its --help.
  std::string_view (*help)();
};

// The programs, as StandIn::run, with the options, messages and exit statuses of versions 15 to 19.

/// Exit status 0 or 1.
int pg_receivewal(int count, char** words);
int pg_recvlogical(int count, char** words);
/// Exit status 0, 2 for wrong usage, and 1 at the first file that cannot be removed, as in the
/// original since version 15.
int pg_archivecleanup(int count, char** words);
[[nodiscard]] std::string_view pg_archivecleanup_help();
inline constexpr std::string_view kPgReceivewal = "pg_receivewal";
inline constexpr std::string_view kPgRecvlogical = "pg_recvlogical";
inline constexpr std::string_view kPgArchivecleanup = "pg_archivecleanup";

[[nodiscard]] std::span<const StandIn> stand_ins();
/// The one of this name, whatever the path before it; nullptr: there is none.
[[nodiscard]] const StandIn* find_stand_in(std::string_view called);

}  // namespace weir::cli

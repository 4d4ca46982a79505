#pragma once

#include <string>
#include <vector>

#include "doctor/facts.h"

namespace weir::doctor {

enum class Level {
  ok,
  warning,  ///< archiving works, and something may go wrong one day
  failure,  ///< archiving does not work, or WAL can be lost
  unknown,  ///< it could not be checked
};

struct Check {
  std::string name;  ///< never changes, for programs: "wal_level"
  Level level = Level::ok;
  std::string found;                ///< a sentence without a full stop
  std::vector<std::string> todo{};  ///< what to change: SQL, lines of a configuration, commands
};

/// Judges the facts for archiving. Pure. In the order in which an operator would check them.
[[nodiscard]] std::vector<Check> judge_server(const ServerFacts& server, const Plan& plan);
[[nodiscard]] std::vector<Check> judge_archive(const ArchiveFacts& archive);
/// Checks that require both.
[[nodiscard]] std::vector<Check> judge_both(const ServerFacts& server, const ArchiveFacts& archive,
                                            const Plan& plan);

}  // namespace weir::doctor

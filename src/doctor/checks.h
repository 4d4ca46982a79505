#pragma once

#include <string>
#include <vector>

#include "doctor/facts.h"

namespace weir::doctor {

enum class Level {
  ok,
  warning,  ///< archiving works, and something may go wrong one day
  failure,  ///< archiving will not work, or WAL can be lost
  unknown,  ///< it could not be checked
};

struct Check {
  std::string name;  ///< stays the same, for programs: "wal_level"
  Level level = Level::ok;
  std::string found;                ///< a sentence without a full stop
  std::vector<std::string> todo{};  ///< what to change: SQL, lines of a configuration, commands
};

/// What the facts mean for archiving. Pure. In the order in which a person would look.
[[nodiscard]] std::vector<Check> judge_server(const ServerFacts& server, const Plan& plan);
[[nodiscard]] std::vector<Check> judge_archive(const ArchiveFacts& archive);
/// What shows only where both are known.
[[nodiscard]] std::vector<Check> judge_both(const ServerFacts& server, const ArchiveFacts& archive,
                                            const Plan& plan);

}  // namespace weir::doctor

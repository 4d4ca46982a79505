#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "status/findings.h"
#include "status/report.h"

namespace weir::status {

struct Verdict {
  Level level = Level::ok;
  std::vector<Finding> findings;  ///< gravest first
  std::string line;               ///< "PGWEIR OK - … | lag=0B;;67108864;0 …", without line end
};

/// Pure.
[[nodiscard]] Verdict check(const StatusReport& report, const Limits& limits);

/// What is the matter with the space on the archive's disk: at most one. Pure.
[[nodiscard]] std::vector<Finding> space_findings(const StatusReport& report, const Limits& limits);

/// What WAL of a newer version means, by the magic of its pages; a sentence.
[[nodiscard]] std::string newer_version_text(std::uint16_t magic);

/// The names of a hole's segments, "FIRST to LAST" or "ONE"; empty if the segment size is unknown.
[[nodiscard]] std::string missing_names(const StatusReport& report, const StatusReport::Hole& hole);

/// "passed", or "FAILED" with what was found first.
[[nodiscard]] std::string result_of(const archive::LastCheck& last);

/// Free text for the line of a monitoring plugin, in which '|' begins the performance data and a
/// line end the next line: both are replaced.
[[nodiscard]] std::string plugin_text(std::string_view text);

/// The line of a check that could not be made.
[[nodiscard]] std::string line_without_report(Level level, std::string_view why);

}  // namespace weir::status

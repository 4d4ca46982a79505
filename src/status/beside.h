#pragma once

#include <optional>
#include <string>

#include "archive/difference.h"

namespace weir::status {

struct StatusReport;

/// Comparison of the archive with another archive of the same server, by names only: the segments
/// that only one of them has.
struct Beside {
  std::string directory;
  std::optional<archive::Difference> difference;
  std::string error{};  ///< why there is none: it cannot be read, or is another server's
};

/// Lists both directories. If the other one cannot be read, returns that in `error`. Throws
/// Error{io} if the report's own archive can no longer be listed.
[[nodiscard]] Beside look_beside(const StatusReport& report, const std::string& directory);

/// Lines of the text; none if there is nothing to compare.
[[nodiscard]] std::string beside_text(const StatusReport& report);

}  // namespace weir::status

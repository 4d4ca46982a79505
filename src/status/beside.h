#pragma once

#include <optional>
#include <string>

#include "archive/difference.h"

namespace weir::status {

struct StatusReport;

/// Another archive of the same server beside the one that is reported on: by names alone, what only
/// one of them has.
struct Beside {
  std::string directory;
  std::optional<archive::Difference> difference;
  std::string error{};  ///< why there is none: it cannot be read, or is another server's
};

/// Lists both directories. That the other one cannot be read is told, and nothing thrown. Throws
/// Error{io} if the report's own archive cannot be listed any more.
[[nodiscard]] Beside look_beside(const StatusReport& report, const std::string& directory);

/// Lines of the text; none if there is nothing to compare.
[[nodiscard]] std::string beside_text(const StatusReport& report);

}  // namespace weir::status

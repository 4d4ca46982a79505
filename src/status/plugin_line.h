#pragma once

#include <string>
#include <string_view>

namespace weir::status {

/// Free text for the line of a monitoring plugin, in which '|' begins the performance data and a
/// line end the next line: both are replaced.
[[nodiscard]] std::string plugin_text(std::string_view text);

}  // namespace weir::status

#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace weir::io {

/// The directories of this process's control group and of its ancestors, of version 1 and 2, that
/// may contain files of a controller ("memory", "cpu"), with `root` before each. Empty if they
/// cannot be determined.
[[nodiscard]] std::vector<std::string> control_groups(std::string_view controller,
                                                      const std::string& root);

/// Returns the content of a control group's file; empty without one: a group lacks the files of
/// controllers that it does not have.
[[nodiscard]] std::string control_group_text(const std::string& path);

}  // namespace weir::io

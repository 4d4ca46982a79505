#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace weir::doctor {

/// The names in synchronous_standby_names, in order, folded to lower case; "*" is one.
[[nodiscard]] std::vector<std::string> synchronous_names(std::string_view setting);

}  // namespace weir::doctor

#pragma once

#include <string_view>

namespace weir::web {

// Files that are compiled in (cmake/embed.cmake): src/web/assets, and the chapter on
// troubleshooting.

extern const std::string_view kStyle;
extern const std::string_view kScript;
extern const std::string_view kIcon;
extern const std::string_view kTroubleshooting;

}  // namespace weir::web

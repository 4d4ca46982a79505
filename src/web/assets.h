#pragma once

#include <string_view>

namespace weir::web {

// Files that are compiled in (cmake/embed.cmake): src/web/assets, and the pages of docs/ that
// findings link to (guide.h).

extern const std::string_view kStyle;
extern const std::string_view kScript;
extern const std::string_view kIcon;
extern const std::string_view kTroubleshooting;
extern const std::string_view kFailoverGuide;
extern const std::string_view kComparisonGuide;

}  // namespace weir::web

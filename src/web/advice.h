#pragma once

#include <string_view>

#include "status/check.h"

namespace weir::web {

/// What to do about a finding, in a sentence or two, and the chapter of docs/troubleshooting.md
/// that says more.
struct Advice {
  std::string_view todo;
  std::string_view chapter;  ///< its heading
};
[[nodiscard]] Advice advice_on(status::Topic topic);

}  // namespace weir::web

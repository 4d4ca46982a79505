#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "status/check.h"

namespace weir::web {

/// A level's name in the style sheet, its text and its sign.
struct LevelWords {
  std::string_view name;   ///< "critical"
  std::string_view word;   ///< "CRITICAL"
  std::string_view sign;   ///< a shape, to be recognized without color
  std::string_view title;  ///< "Act now"
};
[[nodiscard]] LevelWords words_of(status::Level level);

/// "<span class=…>✕ CRITICAL</span>"
[[nodiscard]] std::string badge_html(status::Level level);

/// "2026-11-20 10:00:00 UTC", which our script shows as a time that has passed, too.
[[nodiscard]] std::string time_html(std::chrono::system_clock::time_point time);

/// The same, and what has passed since then, which the script keeps up to date; `now`: it is
/// written in, too, for a page without the script.
[[nodiscard]] std::string since_html(std::chrono::system_clock::time_point time,
                                     std::optional<std::chrono::system_clock::time_point> now);

}  // namespace weir::web

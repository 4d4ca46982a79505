#pragma once

#include <string>
#include <string_view>

namespace weir {

/// True for a terminal with colors, unless colors are disabled: NO_COLOR (no-color.org), TERM=dumb.
[[nodiscard]] bool shows_colour(int fd);

/// The output of status, doctor, verify and errors, with the decisive words in red, yellow or
/// green. The text is the same without the colors. Pure.
[[nodiscard]] std::string coloured(std::string_view text);

}  // namespace weir

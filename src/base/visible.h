#pragma once

#include <string>
#include <string_view>

namespace weir {

/// `text` in a form that is safe for a terminal, a pager or a mail. File names, labels and a
/// server's messages come from elsewhere, and could set a terminal's title, its colors, or its
/// replies. Control characters other than line feeds and tabs (C0, DEL, and C1 as in Unicode), and
/// each byte that is not valid UTF-8, become \x1b and the like. Everything else is unchanged. Pure.
[[nodiscard]] std::string visible(std::string_view text);

/// Writes visible(text) to the standard error. That it fails changes nothing.
void write_stderr(std::string_view text) noexcept;

}  // namespace weir

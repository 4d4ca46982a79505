#pragma once

#include <string>
#include <string_view>

namespace weir {

/// `text` as a terminal, a pager or a mail may show it. File names, labels and what a server says
/// come from elsewhere, and could set a terminal's title, its colours, or what it answers. Control
/// characters other than line feeds and tabs (C0, DEL, and C1 as Unicode has them), and each byte
/// that is no UTF-8, become \x1b and the like. All else stays. Pure.
[[nodiscard]] std::string visible(std::string_view text);

/// Writes visible(text) to the standard error. That it fails changes nothing.
void write_stderr(std::string_view text) noexcept;

}  // namespace weir

#pragma once

#include <string>
#include <string_view>

namespace weir::web {

/// docs/troubleshooting.md as HTML: headings with the anchors that chapter_anchor() names, tables,
/// lists, paragraphs. Not all of Markdown, but what that file uses. Pure.
[[nodiscard]] std::string guide_html(std::string_view markdown);

/// "The server refuses" is "the-server-refuses".
[[nodiscard]] std::string chapter_anchor(std::string_view heading);

}  // namespace weir::web

#pragma once

#include <span>
#include <string>
#include <string_view>

namespace weir::web {

/// A page of docs/ that is compiled in, and that findings link to.
struct Guide {
  std::string_view page;   ///< its address, and its file without ".md": "ha"
  std::string_view title;  ///< "Failover"
  std::string_view markdown;
};
[[nodiscard]] std::span<const Guide> guides();

/// As HTML: headings, paragraphs, tables, lists, code. Links lead to places of the guides; others
/// are text. Pure.
[[nodiscard]] std::string guide_html(std::string_view markdown);

/// The anchor of a heading, as GitHub makes it.
[[nodiscard]] std::string chapter_anchor(std::string_view heading);

/// A link to a heading of a guide.
[[nodiscard]] std::string chapter_link(std::string_view page, std::string_view heading);

}  // namespace weir::web

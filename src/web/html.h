#pragma once

#include <string>
#include <string_view>

namespace weir::web {

/// Any text, escaped for use between tags and in an attribute in double quotes: names in an archive
/// and texts of a server are untrusted input. Invalid UTF-8 and control characters are replaced by
/// U+FFFD.
[[nodiscard]] std::string escaped(std::string_view text);

/// "42.125%": a place from 0 to 1 in a drawing that is as wide as the window allows.
[[nodiscard]] std::string percent(double part);

/// With no-break spaces between numbers and their units in the text of `html`; nothing changes in
/// tags, and in what is copied as it stands (<code>, <pre>, <title>, <style>).
[[nodiscard]] std::string units_kept_together(std::string_view html);

}  // namespace weir::web

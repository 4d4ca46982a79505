#pragma once

#include <string>
#include <string_view>

namespace weir::logical {

/// True for well-formed UTF-8 (RFC 3629: no surrogates, nothing overlong).
[[nodiscard]] bool is_utf8(std::string_view text);
/// Appends `text`, which is UTF-8, as a JSON string.
void append_json_string(std::string& out, std::string_view text);
void append_base64(std::string& out, std::string_view bytes);
/// A string; or, for what is no UTF-8, {"base64":"…"}.
void append_json_text(std::string& out, std::string_view text);

}  // namespace weir::logical

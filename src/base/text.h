#pragma once

#include <charconv>
#include <optional>
#include <string>
#include <string_view>

namespace weir {

/// Without the white space at both ends. A view into `text`.
[[nodiscard]] constexpr std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n\f\v";
  const auto first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

/// Parses the whole text as a number; nullopt if it is not a number, or out of range.
template <typename Number>
[[nodiscard]] std::optional<Number> parse_number(std::string_view text, int base = 10) {
  Number number{};
  const char* const end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, number, base);
  if (code != std::errc() || stop != end) return std::nullopt;
  return number;
}

/// A word of a shell's command line, quoted if necessary.
[[nodiscard]] std::string shell_word(std::string_view text);

}  // namespace weir

#include "web/html.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <iterator>

namespace weir::web {

namespace {

constexpr std::string_view kNoCharacter = "\xEF\xBF\xBD";  // U+FFFD

/// Length of the first character in bytes; 0: it is not valid UTF-8 (RFC 3629).
std::size_t length_of_character(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xC2 && first <= 0xDF   ? 2
                             : first >= 0xE0 && first <= 0xEF ? 3
                             : first >= 0xF0 && first <= 0xF4 ? 4
                                                              : 0;
  if (length == 0 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xC0U) != 0x80) return 0;
  // Overlong encodings, surrogates, and values above U+10FFFF.
  if (first == 0xE0 && byte(1) < 0xA0) return 0;
  if (first == 0xED && byte(1) > 0x9F) return 0;
  if (first == 0xF0 && byte(1) < 0x90) return 0;
  if (first == 0xF4 && byte(1) > 0x8F) return 0;
  return length;
}

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/// A unit of format_size(), format_duration() or a rate is at the front.
bool begins_with_unit(std::string_view text) {
  constexpr std::string_view kUnits[] = {"B",  "kB", "MB", "GB",  "TB", "PB",
                                         "us", "ms", "s",  "min", "h",  "d"};
  return std::any_of(std::begin(kUnits), std::end(kUnits), [&](std::string_view unit) {
    return text.starts_with(unit) && (text.size() == unit.size() || !is_word(text[unit.size()]));
  });
}

}  // namespace

std::string units_kept_together(std::string_view html) {
  constexpr std::string_view kVerbatim[] = {"<code", "<pre", "<title", "<style"};
  std::string out;
  out.reserve(html.size() + html.size() / 32);
  while (!html.empty()) {
    // A tag, with its content if that stays as it is.
    if (html.front() == '<') {
      std::string_view end = ">";
      std::string closing;
      for (const auto tag : kVerbatim)
        if (html.starts_with(tag) && html.size() > tag.size() && !is_word(html[tag.size()])) {
          closing = fmt::format("</{}>", tag.substr(1));
          end = closing;
        }
      const auto at = html.find(end);
      const auto length = at == std::string_view::npos ? html.size() : at + end.size();
      out += html.substr(0, length);
      html.remove_prefix(length);
      continue;
    }
    const bool joins = html.front() == ' ' && !out.empty() && out.back() >= '0' &&
                       out.back() <= '9' && begins_with_unit(html.substr(1));
    if (joins)
      out += "\xC2\xA0";
    else
      out += html.front();
    html.remove_prefix(1);
  }
  return out;
}

std::string escaped(std::string_view text) {
  std::string out;
  out.reserve(text.size() + text.size() / 8);
  while (!text.empty()) {
    const auto length = length_of_character(text);
    const char c = text.front();
    if (length == 0 ||
        (length == 1 && static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') ||
        c == 0x7F)
      out += kNoCharacter;
    else if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else if (c == '\'')
      out += "&#39;";
    else
      out += text.substr(0, length);
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return out;
}

std::string percent(double part) {
  return fmt::format("{:.3f}%", std::clamp(part, 0.0, 1.0) * 100);
}

}  // namespace weir::web

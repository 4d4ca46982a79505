#include "base/visible.h"

#include <fmt/format.h>

#include <cstddef>
#include <cstdio>
#include <exception>

namespace weir {

namespace {

/// Number of bytes of the first character: 0 if it is invalid (Unicode, table 3-7).
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t at) {
    return at < text.size() ? static_cast<unsigned char>(text[at]) : 0u;
  };
  const auto follows = [&](std::size_t at) { return (byte(at) & 0xc0u) == 0x80u; };
  const auto first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return follows(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    const auto lowest = first == 0xe0 ? 0xa0u : 0x80u;
    const auto highest = first == 0xed ? 0x9fu : 0xbfu;  // above are surrogates
    return byte(1) >= lowest && byte(1) <= highest && follows(2) ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    const auto lowest = first == 0xf0 ? 0x90u : 0x80u;
    const auto highest = first == 0xf4 ? 0x8fu : 0xbfu;
    return byte(1) >= lowest && byte(1) <= highest && follows(2) && follows(3) ? 4 : 0;
  }
  return 0;
}

bool is_control(std::string_view character) {
  const auto first = static_cast<unsigned char>(character[0]);
  if (character.size() == 1)
    return (first < 0x20 && first != '\n' && first != '\t') || first == 0x7f;
  return first == 0xc2 && static_cast<unsigned char>(character[1]) < 0xa0;
}

}  // namespace

std::string visible(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const auto length = utf8_length(text);
    const auto character = text.substr(0, length == 0 ? 1 : length);
    if (length == 0 || is_control(character))
      for (const char c : character) out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    else
      out += character;
    text.remove_prefix(character.size());
  }
  return out;
}

void write_stderr(std::string_view text) noexcept {
  try {
    const auto shown = visible(text);
    static_cast<void>(std::fwrite(shown.data(), 1, shown.size(), stderr));
  } catch (const std::exception&) {
    // no memory: a message less
  }
}

}  // namespace weir

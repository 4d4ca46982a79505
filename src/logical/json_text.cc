#include "logical/json_text.h"

#include <array>
#include <cstdint>
#include <cstring>

namespace weir::logical {

namespace {

unsigned byte_at(std::string_view text, std::size_t at) {
  return static_cast<unsigned char>(text[at]);
}

}  // namespace

bool is_utf8(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size()) {
    // Most text is ASCII: eight at once.
    while (i + 8 <= text.size()) {
      std::uint64_t word;
      std::memcpy(&word, text.data() + i, 8);
      if ((word & 0x8080808080808080u) != 0) break;
      i += 8;
    }
    if (i == text.size()) break;
    const unsigned first = byte_at(text, i);
    if (first < 0x80) {
      ++i;
      continue;
    }
    const std::size_t more = first >= 0xc2 && first <= 0xdf   ? 1
                             : first >= 0xe0 && first <= 0xef ? 2
                             : first >= 0xf0 && first <= 0xf4 ? 3
                                                              : 0;
    if (more == 0 || text.size() - i <= more) return false;
    const unsigned second = byte_at(text, i + 1);
    const unsigned least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    const unsigned most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (second < least || second > most) return false;
    for (std::size_t k = 2; k <= more; ++k)
      if ((byte_at(text, i + k) & 0xc0) != 0x80) return false;
    i += more + 1;
  }
  return true;
}

void append_json_string(std::string& out, std::string_view text) {
  static constexpr auto kSpecial = [] {
    std::array<bool, 256> special{};
    for (std::size_t c = 0; c < 0x20; ++c) special[c] = true;
    special['"'] = special['\\'] = special[0x7f] = true;
    return special;
  }();
  constexpr std::string_view kDigits = "0123456789abcdef";
  out += '"';
  std::size_t plain = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (!kSpecial[c]) continue;
    out.append(text, plain, i - plain);
    plain = i + 1;
    out += '\\';
    switch (c) {
      case '"':
      case '\\':
        out += static_cast<char>(c);
        break;
      case '\n':
        out += 'n';
        break;
      case '\t':
        out += 't';
        break;
      case '\r':
        out += 'r';
        break;
      default:
        out += "u00";
        out += kDigits[c >> 4];
        out += kDigits[c & 15];
    }
  }
  out.append(text, plain, text.size() - plain);
  out += '"';
}

void append_base64(std::string& out, std::string_view bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    unsigned group = byte_at(bytes, i) << 16;
    if (i + 1 < bytes.size()) group |= byte_at(bytes, i + 1) << 8;
    if (i + 2 < bytes.size()) group |= byte_at(bytes, i + 2);
    out += kDigits[group >> 18];
    out += kDigits[group >> 12 & 63];
    out += i + 1 < bytes.size() ? kDigits[group >> 6 & 63] : '=';
    out += i + 2 < bytes.size() ? kDigits[group & 63] : '=';
  }
}

void append_json_text(std::string& out, std::string_view text) {
  if (is_utf8(text)) {
    append_json_string(out, text);
    return;
  }
  out += R"({"base64":")";
  append_base64(out, text);
  out += "\"}";
}

}  // namespace weir::logical

#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace weir::relay {

// The syntax of pg_hba.conf and the files it includes (libpq/hba.c: next_token(),
// tokenize_auth_file()): fields separated by blanks, lists with commas, double quotes around fields
// that contain blanks or must not be keywords, '#' before a comment, '\' at the end of a line that
// continues. Pure.

struct AuthToken {
  std::string text;
  bool quoted = false;  ///< it starts with a quote, so it cannot be a keyword

  [[nodiscard]] bool is_keyword(std::string_view word) const { return !quoted && text == word; }
};

struct AuthLine {
  std::size_t number = 0;  ///< of its first line in the file, from 1 on
  std::vector<std::vector<AuthToken>> fields;
  std::optional<std::string> wrong = std::nullopt;  ///< why it cannot be read
};

/// Returns the lines that are not empty.
[[nodiscard]] std::vector<AuthLine> read_auth_file(std::string_view content);

}  // namespace weir::relay

#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace weir::relay {

// How pg_hba.conf and the files beside it are written (libpq/hba.c: next_token(),
// tokenize_auth_file()): fields between blanks, lists with commas, double quotes around what has
// blanks in it or must not be a keyword, '#' before a comment, '\' at the end of a line that goes
// on. Pure.

struct AuthToken {
  std::string text;
  bool quoted = false;  ///< it begins with a quote: then it is no keyword

  [[nodiscard]] bool is_keyword(std::string_view word) const { return !quoted && text == word; }
};

struct AuthLine {
  std::size_t number = 0;  ///< of its first line in the file, from 1 on
  std::vector<std::vector<AuthToken>> fields;
  std::optional<std::string> wrong = std::nullopt;  ///< why it cannot be read
};

/// The lines that say something.
[[nodiscard]] std::vector<AuthLine> read_auth_file(std::string_view content);

}  // namespace weir::relay

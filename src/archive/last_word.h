#pragma once

#include <optional>
#include <string>

#include "base/error.h"
#include "io/directory.h"

namespace weir::archive {

/// Why the last receiver of an archive exited, if it was due to an error: the file
/// ".pgweir-last-word" in the archive (JSON, docs/archive-directory.md). The next receiver removes
/// it. Value type.
struct LastWord {
  std::string time;  ///< UTC, as format_time() writes it
  int status = 0;    ///< the exit status
  std::string message;
  std::string hint{};  ///< empty: there was none
  bool operator==(const LastWord&) const = default;

  /// "the last one ended on TIME with status 4: MESSAGE"
  [[nodiscard]] std::string text() const;
};

/// Durable when it returns; replaces an earlier one. Under the archive's lock. Throws what
/// publish_text() throws.
void leave_last_word(io::Directory& directory, const LastWord& word);
/// nullopt: there is none, or it cannot be read. Throws Error{io}.
[[nodiscard]] std::optional<LastWord> read_last_word(io::Shelf& shelf);
/// Under the archive's lock. Throws Error{io}.
void remove_last_word(io::Directory& directory);

}  // namespace weir::archive

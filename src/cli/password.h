#pragma once

#include <string>
#include <string_view>

namespace weir::cli {

/// Overwrites with '*' the passwords and other secrets of connection strings in a word of the
/// command line, in place and in the same length: `password = 'secret'`,
/// "postgresql://user:secret@host/?password=secret", "http://user:secret@host". True if there was
/// one. Harmless on any text.
bool mask_passwords(char* word);
/// A copy for messages.
[[nodiscard]] std::string masked(std::string_view text);

}  // namespace weir::cli

#pragma once

#include <string_view>

namespace weir::cli {

/// The name under which the program behaves as PostgreSQL's own receiver.
inline constexpr std::string_view kPgReceivewal = "pg_receivewal";

/// pg_receivewal, to its users: its options, messages, files and exit statuses (0 and 1).
/// `words[0]` is the name it was called by; the array ends with a null pointer.
int pg_receivewal(int count, char** words);

}  // namespace weir::cli

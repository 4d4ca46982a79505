#pragma once

#include <string_view>

namespace weir::cli {

/// The name under which the program accepts pg_recvlogical's options.
inline constexpr std::string_view kPgRecvlogical = "pg_recvlogical";

/// As PostgreSQL's pg_recvlogical, versions 15 to 19: its options, messages and exit statuses.
/// `words[0]` is the program's name; the array ends with a null pointer.
int pg_recvlogical(int count, char** words);

}  // namespace weir::cli

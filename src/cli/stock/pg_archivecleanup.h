#pragma once

#include <string_view>

namespace weir::cli {

inline constexpr std::string_view kPgArchivecleanup = "pg_archivecleanup";

/// The whole program under the name pg_archivecleanup: its options (those of 15 to 19), messages
/// and exit statuses (0, 2 for wrong usage; files that cannot be removed are reported, with status
/// 0, as in the original).
int pg_archivecleanup(int count, char** words);
[[nodiscard]] std::string_view pg_archivecleanup_help();

}  // namespace weir::cli

#pragma once

namespace weir::cli {

/// The whole program under the name pg_archivecleanup: its options (those of 15 to 18), messages
/// and exit statuses (0, 2 for wrong usage; what cannot be removed is told, and 0, as there).
int archivecleanup(int count, char** words);

}  // namespace weir::cli

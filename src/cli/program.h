#pragma once

namespace weir::cli {

/// The whole program: selects and runs the command, prints a fatal error to stderr, and returns the
/// exit status. Masks passwords in `words`, which others can read in the process list.
int run(int count, char** words);

}  // namespace weir::cli

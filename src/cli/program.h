#pragma once

namespace weir::cli {

/// The whole program: picks the command, runs it, tells the error that ended it on stderr, returns
/// the exit status. Masks passwords in `words`, which others can read in the process list.
int run(int count, char** words);

}  // namespace weir::cli

#pragma once

#include <vector>

#include "base/error.h"
#include "cli/arguments.h"

namespace weir::cli {

/// Checks a command's verb, the number of words after it, and the options against each other, as
/// the command's table says (`CommandVerb`, `OfVerbs`, `Relation`). Throws Error{usage} for the
/// first contradiction; with `errors` all of them are added there. To be called before the command
/// runs, when the environment and the file have been added.
void check_combinations(const Arguments& arguments, std::vector<Error>* errors = nullptr);

}  // namespace weir::cli

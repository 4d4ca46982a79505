#pragma once

#include <string>
#include <string_view>

#include "cli/command.h"

namespace weir::cli {

// Texts of at most 80 columns.

/// Returns the output of --help: from the table of the command's options, without those of its
/// topics.
[[nodiscard]] std::string help_of(const Command& command);
/// "pgweir help COMMAND all": every option.
[[nodiscard]] std::string full_help_of(const Command& command);
/// "pgweir --help", which lists the commands.
[[nodiscard]] std::string general_help();
[[nodiscard]] std::string_view version_text();

/// To stdout, for people: what a terminal would not just show is escaped (base/visible.h). Throws
/// Error{io} if that fails.
void print(std::string_view text);
/// Prints to stdout unchanged: for output that programs read. Throws the same.
void print_data(std::string_view text);
/// The same with colors if a terminal supports them.
void print_coloured(std::string_view text);

}  // namespace weir::cli

#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/arguments.h"

namespace weir::cli {

/// Reads a configuration file. A file that holds a password, in a connection string, must be
/// readable by its owner alone; a file owned by root, by a group as well. Throws Error{usage} if it
/// cannot be read, or if others can read it; the latter is added to `errors` if they are collected.
[[nodiscard]] std::string read_config_file(const std::string& path);
[[nodiscard]] std::string read_config_file_for_check(const std::string& path,
                                                     std::vector<Error>* errors);

/// The number of the first line of a setting with a password in its value; 0: there is none.
[[nodiscard]] int line_with_password(std::string_view text);

/// Adds the options from this process's environment variables.
void add_environment(Arguments& arguments);
/// Throws if a variable refers to an option, and has no command's name.
void refuse_strays(const Arguments& arguments);

/// Adds the options of the --config file, if it was given.
void add_config(Arguments& arguments);

}  // namespace weir::cli

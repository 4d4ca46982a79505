#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/arguments.h"

namespace weir::cli {

/// The content of a configuration file. A file that holds a password, in a connection string, must
/// be readable by its owner alone; one that belongs to root, by a group as well. Throws
/// Error{usage} if it cannot be read, or if others can; the latter is added to `errors` if they
/// are collected.
[[nodiscard]] std::string read_config_file(const std::string& path);
[[nodiscard]] std::string read_config_file_for_check(const std::string& path,
                                                     std::vector<Error>* errors);

/// The number of the first line of a setting with a password in its value; 0: there is none.
[[nodiscard]] int line_with_password(std::string_view text);

/// The options of all commands that can take some from a file.
[[nodiscard]] const std::vector<CommandOptions>& command_options();

/// How the file is read for `command`.
[[nodiscard]] SharedFile shared_file(std::string_view command);

/// Adds what the file of --config says, if it was given.
void add_config(Arguments& arguments, std::string_view command);

/// What --prefetch says: a number of segments; nullopt if it is none, or too large.
[[nodiscard]] std::optional<std::size_t> parse_prefetch(std::string_view text);

// The options of each command; of receive and logical in their *_options.h.
[[nodiscard]] std::vector<Option> restore_option_list();
[[nodiscard]] std::vector<Option> verify_option_list();
[[nodiscard]] std::vector<Option> ack_option_list();
[[nodiscard]] std::vector<Option> prune_option_list();
[[nodiscard]] std::vector<Option> compress_option_list();
[[nodiscard]] std::vector<Option> slot_option_list();
[[nodiscard]] std::vector<Option> status_option_list();
[[nodiscard]] std::vector<Option> doctor_option_list();
[[nodiscard]] std::vector<Option> listen_option_list();
[[nodiscard]] std::vector<Option> notify_option_list();

}  // namespace weir::cli

#pragma once

#include <string>
#include <vector>

namespace weir::cli {

/// The restore_command that hands out of these archives, run from any directory: "PROGRAM restore
/// -D … OPTION %f %p". `option` may be empty.
[[nodiscard]] std::string restore_command_for(const std::string& program,
                                              const std::vector<std::string>& directories,
                                              const std::string& option);

/// A value as the server's configuration file wants it, with its quotes.
[[nodiscard]] std::string quoted_setting(const std::string& value);

}  // namespace weir::cli

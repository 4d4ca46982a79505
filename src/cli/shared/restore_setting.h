#pragma once

#include <string>
#include <vector>

namespace weir::cli {

struct RestoreFrom {
  std::vector<std::string> directories{};
  std::vector<std::string> store{};  ///< words that name an object store
};

/// The restore_command for these archives, for any working directory: "PROGRAM restore -D … OPTION
/// %f %p". `option` may be empty.
[[nodiscard]] std::string restore_command_for(const std::string& program, const RestoreFrom& from,
                                              const std::string& option);

/// The same path from any directory.
[[nodiscard]] std::string absolute_path(std::string path);

/// A value in the syntax of the server's configuration file, with its quotes.
[[nodiscard]] std::string quoted_setting(const std::string& value);

}  // namespace weir::cli

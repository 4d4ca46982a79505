#pragma once

#include <string>

namespace weir::cli {

/// The content of a configuration file. Throws Error{usage} if it cannot be read.
[[nodiscard]] std::string read_config_file(const std::string& path);

}  // namespace weir::cli

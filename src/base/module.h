#pragma once

#include <string>

namespace weir {

/// A shared library of pgweir's own that is loaded when it is needed, so that nobody else carries
/// the libraries behind it.
struct Module {
  const void* interface = nullptr;  ///< the symbol that was asked for; nullptr: `reason` says why
  std::string place;                ///< the file it was loaded from
  std::string reason;
};

/// Looks for `file` ("libpgweir-metrics.so") beside the program, as it is built, and where it is
/// installed; the first one found counts. It stays loaded to the end of the process.
[[nodiscard]] Module load_module(const std::string& file, const char* symbol);

}  // namespace weir

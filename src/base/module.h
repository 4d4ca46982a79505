#pragma once

#include <string>

namespace weir {

/// A shared library of pgweir's own that is loaded when it is needed, so that other commands do not
/// load its dependencies.
struct Module {
  const void* interface = nullptr;  ///< the requested symbol; nullptr: `reason` says why
  std::string place;                ///< the file it was loaded from
  std::string reason;
};

/// Searches `file` ("libpgweir-metrics.so") next to the program, as in the build directory, and
/// where it is installed; the first one found is used. It stays loaded until the process exits.
[[nodiscard]] Module load_module(const std::string& file, const char* symbol);

}  // namespace weir

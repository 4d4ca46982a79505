#pragma once

#include <string>

#include "base/error.h"

namespace weir {

/// A shared library that is loaded when it is needed, so that other commands load neither it nor
/// its dependencies: `pgweir restore` runs once for each segment of a recovery. It stays loaded
/// until the process exits. Any thread.
class Library {
 public:
  /// One of the system's, by its name with the version of its interface ("libpq.so.5"). `hint` says
  /// which package has it.
  Library(const std::string& name, const char* hint) : Library(name, name, hint) {}
  /// A module of pgweir ("libpgweir-store.so"): next to the program, as in the build directory, or
  /// where it is installed; the first one found is used.
  [[nodiscard]] static Library module(const std::string& name, const char* hint);

  /// Returns a function or an object. Throws Error{usage} if the library or the symbol does not
  /// exist.
  [[nodiscard]] void* find(const char* symbol) const;
  /// The error of a library that cannot be used.
  [[nodiscard]] Error failed(const std::string& reason) const;

 private:
  /// `path` is empty: there is no such file.
  Library(const std::string& name, const std::string& path, const char* hint);

  std::string name_;  ///< or the path of a module that exists
  const char* hint_;
  void* handle_ = nullptr;
  std::string reason_;  ///< why it could not be loaded, if it could not
};

/// Returns what a module exports as `symbol`: an interface whose number must be this one. The
/// module is loaded by the first call. Throws Error{usage}.
template <typename Interface>
[[nodiscard]] const Interface& interface_of(const Library& module, const char* symbol, int number) {
  const auto& found = *static_cast<const Interface*>(module.find(symbol));
  if (found.interface_number != number)
    throw module.failed("it belongs to another version of pgweir");
  return found;
}

}  // namespace weir

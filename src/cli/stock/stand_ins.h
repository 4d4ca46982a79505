#pragma once

#include <span>
#include <string_view>

namespace weir::cli {

/// A program of PostgreSQL's that this one is when it is called by its name, with that program's
/// options, messages, files and exit statuses.
struct StandIn {
  std::string_view name;
  /// The whole program: `words[0]` is the name it was called by; the array ends with a null
  /// pointer.
  int (*run)(int count, char** words);
  /// Returns the output of its --help.
  std::string_view (*help)();
};

[[nodiscard]] std::span<const StandIn> stand_ins();
/// The one of this name, whatever the path before it; nullptr: there is none.
[[nodiscard]] const StandIn* find_stand_in(std::string_view called);

}  // namespace weir::cli

#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/option.h"

namespace weir::cli {

class Arguments;
using Words = std::vector<std::string>;

/// A part of a command's help of its own: "pgweir help COMMAND NAME" prints it, --help lists it.
struct Topic {
  std::string_view name;
  std::string_view contents;  ///< in a phrase
};

/// Options that the help shows together.
struct OptionGroup {
  std::string_view heading{};  ///< "Options:"; empty: the group continues the one before it
  std::span<const Option> options;
  std::string_view note = {};    ///< lines below them, as they are
  const Topic* topic = nullptr;  ///< nullptr: part of --help
  Rules rules{};                 ///< of each of the options, in addition to its own
};

/// What a command is to do: its first word.
struct CommandVerb {
  static constexpr std::size_t kAnyWords = SIZE_MAX;
  std::string_view name;
  std::size_t words = 0;  ///< that have to follow it
  std::string_view takes = "no name";
};

/// A command of the program. Its command line and its part of a configuration file are parsed
/// according to it, and its help is generated from it, which the completions use and the manual
/// pages are compared with.
struct Command {
  std::string_view name;
  std::string_view summary;  ///< shown next to its name in "pgweir --help"
  std::string_view about;    ///< start of --help: purpose, and "Usage:"
  std::span<const OptionGroup> groups;
  std::string_view notes = {};  ///< how --help ends: examples, "Exit status:"
  std::size_t most_words = 0;   ///< number of words allowed in addition to the options
  std::span<const CommandVerb> verbs = {};
  std::string_view default_verb = {};  ///< empty: a verb is required
  bool takes_file = true;              ///< a configuration file may have a section for it
  /// Takes its signals from the start and starts no process. Others have
  /// daemon::below_process_one() between them and a container's end.
  bool may_be_process_one = false;
  bool refuses_strays = false;  ///< reject environment variables for an option of no command
  /// Does it. Returns the exit status, 0 or 1, and throws Error for the rest.
  int (*run)(const Arguments& arguments) = nullptr;
  /// Reports an exception, thrown by run() or because of the words themselves, and returns the exit
  /// status. nullptr: on stderr, and by the kind of the error.
  int (*failed)(const Words& words, const std::exception_ptr& failure) = nullptr;
  /// nullptr: generated from the above.
  std::string (*help)() = nullptr;

  [[nodiscard]] const Option* find(std::string_view option) const;
  [[nodiscard]] std::vector<Option> options() const;
};

}  // namespace weir::cli

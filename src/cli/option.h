#pragma once

#include <string>
#include <string_view>
#include <type_traits>

namespace weir::cli {

/// An option that is set: to that value, unless `value` is empty.
struct Setting {
  std::string_view option{};
  std::string_view value{};
  bool command_line = false;  ///< counts only if it is on the command line
};

/// What an option requires: one of `others`. Or what it excludes: all of them.
struct Relation {
  Setting others[4]{};
  std::string_view value{};   ///< applies only if the option itself has this value
  std::string_view verb{};    ///< applies only with this verb of the command
  bool command_line = false;  ///< applies only to the command line: a file is for several calls
  std::string_view hint{};
};

/// The verbs of the command that have an option, separated by spaces. On the command line, other
/// verbs reject it; files and the environment are for all verbs.
struct OfVerbs {
  std::string_view names;
  std::string_view hint{};
};

struct Rules {
  const Relation* needs = nullptr;
  const Relation* excludes = nullptr;
  const OfVerbs* verbs = nullptr;  ///< nullptr: all verbs
};

/// An option of a command: its syntax, its value, and its text in --help. Regardless of the source
/// of a value, a command line or a configuration file, `check` validates it.
struct Option {
  std::string_view name;   ///< long name, without dashes
  char letter = '\0';      ///< its one-letter name, if there is one
  std::string_view value;  ///< what --help calls its value, "FILE"; empty: a switch
  std::string_view help;   ///< in one or two phrases; --help breaks the lines
  bool in_file = true;     ///< allowed in a configuration file
  bool shared = false;     ///< the part of a file before the first section sets it for all commands
  /// A section of a file that sets it for all commands, too: the section of this command. A
  /// command's own section has precedence.
  std::string_view section{};
  bool repeated = false;    ///< may be repeated, in a file on several lines
  bool connection = false;  ///< a connection string: no message shows the value
  /// Throws Error{usage} for an invalid value: the message is the reason, and may be empty if the
  /// hint is sufficient.
  void (*check)(const std::string& value) = nullptr;
  /// Whether two words for a value mean the same; nullptr: only if they are equal.
  bool (*same)(const std::string& one, const std::string& other) = nullptr;
  Rules rules{};

  [[nodiscard]] constexpr bool takes_value() const { return !value.empty(); }
  /// For has() and the like.
  constexpr operator std::string_view() const { return name; }  // NOLINT: an option is its name

  /// The same option, set for all commands by that section of a file.
  [[nodiscard]] constexpr Option of_section(std::string_view name_of_command) const {
    Option other = *this;
    other.section = name_of_command;
    return other;
  }
  /// The same option in the words of a command.
  [[nodiscard]] constexpr Option says(std::string_view text) const {
    Option other = *this;
    other.help = text;
    return other;
  }
  /// The same option with the rules of a command.
  [[nodiscard]] constexpr Option with(const Rules& of_command) const {
    Option other = *this;
    other.rules = of_command;
    return other;
  }
};

/// An option whose value is read by `Parse`, the one place that knows what will do.
template <auto Parse>
struct ValueOption : Option {
  using Type = decltype(Parse(std::string()));
};

/// "--name VALUE", and "-n" if there is a letter.
template <auto Parse>
[[nodiscard]] constexpr ValueOption<Parse> option_of(char letter, std::string_view name,
                                                     std::string_view value, std::string_view help,
                                                     const Rules& rules = {}) {
  ValueOption<Parse> made;
  made.name = name;
  made.letter = letter;
  made.value = value;
  made.help = help;
  made.rules = rules;
  made.check = [](const std::string& text) { static_cast<void>(Parse(text)); };
  using Type = typename ValueOption<Parse>::Type;
  if constexpr (std::is_enum_v<Type> || std::is_same_v<Type, bool>)
    made.same = [](const std::string& a, const std::string& b) { return Parse(a) == Parse(b); };
  return made;
}
template <auto Parse>
[[nodiscard]] constexpr ValueOption<Parse> option_of(std::string_view name, std::string_view value,
                                                     std::string_view help,
                                                     const Rules& rules = {}) {
  return option_of<Parse>('\0', name, value, help, rules);
}

/// An option without a value; in a file it is on or off.
[[nodiscard]] constexpr Option flag(char letter, std::string_view name, std::string_view help,
                                    const Rules& rules = {}) {
  Option made;
  made.name = name;
  made.letter = letter;
  made.help = help;
  made.rules = rules;
  return made;
}
[[nodiscard]] constexpr Option flag(std::string_view name, std::string_view help,
                                    const Rules& rules = {}) {
  return flag('\0', name, help, rules);
}

}  // namespace weir::cli

#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "cli/command.h"

namespace weir::cli {

/// What the user gave a command: from the command line and from a configuration file, where the
/// command line wins. Each value has passed the check of its option; where a value came from is
/// kept for messages. Everything that is wrong is an Error{usage} that names the option, or the
/// file and the line.
class Arguments {
 public:
  /// Reads the command line. Options may stand anywhere; other words are kept in order.
  static Arguments parse(const Command& command, const Words& words);

  /// Adds what `text`, the content of the configuration file `path`, says of options that the
  /// command line does not have: lines of `name = value`, comments after '#' or ';' at the start of
  /// a line. A switch is on, off, true, false, yes, no, 1 or 0. Values keep inner and outer quotes
  /// as they are.
  ///
  /// The file is for all of `commands`. Its first part, before any section, has the options of
  /// `receive`; of those the other commands take what is marked as shared. A command's own options
  /// stand in a section of its name, where they win. All of the file is checked, whoever reads it.
  ///
  /// With `errors` nothing is thrown: what is wrong is added there, and its line is left out.
  void add_file(const std::string& path, std::string_view text,
                std::span<const Command* const> commands, std::vector<Error>* errors = nullptr);
  /// What the command line alone has said.
  [[nodiscard]] Arguments without_file() const;

  // An option is named by itself or by its name.
  [[nodiscard]] bool has(std::string_view option) const;
  [[nodiscard]] bool on_command_line(std::string_view option) const;
  /// As it was written; the last one of an option that may be repeated.
  [[nodiscard]] std::optional<std::string> text(std::string_view option) const;
  /// Of an option that may be repeated: all, in order.
  [[nodiscard]] std::vector<std::string> texts(std::string_view option) const;

  template <auto Parse>
  [[nodiscard]] auto get(const ValueOption<Parse>& option) const
      -> std::optional<typename ValueOption<Parse>::Type> {
    const auto given = text(option.name);
    if (!given) return std::nullopt;
    return Parse(*given);
  }
  template <auto Parse>
  [[nodiscard]] auto get(const ValueOption<Parse>& option,
                         typename ValueOption<Parse>::Type otherwise) const {
    return get(option).value_or(std::move(otherwise));
  }

  /// What was given, by name.
  [[nodiscard]] std::vector<std::string> names() const;
  [[nodiscard]] const Words& words() const { return words_; }
  /// How the user would recognise the option: "--slot", or "\"slot\" in pgweir.conf, line 3".
  [[nodiscard]] std::string source(std::string_view option) const;

 private:
  struct Given {
    std::vector<std::string> values;
    int line = 0;  ///< of the file; 0: the command line
  };
  struct FilePart;
  explicit Arguments(const Command& command) : command_(&command) {}
  void add_line(FilePart& part, std::string_view content, int line,
                std::span<const Command* const> commands);
  void set(std::string_view name, Given given, bool wins);

  const Command* command_;
  std::map<std::string, Given, std::less<>> given_;
  Words words_;
  std::string path_;
};

}  // namespace weir::cli

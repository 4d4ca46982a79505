#pragma once

#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace weir::cli {

/// An option of a command.
struct Option {
  std::string_view name;  ///< long name, without dashes
  char letter = '\0';     ///< its one-letter form, if there is one
  bool takes_value = true;
  bool in_file = true;  ///< may stand in a configuration file
};

/// The options of a command.
struct CommandOptions {
  std::string_view command;
  std::vector<Option> options;
};

/// How a configuration file that all commands share is read for one of them. Its first part, before
/// any section, has the options of `receive`; of those the other commands take the archive, the
/// connection and the slot. A command's own options stand in a section of its name, where they win.
/// All of the file is checked, whoever reads it.
struct SharedFile {
  std::string_view command;
  std::span<const CommandOptions> commands;
  /// Throws Error{usage} for a value that `command` cannot take for that option.
  void (*check)(std::string_view command, std::string_view option, const std::string& value);
};

/// What the user gave: from the command line and from a configuration file, where the command line
/// wins. Values are text; where one came from is kept for messages. Everything that is wrong is an
/// Error{usage}.
class Arguments {
 public:
  /// Reads the command line. Options may stand anywhere; other words are kept in order, of which
  /// at most `most_words` may be given.
  static Arguments parse(std::span<const Option> options, const std::vector<std::string>& words,
                         std::size_t most_words = 0);
  /// Adds what `text`, the content of the configuration file `path`, says of options that the
  /// command line does not have: lines of `name = value`, comments after '#' or ';' at the start of
  /// a line. A switch is on, off, true, false, yes, no, 1 or 0. Values keep inner and outer quotes
  /// as they are. Without `shared` the file has options of this command only, and no sections. With
  /// `errors` nothing is thrown: what is wrong is added there, and its line is left out.
  void add_file(const std::string& path, std::string_view text,
                const std::optional<SharedFile>& shared = std::nullopt,
                std::vector<Error>* errors = nullptr);

  [[nodiscard]] bool has(std::string_view name) const;
  [[nodiscard]] bool on_command_line(std::string_view name) const;
  [[nodiscard]] std::optional<std::string> value(std::string_view name) const;
  /// What was given, by name.
  [[nodiscard]] std::vector<std::string> names() const;
  [[nodiscard]] const std::vector<std::string>& words() const { return words_; }
  /// How the user would recognise the option: "--slot", or "\"slot\" in pgweir.conf, line 3".
  [[nodiscard]] std::string source(std::string_view name) const;

 private:
  struct Given {
    std::string value;
    int line = 0;  ///< of the file; 0: the command line
  };
  struct FilePart;
  void add_line(FilePart& part, std::string_view content, int line,
                const std::optional<SharedFile>& shared);
  void set(std::string_view name, Given given, bool wins);

  std::vector<Option> options_;
  std::map<std::string, Given, std::less<>> given_;
  std::vector<std::string> words_;
  std::string path_;
};

/// "unknown option --compres", with a hint at the nearest of the options.
[[nodiscard]] Error unknown_option(const std::string& spelled, std::span<const Option> options);

}  // namespace weir::cli

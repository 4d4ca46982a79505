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
  /// as they are.
  void add_file(const std::string& path, std::string_view text);

  [[nodiscard]] bool has(std::string_view name) const;
  [[nodiscard]] bool on_command_line(std::string_view name) const;
  [[nodiscard]] std::optional<std::string> value(std::string_view name) const;
  [[nodiscard]] const std::vector<std::string>& words() const { return words_; }
  /// How the user would recognise the option: "--slot", or "\"slot\" in pgweir.conf, line 3".
  [[nodiscard]] std::string source(std::string_view name) const;

 private:
  struct Given {
    std::string value;
    int line = 0;  ///< of the file; 0: the command line
  };

  std::vector<Option> options_;
  std::map<std::string, Given, std::less<>> given_;
  std::vector<std::string> words_;
  std::string path_;
};

/// "unknown option --compres", with a hint at the nearest of the options.
[[nodiscard]] Error unknown_option(const std::string& spelled, std::span<const Option> options);

}  // namespace weir::cli

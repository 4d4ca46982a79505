#pragma once

#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "cli/command.h"

namespace weir::cli {

/// The options of a command: from the command line, the environment and a configuration file; the
/// first of these that has an option takes precedence. Each value has passed the check of its
/// option; its source is kept for messages. All errors are Error{usage} and name the option, the
/// variable, or the file and the line.
class Arguments {
 public:
  enum class Origin { file, environment, command_line };  ///< the later one wins

  /// Reads the command line. Options may appear anywhere; other words are kept in order.
  static Arguments parse(const Command& command, const Words& words);

  /// Adds the environment variables ("PGWEIR_RECEIVE_SLOT=archive") for options that are not on the
  /// command line. A variable is named after a command and an option that is allowed in a
  /// configuration file; of the options of `receive` the other commands use those marked as shared,
  /// unless a variable of their own sets them. Values are as in a file; an option that may be
  /// repeated has one value on each line. A variable without a value is ignored.
  ///
  /// The values of the variables of `receive` and of this command are checked, and so are their
  /// names, unless Kubernetes creates them for a service called "pgweir" or "pgweir-receive". A
  /// secret is rejected: other users who see the process may see its environment. Must be called
  /// before add_file().
  void add_environment(const std::vector<std::string>& variables,
                       std::span<const Command* const> commands);
  /// Throws if a variable has an option's name and no command's, or a misspelled one. For commands
  /// that are configured by the environment: for any other command, above all `restore` in a
  /// recovery, such a name may belong to a script.
  void refuse_strays(const std::vector<std::string>& variables,
                     std::span<const Command* const> commands) const;

  /// Adds the options in `text`, the content of the configuration file `path`, that neither the
  /// command line nor the environment sets: lines of `name = value`, comments after '#' or ';' at
  /// the start of a line. A switch is on, off, true, false, yes, no, 1 or 0. Values keep inner and
  /// outer quotes as they are.
  ///
  /// The file is for all of `commands`. Its first part, before any section, has the options of
  /// `receive`; of those the other commands use the ones marked as shared. A command's own options
  /// are in a section of its name, and take precedence there. Some sections give options to all
  /// commands that have them (Option::section). The whole file is checked by every command.
  ///
  /// With `errors` nothing is thrown: errors are added there, and their lines are skipped.
  void add_file(const std::string& path, std::string_view text,
                std::span<const Command* const> commands, std::vector<Error>* errors = nullptr);
  /// The options of the command line and the environment.
  [[nodiscard]] Arguments without_file() const;

  // An option is given by itself or by its name.
  [[nodiscard]] bool has(std::string_view option) const;
  [[nodiscard]] bool on_command_line(std::string_view option) const {
    return has(option) && origin(option) == Origin::command_line;
  }
  /// Origin of an option that was set.
  [[nodiscard]] Origin origin(std::string_view option) const;
  /// As it was written; the last one of an option that may be repeated.
  [[nodiscard]] std::optional<std::string> text(std::string_view option) const;
  /// All values of an option that may be repeated, in order.
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

  /// Names of the options that were set.
  [[nodiscard]] std::vector<std::string> names() const;
  [[nodiscard]] const Words& words() const { return words_; }
  [[nodiscard]] const Command& command() const { return *command_; }
  /// The first word by its present name, or the command's default verb.
  [[nodiscard]] std::string_view verb() const;
  /// A sentence for each former name (former_names.h) that was used, for the log.
  [[nodiscard]] const std::vector<std::string>& former_names() const { return former_names_; }
  /// The option as the user wrote it: "--slot", "PGWEIR_RECEIVE_SLOT", or "\"slot\" in pgweir.conf,
  /// line 3".
  [[nodiscard]] std::string source(std::string_view option) const;

 private:
  struct Given {
    std::vector<std::string> values{};
    Origin origin = Origin::command_line;
    int line = 0;            ///< of the file
    std::string variable{};  ///< of the environment
  };
  struct FilePart;
  explicit Arguments(const Command& command) : command_(&command) {}
  void add_line(FilePart& part, std::string_view content, int line,
                std::span<const Command* const> commands);
  void add_variable(const std::string& name, const std::string& value, const Command& of);
  void set(std::string_view name, Given given, bool wins);
  void note_former(const std::string& written, std::string_view present);

  const Command* command_;
  std::map<std::string, Given, std::less<>> given_;
  std::set<std::string, std::less<>> off_;  ///< switches that the environment sets to off
  std::vector<std::string> former_names_;
  Words words_;
  std::string path_;
};

}  // namespace weir::cli

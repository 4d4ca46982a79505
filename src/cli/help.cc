#include "cli/help.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/colour.h"
#include "base/exit_status.h"
#include "base/visible.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/options/common_options.h"
#include "cli/suggest.h"

namespace weir::cli {

namespace {

/// Where what an option does begins, and where a line ends.
constexpr std::size_t kColumn = 27;
constexpr std::size_t kWidth = 80;

/// The text behind `line`, broken between words.
void add_wrapped(std::string& line, std::string_view text, std::string& out) {
  while (!text.empty()) {
    const auto end = std::min(text.find(' '), text.size());
    const auto word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.size() > kColumn && line.size() + 1 + word.size() > kWidth) {
      out += line + "\n";
      line = std::string(kColumn, ' ');
    } else if (line.size() > kColumn) {
      line += ' ';
    }
    line += word;
  }
  out += line + "\n";
}

std::string lines_of(const Option& option) {
  auto line = option.letter != '\0' ? fmt::format("  -{}, --{}", option.letter, option.name)
                                    : fmt::format("      --{}", option.name);
  // "[=VALUE]" follows at once: it may be left out.
  if (option.takes_value()) line += fmt::format(" {}", option.value);
  if (option.help.empty()) return line + "\n";
  std::string out;
  constexpr std::size_t kGap = 2;
  if (line.size() + kGap > kColumn) {
    out = line + "\n";
    line.clear();
  }
  line.resize(kColumn, ' ');
  add_wrapped(line, option.help, out);
  return out;
}

int help_command(const Arguments& arguments) {
  if (arguments.words().empty()) {
    print(general_help());
    return kDone;
  }
  const auto& name = arguments.words().front();
  if (const auto* command = find_command(name)) {
    print(help_of(*command));
    return kDone;
  }
  std::vector<std::string_view> names;
  for (const auto* command : commands()) names.push_back(command->name);
  Error error(ErrorKind::usage, fmt::format("no help on \"{}\"", name));
  if (const auto near = nearest(name, names)) error.hint(fmt::format("Did you mean {}?", *near));
  throw error;
}

constexpr Option kOptions[] = {kHelp};
constexpr OptionGroup kGroups[] = {{"Options:", kOptions}};

}  // namespace

constinit const Command kHelpCommand = {
    .name = "help",
    .summary = "help on a command: pgweir help receive",
    .about = {},
    .groups = kGroups,
    .most_words = SIZE_MAX,
    .takes_file = false,
    .run = help_command,
    .help = general_help,
};

std::string help_of(const Command& command) {
  if (command.help != nullptr) return command.help();
  std::string text(command.about);
  for (const auto& group : command.groups) {
    text += fmt::format("\n{}\n", group.heading);
    for (const auto& option : group.options) text += lines_of(option);
    text += group.note;
  }
  if (!command.notes.empty()) text += fmt::format("\n{}", command.notes);
  return text + fmt::format("\nManual: man pgweir-{}\n", command.name);
}

void print(std::string_view text) { print_data(visible(text)); }

void print_data(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    throw Error(ErrorKind::io, "could not write to the standard output");
}

void print_coloured(std::string_view text) {
  const auto shown = visible(text);
  print_data(shows_colour(STDOUT_FILENO) ? coloured(shown) : shown);
}

std::string_view version_text() {
  return "pgweir " PGWEIR_VERSION
         "\n"
         "for PostgreSQL 13 to 19\n";
}

std::string general_help() {
  std::string text = R"(pgweir archives PostgreSQL's WAL by streaming replication.

Usage:
  pgweir COMMAND [OPTION]...

Commands:
)";
  for (const auto* command : commands())
    text += fmt::format("  {:<9} {}\n", command->name, command->summary);
  return text + R"(
Options:
  -c, --config FILE
                  take options from a file, too: see pgweir config --help
  -?, --help      this help; pgweir COMMAND --help tells a command's options
  -V, --version   the version

To begin:
  pgweir receive -D /srv/wal -d "host=db1 user=repl" -S weir --create-slot \
                 --if-not-exists --compress zstd
  pgweir status -D /srv/wal

Exit status:
  0   done, or stopped as asked
  1   asked, and the answer is no (a check that found something)
  2   wrong options or configuration
  3   may pass if tried again: no connection, disk full
  4   needs a person: WAL is missing or damaged, another cluster's archive,
      a failed sync
  200 no command, an unknown one, or an option before it: PostgreSQL, if this
      is its restore_command, stops instead of opening with data missing

Manual: man pgweir, man pgweir-receive, man pgweir-restore
)";
}

}  // namespace weir::cli

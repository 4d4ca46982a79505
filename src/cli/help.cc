#include "cli/help.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <span>
#include <vector>

#include "base/colour.h"
#include "base/exit_status.h"
#include "base/visible.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/options/common_options.h"
#include "cli/suggest.h"

namespace weir::cli {

namespace {

/// Column of an option's description, and the line width.
constexpr std::size_t kColumn = 27;
constexpr std::size_t kWidth = 80;

/// The text after `line`, broken between words.
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

std::string lines_of(const OptionGroup& group) {
  // Without a heading the group continues the one before it.
  auto text = group.heading.empty() ? std::string() : fmt::format("\n{}\n", group.heading);
  for (const auto& option : group.options) text += lines_of(option);
  text += group.note;
  return text;
}

std::string end_of(const Command& command) {
  return fmt::format("\nManual: man pgweir-{}\n", command.name);
}

/// In the order of their first groups.
std::vector<const Topic*> topics_of(const Command& command) {
  std::vector<const Topic*> topics;
  for (const auto& group : command.groups)
    if (group.topic != nullptr && (topics.empty() || topics.back() != group.topic))
      topics.push_back(group.topic);
  return topics;
}

constexpr std::string_view kAllTopics = "all";

std::string list_of_topics(const Command& command) {
  const auto topics = topics_of(command);
  if (topics.empty()) return {};
  auto text =
      fmt::format("\nMore options: pgweir help {} TOPIC, with one or more of\n", command.name);
  for (const auto* topic : topics)
    text += fmt::format("  {:<10}  {}\n", topic->name, topic->contents);
  return text + fmt::format("  {:<10}  every option\n", kAllTopics);
}

Error unknown(const std::string& what, const std::string& word,
              const std::vector<std::string_view>& known) {
  Error error(ErrorKind::usage, fmt::format("no help on {}\"{}\"", what, word));
  if (const auto near = nearest(word, known)) error.hint(fmt::format("Did you mean {}?", *near));
  return error;
}

std::string help_on(const Command& command, std::span<const std::string> words) {
  if (words.empty()) return help_of(command);
  if (std::find(words.begin(), words.end(), kAllTopics) != words.end())
    return full_help_of(command);
  std::vector<std::string_view> known{kAllTopics};
  for (const auto* topic : topics_of(command)) known.push_back(topic->name);
  std::string text;
  for (const auto& word : words) {
    if (std::find(known.begin(), known.end(), word) == known.end())
      throw unknown(fmt::format("{} ", command.name), word, known)
          .hint(fmt::format("The topics are {}.", fmt::join(known, ", ")));
    for (const auto& group : command.groups)
      if (group.topic != nullptr && group.topic->name == word) text += lines_of(group);
  }
  return text.substr(1) + end_of(command);
}

int help_command(const Arguments& arguments) {
  const auto& words = arguments.words();
  if (words.empty()) {
    print(general_help());
    return kDone;
  }
  if (const auto* command = find_command(words.front())) {
    print(help_on(*command, std::span(words).subspan(1)));
    return kDone;
  }
  std::vector<std::string_view> names;
  for (const auto* command : commands()) names.push_back(command->name);
  throw unknown("", words.front(), names);
}

constexpr Option kHelpOptions[] = {kHelp};
constexpr OptionGroup kHelpGroups[] = {{"Options:", kHelpOptions}};

}  // namespace

constinit const Command kHelpCommand = {
    .name = "help",
    .summary = "help on a command or one of its topics: pgweir help receive store",
    .about = {},
    .groups = kHelpGroups,
    .most_words = SIZE_MAX,
    .takes_file = false,
    .run = help_command,
    .help = general_help,
};

std::string help_of(const Command& command) {
  if (command.help != nullptr) return command.help();
  std::string text(command.about);
  for (const auto& group : command.groups)
    if (group.topic == nullptr) text += lines_of(group);
  text += list_of_topics(command);
  if (!command.notes.empty()) text += fmt::format("\n{}", command.notes);
  return text + end_of(command);
}

std::string full_help_of(const Command& command) {
  if (command.help != nullptr) return command.help();
  std::string text(command.about);
  for (const auto& group : command.groups) text += lines_of(group);
  if (!command.notes.empty()) text += fmt::format("\n{}", command.notes);
  return text + end_of(command);
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
                  read options from FILE, too; see pgweir config --help
  -?, --help      show this help; pgweir COMMAND --help shows those of a command
  -V, --version   show the version

Getting started:
  pgweir receive -D /srv/wal -d "host=db1 user=repl" -S weir --create-slot \
                 --if-not-exists --compress zstd
  pgweir status -D /srv/wal

Exit status:
  0   done, or stopped on request
  1   a check found a problem
  2   invalid options or configuration
  3   temporary failure, such as no connection or a full disk
  4   manual intervention required: WAL is missing or corrupted, the archive is
      that of another cluster, or a flush has failed
  200 no command, an unknown one, or an option before it: as restore_command,
      this stops the recovery instead of ending it with data missing

Manual: man pgweir, man pgweir-receive, man pgweir-restore
)";
}

}  // namespace weir::cli

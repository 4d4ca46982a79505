#include <fmt/format.h>

#include "base/exit_status.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/common_options.h"
#include "cli/config_file.h"
#include "cli/help.h"
#include "cli/password.h"
#include "cli/receive_options.h"

namespace weir::cli {

namespace {

constexpr Option kOptions[] = {kConfig.says("the file, if it is not named behind the verb"), kHelp};
constexpr OptionGroup kGroups[] = {{"Options:", kOptions}};

Arguments settings_for(const Command& command, const std::string& path, const std::string& text) {
  auto arguments = Arguments::parse(command, {});
  arguments.add_file(path, text, commands());
  return arguments;
}

/// All that is wrong with the file, as `receive` would say it one by one. The directory may be left
/// to the command line, as a service unit for several archives does.
void find_errors(const std::string& path, const std::string& text, std::vector<Error>& errors) {
  auto arguments = Arguments::parse(kReceiveCommand, {"--directory", "."});
  arguments.add_file(path, text, commands(), &errors);
  static_cast<void>(read_receive(arguments, &errors));
}

int check(const std::string& path) {
  std::vector<Error> errors;
  const auto text = read_config_file_for_check(path, &errors);
  find_errors(path, text, errors);
  for (const auto& error : errors) print_error(error);
  if (!errors.empty()) return kUsage;
  std::string summary;
  for (const auto* each : commands()) {
    if (!each->takes_file) continue;
    const auto names = settings_for(*each, path, text).names();
    if (names.empty()) continue;
    summary += fmt::format("{}{} {}", summary.empty() ? "" : ", ", each->name, names.size());
  }
  print(summary.empty() ? fmt::format("{}: no settings\n", path)
                        : fmt::format("{}: fine (settings that count: {})\n", path, summary));
  return kDone;
}

int show(const std::string& path, std::string_view name) {
  const auto* command = find_command(name);
  if (command == nullptr || !command->takes_file)
    throw Error(ErrorKind::usage, fmt::format("no command \"{}\" takes a configuration", name))
        .hint("See \"pgweir config --help\".");
  const auto arguments = settings_for(*command, path, read_config_file(path));
  for (const auto& each : arguments.names())
    for (const auto& text : arguments.texts(each))
      print(fmt::format("{} = {}  # {}\n", each, masked(text), arguments.source(each)));
  return kDone;
}

int config_command(const Arguments& arguments) {
  auto rest = arguments.words();
  if (rest.empty() || (rest.front() != "check" && rest.front() != "show"))
    throw Error(ErrorKind::usage, rest.empty()
                                      ? std::string("what to do with a configuration?")
                                      : fmt::format("unknown command \"config {}\"", rest.front()))
        .hint("It can be check or show; see \"pgweir config --help\".");
  const auto verb = rest.front();
  rest.erase(rest.begin());
  auto path = arguments.text(kConfig);
  if (!path && !rest.empty()) {
    path = rest.front();
    rest.erase(rest.begin());
  }
  if (!path) throw Error(ErrorKind::usage, "which file?").hint("pgweir config check FILE");
  if (rest.size() > (verb == "show" ? 1u : 0u))
    throw Error(ErrorKind::usage, fmt::format("unexpected argument \"{}\"", rest.back()))
        .hint("See \"pgweir config --help\".");
  return verb == "check" ? check(*path) : show(*path, rest.empty() ? "receive" : rest.front());
}

}  // namespace

constinit const Command kConfigCommand = {
    .name = "config",
    .summary = "check a configuration file, or show what a command takes from it",
    .about = R"(pgweir config checks a configuration file, before a service finds out.

Usage:
  pgweir config check FILE
  pgweir config show FILE [COMMAND]

  check   all unknown settings, wrong values, contradictions: each with its line
  show    what COMMAND (default: receive) takes from the file
)",
    .groups = kGroups,
    .notes = R"(A configuration file is for all commands: pgweir -c FILE receive. It has lines
of "name = value"; the names are those of the long options, a switch is on or
off, and what begins with # or ; is a comment. The command line wins.

Before the first section are the options of receive; the other commands take
directory, slot and the connection from there. A command's own options stand
in a section with its name:

  directory = /srv/wal
  dbname = host=db1,db2 user=archiver
  slot = archive
  compress = zstd:3

  [verify]
  jobs = 2

  [status]
  max-lag = 64MB

Give passwords by a password file (~/.pgpass, or passfile=FILE in dbname). A
configuration that has one in a connection string must be readable by its
owner alone (0600; one of root's also by a group: 0640), or it is refused.

Exit status: 0 fine; 2 something is wrong.
)",
    .most_words = 3,
    .takes_file = false,
    .run = config_command,
};

}  // namespace weir::cli

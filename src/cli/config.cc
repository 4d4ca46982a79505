#include <fmt/format.h>

#include <algorithm>

#include "cli/arguments.h"
#include "cli/config_file.h"
#include "cli/exit_status.h"
#include "cli/help.h"
#include "cli/password.h"
#include "cli/program.h"
#include "cli/receive_options.h"

namespace weir::cli {

namespace {

Arguments settings_for(const CommandOptions& each, const std::string& path,
                       const std::string& text) {
  auto arguments = Arguments::parse(each.options, {});
  arguments.add_file(path, text, shared_file(each.command));
  return arguments;
}

/// All that is wrong with the file, as `receive` would say it one by one. The directory may be left
/// to the command line, as a service unit for several archives does.
std::vector<Error> errors_of(const std::string& path, const std::string& text) {
  std::vector<Error> errors;
  Words words = {"--config", path};
  auto arguments = Arguments::parse(receive_option_list(), {});
  std::vector<Error> told_below;
  arguments.add_file(path, text, shared_file("receive"), &told_below);
  if (!arguments.has("directory")) words.insert(words.end(), {"--directory", "."});
  static_cast<void>(parse_receive(
      words, [&](const std::string&) { return text; }, &errors));
  return errors;
}

int check(const std::string& path) {
  std::vector<Error> errors;
  const auto text = read_config_file_for_check(path, &errors);
  for (auto& error : errors_of(path, text)) errors.push_back(std::move(error));
  for (const auto& error : errors) print_error(error);
  if (!errors.empty()) return kUsage;
  std::string summary;
  for (const auto& each : command_options()) {
    const auto names = settings_for(each, path, text).names();
    if (names.empty()) continue;
    summary += fmt::format("{}{} {}", summary.empty() ? "" : ", ", each.command, names.size());
  }
  print(summary.empty() ? fmt::format("{}: no settings\n", path)
                        : fmt::format("{}: fine (settings that count: {})\n", path, summary));
  return kDone;
}

int show(const std::string& path, std::string_view command) {
  const auto& commands = command_options();
  const auto found = std::find_if(commands.begin(), commands.end(),
                                  [&](const auto& each) { return each.command == command; });
  if (found == commands.end())
    throw Error(ErrorKind::usage, fmt::format("no command \"{}\" takes a configuration", command))
        .hint("See \"pgweir config --help\".");
  const auto arguments = settings_for(*found, path, read_config_file(path));
  for (const auto& name : arguments.names())
    print(fmt::format("{} = {}  # {}\n", name, masked(*arguments.value(name)),
                      arguments.source(name)));
  return kDone;
}

}  // namespace

int config_command(const Words& words) {
  constexpr Option kOptions[] = {{"config", 'c', true, false}, {"help", '?', false, false}};
  const auto arguments = Arguments::parse(kOptions, words, 3);
  if (arguments.has("help")) {
    print(config_help());
    return kDone;
  }
  auto rest = arguments.words();
  if (rest.empty() || (rest.front() != "check" && rest.front() != "show"))
    throw Error(ErrorKind::usage, rest.empty()
                                      ? std::string("what to do with a configuration?")
                                      : fmt::format("unknown command \"config {}\"", rest.front()))
        .hint("It can be check or show; see \"pgweir config --help\".");
  const auto verb = rest.front();
  rest.erase(rest.begin());
  auto path = arguments.value("config");
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

std::string_view config_help() {
  return R"(pgweir config checks a configuration file, before a service finds out.

Usage:
  pgweir config check FILE
  pgweir config show FILE [COMMAND]

  check   all unknown settings, wrong values, contradictions: each with its line
  show    what COMMAND (default: receive) takes from the file

Options:
  -c, --config FILE        the file, if it is not named behind the verb
  -?, --help               this help

A configuration file is for all commands: pgweir -c FILE receive. It has lines
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

Manual: man pgweir-config
)";
}

}  // namespace weir::cli

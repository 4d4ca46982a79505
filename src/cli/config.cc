#include <fmt/format.h>

#include "base/exit_status.h"
#include "cli/arguments.h"
#include "cli/combinations.h"
#include "cli/commands.h"
#include "cli/config_file.h"
#include "cli/help.h"
#include "cli/options/common_options.h"
#include "cli/options/receive_options.h"
#include "cli/options/web_options.h"
#include "cli/password.h"
#include "io/small_file.h"
#include "web/fleet_file.h"

namespace weir::cli {

namespace {

constexpr Option kConfigOptions[] = {kConfig.says("configuration file, if it is not given as an "
                                                  "argument"),
                                     kHelp};
constexpr OptionGroup kConfigGroups[] = {{"Options:", kConfigOptions}};
constexpr CommandVerb kConfigVerbs[] = {{"check", CommandVerb::kAnyWords},
                                        {"show", CommandVerb::kAnyWords}};

/// The command of that name, if it has settings.
const Command* command_with_settings(std::string_view name) {
  const auto* command = find_command(name);
  return command != nullptr && command->takes_file ? command : nullptr;
}

void check_token(const WebRequest& request, const std::string& source, std::vector<Error>& errors) {
  try {
    static_cast<void>(read_token(request));
  } catch (Error& error) {
    error.with("setting", source);
    errors.push_back(std::move(error));
  }
}

/// The token file is checked as the command would do: its permissions and its content.
void check_tokens(const Arguments& arguments, std::vector<Error>& errors) {
  WebRequest request;
  request.token_file = arguments.text(kWebTokenFile);
  check_token(request, arguments.has(kWebTokenFile) ? arguments.source(kWebTokenFile) : "", errors);
}

/// And the file of the archives that `web` shows, with their token files.
void check_fleet(const std::string& path, std::vector<Error>& errors) {
  constexpr std::uint64_t kLargestFile = 1 << 20;
  try {
    for (const auto& member : web::parse_fleet(io::read_small_file(path, kLargestFile), path)) {
      WebRequest request;
      request.token_file = member.token_file;
      check_token(request, fmt::format("[{}] in {}", member.name, path), errors);
    }
  } catch (Error& error) {
    errors.push_back(std::move(error));
  }
}

/// All errors in the file, as `receive` would report them one by one. The directory may be left to
/// the command line, as in a service unit for several archives.
void find_errors(const std::string& path, const std::string& text, std::vector<Error>& errors) {
  auto arguments = Arguments::parse(kReceiveCommand, {"--directory", "."});
  arguments.add_file(path, text, commands(), &errors);
  check_combinations(arguments, &errors);
  static_cast<void>(read_receive(arguments, &errors));
  check_tokens(arguments, errors);
  auto web = Arguments::parse(kWebCommand, {});
  std::vector<Error> told;
  web.add_file(path, text, commands(), &told);
  check_tokens(web, errors);
  if (const auto fleet = web.text("fleet")) check_fleet(*fleet, errors);
}

int check(const std::string& path) {
  std::vector<Error> errors;
  const auto text = read_config_file_for_check(path, &errors);
  find_errors(path, text, errors);
  try {
    refuse_strays(Arguments::parse(kReceiveCommand, {}));
  } catch (const Error& error) {
    errors.push_back(error);
  }
  for (const auto& error : errors) print_error(error);
  if (!errors.empty()) return kUsage;
  std::string summary;
  std::vector<std::string> former;
  for (const auto* each : commands()) {
    if (!each->takes_file) continue;
    auto arguments = Arguments::parse(*each, {});
    arguments.add_file(path, text, commands());
    if (former.empty()) former = arguments.former_names();  // the whole file is read for each
    const auto names = arguments.names();
    if (names.empty()) continue;
    summary += fmt::format("{}{} {}", summary.empty() ? "" : ", ", each->name, names.size());
  }
  for (const auto& each : former) print(fmt::format("{}\n", each));
  print(summary.empty() ? fmt::format("{}: no settings\n", path)
                        : fmt::format("{}: fine (settings that count: {})\n", path, summary));
  return kDone;
}

/// Prints the settings that the command would use, if it were run here.
int show(const std::optional<std::string>& path, std::string_view name) {
  const auto* command = command_with_settings(name);
  if (command == nullptr)
    throw Error(ErrorKind::usage, fmt::format("no command \"{}\" takes a configuration", name))
        .hint("See \"pgweir config --help\".");
  auto arguments = Arguments::parse(*command, {});
  add_environment(arguments);
  refuse_strays(arguments);
  if (path) arguments.add_file(*path, read_config_file(*path), commands());
  for (const auto& each : arguments.names())
    for (const auto& text : arguments.texts(each))
      print(fmt::format("{} = {}  # {}\n", each, masked(text), arguments.source(each)));
  return kDone;
}

int config_command(const Arguments& arguments) {
  auto rest = arguments.words();
  const auto verb = rest.front();
  rest.erase(rest.begin());
  auto path = arguments.text(kConfig);
  const bool only_environment =
      verb == "show" && (rest.empty() || command_with_settings(rest.front()) != nullptr);
  if (!path && !rest.empty() && !only_environment) {
    path = rest.front();
    rest.erase(rest.begin());
  }
  if (!path && !only_environment)
    throw Error(ErrorKind::usage, "which file?").hint("pgweir config check FILE");
  if (rest.size() > (verb == "show" ? 1u : 0u))
    throw Error(ErrorKind::usage, fmt::format("unexpected argument \"{}\"", rest.back()))
        .hint("See \"pgweir config --help\".");
  return verb == "check" ? check(*path) : show(path, rest.empty() ? "receive" : rest.front());
}

}  // namespace

constinit const Command kConfigCommand = {
    .name = "config",
    .summary = "check a configuration file, or show where options come from",
    .about = R"(pgweir config checks a configuration file.

Usage:
  pgweir config check FILE
  pgweir config show [FILE] [COMMAND]

  check   report all unknown settings, invalid values and contradictions, each
          with its line
  show    show the options that COMMAND (default: receive) takes from the
          environment and from the file, and their origin
)",
    .groups = kConfigGroups,
    .notes = R"(One configuration file serves all commands: pgweir -c FILE receive. It consists
of lines "name = value", where the names are those of the long options, and a
switch is on or off. Lines that begin with # or ; are comments. The command line
takes precedence, then the environment.

The options before the first section are those of receive; the other commands
use its directory, slot and connection. A command's own options are in a section
with its name:

  directory = /srv/wal
  dbname = host=db1,db2 user=archiver
  slot = archive
  compress = zstd:3

  [verify]
  jobs = 2

  [status]
  max-lag = 64MB

Each option can also be an environment variable, named after the command and the
option: PGWEIR_RECEIVE_SLOT=archive, PGWEIR_STATUS_MAX_LAG=64MB. Shared options
are also taken from PGWEIR_RECEIVE_....

Use a password file for passwords (~/.pgpass, or passfile=FILE in dbname). A
configuration file with a password in a connection string is rejected unless
only its owner can read it (0600; a file owned by root: also its group, 0640).

Exit status: 0 no problem was found; 2 a problem was found.
)",
    .most_words = 3,
    .verbs = kConfigVerbs,
    .takes_file = false,
    .run = config_command,
};

}  // namespace weir::cli

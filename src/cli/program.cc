#include "cli/program.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>

#include "base/error.h"
#include "base/exit_status.h"
#include "cli/arguments.h"
#include "cli/combinations.h"
#include "cli/commands.h"
#include "cli/config_file.h"
#include "cli/help.h"
#include "cli/options/common_options.h"
#include "cli/password.h"
#include "cli/stock/stand_ins.h"
#include "cli/suggest.h"
#include "daemon/process_one.h"
#include "io/standard_descriptors.h"

namespace weir::cli {

namespace {

/// "-c FILE receive …" means "receive -c FILE …". The number of words of the option, to be moved
/// after the command; 0 if it does not come first.
std::size_t words_of_config(const Words& words) {
  if (words.empty()) return 0;
  const auto& first = words.front();
  if ((first == "-c" || first == "--config") && words.size() > 2) return 2;
  if ((first.starts_with("-c") && first.size() > 2) || first.starts_with("--config=")) return 1;
  return 0;
}

/// The steps of every command: words, help, configuration file, their combinations, work, and the
/// report of a failure.
int perform(const Command& command, const Words& words) {
  try {
    auto arguments = Arguments::parse(command, words);
    if (arguments.has(kHelp)) {
      print(help_of(command));
      return kDone;
    }
    if (command.takes_file) {
      add_environment(arguments);
      if (command.refuses_strays) refuse_strays(arguments);
      add_config(arguments);
    }
    check_combinations(arguments);
    return command.run(arguments);
  } catch (...) {
    const auto failure = std::current_exception();
    return command.failed != nullptr ? command.failed(words, failure) : tell_failure(failure);
  }
}

int run_command(const Command& command, const Words& words) {
  if (command.may_be_process_one || !daemon::is_process_one()) return perform(command, words);
  return daemon::below_process_one([&] { return perform(command, words); });
}

Error no_command(const Words& words) {
  if (words.empty())
    return Error(ErrorKind::usage, "no command given").hint("Try \"pgweir --help\".");
  const auto& first = words.front();
  std::vector<std::string_view> names;
  for (const auto* command : commands()) names.push_back(command->name);
  if (first.starts_with("-"))
    return Error(ErrorKind::usage, fmt::format("unknown option \"{}\" before a command", first))
        .hint(
            "Options follow the command, as in \"pgweir receive -D DIR\"; see \"pgweir --help\".");
  Error error(ErrorKind::usage, fmt::format("unknown command \"{}\"", masked(first)));
  if (const auto near = nearest(first, names)) error.hint(fmt::format("Did you mean {}?", *near));
  return std::move(error).hint("See \"pgweir --help\" for the list.");
}

int dispatch(Words words) {
  if (const auto count = words_of_config(words); count > 0 && words.size() > count)
    std::rotate(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(count),
                words.begin() + static_cast<std::ptrdiff_t>(count) + 1);
  // With psql's meaning, "-h HOST", it is an option before a command.
  const bool host = words.size() > 1 && words.front() == "-h";
  const auto first = words.empty() || host ? std::string() : words.front();
  if (first == "--version" || first == "-V") {
    print(version_text());
    return kDone;
  }
  const bool help = first == "--help" || first == "-?" || first == "-h";
  const auto* command = help ? &kHelpCommand : find_command(first);
  if (command == nullptr) {
    print_error(no_command(words));
    return kStopsRecovery;
  }
  words.erase(words.begin());
  return run_command(*command, words);
}

}  // namespace

int run(int count, char** words) {
  try {
    io::occupy_standard_descriptors();
  } catch (...) {
    return tell_failure(std::current_exception());
  }
  // Exceeding the file size limit is reported like other errors, and must not kill the process.
  std::signal(SIGXFSZ, SIG_IGN);
  const Words given(words, words + count);
  for (int i = 1; i < count; ++i) mask_passwords(words[i]);
  // By a link with the stock program's name, with the stock program's arguments; or with the name
  // as the command, for trying it.
  for (std::size_t first = 0; first < std::min<std::size_t>(given.size(), 2); ++first) {
    const auto* stand_in = find_stand_in(given[first]);
    if (stand_in == nullptr) continue;
    Words own(given.begin() + static_cast<std::ptrdiff_t>(first), given.end());
    std::vector<char*> pointers;
    for (auto& word : own) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    return stand_in->run(static_cast<int>(own.size()), pointers.data());
  }
  try {
    return dispatch(Words(given.begin() + (given.empty() ? 0 : 1), given.end()));
  } catch (...) {
    return tell_failure(std::current_exception());
  }
}

}  // namespace weir::cli

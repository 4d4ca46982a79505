#include "cli/program.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>

#include "base/error.h"
#include "cli/archivecleanup.h"
#include "cli/exit_status.h"
#include "cli/help.h"
#include "cli/password.h"
#include "cli/pg_receivewal.h"
#include "cli/pg_recvlogical.h"
#include "cli/suggest.h"

namespace weir::cli {

namespace {

struct Command {
  std::string_view name;
  int (*run)(const Words&);
};

constexpr Command kCommands[] = {
    {"receive", receive_command}, {"restore", restore_command},   {"verify", verify_command},
    {"prune", prune_command},     {"compress", compress_command}, {"slot", slot_command},
    {"status", status_command},   {"config", config_command},     {"doctor", doctor_command},
    {"listen", listen_command},   {"notify", notify_command},     {"logical", logical_command},
    {"help", help_command},
};

/// "-c FILE receive …" means "receive -c FILE …". The words of the option, to be taken to behind
/// the command; none if it does not stand first.
std::size_t words_of_config(const Words& words) {
  if (words.empty()) return 0;
  const auto& first = words.front();
  if ((first == "-c" || first == "--config") && words.size() > 2) return 2;
  if ((first.starts_with("-c") && first.size() > 2) || first.starts_with("--config=")) return 1;
  return 0;
}

int dispatch(Words words) {
  if (const auto count = words_of_config(words); count > 0 && words.size() > count)
    std::rotate(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(count),
                words.begin() + static_cast<std::ptrdiff_t>(count) + 1);
  if (words.empty())
    throw Error(ErrorKind::usage, "no command given").hint("Try \"pgweir --help\".");
  const auto& first = words.front();
  const Words rest(words.begin() + 1, words.end());
  if (first == "--help" || first == "-?" || first == "-h") return help_command(rest);
  if (first == "--version" || first == "-V") {
    print(version_text());
    return 0;
  }
  for (const auto& command : kCommands)
    if (first == command.name) return command.run(rest);

  std::vector<std::string_view> names;
  for (const auto& command : kCommands) names.push_back(command.name);
  if (first.starts_with("-"))
    throw Error(ErrorKind::usage, fmt::format("unknown option \"{}\" before a command", first))
        .hint(
            "Options follow the command, as in \"pgweir receive -D DIR\"; see \"pgweir --help\".");
  Error error(ErrorKind::usage, fmt::format("unknown command \"{}\"", masked(first)));
  if (const auto near = nearest(first, names)) error.hint(fmt::format("Did you mean {}?", *near));
  throw std::move(error).hint("See \"pgweir --help\" for the list.");
}

bool stands_in_for_pg_recvlogical(const Words& words) {
  if (words.empty()) return false;
  const std::string_view path = words.front();
  return path.substr(path.rfind('/') + 1) == kPgRecvlogical;
}

/// As PostgreSQL's own receiver: `words` begin with its name, whatever the path.
bool stands_in(const Words& words) {
  if (words.empty()) return false;
  const std::string_view path = words.front();
  return path.substr(path.rfind('/') + 1) == kPgReceivewal || stands_in_for_pg_recvlogical(words);
}

int stand_in(Words words) {
  std::vector<char*> pointers;
  for (auto& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  const auto program = stands_in_for_pg_recvlogical(words) ? pg_recvlogical : pg_receivewal;
  return program(static_cast<int>(words.size()), pointers.data());
}

}  // namespace

int run(int count, char** words) {
  // A limit on the size of files is an error like others, to be told, and no reason to be killed.
  std::signal(SIGXFSZ, SIG_IGN);
  // Under the stock program's name, by a link, with the stock program's arguments.
  const std::string_view called = count > 0 ? words[0] : "";
  if (called.substr(called.rfind('/') + 1) == "pg_archivecleanup")
    return archivecleanup(count, words);
  const Words called_as(words, words + count);
  const Words copy(words + 1, words + (count > 0 ? count : 1));
  for (int i = 1; i < count; ++i) mask_passwords(words[i]);
  if (stands_in(called_as)) return stand_in(called_as);
  if (!copy.empty() && (copy.front() == kPgReceivewal || copy.front() == kPgRecvlogical))
    return stand_in(copy);  // to try it
  try {
    return dispatch(copy);
  } catch (const Error& error) {
    print_error(error);
    const auto at = words_of_config(copy);
    const bool known = at < copy.size() && std::any_of(std::begin(kCommands), std::end(kCommands),
                                                       [&](const Command& command) {
                                                         return command.name == copy[at];
                                                       });
    const auto ordinary = exit_status(error.kind());
    return known ? ordinary : status_for_recovery(copy).value_or(ordinary);
  } catch (const std::exception& error) {
    const Error told = unexpected(error);
    print_error(told);
    return exit_status(told.kind());
  }
}

}  // namespace weir::cli

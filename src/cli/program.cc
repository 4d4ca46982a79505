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
    {"receive", receive_command}, {"restore", restore_command}, {"verify", verify_command},
    {"ack", ack_command},         {"prune", prune_command},     {"compress", compress_command},
    {"slot", slot_command},       {"status", status_command},   {"config", config_command},
    {"doctor", doctor_command},   {"listen", listen_command},   {"notify", notify_command},
    {"logical", logical_command}, {"help", help_command},
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

int version_command(const Words&) {
  print(version_text());
  return kDone;
}

/// What runs the command that `word` names; nullptr: there is none of this name.
auto find_command(std::string_view word) -> int (*)(const Words&) {
  if (word == "--help" || word == "-?" || word == "-h") return help_command;
  if (word == "--version" || word == "-V") return version_command;
  for (const auto& command : kCommands)
    if (word == command.name) return command.run;
  return nullptr;
}

Error no_command(const Words& words) {
  if (words.empty())
    return Error(ErrorKind::usage, "no command given").hint("Try \"pgweir --help\".");
  const auto& first = words.front();
  std::vector<std::string_view> names;
  for (const auto& command : kCommands) names.push_back(command.name);
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
  const auto command = words.empty() || host ? nullptr : find_command(words.front());
  if (command == nullptr) {
    print_error(no_command(words));
    return kStopsRecovery;
  }
  return command(Words(words.begin() + 1, words.end()));
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
    return exit_status(error.kind());
  } catch (const std::exception& error) {
    const Error told = unexpected(error);
    print_error(told);
    return exit_status(told.kind());
  }
}

}  // namespace weir::cli

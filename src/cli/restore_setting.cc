#include "cli/restore_setting.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>

namespace weir::cli {

namespace {

/// One word of the shell that the server runs, with its own signs escaped.
std::string word_of_command(std::string path) {
  const bool plain = path.find_first_not_of(
                         "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUV"
                         "WXYZ0123456789_./+=:,@-") == std::string::npos;
  std::string word;
  for (const char c : path) {
    if (c == '%') word += '%';
    word += c == '\'' ? std::string("'\\''") : std::string(1, c);
  }
  return plain ? word : "'" + word + "'";
}

std::string absolute(std::string directory) {
  if (directory.starts_with('/')) return directory;
  // The command is run in the server's data directory.
  const std::unique_ptr<char, decltype(&std::free)> here(::getcwd(nullptr, 0), &std::free);
  return here ? std::string(here.get()) + "/" + directory : directory;
}

}  // namespace

std::string restore_command_for(const std::string& program,
                                const std::vector<std::string>& directories,
                                const std::string& option) {
  auto command = word_of_command(program) + " restore";
  for (const auto& directory : directories)
    command += " -D " + word_of_command(absolute(directory));
  return command + fmt::format("{}{} %f %p", option.empty() ? "" : " ", option);
}

std::string quoted_setting(const std::string& value) {
  std::string quoted = "'";
  for (const char c : value)
    quoted += c == '\'' || c == '\\' ? std::string(2, c) : std::string(1, c);
  return quoted + "'";
}

}  // namespace weir::cli

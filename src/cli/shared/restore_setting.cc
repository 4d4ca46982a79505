#include "cli/shared/restore_setting.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>

namespace weir::cli {

namespace {

/// One word for the server's shell, with percent signs escaped.
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

}  // namespace

std::string absolute_path(std::string path) {
  if (path.starts_with('/')) return path;
  // The command is run in the server's data directory.
  const std::unique_ptr<char, decltype(&std::free)> here(::getcwd(nullptr, 0), &std::free);
  return here ? std::string(here.get()) + "/" + path : path;
}

std::string restore_command_for(const std::string& program, const RestoreFrom& from,
                                const std::string& option) {
  auto command = word_of_command(program) + " restore";
  for (const auto& directory : from.directories)
    command += " -D " + word_of_command(absolute_path(directory));
  for (const auto& word : from.store) command += " " + word_of_command(word);
  return command + fmt::format("{}{} %f %p", option.empty() ? "" : " ", option);
}

std::string quoted_setting(const std::string& value) {
  std::string quoted = "'";
  for (const char c : value)
    quoted += c == '\'' || c == '\\' ? std::string(2, c) : std::string(1, c);
  return quoted + "'";
}

}  // namespace weir::cli

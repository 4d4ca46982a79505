// The section `[store]` applies to all commands (`Option::section`): the first part of a file has
// shared options, and this section identifies the store; a command's own section overrides both.

#include "cli/config_file.h"

#include <fmt/format.h>
#include <sys/stat.h>  // check-includes: no archive data
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <system_error>

#include "base/error.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/options/common_options.h"
#include "cli/password.h"

namespace weir::cli {

namespace {

/// As libpq and the server check files with secrets: only the owner has access, or root and a
/// group.
bool others_can_open(const struct stat& file) {
  const auto wrong = file.st_uid == 0 ? S_IWGRP | S_IXGRP | S_IRWXO : S_IRWXG | S_IRWXO;
  return (file.st_mode & wrong) != 0;
}

}  // namespace

std::string read_config_file(const std::string& path) {
  return read_config_file_for_check(path, nullptr);
}

std::string read_config_file_for_check(const std::string& path, std::vector<Error>* errors) {
  const auto failed = [&](int code) {
    return Error(ErrorKind::usage,
                 "could not read the configuration file: " + std::generic_category().message(code))
        .with("path", path);
  };
  constexpr std::size_t kLargest = 1024 * 1024;
  using Closer = int (*)(std::FILE*);
  const std::unique_ptr<std::FILE, Closer> file(
      std::fopen(path.c_str(), "re"),  // check-includes: no archive data
      &std::fclose);
  if (!file) throw failed(errno);
  struct stat state {};
  if (::fstat(::fileno(file.get()), &state) != 0) throw failed(errno);
  std::string text(kLargest + 1, '\0');
  errno = 0;
  text.resize(std::fread(text.data(), 1, text.size(), file.get()));
  if (std::ferror(file.get()) != 0) throw failed(errno);
  if (text.size() > kLargest) throw failed(EFBIG);
  if (const int line = line_with_password(text); line > 0 && others_can_open(state)) {
    auto error =
        Error(ErrorKind::usage,
              "the configuration file contains a password, and others can read "
              "it")
            .with("file", path)
            .with("line", line)
            .with("mode", fmt::format("{:04o}", state.st_mode & 07777u))
            .hint(fmt::format("Use a password file instead (passfile=...), or run chmod 600 {}; "
                              "a file owned by root can have mode 0640.",
                              shell_word(path)));
    if (errors == nullptr) throw std::move(error);
    errors->push_back(std::move(error));
  }
  return text;
}

int line_with_password(std::string_view text) {
  int line = 0;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    const auto content = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++line;
    const auto first = content.find_first_not_of(" \t");
    if (first == std::string_view::npos || content[first] == '#' || content[first] == ';') continue;
    const auto equals = content.find('=');
    if (equals == std::string_view::npos) continue;
    std::string value(content.substr(equals + 1));
    if (mask_passwords(value.data())) return line;
  }
  return 0;
}

namespace {

std::vector<std::string> our_variables() {
  std::vector<std::string> variables;
  for (char** each = environ; each != nullptr && *each != nullptr; ++each)
    if (std::string_view(*each).starts_with("PGWEIR_")) variables.emplace_back(*each);
  return variables;
}

}  // namespace

void add_environment(Arguments& arguments) {
  arguments.add_environment(our_variables(), commands());
}

void refuse_strays(const Arguments& arguments) {
  arguments.refuse_strays(our_variables(), commands());
}

void add_config(Arguments& arguments) {
  if (const auto path = arguments.text(kConfig))
    arguments.add_file(*path, read_config_file(*path), commands());
}

}  // namespace weir::cli

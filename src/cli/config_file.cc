#include "cli/config_file.h"

#include <fmt/format.h>
#include <sys/stat.h>  // check-includes: no archive data

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <system_error>

#include "base/error.h"
#include "base/units.h"
#include "cli/job.h"
#include "cli/logical_options.h"
#include "cli/password.h"
#include "cli/position.h"
#include "cli/receive_options.h"
#include "codec/codec.h"
#include "pq/conninfo.h"

namespace weir::cli {

namespace {

/// As libpq and the server judge files with secrets: nobody but the owner, or root and a group.
bool open_to_others(const struct stat& file) {
  const auto wrong = file.st_uid == 0 ? S_IWGRP | S_IXGRP | S_IRWXO : S_IRWXG | S_IRWXO;
  return (file.st_mode & wrong) != 0;
}

void require(bool condition, std::string_view option, const std::string& value,
             std::string_view hint) {
  if (!condition)
    throw Error(ErrorKind::usage, fmt::format("wrong value \"{}\" of \"{}\"", value, option))
        .hint(hint);
}

/// Each value as its command will check it again; here it still has its line. What `receive` takes
/// is checked by parse_receive(), which knows the line, too.
void check_value(std::string_view command, std::string_view option, const std::string& value) {
  const auto is = [&](std::initializer_list<std::string_view> names) {
    return std::find(names.begin(), names.end(), option) != names.end();
  };
  if (is({"dbname", "monitor-conninfo"}) && value.find_first_of("=/") != std::string::npos)
    static_cast<void>(pq::parse_conninfo(value));
  if (command == "receive") return;
  const auto name = fmt::format("\"{}\"", option);
  if (is({"jobs"})) static_cast<void>(jobs_of(value));
  if (is({"max-lag"}))
    require(parse_size(value).has_value(), option, value,
            "Give a size with a unit, such as 64MB or 1GB.");
  if (is({"max-age", "older-than", "retry-for", "measure"}))
    require(parse_duration(value).has_value(), option, value,
            "Give a time with a unit, such as 90s, 5min or 14d.");
  if (is({"from", "to", "keep-from"})) static_cast<void>(parse_position(value, name));
  if (is({"timeline"})) static_cast<void>(parse_timeline(value));
  if (is({"method"})) static_cast<void>(codec::Compression::parse(value));
  if (command == "restore" && is({"on-gap"}))
    require(value == "stop" || value == "absent", option, value, "It can be: stop, absent.");
  if (is({"prefetch"}))
    require(parse_prefetch(value).has_value(), option, value, "Give a number from 0 to 64.");
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
  if (const int line = line_with_password(text); line > 0 && open_to_others(state)) {
    auto error =
        Error(ErrorKind::usage, "the configuration file holds a password and others can read it")
            .with("file", path)
            .with("line", line)
            .with("mode", fmt::format("{:04o}", state.st_mode & 07777u))
            .hint(fmt::format("Take the password out and use a password file (passfile=...), or "
                              "run chmod 600 {}; a file of root may be 0640.",
                              path));
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

const std::vector<CommandOptions>& command_options() {
  static const std::vector<CommandOptions> commands = [] {
    const auto receive = receive_option_list();
    return std::vector<CommandOptions>{
        {"receive", {receive.begin(), receive.end()}},
        {"restore", restore_option_list()},
        {"verify", verify_option_list()},
        {"ack", ack_option_list()},
        {"prune", prune_option_list()},
        {"compress", compress_option_list()},
        {"slot", slot_option_list()},
        {"status", status_option_list()},
        {"doctor", doctor_option_list()},
        {"logical", logical_option_list()},
        {"listen", listen_option_list()},
        {"notify", notify_option_list()},
    };
  }();
  return commands;
}

SharedFile shared_file(std::string_view command) {
  return {.command = command, .commands = command_options(), .check = check_value};
}

void add_config(Arguments& arguments, std::string_view command) {
  if (const auto path = arguments.value("config"))
    arguments.add_file(*path, read_config_file(*path), shared_file(command));
}

}  // namespace weir::cli

#include "cli/arguments.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <functional>

#include "base/text.h"
#include "cli/password.h"
#include "cli/suggest.h"

namespace weir::cli {

namespace po = boost::program_options;

namespace {

const Option* find(std::span<const Option> options, std::string_view name) {
  const auto found = std::find_if(options.begin(), options.end(),
                                  [&](const Option& option) { return option.name == name; });
  return found == options.end() ? nullptr : &*found;
}

std::optional<bool> parse_switch(std::string_view text) {
  for (const auto word : {"on", "true", "yes", "1"})
    if (text == word) return true;
  for (const auto word : {"off", "false", "no", "0"})
    if (text == word) return false;
  return std::nullopt;
}

std::vector<std::string_view> names_of(std::span<const Option> options, bool of_file) {
  std::vector<std::string_view> names;
  for (const auto& option : options)
    if (!of_file || option.in_file) names.push_back(option.name);
  return names;
}

/// Whose options stand before the first section.
constexpr std::string_view kFirstPart = "receive";

/// What every command that has such an option takes from there. A slot for WAL is of no use to
/// logical decoding.
bool is_shared(std::string_view name, std::string_view command) {
  if (command == "logical" && name == "slot") return false;
  constexpr std::string_view kShared[] = {"directory", "dbname",      "host", "port",
                                          "username",  "no-password", "slot"};
  return std::find(std::begin(kShared), std::end(kShared), name) != std::end(kShared);
}

std::span<const Option> options_of(const SharedFile& shared, std::string_view command) {
  for (const auto& each : shared.commands)
    if (each.command == command) return each.options;
  return {};
}

std::string_view section_name(std::string_view content, const std::optional<SharedFile>& shared,
                              const std::function<Error(Error)>& at_line) {
  if (!shared)
    throw at_line(Error(ErrorKind::usage, "sections are not known in a configuration file")
                      .hint("It is flat: one \"name = value\" on each line."));
  if (content.back() != ']')
    throw at_line(Error(ErrorKind::usage, fmt::format("section without \"]\": \"{}\"", content)));
  const auto name = trimmed(content.substr(1, content.size() - 2));
  std::vector<std::string_view> names;
  for (const auto& each : shared->commands) {
    if (each.command == name) return each.command;
    names.push_back(each.command);
  }
  Error error(ErrorKind::usage, fmt::format("unknown section \"{}\"", name));
  if (const auto near = nearest(name, names)) error.hint(fmt::format("Did you mean [{}]?", *near));
  throw at_line(std::move(error).hint("A section has the name of a command."));
}

Error unknown_setting(std::string_view name, const Option* option, std::span<const Option> known,
                      std::string_view section, const std::optional<SharedFile>& shared) {
  Error error(ErrorKind::usage, fmt::format("unknown setting \"{}\"", name));
  if (option != nullptr)
    return std::move(error).hint(fmt::format("--{} is for the command line only.", name));
  if (name.ends_with("password"))
    return std::move(error).hint(
        "A password belongs into a password file (~/.pgpass, or passfile=... in dbname).");
  std::string sections;
  if (shared)
    for (const auto& each : shared->commands)
      if (const auto* other = find(each.options, name); other != nullptr && other->in_file)
        sections += fmt::format("{}[{}]", sections.empty() ? "" : " or ", each.command);
  if (!sections.empty())
    return std::move(error).hint(
        fmt::format("{} It belongs under {}.",
                    section.empty() ? "Before the first section are the options of receive."
                                    : fmt::format("{} has no such option.", section),
                    sections));
  if (const auto near = nearest(name, names_of(known, true)))
    error.hint(fmt::format("Did you mean {}?", *near));
  return error;
}

Error needs_value(const std::string& spelled) {
  Error error(ErrorKind::usage, fmt::format("option {} needs a value", spelled));
  if (spelled == "-h" || spelled == "--host")
    error.hint("-h is the server's host, as with psql; for help use --help.");
  return error;
}

/// Boost's parse of the words, with its complaints in our words.
po::parsed_options parse_words(const po::options_description& description,
                               std::span<const Option> options,
                               const std::vector<std::string>& words) {
  namespace style = po::command_line_style;
  try {
    // No guessing: an abbreviation that is unique today may not be after the next version.
    return po::command_line_parser(words)
        .options(description)
        .style(style::unix_style & ~style::allow_guessing)
        .run();
  } catch (const po::unknown_option& error) {
    throw unknown_option(error.get_option_name(), options);
  } catch (const po::invalid_command_line_syntax& error) {
    using Syntax = po::invalid_command_line_syntax;
    auto spelled = error.get_option_name();
    if (error.kind() == Syntax::extra_parameter)
      throw Error(ErrorKind::usage, fmt::format("option {} takes no value", spelled));
    throw needs_value(spelled);
  } catch (const po::error& error) {
    throw Error(ErrorKind::usage, error.what());
  }
}

}  // namespace

Arguments Arguments::parse(std::span<const Option> options, const std::vector<std::string>& words,
                           std::size_t most_words) {
  po::options_description description;
  for (const auto& option : options) {
    std::string name(option.name);
    if (option.letter != '\0') name += fmt::format(",{}", option.letter);
    if (option.takes_value)
      description.add_options()(name.c_str(), po::value<std::string>(), "");
    else
      description.add_options()(name.c_str(), "");
  }

  Arguments result;
  result.options_.assign(options.begin(), options.end());
  for (const auto& parsed : parse_words(description, options, words).options) {
    if (parsed.position_key >= 0) {
      for (const auto& word : parsed.value) {
        if (result.words_.size() == most_words)
          throw Error(ErrorKind::usage, fmt::format("unexpected argument \"{}\"", masked(word)))
              .hint("Is a dash or a quote missing?");
        result.words_.push_back(word);
      }
      continue;
    }
    const auto* option = find(options, parsed.string_key);
    PGWEIR_CHECK(option != nullptr);
    auto value = parsed.value.empty() ? std::string() : parsed.value.front();
    if (option->takes_value && value.empty() && option->name != "dbname")
      throw needs_value("--" + parsed.string_key);
    if (!result.given_.emplace(parsed.string_key, Given{std::move(value), 0}).second)
      throw Error(ErrorKind::usage,
                  fmt::format("option --{} is given more than once", parsed.string_key));
  }
  return result;
}

/// Where the lines of a file are: in which section, and what was there before them.
struct Arguments::FilePart {
  std::map<std::string, int, std::less<>> lines{};  ///< of the settings of the section
  std::string_view section{};                       ///< empty: before the first one
  std::span<const Option> known;
  bool unknown = false;  ///< nobody knows what belongs into the section
};

void Arguments::add_file(const std::string& path, std::string_view text,
                         const std::optional<SharedFile>& shared, std::vector<Error>* errors) {
  path_ = path;
  FilePart part{.known = shared ? options_of(*shared, kFirstPart) : options_};
  int line = 0;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    const auto content = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    ++line;
    if (content.empty() || content.front() == '#' || content.front() == ';') continue;
    try {
      add_line(part, content, line, shared);
    } catch (Error& error) {
      if (errors == nullptr) throw;
      errors->push_back(std::move(error));
    }
  }
}

void Arguments::add_line(FilePart& part, std::string_view content, int line,
                         const std::optional<SharedFile>& shared) {
  const auto at_line = [&](Error error) {
    return std::move(error).with("file", path_).with("line", line);
  };
  if (content.front() == '[') {
    part.unknown = true;
    part.section = section_name(content, shared, at_line);
    part.unknown = false;
    part.known = options_of(*shared, part.section);
    part.lines.clear();
    return;
  }
  if (part.unknown) return;
  const auto equals = content.find('=');
  if (equals == std::string_view::npos && std::count(content.begin(), content.end(), ':') >= 4)
    throw at_line(Error(ErrorKind::usage, "a line of a password file, not of a configuration")
                      .hint("It is not shown. A password file is named by \"passfile\" in the "
                            "connection string, or by PGPASSFILE."));
  if (equals == std::string_view::npos)
    throw at_line(
        Error(ErrorKind::usage, fmt::format("line without \"=\": \"{}\"", masked(content)))
            .hint("Write \"name = value\"; a switch is \"name = on\"."));
  const auto name = trimmed(content.substr(0, equals));
  const std::string value(trimmed(content.substr(equals + 1)));
  const auto* option = find(part.known, name);
  if (option == nullptr || !option->in_file)
    throw at_line(unknown_setting(name, option, part.known, part.section, shared));
  if (const auto [before, fresh] = part.lines.emplace(name, line); !fresh)
    throw at_line(
        Error(ErrorKind::usage, fmt::format("setting \"{}\" is given more than once", name)))
        .with("first in line", before->second);
  if (value.empty())
    throw at_line(Error(ErrorKind::usage, fmt::format("setting \"{}\" has no value", name)));
  std::optional<bool> on;
  if (!option->takes_value) {
    on = parse_switch(value);
    if (!on)
      throw at_line(Error(ErrorKind::usage,
                          fmt::format("wrong value \"{}\" of the switch \"{}\"", value, name))
                        .hint("Use on or off."));
  } else if (shared) {
    try {
      shared->check(part.section.empty() ? kFirstPart : part.section, name, value);
    } catch (Error& error) {
      throw at_line(std::move(error));
    }
  }
  if (shared && part.section.empty() && shared->command != kFirstPart &&
      (!is_shared(name, shared->command) || find(options_, name) == nullptr))
    return;
  if (!part.section.empty() && part.section != shared->command) return;
  if (on.value_or(true))
    set(name, Given{value, line}, !part.section.empty());
  else if (const auto given = given_.find(name);
           !part.section.empty() && given != given_.end() && given->second.line > 0)
    given_.erase(given);
}

void Arguments::set(std::string_view name, Given given, bool wins) {
  const auto found = given_.find(name);
  if (found == given_.end())
    given_.emplace(name, std::move(given));
  else if (wins && found->second.line > 0)  // the command line wins over both
    found->second = std::move(given);
}

std::vector<std::string> Arguments::names() const {
  std::vector<std::string> names;
  for (const auto& [name, given] : given_) names.push_back(name);
  return names;
}

bool Arguments::has(std::string_view name) const { return given_.find(name) != given_.end(); }

bool Arguments::on_command_line(std::string_view name) const {
  const auto found = given_.find(name);
  return found != given_.end() && found->second.line == 0;
}

std::optional<std::string> Arguments::value(std::string_view name) const {
  const auto found = given_.find(name);
  if (found == given_.end()) return std::nullopt;
  return found->second.value;
}

std::string Arguments::source(std::string_view name) const {
  const auto found = given_.find(name);
  if (found == given_.end() || found->second.line == 0) return fmt::format("--{}", name);
  return fmt::format("\"{}\" in {}, line {}", name, path_, found->second.line);
}

Error unknown_option(const std::string& spelled, std::span<const Option> options) {
  Error error(ErrorKind::usage, fmt::format("unknown option {}", spelled));
  const auto first = spelled.find_first_not_of('-');
  const auto name = first == std::string::npos ? std::string() : spelled.substr(first);
  if (const auto near = nearest(name, names_of(options, false)))
    error.hint(fmt::format("Did you mean --{}?", *near));
  return error;
}

}  // namespace weir::cli

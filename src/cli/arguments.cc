// An option is defined in one place: a line of its command's table (`cli/option.h`) contains its
// name, letter, value, help and the function that reads the value. The command line, the
// configuration file, `config check` and `show`, `--help`, and through it completions and manual
// pages, use that line. A value is checked when it is read, before any command runs; the message is
// the same regardless of the value's origin and names the option, or the file and the line.
// Combinations of options are checked afterwards (`cli/combinations.h`). Every command reads all of
// a configuration file.

#include "cli/arguments.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <functional>

#include "base/text.h"
#include "cli/former_names.h"
#include "cli/password.h"
#include "cli/suggest.h"

namespace weir::cli {

namespace po = boost::program_options;

namespace {

/// Its options come before the first section.
constexpr std::string_view kFirstPart = "receive";

std::optional<bool> parse_switch(std::string_view text) {
  for (const auto word : {"on", "true", "yes", "1"})
    if (text == word) return true;
  for (const auto word : {"off", "false", "no", "0"})
    if (text == word) return false;
  return std::nullopt;
}

std::vector<std::string_view> names_of(const Command& command, bool of_file) {
  std::vector<std::string_view> names;
  for (const auto& option : command.options())
    if (!of_file || option.in_file) names.push_back(option.name);
  return names;
}

/// The only code that rejects values, regardless of their source.
void check_value(const Option& option, const std::string& value, const std::string& source) {
  if (option.check == nullptr) return;
  try {
    option.check(value);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::usage) throw;  // an error that is not about the value
    auto text = option.connection ? fmt::format("wrong value of {}", source)
                                  : fmt::format("wrong value \"{}\" of {}", masked(value), source);
    if (*error.what() != '\0') text += fmt::format(": {}", error.what());
    throw Error(ErrorKind::usage, std::move(text)).hint(error.hint());
  }
}

std::string in_file(std::string_view name, const std::string& path, int line) {
  return fmt::format("\"{}\" in {}, line {}", name, path, line);
}

const Command* command_of(std::span<const Command* const> commands, std::string_view name) {
  for (const auto* each : commands)
    if (each->takes_file && each->name == name) return each;
  return nullptr;
}

const Command* section_of(std::string_view content, std::span<const Command* const> commands) {
  if (content.back() != ']')
    throw Error(ErrorKind::usage, fmt::format("section without \"]\": \"{}\"", content));
  const auto name = trimmed(content.substr(1, content.size() - 2));
  if (const auto* command = command_of(commands, name)) return command;
  std::vector<std::string_view> names;
  for (const auto* each : commands)
    if (each->takes_file) names.push_back(each->name);
  Error error(ErrorKind::usage, fmt::format("unknown section \"{}\"", name));
  if (const auto near = nearest(name, names)) error.hint(fmt::format("Did you mean [{}]?", *near));
  throw std::move(error).hint("A section has the name of a command.");
}

/// A command that encrypts has no use for what decrypts. nullptr: it is another option, or it may.
const char* why_no_private_key(std::string_view name, const Command& command) {
  const bool is_one = name == "identity" || name == "identity-command";
  if (!is_one || command.find(name) != nullptr || command.find("encrypt-to") == nullptr)
    return nullptr;
  return "Do not keep a private key on the machine that archives: public keys are sufficient to "
         "encrypt (--encrypt-to). Use private keys with restore, verify and drill.";
}

/// `known`: whose options the line could have, in the first part without a section.
Error unknown_setting(std::string_view name, const Option* option, const Command& known,
                      bool first_part, std::span<const Command* const> commands) {
  Error error(ErrorKind::usage, fmt::format("unknown setting \"{}\"", name));
  if (option != nullptr)
    return std::move(error).hint(fmt::format("--{} is for the command line only.", name));
  if (name.ends_with("password"))
    return std::move(error).hint(
        "Use a password file instead (~/.pgpass, or passfile=... in dbname).");
  if (const auto* const why = why_no_private_key(name, known)) return std::move(error).hint(why);
  std::string sections;
  for (const auto* each : commands)
    if (const auto* other = each->takes_file ? each->find(name) : nullptr;
        other != nullptr && other->in_file)
      sections += fmt::format("{}[{}]", sections.empty() ? "" : " or ", each->name);
  if (!sections.empty())
    return std::move(error).hint(
        fmt::format("{} It belongs under {}.",
                    first_part ? "The options before the first section are those of receive."
                               : fmt::format("{} has no such option.", known.name),
                    sections));
  if (const auto near = nearest(name, names_of(known, true)))
    error.hint(fmt::format("Did you mean {}?", *near));
  return error;
}

/// "unknown option --compres", with a hint at the nearest one.
Error unknown_option(const std::string& spelled, const Command& command) {
  Error error(ErrorKind::usage, fmt::format("unknown option {}", spelled));
  const auto first = spelled.find_first_not_of('-');
  const auto name = first == std::string::npos ? std::string() : spelled.substr(first);
  if (const auto* const why = why_no_private_key(name, command)) return std::move(error).hint(why);
  if (const auto near = nearest(name, names_of(command, false)))
    error.hint(fmt::format("Did you mean --{}?", *near));
  return error;
}

Error needs_value(const std::string& spelled) {
  Error error(ErrorKind::usage, fmt::format("option {} needs a value", spelled));
  if (spelled == "-h" || spelled == "--host")
    error.hint("-h is the server's host, as with psql; for help use --help.");
  return error;
}

/// Boost's parse of the words, with its complaints in our words.
po::parsed_options parse_words(const Command& command, const Words& words) {
  po::options_description description;
  for (const auto& option : command.options()) {
    std::string name(option.name);
    if (option.letter != '\0') name += fmt::format(",{}", option.letter);
    if (option.takes_value())
      description.add_options()(name.c_str(), po::value<std::string>(), "");
    else
      description.add_options()(name.c_str(), "");
  }
  for (const auto& [former, present] : kFormerNames) {
    const auto* option = command.find(present);
    if (option == nullptr || command.find(former) != nullptr) continue;
    const std::string name(former);
    if (option->takes_value())
      description.add_options()(name.c_str(), po::value<std::string>(), "");
    else
      description.add_options()(name.c_str(), "");
  }
  namespace style = po::command_line_style;
  try {
    // No guessing: an abbreviation that is unique today may not be after the next version.
    return po::command_line_parser(words)
        .options(description)
        .style(style::unix_style & ~style::allow_guessing)
        .run();
  } catch (const po::unknown_option& error) {
    throw unknown_option(error.get_option_name(), command);
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

Arguments Arguments::parse(const Command& command, const Words& words) {
  Arguments result(command);
  for (const auto& parsed : parse_words(command, words).options) {
    if (parsed.position_key >= 0) {
      for (const auto& word : parsed.value) {
        if (result.words_.size() == command.most_words)
          throw Error(ErrorKind::usage, fmt::format("unexpected argument \"{}\"", masked(word)))
              .hint("Check for a missing dash or quotation mark.");
        result.words_.push_back(word);
      }
      continue;
    }
    const auto* option = command.find(present_name(parsed.string_key));
    PGWEIR_CHECK(option != nullptr);
    if (option->name != parsed.string_key)
      result.note_former(fmt::format("--{}", parsed.string_key), option->name);
    auto value = parsed.value.empty() ? std::string() : parsed.value.front();
    const auto spelled = fmt::format("--{}", option->name);
    if (option->takes_value() && value.empty() && option->name != "dbname")
      throw needs_value(spelled);
    check_value(*option, value, spelled);
    auto& given = result.given_[std::string(option->name)];
    if (!given.values.empty() && !option->repeated)
      throw Error(ErrorKind::usage, fmt::format("option {} is given more than once", spelled));
    given.values.push_back(std::move(value));
  }
  return result;
}

namespace {

constexpr std::string_view kVariable = "PGWEIR_";

std::string upper(std::string_view name) {
  std::string text(name);
  std::transform(text.begin(), text.end(), text.begin(), [](char c) {
    return c == '-' ? '_' : c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
  });
  return text;
}

std::string variable_of(const Command& command, std::string_view option);

/// A variable's name with the present name of its option.
std::string present_variable(const std::string& name, const Command& command) {
  for (const auto& [former, present] : kFormerNames)
    if (name == variable_of(command, former)) return variable_of(command, present);
  return name;
}

std::string variable_of(const Command& command, std::string_view option) {
  return fmt::format("{}{}_{}", kVariable, upper(command.name), upper(option));
}

/// The variables that the kubelet sets in each container of a service: "X_SERVICE_HOST",
/// "X_PORT=tcp://10.0.0.1:80", "X_PORT_80_TCP_ADDR" (Kubernetes' documentation, "Service",
/// "Environment variables").
bool is_of_a_service(std::string_view name, std::string_view value) {
  for (const auto scheme : {"tcp://", "udp://", "sctp://"})
    if (value.starts_with(scheme)) return true;
  for (const auto part : {"_SERVICE_HOST", "_SERVICE_PORT"})
    if (name.find(part) != std::string_view::npos) return true;
  for (const auto part : {"_TCP_", "_UDP_", "_SCTP_"})
    if (const auto at = name.find(part);
        at != std::string_view::npos && name.substr(0, at).find("_PORT_") != std::string_view::npos)
      return true;
  return false;
}

Error unknown_variable(const std::string& name, const Command& command) {
  Error error(ErrorKind::usage, fmt::format("unknown variable {} in the environment", name));
  if (const auto* option = [&]() -> const Option* {
        for (const auto& each : command.options())
          if (variable_of(command, each.name) == name) return command.find(each.name);
        return nullptr;
      }())
    return std::move(error).hint(fmt::format("--{} is for the command line only.", option->name));
  std::vector<std::string> known;
  for (const auto option : names_of(command, true)) known.push_back(variable_of(command, option));
  const std::vector<std::string_view> views(known.begin(), known.end());
  if (const auto near = nearest(name, views)) error.hint(fmt::format("Did you mean {}?", *near));
  return std::move(error).hint(
      fmt::format("A variable is named after an option of a configuration file: \"pgweir {} "
                  "--help\" lists them. If it is not meant for pgweir, unset it.",
                  command.name));
}

/// The variable that was probably meant by one that no command knows: PGWEIR_SLOT, or
/// PGWEIR_RECIEVE_SLOT. Ignoring it as another program's variable would make an archiver without
/// its slot look fine. Names without any similarity may belong to another program.
std::optional<std::string> meant_by(std::string_view name, const Command& command,
                                    std::span<const Command* const> commands) {
  const auto rest = name.substr(kVariable.size());
  const auto has = [](const Command& of, std::string_view option) {
    const auto known = names_of(of, true);
    return std::any_of(known.begin(), known.end(),
                       [&](std::string_view each) { return upper(each) == option; });
  };
  for (const auto* each : {command_of(commands, kFirstPart), &command})
    if (each != nullptr && has(*each, rest)) return variable_of(*each, "") + std::string(rest);
  for (auto at = rest.find('_'); at != std::string_view::npos; at = rest.find('_', at + 1)) {
    const auto option = rest.substr(at + 1);
    std::vector<std::string> names;
    for (const auto* each : commands)
      if (each->takes_file && has(*each, option)) names.push_back(upper(each->name));
    const std::vector<std::string_view> views(names.begin(), names.end());
    if (const auto near = nearest(rest.substr(0, at), views))
      return fmt::format("{}{}_{}", kVariable, *near, option);
  }
  return std::nullopt;
}

bool is_known(std::string_view name, std::span<const Command* const> commands) {
  return std::any_of(commands.begin(), commands.end(), [&](const Command* each) {
    const auto known = names_of(*each, true);
    const auto present = present_variable(std::string(name), *each);
    return std::any_of(known.begin(), known.end(), [&](std::string_view option) {
      return variable_of(*each, option) == present;
    });
  });
}

}  // namespace

void Arguments::add_environment(const std::vector<std::string>& variables,
                                std::span<const Command* const> commands) {
  // A command's own variables first: they win.
  std::vector<const Command*> parts{command_};
  if (const auto* first = command_of(commands, kFirstPart); first != nullptr && first != command_)
    parts.push_back(first);
  for (const auto* each : parts) {
    const auto prefix = variable_of(*each, "");
    for (const auto& variable : variables) {
      const auto equals = variable.find('=');
      if (equals == std::string::npos || !variable.starts_with(prefix)) continue;
      const auto name = variable.substr(0, equals);
      const auto value = variable.substr(equals + 1);
      if (value.empty() || is_of_a_service(name, value)) continue;
      add_variable(name, value, *each);
    }
  }
}

void Arguments::refuse_strays(const std::vector<std::string>& variables,
                              std::span<const Command* const> commands) const {
  for (const auto& variable : variables) {
    const auto equals = variable.find('=');
    if (equals == std::string::npos || !variable.starts_with(kVariable)) continue;
    const auto name = variable.substr(0, equals);
    const auto value = variable.substr(equals + 1);
    if (value.empty() || is_of_a_service(name, value) || is_known(name, commands)) continue;
    if (const auto meant = meant_by(name, *command_, commands))
      throw Error(ErrorKind::usage, fmt::format("unknown variable {} in the environment", name))
          .hint(fmt::format("Did you mean {}? If it is not meant for pgweir, unset it.", *meant));
  }
}

void Arguments::add_variable(const std::string& name, const std::string& value, const Command& of) {
  const auto options = of.options();
  const auto present = present_variable(name, of);
  const auto option = std::find_if(options.begin(), options.end(), [&](const Option& each) {
    return each.in_file && variable_of(of, each.name) == present;
  });
  if (option == options.end()) throw unknown_variable(name, of);
  if (present != name) note_former(name, present);
  Given given{.origin = Origin::environment, .variable = name};
  bool on = true;
  if (!option->takes_value()) {
    const auto read = parse_switch(value);
    if (!read)
      throw Error(ErrorKind::usage, fmt::format("wrong value \"{}\" of {}", value, name))
          .hint("It is a switch: use on or off.");
    on = *read;
    given.values = {value};
  } else {
    for (auto rest = std::string_view(value); !rest.empty();) {
      const auto end = option->repeated ? std::min(rest.find('\n'), rest.size()) : rest.size();
      if (end > 0) given.values.emplace_back(rest.substr(0, end));
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    if (given.values.empty()) return;  // empty lines only
    for (const auto& each : given.values) {
      auto word = each;
      if (mask_passwords(word.data()))
        throw Error(ErrorKind::usage, fmt::format("{} has a password", name))
            .hint(
                "Other users may be able to read a process's environment, and its child "
                "processes inherit it. Use a password file: passfile=... in the connection "
                "string, PGPASSFILE, or ~/.pgpass.");
      check_value(*option, each, name);
    }
  }
  if (&of != command_) {
    const auto* own = command_->find(option->name);
    if (own == nullptr || !own->shared) return;
  }
  // The order of the environment must not decide between a former name and the present one.
  if (const auto found = given_.find(option->name);
      found != given_.end() && found->second.origin == Origin::environment &&
      present_variable(found->second.variable, of) == present &&
      (option->takes_value() ? found->second.values != given.values : !on))
    throw Error(ErrorKind::usage, fmt::format("{} and {} set the same option to different values",
                                              found->second.variable, name))
        .hint("One of them is the former name: remove it.");
  if (given_.contains(option->name) || off_.contains(option->name)) return;
  if (on)
    given_.emplace(option->name, std::move(given));
  else
    off_.insert(std::string(option->name));
}

/// Where the lines of a file are: in which section, and the settings before them.
struct Arguments::FilePart {
  std::map<std::string, int, std::less<>> lines{};  ///< of the settings of the section
  const Command* known;                             ///< nullptr: the section is unknown
  bool first = true;                                ///< before the first section
};

namespace {

bool names_file(const Option& option) {
  return option.value == "DIRECTORY" || option.value == "DIR" || option.value == "FILE";
}

bool is_quoted(std::string_view value) {
  return value.size() > 1 && (value.front() == '"' || value.front() == '\'') &&
         value.front() == value.back();
}

}  // namespace

void Arguments::add_file(const std::string& path, std::string_view text,
                         std::span<const Command* const> commands, std::vector<Error>* errors) {
  path_ = path;
  FilePart part{.known = command_of(commands, kFirstPart)};
  int line = 0;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    const auto content = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    ++line;
    if (content.empty() || content.front() == '#' || content.front() == ';') continue;
    try {
      add_line(part, content, line, commands);
    } catch (Error& error) {
      if (errors == nullptr) throw;
      errors->push_back(std::move(error));
    }
  }
}

void Arguments::add_line(FilePart& part, std::string_view content, int line,
                         std::span<const Command* const> commands) {
  const auto at_line = [&](Error error) {
    return std::move(error).with("file", path_).with("line", line);
  };
  if (content.front() == '[') {
    part = {.known = nullptr, .first = false};
    try {
      part.known = section_of(content, commands);
    } catch (Error& error) {
      throw at_line(std::move(error));
    }
    return;
  }
  if (part.known == nullptr) return;
  const auto equals = content.find('=');
  if (equals == std::string_view::npos && std::count(content.begin(), content.end(), ':') >= 4)
    throw at_line(Error(ErrorKind::usage, "a line of a password file, not of a configuration")
                      .hint("The line is not displayed. Name a password file with \"passfile\" "
                            "in the connection string, or with PGPASSFILE."));
  if (equals == std::string_view::npos)
    throw at_line(
        Error(ErrorKind::usage, fmt::format("line without \"=\": \"{}\"", masked(content)))
            .hint("Write \"name = value\"; a switch is \"name = on\"."));
  const auto written = trimmed(content.substr(0, equals));
  const auto name = present_name(written);
  if (name != written) note_former(in_file(written, path_, line), name);
  const std::string value(trimmed(content.substr(equals + 1)));
  const auto* option = part.known->find(name);
  // Options of other commands that belong to this section, such as "confirm" of receive in [store].
  const bool only_others = option == nullptr;
  for (const auto* each : commands)
    if (const auto* other = each->find(name);
        option == nullptr && other != nullptr && other->section == part.known->name)
      option = other;
  if (option == nullptr || !option->in_file)
    throw at_line(unknown_setting(name, option, *part.known, part.first, commands));
  const auto [before, fresh] = part.lines.emplace(name, line);
  if (!fresh && !option->repeated)
    throw at_line(
        Error(ErrorKind::usage, fmt::format("setting \"{}\" is given more than once", name)))
        .with("first in line", before->second);
  if (value.empty())
    throw at_line(Error(ErrorKind::usage, fmt::format("setting \"{}\" has no value", name)));
  std::optional<bool> on;
  if (!option->takes_value()) {
    on = parse_switch(value);
    if (!on)
      throw at_line(Error(ErrorKind::usage,
                          fmt::format("wrong value \"{}\" of the switch \"{}\"", value, name))
                        .hint("Use on or off."));
  } else {
    if (names_file(*option) && is_quoted(value))
      throw at_line(Error(ErrorKind::usage,
                          fmt::format("quoted value of the setting \"{}\": {}", name, value))
                        .hint("Remove the quotes: they would be part of the name. Spaces do not "
                              "need quotes."));
    check_value(*option, value, in_file(name, path_, line));
  }
  const bool of_another = part.known != command_ || only_others;
  if (of_another) {
    const auto* own = command_->find(name);
    if (own == nullptr || !(part.first ? own->shared : own->section == part.known->name)) return;
  }
  if (off_.contains(name)) return;
  if (!fresh) {  // repeated in the same section: unless another source has precedence
    auto& first = given_.at(std::string(name));
    if (first.origin == Origin::file && first.line == before->second) first.values.push_back(value);
    return;
  }
  if (on.value_or(true))
    set(name, Given{.values = {value}, .origin = Origin::file, .line = line},
        !part.first && !of_another);
  else if (const auto given = given_.find(name); !part.first && !of_another &&
                                                 given != given_.end() &&
                                                 given->second.origin == Origin::file)
    given_.erase(given);
}

void Arguments::set(std::string_view name, Given given, bool wins) {
  const auto found = given_.find(name);
  if (found == given_.end())
    given_.emplace(name, std::move(given));
  else if (wins && found->second.origin == Origin::file)  // the others win over both
    found->second = std::move(given);
}

Arguments Arguments::without_file() const {
  auto result = *this;
  std::erase_if(result.given_, [](const auto& each) { return each.second.origin == Origin::file; });
  return result;
}

void Arguments::note_former(const std::string& written, std::string_view present) {
  former_names_.push_back(
      fmt::format("{} is called {}{} now; the former name is accepted until version 2.0", written,
                  written.starts_with("--") ? "--" : "", present));
}

std::vector<std::string> Arguments::names() const {
  std::vector<std::string> names;
  for (const auto& [name, given] : given_) names.push_back(name);
  return names;
}

std::string_view Arguments::verb() const {
  return words_.empty() ? command_->default_verb : present_verb(words_.front());
}

bool Arguments::has(std::string_view option) const { return given_.find(option) != given_.end(); }

Arguments::Origin Arguments::origin(std::string_view option) const {
  const auto found = given_.find(option);
  PGWEIR_CHECK(found != given_.end());
  return found->second.origin;
}

std::optional<std::string> Arguments::text(std::string_view option) const {
  const auto found = given_.find(option);
  if (found == given_.end()) return std::nullopt;
  return found->second.values.back();
}

std::vector<std::string> Arguments::texts(std::string_view option) const {
  const auto found = given_.find(option);
  return found == given_.end() ? std::vector<std::string>() : found->second.values;
}

std::string Arguments::source(std::string_view option) const {
  const auto found = given_.find(option);
  if (found == given_.end() || found->second.origin == Origin::command_line)
    return fmt::format("--{}", option);
  if (found->second.origin == Origin::environment) return found->second.variable;
  return in_file(option, path_, found->second.line);
}

}  // namespace weir::cli

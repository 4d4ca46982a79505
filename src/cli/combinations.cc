#include "cli/combinations.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "cli/command.h"
#include "cli/password.h"

namespace weir::cli {

namespace {

/// "a, b or c"
std::string alternatives(const std::vector<std::string>& words) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i)
    text += (i == 0 ? "" : i + 1 < words.size() ? ", " : " or ") + words[i];
  return text;
}

std::string see_help(const Command& command) {
  return fmt::format("See \"pgweir {} --help\".", command.name);
}

const CommandVerb& known_verb(const Arguments& arguments) {
  const auto& command = arguments.command();
  const auto name = arguments.verb();
  const auto found = std::find_if(command.verbs.begin(), command.verbs.end(),
                                  [&](const CommandVerb& verb) { return verb.name == name; });
  if (found != command.verbs.end()) return *found;
  std::vector<std::string> names;
  for (const auto& verb : command.verbs) names.emplace_back(verb.name);
  throw Error(ErrorKind::usage,
              name.empty() ? fmt::format("no command specified for \"pgweir {}\"", command.name)
                           : fmt::format("unknown command \"{} {}\"", command.name, masked(name)))
      .hint(fmt::format("It can be {}; see \"pgweir {} --help\".", alternatives(names),
                        command.name));
}

void check_verb(const Arguments& arguments) {
  const auto& command = arguments.command();
  if (command.verbs.empty()) return;
  const auto& verb = known_verb(arguments);
  const auto words = std::max<std::size_t>(arguments.words().size(), 1) - 1;
  if (verb.words != CommandVerb::kAnyWords && words != verb.words)
    throw Error(ErrorKind::usage,
                fmt::format("{} {} takes {}", command.name, verb.name, verb.takes))
        .hint(see_help(command));
}

bool has_word(std::string_view words, std::string_view word) {
  while (!words.empty()) {
    const auto end = std::min(words.find(' '), words.size());
    if (words.substr(0, end) == word) return true;
    words.remove_prefix(std::min(end + 1, words.size()));
  }
  return false;
}

std::string and_value(std::string text, std::string_view value) {
  return value.empty() ? text : fmt::format("{} {}", text, value);
}

/// "--a VALUE", or its variable, or its line of the file.
std::string named(const Arguments& arguments, std::string_view option, std::string_view value) {
  auto text = arguments.source(option);
  return arguments.on_command_line(option) ? and_value(std::move(text), value) : text;
}

bool has_value(const Arguments& arguments, std::string_view name, std::string_view value) {
  if (value.empty()) return true;
  const auto* option = arguments.command().find(name);
  const auto text = arguments.text(name).value_or("");
  return option->same != nullptr ? option->same(text, std::string(value)) : text == value;
}

bool is_set(const Arguments& arguments, const Setting& setting) {
  return arguments.has(setting.option) &&
         (!setting.command_line || arguments.on_command_line(setting.option)) &&
         has_value(arguments, setting.option, setting.value);
}

bool applies(const Arguments& arguments, const Option& option, const Relation* relation) {
  return relation != nullptr &&
         (!relation->command_line || arguments.on_command_line(option.name)) &&
         (relation->verb.empty() || relation->verb == arguments.verb()) &&
         has_value(arguments, option.name, relation->value);
}

void check_verbs(const Arguments& arguments, const Option& option, const OfVerbs* verbs) {
  if (verbs == nullptr || !arguments.on_command_line(option) ||
      has_word(verbs->names, arguments.verb()))
    return;
  const auto& command = arguments.command();
  throw Error(ErrorKind::usage, fmt::format("option --{} cannot be used with \"{} {}\"",
                                            option.name, command.name, arguments.verb()))
      .hint(verbs->hint.empty() ? see_help(command) : std::string(verbs->hint));
}

void check_needs(const Arguments& arguments, const Option& option, const Relation* needs) {
  if (!applies(arguments, option, needs)) return;
  std::vector<std::string> wanted;
  for (const auto& other : needs->others) {
    if (other.option.empty()) continue;
    if (is_set(arguments, other)) return;
    wanted.push_back(and_value(fmt::format("--{}", other.option), other.value));
  }
  throw Error(ErrorKind::usage,
              fmt::format("{}{} requires {}", arguments.on_command_line(option) ? "option " : "",
                          named(arguments, option, needs->value), alternatives(wanted)))
      .hint(needs->hint);
}

void check_excludes(const Arguments& arguments, const Option& option, const Relation* excludes) {
  if (!applies(arguments, option, excludes)) return;
  for (const auto& other : excludes->others) {
    if (other.option.empty() || !is_set(arguments, other)) continue;
    const bool options =
        arguments.on_command_line(option) && arguments.on_command_line(other.option);
    throw Error(ErrorKind::usage,
                fmt::format("{}{} and {} cannot be used together", options ? "options " : "",
                            named(arguments, option, excludes->value),
                            named(arguments, other.option, other.value)))
        .hint(excludes->hint);
  }
}

}  // namespace

void check_combinations(const Arguments& arguments, std::vector<Error>* errors) {
  const auto collect = [&](auto&& check) {
    try {
      check();
    } catch (Error& error) {
      if (errors == nullptr) throw;
      errors->push_back(std::move(error));
    }
  };
  collect([&] { check_verb(arguments); });
  for (const auto& group : arguments.command().groups)
    for (const auto& option : group.options) {
      if (!arguments.has(option)) continue;
      for (const auto* rules : {&group.rules, &option.rules}) {
        collect([&] { check_verbs(arguments, option, rules->verbs); });
        collect([&] { check_needs(arguments, option, rules->needs); });
        collect([&] { check_excludes(arguments, option, rules->excludes); });
      }
    }
}

}  // namespace weir::cli

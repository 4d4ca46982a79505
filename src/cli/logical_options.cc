#include "cli/logical_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "base/units.h"
#include "cli/arguments.h"
#include "cli/config_file.h"
#include "cli/connection_options.h"

namespace weir::cli {

namespace {

using std::chrono::milliseconds;
using Verb = LogicalRequest::Verb;

/// NAME or NAME=VALUE.
std::pair<std::string, std::optional<std::string>> plugin_option(const std::string& text) {
  const auto equals = text.find('=');
  if (equals == 0 || text.empty())
    throw Error(ErrorKind::usage, fmt::format("\"{}\" is no option of a plugin", text))
        .hint("Give --option NAME or --option NAME=VALUE.");
  if (equals == std::string::npos) return {text, std::nullopt};
  return {text.substr(0, equals), text.substr(equals + 1)};
}

/// Takes -o and --option out of the words: they may be given several times.
pq::PluginOptions take_plugin_options(Words& words) {
  constexpr std::string_view kLong = "--option";
  pq::PluginOptions options;
  Words rest;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "--") {
      rest.insert(rest.end(), words.begin() + static_cast<std::ptrdiff_t>(i), words.end());
      break;
    }
    if (word == "-o" || word == kLong) {
      if (++i == words.size()) throw Error(ErrorKind::usage, fmt::format("{} needs a value", word));
      options.push_back(plugin_option(words[i]));
    } else if (word.starts_with("--option=")) {
      options.push_back(plugin_option(word.substr(kLong.size() + 1)));
    } else if (word.starts_with("-o") && !word.starts_with("--")) {
      options.push_back(plugin_option(word.substr(2)));
    } else {
      rest.push_back(word);
    }
  }
  words = std::move(rest);
  return options;
}

Error wrong_value(const Arguments& arguments, std::string_view option) {
  return Error(ErrorKind::usage, fmt::format("wrong value \"{}\" of {}", *arguments.value(option),
                                             arguments.source(option)));
}

milliseconds time_of(const Arguments& arguments, std::string_view option, milliseconds otherwise) {
  const auto text = arguments.value(option);
  if (!text) return otherwise;
  const auto time = parse_duration(*text);
  if (!time || *time > std::chrono::hours(24 * 366))
    throw wrong_value(arguments, option)
        .hint("Give a time with a unit: \"500ms\", \"10s\", \"5min\"; 0 means never.");
  return *time;
}

Verb verb_of(const Arguments& arguments) {
  constexpr std::pair<std::string_view, Verb> kVerbs[] = {{"stream", Verb::stream},
                                                          {"create", Verb::create},
                                                          {"drop", Verb::drop},
                                                          {"peek", Verb::peek},
                                                          {"get", Verb::get}};
  if (arguments.words().empty()) return Verb::stream;
  for (const auto& [name, verb] : kVerbs)
    if (arguments.words().front() == name) return verb;
  throw Error(ErrorKind::usage,
              fmt::format("unknown command \"logical {}\"", arguments.words().front()))
      .hint("It can be stream, create, drop, peek or get.");
}

/// Options that only some of the verbs have.
void refuse_strangers(const Arguments& arguments, Verb verb) {
  const std::map<std::string_view, std::vector<Verb>> kOwners = {
      {"file", {Verb::stream}},
      {"no-state", {Verb::stream}},
      {"create-slot", {Verb::stream}},
      {"snapshot-command", {Verb::stream}},
      {"rotate-size", {Verb::stream}},
      {"rotate-time", {Verb::stream}},
      {"fsync-interval", {Verb::stream}},
      {"status-interval", {Verb::stream}},
      {"no-loop", {Verb::stream}},
      {"startpos", {Verb::stream}},
      {"endpos", {Verb::stream, Verb::peek, Verb::get}},
      {"format", {Verb::stream, Verb::peek, Verb::get}},
      {"limit", {Verb::peek, Verb::get}},
      {"plugin", {Verb::stream, Verb::create}},
      {"two-phase", {Verb::stream, Verb::create}},
      {"failover", {Verb::stream, Verb::create}},
      {"if-not-exists", {Verb::stream, Verb::create}},
      {"if-exists", {Verb::drop}},
  };
  for (const auto& [name, owners] : kOwners) {
    if (arguments.on_command_line(name) &&
        std::find(owners.begin(), owners.end(), verb) == owners.end())
      throw Error(ErrorKind::usage, fmt::format("{} has no meaning for \"logical {}\"",
                                                arguments.source(name), arguments.words().front()));
  }
  if (verb != Verb::stream || arguments.has("create-slot")) return;
  for (const std::string_view name :
       {"plugin", "two-phase", "failover", "if-not-exists", "snapshot-command"})
    if (arguments.has(name))
      throw Error(ErrorKind::usage, fmt::format("{} needs --create-slot", arguments.source(name)))
          .hint("It is a property of the slot, decided when that is made.");
}

std::optional<wal::Lsn> lsn_of(const Arguments& arguments, std::string_view option) {
  const auto text = arguments.value(option);
  if (!text) return std::nullopt;
  const auto lsn = wal::Lsn::parse(*text);
  if (!lsn || !lsn->valid())
    throw wrong_value(arguments, option).hint("Give an LSN such as 16/B374D848.");
  return lsn;
}

}  // namespace

std::vector<Option> logical_option_list() {
  auto list = connection_options();
  const Option own[] = {
      {"slot", 'S'},
      {"file", 'f'},
      {"format"},
      {"plugin", 'P'},
      {"create-slot", '\0', false},
      {"if-not-exists", '\0', false},
      {"if-exists", '\0', false},
      {"two-phase", 't', false},
      {"failover", '\0', false},
      {"snapshot-command"},
      {"startpos", 'I'},
      {"endpos", 'E'},
      {"limit"},
      {"no-state", '\0', false},
      {"no-loop", 'n', false},
      {"fsync-interval", 'F'},
      {"status-interval", 's'},
      {"rotate-size"},
      {"rotate-time"},
      {"log-file"},
      {"verbose", 'v', false},
      {"quiet", 'q', false},
      {"config", 'c', true, false},
      {"help", '?', false, false},
  };
  list.insert(list.end(), std::begin(own), std::end(own));
  return list;
}

LogicalRequest parse_logical(const Words& given) {
  Words words = given;
  LogicalRequest request;
  auto& options = request.options;
  options.plugin_options = take_plugin_options(words);
  auto arguments = Arguments::parse(logical_option_list(), words, 1);
  if (arguments.has("help")) {
    request.help = true;
    return request;
  }
  add_config(arguments, "logical");
  request.verb = verb_of(arguments);
  refuse_strangers(arguments, request.verb);

  if (!arguments.has("slot")) throw Error(ErrorKind::usage, "which slot? --slot NAME is needed");
  require_slot_name(arguments, "slot");
  options.slot = *arguments.value("slot");
  options.conninfo = conninfo_of(arguments);
  require_conninfo(arguments, "dbname", options.conninfo);

  request.slot.plugin = arguments.value("plugin").value_or("pgoutput");
  request.slot.two_phase = arguments.has("two-phase");
  request.slot.failover = arguments.has("failover");
  options.if_not_exists = arguments.has("if-not-exists");
  request.if_exists = arguments.has("if-exists");
  if (arguments.has("create-slot")) options.create = request.slot;
  request.snapshot_command = arguments.value("snapshot-command").value_or("");
  if (!request.snapshot_command.empty() && options.if_not_exists)
    throw Error(ErrorKind::usage, "--snapshot-command and --if-not-exists contradict each other")
        .hint("A snapshot can be had from a slot that was just made, and from no other.");

  options.startpos = lsn_of(arguments, "startpos");
  options.endpos = lsn_of(arguments, "endpos");
  const auto format = arguments.value("format").value_or("jsonl");
  if (format != "jsonl" && format != "plugin")
    throw wrong_value(arguments, "format").hint("It can be: jsonl, plugin.");
  options.form = format == "jsonl" ? logical::Form::jsonl : logical::Form::plugin;
  options.path = arguments.value("file").value_or("-");
  if (options.path.empty()) throw wrong_value(arguments, "file");
  request.exact = options.path != "-" && !arguments.has("no-state");
  for (const std::string_view name : {"rotate-size", "rotate-time"})
    if (arguments.has(name) && !request.exact)
      throw Error(ErrorKind::usage,
                  fmt::format("{} needs a file with a state", arguments.source(name)))
          .hint("Give --file, and no --no-state.");
  if (options.startpos && request.exact)
    throw Error(ErrorKind::usage, "--startpos is for an output without a state")
        .hint("The file's state says where to go on.");
  if (const auto text = arguments.value("rotate-size")) {
    const auto size = parse_size(*text);
    if (!size || *size == 0)
      throw wrong_value(arguments, "rotate-size").hint("Give a size such as 64MB.");
    options.rotation.bytes = *size;
  }
  options.rotation.time = time_of(arguments, "rotate-time", milliseconds(0));
  options.fsync_interval = time_of(arguments, "fsync-interval", options.fsync_interval);
  options.status_interval = time_of(arguments, "status-interval", options.status_interval);
  options.loop = !arguments.has("no-loop");

  if (const auto text = arguments.value("limit")) {
    std::uint64_t limit = 0;
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), limit);
    if (error != std::errc() || end != text->data() + text->size() || limit == 0 ||
        limit > 2'147'483'647)
      throw wrong_value(arguments, "limit").hint("Give a number of changes from 1 on.");
    request.limit = limit;
  }
  request.log_file = arguments.value("log-file");
  if (arguments.has("verbose") && arguments.has("quiet"))
    throw Error(ErrorKind::usage, "--verbose and --quiet contradict each other");
  if (arguments.has("verbose")) request.level = LogLevel::debug;
  if (arguments.has("quiet")) request.level = LogLevel::warning;
  return request;
}

}  // namespace weir::cli

#include "cli/options/logical_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/options/common_options.h"
#include "cli/options/connection_options.h"

namespace weir::cli {

namespace {

using std::chrono::milliseconds;

/// NAME or NAME=VALUE.
std::pair<std::string, std::optional<std::string>> plugin_option_value(const std::string& text) {
  const auto equals = text.find('=');
  if (equals == 0 || text.empty())
    throw Error(ErrorKind::usage, "no option of a plugin")
        .hint("Give --option NAME or --option NAME=VALUE.");
  if (equals == std::string::npos) return {text, std::nullopt};
  return {text.substr(0, equals), text.substr(equals + 1)};
}

constexpr Choice<logical::Form> kForms[] = {{"jsonl", logical::Form::jsonl},
                                            {"plugin", logical::Form::plugin}};
constexpr auto kLongest = 366 * kDay;

constexpr auto kLogicalSlot =
    option_of<slot_value>('S', "slot", "NAME", "logical replication slot");
constexpr auto kFile =
    option_of<any_text>('f', "file", "FILE", "output file (default: standard output)");
constexpr auto kFormat =
    option_of<choice_value<kForms>>("format", "FORM",
                                    "jsonl (default): one JSON object per line, with its position; "
                                    "plugin: as the output plugin returns it");
constexpr auto kPluginOption = for_the_command_line(repeated(option_of<plugin_option_value>(
    'o', "option", "NAME[=VALUE]", "option of the output plugin; can be repeated")));
constexpr auto kLogicalCreateSlot = flag("create-slot", "create the slot before streaming");
constexpr auto kPlugin = option_of<any_text>('P', "plugin", "PLUGIN",
                                             "output plugin of the new slot (default: pgoutput)");
constexpr auto kTwoPhase = flag('t', "two-phase", "decode at PREPARE TRANSACTION (15+)");
constexpr auto kFailover = flag("failover", "synchronize the slot to standbys (17+)");
constexpr auto kLogicalIfNotExists = flag("if-not-exists", "use the slot if it exists");
constexpr auto kIfExists = flag("if-exists", "drop: no error if the slot does not exist");
constexpr auto kSnapshotCommand =
    option_of<any_text>("snapshot-command", "CMD",
                        "run CMD with the new slot's snapshot, named by $PGWEIR_SNAPSHOT, then "
                        "stream from exactly that point");
constexpr auto kLogicalEndpos = option_of<valid_lsn_value>(
    'E', "endpos", "LSN", "stop at this position, after whole transactions (stream: with a state)");
constexpr auto kStartpos = option_of<valid_lsn_value>(
    'I', "startpos", "LSN", "position at which to begin, for an output without state");
constexpr auto kLimit = option_of<count_value<1, 2'147'483'647>>(
    "limit", "N", "peek, get: approximate number of changes");
constexpr auto kNoState =
    flag("no-state", "append to the file without storing a state: a restart may repeat changes");
constexpr auto kRotateSize = option_of<some_size_value>(
    "rotate-size", "SIZE", "begin a new file when the file exceeds SIZE, such as 64MB");
constexpr auto kRotateTime = option_of<time_value<0, kLongest>>(
    "rotate-time", "TIME", "begin a new file after TIME, such as 1h; 0: never");
constexpr auto kFsyncInterval = option_of<time_value<0, kLongest>>(
    'F', "fsync-interval", "TIME",
    "interval between flushes and confirmations (default: 1s; 0: at the end)");
constexpr auto kLogicalStatusInterval = option_of<time_value<0, kLongest>>(
    's', "status-interval", "TIME",
    "maximum interval between status reports (default: 10s; 0: on request)");
constexpr auto kLogicalNoLoop = flag('n', "no-loop", "exit when the connection is lost");
constexpr auto kLogicalLogFile =
    option_of<any_text>("log-file", "FILE", "write messages to FILE instead of standard error");
constexpr Relation kNotQuiet{.others = {{"quiet"}}};
constexpr auto kLogicalVerbose = flag('v', "verbose", "more messages", {.excludes = &kNotQuiet});
constexpr auto kLogicalQuiet = flag('q', "quiet", "only warnings and errors");

constexpr OfVerbs kOfStream{"stream"};
constexpr OfVerbs kOfChanges{"stream peek get"};
constexpr OfVerbs kOfPeek{"peek get"};
constexpr OfVerbs kOfCreate{"stream create"};
constexpr OfVerbs kOfDrop{"drop"};
constexpr Relation kLogicalWithCreateSlot{
    .others = {{kLogicalCreateSlot}},
    .verb = "stream",
    .hint = "It is a property of the slot, set when the slot is created."};
constexpr Relation kNotIfExists{.others = {{kLogicalIfNotExists}},
                                .hint = "Only a new slot has a snapshot."};

constexpr Option kOptions[] = {
    kLogicalSlot,
    kPluginOption,
    kFormat.with({.verbs = &kOfChanges}),
    kLogicalEndpos.with({.verbs = &kOfChanges}),
    kLimit.with({.verbs = &kOfPeek}),
    kIfExists.with({.verbs = &kOfDrop}),
};
constexpr Option kStreaming[] = {
    kFile,
    kNoState,
    kStartpos,
    kRotateSize,
    kRotateTime,
    kFsyncInterval,
    kLogicalStatusInterval,
    kLogicalNoLoop,
    kLogicalCreateSlot,
    kSnapshotCommand.with({.needs = &kLogicalWithCreateSlot, .excludes = &kNotIfExists}),
};
constexpr Option kNewSlot[] = {kPlugin, kTwoPhase, kFailover, kLogicalIfNotExists};
constexpr Option kLogicalGeneral[] = {kConfig, kLogicalLogFile, kLogicalVerbose, kLogicalQuiet,
                                      kHelp};
constexpr Option kLogicalConnection[] = {
    kDbname, kHost, kPort, kUsername.says("role with the REPLICATION attribute"), kNoPassword,
};
constexpr OptionGroup kLogicalGroups[] = {
    {"Options:", kOptions},
    {.options = kStreaming, .rules = {.verbs = &kOfStream}},
    {.options = kNewSlot, .rules = {.needs = &kLogicalWithCreateSlot, .verbs = &kOfCreate}},
    {.options = kLogicalGeneral},
    {"Connection:", kLogicalConnection},
};

/// As LogicalRequest::Verb has them.
constexpr CommandVerb kVerbs[] = {{"stream"}, {"create"}, {"drop"}, {"peek"}, {"get"}};

LogicalRequest::Verb verb_of(const Arguments& arguments) {
  const auto* const found =
      std::find_if(std::begin(kVerbs), std::end(kVerbs),
                   [&](const CommandVerb& verb) { return verb.name == arguments.verb(); });
  PGWEIR_CHECK(found != std::end(kVerbs));
  return static_cast<LogicalRequest::Verb>(found - kVerbs);
}

}  // namespace

constinit const Command kLogicalCommand = {
    .name = "logical",
    .summary = "stream the changes of a database, each exactly once",
    .about = R"(pgweir logical streams the changes of one database, each exactly once

Usage:
  pgweir logical [stream] -S SLOT -d CONNINFO [-f FILE] [-o NAME=VALUE]...
  pgweir logical create -S SLOT -d CONNINFO [-P PLUGIN] [-t] [--failover]
  pgweir logical drop   -S SLOT -d CONNINFO [--if-exists]
  pgweir logical peek|get -S SLOT -d CONNINFO [-o NAME=VALUE]... [--limit N]

  stream   write the changes to a file, which continues after any crash without
           loss, repetition or torn transactions
  peek     print the changes that the slot retains, without consuming them
  get      print them and advance the slot
)",
    .groups = kLogicalGroups,
    .notes = R"(pgoutput needs --option publication_names=NAME. SIGHUP reopens the file.
)",
    .most_words = 1,
    .verbs = kVerbs,
    .default_verb = "stream",
    .run = logical_command,
};

LogicalRequest read_logical(const Arguments& arguments) {
  LogicalRequest request;
  auto& options = request.options;
  for (const auto& text : arguments.texts(kPluginOption))
    options.plugin_options.push_back(plugin_option_value(text));
  request.verb = verb_of(arguments);
  if (!arguments.has(kLogicalSlot)) throw Error(ErrorKind::usage, "--slot NAME is missing");
  options.slot = *arguments.get(kLogicalSlot);
  options.conninfo = conninfo_of(arguments);

  request.slot.plugin = arguments.get(kPlugin, "pgoutput");
  request.slot.two_phase = arguments.has(kTwoPhase);
  request.slot.failover = arguments.has(kFailover);
  options.if_not_exists = arguments.has(kLogicalIfNotExists);
  request.if_exists = arguments.has(kIfExists);
  if (arguments.has(kLogicalCreateSlot)) options.create = request.slot;
  request.snapshot_command = arguments.get(kSnapshotCommand, "");

  options.startpos = arguments.get(kStartpos);
  options.endpos = arguments.get(kLogicalEndpos);
  options.form = arguments.get(kFormat, logical::Form::jsonl);
  options.path = arguments.get(kFile, "-");
  request.exact = options.path != "-" && !arguments.has(kNoState);
  for (const std::string_view name : {kRotateSize.name, kRotateTime.name})
    if (arguments.has(name) && !request.exact)
      throw Error(ErrorKind::usage,
                  fmt::format("{} needs a file with a state", arguments.source(name)))
          .hint("Give --file, and no --no-state.");
  if (options.startpos && request.exact)
    throw Error(ErrorKind::usage,
                fmt::format("{} is for an output without a state", arguments.source(kStartpos)))
        .hint("The state file contains the position at which to resume.");
  if (const auto size = arguments.get(kRotateSize)) options.rotation.bytes = *size;
  options.rotation.time = arguments.get(kRotateTime, milliseconds(0));
  options.fsync_interval = arguments.get(kFsyncInterval, options.fsync_interval);
  options.status_interval = arguments.get(kLogicalStatusInterval, options.status_interval);
  options.loop = !arguments.has(kLogicalNoLoop);

  request.limit = arguments.get(kLimit);
  request.log_file = arguments.get(kLogicalLogFile);
  if (arguments.has(kLogicalVerbose)) request.level = LogLevel::debug;
  if (arguments.has(kLogicalQuiet)) request.level = LogLevel::warning;
  return request;
}

}  // namespace weir::cli

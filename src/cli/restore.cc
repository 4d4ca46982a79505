#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>

#include "archive/losses.h"
#include "base/exit_status.h"
#include "base/log.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/help.h"
#include "cli/options/common_options.h"
#include "cli/options/manifest_options.h"
#include "cli/options/store_options.h"
#include "cli/print_stderr.h"
#include "cli/runtime/memory.h"
#include "cli/shared/ask_archive.h"
#include "cli/shared/restore_setting.h"
#include "cli/shared/stored_archive.h"
#include "io/small_file.h"
#include "restore/command.h"
#include "restore/find.h"
#include "restore/open_archives.h"

// The exit status is the message here: to PostgreSQL 1 to 125 mean "the archive ends, open the
// database". The statuses are therefore 0, 1 ("certainly not in the archive") and 200 for
// everything else. 126, 127 and from 129 on to 192 look like the shell's or a signal's. SIGTERM
// keeps its default action, too: the server checks whether its request to stop ended the command.

namespace weir::cli {

namespace {

using Json = nlohmann::ordered_json;

using namespace std::chrono_literals;

constexpr std::chrono::milliseconds kRestorePatience = 10s;

restore::PgTime moment_value(const std::string& text) {
  const auto time = restore::PgTime::parse(text);
  if (!time)
    throw Error(ErrorKind::usage, "not a time")
        .hint("Give it as in '2026-11-20 03:14:15+00', or a day as in 2026-11-20.");
  return *time;
}

constexpr Choice<bool> kGapIsAbsence[] = {{"stop", false}, {"absent", true}};

constexpr auto kPartial =
    flag("partial",
         "also restore the partial segment, if there is no complete one: up to its last complete "
         "record, so that the last WAL of a lost primary is recovered");
constexpr auto kPartialDamaged =
    flag("partial-damaged",
         "as --partial, even if it is corrupted: the WAL after the corruption is lost");
constexpr auto kUntilGap = flag("until-gap",
                                "recover everything before the first missing WAL, including a "
                                "partial segment before it, and then end the recovery");
constexpr auto kUpToDamage =
    flag("up-to-damage",
         "of a segment that is corrupted in every copy, restore the WAL before the corruption: "
         "recovery ends there, or at a target before it");
constexpr auto kOnGap = option_of<choice_value<kGapIsAbsence>>(
    "on-gap", "WHAT",
    "if a segment is missing and later ones exist: stop the recovery (default); absent, for a "
    "standby that can stream it");
constexpr auto kAllowEmpty = flag("allow-empty", "an archive without WAL is not an error");
constexpr auto kRestoreRetryFor =
    option_of<time_value<>>("retry-for", "TIME",
                            "how long to retry temporary errors, such as those of a network file "
                            "system, and to wait for one of several archives (default: 10s)");
constexpr auto kPrefetch = option_of<count_value<0, 64>>(
    "prefetch", "N",
    "let a helper process fetch and verify the next N segments during the replay of this one "
    "(default: 4, from a store 8; 0: no helper)");
constexpr auto kRestoreDirectories = repeated(kDirectory);
constexpr auto kFirstValid = flag(
    "first-valid",
    "with several archives, restore the first valid copy without comparing it with the others");
constexpr auto kWithoutSilent =
    flag("without-silent",
         "with several archives, ignore those that do not answer, even to determine that a file is "
         "absent: WAL that only they have is lost");
constexpr auto kNoVerify = flag("no-verify", "check only sizes and compression frames");
constexpr auto kRestoreVerbose =
    flag('v', "verbose", "report why a file is absent, or that it was prefetched");
constexpr Relation kNotFindLsn{.others = {{"find-lsn"}}};
constexpr auto kFindTime =
    option_of<moment_value>("find-time", "TIME",
                            "list the commits around a time such as '2026-11-20 03:14:15+00'; "
                            "without a time zone, local time",
                            {.excludes = &kNotFindLsn});
constexpr auto kFindLsn =
    option_of<lsn_value>("find-lsn", "LSN", "list the commits around a position");
constexpr auto kRestoreJson = flag("json", "JSON output");

constexpr Relation kNotUntilGap{.others = {{kUntilGap}}};
/// Options for finding a recovery target; a file may have those of restore_command next to them.
constexpr Relation kFinding{.others = {{kFindLsn}, {kFindTime}}, .command_line = true};
constexpr Option kRestoreOptions[] = {
    kRestoreDirectories.says(
        "archive directory; several form one archive and are searched in this order"),
};
constexpr Option kOfSegments[] = {
    kPartial,
    kPartialDamaged,
    kUntilGap,
    kUpToDamage,
    kOnGap.with({.excludes = &kNotUntilGap}),
    kAllowEmpty,
    kFirstValid,
    kWithoutSilent,
    kPrefetch,
    kNoVerify,
};
constexpr Option kRestoreGeneral[] = {kRestoreRetryFor, kRestoreVerbose, kConfig, kHelp};
constexpr Option kMoment[] = {
    kFindTime,
    kFindLsn,
    kTimeline.with({.needs = &kFinding})
        .says("follow the history of this timeline (default: the newest)"),
    kRestoreJson.with({.needs = &kFinding}),
};
constexpr Option kRestoreProofs[] = {
    kManifestPublicKey
        .says("restore only objects that the manifest proves with this key; can be repeated")
        .of_section("store")};
constexpr OptionGroup kRestoreGroups[] = {
    {"Options:", kRestoreOptions},
    {.options = kOfSegments, .rules = {.excludes = &kFinding}},
    {.options = kRestoreGeneral},
    {kStoreHeading, kStoreItself},
    {"Choose a recovery target (reports the settings for it, and holes):", kMoment},
    {kAccessHeading, kStoreAccessWithSlot, {}, &kOnStore},
    {"Encrypted objects:", kIdentityOptions, {}, &kOnStore},
    {"Proof by the manifest:", kRestoreProofs, {}, &kOnStore},
};

/// To stderr, which is the server's log. It may be closed; that is not an error.
class StderrLog final : public Log {
 public:
  void write(LogLevel level, std::string_view message) override {
    print_stderr("pgweir: {}{}\n", prefix(level), message);
  }
  bool enabled(LogLevel level) const override { return level >= LogLevel::warning; }

 private:
  static std::string_view prefix(LogLevel level) {
    if (level == LogLevel::error) return "error: ";
    return level == LogLevel::warning ? "warning: " : "";
  }
};

Error restore_usage(std::string message) {
  return Error(ErrorKind::usage, std::move(message)).hint("See \"pgweir restore --help\".");
}

/// The same command without the archives that do not answer.
std::string command_without(const Arguments& arguments, const restore::Places& places,
                            std::uint64_t silent) {
  RestoreFrom from;
  for (std::size_t i = 0; i < places.directories.size(); ++i)
    if ((silent >> i & 1) == 0) from.directories.push_back(places.directories[i]);
  if (places.store && (silent >> places.directories.size() & 1) == 0)
    from.store = store_words(arguments);
  std::string flags;
  for (const Option& option :
       {Option(kPartial), Option(kPartialDamaged), Option(kUntilGap), Option(kUpToDamage),
        Option(kAllowEmpty), Option(kFirstValid), Option(kNoVerify)})
    if (arguments.has(option))
      flags += fmt::format("{}--{}", flags.empty() ? "" : " ", option.name);
  return restore_command_for("pgweir", from, flags);
}

/// Reports at the start of a recovery what its end will need: after hours of replay it would be too
/// late.
void tell_silence(const Arguments& arguments, const restore::Places& places,
                  const std::string& file, const restore::Result& result, Log& log) {
  const auto names = places.names();
  std::string silent;
  for (std::size_t i = 0; i < names.size(); ++i)
    if ((result.silent >> i & 1) != 0) silent += (silent.empty() ? "" : ", ") + names[i];
  if (!result.restored) {
    log.warning("{} is reported as absent, although {} does not answer (--without-silent)", file,
                silent);
    return;
  }
  if (!result.first_of_many || arguments.has(kWithoutSilent)) return;
  log.warning(
      "THIS RECOVERY CANNOT END while {} does not answer. At its end, the server requests the "
      "next timeline's history file, whose existence is known only if each archive answers, so "
      "the recovery would stop there (status 200). Make that archive available before, or omit "
      "it now: restore_command = {}",
      silent, quoted_setting(command_without(arguments, places, result.silent)));
}

/// Reports a partial segment in the store that is left out because of the public keys.
void tell_unproved(const restore::Places& places, const std::string& file,
                   std::chrono::milliseconds patience, Log& log) {
  const auto segment = wal::SegmentName::parse(file);
  if (!segment || !places.store || places.store->public_keys.empty()) return;
  try {
    const restore::OpenArchives open(places, patience, log);
    if (!open.stored()->has_unproved(*segment)) return;
    log.warning(
        "{} is in the store as a partial segment, which is not restored: manifests do not list "
        "these, so no key proves it. To restore it, too, omit --manifest-public-key at the end of "
        "the recovery",
        file);
  } catch (const Error& error) {
    // The answer is known: the store had no file of it that the key proves.
    log.warning("whether the store has a partial segment {} is unknown: {}", file, error.what());
  }
}

int restore(const Arguments& arguments, const restore::Places& places) {
  const auto& words = arguments.words();
  if (words.size() != 2)
    throw Error(ErrorKind::usage,
                fmt::format("expected two names, %f and %p, found {}", words.size()))
        .hint("The setting is restore_command = 'pgweir restore -D DIRECTORY %f %p'.");

  restore::Options options;
  options.verify = !arguments.has(kNoVerify);
  options.up_to_damage = arguments.has(kUpToDamage);
  options.partial_damaged = arguments.has(kPartialDamaged) || options.up_to_damage;
  options.up_to_hole = arguments.has(kUntilGap);
  options.partial = arguments.has(kPartial) || options.partial_damaged || options.up_to_hole;
  options.empty_is_absence = arguments.has(kAllowEmpty);
  options.gap_is_absence = arguments.get(kOnGap, false);
  const auto patience = arguments.get(kRestoreRetryFor, kRestorePatience);

  restore::Prefetch prefetch;
  if (places.store) {
    prefetch.at_once = places.store->jobs;
    prefetch.segments = std::max(prefetch.segments, 2 * prefetch.at_once);
  }
  if (const auto segments = arguments.get(kPrefetch)) {
    prefetch.segments = *segments;
    prefetch.without_server = arguments.on_command_line(kPrefetch);
  }

  options.first_sound = arguments.has(kFirstValid);
  options.without_silent = arguments.has(kWithoutSilent);
  options.durable_end = durable_end_of;

  StderrLog log;
  const auto result =
      restore::run_restore_command(places, words[0], words[1], options, prefetch, patience, log);
  if (result.prefetched && arguments.has(kRestoreVerbose))
    print_stderr("pgweir: {} was prefetched and verified\n", words[0]);
  if (result.silent != 0) tell_silence(arguments, places, words[0], result, log);
  if (result.restored) return kDone;
  // At the end of a recovery the server's log is read by the operator. A standby requests files
  // repeatedly, and streams the missing WAL: the message would only be noise there.
  const bool standby = io::type_of("standby.signal") != io::PathType::nothing;
  if (!standby) tell_unproved(places, words[0], patience, log);
  if (!result.unfinished.empty() && !standby)
    print_stderr(
        "pgweir: {} is not complete in the archive, but {} exists and may contain newer WAL, "
        "which a recovery that ends here does not replay\n"
        "hint: With --partial in restore_command it is restored, too.\n",
        words[0], result.unfinished);
  if (arguments.has(kRestoreVerbose))
    print_stderr("pgweir: {} is not in the archive: {}\n", words[0], result.why);
  return kNo;
}

Json json_of(const std::optional<restore::Commit>& commit) {
  if (!commit) return nullptr;
  return {{"time", commit->time.to_string()},
          {"xid", commit->transaction == 0 ? Json(nullptr) : Json(commit->transaction)},
          {"lsn", commit->start.to_string()},
          {"end_lsn", commit->end.to_string()}};
}

std::string text_of(const std::optional<restore::Commit>& commit, std::string_view none) {
  if (!commit) return std::string(none);
  const auto xid =
      commit->transaction == 0 ? std::string("not known") : std::to_string(commit->transaction);
  return fmt::format("{}, xid {}, LSN {}", commit->time.to_string(), xid, commit->start);
}

/// The options that restore_command needs in addition to the directory, for a recovery up to the
/// moment.
std::string options_for(const restore::Moment& moment) {
  return moment.needs_up_to_hole ? "--until-gap" : moment.needs_partial ? "--partial" : "";
}

std::string moment_json(const restore::Moment& moment, const std::vector<archive::Loss>& lost,
                        const std::vector<archive::Loss>& minimal,
                        const std::optional<restore::PgTime>& asked) {
  Json hole = nullptr;
  if (moment.hole)
    hole = {{"from", moment.hole->begin.to_string()},
            {"to", moment.hole->end.to_string()},
            {"timeline", moment.hole->next_timeline},
            {"asked_for", moment.in_hole}};
  auto options = Json::array();
  if (const auto option = options_for(moment); !option.empty()) options.push_back(option);
  auto branches = Json::array();
  for (const auto& loss : lost)
    branches.push_back({{"timeline", loss.timeline},
                        {"from", loss.begin.to_string()},
                        {"to", loss.end.to_string()}});
  auto passed_by_none = Json::array();
  for (const auto& loss : minimal)
    passed_by_none.push_back({{"timeline", loss.timeline},
                              {"from", loss.begin.to_string()},
                              {"to", loss.end.to_string()},
                              {"goes_on", loss.goes_on}});
  const Json json = {
      {"timeline", moment.timeline},
      {"segment", moment.segment},
      {"before", json_of(moment.before)},
      {"after", json_of(moment.after)},
      {"hole", hole},
      {"backup_from", moment.backup_from ? Json(moment.backup_from->to_string()) : Json(nullptr)},
      {"recovery_target_timeline", moment.target_timeline},
      {"restore_options", options},
      {"lost_branches", branches},
      {"minimal_wal", passed_by_none},
      {"asked_for", asked ? Json(asked->to_string()) : Json(nullptr)}};
  return json.dump(2) + "\n";
}

std::string moment_text(const restore::Moment& moment, const std::vector<archive::Loss>& lost,
                        const std::vector<archive::Loss>& minimal, const RestoreFrom& from,
                        const std::optional<restore::PgTime>& asked) {
  const auto& hole = moment.hole;
  auto text = asked ? fmt::format("asked for    {}\n", asked->to_string()) : std::string();
  text += fmt::format(
      "timeline     {}\n"
      "segment      {}\n"
      "last before  {}\n"
      "next         {}\n",
      moment.timeline, moment.segment,
      text_of(moment.before, "none: the archive's first commit is later"),
      text_of(moment.after, hole ? "not known: a hole follows" : "none: the archive ends"));
  if (hole)
    text += fmt::format(
        "hole         {} to {} (timeline {}){}: this WAL is not in the archive. No recovery can "
        "pass it,\n"
        "             and its commits are unknown\n",
        hole->begin, hole->end, hole->next_timeline,
        moment.in_hole ? ", which contains the position" : "");
  if (moment.backup_from)
    text += fmt::format(
        "base backup  one that began at {} or later: no recovery can pass the hole before it\n",
        *moment.backup_from);
  for (const auto& loss : lost)
    text += fmt::format(
        "lost branch  {} to {} of timeline {} is not in this history: a failover abandoned it. "
        "The archive\n"
        "             has it: --timeline {} finds its commits\n",
        loss.begin, loss.end, loss.timeline, loss.timeline);
  for (const auto& loss : minimal)
    text += fmt::format(
        "minimal WAL  {} {} (timeline {}): written with wal_level=minimal, no recovery can pass "
        "it; a later\n"
        "             target needs a base backup that began {}\n",
        loss.begin, loss.goes_on ? "on" : fmt::format("to {}", loss.end), loss.timeline,
        loss.goes_on ? "after wal_level was raised again"
                     : fmt::format("at {} or later", loss.end));
  if (moment.before)
    text += fmt::format(
        "\nTo recover up to and with the last one before:\n"
        "  {}\n"
        "  recovery_target_lsn = '{}'\n"
        "  recovery_target_timeline = '{}'\n",
        fmt::format("restore_command = {}",
                    quoted_setting(restore_command_for("pgweir", from, options_for(moment)))),
        moment.before->start, moment.target_timeline);
  if (hole && moment.needs_up_to_hole)
    text +=
        "\n"
        "To recover everything before the hole, omit recovery_target_lsn.\n";
  return text;
}

int find(const Arguments& arguments, const restore::Places& places) {
  if (!arguments.words().empty())
    throw restore_usage(fmt::format("unexpected argument \"{}\"", arguments.words().front()));
  const auto timeline = arguments.get(kTimeline);

  StderrLog log;
  const restore::OpenArchives open(places, arguments.get(kRestoreRetryFor, kRestorePatience), log);
  const auto archives = open.shelves();
  std::optional<restore::Moment> moment;
  if (const auto lsn = arguments.get(kFindLsn))
    moment = restore::find_lsn(archives, *lsn, timeline, durable_end_of, log);
  else
    moment = restore::find_time(archives, *arguments.get(kFindTime), timeline, durable_end_of, log);
  if (!moment) {
    print_stderr("pgweir: {}\n", arguments.has(kFindLsn)
                                     ? "no segment of the archive contains this position"
                                     : "there is no commit in the archive");
    return kNo;
  }
  const auto lost = restore::lost_branches(archives, *moment, log);
  const auto minimal = restore::minimal_wal(archives, *moment, log);
  if (arguments.has(kRestoreJson))
    print_data(moment_json(*moment, lost, minimal, arguments.get(kFindTime)));
  else
    print(moment_text(*moment, lost, minimal, {places.directories, store_words(arguments)},
                      arguments.get(kFindTime)));
  return kDone;
}

int restore_command(const Arguments& arguments) {
  restore::Places places{.directories = arguments.texts(kRestoreDirectories)};
  if (arguments.has("store")) {
    forbid_core_files();
    places.store = store_options_of(arguments, StoreName::said);
  }
  if (places.count() == 0) throw restore_usage("no archive given: -D DIRECTORY, or --store");
  constexpr std::size_t kMost = 16;
  if (places.count() > kMost)
    throw restore_usage(
        fmt::format("{} archives were given, but at most {} are supported", places.count(), kMost));
  if (arguments.has(kFindLsn) || arguments.has(kFindTime)) return find(arguments, places);
  use_one_arena();  // creating an arena for the second thread takes longer than waiting for the
                    // first
  return restore(arguments, places);
}

/// Any error, including an invalid option: PostgreSQL must not take it for the archive's end.
int restore_failed(const Words&, const std::exception_ptr& failure) {
  static_cast<void>(tell_failure(failure));
  return kStopsRecovery;
}

}  // namespace

constinit const Command kRestoreCommand = {
    .name = "restore",
    .summary = "restore_command: restore a segment for a recovering server",
    .about = R"(pgweir restore restores one file of the archive for a recovering server. The
setting is

  restore_command = 'pgweir restore -D /srv/wal %f %p'

Usage:
  pgweir restore -D DIR... [OPTION]... FILE TARGET
  pgweir restore [-D DIR]... --store s3://BUCKET/PREFIX [OPTION]... FILE TARGET
  pgweir restore -D DIR... --find-time TIME | --find-lsn LSN [--timeline N]

The segment can be raw, .zst, .gz or .lz4. Page headers, the system identifier
and the checksum of every record are verified; TARGET is never incomplete or
invalid. Several archives of one server form one archive: WAL that one of them
lacks, or has corrupted, is taken from another. With --store, WAL that the
directories lack is taken from the object store; an empty directory, or none, is
sufficient.
)",
    .groups = kRestoreGroups,
    .notes = R"(Exit status: 0 restored; 1 definitely not in the archive, which ends a recovery
or lets a standby stream; 200 any other result, which stops the server.
)",
    .most_words = 2,
    .run = restore_command,
    .failed = restore_failed,
};

}  // namespace weir::cli

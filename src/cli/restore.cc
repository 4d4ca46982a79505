#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "base/units.h"
#include "cli/arguments.h"
#include "cli/config_file.h"
#include "cli/exit_status.h"
#include "cli/help.h"
#include "cli/memory.h"
#include "cli/program.h"
#include "io/posix_directory.h"
#include "io/small_file.h"
#include "restore/command.h"
#include "restore/find.h"

// The exit status is the message here: to PostgreSQL 1 to 125 mean "the archive ends, open the
// database". So there are 0, 1 ("surely not in the archive") and 200 for all else, whatever it is.
// 126, 127 and from 129 on to 192 look like the shell's or a signal's. SIGTERM keeps its default
// action, too: the server looks whether its request to stop ended the command.

namespace weir::cli {

namespace {

using namespace std::chrono_literals;

constexpr auto kPatience = 10s;

/// To stderr, which is the server's log. It may go away; that is no reason to fail.
class StderrLog final : public Log {
 public:
  void write(LogLevel level, std::string_view message) override {
    const auto text = fmt::format("pgweir: {}{}\n", prefix(level), message);
    std::fwrite(text.data(), 1, text.size(), stderr);
  }
  bool enabled(LogLevel level) const override { return level >= LogLevel::warning; }

 private:
  static std::string_view prefix(LogLevel level) {
    if (level == LogLevel::error) return "error: ";
    return level == LogLevel::warning ? "warning: " : "";
  }
};

Error usage(std::string message) {
  return Error(ErrorKind::usage, std::move(message)).hint("See \"pgweir restore --help\".");
}

int restore(const Arguments& arguments, const std::string& directory) {
  for (const auto name : {"timeline", "json"})
    if (arguments.on_command_line(name))
      throw usage(fmt::format("--{} goes with --find-lsn or --find-time", name));
  const auto& words = arguments.words();
  if (words.size() != 2)
    throw Error(ErrorKind::usage,
                fmt::format("expected two names, %f and %p, found {}", words.size()))
        .hint("The setting is restore_command = 'pgweir restore -D DIRECTORY %f %p'.");

  restore::Options options;
  options.verify = !arguments.has("no-verify");
  options.partial_damaged = arguments.has("partial-damaged");
  options.partial = arguments.has("partial") || options.partial_damaged;
  options.empty_is_absence = arguments.has("allow-empty");
  if (const auto on_gap = arguments.value("on-gap")) {
    if (*on_gap != "stop" && *on_gap != "absent")
      throw usage(fmt::format("--on-gap is stop or absent, not \"{}\"", *on_gap));
    options.gap_is_absence = *on_gap == "absent";
  }
  std::chrono::milliseconds patience = kPatience;
  if (const auto text = arguments.value("retry-for")) {
    const auto parsed = parse_duration(*text);
    if (!parsed) throw usage(fmt::format("--retry-for is a time such as 10s, not \"{}\"", *text));
    patience = *parsed;
  }

  restore::Prefetch prefetch;
  if (const auto text = arguments.value("prefetch")) {
    const auto parsed = parse_prefetch(*text);
    if (!parsed)
      throw usage(
          fmt::format("--prefetch is a number of segments from 0 to 64, not \"{}\"", *text));
    prefetch.segments = *parsed;
    prefetch.without_server = arguments.on_command_line("prefetch");
  }

  StderrLog log;
  const auto result =
      restore::run_restore_command(directory, words[0], words[1], options, prefetch, patience, log);
  if (result.prefetched && arguments.has("verbose"))
    fmt::print(stderr, "pgweir: {} was fetched and checked before it was asked for\n", words[0]);
  if (result.restored) return kDone;
  // Where a recovery ends the server's log is what is read. A standby asks again and again, and
  // streams what is missing: there it would only be noise.
  if (!result.unfinished.empty() && io::type_of("standby.signal") == io::PathType::nothing)
    fmt::print(stderr,
               "pgweir: {} is not finished in the archive, but {} is there and may hold newer WAL: "
               "a recovery that ends here goes without it\n"
               "hint: With --partial in restore_command it is restored, too.\n",
               words[0], result.unfinished);
  if (arguments.has("verbose"))
    fmt::print(stderr, "pgweir: {} is not in the archive: {}\n", words[0], result.why);
  return kNo;
}

nlohmann::ordered_json json_of(const std::optional<restore::Commit>& commit) {
  if (!commit) return nullptr;
  return {{"time", commit->time.to_string()},
          {"xid", commit->transaction == 0 ? nlohmann::ordered_json(nullptr)
                                           : nlohmann::ordered_json(commit->transaction)},
          {"lsn", commit->start.to_string()},
          {"end_lsn", commit->end.to_string()}};
}

std::string text_of(const std::optional<restore::Commit>& commit, std::string_view none) {
  if (!commit) return std::string(none);
  const auto xid =
      commit->transaction == 0 ? std::string("not known") : std::to_string(commit->transaction);
  return fmt::format("{}, xid {}, LSN {}", commit->time.to_string(), xid, commit->start);
}

int find(const Arguments& arguments, const std::string& directory) {
  for (const auto name : {"no-verify", "partial", "partial-damaged", "on-gap", "allow-empty",
                          "retry-for", "prefetch"})
    if (arguments.on_command_line(name))
      throw usage(fmt::format("--{} does not go with --find-lsn or --find-time", name));
  if (arguments.has("find-lsn") && arguments.has("find-time"))
    throw usage("--find-lsn and --find-time are two questions: ask one at a time");
  if (!arguments.words().empty())
    throw usage(fmt::format("unexpected argument \"{}\"", arguments.words().front()));
  std::optional<wal::TimelineId> timeline;
  if (const auto text = arguments.value("timeline")) {
    wal::TimelineId number = 0;
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), number);
    if (error != std::errc() || end != text->data() + text->size() || number == 0)
      throw usage(fmt::format("--timeline is a number from 1 on, not \"{}\"", *text));
    timeline = number;
  }

  const auto archive = io::open_directory(directory);
  std::optional<restore::Moment> moment;
  if (const auto text = arguments.value("find-lsn")) {
    const auto lsn = wal::Lsn::parse(*text);
    if (!lsn)
      throw usage(fmt::format("--find-lsn is a position such as 0/3000148, not \"{}\"", *text));
    moment = restore::find_lsn(*archive, *lsn, timeline);
  } else {
    const auto time = restore::PgTime::parse(*arguments.value("find-time"));
    if (!time)
      throw usage(fmt::format("--find-time is a time such as '2026-11-20 03:14:15+00', not \"{}\"",
                              *arguments.value("find-time")));
    moment = restore::find_time(*archive, *time, timeline);
  }
  if (!moment) {
    fmt::print(stderr, "pgweir: {}\n",
               arguments.has("find-lsn") ? "no segment of the archive has this position"
                                         : "there is no commit in the archive");
    return kNo;
  }
  if (arguments.has("json")) {
    const nlohmann::ordered_json json = {{"timeline", moment->timeline},
                                         {"segment", moment->segment},
                                         {"before", json_of(moment->before)},
                                         {"after", json_of(moment->after)}};
    print(json.dump(2) + "\n");
    return kDone;
  }
  auto text = fmt::format(
      "timeline     {}\n"
      "segment      {}\n"
      "last before  {}\n"
      "next         {}\n",
      moment->timeline, moment->segment,
      text_of(moment->before, "none: the archive's first commit is later"),
      text_of(moment->after, "none: the archive ends"));
  if (moment->before)
    text += fmt::format(
        "\nTo recover up to and with the last one before:\n"
        "  recovery_target_lsn = '{}'\n"
        "  recovery_target_timeline = '{}'\n",
        moment->before->start, moment->timeline);
  print(text);
  return kDone;
}

int run_restore(const Words& words) {
  auto arguments = Arguments::parse(restore_option_list(), words, 2);
  if (arguments.has("help")) {
    print(restore_help());
    return kDone;
  }
  add_config(arguments, "restore");
  const auto directory = arguments.value("directory");
  if (!directory) throw usage("no archive given: -D DIRECTORY");
  if (arguments.has("find-lsn") || arguments.has("find-time")) return find(arguments, *directory);
  use_one_arena();  // to make one for the second thread takes longer than to wait for the first
  return restore(arguments, *directory);
}

}  // namespace

std::optional<std::size_t> parse_prefetch(std::string_view text) {
  constexpr std::size_t kMost = 64;
  std::size_t segments = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), segments);
  if (error != std::errc() || end != text.data() + text.size() || segments > kMost)
    return std::nullopt;
  return segments;
}

std::vector<Option> restore_option_list() {
  return {
      {"directory", 'D'},
      {"no-verify", '\0', false},
      {"partial", '\0', false},
      {"partial-damaged", '\0', false},
      {"on-gap"},
      {"allow-empty", '\0', false},
      {"retry-for"},
      {"prefetch"},
      {"find-lsn"},
      {"find-time"},
      {"timeline"},
      {"json", '\0', false},
      {"verbose", 'v', false},
      {"config", 'c', true, false},
      {"help", '?', false, false},
  };
}

int restore_command(const Words& words) {
  try {
    return run_restore(words);
  } catch (const Error& error) {
    print_error(error);
  } catch (const std::exception& error) {
    fmt::print(stderr, "pgweir: unexpected failure: {}\n", error.what());
  } catch (...) {
    std::fputs("pgweir: unexpected failure\n", stderr);
  }
  return kStopsRecovery;
}

}  // namespace weir::cli

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>

#include "archive/listing.h"
#include "archive/losses.h"
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
#include "receive/status_socket.h"
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

/// What the receiver that streams into the archive says, if there is one.
std::optional<restore::DurableEnd> durable_end_of(const std::string& directory) {
  try {
    const auto answer = receive::StatusSocket::ask(directory);
    if (!answer) return std::nullopt;
    const auto json = nlohmann::json::parse(*answer, nullptr, false);
    if (!json.is_object() || !json.contains("flush_lsn") || !json.contains("timeline"))
      return std::nullopt;
    const auto& flush = json["flush_lsn"];
    const auto& timeline = json["timeline"];
    if (!flush.is_string() || !timeline.is_number_unsigned()) return std::nullopt;
    const auto lsn = wal::Lsn::parse(flush.get<std::string>());
    if (!lsn) return std::nullopt;
    return restore::DurableEnd{timeline.get<wal::TimelineId>(), *lsn};
  } catch (const Error&) {
    return std::nullopt;  // who cannot be asked is not waited for: the file itself is looked at
  }
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
  options.up_to_hole = arguments.has("up-to-hole");
  options.partial = arguments.has("partial") || options.partial_damaged || options.up_to_hole;
  options.empty_is_absence = arguments.has("allow-empty");
  if (const auto on_gap = arguments.value("on-gap")) {
    if (*on_gap != "stop" && *on_gap != "absent")
      throw usage(fmt::format("--on-gap is stop or absent, not \"{}\"", *on_gap));
    options.gap_is_absence = *on_gap == "absent";
    if (options.up_to_hole)
      throw usage("--up-to-hole and --on-gap are two ways to meet a hole: give one of them");
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

  options.durable_end = [&] { return durable_end_of(directory); };

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

/// What restore_command has to say besides the directory, for a recovery up to the moment.
std::string options_for(const restore::Moment& moment) {
  return moment.needs_up_to_hole ? "--up-to-hole" : moment.needs_partial ? "--partial" : "";
}

/// WAL that the archive has on branches which this way has left behind: a failover lost it.
std::vector<archive::Loss> lost_branches(io::Directory& directory, const restore::Moment& moment) {
  auto losses = archive::read_losses(directory, archive::list_archive_names(directory));
  std::erase_if(losses, [&](const archive::Loss& loss) {
    return loss.kind != archive::Loss::Kind::lost_branch || loss.timeline >= moment.timeline;
  });
  return losses;
}

std::string moment_json(const restore::Moment& moment, const std::vector<archive::Loss>& lost) {
  using Json = nlohmann::ordered_json;
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
  const Json json = {
      {"timeline", moment.timeline},
      {"segment", moment.segment},
      {"before", json_of(moment.before)},
      {"after", json_of(moment.after)},
      {"hole", hole},
      {"backup_from", moment.backup_from ? Json(moment.backup_from->to_string()) : Json(nullptr)},
      {"restore_options", options},
      {"lost_branches", branches}};
  return json.dump(2) + "\n";
}

/// As the server's configuration file wants it, and the shell that runs it.
std::string restore_setting(std::string directory, const std::string& option) {
  if (!directory.starts_with('/')) {
    // The command is run in the server's data directory.
    const std::unique_ptr<char, decltype(&std::free)> here(::getcwd(nullptr, 0), &std::free);
    if (here) directory = std::string(here.get()) + "/" + directory;
  }
  const bool plain = directory.find_first_not_of(
                         "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUV"
                         "WXYZ0123456789_./+=:,@-") == std::string::npos;
  std::string word;
  for (const char c : directory) {
    if (c == '%') word += '%';
    word += c == '\'' ? std::string("'\\''") : std::string(1, c);
  }
  if (!plain) word = "'" + word + "'";
  const auto command =
      fmt::format("pgweir restore -D {}{}{} %f %p", word, option.empty() ? "" : " ", option);
  std::string quoted;
  for (const char c : command)
    quoted += c == '\'' || c == '\\' ? std::string(2, c) : std::string(1, c);
  return fmt::format("restore_command = '{}'", quoted);
}

std::string moment_text(const restore::Moment& moment, const std::vector<archive::Loss>& lost,
                        const std::string& directory) {
  const auto& hole = moment.hole;
  auto text = fmt::format(
      "timeline     {}\n"
      "segment      {}\n"
      "last before  {}\n"
      "next         {}\n",
      moment.timeline, moment.segment,
      text_of(moment.before, "none: the archive's first commit is later"),
      text_of(moment.after, hole ? "not known: a hole follows" : "none: the archive ends"));
  if (hole)
    text += fmt::format(
        "hole         {} to {} (timeline {}){}: this WAL is not in the archive, no recovery gets "
        "over it,\n"
        "             and which commits are in it cannot be known\n",
        hole->begin, hole->end, hole->next_timeline,
        moment.in_hole ? ", where the position lies" : "");
  if (moment.backup_from)
    text += fmt::format(
        "base backup  one that began at {} or later: before it is a hole, which none gets over\n",
        *moment.backup_from);
  for (const auto& loss : lost)
    text += fmt::format(
        "lost branch  {} to {} of timeline {} is not on this way: a failover left it behind, and "
        "the "
        "archive\n             has it. --timeline {} finds what was committed in it\n",
        loss.begin, loss.end, loss.timeline, loss.timeline);
  if (moment.before)
    text += fmt::format(
        "\nTo recover up to and with the last one before:\n"
        "  {}\n"
        "  recovery_target_lsn = '{}'\n"
        "  recovery_target_timeline = '{}'\n",
        restore_setting(directory, options_for(moment)), moment.before->start, moment.timeline);
  if (hole && moment.needs_up_to_hole)
    text += "\nTo recover everything before the hole, leave recovery_target_lsn out.\n";
  return text;
}

int find(const Arguments& arguments, const std::string& directory) {
  for (const auto name : {"no-verify", "partial", "partial-damaged", "up-to-hole", "on-gap",
                          "allow-empty", "retry-for", "prefetch"})
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

  const auto archive = io::open_existing_directory(directory);
  std::optional<restore::Moment> moment;
  const restore::AskReceiver ask = [&] { return durable_end_of(directory); };
  if (const auto text = arguments.value("find-lsn")) {
    const auto lsn = wal::Lsn::parse(*text);
    if (!lsn)
      throw usage(fmt::format("--find-lsn is a position such as 0/3000148, not \"{}\"", *text));
    moment = restore::find_lsn(*archive, *lsn, timeline, ask);
  } else {
    const auto time = restore::PgTime::parse(*arguments.value("find-time"));
    if (!time)
      throw usage(fmt::format("--find-time is a time such as '2026-11-20 03:14:15+00', not \"{}\"",
                              *arguments.value("find-time")));
    moment = restore::find_time(*archive, *time, timeline, ask);
  }
  if (!moment) {
    fmt::print(stderr, "pgweir: {}\n",
               arguments.has("find-lsn") ? "no segment of the archive has this position"
                                         : "there is no commit in the archive");
    return kNo;
  }
  const auto lost = lost_branches(*archive, *moment);
  print(arguments.has("json") ? moment_json(*moment, lost) : moment_text(*moment, lost, directory));
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
      {"up-to-hole", '\0', false},
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

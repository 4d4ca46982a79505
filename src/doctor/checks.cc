#include "doctor/checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/units.h"

namespace weir::doctor {

namespace {

using namespace std::chrono_literals;

constexpr int kNewestKnown = 18;
/// Less than this much time until something is full or lost is told.
constexpr double kSoon = 24 * 3600;
constexpr double kVerySoon = 3600;

class Checks {
 public:
  void ok(std::string name, std::string found) { add(std::move(name), Level::ok, found, {}); }
  void warn(std::string name, std::string found, std::vector<std::string> todo) {
    add(std::move(name), Level::warning, std::move(found), std::move(todo));
  }
  void fail(std::string name, std::string found, std::vector<std::string> todo) {
    add(std::move(name), Level::failure, std::move(found), std::move(todo));
  }
  void unknown(std::string name, std::string found, std::vector<std::string> todo = {}) {
    add(std::move(name), Level::unknown, std::move(found), std::move(todo));
  }
  std::vector<Check> take() { return std::move(checks_); }

 private:
  void add(std::string name, Level level, std::string found, std::vector<std::string> todo) {
    checks_.push_back({std::move(name), level, std::move(found), std::move(todo)});
  }
  std::vector<Check> checks_;
};

std::vector<std::string> lines_of(const Trouble& trouble) {
  return trouble.hint.empty() ? std::vector<std::string>{} : std::vector<std::string>{trouble.hint};
}

std::string identifier(const std::string& name) {
  const bool plain =
      !name.empty() &&
      name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") == std::string::npos &&
      (name[0] < '0' || name[0] > '9');
  return plain ? name : "\"" + name + "\"";
}

std::string user_of(const ServerFacts& server) {
  return server.user.empty() ? "archiver" : server.user;
}

std::string rate_text(double rate) { return format_size(static_cast<std::uint64_t>(rate)) + "/s"; }

std::string time_text(double seconds) {
  constexpr double kMost = 3650.0 * 86400;
  return format_duration(
      std::chrono::milliseconds(static_cast<std::int64_t>(std::min(seconds, kMost) * 1000)));
}

/// What the server writes, by the larger of two looks: a quiet moment says little.
std::optional<double> rate_of(const ServerFacts& server) {
  if (!server.wal_rate) return server.wal_rate_average;
  return std::max(*server.wal_rate, server.wal_rate_average.value_or(0));
}

std::string alter(std::string_view setting, std::string_view value) {
  return fmt::format("ALTER SYSTEM SET {} = {}; SELECT pg_reload_conf();", setting, value);
}
std::string alter_and_restart(std::string_view setting, std::string_view value) {
  return fmt::format("ALTER SYSTEM SET {} = {};  -- and restart the server", setting, value);
}

// --- The server

void check_connections(Checks& checks, const ServerFacts& server) {
  const auto user = identifier(user_of(server));
  if (const auto& trouble = server.replication_trouble)
    checks.fail("replication_connection", "a replication connection fails: " + trouble->text, [&] {
      auto todo = lines_of(*trouble);
      todo.push_back(fmt::format("ALTER ROLE {} LOGIN REPLICATION;", user));
      todo.push_back(
          fmt::format("in pg_hba.conf:  host replication {} THIS-MACHINE/32 scram-sha-256", user));
      return todo;
    }());
  else
    checks.ok("replication_connection",
              fmt::format("a replication connection to {} works", server.server));
  if (const auto& trouble = server.plain_trouble)
    checks.warn("ordinary_connection",
                "an ordinary connection fails, so slots, rate and clock are not looked at and the "
                "slot cannot be watched: " +
                    trouble->text,
                [&] {
                  auto todo = lines_of(*trouble);
                  if (server.replication_trouble) return todo;
                  todo.push_back(fmt::format(
                      "in pg_hba.conf:  host postgres {} THIS-MACHINE/32 scram-sha-256", user));
                  return todo;
                }());
  else
    checks.ok("ordinary_connection", "an ordinary connection works: the slot can be watched");
  if (server.superuser == true)
    checks.warn("role", fmt::format("the role {} is a superuser, more than archiving needs", user),
                {"CREATE ROLE archiver LOGIN REPLICATION PASSWORD '...';",
                 fmt::format("or: ALTER ROLE {} NOSUPERUSER REPLICATION;", user)});
  else if (server.superuser && !server.replication_trouble)
    checks.ok("role", fmt::format("the role {} may replicate and is no superuser", user));
}

void check_version(Checks& checks, const ServerFacts& server) {
  if (server.version == 0) return;
  const int major = server.version / 10000;
  if (major > kNewestKnown)
    checks.warn(
        "server_version",
        fmt::format("PostgreSQL {} is newer than this pgweir knows: its WAL is archived and "
                    "not checked",
                    major),
        {"use a newer pgweir"});
  else
    checks.ok("server_version",
              fmt::format("PostgreSQL {}{}", major, server.standby == true ? ", a standby" : ""));
}

void check_wal_level(Checks& checks, const ServerFacts& server) {
  const auto level = server.setting("wal_level");
  if (!level) return;
  if (*level == "minimal")
    checks.fail("wal_level", "wal_level is minimal: the WAL does not hold what a recovery needs",
                {alter_and_restart("wal_level", "'replica'")});
  else
    checks.ok("wal_level", "wal_level is " + *level);
  for (const auto* name : {"fsync", "full_page_writes"})
    if (server.setting(name) == "off")
      checks.warn(name,
                  fmt::format("{} is off: after a crash the server may be damaged, and the "
                              "archive with it",
                              name),
                  {alter(name, "on")});
}

void check_senders(Checks& checks, const ServerFacts& server) {
  const auto most = server.number("max_wal_senders");
  if (!most) return;
  if (*most == 0) {
    checks.fail("max_wal_senders", "max_wal_senders is 0: nobody can stream",
                {alter_and_restart("max_wal_senders", "10")});
    return;
  }
  if (!server.senders) return;
  const int free = *most - *server.senders;
  const auto found = fmt::format("{} of {} walsenders are in use", *server.senders, *most);
  const auto more = alter_and_restart("max_wal_senders", fmt::format("{}", *most + 10));
  const bool ours = server.slot && server.slot->view.active;
  if (free <= 0 && !ours)
    checks.fail("max_wal_senders", found + ": none is left for a receiver", {more});
  else if (free <= 1)
    checks.warn("max_wal_senders",
                found + ": a connection that is half dead, or a base backup, takes the last one",
                {more});
  else
    checks.ok("max_wal_senders", found);
}

void check_slot_state(Checks& checks, const ServerFacts& server, const Plan& plan) {
  const auto& name = *plan.slot;
  const auto& view = server.slot->view;
  const auto anew = std::vector<std::string>{
      fmt::format("pgweir slot drop -S {} ... && pgweir slot create -S {} ...", name, name),
      "then check the archive for a gap: pgweir status, pgweir verify"};
  if (!view.exists) {
    const auto most = server.number("max_replication_slots");
    if (most && server.slots && *server.slots >= *most)
      checks.fail(
          "slot",
          fmt::format("slot \"{}\" does not exist and all {} slots are in use", name, *most),
          {alter_and_restart("max_replication_slots", fmt::format("{}", *most + 5)),
           "or drop one that nobody uses: pgweir slot list"});
    else
      checks.warn("slot", fmt::format("slot \"{}\" does not exist yet", name),
                  {fmt::format("pgweir slot create -S {} ...", name),
                   "or start the receiver with --create-slot --if-not-exists"});
    return;
  }
  if (!server.slot->type.empty() && server.slot->type != "physical")
    checks.fail("slot",
                fmt::format("slot \"{}\" is a {} one: WAL is archived through a physical slot",
                            name, server.slot->type),
                {"choose another name"});
  else if (view.wal_status == "lost" || view.invalidation_reason)
    checks.fail("slot",
                fmt::format("slot \"{}\" was invalidated ({}): the server keeps no WAL for it",
                            name, view.invalidation_reason.value_or("wal_status is lost")),
                anew);
  else if (view.wal_status == "unreserved")
    checks.fail(
        "slot",
        fmt::format("slot \"{}\" holds back more than max_slot_wal_keep_size allows: the "
                    "next checkpoint may remove WAL that is not archived yet",
                    name),
        {"start the receiver now, or raise the limit:", alter("max_slot_wal_keep_size", "'...'")});
  else if (!server.slot->restart_lsn)
    checks.fail("slot", fmt::format("slot \"{}\" reserves no WAL", name), anew);
  else if (server.slot->temporary)
    checks.fail("slot", fmt::format("slot \"{}\" is temporary: it goes with its connection", name),
                {"choose another name"});
  else
    checks.ok("slot",
              fmt::format("slot \"{}\" keeps WAL from {} on{}{}", name, *server.slot->restart_lsn,
                          view.retained && *view.retained > 0
                              ? fmt::format(" ({})",
                                            format_size(static_cast<std::uint64_t>(*view.retained)))
                              : "",
                          server.plain_trouble ? ""
                          : view.active        ? ", a receiver is connected"
                                               : ", no receiver is connected"));
}

void check_limits(Checks& checks, const ServerFacts& server, const Plan& plan) {
  const auto rate = rate_of(server);
  if (plan.slot) {
    const auto limit = server.setting("max_slot_wal_keep_size");
    if (limit == "-1") {
      checks.warn("max_slot_wal_keep_size",
                  "max_slot_wal_keep_size is -1: while no receiver runs, the slot keeps WAL until "
                  "the server's disk is full",
                  {"choose which to lose, the archive's continuity or the server: " +
                   alter("max_slot_wal_keep_size", "'100GB'")});
    } else if (const auto bytes = server.size("max_slot_wal_keep_size")) {
      const auto safe = server.slot && server.slot->view.safe_wal_size
                            ? static_cast<double>(*server.slot->view.safe_wal_size)
                            : static_cast<double>(*bytes);
      const bool known = rate && *rate > 0;
      const auto found =
          fmt::format("max_slot_wal_keep_size is {}{}", *limit,
                      known ? fmt::format(": at {} the slot is lost {} after the receiver stopped",
                                          rate_text(*rate), time_text(std::max(safe, 0.0) / *rate))
                            : std::string());
      if (known && safe / *rate < kSoon)
        checks.warn("max_slot_wal_keep_size", found,
                    {alter("max_slot_wal_keep_size",
                           fmt::format("'{}GB'", static_cast<std::uint64_t>(std::ceil(
                                                     *rate * kSoon * 2 / 1073741824.0)))) +
                     "  -- two days"});
      else
        checks.ok("max_slot_wal_keep_size", found);
    }
    if (const auto idle = server.time("idle_replication_slot_timeout")) {
      if (*idle > 0ms)
        checks.warn("idle_replication_slot_timeout",
                    fmt::format("a receiver that is away for longer than {} loses its slot",
                                format_duration(*idle)),
                    {alter("idle_replication_slot_timeout", "0")});
      else
        checks.ok("idle_replication_slot_timeout", "an idle slot is kept");
    }
    return;
  }
  const auto keep = server.size("wal_keep_size").value_or(0);
  const auto found = fmt::format(
      "no slot (-S): the server keeps only {} of WAL (wal_keep_size) and what checkpoints leave{}",
      keep == 0 ? "0" : format_size(keep),
      keep > 0 && rate && *rate > 0 ? fmt::format("; at {} that is {}", rate_text(*rate),
                                                  time_text(static_cast<double>(keep) / *rate))
                                    : "");
  checks.warn("slot", found,
              {"use a slot: pgweir receive -S NAME --create-slot --if-not-exists ...",
               "or, if a gap after an outage can be borne: " + alter("wal_keep_size", "'10GB'")});
}

void check_synchronous(Checks& checks, const ServerFacts& server, const Plan& plan) {
  const auto setting = server.setting("synchronous_standby_names");
  if (!setting) return;
  const auto names = synchronous_names(*setting);
  auto own = plan.application_name;
  std::transform(own.begin(), own.end(), own.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const bool named = std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return name == "*" || name == own;
  });
  const auto commit = server.setting("synchronous_commit").value_or("on");
  const std::string kName = "synchronous_standby_names";
  if (names.empty()) {
    checks.ok(kName, "commits wait for nobody: the archive is a little behind the server");
  } else if (server.standby == true) {
    checks.ok(kName,
              "of no effect on a standby: only the primary's own receivers can be waited for");
  } else if (!named) {
    checks.ok(kName, fmt::format("commits wait for others, not for \"{}\"", plan.application_name));
  } else if (commit == "off" || commit == "local") {
    checks.warn(kName,
                fmt::format("\"{}\" is named, but synchronous_commit is {}: commits do not wait",
                            plan.application_name, commit),
                {alter("synchronous_commit", "on")});
  } else if (names.size() == 1 && names.front() != "*") {
    checks.warn(kName,
                fmt::format("\"{}\" alone is named: while no receiver runs, every commit hangs",
                            plan.application_name),
                {alter(kName, fmt::format("'ANY 1 ({}, ANOTHER)'", plan.application_name))});
  } else {
    checks.ok(kName, fmt::format("\"{}\" is named: commits can wait for the archive",
                                 plan.application_name));
  }
}

void check_sender_timeout(Checks& checks, const ServerFacts& server, const Plan& plan) {
  const auto timeout = server.time("wal_sender_timeout");
  if (!timeout) return;
  const std::string kName = "wal_sender_timeout";
  if (*timeout == 0ms)
    checks.warn(kName,
                "wal_sender_timeout is 0: a connection that is half dead holds the slot until TCP "
                "gives it up",
                {alter(kName, "'60s'")});
  else if (*timeout < 5s)
    checks.warn(
        kName,
        fmt::format("wal_sender_timeout is {}: a short pause of the network ends the stream",
                    format_duration(*timeout)),
        {alter(kName, "'60s'")});
  else if (plan.status_interval * 2 > *timeout)
    checks.ok(kName,
              fmt::format("wal_sender_timeout is {}: positions are reported every {}, more often "
                          "than --status-interval says",
                          format_duration(*timeout), format_duration(*timeout / 3)));
  else
    checks.ok(kName, fmt::format("wal_sender_timeout is {}, positions are reported every {}",
                                 format_duration(*timeout), format_duration(plan.status_interval)));
}

void check_archive_mode(Checks& checks, const ServerFacts& server) {
  const auto mode = server.setting("archive_mode");
  if (!mode) return;
  const auto command = server.setting("archive_command");
  const auto library = server.setting("archive_library");
  if (*mode == "off") {
    checks.ok("archive_mode", "no archive_command beside the receiver");
  } else if (command && (command->empty() || *command == "(disabled)") &&
             library.value_or("").empty()) {
    checks.warn(
        "archive_mode", "archive_mode is on without an archive_command: WAL piles up on the server",
        {alter_and_restart("archive_mode", "off") + ", or", alter("archive_command", "'...'")});
  } else if (server.archiver && server.archiver->failing) {
    checks.warn("archive_mode",
                fmt::format("the server's own archiver fails ({} times, the last time on {}): WAL "
                            "piles up on the server",
                            server.archiver->failed, server.archiver->last_failed),
                {"look into the server's log for archive_command's error"});
  } else {
    checks.ok("archive_mode",
              "the server archives by itself as well: give it another directory than this one");
  }
}

void check_standby(Checks& checks, const ServerFacts& server) {
  if (server.standby != true) return;
  if (server.standby_receives == false)
    checks.warn("standby",
                "this standby has received nothing by streaming: it replays an archive, and has no "
                "WAL newer than that to send",
                {"set primary_conninfo on the standby, or archive from its upstream"});
  else
    checks.ok("standby",
              "the archive holds what the standby has received; a promotion is followed, a slot is "
              "not carried to another server");
}

void check_clock(Checks& checks, const ServerFacts& server) {
  if (!server.clock_ahead) return;
  const auto difference = std::chrono::abs(*server.clock_ahead);
  if (difference > 1s + server.clock_error)
    checks.warn(
        "clock",
        fmt::format("the server's clock is {} {} of this machine's: times in messages do "
                    "not fit, certificates may seem invalid",
                    format_duration(difference), *server.clock_ahead > 0ms ? "ahead" : "behind"),
        {"run chrony or systemd-timesyncd on both machines"});
  else
    checks.ok("clock", fmt::format("the clocks agree within {}",
                                   format_duration(std::max<std::chrono::milliseconds>(
                                       difference + server.clock_error, 1ms))));
}

// --- The archive

void check_place(Checks& checks, const ArchiveFacts& archive) {
  const auto& place = archive.place;
  const auto kind = fmt::format("the archive is on {}", place.file_system);
  if (place.in_memory)
    checks.fail("file_system", kind + ": it is gone when the machine stops",
                {"use a directory on a disk"});
  else if (place.over_network)
    checks.warn("file_system",
                kind +
                    ": a sync is as good as the server's promise, and the lock against a second "
                    "receiver may not reach other machines",
                {"with NFS: mount with hard, and export with sync; better a local disk"});
  else if (place.user_space)
    checks.warn("file_system", kind + ": what a sync means is up to that program",
                {"use a local file system"});
  else
    checks.ok("file_system", kind);

  constexpr unsigned kGroupWrites = 020;
  constexpr unsigned kOthers = 07;
  if (place.read_only)
    checks.fail("permissions", "the file system is mounted read-only", {"mount it read-write"});
  else if (!place.writable)
    checks.fail(
        "permissions",
        fmt::format("this user may not write here (owner {}, mode {:04o})", place.owner_name,
                    place.mode),
        {fmt::format("run pgweir as {}, or: chown ... {}", place.owner_name, archive.path)});
  else if ((place.mode & (kGroupWrites | kOthers)) != 0)
    checks.warn("permissions",
                fmt::format("others have access (mode {:04o}): WAL holds the data of every table",
                            place.mode),
                {fmt::format("chmod 700 {}", archive.path)});
  else if (!place.ours)
    checks.warn(
        "permissions",
        fmt::format("the directory belongs to {}, not to the user of this check", place.owner_name),
        {fmt::format("run pgweir as {}, so that its files have one owner", place.owner_name)});
  else
    checks.ok("permissions", fmt::format("owner {}, mode {:04o}", place.owner_name, place.mode));
}

void check_syncs(Checks& checks, const ArchiveFacts& archive) {
  if (const auto& trouble = archive.write_trouble) {
    checks.fail("sync", "a test file could not be written: " + trouble->text, lines_of(*trouble));
    return;
  }
  if (!archive.syncs) return;
  const auto text = [](std::chrono::microseconds time) {
    return fmt::format("{:.2f} ms", static_cast<double>(time.count()) / 1000);
  };
  const auto found =
      fmt::format("a sync of 8 kB takes {} (median of {}), the longest {}",
                  text(archive.syncs->median), archive.syncs->count, text(archive.syncs->longest));
  constexpr auto kSlow = 20ms;
  constexpr auto kStall = 1000ms;
  constexpr auto kNothing = 5us;
  if (archive.syncs->median > kSlow || archive.syncs->longest > kStall)
    checks.warn(
        "sync", found + ": commits that wait for the archive take as long",
        {"a faster disk, or one that others use less; or --flush 200ms if no commit waits"});
  else if (archive.syncs->median < kNothing)
    checks.warn("sync", found + ": too quick to be true, nothing may reach a disk",
                {"use a disk that honours flushes (not eatmydata, not a cache=unsafe disk)"});
  else
    checks.ok("sync", found);
}

void check_content(Checks& checks, const ArchiveFacts& archive) {
  if (archive.in_use)
    checks.ok("lock", "a receiver is at work here: pgweir status tells how it is doing");
  else
    checks.ok("lock", "no receiver is at work here");
  if (const auto& trouble = archive.content_trouble)
    checks.fail("content", "the archive's end cannot be read: " + trouble->text,
                lines_of(*trouble));
}

}  // namespace

std::string_view to_string(Level level) {
  switch (level) {
    case Level::ok:
      return "ok";
    case Level::warning:
      return "warning";
    case Level::failure:
      return "failure";
    case Level::unknown:
      return "unknown";
  }
  return "";
}

std::vector<Check> judge_server(const ServerFacts& server, const Plan& plan) {
  Checks checks;
  check_connections(checks, server);
  if (server.replication_trouble && server.plain_trouble) return checks.take();
  check_version(checks, server);
  check_wal_level(checks, server);
  check_senders(checks, server);
  if (plan.slot && server.slot) check_slot_state(checks, server, plan);
  if (plan.slot && !server.slot)
    checks.unknown("slot", fmt::format("slot \"{}\" could not be looked at", *plan.slot),
                   {"let the role make ordinary connections, too (see ordinary_connection)"});
  check_limits(checks, server, plan);
  check_synchronous(checks, server, plan);
  check_sender_timeout(checks, server, plan);
  check_archive_mode(checks, server);
  check_standby(checks, server);
  check_clock(checks, server);
  for (const auto& unseen : server.unseen) checks.unknown("not_seen", unseen);
  return checks.take();
}

std::vector<Check> judge_archive(const ArchiveFacts& archive) {
  Checks checks;
  if (const auto& trouble = archive.trouble) {
    checks.fail("directory", trouble->text, lines_of(*trouble));
    return checks.take();
  }
  check_place(checks, archive);
  check_syncs(checks, archive);
  check_content(checks, archive);
  return checks.take();
}

std::vector<Check> judge_both(const ServerFacts& server, const ArchiveFacts& archive,
                              const Plan& plan) {
  Checks checks;
  if (archive.trouble) return checks.take();
  const auto server_size = server.size("wal_segment_size");
  if (archive.identity && server.system_identifier) {
    if (archive.identity->system_identifier != *server.system_identifier)
      checks.fail("cluster",
                  fmt::format("the archive is of cluster {} ({}), the server is cluster {}",
                              archive.identity->system_identifier, archive.identity->file,
                              *server.system_identifier),
                  {"each cluster needs a directory of its own"});
    else if (server_size && *server_size != archive.identity->segment_size.bytes())
      checks.fail("cluster",
                  fmt::format("the archive's segments have {}, the server's {}",
                              format_size(archive.identity->segment_size.bytes()),
                              format_size(*server_size)),
                  {"use another directory"});
    else
      checks.ok("cluster", "the archive is of this server's cluster");
  } else if (!archive.identity && !archive.content_trouble) {
    checks.ok("cluster", "the archive is empty");
  }

  if (archive.end && plan.slot && server.slot && server.slot->restart_lsn) {
    const auto end = archive.end->start;
    const auto from = *server.slot->restart_lsn;
    const auto size = archive.identity ? archive.identity->segment_size.bytes() : 0;
    if (size != 0 && from.byte() / size > end.byte() / size)
      checks.warn("continuity",
                  fmt::format("the archive ends at {}, the slot keeps WAL only from {} on: the "
                              "server may have removed what is between",
                              end, from),
                  {"start the receiver now: it says whether the WAL is still there"});
    else
      checks.ok("continuity",
                fmt::format("the archive ends at {}, the slot keeps WAL from {} on", end, from));
  }

  const auto free = archive.place.free_bytes;
  const auto rate = rate_of(server);
  auto found =
      fmt::format("{} of {} are free", format_size(free), format_size(archive.place.bytes));
  const std::vector<std::string> todo = {
      "more space, --compress zstd, or pgweir prune in a timer (man pgweir-prune)"};
  constexpr std::uint64_t kLeast = std::uint64_t{64} << 20;
  if (rate && *rate > 0) {
    const double seconds = static_cast<double>(free) / *rate;
    found +=
        fmt::format(": enough for {} at {} (uncompressed)", time_text(seconds), rate_text(*rate));
    if (seconds < kVerySoon || free < kLeast)
      checks.fail("space", found, todo);
    else if (seconds < kSoon)
      checks.warn("space", found, todo);
    else
      checks.ok("space", found);
  } else if (free < kLeast) {
    checks.fail("space", found, todo);
  } else {
    checks.ok("space", found);
  }
  return checks.take();
}

/// The grammar is that of replication/syncrep_scanner.l: names, numbers, quoted names, *.
std::vector<std::string> synchronous_names(std::string_view setting) {
  struct Word {
    std::string text;
    bool quoted = false;
  };
  std::vector<Word> words;
  for (std::size_t at = 0; at < setting.size();) {
    const auto c = static_cast<unsigned char>(setting[at]);
    if (c == '"') {
      Word word{.text = "", .quoted = true};
      for (++at; at < setting.size(); ++at) {
        if (setting[at] == '"' && (at + 1 >= setting.size() || setting[at + 1] != '"')) break;
        if (setting[at] == '"') ++at;
        word.text += setting[at];
      }
      ++at;
      words.push_back(std::move(word));
    } else if (std::isalnum(c) != 0 || c == '_' || c >= 0x80) {
      Word word;
      for (; at < setting.size(); ++at) {
        const auto each = static_cast<unsigned char>(setting[at]);
        if (std::isalnum(each) == 0 && each != '_' && each != '$' && each < 0x80) break;
        word.text += setting[at];
      }
      words.push_back(std::move(word));
    } else {
      if (c == '*' || c == '(') words.push_back({std::string(1, setting[at]), false});
      ++at;
    }
  }
  // "FIRST 2 (a, b)", "ANY 1 (a)", "2 (a, b)": what stands before the bracket is no name.
  const auto bracket = std::find_if(words.begin(), words.end(), [](const Word& word) {
    return !word.quoted && word.text == "(";
  });
  if (bracket != words.end()) words.erase(words.begin(), bracket + 1);
  std::vector<std::string> names;
  for (auto& word : words) {
    std::transform(word.text.begin(), word.text.end(), word.text.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    names.push_back(std::move(word.text));
  }
  return names;
}

std::string to_text(const std::vector<Check>& checks) {
  std::string text;
  std::size_t failures = 0;
  std::size_t warnings = 0;
  for (const auto& check : checks) {
    std::string_view mark = "  ok  ";
    if (check.level == Level::warning) mark = " warn ", ++warnings;
    if (check.level == Level::failure) mark = " FAIL ", ++failures;
    if (check.level == Level::unknown) mark = "   ?  ";
    text += fmt::format("[{}] {}: {}\n", mark, check.name, check.found);
    if (check.level == Level::ok) continue;
    for (const auto& line : check.todo) text += fmt::format("           -> {}\n", line);
  }
  text += failures > 0   ? fmt::format("\n{} failure(s), {} warning(s)\n", failures, warnings)
          : warnings > 0 ? fmt::format("\nno failure, {} warning(s)\n", warnings)
                         : std::string("\nall is well\n");
  return text;
}

std::string to_json(const std::vector<Check>& checks) {
  nlohmann::ordered_json json;
  json["healthy"] = healthy(checks);
  json["checks"] = nlohmann::ordered_json::array();
  for (const auto& check : checks)
    json["checks"].push_back({{"name", check.name},
                              {"level", to_string(check.level)},
                              {"found", check.found},
                              {"todo", check.todo}});
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
}

bool healthy(const std::vector<Check>& checks) {
  return std::none_of(checks.begin(), checks.end(),
                      [](const Check& check) { return check.level == Level::failure; });
}

}  // namespace weir::doctor

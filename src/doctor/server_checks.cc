#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/units.h"
#include "doctor/check_list.h"
#include "doctor/checks.h"
#include "pq/connect_advice.h"
#include "pq/synchronous_names.h"
#include "wal/page.h"
#include "wal/server_version.h"

namespace weir::doctor {

namespace {

using namespace std::chrono_literals;

std::string user_of(const ServerFacts& server) {
  return server.user.empty() ? "archiver" : server.user;
}

std::string alter(std::string_view setting, std::string_view value) {
  return fmt::format("ALTER SYSTEM SET {} = {}; SELECT pg_reload_conf();", setting, value);
}
std::string alter_and_restart(std::string_view setting, std::string_view value) {
  return fmt::format("ALTER SYSTEM SET {} = {};  -- and restart the server", setting, value);
}

void check_connections(Checks& checks, const ServerFacts& server) {
  const auto user = pq::sql_identifier(user_of(server));
  const auto& replication = server.replication_trouble;
  if (replication)
    checks.fail("replication_connection", "a replication connection fails: " + replication->text,
                replication->todo);
  else
    checks.ok("replication_connection",
              fmt::format("a replication connection to {} works", server.server));
  if (const auto& trouble = server.plain_trouble)
    checks.warn("ordinary_connection",
                "an ordinary connection fails, so slots, WAL rate and clock are not checked, and "
                "the slot cannot be monitored: " +
                    trouble->text,
                replication && replication->todo == trouble->todo ? std::vector<std::string>{}
                                                                  : trouble->todo);
  else
    checks.ok("ordinary_connection", "an ordinary connection works: the slot can be monitored");
  if (server.superuser == true)
    checks.warn("role",
                fmt::format("the role {} is a superuser, which archiving does not require", user),
                {"CREATE ROLE archiver LOGIN REPLICATION PASSWORD '...';",
                 fmt::format("or: ALTER ROLE {} NOSUPERUSER REPLICATION;", user)});
  else if (server.superuser && !server.replication_trouble)
    checks.ok("role", fmt::format("the role {} has REPLICATION and is not a superuser", user));
}

void check_certificates(Checks& checks, const ServerFacts& server) {
  const auto& [server_expires, own, now] = server.certificates;
  if (const auto trouble = pq::trouble_with_secrets(own); !trouble.empty())
    checks.warn("client_certificate", trouble,
                {"create the files that sslcert, sslkey and sslrootcert specify, complete, and "
                 "readable by this user only"});
  else if (own.expires)
    check_expiry(checks, "client_certificate", "the client's certificate " + own.certificate,
                 *own.expires, now,
                 {"put a new certificate and its key into the same files: they are read at the "
                  "next connection"});
  if (server_expires)
    check_expiry(checks, "server_certificate", "the certificate of " + server.server,
                 *server_expires, now,
                 {"install a new certificate on the server (ssl_cert_file, ssl_key_file), then run "
                  "pg_reload_conf()"});
}

void check_version(Checks& checks, const ServerFacts& server) {
  if (server.version == 0) return;
  const int major = wal::ServerVersion::of_number(server.version).major();
  if (major > wal::kNewestKnownMajor)
    checks.warn(
        "server_version",
        fmt::format("PostgreSQL {} is newer than this pgweir knows: its WAL is archived, and "
                    "checked only as far as its format is still that of PostgreSQL {}",
                    major, wal::kNewestKnownMajor),
        {"use a newer pgweir"});
  else
    checks.ok("server_version",
              fmt::format("PostgreSQL {}{}", major, server.standby == true ? ", a standby" : ""));
}

void check_wal_level(Checks& checks, const ServerFacts& server) {
  const auto level = server.setting("wal_level");
  if (!level) return;
  if (*level == "minimal")
    checks.fail("wal_level", "wal_level is minimal: the WAL does not contain what a recovery needs",
                {alter_and_restart("wal_level", "'replica'")});
  else
    checks.ok("wal_level", "wal_level is " + *level);
  for (const auto* name : {"fsync", "full_page_writes"})
    if (server.setting(name) == "off")
      checks.warn(
          name,
          fmt::format("{} is off: a crash may corrupt the server's data, and the archive's as well",
                      name),
          {alter(name, "on")});
}

void check_pending_restart(Checks& checks, const ServerFacts& server) {
  if (server.pending_restart.empty()) return;
  const auto& names = server.pending_restart;
  checks.warn(
      "pending_restart",
      fmt::format("the configuration files have new values of {}, which take effect when the "
                  "server is restarted: the current values were checked",
                  fmt::join(names, ", ")),
      {fmt::format("SELECT name, setting, sourcefile FROM pg_file_settings WHERE name IN ('{}');  "
                   "-- as a superuser: the new values (no row: the default)",
                   fmt::join(names, "', '")),
       "restart the server"});
}

void check_senders(Checks& checks, const ServerFacts& server) {
  const auto most = server.number("max_wal_senders");
  if (!most) return;
  if (*most == 0) {
    checks.fail("max_wal_senders", "max_wal_senders is 0: streaming is not possible",
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
  else if (free <= 0)
    checks.warn("max_wal_senders",
                found +
                    ": none is left for a base backup, or for the receiver's next connection "
                    "while the server has not noticed the end of the last one",
                {more});
  else if (free <= 1)
    checks.warn(
        "max_wal_senders",
        found +
            ": a broken connection that was not closed yet, or a base backup, takes the last one",
        {more});
  else
    checks.ok("max_wal_senders", found);
}

/// As pq::setting_of_unseen_invalidation().
std::string_view setting_of_unseen_invalidation(const ServerFacts& server) {
  const auto unseen =
      pq::unseen_invalidation(wal::ServerVersion::of_number(server.version).major());
  const auto value = unseen ? server.setting(unseen->setting) : std::nullopt;
  return value && *value != unseen->off ? unseen->setting : std::string_view();
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
           "or drop an unused one: pgweir slot list"});
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
    checks.fail(
        "slot",
        fmt::format("slot \"{}\" was invalidated ({}): the server keeps no WAL for it. {}", name,
                    view.invalidation_reason.value_or("wal_status is lost"),
                    pq::why_invalidated(view.invalidation_reason,
                                        wal::ServerVersion::of_number(server.version).major())),
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
    checks.fail(
        "slot",
        fmt::format("slot \"{}\" is temporary: it is dropped when its connection ends", name),
        {"choose another name"});
  else if (const auto unseen = setting_of_unseen_invalidation(server);
           server.plain_trouble && !unseen.empty())
    checks.unknown("slot",
                   fmt::format("slot \"{}\" exists, but only an ordinary connection shows whether "
                               "{} has invalidated it",
                               name, unseen),
                   {"allow ordinary connections for the role as well (see ordinary_connection)"});
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
                  {"choose whether to risk a gap in the archive or a full disk on the server: " +
                   alter("max_slot_wal_keep_size", "'100GB'")});
    } else if (const auto bytes = server.size("max_slot_wal_keep_size")) {
      // Whole segments count, and at least wal_keep_size is kept (KeepLogSeg() in xlog.c).
      const auto segment = std::max<std::uint64_t>(1, server.size("wal_segment_size").value_or(1));
      const auto whole = std::max(*bytes, server.size("wal_keep_size").value_or(0)) / segment;
      const auto safe = server.slot && server.slot->view.safe_wal_size
                            ? static_cast<double>(*server.slot->view.safe_wal_size)
                            : static_cast<double>(whole * segment);
      const bool known = rate && *rate > 0;
      const auto found =
          fmt::format("max_slot_wal_keep_size is {}{}", *limit,
                      known ? fmt::format(": at {} the slot is lost {} after the receiver stopped",
                                          rate_text(*rate), time_text(std::max(safe, 0.0) / *rate))
                            : std::string());
      if (whole == 0)
        checks.warn("max_slot_wal_keep_size",
                    fmt::format("max_slot_wal_keep_size is {}, less than a segment ({}): a "
                                "checkpoint invalidates the slot if the archive ends in an earlier "
                                "segment, such as after a short interruption",
                                *limit, format_size(segment)),
                    {alter("max_slot_wal_keep_size", "'100GB'")});
      else if (known && safe / *rate < kSoon)
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
                    fmt::format("a receiver that is disconnected for longer than {} loses its slot",
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
               "or, if a gap after an outage is acceptable: " + alter("wal_keep_size", "'10GB'")});
}

void check_synchronous(Checks& checks, const ServerFacts& server, const Plan& plan) {
  const auto setting = server.setting("synchronous_standby_names");
  if (!setting) return;
  const auto names = pq::synchronous_names(*setting);
  const bool named = pq::names_standby(*setting, plan.application_name);
  const auto commit = server.setting("synchronous_commit").value_or("on");
  const std::string kName = "synchronous_standby_names";
  if (names.empty()) {
    checks.ok(kName, "commits do not wait for the archive, which lags slightly behind the server");
  } else if (server.standby == true) {
    checks.ok(
        kName,
        "no effect on a standby: commits can wait only for receivers that stream from the primary");
  } else if (!named) {
    checks.ok(kName, fmt::format("commits wait for others, not for \"{}\"", plan.application_name));
  } else if (plan.confirm_stored) {
    checks.fail(kName,
                fmt::format("\"{}\" is named, and with --confirm stored each commit would wait for "
                            "the object store: the receiver refuses to start",
                            plan.application_name),
                {"remove that name from synchronous_standby_names; or use --confirm local",
                 "or, if commits should wait for the store: receive --force"});
  } else if (commit == "off" || commit == "local") {
    checks.warn(kName,
                fmt::format("\"{}\" is named, but synchronous_commit is {}: commits do not wait",
                            plan.application_name, commit),
                {alter("synchronous_commit", "on")});
  } else if (plan.prefer == PreferredRole::standby) {
    checks.warn(kName,
                fmt::format("\"{}\" is named, but with --prefer standby the receiver streams from "
                            "a standby, where commits cannot wait for it",
                            plan.application_name),
                {"use --prefer primary; or have the standby confirm what the archive has (receive "
                 "--serve-synchronous-standby-names, docs/serve-upstream.md)"});
  } else if (names.size() == 1 && names.front() != "*") {
    checks.warn(kName,
                fmt::format("only \"{}\" is named: while no receiver runs, every commit waits",
                            plan.application_name),
                {alter(kName, fmt::format("'ANY 1 ({}, ANOTHER)'", plan.application_name))});
  } else {
    checks.ok(kName, fmt::format("\"{}\" is named: commits can wait for the archive",
                                 plan.application_name));
  }
  if (server.standby != true && std::find(names.begin(), names.end(), "*") != names.end())
    checks.warn("synchronous_star",
                "synchronous_standby_names contains *, which any replication connection matches, "
                "including pg_receivewal and the slot keeper of --slot-hosts, so a commit may "
                "return without being on any standby",
                {alter(kName, fmt::format("'ANY 1 ({}, ANOTHER)'", plan.application_name))});
}

/// 17 and later. With --confirm stored it is graver: check_confirm().
void check_failover_slots_wait(Checks& checks, const ServerFacts& server, const Plan& plan) {
  const auto waited = server.setting("synchronized_standby_slots");
  if (plan.confirm_stored || !waited || !plan.slot || !pq::names_standby(*waited, *plan.slot))
    return;
  checks.warn(
      "synchronized_standby_slots",
      fmt::format("synchronized_standby_slots names \"{}\": logical decoding of failover slots "
                  "stops while the receiver is disconnected{}",
                  *plan.slot,
                  plan.prefer == PreferredRole::standby
                      ? ", and advances only every --slot-interval while it streams from a standby"
                      : ""),
      {"list the slots of the standbys only, without that one"});
}

/// --confirm stored: WAL that is not in the store stays in the server's pg_wal.
void check_confirm(Checks& checks, const ServerFacts& server, const Plan& plan) {
  if (!plan.confirm_stored) return;
  const std::string kName = "confirm_stored";
  if (!plan.slot) {
    checks.fail(kName, "--confirm stored without a slot retains no WAL on the server",
                {"pgweir receive -S NAME --create-slot --if-not-exists --confirm stored ..."});
    return;
  }
  // walsender.c, StandbySlotsHaveCaughtup(), 17 and later: their slots' restart_lsn counts.
  if (const auto waited = server.setting("synchronized_standby_slots");
      waited && pq::names_standby(*waited, *plan.slot))
    checks.fail(kName,
                fmt::format("synchronized_standby_slots names \"{}\": with --confirm stored, "
                            "logical replication would wait for the object store",
                            *plan.slot),
                {"remove that slot from synchronized_standby_slots; or use --confirm local"});
  else
    checks.ok(kName,
              "the slot retains WAL that is not in the object store: while the store is "
              "unavailable, pg_wal grows");
}

void check_candidates(Checks& checks, const Plan& plan) {
  if (plan.hosts < 2) return;
  const std::string kName = "failover_slots";
  if (plan.slot_on_all_hosts)
    checks.ok(kName,
              fmt::format("the slot is kept on all {} hosts of the connection string", plan.hosts));
  else
    checks.warn(
        kName,
        fmt::format("the connection string has {} hosts, and a slot on the one that streams "
                    "keeps nothing on the others: a failover may leave a gap",
                    plan.hosts),
        {fmt::format("pgweir receive -S {} --create-slot --if-not-exists --slot-hosts all "
                     "...",
                     plan.slot.value_or("NAME")),
         "(With Patroni, repmgr or CloudNativePG: docs/ha.md.) What would happen now: "
         "pgweir doctor --failover"});
}

void check_sender_timeout(Checks& checks, const ServerFacts& server, const Plan& plan) {
  const auto timeout = server.time("wal_sender_timeout");
  if (!timeout) return;
  const std::string kName = "wal_sender_timeout";
  if (*timeout == 0ms)
    checks.warn(
        kName,
        "wal_sender_timeout is 0: a broken connection keeps the slot in use until TCP times out",
        {alter(kName, "'60s'")});
  else if (*timeout < 5s)
    checks.warn(
        kName,
        fmt::format("wal_sender_timeout is {}: a short network interruption ends the stream",
                    format_duration(*timeout)),
        {alter(kName, "'60s'")});
  else if (plan.status_interval * 2 > *timeout)
    checks.ok(kName, fmt::format("wal_sender_timeout is {}: positions are reported every {}, more "
                                 "often than --status-interval",
                                 format_duration(*timeout), format_duration(*timeout / 3)));
  else
    checks.ok(kName, fmt::format("wal_sender_timeout is {}, positions are reported every {}",
                                 format_duration(*timeout), format_duration(plan.status_interval)));
}

/// New in 19; -1 (the default) waits as earlier versions do (WalSndCheckShutdownTimeout() in
/// replication/walsender.c). A client cannot distinguish the two ends. ALTER ROLE ... SET does not
/// affect a physical walsender.
void check_shutdown_timeout(Checks& checks, const ServerFacts& server) {
  const auto timeout = server.setting("wal_sender_shutdown_timeout");
  if (!timeout || *timeout == "-1") return;
  checks.warn(
      "wal_sender_shutdown_timeout",
      fmt::format("wal_sender_shutdown_timeout is {}: a planned stop does not wait longer for "
                  "the receiver, and may leave the archive behind the server's last WAL",
                  *timeout),
      {"-d \"... options='-c wal_sender_shutdown_timeout=-1'\"  -- for this receiver alone; a "
       "shutdown then waits for it"});
}

/// 19, and the minor releases of August 2026 (18.6, and those of 17 to 14 of the same day): other
/// libraries are rejected as output plugins. A server without the setting has not been updated yet,
/// or does not show it: it is visible to superusers and pg_read_all_settings.
void check_output_plugins(Checks& checks, const ServerFacts& server) {
  const std::string kName = "output_plugin_libraries";
  const auto setting = server.setting(kName);
  const auto listed = setting.value_or("pgoutput, test_decoding");
  std::string others;
  for (const auto& plugin : server.plugins)
    if (!pq::names_standby(listed, plugin)) others += (others.empty() ? "" : ", ") + plugin;
  if (others.empty()) return;
  const auto add = alter(kName, fmt::format("{}, {}", listed, others));
  if (setting)
    checks.warn(kName,
                fmt::format("logical slots use the output plugin {}, which {} ({}) does not list: "
                            "the server refuses to decode with it",
                            others, kName, *setting),
                {add});
  else if (wal::ServerVersion::of_number(server.version).has_output_plugin_libraries())
    checks.warn(kName,
                fmt::format("logical slots use the output plugin {}: the server refuses it unless "
                            "{} lists it, and does not show that setting to this role",
                            others, kName),
                {fmt::format("GRANT pg_read_all_settings TO {};  -- to have it checked",
                             pq::sql_identifier(user_of(server))),
                 "or as a superuser: SHOW output_plugin_libraries"});
  else
    checks.warn(kName,
                fmt::format("logical slots use the output plugin {}: once the server is updated to "
                            "a release of August 2026 or later, it is refused until {} lists it "
                            "(if it is such a release, it does not show the setting to this role)",
                            others, kName),
                {"right after the update: " + add});
}

void check_archive_mode(Checks& checks, const ServerFacts& server) {
  const auto mode = server.setting("archive_mode");
  if (!mode) return;
  const auto command = server.setting("archive_command");
  const auto library = server.setting("archive_library");
  // A backup without WAL ends after its WAL has been archived; do_pg_backup_stop() in xlog.c.
  const bool backup_waits = server.standby != true || *mode == "always";
  const auto* held_up = backup_waits ? ", and no base backup completes" : "";
  if (*mode == "off") {
    checks.ok("archive_mode", "no archive_command in addition to the receiver");
  } else if (command && (command->empty() || *command == "(disabled)") &&
             library.value_or("").empty()) {
    checks.warn(
        "archive_mode",
        fmt::format("archive_mode is {} without an archive_command: WAL piles up on the server{}",
                    *mode, held_up),
        {alter_and_restart("archive_mode", "off") + ", or", alter("archive_command", "'...'")});
  } else if (server.archiver && server.archiver->failing) {
    checks.warn("archive_mode",
                fmt::format("the server's own archiver fails ({} times, the last time on {}): WAL "
                            "piles up on the server{}",
                            server.archiver->failed, server.archiver->last_failed, held_up),
                {"see the server's log for archive_command's error"});
  } else {
    checks.ok("archive_mode",
              fmt::format("the server archives as well: use a directory other than this one{}",
                          backup_waits ? "; base backups wait for it" : ""));
  }
}

/// Base backups (`pgweir backup`). Archiving does not depend on these settings: never a warning.
void check_base_backups(Checks& checks, const ServerFacts& server) {
  if (const auto checksums = server.setting("data_checksums")) {
    if (*checksums == "on")
      checks.ok("data_checksums", "data_checksums is on: base backups verify the pages");
    else
      checks.ok("data_checksums",
                fmt::format("data_checksums is {}: base backups do not detect corrupted pages",
                            *checksums));
  }
  if (const auto summarize = server.setting("summarize_wal")) {  // 17 and later
    if (*summarize == "on")
      checks.ok("summarize_wal", "summarize_wal is on: base backups can be incremental");
    else
      checks.ok("summarize_wal",
                "summarize_wal is off: base backups are full ones; for incremental ones: " +
                    alter("summarize_wal", "on"));
  }
}

void check_standby(Checks& checks, const ServerFacts& server) {
  if (server.standby != true) return;
  if (server.standby_receives == false)
    checks.warn(
        "standby",
        "this standby receives nothing by streaming now: it has no newer WAL to send than it "
        "has received before, or replays from an archive",
        {"check primary_conninfo on the standby, and its log; or archive from its "
         "upstream"});
  else
    checks.ok("standby",
              "the archive contains what the standby has received; a promotion is followed, but a "
              "slot is not copied to another server");
}

void check_clock(Checks& checks, const ServerFacts& server) {
  if (!server.clock_ahead) return;
  const auto difference = std::chrono::abs(*server.clock_ahead);
  if (difference > 1s + server.clock_error)
    checks.warn(
        "clock",
        fmt::format("the server's clock is {} {} of this machine's: times in messages do not "
                    "match, and certificates may be rejected",
                    format_duration(difference), *server.clock_ahead > 0ms ? "ahead" : "behind"),
        {"run chrony or systemd-timesyncd on both machines"});
  else
    checks.ok("clock", fmt::format("the clocks agree within {}",
                                   format_duration(std::max<std::chrono::milliseconds>(
                                       difference + server.clock_error, 1ms))));
}

}  // namespace

std::vector<Check> judge_server(const ServerFacts& server, const Plan& plan) {
  Checks checks;
  check_connections(checks, server);
  check_certificates(checks, server);
  if (server.replication_trouble && server.plain_trouble) return checks.take();
  check_version(checks, server);
  check_pending_restart(checks, server);
  check_wal_level(checks, server);
  check_senders(checks, server);
  if (plan.slot && server.slot) check_slot_state(checks, server, plan);
  if (plan.slot && !server.slot)
    checks.unknown("slot", fmt::format("slot \"{}\" could not be checked", *plan.slot),
                   {"allow ordinary connections for the role as well (see ordinary_connection)"});
  check_limits(checks, server, plan);
  check_synchronous(checks, server, plan);
  check_failover_slots_wait(checks, server, plan);
  check_confirm(checks, server, plan);
  check_candidates(checks, plan);
  check_sender_timeout(checks, server, plan);
  check_shutdown_timeout(checks, server);
  check_output_plugins(checks, server);
  check_archive_mode(checks, server);
  check_base_backups(checks, server);
  check_standby(checks, server);
  check_clock(checks, server);
  for (const auto& unseen : server.unseen) checks.unknown("not_seen", unseen);
  return checks.take();
}

}  // namespace weir::doctor

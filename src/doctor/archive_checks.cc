#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <string_view>

#include "base/text.h"
#include "base/units.h"
#include "doctor/check_list.h"
#include "doctor/checks.h"
#include "wal/page.h"

namespace weir::doctor {

namespace {

using namespace std::chrono_literals;

void check_place(Checks& checks, const ArchiveFacts& archive) {
  const auto& place = archive.place;
  const auto kind = fmt::format("the archive is on {}", place.file_system);
  if (place.in_memory)
    checks.fail("file_system", kind + ": its content is lost when the machine stops",
                {"use a directory on a disk"});
  else if (place.over_network)
    checks.warn("file_system",
                kind +
                    ": durability depends on the file server, and the lock against a second "
                    "receiver may not work across machines",
                {"with NFS: mount with hard, and export with sync; better a local disk"});
  else if (place.user_space)
    checks.warn("file_system", kind + ": durability depends on the program that implements it",
                {"use a local file system"});
  else
    checks.ok("file_system", kind);

  constexpr unsigned kGroupWrites = 020;
  constexpr unsigned kOthers = 07;
  if (place.read_only)
    checks.fail("permissions", "the file system is mounted read-only", {"mount it read-write"});
  else if (!place.writable)
    checks.fail("permissions",
                fmt::format("this user cannot write to it (owner {}, mode {:04o})",
                            place.owner_name, place.mode),
                {fmt::format("run pgweir as {}, or: chown ... {}", place.owner_name,
                             shell_word(archive.path))});
  else if ((place.mode & (kGroupWrites | kOthers)) != 0)
    checks.warn("permissions",
                fmt::format("others have access (mode {:04o}): WAL holds the data of every table",
                            place.mode),
                {"chmod 700 " + shell_word(archive.path)});
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
    checks.fail("sync", "a test file could not be written: " + trouble->text, trouble->todo);
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
        {"use a faster or less busy disk; or --flush 200ms if no commits wait for the archive"});
  else if (archive.syncs->median < kNothing)
    checks.warn("sync", found + ": implausibly fast; the data may not reach a disk",
                {"use a disk that honors flushes (not eatmydata, not a cache=unsafe disk)"});
  else
    checks.ok("sync", found);
}

void check_content(Checks& checks, const ArchiveFacts& archive) {
  if (archive.in_use)
    checks.ok("lock", "a receiver is running here: pgweir status shows its state");
  else
    checks.ok("lock", "no receiver is running here");
  if (const auto& trouble = archive.content_trouble)
    checks.fail("content", "the archive's end cannot be read: " + trouble->text, trouble->todo);
  if (archive.newer_magic)
    checks.warn("wal_version",
                fmt::format("the archive's WAL (page magic 0x{:04X}) is of a newer PostgreSQL than "
                            "this pgweir knows: it is checked only as far as its format is still "
                            "that of PostgreSQL {}",
                            *archive.newer_magic, wal::kNewestKnownMajor),
                {"use a newer pgweir"});
}

/// By its name alone (pq::Host::to_string()).
void check_machine(Checks& checks, const std::string& server) {
  const auto is = [&](std::string_view name) { return server.starts_with(name); };
  if (is("127.") || is("localhost:") || is("[::1]:") ||
      server.find("/.s.PGSQL.") != std::string::npos)
    checks.warn("same_machine",
                fmt::format("the server ({}) is on this machine: a failure of the machine or its "
                            "disk affects both the server and the archive",
                            server),
                {"run the receiver on another machine; or use --store, or a second receiver on "
                 "another machine"});
}

}  // namespace

std::vector<Check> judge_archive(const ArchiveFacts& archive) {
  Checks checks;
  if (const auto& trouble = archive.trouble) {
    checks.fail("directory", trouble->text, trouble->todo);
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
  check_machine(checks, server.server);
  const auto server_size = server.size("wal_segment_size");
  if (archive.identity && server.system_identifier) {
    if (archive.identity->system_identifier != *server.system_identifier)
      checks.fail("cluster",
                  fmt::format("the archive is of cluster {} ({}), the server is cluster {}",
                              archive.identity->system_identifier, archive.identity->file,
                              *server.system_identifier),
                  {"each cluster needs a separate directory"});
    else if (server_size && *server_size != archive.identity->segment_size.bytes())
      checks.fail("cluster",
                  fmt::format("the segment size is {} in the archive, and {} on the server",
                              format_size(archive.identity->segment_size.bytes()),
                              format_size(*server_size)),
                  {"use another directory"});
    else
      checks.ok("cluster", "the archive is of this server's cluster");
  } else if (!archive.identity && !archive.content_trouble) {
    checks.ok("cluster", "the archive is empty");
  }

  if (archive.identity && server.system_identifier == archive.identity->system_identifier &&
      server.timeline != 0) {
    const weir::archive::ServerPlace place{.timeline = server.timeline,
                                           .position = server.position,
                                           .history = server.history,
                                           .standby = server.standby};
    const auto branch =
        weir::archive::compare_with_server(archive.timelines, archive.timeline_ends, place);
    if (branch) {
      const auto remark = weir::archive::remark_on(*branch, place);
      // A running receiver writes during the check: a difference in position does not count.
      using Relation = weir::archive::Branch::Relation;
      const bool parts =
          branch->relation == Relation::diverged || branch->relation == Relation::unknown;
      if (remark.loss)
        checks.fail("timeline", remark.what, {remark.todo});
      else if (!remark.what.empty() && (parts || !archive.in_use))
        checks.warn("timeline", remark.what, {remark.todo});
      else
        checks.ok("timeline", fmt::format("the server is on timeline {}, where the archive can "
                                          "follow it",
                                          server.timeline));
    }
  }

  if (plan.slot && server.slot && server.slot->view.active && !archive.in_use)
    checks.warn("slot_in_use",
                fmt::format("slot \"{}\" is in use, but no receiver is running here: a receiver "
                            "that is started here has to wait until the slot is free",
                            *plan.slot),
                {"stop the other receiver, or use another slot (if it was connected from here, the "
                 "server releases the slot after wal_sender_timeout)"});

  // (An invalidated slot may have a position, and keeps no WAL.)
  const bool keeps = server.slot && server.slot->restart_lsn &&
                     server.slot->view.wal_status != "lost" &&
                     !server.slot->view.invalidation_reason;
  if (archive.end && plan.slot && keeps) {
    const auto end = archive.end->start;
    const auto from = *server.slot->restart_lsn;
    const auto size = archive.identity ? archive.identity->segment_size.bytes() : 0;
    if (size != 0 && from.byte() / size > end.byte() / size)
      checks.warn("continuity",
                  fmt::format("the archive ends at {}, the slot keeps WAL only from {} on: the "
                              "server may have removed the WAL in between",
                              end, from),
                  {"start the receiver now: it reports whether the server still has the WAL"});
    else
      checks.ok("continuity",
                fmt::format("the archive ends at {}, the slot keeps WAL from {} on", end, from));
  }

  const auto free = archive.place.free_bytes;
  const auto rate = rate_of(server);
  auto found =
      fmt::format("{} of {} are free", format_size(free), format_size(archive.place.bytes));
  const std::vector<std::string> todo = {
      "add space, use --compress zstd, or run pgweir prune in a timer (man pgweir-prune)"};
  constexpr std::uint64_t kLeast = std::uint64_t{64} << 20;
  const auto segment = archive.identity ? archive.identity->segment_size.bytes()
                                        : server.size("wal_segment_size").value_or(0);
  const auto least = std::max(kLeast, segment);  // a segment is allocated as a whole
  if (rate && *rate > 0) {
    const double seconds = static_cast<double>(free) / *rate;
    found +=
        fmt::format(": enough for {} at {} (uncompressed)", time_text(seconds), rate_text(*rate));
    if (seconds < kVerySoon || free < least)
      checks.fail("space", found, todo);
    else if (seconds < kSoon)
      checks.warn("space", found, todo);
    else
      checks.ok("space", found);
  } else if (free < least) {
    checks.fail("space", found, todo);
  } else {
    checks.ok("space", found);
  }
  return checks.take();
}

}  // namespace weir::doctor

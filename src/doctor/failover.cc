#include "doctor/failover.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/units.h"

namespace weir::doctor {

namespace {

using Relation = archive::Branch::Relation;

archive::ServerPlace place_of(const HostFacts& host) {
  return {.timeline = host.identity.timeline,
          .position = host.identity.flush_position,
          .history = host.history,
          .standby = host.standby};
}

std::optional<archive::Branch> branch_of(const FailoverFacts& archive, const HostFacts& host) {
  if (host.trouble || host.identity.system_identifier != archive.identity.system_identifier)
    return std::nullopt;
  return archive::compare_with_server(archive.timelines, archive.ends, place_of(host));
}

std::string commits_text(const std::optional<CommitCount>& count) {
  if (!count) return "";
  return fmt::format(", with {}{} commit{}", count->all ? "" : "at least ", count->commits,
                     count->all && count->commits == 1 ? "" : "s");
}

}  // namespace

std::optional<wal::Lsn> would_go_on_at(const FailoverFacts& archive, const HostFacts& host) {
  const auto branch = branch_of(archive, host);
  if (!branch || branch->relation == Relation::parted || branch->relation == Relation::unknown)
    return std::nullopt;
  return archive.identity.segment_size.start_of(
      std::min(branch->archive_end, host.identity.flush_position));
}

std::optional<LeftBehind> would_leave_behind(const FailoverFacts& archive, const HostFacts& host) {
  const auto branch = branch_of(archive, host);
  if (!branch || branch->relation != Relation::behind) return std::nullopt;
  return LeftBehind{branch->archive_timeline, host.identity.flush_position, branch->archive_end};
}

Check judge_failover(const FailoverFacts& archive, const HostFacts& host,
                     const std::optional<CommitCount>& left_behind) {
  Check check;
  check.name = "failover";
  const auto say = [&](Level level, const std::string& found, std::vector<std::string> todo = {}) {
    check.level = level;
    check.found = fmt::format("to {}: {}", host.host, found);
    check.todo = std::move(todo);
    return check;
  };
  if (host.trouble)
    return say(Level::unknown, "it does not answer: " + host.trouble->text, host.trouble->todo);
  if (host.identity.system_identifier != archive.identity.system_identifier)
    return say(Level::failure, "it belongs to another cluster than the archive",
               {"take it out of the connection string"});
  const auto place = place_of(host);
  const auto branch = branch_of(archive, host);
  if (!branch)
    return say(Level::unknown, "the archive is empty: nothing can be said of a failover");
  if (branch->relation == Relation::unknown)
    return say(Level::unknown,
               fmt::format("it has no history of its timeline {}", host.identity.timeline),
               {"copy the history file into its pg_wal from another node or an archive"});
  if (branch->relation == Relation::parted) {
    const auto remark = archive::remark_on(*branch, place);
    return say(Level::failure, remark.what, {remark.todo});
  }

  // What would become of the WAL that only one of them has.
  std::string wal;
  if (const auto left = would_leave_behind(archive, host))
    wal = fmt::format(
        "; {} that the archive has, from {} to {}{}, would not be part of the "
        "cluster's history any more",
        format_size(left->to - left->from), left->from, left->to, commits_text(left_behind));
  else if (branch->missing() > 0)
    wal = fmt::format("; the archive would get {} from it that it does not have yet",
                      format_size(branch->missing()));
  const auto role = host.standby == false ? " (it is the primary now)" : "";

  const auto next = *would_go_on_at(archive, host);
  const auto at = archive.identity.segment_size.start_of(next);
  const auto make = archive.slot ? fmt::format(
                                       "pgweir receive -S {} --create-slot --if-not-exists "
                                       "--slot-on listed ...",
                                       *archive.slot)
                                 : std::string(
                                       "pgweir receive -S NAME --create-slot --if-not-exists "
                                       "--slot-on listed ...");
  if (host.has_wal == false) {
    const auto from =
        host.slot && host.slot->restart_lsn && *host.slot->restart_lsn > at
            ? fmt::format(", and its slot keeps WAL from {} on only ({} later)",
                          *host.slot->restart_lsn, format_size(*host.slot->restart_lsn - at))
            : std::string();
    return say(Level::failure,
               fmt::format("a GAP: it no longer has the WAL at {}, where the archive goes on{}{}{}",
                           at, from, wal, role),
               {"start the receiver now, as long as another server still has that WAL", make});
  }
  const auto& slot = host.slot;
  const bool physical = slot && slot->exists && (slot->type.empty() || slot->type == "physical");
  if (physical && slot->restart_lsn &&
      archive.identity.segment_size.start_of(*slot->restart_lsn) <= next)
    return say(Level::ok, fmt::format("no gap, its slot keeps WAL from {} on{}{}",
                                      *slot->restart_lsn, wal, role));
  const auto why =
      !archive.slot ? std::string("there is no slot (-S)")
      : !slot       ? fmt::format(
                          "where slot \"{}\" keeps WAL from could not be "
                                "looked at",
                          *archive.slot)
      : !slot->exists      ? fmt::format("it has no slot \"{}\"", *archive.slot)
      : !physical          ? fmt::format("its slot \"{}\" is a {} one", *archive.slot, slot->type)
      : !slot->restart_lsn ? fmt::format("its slot \"{}\" reserves no WAL", *archive.slot)
                           : fmt::format("its slot \"{}\" keeps WAL from {} on only", *archive.slot,
                                         *slot->restart_lsn);
  return say(Level::warning,
             fmt::format("no gap if the receiver goes on at once{}: {}, so nothing keeps the WAL "
                         "from {} on there{}{}",
                         host.has_wal ? "" : " and it still has the WAL", why, at, wal, role),
             {make});
}

}  // namespace weir::doctor

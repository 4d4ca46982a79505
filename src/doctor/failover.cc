#include "doctor/failover.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <tuple>
#include <utility>

#include "archive/losses.h"
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
  if (host.trouble || host.differs_before ||
      host.identity.system_identifier != archive.identity.system_identifier)
    return std::nullopt;
  return archive::compare_with_server(archive.timelines, archive.ends, place_of(host));
}

std::string commits_text(const std::optional<CommitCount>& count) {
  if (!count) return "";
  return fmt::format(", with {}{}", count->all ? "" : "at least ",
                     archive::transactions_text(count->commits, count->prepared));
}

constexpr const char* kPromoteAnother =
    "promote another one, or wait until it has received that WAL";

/// If their number is unknown, there may be some.
bool loses_commits(const FailoverFacts& archive, const Candidate& candidate) {
  if (!would_leave_behind(archive, candidate.host)) return false;
  const auto& count = candidate.commits;
  return !count || count->commits > 0 || count->prepared > 0 || !count->all;
}

bool only_prepared(const std::optional<CommitCount>& count) {
  return count && count->all && count->commits == 0 && count->prepared > 0;
}

}  // namespace

std::optional<wal::Lsn> common_end(const FailoverFacts& archive, const HostFacts& host) {
  const auto branch = branch_of(archive, host);
  if (!branch || branch->relation == Relation::diverged || branch->relation == Relation::unknown)
    return std::nullopt;
  return std::min(branch->archive_end, host.identity.flush_position);
}

std::optional<wal::Lsn> would_go_on_at(const FailoverFacts& archive, const HostFacts& host) {
  const auto end = common_end(archive, host);
  return end ? std::optional(archive.identity.segment_size.start_of(*end)) : std::nullopt;
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
    return say(Level::failure, "it and the archive belong to different clusters",
               {"remove it from the connection string"});
  if (host.differs_before)
    return say(Level::failure,
               fmt::format("its WAL of timeline {} differs from the archive's before {}: two "
                           "servers were promoted to this timeline ID (split brain), or one is a "
                           "clone of the other",
                           host.identity.timeline, *host.differs_before),
               {"find out which one has the history that counts; remove this one from the "
                "connection string, or rewind or rebuild it"});
  const auto place = place_of(host);
  const auto branch = branch_of(archive, host);
  if (!branch) return say(Level::unknown, "the archive is empty, so a failover cannot be assessed");
  if (branch->relation == Relation::unknown)
    return say(Level::unknown,
               fmt::format("it has no history of its timeline {}", host.identity.timeline),
               {"copy the history file into its pg_wal from another node or an archive"});
  if (branch->relation == Relation::diverged) {
    const auto remark = archive::remark_on(*branch, place);
    return say(Level::failure, remark.what, {remark.todo});
  }

  if (host.relay)
    return say(
        Level::ok,
        "it is a relay (pgweir serve), which cannot be promoted; WAL can be received from it");

  // What would happen to the WAL that only one of them has.
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
  const bool loses = loses_commits(archive, {host, left_behind});
  const auto* const lost = !loses                       ? ""
                           : only_prepared(left_behind) ? "PREPARED TRANSACTIONS LOST: "
                                                        : "COMMITS LOST: ";

  const auto next = *would_go_on_at(archive, host);
  const auto at = archive.identity.segment_size.start_of(next);
  const auto make = archive.slot ? fmt::format(
                                       "pgweir receive -S {} --create-slot --if-not-exists "
                                       "--slot-hosts all ...",
                                       *archive.slot)
                                 : std::string(
                                       "pgweir receive -S NAME --create-slot --if-not-exists "
                                       "--slot-hosts all ...");
  if (host.has_wal == false) {
    const auto from =
        host.slot && host.slot->restart_lsn && *host.slot->restart_lsn > at
            ? fmt::format(", and its slot keeps WAL from {} on only ({} later)",
                          *host.slot->restart_lsn, format_size(*host.slot->restart_lsn - at))
            : std::string();
    return say(
        Level::failure,
        fmt::format("a GAP: it no longer has the WAL at {}, where the archive would continue{}{}{}",
                    at, from, wal, role),
        {"start the receiver now, while another server still has that WAL", make});
  }
  const auto& slot = host.slot;
  const bool physical = slot && slot->exists && (slot->type.empty() || slot->type == "physical");
  if (physical && slot->restart_lsn &&
      archive.identity.segment_size.start_of(*slot->restart_lsn) <= next)
    return say(loses ? Level::failure : Level::ok,
               fmt::format("{}no gap, its slot keeps WAL from {} on{}{}", lost, *slot->restart_lsn,
                           wal, role),
               loses ? std::vector<std::string>{kPromoteAnother} : std::vector<std::string>{});
  const auto why =
      !archive.slot ? std::string("there is no slot (-S)")
      : !slot       ? fmt::format("the restart_lsn of slot \"{}\" could not be read", *archive.slot)
      : !slot->exists      ? fmt::format("it has no slot \"{}\"", *archive.slot)
      : !physical          ? fmt::format("its slot \"{}\" is a {} one", *archive.slot, slot->type)
      : !slot->restart_lsn ? fmt::format("its slot \"{}\" reserves no WAL", *archive.slot)
                           : fmt::format("its slot \"{}\" keeps WAL from {} on only", *archive.slot,
                                         *slot->restart_lsn);
  std::vector<std::string> todo{make};
  if (loses) todo.insert(todo.begin(), kPromoteAnother);
  return say(loses ? Level::failure : Level::warning,
             fmt::format("{}no gap if the receiver continues at once{}: {}, so the WAL from {} on "
                         "{} retained there{}{}",
                         lost, host.has_wal ? "" : " and it still has the WAL", why, at,
                         archive.slot && !slot ? "may not be" : "is not", wal, role),
             std::move(todo));
}

std::optional<Check> judge_primaries(const std::vector<Candidate>& candidates) {
  for (auto one = candidates.begin(); one != candidates.end(); ++one)
    for (auto other = std::next(one); other != candidates.end(); ++other) {
      const auto& a = one->host;
      const auto& b = other->host;
      if (a.trouble || b.trouble || a.standby != false || b.standby != false) continue;
      if (a.identity.system_identifier != b.identity.system_identifier ||
          a.identity.timeline != b.identity.timeline)
        continue;
      return Check{
          .name = "failover",
          .level = Level::failure,
          .found =
              fmt::format("{} and {} are both primaries on timeline {}: a split brain, or one is a "
                          "clone of the other (or both are names of one server)",
                          a.host, b.host, a.identity.timeline),
          .todo = {
              "find out which one has the history that counts, and stop the other one",
              "take the other one out of the connection string: an archive can follow only one"}};
    }
  return std::nullopt;
}

Conclusion conclude_failover(const FailoverFacts& archive,
                             const std::vector<Candidate>& candidates) {
  std::vector<const Candidate*> known;
  for (const auto& each : candidates)
    if (!each.host.relay && would_go_on_at(archive, each.host)) known.push_back(&each);
  if (known.empty()) return {false, "unknown: no host that can be promoted could be probed"};
  const auto cost = [&](const Candidate* each) {
    constexpr auto kUnknown = std::numeric_limits<std::uint64_t>::max();
    const auto left = would_leave_behind(archive, each->host);
    const bool loses = loses_commits(archive, *each);
    return std::tuple(each->host.has_wal == false,
                      !loses          ? 0
                      : each->commits ? each->commits->commits + each->commits->prepared
                                      : kUnknown,
                      loses ? left->to - left->from : 0);
  };
  const auto least = cost(*std::min_element(
      known.begin(), known.end(), [&](const auto* a, const auto* b) { return cost(a) < cost(b); }));
  std::vector<std::string> names;
  const Candidate* best = nullptr;
  for (const auto* each : known)
    if (cost(each) == least) {
      names.push_back(each->host.host);
      if (best == nullptr) best = each;
    }
  const auto text = fmt::format("{}", fmt::join(names, ", "));
  if (best->host.has_wal == false)
    return {true, "a failover to any of them leaves a gap in the archive"};
  if (!loses_commits(archive, *best)) {
    const bool leaves_some = std::any_of(known.begin(), known.end(), [&](const auto* each) {
      return cost(each) == least && would_leave_behind(archive, each->host);
    });
    return {true, fmt::format("a failover to {} loses {} that the archive has", text,
                              leaves_some ? "no commits" : "nothing")};
  }
  const auto left = *would_leave_behind(archive, best->host);
  return {true, fmt::format("a failover to any of them loses {}; the fewest with {} ({}{})",
                            only_prepared(best->commits) ? "prepared transactions" : "commits",
                            text, format_size(left.to - left.from), commits_text(best->commits))};
}

}  // namespace weir::doctor

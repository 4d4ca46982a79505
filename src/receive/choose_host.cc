#include "receive/choose_host.h"

#include <algorithm>
#include <string_view>
#include <tuple>
#include <utility>

#include "base/units.h"

namespace weir::receive {

namespace {

struct Judged {
  const HostWord* host = nullptr;
  Eligibility eligibility = Eligibility::unresponsive;
  std::string why;             ///< why not, unless it is eligible
  std::optional<Error> error;  ///< if it is foreign
  bool leads_through = true;
  StartAt start{};  ///< if it is eligible
};

using AllJudged = std::vector<Judged>;
using Able = std::vector<const Judged*>;

std::string_view role_of(const HostWord& host) {
  if (!host.standby) return "role unknown";
  return *host.standby ? "standby" : "primary";
}

bool begins_with(const std::vector<wal::TimelineHistory::Ancestor>& longer,
                 const std::vector<wal::TimelineHistory::Ancestor>& shorter) {
  return shorter.size() <= longer.size() &&
         std::equal(shorter.begin(), shorter.end(), longer.begin());
}

bool differ(const std::string& a, const std::string& b) {
  const auto length = std::min(a.size(), b.size());
  return a.compare(0, length, b, 0, length) != 0;
}

/// Two servers that were promoted to the same timeline ID at the same position differ only in what
/// they have written there.
bool differ_in_a_timeline(const HostWord& a, const HostWord& b) {
  return std::any_of(a.first_wal.begin(), a.first_wal.end(), [&](const auto& first) {
    const auto other = b.first_wal.find(first.first);
    return other != b.first_wal.end() && differ(first.second, other->second);
  });
}

/// One of the two histories contains the other. (Assumed for an unknown one.)
bool one_line(const HostWord& a, const HostWord& b) {
  if (!a.history || !b.history) return true;
  const auto& older = a.identity.timeline <= b.identity.timeline ? a : b;
  const auto& newer = &older == &a ? b : a;
  if (differ_in_a_timeline(a, b)) return false;
  if (older.identity.timeline == newer.identity.timeline)
    return older.history->ancestors() == newer.history->ancestors();
  return newer.history->contains(older.identity.timeline) &&
         begins_with(newer.history->ancestors(), older.history->ancestors());
}

Judged judge(const HostWord& host, const HostFacts& facts, std::uint64_t system_identifier) {
  Judged candidate{.host = &host, .why = {}, .error = {}};
  if (host.failure) {
    candidate.why = host.failure->message();
    return candidate;
  }
  if (facts.refused.contains(host.index)) {
    candidate.eligibility = Eligibility::rejected;
    candidate.why = "was rejected by an earlier check";
    return candidate;
  }
  if (host.identity.system_identifier != system_identifier) {
    candidate.eligibility = Eligibility::mismatch;
    candidate.error =
        Error(ErrorKind::conflict, "the server and the archive belong to different clusters")
            .with("server", host.name)
            .with("system identifier", host.identity.system_identifier)
            .with("archive's", system_identifier)
            .hint(
                "Each cluster needs a separate archive directory. Remove that host from the "
                "connection string.");
    candidate.why = candidate.error->message();
    return candidate;
  }
  const auto ours =
      facts.archive ? host.first_wal.find(facts.archive->end.timeline) : host.first_wal.end();
  if (ours != host.first_wal.end() && differ(ours->second, facts.archive->first_wal)) {
    candidate.eligibility = Eligibility::mismatch;
    candidate.error =
        Error(ErrorKind::conflict,
              "the WAL at the start of the server's timeline differs from the archive's")
            .with("server", host.name)
            .with("timeline", host.identity.timeline)
            .hint(
                "Two servers were promoted to this timeline (split brain), and the archive follows "
                "the other one. Find out which one has the history that counts, and remove this "
                "one from the connection string, or rewind or rebuild it.");
    candidate.why = candidate.error->message();
    return candidate;
  }
  const auto decision = start_on(host, facts.archive, facts.wish);
  if (const auto* refused = std::get_if<Refused>(&decision)) {
    candidate.eligibility = Eligibility::mismatch;
    candidate.error = Error(refused->error).with("server", host.name);
    candidate.why = refused->error.message();
  } else if (const auto* behind = std::get_if<UpstreamBehind>(&decision)) {
    candidate.eligibility = Eligibility::behind;
    candidate.why = behind->why;
  } else {
    candidate.eligibility = Eligibility::eligible;
    candidate.start = std::get<StartAt>(decision);
  }
  candidate.leads_through = !facts.archive || leads_through(host, *facts.archive);
  return candidate;
}

/// The archive's cluster; else that of the first host that answers.
std::uint64_t wanted_cluster(const HostFacts& facts) {
  if (facts.archive) return facts.archive->system_identifier;
  for (const auto& host : facts.hosts)
    if (!host.failure) return host.identity.system_identifier;
  return 0;
}

/// Where a host's history leaves the archive's timeline; nullopt if it does not.
std::optional<wal::Lsn> leaves_at(const HostWord& host, const ArchivedSoFar& archive) {
  return host.history ? host.history->end_of(archive.end.timeline) : std::nullopt;
}

std::string branch_text(const HostWord& host, const HostFacts& facts) {
  auto text = fmt::format("{}, timeline {}", role_of(host), host.identity.timeline);
  if (host.history && !host.history->ancestors().empty()) {
    const auto& last = host.history->ancestors().back();
    text += fmt::format(", which left timeline {} at {}", last.timeline, last.switchpoint);
  }
  if (!facts.archive) return text;
  const auto& archive = *facts.archive;
  const auto left = leaves_at(host, archive);
  if (left && *left < archive.position)
    return text + fmt::format("; lacks {} of the archive's WAL, from {} to {} on timeline {}",
                              format_size(archive.position - *left), *left, archive.position,
                              archive.end.timeline);
  return text + "; has all WAL of the archive";
}

Error split_brain(const HostWord& a, const HostWord& b, const HostFacts& facts) {
  return Error(ErrorKind::conflict,
               "the cluster has diverged, and the archive can follow only one branch (split brain)")
      .with(a.name, branch_text(a, facts))
      .with(b.name, branch_text(b, facts))
      .hint(
          "Neither branch was archived. Find out which server has the history that counts, and "
          "remove the other one from the connection string, or rewind or rebuild it as a standby. "
          "To archive it as well, use a separate directory, after a new base backup.");
}

/// A cluster has one primary. No history shows which of two counts.
bool is_second_primary(const Judged& other, const Judged& best) {
  return other.host->standby == false && best.host->standby == false &&
         other.host->identity.timeline == best.host->identity.timeline;
}

/// Why `other` was not chosen, compared with the chosen one.
std::string why_not(const Judged& other, const Judged& best, const HostFacts& facts) {
  const auto& host = *other.host;
  const auto& taken = *best.host;
  if (other.leads_through != best.leads_through && !other.leads_through)
    return fmt::format("timeline {} does not contain all of the archive's WAL",
                       host.identity.timeline);
  if (host.has_wal == false && taken.has_wal != false)
    return "no longer has the WAL that comes next";
  if (!one_line(host, taken)) return "is on another branch of the cluster's history (split brain)";
  if (is_second_primary(other, best))
    return fmt::format(
        "is a primary on timeline {}, as {} is: a split brain, or one is a clone of the other (or "
        "both are names of one server)",
        host.identity.timeline, taken.name);
  if (host.stalled && !taken.stalled)
    return fmt::format("has stalled at {}: it receives no WAL", host.identity.flush_position);
  if (host.identity.timeline != taken.identity.timeline)
    return fmt::format("is on timeline {}", host.identity.timeline);
  if (has_role(host, facts.prefer) != has_role(taken, facts.prefer))
    return fmt::format("{}, and the other role is preferred", role_of(host));
  return fmt::format("{}, equally suitable, but later in the list", role_of(host));
}

/// Rule 3: hosts whose history contains everything in the archive come first, unless a primary
/// leads a newer timeline.
void keep_those_that_lead_through(Able& able) {
  wal::TimelineId newest = 0;
  for (const auto* each : able)
    if (each->leads_through) newest = std::max(newest, each->host->identity.timeline);
  if (newest == 0) return;
  const bool left_behind = std::any_of(able.begin(), able.end(), [&](const Judged* each) {
    return !each->leads_through && each->host->identity.timeline > newest &&
           each->host->standby != true;
  });
  std::erase_if(able, [&](const Judged* each) { return each->leads_through == left_behind; });
}

/// Rule 3: a primary leads a newer timeline, without some of the archive's WAL.
bool counts_before(const Judged& primary, const Judged& other) {
  return !primary.leads_through && other.leads_through && primary.host->standby != true &&
         primary.host->identity.timeline > other.host->identity.timeline;
}

/// Rule 3 continued: no WAL that `each` would send is part of the history of the primary `other`.
/// (An archive may extend past a switchpoint and abandon nothing: an incomplete record is not a
/// loss.)
bool is_dead_end(const Judged& each, const Judged& other) {
  if (other.host->standby == true || !other.host->history) return false;
  if (other.host->identity.timeline <= each.host->identity.timeline) return false;
  const auto left = other.host->history->end_of(each.start.timeline);
  return left && *left <= each.start.lsn;
}

void leave_out_dead_ends(Able& able) {
  const auto all = able;
  std::erase_if(able, [&](const Judged* each) {
    return std::any_of(all.begin(), all.end(),
                       [&](const Judged* other) { return is_dead_end(*each, *other); });
  });
}

/// The rule also applies to a primary that was rejected because it lacks the next WAL: the gap must
/// be reported, and an older timeline is not a way around it.
void leave_out_what_a_gap_has_left(AllJudged& candidates, const HostFacts& facts,
                                   std::uint64_t cluster) {
  auto asked_anew = facts;
  asked_anew.refused.clear();
  for (const auto& host : facts.hosts) {
    if (!facts.refused.contains(host.index) || !facts.refused_for_gap.contains(host.index))
      continue;
    const auto gone = judge(host, asked_anew, cluster);
    if (gone.eligibility != Eligibility::eligible) continue;
    for (auto& each : candidates) {
      if (each.eligibility != Eligibility::eligible || !one_line(*each.host, host)) continue;
      if (!is_dead_end(each, gone) && !counts_before(gone, each)) continue;
      each.eligibility = Eligibility::mismatch;
      each.why =
          fmt::format("{} has left its timeline, and lacks the WAL that comes next", host.name);
    }
  }
}

/// Rules 4 to 8. The first of equals is chosen.
const Judged* best_of(const Able& able, Prefer prefer) {
  const auto worth = [&](const Judged* each) {
    const auto& host = *each->host;
    return std::tuple(host.has_wal != false, !host.stalled, host.identity.timeline,
                      has_role(host, prefer));
  };
  return *std::max_element(able.begin(), able.end(),
                           [&](const Judged* a, const Judged* b) { return worth(a) < worth(b); });
}

/// Two hosts whose timelines exclude each other.
std::optional<std::pair<const Judged*, const Judged*>> siblings_among(const Able& able) {
  for (std::size_t i = 0; i < able.size(); ++i)
    for (std::size_t j = i + 1; j < able.size(); ++j)
      if (!one_line(*able[i]->host, *able[j]->host)) return std::pair(able[i], able[j]);
  return std::nullopt;
}

/// The error as pq::Connection::open() reports it for hosts tried in turn.
Error none_answers(const std::vector<HostWord>& hosts) {
  if (hosts.size() == 1) return *hosts.front().failure;
  constexpr std::string_view kCouldNotConnect = "could not connect to the server: ";
  std::string text;
  std::string hints;
  bool one_hint = true;
  auto kind = hosts.front().failure->kind();
  for (const auto& host : hosts) {
    const auto& failure = *host.failure;
    std::string_view reason = failure.message();
    if (reason.starts_with(kCouldNotConnect)) reason.remove_prefix(kCouldNotConnect.size());
    text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", host.name, reason);
    // If one of them may answer later, it is waited for.
    if (failure.kind() == ErrorKind::retry) kind = ErrorKind::retry;
    one_hint = one_hint && failure.hint() == hosts.front().failure->hint();
    if (!failure.hint().empty())
      hints += fmt::format("{}{}: {}", hints.empty() ? "" : " ", host.name, failure.hint());
  }
  return Error(kind, "none of the servers can be used: " + text)
      .hint(one_hint ? hosts.front().failure->hint() : hints);
}

/// No host is eligible.
HostChoice without_able_hosts(const AllJudged& candidates, const HostFacts& facts, bool settled,
                              std::vector<HostVerdict> verdicts) {
  const Judged* behind = nullptr;
  for (const auto& each : candidates)
    if (each.eligibility == Eligibility::behind &&
        (behind == nullptr || each.host->identity.timeline > behind->host->identity.timeline))
      behind = &each;
  if (behind != nullptr)
    return {HostsBehind{fmt::format("{} ({})", behind->why, behind->host->name)},
            std::move(verdicts)};
  if (std::all_of(candidates.begin(), candidates.end(),
                  [](const auto& each) { return each.eligibility == Eligibility::unresponsive; }))
    return {NoAnswer{none_answers(facts.hosts)}, std::move(verdicts)};
  auto reason = facts.refused_for;
  for (const auto& each : candidates)
    if (!reason && each.error) reason = each.error;
  if (settled && reason) return {NoHost{std::move(*reason)}, std::move(verdicts)};
  return {AskAgain{"no host that answers has WAL that continues this archive"},
          std::move(verdicts)};
}

}  // namespace

bool has_role(const HostWord& host, Prefer prefer) {
  return prefer == Prefer::any || (host.standby && *host.standby == (prefer == Prefer::standby));
}

std::string_view to_string(Eligibility eligibility) {
  switch (eligibility) {
    case Eligibility::unresponsive:
      return "unresponsive";
    case Eligibility::mismatch:
      return "mismatch";
    case Eligibility::rejected:
      return "rejected";
    case Eligibility::behind:
      return "behind";
    case Eligibility::eligible:
      return "eligible";
  }
  return "";
}

StartWish wish_of(const Options& options) {
  return {.start = options.start, .segment = options.start_segment, .on_gap = options.on_gap};
}

StartDecision start_on(const HostWord& host, const std::optional<ArchivedSoFar>& archive,
                       const StartWish& wish) {
  StartFacts facts;
  facts.segment_size = host.segment_size;
  facts.server = host.identity;
  facts.server_history = host.history;
  facts.server_is_standby = host.standby;
  if (archive) facts.archive = archive->end;
  facts.requested = wish.start;
  if (wish.segment && wish.segment->fits(host.segment_size))
    facts.requested = wish.segment->start(host.segment_size);
  facts.on_gap = wish.on_gap;
  return choose_start(facts);
}

bool leads_through(const HostWord& host, const ArchivedSoFar& archive) {
  const auto& history = host.history;
  if (!history) return host.identity.timeline == archive.end.timeline;
  if (!history->contains(archive.end.timeline)) return false;
  const auto left = history->end_of(archive.end.timeline);
  return !left || archive.position <= *left;
}

HostChoice choose_host(const HostFacts& facts) {
  const auto cluster = wanted_cluster(facts);
  AllJudged candidates;
  for (const auto& host : facts.hosts) candidates.push_back(judge(host, facts, cluster));
  leave_out_what_a_gap_has_left(candidates, facts, cluster);

  HostChoice choice;
  Able able;
  bool settled = true;
  for (const auto& each : candidates) {
    choice.verdicts.push_back(
        {each.host->index, each.host->name, each.eligibility, false, each.why});
    if (each.eligibility == Eligibility::eligible) able.push_back(&each);
    if (!choice.verdicts.back().settled() && !facts.given_up.contains(each.host->index))
      settled = false;
  }
  if (able.empty())
    return without_able_hosts(candidates, facts, settled, std::move(choice.verdicts));

  const Judged* best = nullptr;
  if (const auto siblings = siblings_among(able)) {
    const auto streamed = std::find_if(able.begin(), able.end(), [&](const Judged* each) {
      return each->host->index == facts.streamed;
    });
    if (streamed == able.end()) {
      auto error = split_brain(*siblings->first->host, *siblings->second->host, facts);
      for (auto& verdict : choice.verdicts)
        if (verdict.why.empty()) verdict.why = "the cluster has diverged (split brain)";
      if (settled)
        choice.decision = NoHost{std::move(error)};
      else
        choice.decision = AskAgain{error.what()};
      return choice;
    }
    best = *streamed;
  } else {
    auto in_question = able;
    keep_those_that_lead_through(in_question);
    leave_out_dead_ends(in_question);
    best = best_of(in_question, facts.prefer);
  }
  if (best->host->has_wal == false && !settled) {
    for (auto& verdict : choice.verdicts)
      if (verdict.why.empty()) verdict.why = "no longer has the WAL that comes next";
    choice.decision = AskAgain{"the WAL that comes next is gone from every host that answers"};
    return choice;
  }
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    auto& verdict = choice.verdicts[i];
    verdict.taken = &candidates[i] == best;
    if (verdict.taken)
      verdict.why =
          fmt::format("{}, timeline {}{}", role_of(*best->host), best->host->identity.timeline,
                      best->host->has_wal == false ? ", without the WAL that comes next" : "");
    else if (verdict.why.empty()) {
      verdict.alarming = is_second_primary(candidates[i], *best);
      verdict.why = why_not(candidates[i], *best, facts);
    }
  }
  choice.decision = TakeHost{best->host->index};
  return choice;
}

}  // namespace weir::receive

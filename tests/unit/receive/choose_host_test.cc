#include "receive/choose_host.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>

namespace weir::receive::choose_host_test {
namespace {

using ::testing::HasSubstr;
using wal::Lsn;
using Ancestors = std::vector<wal::TimelineHistory::Ancestor>;

constexpr std::uint64_t kMB = 1 << 20;
const auto kSize = *wal::SegmentSize::of(kMB);
constexpr Lsn seg(double number) { return Lsn(static_cast<std::uint64_t>(number * kMB)); }

wal::TimelineHistory history_of(wal::TimelineId timeline, const Ancestors& ancestors) {
  if (ancestors.empty()) return wal::TimelineHistory(timeline);
  std::string text;
  for (const auto& each : ancestors)
    text += fmt::format("{}\t{}\tno recovery target specified\n", each.timeline, each.switchpoint);
  return *wal::TimelineHistory::parse(timeline, text);
}

constexpr bool kPrimary = false;
constexpr bool kStandby = true;

HostWord host(wal::TimelineId timeline, double position, const Ancestors& ancestors,
              std::optional<bool> standby, std::optional<bool> has_wal = true) {
  HostWord word;
  word.identity = {.system_identifier = 7, .timeline = timeline, .flush_position = seg(position)};
  word.segment_size = kSize;
  word.history = history_of(timeline, ancestors);
  word.standby = standby;
  word.has_wal = has_wal;
  return word;
}

HostWord silent(const std::string& why = "connection refused", ErrorKind kind = ErrorKind::retry) {
  HostWord word;
  word.failure = Error(kind, why);
  return word;
}

HostWord stalled(HostWord word) {
  word.stalled = true;
  return word;
}

HostWord of_another_cluster() {
  auto word = host(1, 50, {}, kPrimary);
  word.identity.system_identifier = 8;
  return word;
}

HostWord without_history(HostWord word) {
  word.history.reset();
  return word;
}

HostWord beginning_with(HostWord word, const std::string& wal) {
  word.first_wal[word.identity.timeline] = wal;
  return word;
}

/// The archive: all of timeline `timeline` up to `position`, in segments.
ArchivedSoFar archived(wal::TimelineId timeline, double position, const Ancestors& ancestors = {}) {
  return {.system_identifier = 7,
          .segment_size = kSize,
          .end = {.timeline = timeline,
                  .start = kSize.start_of(seg(position)),
                  .history = history_of(timeline, ancestors)},
          .position = seg(position)};
}

/// "take 1", "wait", "behind", "no answer", "stop": with names and indexes as they stand.
std::string decided(const HostChoice& choice) {
  if (const auto* take = std::get_if<TakeHost>(&choice.decision))
    return fmt::format("take {}", take->index);
  if (std::holds_alternative<HostsBehind>(choice.decision)) return "behind";
  if (std::holds_alternative<NoAnswer>(choice.decision)) return "no answer";
  if (std::holds_alternative<AskAgain>(choice.decision)) return "wait";
  return "stop";
}

HostFacts facts_of(std::vector<HostWord> hosts, std::optional<ArchivedSoFar> archive) {
  HostFacts facts;
  for (std::size_t i = 0; i < hosts.size(); ++i) {
    hosts[i].index = static_cast<int>(i);
    hosts[i].name = fmt::format("db{}", i);
  }
  facts.hosts = std::move(hosts);
  facts.archive = std::move(archive);
  return facts;
}

const Ancestors kOne{{1, seg(5.5)}};                 // of timeline 2
const Ancestors kOther{{1, seg(6.5)}};               // of another timeline 2, or of 3
const Ancestors kTwo{{1, seg(5.5)}, {2, seg(8.5)}};  // of timeline 3

TEST(ChooseHost, TakesTheNewestOfOneLineThatHasWhatTheArchiveHas) {
  struct Case {
    const char* name;
    std::vector<HostWord> hosts;
    std::optional<ArchivedSoFar> archive;
    const char* decision;
    std::function<void(HostFacts&)> change = {};
  };
  const auto prefer = [](Prefer role) { return [=](HostFacts& facts) { facts.prefer = role; }; };
  const auto streamed = [](int index) { return [=](HostFacts& facts) { facts.streamed = index; }; };
  const auto given_up = [](std::set<int> hosts) {
    return [=](HostFacts& facts) { facts.given_up = hosts; };
  };
  const auto ends_at = [](double position) {
    return [=](HostFacts& facts) { facts.archive->position = seg(position); };
  };
  const auto refused = [](int index, ErrorKind kind) {
    return [=](HostFacts& facts) {
      facts.refused = {index};
      if (kind == ErrorKind::gap) facts.refused_for_gap = {index};
      facts.refused_for = Error(kind, "looked at");
    };
  };
  const std::vector<Case> cases = {
      // One line of descent.
      {"the only one", {host(1, 9, {}, kPrimary)}, archived(1, 4.5), "take 0"},
      {"the first of equals",
       {host(1, 9, {}, kStandby), host(1, 9, {}, kStandby)},
       archived(1, 4.5),
       "take 0"},
      {"the newer timeline",
       {host(1, 9, {}, kStandby), host(2, 7, kOne, kPrimary)},
       archived(1, 4.5),
       "take 1"},
      {"one that has not stalled",
       {stalled(host(1, 4.6, {}, kStandby)), host(1, 9, {}, kStandby)},
       archived(1, 4.5),
       "take 1"},
      {"one that has not stalled, whatever is preferred",
       {stalled(host(1, 4.6, {}, kStandby)), host(1, 9, {}, kPrimary)},
       archived(1, 4.5),
       "take 1",
       prefer(Prefer::standby)},
      {"one that has stalled, rather than a hole",
       {stalled(host(1, 4.6, {}, kStandby)), host(1, 9, {}, kPrimary, false)},
       archived(1, 4.5),
       "take 0"},
      {"one that has stalled, if no other one answers",
       {silent(), stalled(host(1, 4.6, {}, kStandby))},
       archived(1, 4.5),
       "take 1"},
      {"a newer timeline of a primary that left something behind, though it has less",
       {host(1, 9, {}, kStandby), stalled(host(2, 5.6, kOne, kPrimary))},
       archived(1, 5.7),
       "take 1"},
      {"a grandchild",
       {host(2, 9, kOne, kStandby), host(1, 9, {}, kStandby), host(3, 9, kTwo, kPrimary)},
       archived(1, 4.5),
       "take 2"},
      {"an old primary that wrote on",
       {host(1, 40, {}, kPrimary), host(2, 7, kOne, kPrimary)},
       archived(1, 4.5),
       "take 1"},
      {"the newer timeline of a standby",
       {host(1, 9, {}, kPrimary), host(2, 7, kOne, kStandby)},
       archived(1, 4.5),
       "take 1"},
      {"the newer timeline exactly at the end",
       {host(1, 9, {}, kPrimary), host(2, 7, kOne, kPrimary)},
       archived(1, 5.5),
       "take 1"},
      {"an empty archive",
       {host(1, 9, {}, kPrimary), host(2, 7, kOne, kPrimary)},
       std::nullopt,
       "take 1"},
      // The archive is ahead of the newer timeline.
      {"a primary that was promoted with less",
       {host(1, 9, {}, kStandby), host(2, 7, kOne, kPrimary)},
       archived(1, 5.6),
       "take 1"},
      {"one whose role is not known, with less",
       {host(1, 9, {}, kStandby), host(2, 7, kOne, std::nullopt)},
       archived(1, 5.6),
       "take 1"},
      {"a standby of the newer timeline is not enough",
       {host(1, 9, {}, kStandby), host(2, 7, kOne, kStandby)},
       archived(1, 5.6),
       "take 0"},
      {"nobody else is there", {silent(), host(2, 7, kOne, kStandby)}, archived(1, 5.6), "take 1"},
      // Not of this line.
      {"an old primary behind a failover",
       {host(1, 40, {}, kPrimary), host(2, 9, kOne, kPrimary)},
       archived(2, 6.5, kOne),
       "take 1"},
      {"the other of two with the same number",
       {host(2, 40, kOther, kPrimary), host(2, 9, kOne, kStandby)},
       archived(2, 6.5, kOne),
       "take 1"},
      {"of another cluster",
       {of_another_cluster(), host(1, 9, {}, kPrimary)},
       archived(1, 4.5),
       "take 1"},
      {"of another cluster, the archive is empty",
       {of_another_cluster(), host(1, 9, {}, kPrimary)},
       std::nullopt,
       "take 0"},
      {"no history to be had",
       {without_history(host(2, 9, kOne, kPrimary)), host(2, 9, kOne, kStandby)},
       archived(1, 4.5),
       "take 1"},
      {"no history to be had, and none needed",
       {without_history(host(2, 9, kOne, kPrimary))},
       archived(2, 6.5, kOne),
       "take 0"},
      // Who has the WAL.
      {"who has the WAL",
       {host(1, 9, {}, kPrimary, false), host(1, 9, {}, kStandby)},
       archived(1, 4.5),
       "take 1"},
      {"who has the WAL, before the newer timeline",
       {host(1, 9, {}, kStandby), host(2, 9, kOne, kPrimary, false)},
       archived(1, 4.5),
       "take 0"},
      // The archive's last segment has a record over the fork that is not complete: nothing is lost.
      {"who has only what comes behind the fork of a primary without the WAL",
       {host(1, 9, {}, kPrimary), host(2, 9, kOne, kPrimary, false)},
       archived(1, 6),
       "take 1",
       ends_at(5.5)},
      {"who has what comes behind the fork of a standby without the WAL",
       {host(1, 9, {}, kPrimary), host(2, 9, kOne, kStandby, false)},
       archived(1, 6),
       "take 0",
       ends_at(5.5)},
      {"who has what comes before the fork of a primary without the WAL",
       {host(1, 9, {}, kPrimary), host(2, 9, kOne, kPrimary, false)},
       archived(1, 5.2),
       "take 0"},
      {"nobody has it",
       {host(1, 9, {}, kPrimary, false), host(1, 9, {}, kStandby, false)},
       archived(1, 4.5),
       "take 0"},
      {"nobody has it who answers",
       {host(1, 9, {}, kPrimary, false), silent()},
       archived(1, 4.5),
       "wait"},
      {"nobody has it, the other one is gone for long",
       {host(1, 9, {}, kPrimary, false), silent()},
       archived(1, 4.5),
       "take 0",
       given_up({1})},
      {"nobody has it, and one may get it",
       {host(1, 9, {}, kPrimary, false), host(1, 3, {}, kStandby)},
       archived(1, 4.5),
       "wait"},
      {"where there is none yet",
       {host(1, 4.5, {}, kPrimary, std::nullopt), host(1, 4.5, {}, kStandby, false)},
       archived(1, 4.5),
       "take 0"},
      // The role.
      {"a standby is preferred",
       {host(1, 9, {}, kPrimary), host(1, 9, {}, kStandby)},
       archived(1, 4.5),
       "take 1",
       prefer(Prefer::standby)},
      {"a primary is preferred",
       {host(1, 9, {}, kStandby), host(1, 9, {}, kPrimary)},
       archived(1, 4.5),
       "take 1",
       prefer(Prefer::primary)},
      {"no role is preferred",
       {host(1, 9, {}, kStandby), host(1, 9, {}, kPrimary)},
       archived(1, 4.5),
       "take 0"},
      {"the timeline before the role",
       {host(1, 9, {}, kStandby), host(2, 9, kOne, kPrimary)},
       archived(1, 4.5),
       "take 1",
       prefer(Prefer::standby)},
      {"the WAL before the role",
       {host(1, 9, {}, kPrimary), host(1, 9, {}, kStandby, false)},
       archived(1, 4.5),
       "take 0",
       prefer(Prefer::standby)},
      {"the other role is better than none",
       {host(1, 9, {}, kPrimary), silent()},
       archived(1, 4.5),
       "take 0",
       prefer(Prefer::standby)},
      // Behind.
      {"a standby that is behind",
       {host(1, 3, {}, kStandby), host(1, 9, {}, kPrimary)},
       archived(1, 4.5),
       "take 1"},
      {"all are behind", {host(1, 3, {}, kStandby), silent()}, archived(1, 4.5), "behind"},
      {"on the timeline before", {host(1, 9, {}, kStandby)}, archived(2, 6.5, kOne), "behind"},
      {"a primary with less than the archive",
       {host(1, 3, {}, kPrimary)},
       archived(1, 4.5),
       "stop"},
      // Siblings.
      {"two children, unlike numbers",
       {host(2, 9, kOne, kPrimary), host(3, 9, kOther, kPrimary)},
       archived(1, 4.5),
       "stop"},
      {"two children, the same number",
       {host(2, 9, kOne, kPrimary), host(2, 9, kOther, kPrimary)},
       archived(1, 4.5),
       "stop"},
      {"two children, the same number and place",
       {beginning_with(host(2, 9, kOne, kPrimary), "abc"),
        beginning_with(host(2, 9, kOne, kPrimary), "abd")},
       archived(1, 4.5),
       "stop"},
      {"two children, the same number and place, and one of them has gone on",
       {beginning_with(host(2, 9, kOne, kPrimary), "abc"), [] {
          auto word = host(3, 9, kTwo, kPrimary);
          word.first_wal = {{2, "abd"}, {3, "xyz"}};
          return word;
        }()},
       archived(1, 4.5), "stop"},
      {"one server by two names",
       {beginning_with(host(2, 9, kOne, kPrimary), "abc"),
        beginning_with(host(2, 9, kOne, kPrimary), "abc")},
       archived(1, 4.5),
       "take 0"},
      {"a standby that has less of the same",
       {beginning_with(host(2, 9, kOne, kPrimary), "abc"),
        beginning_with(host(2, 9, kOne, kStandby), "ab")},
       archived(1, 4.5),
       "take 0"},
      {"siblings, also where one leaves behind more",
       {host(2, 9, kOne, kPrimary), host(3, 9, kOther, kPrimary)},
       archived(1, 6.2),
       "stop"},
      {"siblings, and an older one",
       {host(1, 9, {}, kStandby), host(2, 9, kOne, kPrimary), host(3, 9, kOther, kPrimary)},
       archived(1, 4.5),
       "stop"},
      {"siblings: stays with the one that was streamed",
       {host(2, 9, kOne, kPrimary), host(3, 9, kOther, kPrimary)},
       archived(1, 4.5),
       "take 0",
       streamed(0)},
      {"siblings: stays with the other one",
       {host(2, 9, kOne, kPrimary), host(3, 9, kOther, kPrimary)},
       archived(1, 4.5),
       "take 1",
       streamed(1)},
      {"siblings: stays with the one that has not followed anybody yet",
       {host(2, 9, kOne, kPrimary), host(1, 9, {}, kStandby), host(3, 9, kOther, kPrimary)},
       archived(1, 4.5),
       "take 1",
       streamed(1)},
      {"siblings, and the streamed one is gone",
       {host(2, 9, kOne, kPrimary), host(3, 9, kOther, kPrimary), silent()},
       archived(1, 4.5),
       "wait",
       streamed(2)},
      {"siblings, and the streamed one is gone for long",
       {host(2, 9, kOne, kPrimary), host(3, 9, kOther, kPrimary), silent()},
       archived(1, 4.5),
       "stop",
       [](HostFacts& facts) {
         facts.streamed = 2;
         facts.given_up = {2};
       }},
      {"the archive knows which child it follows",
       {host(2, 9, kOne, kPrimary), host(3, 9, kOther, kPrimary)},
       archived(3, 7.5, kOther),
       "take 1",
       streamed(0)},
      {"the archive has the first bytes of one of two with the same number and place",
       {beginning_with(host(2, 9, kOne, kPrimary), "abd"),
        beginning_with(host(2, 9, kOne, kStandby), "abc")},
       [] {
         auto archive = archived(2, 5.6, kOne);
         archive.first_wal = "abc";
         return archive;
       }(),
       "take 1"},
      {"an empty archive between siblings",
       {host(2, 9, kOne, kPrimary), host(3, 9, kOther, kPrimary)},
       std::nullopt,
       "stop"},
      {"that it streamed counts for nothing on one line",
       {host(1, 9, {}, kPrimary), host(2, 9, kOne, kPrimary)},
       archived(1, 4.5),
       "take 1",
       streamed(0)},
      // Refused, silent.
      {"one that was refused",
       {host(1, 9, {}, kPrimary), host(1, 9, {}, kStandby)},
       archived(1, 4.5),
       "take 1",
       refused(0, ErrorKind::gap)},
      {"refused, and nobody else answers",
       {host(1, 9, {}, kPrimary), silent()},
       archived(1, 4.5),
       "wait",
       refused(0, ErrorKind::gap)},
      // An older line is no way around the gap of a primary that has left it.
      {"a primary was refused for a gap, and an old one goes on behind the fork",
       {host(2, 9, kOne, kPrimary, false), host(1, 9, {}, kPrimary)},
       archived(1, 5.6),
       "stop",
       refused(0, ErrorKind::gap)},
      {"a primary was refused for a gap, and an old one begins behind the fork",
       {host(2, 9, kOne, kPrimary, false), host(1, 9, {}, kPrimary)},
       archived(1, 6),
       "stop",
       [](HostFacts& facts) {
         facts.archive->position = seg(5.5);
         facts.refused = facts.refused_for_gap = {0};
         facts.refused_for = Error(ErrorKind::gap, "gone");
       }},
      {"a primary was refused for a gap, and another one may have its timeline",
       {host(2, 9, kOne, kPrimary, false), host(1, 9, {}, kPrimary), silent()},
       archived(1, 5.6),
       "wait",
       refused(0, ErrorKind::gap)},
      {"a primary was refused for a gap before the fork",
       {host(2, 9, kOne, kPrimary, false), host(1, 9, {}, kPrimary)},
       archived(1, 4.5),
       "take 1",
       refused(0, ErrorKind::gap)},
      {"a primary was refused for its settings",
       {host(2, 9, kOne, kPrimary), host(1, 9, {}, kPrimary)},
       archived(1, 5.6),
       "take 1",
       refused(0, ErrorKind::refused)},
      {"a standby was refused for a gap",
       {host(2, 9, kOne, kStandby, false), host(1, 9, {}, kPrimary)},
       archived(1, 5.6),
       "take 1",
       refused(0, ErrorKind::gap)},
      {"refused, and the other one is gone for long",
       {host(1, 9, {}, kPrimary), silent()},
       archived(1, 4.5),
       "stop",
       [](HostFacts& facts) {
         facts.refused = {0};
         facts.refused_for = Error(ErrorKind::gap, "gone");
         facts.given_up = {1};
       }},
      {"refused for its settings, which may be set right",
       {host(1, 9, {}, kPrimary), silent()},
       archived(1, 4.5),
       "wait",
       [](HostFacts& facts) {
         facts.refused = {0};
         facts.given_up = {1};
       }},
      {"nobody answers", {silent(), silent()}, archived(1, 4.5), "no answer"},
      {"foreign, and nobody else answers",
       {of_another_cluster(), silent()},
       archived(1, 4.5),
       "wait"},
      {"foreign, and the other one is gone for long",
       {of_another_cluster(), silent()},
       archived(1, 4.5),
       "stop",
       given_up({1})},
      {"all are foreign",
       {of_another_cluster(), host(1, 40, {}, kPrimary)},
       archived(2, 6.5, kOne),
       "stop"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    auto facts = facts_of(each.hosts, each.archive);
    if (each.change) each.change(facts);
    const auto choice = choose_host(facts);
    EXPECT_EQ(decided(choice), each.decision);
    ASSERT_EQ(choice.verdicts.size(), each.hosts.size());
    for (const auto& verdict : choice.verdicts) {
      EXPECT_FALSE(verdict.why.empty()) << verdict.name;
      EXPECT_EQ(verdict.taken, decided(choice) == fmt::format("take {}", verdict.index));
    }
  }
}

TEST(ChooseHost, NamesBothWaysOfASplitBrainAndWhatEachWouldLeaveBehind) {
  const auto choice = choose_host(
      facts_of({host(2, 9, kOne, kPrimary), host(3, 9, kOther, kPrimary)}, archived(1, 6.25)));
  const auto& error = std::get<NoHost>(choice.decision).error;
  EXPECT_EQ(error.kind(), ErrorKind::conflict);
  const std::string text = error.what();
  EXPECT_THAT(text, HasSubstr("split brain"));
  EXPECT_THAT(text, HasSubstr("db0 primary, timeline 2, which left timeline 1 at 0/580000; lacks "
                              "768 kB of the archive's WAL, from 0/580000 to 0/640000 on "
                              "timeline 1"));
  EXPECT_THAT(text, HasSubstr("db1 primary, timeline 3, which left timeline 1 at 0/680000; has all "
                              "WAL of the archive"));
}

TEST(ChooseHost, TellsWhyTheOthersWereNotTaken) {
  const auto choice = choose_host(
      facts_of({host(1, 9, {}, kPrimary), of_another_cluster(), silent("too many connections"),
                host(2, 9, kOne, kStandby), host(2, 9, kOne, kPrimary),
                host(2, 9, kOne, kPrimary, false), host(1, 3, {}, kStandby)},
               archived(1, 4.5)));
  ASSERT_EQ(decided(choice), "take 3");
  const auto why = [&](std::size_t i) { return choice.verdicts[i].why; };
  EXPECT_THAT(why(0), HasSubstr("timeline 1"));
  EXPECT_THAT(why(1), HasSubstr("different clusters"));
  EXPECT_THAT(why(2), HasSubstr("too many connections"));
  EXPECT_THAT(why(3), HasSubstr("standby, timeline 2"));
  EXPECT_THAT(why(4), HasSubstr("later in the list"));
  EXPECT_THAT(why(5), HasSubstr("no longer has the WAL"));
  EXPECT_FALSE(why(6).empty());
}

TEST(ChooseHost, HasTheReasonsOfAllWhereNobodyAnswers) {
  const auto error_of = [](std::vector<HostWord> hosts) {
    const auto choice = choose_host(facts_of(std::move(hosts), archived(1, 4.5)));
    return std::get<NoAnswer>(choice.decision).error;
  };
  const auto mixed = error_of({silent("no pg_hba.conf entry", ErrorKind::refused),
                               silent("could not connect to the server: connection refused")});
  EXPECT_EQ(mixed.kind(), ErrorKind::retry) << "the second one may answer later";
  EXPECT_EQ(mixed.message(),
            "none of the servers can be used: db0: no pg_hba.conf entry; db1: connection refused");
  const auto refused = error_of({silent("no pg_hba.conf entry", ErrorKind::refused),
                                 silent("password authentication failed", ErrorKind::refused)});
  EXPECT_EQ(refused.kind(), ErrorKind::refused);
}

// --- Any world -----------------------------------------------------------------------------------

/// A tree of branches, which are told apart by what they are and not by their numbers.
struct Branch {
  int parent = -1;
  wal::TimelineId timeline = 1;
  Lsn begin;  ///< where it left its parent
};

struct World {
  std::vector<Branch> branches{{}};
  std::vector<int> host_branch;
  int archive_branch = 0;

  /// From the root to it.
  [[nodiscard]] std::vector<int> path(int branch) const {
    std::vector<int> path;
    for (; branch >= 0; branch = branches[static_cast<std::size_t>(branch)].parent)
      path.insert(path.begin(), branch);
    return path;
  }
  [[nodiscard]] const Branch& at(int branch) const {
    return branches[static_cast<std::size_t>(branch)];
  }
  [[nodiscard]] Ancestors ancestors(int branch) const {
    Ancestors ancestors;
    const auto way = path(branch);
    for (std::size_t i = 0; i + 1 < way.size(); ++i)
      ancestors.push_back({at(way[i]).timeline, at(way[i + 1]).begin});
    return ancestors;
  }
  [[nodiscard]] bool descends(int branch, int from) const {
    const auto way = path(branch);
    return std::find(way.begin(), way.end(), from) != way.end();
  }
  /// Where `branch` leaves `from`, which it descends from; 0/0 if it is that one.
  [[nodiscard]] Lsn leaves(int branch, int from) const {
    const auto way = path(branch);
    const auto found = std::find(way.begin(), way.end(), from);
    return std::next(found) == way.end() ? Lsn() : at(*std::next(found)).begin;
  }
};

class AnyWorld {
 public:
  explicit AnyWorld(std::uint64_t seed) : random_(seed) {
    // No two branches begin at the same place: so histories tell them apart.
    for (auto count = below(5); count > 0; --count) {
      Branch branch;
      branch.parent = static_cast<int>(below(world.branches.size()));
      const auto& parent = world.at(branch.parent);
      branch.timeline = parent.timeline + 1 + static_cast<wal::TimelineId>(below(2));
      branch.begin = Lsn(std::max<std::uint64_t>(parent.begin.byte(), kMB) +
                         (1 + below(5'000'000)) / 8 * 8 + world.branches.size() * 8);
      world.branches.push_back(branch);
    }
    world.archive_branch = static_cast<int>(below(world.branches.size()));
    const auto& branch = world.at(world.archive_branch);
    const Lsn position(std::max<std::uint64_t>(branch.begin.byte(), kMB) + below(6'000'000));
    facts.archive = ArchivedSoFar{
        .system_identifier = 7,
        .segment_size = kSize,
        .end = {.timeline = branch.timeline,
                .start = kSize.start_of(position),
                .history = history_of(branch.timeline, world.ancestors(world.archive_branch))},
        .position = position};
    std::vector<HostWord> hosts;
    for (auto count = 1 + below(4); count > 0; --count) hosts.push_back(any_host());
    const auto archive = facts.archive;
    facts = facts_of(std::move(hosts), archive);
    if (below(2) == 0) facts.streamed = static_cast<int>(below(facts.hosts.size()));
    if (below(4) == 0) {
      facts.refused = {static_cast<int>(below(facts.hosts.size()))};
      facts.refused_for = Error(ErrorKind::gap, "gone");
    }
    for (std::size_t i = 0; i < facts.hosts.size(); ++i)
      if (below(2) == 0) facts.given_up.insert(static_cast<int>(i));
    facts.prefer = static_cast<Prefer>(below(3));
  }

  World world;
  HostFacts facts;

  enum class Is { silent, refused, foreign, behind, able };
  [[nodiscard]] Is is(std::size_t i) const {
    const auto& word = facts.hosts[i];
    if (word.failure) return Is::silent;
    if (facts.refused.contains(static_cast<int>(i))) return Is::refused;
    const auto branch = world.host_branch[i];
    const auto ours = world.archive_branch;
    const auto start = facts.archive->end.start;
    if (world.descends(branch, ours))
      return branch != ours || word.identity.flush_position >= start ? Is::able
             : word.standby == kPrimary                              ? Is::foreign
                                                                     : Is::behind;
    // A standby on an older timeline is waited for, whatever its history may become; but one of a
    // newer number is elsewhere.
    if (word.identity.timeline < world.at(ours).timeline)
      return word.standby == kPrimary ? Is::foreign : Is::behind;
    return Is::foreign;
  }
  [[nodiscard]] bool through(std::size_t i) const {
    const auto left = world.leaves(world.host_branch[i], world.archive_branch);
    return !left.valid() || facts.archive->position <= left;
  }
  [[nodiscard]] bool siblings(std::size_t i, std::size_t j) const {
    const auto a = world.host_branch[i];
    const auto b = world.host_branch[j];
    return !world.descends(a, b) && !world.descends(b, a);
  }

 private:
  std::uint64_t below(std::uint64_t end) { return random_() % end; }

  HostWord any_host() {
    const auto branch = static_cast<int>(below(world.branches.size()));
    world.host_branch.push_back(branch);
    if (below(5) == 0) return silent();
    const auto& at = world.at(branch);
    auto word = host(at.timeline, 0, world.ancestors(branch), std::nullopt);
    word.identity.flush_position =
        Lsn(std::max<std::uint64_t>(at.begin.byte(), kMB) + below(8'000'000));
    if (below(4) != 0) word.standby = below(2) == 0;
    word.has_wal = below(3) == 0 ? std::optional<bool>() : std::optional(below(2) == 0);
    return word;
  }

  std::mt19937_64 random_;
};

void check(const AnyWorld& any) {
  using Is = AnyWorld::Is;
  const auto& facts = any.facts;
  const auto choice = choose_host(facts);
  const auto said = decided(choice);
  std::vector<std::size_t> able;
  bool behind = false;
  bool answered = false;
  bool settled = true;
  bool a_reason = facts.refused_for.has_value();
  for (std::size_t i = 0; i < facts.hosts.size(); ++i) {
    const auto is = any.is(i);
    if (is == Is::able) able.push_back(i);
    behind = behind || is == Is::behind;
    answered = answered || is != Is::silent;
    a_reason = a_reason || is == Is::foreign;
    if ((is == Is::silent || is == Is::behind) && !facts.given_up.contains(static_cast<int>(i)))
      settled = false;
  }
  if (able.empty()) {
    EXPECT_EQ(said, behind                ? "behind"
                    : !answered           ? "no answer"
                    : settled && a_reason ? "stop"
                                          : "wait");
    return;
  }
  bool split = false;
  for (const auto i : able)
    for (const auto j : able) split = split || any.siblings(i, j);
  const auto* take = std::get_if<TakeHost>(&choice.decision);
  const auto index_of = [](std::size_t i) { return static_cast<int>(i); };
  const bool streamed_is_able =
      std::any_of(able.begin(), able.end(), [&](auto i) { return facts.streamed == index_of(i); });
  if (split && !streamed_is_able) {
    EXPECT_EQ(said, settled ? "stop" : "wait");
    return;
  }
  if (take == nullptr) {
    EXPECT_EQ(said, "wait");
    EXPECT_FALSE(settled);
    EXPECT_TRUE(std::any_of(able.begin(), able.end(),
                            [&](auto i) { return facts.hosts[i].has_wal == false; }));
    return;
  }
  const auto taken = static_cast<std::size_t>(take->index);
  ASSERT_NE(std::find(able.begin(), able.end(), taken), able.end());
  const auto& best = facts.hosts[taken];
  EXPECT_TRUE(best.has_wal != false || settled);
  if (split) {
    EXPECT_EQ(take->index, facts.streamed);
    return;
  }
  wal::TimelineId newest_through = 0;
  for (const auto i : able)
    if (any.through(i)) newest_through = std::max(newest_through, facts.hosts[i].identity.timeline);
  const bool a_newer_primary = std::any_of(able.begin(), able.end(), [&](auto i) {
    return !any.through(i) && facts.hosts[i].identity.timeline > newest_through &&
           facts.hosts[i].standby != true;
  });
  if (newest_through != 0) {
    EXPECT_EQ(any.through(taken), !a_newer_primary);
  }
  for (const auto i : able) {
    if (newest_through != 0 && any.through(i) == a_newer_primary) continue;
    const auto& other = facts.hosts[i];
    SCOPED_TRACE(fmt::format("beside {}", i));
    if (other.has_wal != false) {
      EXPECT_NE(best.has_wal, false) << "a hole, and it has the WAL";
    }
    if ((other.has_wal == false) != (best.has_wal == false)) continue;
    EXPECT_LE(other.identity.timeline, best.identity.timeline);
    if (other.identity.timeline != best.identity.timeline) continue;
    if (facts.prefer != Prefer::any && other.standby == (facts.prefer == Prefer::standby)) {
      EXPECT_EQ(best.standby, facts.prefer == Prefer::standby);
      EXPECT_LE(taken, i);
    }
  }
}

TEST(ChooseHost, KeepsItsRulesInAnyWorld) {
  std::uint64_t seed = 20'261'121;
  if (const char* given = std::getenv("PGWEIR_SEED")) seed = std::strtoull(given, nullptr, 10);
  std::printf("PGWEIR_SEED=%llu\n", static_cast<unsigned long long>(seed));
  for (std::uint64_t i = 0; i < 50'000; ++i) {
    SCOPED_TRACE(fmt::format("world {}", seed + i));
    check(AnyWorld(seed + i));
    if (::testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace weir::receive::choose_host_test

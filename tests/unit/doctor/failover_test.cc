#include "doctor/failover.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace weir::doctor::failover_test {
namespace {

using ::testing::HasSubstr;
using wal::Lsn;
using wal::TimelineHistory;

constexpr std::uint64_t kSystem = 7;
const auto kSize = *wal::SegmentSize::of(1 << 20);

Lsn mb(double megabytes) { return Lsn(static_cast<std::uint64_t>(megabytes * (1 << 20))); }

/// It ends at 8.5 MB of timeline 1.
FailoverFacts archive_facts() {
  return {.slot = "archive",
          .identity = {kSystem, kSize, "x"},
          .timelines = {},
          .ends = {{1, mb(8.5)}}};
}

/// At 10 MB of timeline 1, with a slot from 8 MB on.
HostFacts host_facts() {
  HostFacts host;
  host.host = "db2:5432";
  host.major = 15;
  host.standby = true;
  host.identity = {kSystem, 1, mb(10)};
  host.history = TimelineHistory(1);
  host.slot = pq::SlotState{.exists = true, .type = "physical", .restart_lsn = mb(8)};
  host.has_wal = true;
  return host;
}

TEST(JudgeFailover, SaysWhatAPromotionWouldCost) {
  struct Case {
    const char* name;
    void (*change)(HostFacts&);
    Level level;
    const char* found;
    const char* todo = "";
    std::optional<CommitCount> commits = std::nullopt;
  };
  const Case cases[] = {
      {"covered", [](auto&) {}, Level::ok, "to db2:5432: no gap, its slot keeps WAL from 0/800000"},
      {"what it has more", [](auto&) {}, Level::ok, "the archive would get 1.5 MB from it"},
      {"the slot begins in the archive's last segment",
       [](auto& host) { host.slot->restart_lsn = mb(8.9); }, Level::ok, "no gap"},
      {"the slot begins later", [](auto& host) { host.slot->restart_lsn = mb(9); }, Level::warning,
       "keeps WAL from 0/900000 on only, so the WAL from 0/800000 on is not retained there",
       "--slot-hosts all"},
      {"the WAL is gone",
       [](auto& host) {
         host.slot->restart_lsn = mb(9);
         host.has_wal = false;
       },
       Level::failure, "a GAP: it no longer has the WAL at 0/800000", "start the receiver now"},
      {"no slot", [](auto& host) { host.slot->exists = false; }, Level::warning,
       "it has no slot \"archive\"", "-S archive --create-slot"},
      {"a logical slot", [](auto& host) { host.slot->type = "logical"; }, Level::warning,
       "is a logical one", "--slot-hosts"},
      {"an invalidated slot", [](auto& host) { host.slot->restart_lsn.reset(); }, Level::warning,
       "reserves no WAL", "--slot-hosts"},
      {"a slot that could not be read", [](auto& host) { host.slot.reset(); }, Level::warning,
       "could not be read", "--slot-hosts"},
      {"behind, and covered",
       [](auto& host) {
         host.identity.flush_position = mb(7.25);
         host.slot->restart_lsn = mb(7);
       },
       Level::failure,
       "1.2 MB that the archive has, from 0/740000 to 0/880000, with at least 3 commits, would "
       "not be part",
       "promote another one", CommitCount{3, false}},
      {"behind by no commit",
       [](auto& host) {
         host.identity.flush_position = mb(7.25);
         host.slot->restart_lsn = mb(7);
       },
       Level::ok, "with 0 commits", "", CommitCount{0, true}},
      {"behind by a prepared transaction",
       [](auto& host) {
         host.identity.flush_position = mb(7.25);
         host.slot->restart_lsn = mb(7);
       },
       Level::failure, "with 0 commits and 1 prepared transaction, would", "promote another one",
       CommitCount{0, true, 1}},
      {"behind, and nobody can count the commits",
       [](auto& host) {
         host.identity.flush_position = mb(7.25);
         host.slot->restart_lsn = mb(7);
       },
       Level::failure, "COMMITS LOST", "promote another one"},
      {"behind, and without a slot",
       [](auto& host) {
         host.identity.flush_position = mb(7.25);
         host.slot->exists = false;
       },
       Level::failure, "COMMITS LOST", "--slot-hosts", CommitCount{1, true}},
      {"behind, its slot begins behind its own segment",
       [](auto& host) { host.identity.flush_position = mb(7.25); }, Level::warning, "on only", "",
       CommitCount{0, true}},
      {"the primary", [](auto& host) { host.standby = false; }, Level::ok, "is the primary now"},
      {"promoted already, behind the archive's end",
       [](auto& host) {
         host.identity = {kSystem, 2, mb(10)};
         host.history = TimelineHistory::parse(2, "1\t0/900000\tx\n");
       },
       Level::ok, "no gap"},
      {"promoted already, before the archive's end",
       [](auto& host) {
         host.identity = {kSystem, 2, mb(10)};
         host.history = TimelineHistory::parse(2, "1\t0/800000\tx\n");
       },
       Level::failure, "diverged from the archive's timeline 1 at 0/800000"},
      {"no history",
       [](auto& host) {
         host.identity = {kSystem, 2, mb(10)};
         host.history.reset();
       },
       Level::unknown, "no history of its timeline 2"},
      {"another cluster", [](auto& host) { host.identity.system_identifier = 8; }, Level::failure,
       "different clusters", "remove it"},
      {"a relay, which is behind",
       [](auto& host) {
         host.relay = true;
         host.identity.flush_position = mb(7.25);
       },
       Level::ok, "a relay (pgweir serve), which cannot be promoted", "", CommitCount{3, true}},
      {"other WAL", [](auto& host) { host.differs_before = mb(8.5); }, Level::failure,
       "its WAL of timeline 1 differs from the archive's before 0/880000", "rewind or rebuild it"},
      {"no answer",
       [](auto& host) {
         host.trouble = Trouble{"connection refused", {"start it"}};
       },
       Level::unknown, "does not answer: connection refused", "start it"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    auto host = host_facts();
    each.change(host);
    const auto check = judge_failover(archive_facts(), host, each.commits);
    EXPECT_EQ(check.name, "failover");
    EXPECT_EQ(check.level, each.level) << check.found;
    EXPECT_THAT(check.found, HasSubstr(each.found));
    std::string todo;
    for (const auto& line : check.todo) todo += line + "\n";
    EXPECT_THAT(todo, HasSubstr(each.todo));
  }
}

TEST(JudgeFailover, AsksForTheSegmentThatTheArchiveWouldGoOnWith) {
  auto host = host_facts();
  EXPECT_EQ(would_go_on_at(archive_facts(), host), mb(8));
  EXPECT_FALSE(would_leave_behind(archive_facts(), host).has_value());
  host.identity.flush_position = mb(7.25);
  EXPECT_EQ(would_go_on_at(archive_facts(), host), mb(7));
  const auto left = would_leave_behind(archive_facts(), host);
  ASSERT_TRUE(left.has_value());
  EXPECT_EQ(left->timeline, 1U);
  EXPECT_EQ(left->from, mb(7.25));
  EXPECT_EQ(left->to, mb(8.5));
  host.identity.system_identifier = 8;
  EXPECT_EQ(would_go_on_at(archive_facts(), host), std::nullopt);
}

Candidate candidate(const char* name, double at, std::optional<CommitCount> commits = {}) {
  Candidate candidate{host_facts(), commits};
  candidate.host.host = name;
  candidate.host.identity.flush_position = mb(at);
  return candidate;
}

Candidate silent(const char* name) {
  auto silent = candidate(name, 0);
  silent.host.trouble = Trouble{"connection refused", {}};
  return silent;
}

TEST(ConcludeFailover, NamesWhoLosesNothingOrLeast) {
  const auto archive = archive_facts();
  const auto conclude = [&](const std::vector<Candidate>& candidates) {
    return conclude_failover(archive, candidates);
  };
  EXPECT_FALSE(conclude({silent("db1"), silent("db2")}).known);
  EXPECT_THAT(conclude({silent("db1")}).text, HasSubstr("unknown: no host"));
  auto foreign = candidate("db1", 10);
  foreign.host.identity.system_identifier = 8;
  EXPECT_FALSE(conclude({foreign}).known);

  EXPECT_EQ(conclude({candidate("db1", 10), candidate("db2", 8, CommitCount{5, true}),
                      candidate("db3", 9)})
                .text,
            "a failover to db1, db3 loses nothing that the archive has");
  EXPECT_TRUE(conclude({silent("db1"), candidate("db2", 8.5)}).known);
  EXPECT_EQ(
      conclude({silent("db1"), candidate("db2", 8.25, CommitCount{5, true}),
                candidate("db3", 8, CommitCount{7, true}), candidate("db4", 8.4)})
          .text,
      "a failover to any of them loses commits; the fewest with db2 (256 kB, with 5 commits)");
  EXPECT_EQ(conclude({candidate("db1", 10), candidate("db2", 8, CommitCount{0, true})}).text,
            "a failover to db1, db2 loses no commits that the archive has");
  EXPECT_EQ(conclude({candidate("db1", 8, CommitCount{1, true}),
                      candidate("db2", 8, CommitCount{0, true, 1})})
                .text,
            "a failover to any of them loses commits; the fewest with db1, db2 (512 kB, with 1 "
            "commit)");
  EXPECT_EQ(conclude({candidate("db1", 8, CommitCount{0, true, 2}),
                      candidate("db2", 8, CommitCount{0, true, 1})})
                .text,
            "a failover to any of them loses prepared transactions; the fewest with db2 (512 kB, "
            "with 0 commits and 1 prepared transaction)");
  auto other = candidate("db3", 10);
  other.host.differs_before = mb(8.5);
  EXPECT_EQ(conclude({candidate("db1", 10), other}).text,
            "a failover to db1 loses nothing that the archive has");
  EXPECT_FALSE(conclude({other}).known);
  auto relay = candidate("relay", 10);
  relay.host.relay = true;
  EXPECT_EQ(conclude({relay, candidate("db2", 8.5)}).text,
            "a failover to db2 loses nothing that the archive has");
  EXPECT_FALSE(conclude({relay}).known);
  auto gap = candidate("db1", 10);
  gap.host.has_wal = false;
  EXPECT_EQ(conclude({gap, candidate("db2", 8.5)}).text,
            "a failover to db2 loses nothing that the archive has");
  EXPECT_THAT(conclude({gap}).text, HasSubstr("leaves a gap"));
}

TEST(JudgePrimaries, NamesASplitBrainOrAClone) {
  auto a = candidate("db1", 10);
  auto b = candidate("db2", 9);
  EXPECT_FALSE(judge_primaries({a, b}));
  a.host.standby = false;
  EXPECT_FALSE(judge_primaries({a, b}));
  b.host.standby = false;
  const auto check = judge_primaries({silent("db0"), a, b});
  ASSERT_TRUE(check);
  EXPECT_EQ(check->level, Level::failure);
  EXPECT_THAT(check->found,
              HasSubstr("db1 and db2 are both primaries on timeline 1: a split brain"));
  b.host.identity.timeline = 2;
  EXPECT_FALSE(judge_primaries({a, b}));
}

}  // namespace
}  // namespace weir::doctor::failover_test

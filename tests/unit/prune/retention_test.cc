#include "prune/retention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

namespace weir::prune::retention_test {
namespace {

using std::chrono::hours;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using State = FoundBackup::State;
using wal::Lsn;
using wal::PgTime;
using wal::TimelineHistory;

constexpr std::int64_t kHour = std::int64_t{3600} * 1'000'000;
constexpr std::int64_t kNow = 10'000 * kHour;

PgTime hours_ago(double count) {
  return {kNow - static_cast<std::int64_t>(count * static_cast<double>(kHour))};
}

/// A backup of the 100 bytes behind `start`.
FoundBackup backup(const std::string& path, std::uint64_t start, wal::TimelineId timeline = 1) {
  FoundBackup found{.path = path, .vouched = true};
  found.point.emplace();
  found.point->timeline = timeline;
  found.point->start = Lsn(start);
  found.point->end = Lsn(start + 100);
  found.point->end_timeline = timeline;
  found.point->file = path + "/backup_manifest";
  return found;
}

FoundBackup incremental(const std::string& path, std::uint64_t start, std::uint64_t parent) {
  auto found = backup(path, start);
  found.point->parent = archive::BackupPoint::Parent{1, Lsn(parent)};
  return found;
}

FoundBackup unfinished(const std::string& path, std::optional<std::uint64_t> start = {}) {
  auto found = start ? backup(path, *start) : FoundBackup{.path = path};
  found.state = State::unfinished;
  found.problem = "it is not finished";
  return found;
}

/// An archive of which a test says what its WAL tells.
class TestWal final : public WalFacts {
 public:
  const std::vector<Line>& lines() override { return lines_; }
  NewestCommit newest_commit(const Line& line, const Stretch& stretch) override {
    return newest.at({line.history.timeline(), stretch.begin.byte()});
  }
  WalOfBackup look(const FoundBackup& backup, const Line& /*line*/, const Stretch& /*stretch*/,
                   std::optional<PgTime> /*until*/) override {
    looked.push_back(backup.path);
    return found.at(backup.path);
  }

  TestWal& line(TimelineHistory history, std::vector<std::pair<Stretch, NewestCommit>> stretches) {
    Line line{std::move(history), {}};
    for (const auto& [stretch, commit] : stretches) {
      line.stretches.push_back(stretch);
      newest[{line.history.timeline(), stretch.begin.byte()}] = commit;
    }
    lines_.push_back(std::move(line));
    return *this;
  }
  TestWal& ended(const std::string& path, double ago) {
    found[path] = {.time = hours_ago(ago)};
    return *this;
  }

  std::map<std::pair<wal::TimelineId, std::uint64_t>, NewestCommit> newest;
  std::map<std::string, WalOfBackup> found;
  std::vector<std::string> looked;

 private:
  std::vector<Line> lines_;
};

/// One timeline without a hole, in which something was committed an hour ago.
TestWal one_line() {
  TestWal wal;
  wal.line(TimelineHistory(1), {{{Lsn(1000), Lsn(100'000)}, {hours_ago(1)}}});
  return wal;
}

Rules window(hours length) { return {.window = length, .now = {kNow}}; }
Rules count(std::size_t backups) { return {.count = backups, .now = {kNow}}; }

std::vector<std::string> kept(const Retention& retention) {
  std::vector<std::string> paths;
  for (const auto& point : retention.kept) paths.push_back(point.file);
  return paths;
}

const std::vector<FoundBackup> kThree = {backup("mon", 2000), backup("tue", 3000),
                                         backup("wed", 4000)};

TEST(Retention, OfAWindowIsTheNewestBackupThatHadEndedByItsBegin) {
  struct Case {
    const char* name;
    double mon, tue, wed;  ///< hours since they ended
    std::string kept;
  };
  constexpr double kMicrosecond = 1.0 / 3'600'000'000;
  for (const auto& test : std::initializer_list<Case>{
           {"between two", 100, 60, 10, "tue"},
           {"the newest is old enough", 100, 60, 49, "wed"},
           {"only the oldest is", 49, 40, 10, "mon"},
           {"exactly at the border", 100, 60, 48, "wed"},
           {"a moment younger than the border", 100, 60, 48 - kMicrosecond, "tue"},
           {"a moment older", 100, 60, 48 + kMicrosecond, "wed"},
           {"none", 47, 40, 10, ""},
       }) {
    SCOPED_TRACE(test.name);
    auto wal = one_line();
    wal.ended("mon", test.mon).ended("tue", test.tue).ended("wed", test.wed);
    const auto retention = choose(kThree, window(hours(48)), wal);
    EXPECT_EQ(retention.nothing, test.kept.empty());
    EXPECT_EQ(retention.complaint, test.kept.empty());
    if (test.kept.empty())
      EXPECT_THAT(retention.remarks, ElementsAre(HasSubstr("no backup had ended by")));
    else
      EXPECT_THAT(kept(retention), ElementsAre(test.kept));
    EXPECT_EQ(retention.choice.size(), 3u);
  }
}

TEST(Retention, OfAWindowInWhichNothingWasCommittedIsTheNewestBackupBeforeIt) {
  auto wal = one_line();
  wal.newest[{1, 1000}].time = hours_ago(5);
  wal.ended("mon", 100).ended("tue", 60).ended("wed", 10);
  const auto retention = choose(kThree, window(hours(2)), wal);
  EXPECT_THAT(kept(retention), ElementsAre("wed"));
  EXPECT_FALSE(retention.nothing || retention.complaint);
}

TEST(Retention, OfACountIsThatManyFullBackups) {
  auto wal = one_line();
  wal.ended("mon", 100).ended("tue", 60).ended("wed", 10).ended("tue+", 50);
  EXPECT_THAT(kept(choose(kThree, count(1), wal)), ElementsAre("wed"));
  EXPECT_THAT(kept(choose(kThree, count(2), wal)), ElementsAre("wed", "tue"));
  const auto all = choose(kThree, count(3), wal);
  EXPECT_THAT(kept(all), ElementsAre("wed", "tue", "mon"));
  EXPECT_FALSE(all.nothing || all.complaint);
  // An incremental one counts with its full one.
  auto more = kThree;
  more.push_back(incremental("tue+", 3500, 3000));
  EXPECT_THAT(kept(choose(more, count(2), wal)), ElementsAre("wed", "tue"));
}

TEST(Retention, SaysOfEachBackupThatTheArchiveCannotRecoverIt) {
  TestWal wal;
  wal.line(TimelineHistory(1), {{{Lsn(0x1000), Lsn(0x3000)}, {hours_ago(9)}},
                                {{Lsn(0x4000), Lsn(0x9000)}, {hours_ago(1)}}});
  wal.ended("new", 2).ended("old", 5);
  const auto retention =
      choose({backup("new", 0x8000), backup("before", 0x800), backup("in the hole", 0x3800),
              backup("old", 0x5000), backup("ahead", 0xa000), backup("other", 0x5000, 7)},
             {.count = 1, .now = {kNow}}, wal);
  EXPECT_THAT(retention.choice,
              ElementsAre(HasSubstr("new, began at 0/8000 on timeline 1: kept"),
                          HasSubstr("it started before the archive's first WAL"),
                          HasSubstr("it started in a hole of the archive"),
                          HasSubstr("old, began at 0/5000 on timeline 1: no longer needed"),
                          HasSubstr("the archive has not reached its start"),
                          HasSubstr("the archive has no WAL of its timeline")));
}

TEST(Retention, OfFewerBackupsThanAreToBeKeptRemovesNothing) {
  auto wal = one_line();
  wal.ended("mon", 100).ended("tue", 60).ended("wed", 10);
  const auto few = choose(kThree, count(4), wal);
  EXPECT_TRUE(few.nothing);
  EXPECT_FALSE(few.complaint);
  EXPECT_THAT(few.remarks, ElementsAre(HasSubstr("4 backups are to be kept")));
  const auto none = choose({}, count(1), wal);
  EXPECT_TRUE(none.nothing && none.complaint) << "the wrong directory, or nothing is mounted there";
  const auto no_window = choose({}, window(hours(1)), wal);
  EXPECT_TRUE(no_window.nothing && no_window.complaint);
}

TEST(Retention, OfBothRulesIsWhatEachOfThemKeeps) {
  auto wal = one_line();
  wal.ended("mon", 100).ended("tue", 60).ended("wed", 10);
  auto rules = window(hours(80));
  rules.count = 2;
  EXPECT_THAT(kept(choose(kThree, rules, wal)), ElementsAre("mon", "wed", "tue"));
}

TEST(Retention, KeepsWhatIsInDoubt) {
  auto wal = one_line();
  wal.ended("mon", 100).ended("tue", 60).ended("wed", 10);
  auto backups = kThree;
  backups.push_back(unfinished("thu", 4500));
  const auto running = choose(backups, window(hours(48)), wal);
  EXPECT_THAT(kept(running), ElementsAre("tue"));
  ASSERT_EQ(running.doubtful.size(), 1u);
  EXPECT_EQ(running.doubtful[0].start, Lsn(4500));
  EXPECT_TRUE(running.complaint);
  EXPECT_FALSE(running.nothing);
  EXPECT_THAT(running.remarks, Contains(HasSubstr("thu: it is not finished")));

  // Of these nobody knows where they begin.
  for (const auto state : {State::unfinished, State::unreadable}) {
    auto unknown = kThree;
    unknown.push_back({.path = "dark", .state = state, .problem = "Permission denied"});
    for (const auto& rules : {window(hours(48)), count(2)}) {
      const auto retention = choose(unknown, rules, wal);
      EXPECT_TRUE(retention.nothing && retention.complaint);
      EXPECT_THAT(retention.remarks, Contains(HasSubstr("dark: Permission denied")));
    }
  }
}

TEST(Retention, PassesBackupsOfWhichTheWalSaysThatTheyAreOfNoUse) {
  using Wal = WalOfBackup::State;
  struct Case {
    Wal state;
    bool complaint;
    std::size_t doubtful;
  };
  for (const auto& test : std::initializer_list<Case>{
           {Wal::not_ended, true, 1}, {Wal::stranger, false, 0}, {Wal::damaged, true, 0}}) {
    SCOPED_TRACE(static_cast<int>(test.state));
    auto wal = one_line();
    wal.ended("mon", 100).ended("wed", 10);
    wal.found["tue"] = {.state = test.state, .time = hours_ago(60), .what = "so it is"};
    for (const auto& rules : {window(hours(48)), count(2)}) {
      const auto retention = choose(kThree, rules, wal);
      EXPECT_FALSE(retention.nothing);
      EXPECT_EQ(retention.complaint, test.complaint);
      EXPECT_THAT(kept(retention), Contains("mon"));
      EXPECT_EQ(retention.doubtful.size(), test.doubtful);
      EXPECT_THAT(retention.remarks, ElementsAre(HasSubstr("so it is")));
    }
  }
}

TEST(Retention, TakesAnIncrementalBackupOnlyWithAllThatItBuildsUpon) {
  auto wal = one_line();
  wal.ended("full", 100).ended("one", 80).ended("two", 60).ended("new", 10);
  std::vector<FoundBackup> chain = {backup("full", 2000), incremental("one", 3000, 2000),
                                    incremental("two", 4000, 3000), backup("new", 5000)};
  EXPECT_THAT(kept(choose(chain, window(hours(48)), wal)), ElementsAre("two"));
  // Without the one between, the last one is no backup, and nobody knows who may still want it.
  chain.erase(chain.begin() + 1);
  const auto broken = choose(chain, window(hours(48)), wal);
  EXPECT_THAT(kept(broken), ElementsAre("full"));
  EXPECT_TRUE(broken.complaint);
  ASSERT_EQ(broken.doubtful.size(), 1u);
  EXPECT_EQ(broken.doubtful[0].start, Lsn(4000));
  // pg_combinebackup has made a full backup of the first two, of which one is gone.
  wal.ended("combined", 80);
  chain.push_back(incremental("one", 3000, 2000));
  chain.push_back(backup("combined", 3000));
  chain.erase(chain.begin());
  const auto combined = choose(chain, window(hours(48)), wal);
  EXPECT_THAT(kept(combined), ElementsAre("two"));
  ASSERT_EQ(combined.bases.size(), 1u);
  EXPECT_EQ(combined.bases[0].file, "combined");
  // One that says it is its own parent.
  chain = {incremental("loop", 2000, 2000)};
  EXPECT_THAT(kept(choose(chain, window(hours(48)), wal)), IsEmpty());
}

/// pg_combinebackup reads directories: no recovery can use such a chain.
TEST(Retention, CountsNoIncrementalBackupOfAChainWithTarFiles) {
  auto wal = one_line();
  wal.ended("full", 100).ended("one", 80).ended("two", 60).ended("copy", 100).ended("new", 10);
  const std::vector<FoundBackup> chain = {backup("full", 2000), incremental("one", 3000, 2000),
                                          incremental("two", 4000, 3000), backup("new", 5000)};
  const char* const names[] = {"the full one", "the one between", "the last one"};
  for (const std::size_t tar : {0U, 1U, 2U}) {
    SCOPED_TRACE(names[tar]);
    auto backups = chain;
    backups[tar].in_tar = true;
    const auto result = choose(backups, window(hours(48)), wal);
    EXPECT_THAT(kept(result), ElementsAre(tar == 2 ? "one" : "full"));
    EXPECT_TRUE(result.complaint);
    EXPECT_THAT(result.remarks,
                Contains(HasSubstr("two: it is incremental, and it or a backup that "
                                   "it builds upon has tar files")));
    // That is no reason to keep WAL for it. Nothing that it builds upon goes.
    EXPECT_THAT(result.doubtful, IsEmpty());
    const auto counted = choose(backups, count(1), wal);
    EXPECT_THAT(counted.obsolete, IsEmpty());
    EXPECT_THAT(counted.bases, IsEmpty());
  }
  // The full one was extracted, too.
  auto backups = chain;
  backups[0].in_tar = true;
  backups.push_back(backup("copy", 2000));
  const auto result = choose(backups, window(hours(48)), wal);
  EXPECT_THAT(kept(result), ElementsAre("two"));
  EXPECT_FALSE(result.complaint);
  ASSERT_EQ(result.bases.size(), 2U);
  EXPECT_EQ(result.bases[1].file, "copy");
}

TEST(Retention, GoesByTheWayToEachTimeline) {
  // Timeline 2 went on at 5000; the old primary wrote on upon timeline 1.
  const auto two = *TimelineHistory::parse(2, "1\t0/1388\tno recovery target specified\n");
  const auto world = [&](double old_primary) {
    TestWal wal;
    wal.line(TimelineHistory(1), {{{Lsn(1000), Lsn(8000)}, {hours_ago(old_primary)}}});
    wal.line(two, {{{Lsn(1000), Lsn(9000)}, {hours_ago(1)}}});
    wal.ended("before", 100).ended("lost", 60).ended("behind", 55).ended("young", 10);
    return wal;
  };
  const std::vector<FoundBackup> backups = {backup("before", 2000), backup("lost", 6000),
                                            backup("behind", 5500, 2), backup("young", 8000, 2)};
  // That of timeline 1 behind the switch is of no use on timeline 2.
  auto long_ago = world(70);
  EXPECT_THAT(kept(choose(backups, window(hours(48)), long_ago)), ElementsAre("behind"));
  const std::vector<FoundBackup> fewer = {backups[0], backups[1], backups[3]};
  EXPECT_THAT(kept(choose(fewer, window(hours(48)), long_ago)), ElementsAre("before"));
  // What the old primary committed within the window can be reached, too.
  auto both = world(20);
  EXPECT_THAT(kept(choose(backups, window(hours(48)), both)), ElementsAre("lost", "behind"));
  // From no backup: nothing goes.
  const std::vector<FoundBackup> none = {backups[2]};
  const auto refused = choose(none, window(hours(48)), both);
  EXPECT_TRUE(refused.nothing && refused.complaint);
  EXPECT_THAT(refused.remarks, ElementsAre(HasSubstr("on the way to timeline 1")));
  // Newest is what is on the newer timeline, whatever the positions say.
  EXPECT_THAT(kept(choose(backups, count(2), both)), ElementsAre("young", "behind"));
}

TEST(Retention, CountsNoBackupFromWhichTheNewestTimelineCannotBeRecovered) {
  // Timeline 2 went on at 5000; a backup of the old primary was under way, and it made another one.
  const auto two = *TimelineHistory::parse(2, "1\t0/1388\tno recovery target specified\n");
  TestWal wal;
  wal.line(TimelineHistory(1), {{{Lsn(1000), Lsn(8000)}, {hours_ago(2)}}});
  wal.line(two, {{{Lsn(1000), Lsn(9000)}, {hours_ago(1)}}});
  wal.ended("before", 100).ended("over", 60).ended("lost", 55).ended("new", 10);
  std::vector<FoundBackup> backups = {backup("before", 2000), backup("over", 4950),
                                      backup("lost", 6000)};
  auto retention = choose(backups, count(1), wal);
  EXPECT_THAT(kept(retention), ElementsAre("before"));
  EXPECT_THAT(retention.remarks,
              ElementsAre("lost: it is not in the history of timeline 2, the newest one, and does "
                          "not count",
                          HasSubstr("over: it is not in the history of timeline 2")));
  EXPECT_TRUE(choose(backups, count(2), wal).nothing);
  backups.push_back(backup("new", 7000, 2));
  retention = choose(backups, count(1), wal);
  EXPECT_THAT(kept(retention), ElementsAre("new"));
  EXPECT_THAT(retention.remarks, IsEmpty());
  EXPECT_THAT(kept(choose(backups, count(2), wal)), ElementsAre("new", "before"));
}

TEST(Retention, TakesAStandbysBackupThatBeganBeforeASwitch) {
  const auto two = *TimelineHistory::parse(2, "1\t0/1388\tno recovery target specified\n");
  TestWal wal;
  wal.line(two, {{{Lsn(1000), Lsn(9000)}, {hours_ago(1)}}});
  wal.ended("over", 60);
  auto over = backup("over", 4950);
  over.point->end_timeline = 2;
  EXPECT_THAT(kept(choose({over}, window(hours(48)), wal)), ElementsAre("over"));
  over.point->end_timeline = 1;  // it ends where timeline 2 does not go
  EXPECT_TRUE(choose({over}, window(hours(48)), wal).nothing);
}

TEST(Retention, UsesNoBackupOverAHole) {
  const auto world = [](double left, double right) {
    TestWal wal;
    wal.line(TimelineHistory(1), {{{Lsn(1000), Lsn(5000)}, {hours_ago(left)}},
                                  {{Lsn(6000), Lsn(9000)}, {hours_ago(right)}}});
    wal.ended("before", 100).ended("behind", 40);
    return wal;
  };
  const std::vector<FoundBackup> backups = {backup("before", 2000), backup("behind", 7000)};
  // The hole lies within the window: the moments before it need the older one, those behind it
  // have what there is.
  auto within = world(47, 1);
  const auto usual = choose(backups, window(hours(48)), within);
  EXPECT_THAT(kept(usual), ElementsAre("before"));
  EXPECT_FALSE(usual.complaint);
  // It lies before the window, whose first moments nothing reaches.
  auto earlier = world(49, 1);
  const auto refused = choose(backups, window(hours(48)), earlier);
  EXPECT_TRUE(refused.nothing && refused.complaint);
  EXPECT_THAT(refused.remarks, ElementsAre(HasSubstr("before 0/1770")));
  EXPECT_THAT(kept(choose(backups, window(hours(30)), earlier)), ElementsAre("behind"));
  // A backup in the hole is none.
  EXPECT_THAT(kept(choose({backup("before", 4950)}, count(1), within)), IsEmpty());
  // Where WAL cannot be read nobody knows whether it lies within.
  auto unsure = world(49, 1);
  unsure.newest[{1, 1000}].unsure = true;
  EXPECT_THAT(kept(choose(backups, window(hours(48)), unsure)), ElementsAre("before"));
}

TEST(Retention, CountsBackFromTheNewestCommitOfAnArchiveThatIsCutOff) {
  // Or the clock of this machine is ahead by five days.
  TestWal wal;
  wal.line(TimelineHistory(1), {{{Lsn(1000), Lsn(9000)}, {hours_ago(120)}}});
  wal.ended("mon", 170).ended("tue", 167).ended("wed", 130);
  const auto retention = choose(kThree, window(hours(48)), wal);
  EXPECT_THAT(kept(retention), ElementsAre("mon"));
  EXPECT_THAT(retention.remarks, ElementsAre(HasSubstr("are counted back from it")));
  EXPECT_FALSE(retention.complaint);
  // Also if the last WAL cannot be read.
  wal.newest[{1, 1000}].unsure = true;
  const auto unsure = choose(kThree, window(hours(48)), wal);
  EXPECT_THAT(kept(unsure), ElementsAre("mon"));
  EXPECT_THAT(unsure.remarks, ElementsAre(HasSubstr("the newest commit that can be read is from")));
  wal.newest[{1, 1000}].unsure = false;
  // A night without a commit is no reason.
  wal.newest[{1, 1000}].time = hours_ago(24);
  EXPECT_THAT(kept(choose(kThree, window(hours(48)), wal)), ElementsAre("wed"));
  // A clock that is behind keeps more.
  wal.newest[{1, 1000}].time = hours_ago(-5);
  EXPECT_THAT(choose(kThree, window(hours(48)), wal).remarks,
              ElementsAre(HasSubstr("check the clocks of this machine")));
}

TEST(Retention, SaysSoWhereABackupsEndIsAGuess) {
  auto wal = one_line();
  wal.found["mon"] = {.time = hours_ago(60), .guessed = true};
  const auto retention = choose({kThree[0]}, window(hours(48)), wal);
  EXPECT_THAT(kept(retention), ElementsAre("mon"));
  EXPECT_THAT(retention.remarks, ElementsAre(HasSubstr("it has no manifest")));
  EXPECT_FALSE(retention.complaint);
}

TEST(Retention, GivesTheEndThatTheWalShowsWhereAManifestIsMissing) {
  auto wal = one_line();
  auto backups = kThree;
  backups[2].point->end.reset();
  backups[2].point->end_timeline = 0;
  wal.found["wed"] = {.time = hours_ago(10), .end = Lsn(4700), .end_timeline = 1};
  wal.found["tue"] = {.time = hours_ago(20), .end = Lsn(9000), .end_timeline = 1};
  const auto retention = choose(backups, count(2), wal);
  ASSERT_THAT(kept(retention), ElementsAre("wed", "tue"));
  EXPECT_EQ(retention.kept[0].end, Lsn(4700));
  EXPECT_EQ(retention.kept[0].end_timeline, 1u);
  EXPECT_EQ(retention.kept[1].end, backups[1].point->end) << "its files name it";
}

TEST(Retention, LooksAtNoMoreBackupsThanItNeeds) {
  auto wal = one_line();
  wal.ended("mon", 100).ended("tue", 60).ended("wed", 55);
  static_cast<void>(choose(kThree, window(hours(48)), wal));
  EXPECT_THAT(wal.looked, ElementsAre("wed"));
}

TEST(Retention, WhatNoRuleNeedsGoesNewestFirstAndNothingThatOthersBuildUpon) {
  TestWal wal;
  wal.line(TimelineHistory(1), {{{Lsn(0), Lsn(0x10000)}, {.time = hours_ago(0)}}});
  const std::vector<FoundBackup> backups = {backup("full1", 0x1000),
                                            incremental("inc1", 0x2000, 0x1000),
                                            backup("full2", 0x3000),
                                            incremental("inc2", 0x4000, 0x3000),
                                            incremental("inc3", 0x5000, 0x4000),
                                            backup("full3", 0x6000),
                                            incremental("lost", 0x6800, 0x1234)};
  for (const auto& each : backups) wal.ended(each.path, 0.1);
  // By number: the incremental ones go with the full one that they build upon.
  const auto counted = choose(backups, {.count = 2, .now = {kNow}}, wal);
  EXPECT_THAT(counted.obsolete, ElementsAre("inc1", "full1"));
  EXPECT_THAT(counted.bases, IsEmpty());
  // By time: what is kept is an incremental one, and what it builds upon stays.
  wal.ended("inc3", 200).ended("inc2", 210).ended("full2", 220);
  const auto window = choose(backups, {.window = hours(168), .now = {kNow}}, wal);
  ASSERT_EQ(window.kept.size(), 1U);
  EXPECT_EQ(window.kept[0].file, "inc3");
  EXPECT_THAT(window.obsolete, ElementsAre("inc1", "full1"));
  const auto tells_of_the_base = [](const Retention& retention, const char* base) {
    return std::any_of(retention.choice.begin(), retention.choice.end(), [&](const auto& line) {
      return line.starts_with(base) && line.ends_with(
                                           ": an incremental backup that is kept builds "
                                           "upon it");
    });
  };
  for (const auto* const base : {"full2", "inc2"})
    EXPECT_TRUE(tells_of_the_base(window, base)) << base;
  // Also if its WAL was pruned.
  TestWal pruned;
  pruned.line(TimelineHistory(1), {{{Lsn(0x4800), Lsn(0x10000)}, {.time = hours_ago(0)}}});
  for (const auto& each : backups) pruned.ended(each.path, 0.1);
  pruned.ended("inc3", 200);
  const auto again = choose(backups, {.window = hours(168), .now = {kNow}}, pruned);
  for (const auto* const base : {"full2", "inc2"}) EXPECT_TRUE(tells_of_the_base(again, base));
  ASSERT_EQ(window.bases.size(), 2U);
  EXPECT_EQ(window.bases[0].file, "inc2");
  EXPECT_EQ(window.bases[1].file, "full2");
  // Nothing goes where a rule is not fulfilled.
  EXPECT_THAT(choose(backups, {.count = 4, .now = {kNow}}, wal).obsolete, IsEmpty());
}

/// In a directory, and in another one that it was copied to.
TEST(Retention, CountsCopiesOfABackupOnce) {
  auto wal = one_line();
  wal.ended("mon", 100).ended("tue", 60).ended("wed", 10).ended("nas/wed", 10);
  wal.ended("nas/mon", 100);
  auto backups = kThree;
  backups.push_back(backup("nas/wed", 4000));
  backups.push_back(backup("nas/mon", 2000));
  EXPECT_THAT(kept(choose(backups, count(1), wal)), ElementsAre("wed", "nas/wed"));
  EXPECT_THAT(kept(choose(backups, count(2), wal)), ElementsAre("wed", "nas/wed", "tue"));
  EXPECT_THAT(kept(choose(backups, count(3), wal)),
              ElementsAre("wed", "nas/wed", "tue", "mon", "nas/mon"));
  EXPECT_TRUE(choose(backups, count(4), wal).nothing);
}

TEST(Retention, KeepsWhatItsOwnProgramIsToldToKeep) {
  auto wal = one_line();
  wal.ended("mon", 100).ended("tue", 60).ended("wed", 10);
  auto backups = kThree;
  backups.front().keep_always = true;
  EXPECT_THAT(kept(choose(backups, count(1), wal)), ElementsAre("mon", "wed"));
  EXPECT_THAT(kept(choose(backups, window(hours(48)), wal)), ElementsAre("mon", "tue"));
  // It is one of the newest three, too.
  EXPECT_THAT(kept(choose(backups, count(3), wal)), ElementsAre("mon", "wed", "tue"));
  // Unless its WAL is gone, or it is of another cluster: then it keeps nothing.
  wal.found["mon"] = {.state = WalOfBackup::State::stranger, .what = "of another cluster"};
  EXPECT_THAT(kept(choose(backups, count(1), wal)), ElementsAre("wed"));
  backups.front().point->start = Lsn(500);
  EXPECT_THAT(kept(choose(backups, count(1), wal)), ElementsAre("wed"));
}

/// A backup in tar format is no base: the next incremental one builds upon the plain one before it.
TEST(Retention, WhatANewerOneBuildsUponStaysThoughNoRuleKeepsThat) {
  TestWal wal;
  wal.line(TimelineHistory(1), {{{Lsn(0), Lsn(0x10000)}, {.time = hours_ago(0)}}});
  const std::vector<FoundBackup> backups = {backup("older", 0x800),
                                            backup("plain", 0x1000),
                                            backup("tar", 0x2000),
                                            incremental("inc1", 0x3000, 0x1000),
                                            incremental("inc2", 0x4000, 0x3000),
                                            backup("newest", 0x5000)};
  for (const auto& each : backups) wal.ended(each.path, 0.1);
  const auto result = choose(backups, {.count = 2, .now = {kNow}}, wal);
  EXPECT_THAT(kept(result), ElementsAre("newest", "tar"));
  EXPECT_THAT(result.obsolete, ElementsAre("older"));
}

TEST(Retention, WhatOneInDoubtBuildsUponStays) {
  TestWal wal;
  wal.line(TimelineHistory(1), {{{Lsn(0), Lsn(0x10000)}, {.time = hours_ago(0)}}});
  auto broken = incremental("inc1", 0x2000, 0x1000);
  broken.state = State::unfinished;
  broken.problem = "its file 1 is missing";
  const std::vector<FoundBackup> backups = {backup("full1", 0x1000), broken,
                                            backup("full2", 0x3000)};
  wal.ended("full1", 3).ended("full2", 1);
  const auto result = choose(backups, {.count = 1, .now = {kNow}}, wal);
  EXPECT_THAT(result.obsolete, IsEmpty());
  EXPECT_TRUE(result.complaint);
}

/// Clusters that were created alike have backups at the same positions.
TEST(Retention, TakesNoBackupOfAnotherClusterForTheParentOfAnIncrementalOne) {
  struct Case {
    std::uint64_t parent, child;
    bool same;
  };
  for (const auto& test : std::initializer_list<Case>{
           {1, 1, true}, {2, 1, false}, {0, 1, true}, {1, 0, true}, {0, 0, true}}) {
    SCOPED_TRACE(std::to_string(test.parent) + " and " + std::to_string(test.child));
    auto parent = backup("mon", 2000);
    auto child = incremental("tue+", 3000, 2000);
    parent.point->system_identifier = test.parent;
    child.point->system_identifier = test.child;
    EXPECT_EQ(archive::is_better_parent<FoundBackup>(*child.point, parent, nullptr), test.same);
    auto wal = one_line();
    wal.ended("mon", 100).ended("tue+", 60);
    const auto retention = choose({parent, child}, window(hours(48)), wal);
    EXPECT_EQ(retention.complaint, !test.same);
    if (test.same) {
      EXPECT_THAT(kept(retention), ElementsAre("tue+"));
      continue;
    }
    EXPECT_THAT(kept(retention), ElementsAre("mon"));
    EXPECT_THAT(retention.remarks,
                ElementsAre(HasSubstr("tue+: it is incremental to a backup that started at")));
    // The right one may be there, too.
    auto own = backup("own", 2000);
    own.point->system_identifier = test.child;
    wal.ended("own", 100);
    const auto both = choose({parent, own, child}, window(hours(48)), wal);
    EXPECT_THAT(kept(both), ElementsAre("tue+"));
    ASSERT_EQ(both.bases.size(), 1u);
    EXPECT_EQ(both.bases[0].file, "own");
  }
}

}  // namespace
}  // namespace weir::prune::retention_test

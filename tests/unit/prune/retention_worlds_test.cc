#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "prune/retention.h"
#include "support/bytes.h"

// Random worlds: servers that write, fail over, write on upon the old timeline all the same, and
// are backed up; an archive with holes; backups that broke off, are damaged, of strangers, removed.
// What choose() leaves is held against an oracle that knows nothing but the world itself.

namespace weir::prune::retention_worlds_test {
namespace {

using State = FoundBackup::State;
using wal::Lsn;
using wal::PgTime;
using wal::TimelineHistory;

constexpr std::uint64_t kSegment = 100;
constexpr std::int64_t kHour = std::int64_t{3600} * 1'000'000;

struct World final : WalFacts {
  struct Commit {
    wal::TimelineId timeline;
    std::uint64_t lsn;
    std::int64_t time;
  };
  struct Timeline {
    wal::TimelineId id;
    std::vector<std::pair<wal::TimelineId, std::uint64_t>> ancestors;
    std::uint64_t begin;  ///< switchpoint
    std::uint64_t end;    ///< written so far
    bool alive = true;
  };

  explicit World(std::uint64_t seed) : random(seed) {
    timelines.push_back({1, {}, 1000, 1000});
    const auto steps = 10 + pick(60);
    for (std::uint64_t i = 0; i < steps; ++i) step();
    now = clock + static_cast<std::int64_t>(pick(30)) * kHour;
    std::erase_if(backups, [&](const FoundBackup&) { return one_in(4); });
    for (auto& timeline : timelines) all_lines.push_back(line_of(timeline));
  }

  std::uint64_t pick(std::uint64_t below) { return random() % below; }
  bool one_in(std::uint64_t count) { return pick(count) == 0; }

  void step() {
    std::vector<Timeline*> living;
    for (auto& timeline : timelines)
      if (timeline.alive) living.push_back(&timeline);
    auto& server = *living[pick(living.size())];
    clock += static_cast<std::int64_t>(pick(6)) * kHour;
    server.end += 1 + pick(150);
    switch (pick(8)) {
      case 0:
        backup(server);
        break;
      case 1:
        backup(server);
        break;
      case 2:
        if (one_in(2)) fail_over(server);
        break;
      case 3:
        if (one_in(3)) {
          const auto first = server.end / kSegment + 1;
          holes[server.id].insert(first);
          server.end = (first + 1) * kSegment + pick(50);
        }
        break;
      default:
        commits.push_back({server.id, server.end, clock});
    }
  }

  void backup(Timeline& server) {
    FoundBackup made{.path = "backup " + std::to_string(backups.size()), .vouched = true};
    made.point.emplace();
    auto& point = *made.point;
    point.file = made.path;
    point.timeline = server.id;
    point.start = Lsn(server.end);
    if (one_in(3) && !backups.empty()) {
      const auto& parent = *backups[pick(backups.size())].point;
      point.parent = archive::BackupPoint::Parent{parent.timeline, parent.start};
    }
    for (auto during = pick(3); during > 0; --during) {
      server.end += pick(120);
      clock += static_cast<std::int64_t>(pick(3)) * kHour;
      commits.push_back({server.id, server.end, clock});
    }
    server.end += 1 + pick(20);
    point.end = Lsn(server.end);
    point.end_timeline = server.id;
    ends[made.path] = server.end;
    auto state = WalOfBackup::State::sound;
    switch (pick(12)) {
      case 0:
        state = WalOfBackup::State::damaged;
        break;
      case 1:
        state = WalOfBackup::State::stranger;
        break;
      case 2:
        state = WalOfBackup::State::not_ended;
        point.end.reset();
        break;
      case 3:
        made.state = State::unfinished;
        made.problem = "broke off";
        break;
      default:
        break;
    }
    states[made.path] = state;
    backups.push_back(std::move(made));
  }

  void fail_over(Timeline& server) {
    Timeline next{static_cast<wal::TimelineId>(timelines.size() + 1), server.ancestors, server.end,
                  server.end};
    next.ancestors.emplace_back(server.id, server.end);
    server.alive = one_in(3);  // a second primary
    timelines.push_back(std::move(next));
  }

  // What the archive has, by the segments' numbers.

  static wal::TimelineId timeline_at(const Timeline& timeline, std::uint64_t lsn) {
    for (const auto& [ancestor, switchpoint] : timeline.ancestors)
      if (lsn < switchpoint) return ancestor;
    return timeline.id;
  }
  /// A recovery along the timeline finds this segment.
  bool has(const Timeline& timeline, std::uint64_t segno) const {
    const auto owner = timeline_at(timeline, segno * kSegment + kSegment - 1);
    const auto& writer = timelines[owner - 1];
    if (segno < writer.begin / kSegment || segno > writer.end / kSegment) return false;
    const auto found = holes.find(owner);
    return found == holes.end() || !found->second.contains(segno);
  }
  bool on_way(const Timeline& timeline, wal::TimelineId id, std::uint64_t lsn) const {
    return timeline_at(timeline, lsn) == id;
  }

  Line line_of(const Timeline& timeline) const {
    std::string history;
    for (const auto& [ancestor, switchpoint] : timeline.ancestors)
      history += std::to_string(ancestor) + "\t" + Lsn(switchpoint).to_string() + "\n";
    Line line{timeline.ancestors.empty() ? TimelineHistory(timeline.id)
                                         : TimelineHistory::parse(timeline.id, history).value(),
              {}};
    for (std::uint64_t segno = 0; segno <= timeline.end / kSegment; ++segno) {
      if (!has(timeline, segno)) continue;
      const auto begin = Lsn(segno * kSegment);
      if (line.stretches.empty() || line.stretches.back().end != begin)
        line.stretches.push_back({begin, begin});
      line.stretches.back().end = begin + kSegment;
    }
    return line;
  }

  // WalFacts

  const std::vector<Line>& lines() override { return all_lines; }
  NewestCommit newest_commit(const Line& line, const Stretch& stretch) override {
    NewestCommit newest;
    for (const auto& commit : commits)
      if (line.history.timeline_of(Lsn(commit.lsn)) == commit.timeline &&
          stretch.begin <= Lsn(commit.lsn) && Lsn(commit.lsn) < stretch.end)
        newest.time = std::max(newest.time.value_or(PgTime{}), PgTime{commit.time});
    return newest;
  }
  WalOfBackup look(const FoundBackup& which, const Line& line, const Stretch& stretch,
                   std::optional<PgTime> /*until*/) override {
    WalOfBackup found{.state = states.at(which.path), .what = "for a reason"};
    if (found.state == WalOfBackup::State::sound)
      found.time = time_of(ends.at(which.path), line, stretch);
    return found;
  }
  std::optional<PgTime> time_of(std::uint64_t end, const Line& line, const Stretch& stretch) const {
    const Commit* first = nullptr;
    for (const auto& commit : commits)
      if (commit.lsn >= end && Lsn(commit.lsn) < stretch.end &&
          line.history.timeline_of(Lsn(commit.lsn)) == commit.timeline &&
          (first == nullptr || commit.lsn < first->lsn))
        first = &commit;
    return first == nullptr ? std::nullopt : std::optional(PgTime{first->time});
  }

  // The oracle

  /// It is whole: with what it builds upon, and of this cluster.
  bool usable(const FoundBackup& which) const {
    if (which.state != State::finished || states.at(which.path) != WalOfBackup::State::sound)
      return false;
    const auto* point = &*which.point;
    while (point->parent) {
      const archive::BackupPoint* parent = nullptr;
      for (const auto& other : backups)
        if (other.state == State::finished && other.point->timeline == point->parent->timeline &&
            other.point->start == point->parent->start && other.point->start < point->start)
          parent = &*other.point;
      if (parent == nullptr) return false;
      point = parent;
    }
    return true;
  }
  /// A recovery along the timeline can come to the position, with what is left from `limit` on.
  bool reachable(const Timeline& timeline, std::uint64_t lsn, std::uint64_t limit) const {
    return std::any_of(backups.begin(), backups.end(), [&](const FoundBackup& which) {
      if (!usable(which)) return false;
      const auto start = which.point->start.byte();
      const auto end = which.point->end->byte();
      if (start / kSegment < limit / kSegment || end > lsn) return false;
      if (!on_way(timeline, which.point->timeline, start) ||
          !on_way(timeline, which.point->timeline, end - 1))
        return false;
      for (auto segno = start / kSegment; segno <= lsn / kSegment; ++segno)
        if (!has(timeline, segno)) return false;
      return true;
    });
  }

  std::mt19937_64 random;
  std::int64_t clock = 100'000 * kHour;
  std::int64_t now = 0;
  std::vector<Timeline> timelines;
  std::vector<Commit> commits;
  std::map<wal::TimelineId, std::set<std::uint64_t>> holes;
  std::vector<FoundBackup> backups;
  std::map<std::string, WalOfBackup::State> states;
  std::map<std::string, std::uint64_t> ends;
  std::vector<Line> all_lines;
};

std::uint64_t limit_of(const Retention& retention) {
  auto limit = UINT64_MAX;
  for (const auto* points : {&retention.kept, &retention.doubtful})
    for (const auto& point : *points) limit = std::min(limit, point.start.byte());
  return limit;
}

TEST(Retention, LeavesWhatBringsBackEveryMomentOfTheWindow) {
  const auto seed = test::seed_or(1401);
  int removing = 0;
  int refusing = 0;
  for (std::uint64_t round = 0; round < 4000; ++round) {
    SCOPED_TRACE(::testing::Message() << "round " << round);
    World world(seed + round);
    const auto window = std::chrono::hours(1 + world.pick(150));
    const auto retention = choose(world.backups, {.window = window, .now = {world.now}}, world);
    if (retention.nothing) {
      ++refusing;
      EXPECT_TRUE(retention.complaint && !retention.remarks.empty());
      continue;
    }
    ++removing;
    auto cutoff = world.now - std::chrono::microseconds(window).count();
    const auto limit = limit_of(retention);
    for (const auto& timeline : world.timelines)
      for (const auto& commit : world.commits) {
        if (commit.time <= cutoff || !world.on_way(timeline, commit.timeline, commit.lsn)) continue;
        EXPECT_TRUE(!world.reachable(timeline, commit.lsn, 0) ||
                    world.reachable(timeline, commit.lsn, limit))
            << "timeline " << timeline.id << ", commit at " << commit.lsn << ", limit " << limit;
      }
    // And each moment that a hole does not keep away can be reached at all.
    const auto& main = world.timelines.back();
    const auto last =
        world.newest_commit(world.all_lines.back(), world.all_lines.back().stretches.back()).time;
    if (last && last->microseconds < world.now - std::chrono::microseconds(kSilence).count())
      cutoff = last->microseconds - std::chrono::microseconds(window).count();
    const auto& stretches = world.all_lines.back().stretches;
    const auto first = std::find_if(stretches.begin(), stretches.end(), [&](const auto& stretch) {
      const auto newest = world.newest_commit(world.all_lines.back(), stretch).time;
      return newest && newest->microseconds >= cutoff;
    });
    if (first == stretches.end()) continue;
    for (const auto& commit : world.commits) {
      if (commit.time <= cutoff || !world.on_way(main, commit.timeline, commit.lsn) ||
          Lsn(commit.lsn) < first->begin || Lsn(commit.lsn) >= first->end)
        continue;
      EXPECT_TRUE(world.reachable(main, commit.lsn, limit)) << commit.lsn;
    }
  }
  EXPECT_GT(removing, 400);
  EXPECT_GT(refusing, 400);
}

TEST(Retention, KeepsNoMoreOfAPlainWorldThanTheWindowNeeds) {
  const auto seed = test::seed_or(1402);
  int plain = 0;
  for (std::uint64_t round = 0; round < 6000; ++round) {
    SCOPED_TRACE(::testing::Message() << "round " << round);
    World world(seed + round);
    if (world.timelines.size() > 1 || !world.holes.empty() || world.commits.empty() ||
        !std::all_of(world.backups.begin(), world.backups.end(),
                     [&](const auto& which) { return world.usable(which); }))
      continue;
    ++plain;
    const auto window = std::chrono::hours(1 + world.pick(100));
    // By the clock of a machine that is right, of an archive in which something happens.
    world.now = world.commits.back().time + kHour;
    const auto retention = choose(world.backups, {.window = window, .now = {world.now}}, world);
    const auto& line = world.all_lines.back();
    std::optional<std::uint64_t> best;
    for (const auto& which : world.backups) {
      const auto time = world.time_of(which.point->end->byte(), line, line.stretches[0]);
      if (time && time->microseconds <= world.now - std::chrono::microseconds(window).count())
        best = std::max(best.value_or(0), which.point->start.byte());
    }
    EXPECT_EQ(retention.nothing, !best.has_value());
    EXPECT_EQ(retention.complaint, !best.has_value());
    EXPECT_EQ(limit_of(retention), best.value_or(UINT64_MAX));
  }
  EXPECT_GT(plain, 50);
}

TEST(Retention, LeavesAsManyBackupsAsWereAskedFor) {
  const auto seed = test::seed_or(1403);
  int removing = 0;
  for (std::uint64_t round = 0; round < 4000; ++round) {
    SCOPED_TRACE(::testing::Message() << "round " << round);
    World world(seed + round);
    const auto count = 1 + world.pick(3);
    const auto retention = choose(world.backups, {.count = count, .now = {world.now}}, world);
    const auto recoverable = [&](std::uint64_t limit) {
      std::uint64_t found = 0;
      for (const auto& which : world.backups) {
        if (!world.usable(which) || which.point->parent) continue;
        const auto end = which.point->end->byte();
        found +=
            which.point->start.byte() / kSegment >= limit / kSegment &&
            std::any_of(world.timelines.begin(), world.timelines.end(), [&](const auto& timeline) {
              return world.on_way(timeline, which.point->timeline, end - 1) &&
                     world.reachable(timeline, end, limit);
            });
      }
      return found;
    };
    if (retention.nothing) continue;
    ++removing;
    EXPECT_EQ(retention.kept.size(), count);
    EXPECT_GE(recoverable(limit_of(retention)), count);
  }
  EXPECT_GT(removing, 400);
}

}  // namespace
}  // namespace weir::prune::retention_worlds_test

#include "restore/find.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <set>

#include "archive/losses.h"
#include "archive/own_names.h"
#include "archive/published_open.h"
#include "base/error.h"
#include "base/log.h"
#include "support/archive_builder.h"
#include "support/bytes.h"
#include "support/error_of.h"
#include "support/sim_disk.h"
#include "support/wal_builder.h"
#include "wal/page.h"

namespace weir::restore::find_test {
namespace {

const wal::SegmentSize kSize = *wal::SegmentSize::of(1 << 20);

/// In one archive.
std::optional<Moment> find_time_in(io::Shelf& archive, PgTime time,
                                   std::optional<wal::TimelineId> timeline,
                                   const AskReceiver& ask = nullptr) {
  io::Shelf* const only = &archive;
  NullLog log;
  return find_time(Shelves(&only, 1), time, timeline, ask, log);
}
std::optional<Moment> find_lsn_in(io::Shelf& archive, wal::Lsn lsn,
                                  std::optional<wal::TimelineId> timeline,
                                  const AskReceiver& ask = nullptr) {
  io::Shelf* const only = &archive;
  NullLog log;
  return find_lsn(Shelves(&only, 1), lsn, timeline, ask, log);
}

/// Commits at whole seconds, one in so many random records, over ten segments.
struct History {
  explicit History(sim::SimDisk& disk) : wal({.switch_every = 0}) {
    std::int64_t second = 0;
    while (wal.end() < kSize.start(10)) {
      for (int i = 0; i < 5; ++i) wal.append_random(20'000);
      std::array<std::byte, 10> body{std::byte{255}, std::byte{8}};
      const std::int64_t time = ++second * 1'000'000;
      std::memcpy(body.data() + 2, &time, sizeof(time));
      const bool aborted = second % 10 == 0;
      const auto record = wal.append(1, aborted ? 0x20 : 0x00, body);
      if (!aborted) commits.push_back({record.start, record.end, 0, {time}});
    }
    for (std::uint64_t segno = 1; segno < 10; ++segno)
      disk.put(wal::SegmentName(1, segno, kSize).to_string(),
               wal.bytes(kSize.start(segno), kSize.start(segno + 1)));
    std::erase_if(commits, [](const Commit& commit) { return commit.end > kSize.start(10); });
  }

  weir::testing::WalBuilder wal;
  std::vector<Commit> commits;
};

void expect_between(const std::optional<Moment>& moment, const Commit* before,
                    const Commit* after) {
  ASSERT_TRUE(moment);
  EXPECT_EQ(moment->before.has_value(), before != nullptr);
  EXPECT_EQ(moment->after.has_value(), after != nullptr);
  if (before != nullptr && moment->before) {
    EXPECT_EQ(moment->before->start, before->start);
    EXPECT_EQ(moment->before->end, before->end);
    EXPECT_EQ(moment->before->time, before->time);
  }
  if (after != nullptr && moment->after) {
    EXPECT_EQ(moment->after->start, after->start);
  }
}

TEST(FindTime, NamesTheCommitsAroundEveryMoment) {
  sim::SimDisk disk;
  const History history(disk);
  const auto directory = disk.open();
  const auto& commits = history.commits;
  ASSERT_GT(commits.size(), 40u);
  for (std::size_t i = 0; i + 1 < commits.size(); ++i) {
    SCOPED_TRACE(i);
    for (const std::int64_t later : {0, 1, 999'999})
      expect_between(find_time_in(*directory, {commits[i].time.microseconds + later}, std::nullopt),
                     &commits[i], &commits[i + 1]);
  }
  expect_between(find_time_in(*directory, {0}, std::nullopt), nullptr, &commits.front());
  expect_between(find_time_in(*directory, {std::int64_t{1} << 60}, std::nullopt), &commits.back(),
                 nullptr);
}

TEST(FindTime, OpensFewSegments) {
  sim::SimDisk disk;
  const History history(disk);
  const auto directory = disk.open();
  std::set<std::string> opened;
  disk.set_hook([&](const sim::SimDisk::Call& call) {
    if (call.operation == sim::SimDisk::Operation::read && call.offset > 0)
      opened.insert(call.name);
    return sim::SimDisk::Effect::proceed();
  });
  static_cast<void>(find_time_in(*directory, history.commits[20].time, std::nullopt));
  EXPECT_LE(opened.size(), 6u);
}

TEST(FindLsn, NamesTheCommitsAroundEveryPosition) {
  sim::SimDisk disk;
  const History history(disk);
  const auto directory = disk.open();
  const auto& commits = history.commits;
  for (std::size_t i = 0; i + 1 < commits.size(); ++i) {
    SCOPED_TRACE(i);
    expect_between(find_lsn_in(*directory, commits[i].end, std::nullopt), &commits[i],
                   &commits[i + 1]);
    expect_between(find_lsn_in(*directory, commits[i + 1].start, std::nullopt), &commits[i],
                   &commits[i + 1]);
    EXPECT_EQ(find_lsn_in(*directory, commits[i].end, std::nullopt)->segment,
              wal::SegmentName(1, kSize.segno(commits[i].end), kSize).to_string());
  }
  EXPECT_FALSE(find_lsn_in(*directory, kSize.start(10), std::nullopt));
  EXPECT_FALSE(find_lsn_in(*directory, wal::Lsn(8), std::nullopt));
}

TEST(FindTime, NamesTheSegmentOfTheCommitBefore) {
  sim::SimDisk disk;
  const History history(disk);
  const auto directory = disk.open();
  for (const auto& commit : history.commits) {
    const auto moment = find_time_in(*directory, commit.time, std::nullopt);
    ASSERT_TRUE(moment && moment->before);
    EXPECT_EQ(moment->segment,
              wal::SegmentName(1, kSize.segno(moment->before->start), kSize).to_string());
  }
}

/// Along the newest one, a promoted server would write a history in which it ends before it begins.
TEST(Find, NamesTheTimelineOfATargetBeforeTheNewestOne) {
  sim::SimDisk disk;
  History history(disk);
  const auto start = kSize.start(6);
  const auto switchpoint = history.wal.fork_point(start + 500'000);
  auto child = history.wal.fork(switchpoint, 2, 5);
  child.grow_to(kSize.start(7));
  disk.put("00000002.history", test::as_bytes(fmt::format("1\t{}\treason\n", switchpoint)));
  disk.put("000000020000000000000006", child.bytes(start, kSize.start(7)));
  const auto directory = disk.open();
  std::set<wal::TimelineId> told;
  for (const auto& commit : history.commits) {
    if (commit.end > switchpoint) break;
    for (const auto& moment : {find_time_in(*directory, commit.time, std::nullopt),
                               find_lsn_in(*directory, commit.end, std::nullopt)}) {
      ASSERT_TRUE(moment && moment->before);
      EXPECT_EQ(moment->timeline, 2u);
      // A recovery reads the segment with the switchpoint from the new timeline's file.
      EXPECT_EQ(moment->target_timeline, commit.end <= start ? 1u : 2u) << commit.end.to_string();
      told.insert(moment->target_timeline);
    }
  }
  EXPECT_EQ(told.size(), 2u);
}

/// Segments 1 to 4, of 4 the front, and from 7 on again.
struct Holed {
  explicit Holed(bool behind_finished) : history(disk), end(kSize.start(4) + 500'001) {
    for (const std::uint64_t segno : {4, 5, 6}) disk.erase(name(segno));
    const auto bytes = history.wal.bytes(kSize.start(4), end);
    test::Bytes front(bytes.begin(), bytes.end());
    front.resize(kSize.bytes());
    disk.put(name(4) + ".partial", front);
    if (!behind_finished) {
      const auto content = disk.content(name(7));
      disk.put(name(7) + ".partial", content);
      for (const std::uint64_t segno : {7, 8, 9}) disk.erase(name(segno));
      disk.put(archive::hole_mark_name(wal::SegmentName(1, 7, kSize)), {});
    }
    cut = history.wal.complete_end(end);
    for (const auto& commit : history.commits) {
      if (commit.end <= cut) last = &commit;
      if (commit.start >= kSize.start(7) && first_behind == nullptr) first_behind = &commit;
    }
  }
  static std::string name(std::uint64_t segno) {
    return wal::SegmentName(1, segno, kSize).to_string();
  }
  sim::SimDisk disk;
  History history;
  wal::Lsn end;
  wal::Lsn cut;
  const Commit* last = nullptr;
  const Commit* first_behind = nullptr;
};

void expect_before_hole(const std::optional<Moment>& moment, const Holed& holed) {
  expect_between(moment, holed.last, nullptr);
  ASSERT_TRUE(moment->hole);
  EXPECT_EQ(moment->hole->begin, holed.cut);
  EXPECT_EQ(moment->hole->end, kSize.start(7));
  EXPECT_TRUE(moment->needs_up_to_hole);
  EXPECT_FALSE(moment->needs_partial);
  EXPECT_FALSE(moment->backup_from);
}

TEST(FindTime, TellsTheHoleAndWhatIsBeforeIt) {
  for (const bool finished : {false, true}) {
    SCOPED_TRACE(finished);
    const Holed holed(finished);
    auto& disk = const_cast<sim::SimDisk&>(holed.disk);
    const auto directory = disk.open();
    ASSERT_TRUE(holed.last != nullptr && holed.first_behind != nullptr);
    // From the last one before the hole on to the first one behind it.
    for (auto time = holed.last->time.microseconds; time < holed.first_behind->time.microseconds;
         time += 1'000'000)
      expect_before_hole(find_time_in(*directory, {time}, std::nullopt), holed);
    const auto behind = find_time_in(*directory, holed.first_behind->time, std::nullopt);
    ASSERT_TRUE(behind && behind->before);
    EXPECT_EQ(behind->before->start, holed.first_behind->start);
    EXPECT_EQ(behind->backup_from, kSize.start(7));
    EXPECT_FALSE(behind->hole);
    EXPECT_EQ(behind->needs_partial, !finished);
    const auto early = find_time_in(*directory, holed.history.commits[1].time, std::nullopt);
    expect_between(early, &holed.history.commits[1], &holed.history.commits[2]);
    EXPECT_FALSE(early->hole) << "the next commit comes before it";
  }
}

TEST(FindLsn, TellsTheHoleAndWhatIsBeforeIt) {
  for (const bool finished : {false, true}) {
    SCOPED_TRACE(finished);
    const Holed holed(finished);
    auto& disk = const_cast<sim::SimDisk&>(holed.disk);
    const auto directory = disk.open();
    for (const auto lsn :
         {holed.end, kSize.start(5), kSize.start(6) + 77, wal::Lsn(kSize.start(7).byte() - 1)}) {
      SCOPED_TRACE(lsn.to_string());
      const auto moment = find_lsn_in(*directory, lsn, std::nullopt);
      expect_before_hole(moment, holed);
      EXPECT_TRUE(moment->in_hole);
    }
    const auto edge = find_lsn_in(*directory, holed.last->end, std::nullopt);
    expect_before_hole(edge, holed);
    EXPECT_FALSE(edge->in_hole);
    const auto behind = find_lsn_in(*directory, holed.first_behind->end, std::nullopt);
    ASSERT_TRUE(behind && behind->before);
    EXPECT_EQ(behind->before->start, holed.first_behind->start);
    EXPECT_EQ(behind->backup_from, kSize.start(7));
    EXPECT_FALSE(find_lsn_in(*directory, kSize.start(10), std::nullopt));
  }
}

/// An import has filled its end, which the server still had.
TEST(Find, TakesForAHoleOnlyWhatIsStillMissing) {
  sim::SimDisk disk;
  const History history(disk);
  for (const std::uint64_t segno : {4, 5}) disk.erase(Holed::name(segno));
  archive::Loss loss;
  loss.timeline = loss.next_timeline = 1;
  loss.begin = loss.sound_end = loss.counted_to = kSize.start(4);
  loss.end = kSize.start(8);
  loss.segment_size = kSize;
  archive::record_loss(*disk.open(), loss);
  const auto& commits = history.commits;
  for (std::size_t i = 0; i + 1 < commits.size(); ++i) {
    if (commits[i].start < kSize.start(6)) continue;
    SCOPED_TRACE(i);
    const auto moment = find_time_in(*disk.open(), commits[i].time, std::nullopt);
    expect_between(moment, &commits[i], &commits[i + 1]);
    ASSERT_TRUE(moment);
    EXPECT_EQ(moment->backup_from, kSize.start(6));
    EXPECT_FALSE(moment->hole);
    EXPECT_FALSE(moment->needs_up_to_hole);
  }
}

TEST(Find, NeedsTheOptionForWhatIsUnfinished) {
  sim::SimDisk disk;
  const History history(disk);
  const auto name = wal::SegmentName(1, 9, kSize).to_string();
  disk.put(name + ".partial", disk.content(name));
  disk.erase(name);
  const auto& commits = history.commits;
  const auto moment = find_time_in(*disk.open(), commits.back().time, std::nullopt);
  expect_between(moment, &commits.back(), nullptr);
  EXPECT_TRUE(moment->needs_partial);
  EXPECT_FALSE(find_time_in(*disk.open(), commits[1].time, std::nullopt)->needs_partial);
  // A receiver tells how much of it does not change any more.
  const AskReceiver ask = [&](const std::string&) {
    return DurableEnd{1, commits[commits.size() - 2].end};
  };
  expect_between(find_time_in(*disk.open(), commits.back().time, std::nullopt, ask),
                 &commits[commits.size() - 2], nullptr);
}

/// Its zeros are not damage: a recovery ends there.
TEST(Find, TakesThePublishedPartialSegmentForTheEnd) {
  sim::SimDisk disk;
  const History history(disk);
  const auto& commits = history.commits;
  const auto& last = commits[commits.size() - 3];
  const wal::SegmentName segment(1, 9, kSize);
  ASSERT_LT(kSize.start(9), last.start);
  const auto whole = disk.content(segment.to_string());
  auto padded = whole;
  std::fill(padded.begin() + (last.end - kSize.start(9)), padded.end(), std::byte{0});
  disk.put(segment.to_string(), padded);
  EXPECT_THROW(static_cast<void>(find_time_in(*disk.open(), last.time, std::nullopt)), Error)
      << "without its record it is damaged";
  disk.put(archive::published_open_name(segment),
           test::as_bytes(archive::published_open_record(
               {.segment = segment, .end = last.end, .object = {}, .time = {}})));
  expect_between(find_time_in(*disk.open(), commits.back().time, std::nullopt), &last, nullptr);
  const auto moment = find_lsn_in(*disk.open(), last.end + 8, std::nullopt);
  expect_between(moment, &last, nullptr);
  EXPECT_EQ(moment->segment, segment.to_string());
  EXPECT_FALSE(moment->needs_partial) << "restore delivers it without";
  expect_between(find_time_in(*disk.open(), commits[1].time, std::nullopt), &commits[1],
                 &commits[2]);
  // The partial file of the archive continues after it.
  disk.put(segment.to_string() + ".partial", whole);
  const auto farther = find_time_in(*disk.open(), commits.back().time, std::nullopt);
  expect_between(farther, &commits.back(), nullptr);
  EXPECT_TRUE(farther->needs_partial);
  disk.erase(segment.to_string() + ".partial");
  // Another archive has the complete one.
  sim::SimDisk other;
  other.put(segment.to_string(), whole);
  const auto first = disk.open();
  const auto second = other.open();
  for (const auto& shelves : {std::array<io::Shelf*, 2>{first.get(), second.get()},
                              std::array<io::Shelf*, 2>{second.get(), first.get()}}) {
    NullLog log;
    expect_between(find_time(Shelves(shelves), commits.back().time, std::nullopt, nullptr, log),
                   &commits.back(), nullptr);
  }
  // A recovery does not pass its zeros.
  disk.put(wal::SegmentName(1, 10, kSize).to_string(), whole);
  EXPECT_THROW(static_cast<void>(find_lsn_in(*disk.open(), last.end + 8, std::nullopt)), Error);
}

/// "recover --to latest" is pinned to what is found.
TEST(FindTime, FindsTheAncestorsCommitsAsLongAsTheNewTimelinesFileHasNotComeToItsBeginning) {
  sim::SimDisk disk;
  History history(disk);
  auto& parent = history.wal;
  const auto start = kSize.start(9);
  const auto switchpoint = parent.fork_point(start + 800'000);
  auto child = parent.fork(switchpoint, 2, 5);
  child.grow_to(kSize.start(10));
  const auto line = fmt::format("1\t{}\treason\n", switchpoint);
  disk.put("00000002.history", test::as_bytes(line));
  const auto last = std::find_if(history.commits.rbegin(), history.commits.rend(),
                                 [&](const Commit& commit) { return commit.end <= switchpoint; });
  ASSERT_GT(last->start, start + 300'000);
  const auto bytes = child.bytes(start, start + 300'000);
  disk.put("000000020000000000000009.partial", bytes);
  const auto directory = disk.open();
  const auto moment = find_time_in(*directory, {std::int64_t{1} << 60}, std::nullopt);
  expect_between(moment, &*last, nullptr);
  EXPECT_TRUE(moment->needs_partial);

  // Beside an archive that has nothing of the ancestor's.
  sim::SimDisk other;
  for (const auto* const name :
       {"000000010000000000000008", "000000020000000000000009.partial", "00000002.history"})
    other.put(name, disk.content(name));
  const auto others = other.open();
  io::Shelf* const both[] = {others.get(), directory.get()};
  NullLog log;
  expect_between(find_time(Shelves(both), {std::int64_t{1} << 60}, std::nullopt, nullptr, log),
                 &*last, nullptr);
}

TEST(Find, LooksAgainWhenTheArchiveChangesAtAnyCall) {
  for (std::uint64_t call = 1;; ++call) {
    SCOPED_TRACE(call);
    sim::SimDisk disk;
    const History history(disk);
    const auto last = wal::SegmentName(1, 9, kSize).to_string();
    disk.put(last + ".partial", disk.content(last));
    disk.erase(last);
    bool changed = false;
    disk.set_hook([&](const sim::SimDisk::Call& now) {
      if (now.number != call || changed) return sim::SimDisk::Effect::proceed();
      changed = true;
      for (std::uint64_t segno = 1; segno < 10; ++segno) {
        const auto name = wal::SegmentName(1, segno, kSize).to_string();
        const auto from = segno == 9 ? name + ".partial" : name;
        const auto method = segno == 9 ? codec::Method::none : codec::Method::zstd;
        const auto content = verify::packed(method, disk.content(from));
        disk.put(name + std::string(codec::suffix(method)), content);
        disk.erase(from);
      }
      return sim::SimDisk::Effect::proceed();
    });
    const auto& commits = history.commits;
    expect_between(find_time_in(*disk.open(), commits[30].time, std::nullopt), &commits[30],
                   &commits[31]);
    if (!changed) break;
  }
}

TEST(FindLsn, StopsAtDamage) {
  sim::SimDisk disk;
  const History history(disk);
  auto content = disk.content(wal::SegmentName(1, 3, kSize).to_string());
  for (std::size_t i = 500'000; i < 500'064; ++i) content[i] ^= std::byte{0xFF};
  disk.put(wal::SegmentName(1, 3, kSize).to_string(), content);
  EXPECT_THROW(static_cast<void>(find_lsn_in(
                   *disk.open(), kSize.start(4) + (0 - std::uint64_t{100}), std::nullopt)),
               Error);
}

TEST(Find, SaysThatThereIsNothingToLookIn) {
  sim::SimDisk disk;
  disk.put(wal::SegmentName(1, 1, kSize).to_string() + ".partial",
           test::Bytes(kSize.bytes()));  // begun, and nothing in it
  const auto error = test::error_of(
      [&] { static_cast<void>(find_time_in(*disk.open(), PgTime{1}, std::nullopt)); });
  EXPECT_EQ(error.kind(), ErrorKind::gap);
  EXPECT_NE(std::string(error.what()).find("there is no WAL in the archive directory"),
            std::string::npos);
}

TEST(Find, NeedsTheHistoryOfTheTimelineItIsAskedFor) {
  sim::SimDisk disk;
  const History history(disk);
  disk.put("00000002.history", test::as_bytes("rubbish\n"));
  const auto error =
      test::error_of([&] { static_cast<void>(find_time_in(*disk.open(), PgTime{1}, 2)); });
  EXPECT_EQ(error.kind(), ErrorKind::damage);
  EXPECT_NE(std::string(error.what()).find("the history of the timeline cannot be read"),
            std::string::npos);
}

TEST(Find, DoesNotGuessInWalOfANewerServer) {
  sim::SimDisk disk;
  const History history(disk);
  for (const auto& name : disk.names()) {
    auto bytes = disk.content(name);
    for (std::size_t page = 0; page < bytes.size(); page += wal::kPageSize) {
      bytes[page] = std::byte{0xFE};
      bytes[page + 1] = std::byte{0xD1};
    }
    disk.put(name, bytes);
  }
  const auto error = test::error_of([&] {
    static_cast<void>(find_time_in(*disk.open(), history.commits[3].time, std::nullopt));
  });
  EXPECT_EQ(error.kind(), ErrorKind::refused);
  EXPECT_NE(std::string(error.what()).find("of a newer PostgreSQL than this pgweir knows"),
            std::string::npos);
}

}  // namespace
}  // namespace weir::restore::find_test

#include "prune/prune.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <random>

#include "archive/compress.h"
#include "archive/kept_slots.h"
#include "archive/published_open.h"
#include "base/error.h"
#include "store/ledger/mark.h"
#include "support/append_checkpoint.h"
#include "support/archive_builder.h"
#include "support/bytes.h"
#include "support/error_of.h"

namespace weir::prune::prune_test {
namespace {

using codec::Method;
using test::error_of;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::WalBuilder;
using verify::ArchiveBuilder;
using verify::kSize;
using wal::Lsn;
using wal::SegmentName;

archive::BackupPoint backup(Lsn start, wal::TimelineId timeline = 1) {
  archive::BackupPoint point;
  point.timeline = timeline;
  point.start = start;
  point.file = "backup_label";
  return point;
}

/// Segments 1 to 5 of timeline 1 (2 in two forms), 5 to 8 of timeline 2, which is unfinished in 9.
struct Example {
  Example() {
    WalBuilder one(WalBuilder::Options{});
    one.grow_to(kSize.start(7));
    const auto at = one.fork_point(kSize.start(5) + 400'000);
    auto two = verify::promote(one, at, 2, 9);
    two.grow_to(kSize.start(10));
    archive.segments(one, 1, 5, Method::zstd).segments(one, 2, 3).partial(one, at);
    archive.segments(two, 5, 9).partial(two, kSize.start(9) + 1000);
    archive.history(2, verify::history_line(1, at));
    archive.disk.put("000000010000000000000003.00000028.backup", {});
    archive.disk.put("notes.txt", {});
  }
  Plan plan(const Options& options) {
    const auto directory = archive.disk.open();
    return make_plan(*directory, options);
  }
  std::vector<std::string> files(const Options& options) {
    std::vector<std::string> all;
    for (const auto& segments : plan(options).numbers)
      for (const auto& segment : segments)
        all.insert(all.end(), segment.files.begin(), segment.files.end());
    return all;
  }
  ErrorKind refused(const Options& options) {
    try {
      static_cast<void>(plan(options));
    } catch (const Error& error) {
      EXPECT_FALSE(error.hint().empty());
      return error.kind();
    }
    ADD_FAILURE() << "not refused";
    return ErrorKind::protocol;
  }
  ArchiveBuilder archive;
};

TEST(Prune, KeepsEverythingInAStoreThatDoesNotHaveTheStartOfABackupYet) {
  Example local;
  Example uploaded;
  for (const std::uint64_t segno : {6, 7, 8})
    uploaded.archive.disk.erase(SegmentName(2, segno, kSize).to_string());
  for (const auto& name : uploaded.archive.disk.open()->names())
    if (name.name.ends_with(".partial")) uploaded.archive.disk.erase(name.name);
  const auto here = local.archive.disk.open();
  const auto there = uploaded.archive.disk.open();
  const auto plan = [&](std::uint64_t segno, io::Shelf* source) {
    auto point = backup(kSize.start(segno) + 0x28, 2);
    point.end = point.start + 0x100;
    return make_plan({*there, *there, *here, {}, source}, {.backups = {point}});
  };
  // With an older backup that is kept, too, and without.
  for (const bool older : {false, true}) {
    SCOPED_TRACE(older);
    Options options;
    if (older) {
      options.backups.push_back(backup(kSize.start(3) + 0x28));
      options.backups.back().end = kSize.start(3) + 0x128;
    }
    options.backups.push_back(backup(kSize.start(7) + 0x28, 2));
    const auto waiting = make_plan({*there, *there, *here, {}, here.get()}, options);
    EXPECT_EQ(waiting.files, 0u);
    EXPECT_THAT(waiting.numbers, IsEmpty());
    EXPECT_EQ(waiting.keep_from, "");
    EXPECT_EQ(waiting.awaited, SegmentName(2, 7, kSize).to_string());
    EXPECT_EQ(error_of([&] {
                static_cast<void>(make_plan({*there, *there, *here}, options));
              }).kind(),
              ErrorKind::conflict);
  }
  // The first segment is there; or no copy has it.
  EXPECT_GT(plan(5, here.get()).files, 0u);
  EXPECT_EQ(plan(5, here.get()).awaited, "");
  EXPECT_EQ(error_of([&] { static_cast<void>(plan(30, here.get())); }).kind(), ErrorKind::conflict);
}

/// Until then, the older WAL there is the only one with which anything can be recovered from it.
TEST(Prune, KeepsEverythingInAStoreThatDoesNotHaveTheEndOfABackupYet) {
  Example local;
  Example uploaded;
  const auto partial_of_two = SegmentName(2, 9, kSize).to_string() + ".partial";
  for (const std::uint64_t segno : {6, 7, 8})
    uploaded.archive.disk.erase(SegmentName(2, segno, kSize).to_string());
  uploaded.archive.disk.erase(partial_of_two);
  const auto here = local.archive.disk.open();
  const auto there = uploaded.archive.disk.open();
  const auto plan = [&](Lsn end, wal::TimelineId timeline, io::Shelf* source) {
    auto point = backup(kSize.start(3) + 0x28);
    point.end = end;
    point.end_timeline = timeline;
    return make_plan({*there, *there, *here, {}, source}, {.backups = {point}});
  };
  const auto waiting = plan(kSize.start(7) + 0x100, 2, here.get());
  EXPECT_EQ(waiting.files, 0u);
  EXPECT_THAT(waiting.numbers, IsEmpty());
  EXPECT_EQ(waiting.awaited, SegmentName(2, 6, kSize).to_string());
  EXPECT_THAT(waiting.reason, HasSubstr("needs it"));
  EXPECT_THAT(plan(kSize.start(6) + 0x100, 2, here.get()).reason, HasSubstr("ends in it"));
  // Its last byte is in the segment before; or nobody has more.
  EXPECT_EQ(plan(kSize.start(6), 2, here.get()).files, 3u);
  EXPECT_EQ(plan(kSize.start(7) + 0x100, 2, nullptr).files, 3u);
  EXPECT_EQ(plan(kSize.start(7) + 0x100, 2, there.get()).files, 3u);
  // Segment 5 of timeline 1 remains partial, and so does the newest one while nothing is written.
  EXPECT_EQ(plan(kSize.start(5) + 0x100, 1, here.get()).files, 3u);
  for (const std::uint64_t segno : {6, 7, 8})
    uploaded.archive.disk.put(SegmentName(2, segno, kSize).to_string(),
                              local.archive.disk.content(SegmentName(2, segno, kSize).to_string()));
  EXPECT_EQ(plan(kSize.start(9) + 0x100, 2, here.get()).awaited,
            SegmentName(2, 9, kSize).to_string());
  // What was uploaded of a partial segment may end before.
  auto open = local.archive.disk.content(partial_of_two);
  open.resize(0x80);
  uploaded.archive.disk.put(partial_of_two, open);
  EXPECT_EQ(plan(kSize.start(9) + 0x100, 2, here.get()).awaited,
            SegmentName(2, 9, kSize).to_string());
  uploaded.archive.disk.put(partial_of_two, local.archive.disk.content(partial_of_two));
  EXPECT_EQ(plan(kSize.start(9) + 0x100, 2, here.get()).files, 3u);
  // The partial segment of the old timeline is not uploaded: that of the new one has its WAL.
  uploaded.archive.disk.erase(SegmentName(1, 5, kSize).to_string() + ".partial");
  EXPECT_EQ(plan(kSize.start(5) + 0x100, 1, here.get()).files, 3u);
  // It has not where the backup ends after the switchpoint: then that does not come.
  const auto left = plan(kSize.start(5) + 500'000, 1, here.get());
  EXPECT_EQ(left.awaited, SegmentName(1, 5, kSize).to_string());
  EXPECT_TRUE(left.never_comes);
  EXPECT_FALSE(waiting.never_comes);
  uploaded.archive.disk.erase(SegmentName(2, 5, kSize).to_string());
  EXPECT_EQ(plan(kSize.start(5) + 0x100, 1, here.get()).awaited,
            SegmentName(2, 5, kSize).to_string());
}

/// The same without the directory that it is uploaded from.
TEST(Prune, CountsAPartialSegmentOfAStoreOnlyIfItHasTheEndOfTheBackup) {
  Example uploaded;
  const auto partial_of_two = SegmentName(2, 9, kSize).to_string() + ".partial";
  const auto there = uploaded.archive.disk.open();
  const auto plan = [&] {
    auto point = backup(kSize.start(3) + 0x28);
    point.end = kSize.start(9) + 0x100;
    point.end_timeline = 2;
    return make_plan({*there, *there, *there, {}, nullptr, true}, {.backups = {point}});
  };
  EXPECT_EQ(plan().files, 3u);
  const auto refused = [&] { static_cast<void>(plan()); };
  const auto open = uploaded.archive.disk.content(partial_of_two);
  auto front = open;
  front.resize(0x80);
  uploaded.archive.disk.put(partial_of_two, front);
  EXPECT_EQ(error_of(refused).kind(), ErrorKind::retry);
  uploaded.archive.disk.put(partial_of_two, open);
  // Before the end, a partial segment does not count.
  const auto seventh = SegmentName(2, 7, kSize).to_string();
  uploaded.archive.disk.put(seventh + ".partial", uploaded.archive.disk.content(seventh));
  uploaded.archive.disk.erase(seventh);
  EXPECT_EQ(error_of(refused).kind(), ErrorKind::retry);
}

/// No rule was asked, or the backup is of a standby, and has no manifest.
TEST(Prune, KeepsEverythingInAStoreThatLacksWalAndTheEndOfABackupIsNotKnown) {
  Example local;
  Example uploaded;
  for (const std::uint64_t segno : {7, 8})
    uploaded.archive.disk.erase(SegmentName(2, segno, kSize).to_string());
  const auto here = local.archive.disk.open();
  const auto there = uploaded.archive.disk.open();
  const auto plan = [&](const archive::BackupPoint& point) {
    return make_plan({*there, *there, *here, {}, here.get()}, {.backups = {point}});
  };
  const auto point = backup(kSize.start(3) + 0x28);
  const auto waiting = plan(point);
  EXPECT_EQ(waiting.files, 0u);
  EXPECT_EQ(waiting.awaited, SegmentName(2, 7, kSize).to_string());
  EXPECT_THAT(waiting.reason, HasSubstr("its end is not known"));
  EXPECT_FALSE(waiting.never_comes);
  for (const std::uint64_t segno : {7, 8})
    uploaded.archive.disk.put(SegmentName(2, segno, kSize).to_string(),
                              local.archive.disk.content(SegmentName(2, segno, kSize).to_string()));
  EXPECT_EQ(plan(point).files, 3u) << "9 is not complete";
}

TEST(Prune, TakesWhatIsBelowTheKeptPointOldestFirst) {
  Example example;
  const std::vector<std::string> up_to_three = {
      "000000010000000000000001.zst", "000000010000000000000002", "000000010000000000000002.zst"};
  EXPECT_EQ(example.files({.keep_from = SegmentName(1, 3, kSize)}), up_to_three);
  EXPECT_EQ(example.files({.keep_from = kSize.start(3)}), up_to_three);
  EXPECT_EQ(example.files({.keep_from = Lsn(kSize.start(4).byte() - 1)}), up_to_three);
  EXPECT_EQ(example.files({.backups = {backup(kSize.start(3) + 0x28)}}), up_to_three);
  EXPECT_THAT(example.files({.keep_from = SegmentName(1, 1, kSize)}), IsEmpty());
}

TEST(Prune, GoesByTheOldestOfTheBackups) {
  Example example;
  const auto files =
      example.files({.backups = {backup(kSize.start(7), 2), backup(kSize.start(3))}});
  EXPECT_THAT(files, Contains("000000010000000000000002"));
  EXPECT_THAT(files, Not(Contains("000000010000000000000003.zst")));
}

TEST(Prune, LeavesWhatIsInDoubtWhateverElseIsSaid) {
  Example example;
  const auto at = [](std::uint64_t segno) { return backup(kSize.start(segno) + 0x28); };
  // Of one that is in doubt nothing is asked, not even that its WAL is here.
  EXPECT_THAT(example.files({.backups = {at(4)}, .doubtful = {at(2)}}),
              ElementsAre("000000010000000000000001.zst"));
  EXPECT_THAT(example.files({.keep_from = SegmentName(1, 4, kSize), .doubtful = {at(0), at(3)}}),
              IsEmpty());
  EXPECT_EQ(example.files({.backups = {at(3)}, .doubtful = {at(4), at(99)}}),
            example.files({.backups = {at(3)}}));
}

TEST(Prune, TakesOldTimelinesAlongOnceNoKeptPointNeedsThem) {
  Example example;
  const auto files = example.files({.backups = {backup(kSize.start(6) + 0x28, 2)}});
  EXPECT_THAT(files, ElementsAre("000000010000000000000001.zst", "000000010000000000000002",
                                 "000000010000000000000002.zst", "000000010000000000000003.zst",
                                 "000000010000000000000004.zst", "000000010000000000000005.partial",
                                 "000000020000000000000005"));
}

TEST(Prune, TakesAlongWhatFillsAHoleWhileItPasses) {
  // An import publishes 2 when the plan is made, before prune comes to it.
  Example example;
  const auto content = example.archive.disk.content("000000010000000000000002");
  example.archive.disk.erase("000000010000000000000002");
  example.archive.disk.erase("000000010000000000000002.zst");
  const auto directory = example.archive.disk.open();
  const auto plan = make_plan(*directory, {.keep_from = SegmentName(1, 4, kSize)});
  EXPECT_EQ(plan.files, 2u);
  example.archive.disk.put("000000010000000000000002", content);
  EXPECT_TRUE(carry_out(*directory, plan, {}, {}));
  EXPECT_FALSE(example.archive.disk.exists("000000010000000000000002"));
}

TEST(Prune, RefusesWhatWouldCutTooMuch) {
  Example example;
  const auto late = SegmentName(2, 7, kSize);
  EXPECT_EQ(example.refused({}), ErrorKind::usage);
  EXPECT_EQ(example.refused({.older_than = std::chrono::hours(1)}), ErrorKind::usage);
  EXPECT_EQ(example.refused({.keep_from = late, .backups = {backup(kSize.start(3))}}),
            ErrorKind::conflict);
  EXPECT_EQ(example.refused({.keep_from = SegmentName(2, 10, kSize)}), ErrorKind::conflict);
  EXPECT_EQ(example.refused({.keep_from = Lsn(0x7000000000)}), ErrorKind::conflict);
  // Its first segment is not here: the wrong backup, or the wrong archive.
  example.archive.disk.erase("000000010000000000000003.zst");
  EXPECT_EQ(example.refused({.backups = {backup(kSize.start(3) + 0x28)}}), ErrorKind::conflict);
  auto stranger = backup(kSize.start(4));
  stranger.system_identifier = 1;
  EXPECT_EQ(example.refused({.backups = {stranger}}), ErrorKind::conflict);
}

TEST(Prune, RefusesALabelWithACheckpointThatIsNotInTheArchive) {
  Example example;
  auto stranger = backup(kSize.start(4) + 0x28);
  EXPECT_FALSE(example.files({.backups = {stranger}}).empty());
  stranger.checkpoint = kSize.start(4) + 0x28;  // where another record is, or none
  EXPECT_EQ(example.refused({.backups = {stranger}}), ErrorKind::conflict);
  EXPECT_EQ(example.refused({.backups = {backup(kSize.start(3)), stranger}}), ErrorKind::conflict);
}

/// Segments 1 to 6, and a backup that starts in 3, with its checkpoint in 4.
struct WithCheckpoint {
  WithCheckpoint() : wal({.switch_every = 0, .abort_every = 0}) {
    wal.grow_to(kSize.start(3) + 300'000);
    point = backup(wal.end());
    wal.grow_to(kSize.start(4) + 600'000);
    point.checkpoint = testing::append_checkpoint(wal, point.start);
    wal.grow_to(kSize.start(8));
  }
  Plan plan(io::Shelf& shelf) const { return make_plan(shelf, {.backups = {point}}); }

  WalBuilder wal;
  archive::BackupPoint point;
  ArchiveBuilder archive;
};

TEST(Prune, WaitsForTheCheckpointOfABackupThatIsAheadOfTheArchive) {
  WithCheckpoint example;
  // A clone of the server may have made it: nothing here says whose it is.
  example.archive.segments(example.wal, 1, 4);
  const auto directory = example.archive.disk.open();
  const auto error = error_of([&] { static_cast<void>(example.plan(*directory)); });
  EXPECT_EQ(error.kind(), ErrorKind::retry);
  EXPECT_THAT(error.what(), HasSubstr("does not have the backup's checkpoint yet"));
  EXPECT_THAT(error.hint(), HasSubstr("Nothing was removed"));
  example.archive.partial(example.wal, *example.point.checkpoint);
  EXPECT_EQ(error_of([&] { static_cast<void>(example.plan(*directory)); }).kind(),
            ErrorKind::retry);
  example.archive.partial(example.wal, *example.point.checkpoint + 2000);
  EXPECT_EQ(example.plan(*directory).files, 2u);
}

TEST(Prune, KeepsEverythingInAStoreThatDoesNotHaveTheCheckpointOfABackupYet) {
  WithCheckpoint local;
  local.point.end = kSize.start(4) + 700'000;
  local.archive.segments(local.wal, 1, 7);
  ArchiveBuilder uploaded;
  uploaded.segments(local.wal, 1, 4);
  const auto here = local.archive.disk.open();
  const auto there = uploaded.disk.open();
  const Options options{.backups = {local.point}};
  const auto waiting = make_plan({*there, *there, *here, {}, here.get()}, options);
  EXPECT_EQ(waiting.files, 0u);
  EXPECT_THAT(waiting.numbers, IsEmpty());
  EXPECT_EQ(waiting.awaited, ArchiveBuilder::name(local.wal, 4));
  EXPECT_THAT(waiting.reason, HasSubstr("has its checkpoint in it"));
  // If the source does not have it either, it may be of another server.
  WithCheckpoint young;
  young.archive.segments(local.wal, 1, 4);
  const auto young_directory = young.archive.disk.open();
  EXPECT_EQ(
      error_of([&] {
        static_cast<void>(make_plan({*there, *there, *here, {}, young_directory.get()}, options));
      }).kind(),
      ErrorKind::retry);
  uploaded.segments(local.wal, 4, 5);
  EXPECT_EQ(make_plan({*there, *there, *here, {}, here.get()}, options).files, 2u);
}

TEST(Prune, RefusesABackupWhoseCheckpointLiesBehindDamage) {
  WithCheckpoint example;
  example.archive.segments(example.wal, 1, 7);
  const auto directory = example.archive.disk.open();
  EXPECT_EQ(example.plan(*directory).files, 2u);
  example.archive.flip(ArchiveBuilder::name(example.wal, 4), 200'000, 3);
  const auto error = error_of([&] { static_cast<void>(example.plan(*directory)); });
  EXPECT_EQ(error.kind(), ErrorKind::conflict);
  EXPECT_THAT(error.what(), HasSubstr("the backup's checkpoint cannot be read"));
}

TEST(Prune, FindsTheCheckpointUnderANewTimelineWhereTheOldOneIsMissing) {
  WithCheckpoint example;
  const auto at = example.wal.fork_point(kSize.start(4) + 800'000);
  auto next = verify::promote(example.wal, at, 2, 9);
  next.grow_to(kSize.start(6));
  example.archive.segments(example.wal, 1, 4).segments(next, 4, 6);
  example.archive.history(2, verify::history_line(1, at));
  const auto directory = example.archive.disk.open();
  EXPECT_EQ(example.plan(*directory).files, 2u);
  // Where the checkpoint lies behind the switchpoint, it is of the other branch.
  example.archive.history(2, verify::history_line(1, *example.point.checkpoint));
  EXPECT_EQ(error_of([&] { static_cast<void>(example.plan(*directory)); }).kind(),
            ErrorKind::retry);
}

/// A standby that follows a failover goes on with its backup. The partial segment of the old
/// timeline is not uploaded, and the new timeline's begins with a copy of it.
TEST(Prune, FindsTheStartOfABackupUnderANewTimelineThatBeginsInThatSegment) {
  Example local;
  Example uploaded;
  for (const auto* const name :
       {"000000010000000000000005.partial", "000000020000000000000009.partial"})
    uploaded.archive.disk.erase(name);
  const auto here = local.archive.disk.open();
  const auto there = uploaded.archive.disk.open();
  auto point = backup(kSize.start(5) + 0x28);
  point.from_standby = true;
  point.end = kSize.start(5) + 500'000;
  point.end_timeline = 2;
  for (auto* const source :
       {static_cast<io::Shelf*>(nullptr), static_cast<io::Shelf*>(here.get())}) {
    const auto plan = make_plan({*there, *there, *here, {}, source}, {.backups = {point}});
    EXPECT_EQ(plan.awaited, "");
    EXPECT_EQ(plan.files, 5u);
    for (const auto& segments : plan.numbers)
      for (const auto& segment : segments) EXPECT_LT(segment.name.segno(kSize), 5u);
  }
  // A start after the switchpoint is of the other branch.
  point.start = kSize.start(5) + 600'000;
  point.end = kSize.start(5) + 700'000;
  EXPECT_EQ(error_of([&] {
              static_cast<void>(make_plan({*there, *there, *here}, {.backups = {point}}));
            }).kind(),
            ErrorKind::conflict);
}

TEST(Prune, DoesNotReadACheckpointWithoutTheKey) {
  // Of an encrypted archive, nothing but names can be read.
  class Sealed final : public io::Shelf {
   public:
    explicit Sealed(io::Shelf& shelf) : shelf_(shelf) {}
    const std::string& path() const override { return shelf_.path(); }
    std::vector<io::DirectoryEntry> list() override { return shelf_.list(); }
    std::optional<io::DirectoryEntry> find(const std::string& name) override {
      return shelf_.find(name);
    }
    std::unique_ptr<io::Bytes> open_bytes(const std::string&) override {
      throw Error(ErrorKind::refused, "the file is encrypted for other recipients");
    }

   private:
    io::Shelf& shelf_;
  };
  WithCheckpoint example;
  example.archive.segments(example.wal, 1, 7);
  const auto directory = example.archive.disk.open();
  Sealed sealed(*directory);
  const archive::Identity told{1, kSize, "pgweir.json"};
  EXPECT_EQ(make_plan({sealed, sealed, *directory, told}, {.backups = {example.point}}).files, 2u);
}

TEST(Prune, TakesOnlyWhatIsOldEnoughFromTheFront) {
  Example example;
  const auto now = std::chrono::system_clock::time_point() + std::chrono::hours(1000);
  const auto old = example.files(
      {.backups = {backup(kSize.start(3))}, .older_than = std::chrono::hours(999), .now = now});
  EXPECT_EQ(old.size(), 3u) << "the simulated disk's files are all of the epoch";
  EXPECT_THAT(example.files({.backups = {backup(kSize.start(3))},
                             .older_than = std::chrono::hours(1001),
                             .now = now}),
              IsEmpty());
}

TEST(Prune, OfAnEmptyDirectoryDoesNothing) {
  sim::SimDisk disk;
  const auto directory = disk.open();
  EXPECT_EQ(make_plan(*directory, {.keep_from = kSize.start(3)}).files, 0u);
}

TEST(Prune, RemovesAndKeepsTheRest) {
  Example example;
  const auto directory = example.archive.disk.open();
  const auto plan = make_plan(*directory, {.backups = {backup(kSize.start(6) + 0x28, 2)}});
  std::vector<std::string> told;
  EXPECT_TRUE(carry_out(*directory, plan, {}, [&](const auto& file) { told.push_back(file); }));
  EXPECT_EQ(told.size(), plan.files);
  EXPECT_THAT(
      example.archive.disk.names(),
      ElementsAre("000000010000000000000003.00000028.backup", "00000002.history",
                  "000000020000000000000006", "000000020000000000000007",
                  "000000020000000000000008", "000000020000000000000009.partial", "notes.txt"));
}

/// The segment was left by timeline 2, and never becomes whole.
TEST(Prune, TakesAlongTheRecordOfAPublishedSegment) {
  Example example;
  const auto record = archive::published_open_name(SegmentName(1, 5, kSize));
  const auto later = archive::published_open_name(SegmentName(1, 6, kSize));
  for (const auto& name : {record, later}) example.archive.disk.put(name, {});
  for (const std::uint64_t segno : {5, 6}) {
    const auto directory = example.archive.disk.open();
    const auto plan = make_plan(*directory, {.keep_from = SegmentName(2, segno, kSize)});
    EXPECT_TRUE(carry_out(*directory, plan, {}, {}));
    EXPECT_EQ(example.archive.disk.exists(record), segno == 5);
    EXPECT_TRUE(example.archive.disk.exists(later));
  }
}

TEST(Prune, LeavesNoGapWheneverThePowerFails) {
  const auto seed = test::seed_or(31);
  std::mt19937_64 random(seed);
  for (std::uint64_t call = 1;; ++call) {
    SCOPED_TRACE(call);
    Example example;
    auto& disk = example.archive.disk;
    bool through = false;
    disk.reset_calls();
    disk.lose_power_at(call);
    try {
      const auto directory = disk.open();
      const auto plan = make_plan(*directory, {.backups = {backup(kSize.start(6) + 0x28, 2)}});
      carry_out(*directory, plan, {}, {});
      through = true;
    } catch (const sim::MachineDown&) {
    }
    disk.set_hook({});
    disk.crash(random);
    const auto report = example.archive.verify();
    // What remains is one row: pruned from the front, up to the kept point at most.
    EXPECT_TRUE(report.sound()) << to_text(report);
    ASSERT_EQ(report.histories.size(), 1u);
    ASSERT_EQ(report.histories[0].sound.size(), 1u) << to_text(report);
    EXPECT_LE(report.histories[0].sound[0].begin, kSize.start(6));
    if (through) break;
  }
}

TEST(Prune, LeavesNoGapIfThePowerFailsInTheOneAfterOneThatFailed) {
  // The first one has removed segment 1 and ends before it could make that durable. The next does
  // not see the segment any more; the power fails when it has removed segment 2.
  const auto seed = test::seed_or(33);
  std::mt19937_64 random(seed);
  WalBuilder wal(WalBuilder::Options{});
  wal.grow_to(kSize.start(5));
  const auto name = [&](std::uint64_t segno) { return ArchiveBuilder::name(wal, segno); };
  for (int round = 0; round < 200; ++round) {
    SCOPED_TRACE(round);
    ArchiveBuilder archive;
    archive.segments(wal, 1, 5);
    auto& disk = archive.disk;
    const Options options{.keep_from = SegmentName(1, 4, kSize)};
    const auto prune = [&](auto hook) {
      const auto directory = disk.open();
      const auto plan = make_plan(*directory, options);
      disk.set_hook(hook);
      carry_out(*directory, plan, {}, {});
    };
    using Call = sim::SimDisk::Call;
    using Effect = sim::SimDisk::Effect;
    using Operation = sim::SimDisk::Operation;
    EXPECT_THROW(prune([&](const Call& call) {
                   return call.operation == Operation::remove && call.name == name(1) + ".lz4"
                              ? Effect::fail(EIO)
                              : Effect::proceed();
                 }),
                 Error);
    disk.set_hook({});
    ASSERT_FALSE(disk.exists(name(1)));
    EXPECT_THROW(prune([&](const Call& call) {
                   return call.operation == Operation::sync_directory && !disk.exists(name(2))
                              ? Effect::down()
                              : Effect::proceed();
                 }),
                 sim::MachineDown);
    disk.crash(random);
    EXPECT_FALSE(disk.exists(name(1)) && !disk.exists(name(2)));
    EXPECT_TRUE(disk.exists(name(3)));
  }
}

TEST(Prune, AndACompressorAtWorkLeaveNoStrayFile) {
  // At each call of the compressor, a prune takes its segment.
  for (const std::string method : {"zstd:1", "lz4", "gzip:1"}) {
    SCOPED_TRACE(method);
    bool done = true;
    int late = 0;
    for (std::uint64_t call = 1; done; ++call) {
      SCOPED_TRACE(call);
      done = false;
      Example example;
      auto& disk = example.archive.disk;
      const auto receiver = disk.open();
      const auto pruner = disk.open();
      const auto segment = SegmentName(2, 5, kSize);
      const auto plan = make_plan(*pruner, {.backups = {backup(kSize.start(6) + 0x28, 2)}});
      disk.reset_calls();
      disk.set_hook([&](const sim::SimDisk::Call& now) {
        if (now.number == call && !done) {
          done = true;
          carry_out(*pruner, plan, {}, {});
        }
        return sim::SimDisk::Effect::proceed();
      });
      try {
        archive::compress_segment(*receiver, segment, kSize, codec::Compression::parse(method),
                                  [] { return false; });
      } catch (const Error& error) {
        ADD_FAILURE() << error.what();
      }
      disk.set_hook({});
      if (!done) break;
      EXPECT_FALSE(disk.exists(segment.to_string()));
      const auto left = disk.names();
      late += std::any_of(left.begin(), left.end(), [&](const std::string& name) {
        return name.starts_with(segment.to_string());
      });
    }
    // Between the last look and the rename: to take it back then could take the last form there
    // is.
    EXPECT_LE(late, 1);
  }
}

TEST(Prune, RemovesWhatACompressorThatWasHeldUpHasMadeOfASegmentThatIsGone) {
  Example example;
  auto& disk = example.archive.disk;
  const auto directory = disk.open();
  const auto raw = SegmentName(2, 5, kSize).to_string();
  const auto plan = make_plan(*directory, {.backups = {backup(kSize.start(6) + 0x28, 2)}});
  bool made = false;
  disk.set_hook([&](const sim::SimDisk::Call& call) {
    if (call.operation == sim::SimDisk::Operation::sync_directory && !made && !disk.exists(raw)) {
      made = true;
      disk.put(raw + ".zst", {});
    }
    return sim::SimDisk::Effect::proceed();
  });
  std::vector<std::string> told;
  EXPECT_TRUE(carry_out(*directory, plan, {}, [&](const auto& file) { told.push_back(file); }));
  disk.set_hook({});
  EXPECT_TRUE(made);
  EXPECT_FALSE(disk.exists(raw + ".zst"));
  EXPECT_THAT(told, Contains(raw + ".zst"));
  std::mt19937_64 random(1);
  disk.crash(random);
  EXPECT_FALSE(disk.exists(raw + ".zst"));
  EXPECT_TRUE(disk.exists(SegmentName(2, 6, kSize).to_string()));
}

TEST(Prune, GoesOnAfterAFileThatCannotBeRemovedWasReported) {
  Example example;
  auto& disk = example.archive.disk;
  disk.fail_every(sim::SimDisk::Operation::remove, EACCES);
  const auto directory = disk.open();
  const auto plan = make_plan(*directory, {.keep_from = SegmentName(1, 3, kSize)});
  EXPECT_THROW(carry_out(*directory, plan, {}, {}), Error);
  disk.set_hook({});
  EXPECT_TRUE(carry_out(*directory, plan, {}, {}));
  EXPECT_FALSE(disk.exists("000000010000000000000002"));
}

void keep_slots(Example& example, std::vector<archive::KeptSlot> slots) {
  const auto directory = example.archive.disk.open();
  archive::DirectoryHome home(*directory);
  archive::keep_slots(home, {1, std::move(slots)});
}

TEST(Prune, LeavesWhatSlotsNeedAndSaysWhichHoldsBackWhat) {
  Example example;
  const Options options{.keep_from = kSize.start(5)};
  ASSERT_EQ(example.plan(options).files, 5u);
  archive::KeptSlot lost{"lost", kSize.start(1)};
  lost.lost = true;
  keep_slots(example, {{"ahead", kSize.start(6)},
                       {"late", kSize.start(3) + 1000},
                       lost,
                       {"later", kSize.start(4) + 8},
                       {"none", Lsn()}});
  const auto plan = example.plan(options);
  EXPECT_EQ(plan.numbers.size(), 2u);  // 1 and 2
  EXPECT_EQ(plan.keep_from, "000000010000000000000003");
  EXPECT_THAT(plan.reason, HasSubstr("\"late\""));
  ASSERT_EQ(plan.held_back.size(), 2u);
  EXPECT_EQ(plan.held_back[0].slot, "late");
  EXPECT_EQ(plan.held_back[0].files, 2u);
  EXPECT_GT(plan.held_back[0].bytes, plan.held_back[1].bytes);
  EXPECT_EQ(plan.held_back[1].slot, "later");
  EXPECT_EQ(plan.held_back[1].segment, "000000010000000000000004");
  // What the slots let stay without keeping it is no fault of theirs.
  EXPECT_THAT(example.plan({.keep_from = kSize.start(2)}).held_back, IsEmpty());
}

/// The store would have a hole there, and later WAL behind it.
TEST(Prune, LeavesWhatIsNotUploadedYetAndSaysSo) {
  Example example;
  const auto keep_mark = [&](const std::vector<SegmentName>& sent, std::uint64_t changed = 0) {
    const auto directory = example.archive.disk.open();
    const auto cluster = archive::read_identity(*directory, archive::list_archive(*directory));
    store::Mark mark{"s3://backup/pg/main", cluster->system_identifier ^ changed, kSize, {}, {}};
    for (const auto& each : sent) mark.add(each);
    archive::DirectoryHome home(*directory);
    store::keep_mark(home, mark);
  };
  const Options options{.backups = {backup(kSize.start(5) + 0x28)}};
  ASSERT_EQ(example.plan(options).files, 5u);
  keep_mark({SegmentName(1, 1, kSize), SegmentName(1, 2, kSize)});
  const auto plan = example.plan(options);
  EXPECT_EQ(plan.numbers.size(), 2u);  // 1 and 2
  EXPECT_EQ(plan.keep_from, "000000010000000000000003");
  EXPECT_THAT(plan.reason, HasSubstr("not uploaded"));
  ASSERT_EQ(plan.held_back.size(), 1u);
  EXPECT_EQ(plan.held_back[0].slot, "");
  EXPECT_EQ(plan.held_back[0].files, 2u);
  EXPECT_THAT(text_of(plan.held_back[0]),
              ::testing::AllOf(HasSubstr("2 files, "), HasSubstr("000000010000000000000003"),
                               HasSubstr("s3://backup/pg/main"), HasSubstr(".pgweir-store")));
  // A slot may need more.
  keep_slots(example, {{"late", kSize.start(2) + 1000}});
  const auto both = example.plan(options);
  EXPECT_EQ(both.keep_from, "000000010000000000000002");
  ASSERT_EQ(both.held_back.size(), 2u);
  EXPECT_THAT(text_of(both.held_back[0]), HasSubstr("the replication slot \"late\""));
  EXPECT_EQ(both.held_back[1].segment, "000000010000000000000003");
  keep_slots(example, {});
  // All that may go is there; what stays anyway does not matter.
  keep_mark({SegmentName(1, 1, kSize), SegmentName(1, 2, kSize), SegmentName(1, 3, kSize),
             SegmentName(1, 4, kSize)});
  EXPECT_EQ(example.plan(options).files, 5u);
  EXPECT_THAT(example.plan(options).held_back, IsEmpty());
  // Nothing is known to be there; the mark is of another cluster.
  keep_mark({});
  EXPECT_EQ(example.plan(options).files, 0u);
  keep_mark({}, 1);
  EXPECT_EQ(example.plan(options).files, 5u);
}

TEST(Prune, RemovesNothingIfItIsUnknownWhatIsUploaded) {
  Example example;
  const Options options{.keep_from = kSize.start(5)};
  for (const auto& content : {std::string(), std::string("{\"version\": 1, \"store\"")}) {
    SCOPED_TRACE(content);
    example.archive.disk.put(std::string(store::kMarkName), test::bytes_of(content));
    const auto error = error_of([&] { static_cast<void>(example.plan(options)); });
    EXPECT_EQ(error.kind(), ErrorKind::damage);
    EXPECT_THAT(error.hint(), HasSubstr("pgweir store push"));
  }
  example.archive.disk.erase(std::string(store::kMarkName));
  EXPECT_GT(example.plan(options).files, 0u);
}

TEST(Prune, RemovesNothingWhereTheSlotsCannotBeRead) {
  Example example;
  example.archive.disk.put(std::string(archive::kSlotsName), {});
  try {
    static_cast<void>(example.plan({.keep_from = kSize.start(5)}));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::damage);
  }
}

}  // namespace
}  // namespace weir::prune::prune_test

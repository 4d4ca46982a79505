#include "archive/backup_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "support/append_checkpoint.h"
#include "support/archive_builder.h"
#include "support/error_of.h"
#include "wal/page.h"

namespace weir::archive::backup_checkpoint_test {
namespace {

using codec::Method;
using test::error_of;
using testing::append_checkpoint;
using ::testing::HasSubstr;
using testing::WalBuilder;
using verify::ArchiveBuilder;
using verify::kSize;
using wal::Lsn;

WalBuilder::Options ordinary(std::uint64_t seed = 1) {
  WalBuilder::Options options;
  options.seed = seed;
  options.switch_every = 0;
  options.abort_every = 0;
  return options;
}

BackupPoint label(Lsn redo, Lsn checkpoint) {
  return parse_backup_label(
      fmt::format("START WAL LOCATION: {} (file {})\nCHECKPOINT LOCATION: {}\nBACKUP METHOD: "
                  "streamed\nBACKUP FROM: primary\nSTART TIMELINE: 1\n",
                  redo, wal::SegmentName(1, kSize.segno(redo), kSize), checkpoint),
      "backup_label");
}

/// Segments 1 to 7, with a checkpoint in 4, and one that goes on from 5 to 6.
struct Example {
  WalBuilder wal;
  Lsn redo, checkpoint, next_redo, over_the_border;
  ArchiveBuilder archive;

  explicit Example(std::uint64_t seed = 1, std::uint32_t at = 300'000) : wal(ordinary(seed)) {
    wal.grow_to(kSize.start(3) + at);
    redo = wal.end();
    wal.grow_to(kSize.start(4) + at);
    checkpoint = append_checkpoint(wal, redo);
    wal.grow_to(kSize.start(5) + at);
    next_redo = wal.end();
    wal.grow_to(kSize.start(5) + 900'000);
    while (wal.end() + 20'000 < kSize.start(6)) wal.append_random(8'000);
    while (wal.end() + 300 < kSize.start(6)) wal.append_random(200);
    wal.append_up_to(kSize.start(5) + (kSize.bytes() - 64));
    over_the_border = append_checkpoint(wal, next_redo);
    EXPECT_LT(over_the_border, kSize.start(6));
    EXPECT_GT(wal.end(), kSize.start(6));
    wal.grow_to(kSize.start(8));
  }
  CheckpointThere require(const BackupPoint& point) {
    return require_checkpoint(*archive.disk.open(), point, kSize);
  }
};

TEST(RequireCheckpoint, AcceptsTheBackupsOwn) {
  for (const auto method : {Method::none, Method::zstd}) {
    Example example;
    example.archive.segments(example.wal, 1, 8, method);
    EXPECT_EQ(example.require(label(example.redo, example.checkpoint)), CheckpointThere::yes);
    EXPECT_EQ(example.require(label(example.next_redo, example.over_the_border)),
              CheckpointThere::yes);
  }
}

TEST(RequireCheckpoint, RefusesWhatIsAnotherRecord) {
  Example example;
  example.archive.segments(example.wal, 1, 8);
  const auto& records = example.wal.records();
  const auto other = std::find_if(records.begin(), records.end(), [&](const auto& record) {
    return record.start > example.checkpoint;
  });
  struct Case {
    const char* name;
    BackupPoint point;
    const char* found;
  };
  for (const auto& c :
       {Case{"another start", label(example.redo + 8, example.checkpoint), "with the start 0/3"},
        Case{"in a record", label(example.redo, example.checkpoint + 8), "no record begins there"},
        Case{"no checkpoint", label(example.redo, other->start),
             "a record other than a checkpoint"}}) {
    SCOPED_TRACE(c.name);
    const auto error = error_of([&] { static_cast<void>(example.require(c.point)); });
    EXPECT_EQ(error.kind(), ErrorKind::conflict);
    EXPECT_THAT(error.what(), HasSubstr("different WAL at the backup's checkpoint"));
    EXPECT_THAT(error.what(), HasSubstr(c.found));
    EXPECT_THAT(error.what(), HasSubstr("000000010000000000000004"));
  }
}

TEST(RequireCheckpoint, RefusesALabelOfAnotherCluster) {
  Example example, other(2, 400'000);
  example.archive.segments(example.wal, 1, 8);
  const auto error =
      error_of([&] { static_cast<void>(example.require(label(other.redo, other.checkpoint))); });
  EXPECT_EQ(error.kind(), ErrorKind::conflict);
}

TEST(RequireCheckpoint, TellsWalThatIsNotThereFromWalThatIsDamaged) {
  Example example, other(2, 400'000);
  const auto point = label(other.redo, other.checkpoint);
  EXPECT_EQ(example.require(point), CheckpointThere::not_yet) << "an empty archive";
  example.archive.segments(example.wal, 5, 8);
  EXPECT_EQ(example.require(point), CheckpointThere::not_yet) << "it begins behind";
  auto none = point;
  none.checkpoint.reset();
  example.archive.segments(example.wal, 1, 8);
  EXPECT_EQ(example.require(none), CheckpointThere::yes) << "a manifest has none";
  example.archive.flip(ArchiveBuilder::name(example.wal, 4), 200'000, 3);
  EXPECT_EQ(example.require(point), CheckpointThere::damaged);
  // A checkpoint whose end is not archived yet.
  Example young;
  young.archive.segments(young.wal, 1, 6);
  EXPECT_EQ(young.require(label(young.redo, young.over_the_border)), CheckpointThere::not_yet);
}

TEST(RequireCheckpoint, ReadsWhatIsUnfinished) {
  for (const auto method : {Method::none, Method::gzip}) {
    Example example;
    example.archive.segments(example.wal, 1, 4);
    example.archive.partial(example.wal, example.checkpoint + 2000, ArchiveBuilder::Tail::zeros,
                            method);
    EXPECT_EQ(example.require(label(example.redo, example.checkpoint)), CheckpointThere::yes);
    EXPECT_EQ(error_of([&] {
                static_cast<void>(example.require(label(example.redo + 8, example.checkpoint)));
              }).kind(),
              ErrorKind::conflict);
    Example young;
    young.archive.segments(young.wal, 1, 4);
    young.archive.partial(young.wal, young.checkpoint, ArchiveBuilder::Tail::zeros, method);
    const auto point = label(young.redo + 8, young.checkpoint);
    EXPECT_EQ(young.require(point), CheckpointThere::not_yet);
    // What was killed leaves a compressed one cut off.
    const auto name = ArchiveBuilder::name(young.wal, 4, method, true);
    auto bytes = young.archive.disk.content(name);
    bytes.resize(bytes.size() / 4);
    young.archive.disk.put(name, bytes);
    EXPECT_EQ(young.require(point), CheckpointThere::not_yet);
  }
}

TEST(RequireCheckpoint, LeavesWalOfANewerServerToThoseWhoKnowIt) {
  Example example;
  example.archive.segments(example.wal, 1, 8);
  const auto name = ArchiveBuilder::name(example.wal, 4);
  auto bytes = example.archive.disk.content(name);
  const std::uint16_t newer = 0xD1FE;
  ASSERT_TRUE(wal::magic_is_newer_than_known(newer));
  for (std::size_t page = 0; page < bytes.size(); page += wal::kPageSize)
    std::memcpy(bytes.data() + page, &newer, sizeof(newer));
  example.archive.disk.put(name, bytes);
  EXPECT_EQ(example.require(label(example.redo + 8, example.checkpoint)), CheckpointThere::yes);
}

}  // namespace
}  // namespace weir::archive::backup_checkpoint_test

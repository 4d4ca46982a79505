#include "archive/backup_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "support/archive_builder.h"
#include "support/error_of.h"

namespace weir::archive::backup_checkpoint_test {
namespace {

using codec::Method;
using test::error_of;
using ::testing::HasSubstr;
using testing::WalBuilder;
using verify::ArchiveBuilder;
using verify::kSize;
using wal::Lsn;

constexpr std::uint8_t kOnline = 0x10;

WalBuilder::Options ordinary(std::uint64_t seed = 1) {
  WalBuilder::Options options;
  options.seed = seed;
  options.switch_every = 0;
  options.abort_every = 0;
  return options;
}

/// As a server writes one: struct CheckPoint, whose first field is the redo position.
Lsn append_checkpoint(WalBuilder& wal, Lsn redo) {
  test::Bytes body(2 + 88);
  body[0] = std::byte{255};
  body[1] = std::byte{88};
  const auto value = redo.byte();
  std::memcpy(body.data() + 2, &value, sizeof(value));
  return wal.append(0, kOnline, body).start;
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
  void require(const BackupPoint& point) { require_checkpoint(*archive.disk.open(), point, kSize); }
};

TEST(RequireCheckpoint, AcceptsTheBackupsOwn) {
  for (const auto method : {Method::none, Method::zstd}) {
    Example example;
    example.archive.segments(example.wal, 1, 8, method);
    EXPECT_NO_THROW(example.require(label(example.redo, example.checkpoint)));
    EXPECT_NO_THROW(example.require(label(example.next_redo, example.over_the_border)));
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
        Case{"no checkpoint", label(example.redo, other->start), "is no checkpoint"}}) {
    SCOPED_TRACE(c.name);
    const auto error = error_of([&] { example.require(c.point); });
    EXPECT_EQ(error.kind(), ErrorKind::conflict);
    EXPECT_THAT(error.what(), HasSubstr("other WAL where the backup's checkpoint should be"));
    EXPECT_THAT(error.what(), HasSubstr(c.found));
    EXPECT_THAT(error.what(), HasSubstr("000000010000000000000004"));
  }
}

TEST(RequireCheckpoint, RefusesALabelOfAnotherCluster) {
  Example example, other(2, 400'000);
  example.archive.segments(example.wal, 1, 8);
  const auto error = error_of([&] { example.require(label(other.redo, other.checkpoint)); });
  EXPECT_EQ(error.kind(), ErrorKind::conflict);
}

TEST(RequireCheckpoint, SaysNothingOfWalThatIsNotThereOrDamaged) {
  Example example, other(2, 400'000);
  const auto point = label(other.redo, other.checkpoint);
  EXPECT_NO_THROW(example.require(point)) << "an empty archive";
  example.archive.segments(example.wal, 5, 8);
  EXPECT_NO_THROW(example.require(point)) << "it begins behind";
  auto none = point;
  none.checkpoint.reset();
  example.archive.segments(example.wal, 1, 8);
  EXPECT_NO_THROW(example.require(none)) << "a manifest has none";
  example.archive.flip(ArchiveBuilder::name(example.wal, 4), 200'000, 3);
  EXPECT_NO_THROW(example.require(point)) << "verify finds that";
  // A checkpoint whose end is not archived yet.
  Example young;
  young.archive.segments(young.wal, 1, 6);
  EXPECT_NO_THROW(young.require(label(young.redo, young.over_the_border)));
}

TEST(RequireCheckpoint, ReadsWhatIsUnfinished) {
  Example example;
  example.archive.segments(example.wal, 1, 4);
  example.archive.partial(example.wal, example.checkpoint + 2000);
  EXPECT_NO_THROW(example.require(label(example.redo, example.checkpoint)));
  EXPECT_EQ(error_of([&] { example.require(label(example.redo + 8, example.checkpoint)); }).kind(),
            ErrorKind::conflict);
  Example young;
  young.archive.segments(young.wal, 1, 4);
  young.archive.partial(young.wal, young.checkpoint);
  EXPECT_NO_THROW(young.require(label(young.redo + 8, young.checkpoint)));
}

}  // namespace
}  // namespace weir::archive::backup_checkpoint_test

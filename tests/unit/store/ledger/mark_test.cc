#include "store/ledger/mark.h"

#include <gtest/gtest.h>

#include <random>

#include "support/bytes.h"
#include "support/error_of.h"
#include "support/sim_disk.h"

namespace weir::store::mark_test {
namespace {

using sim::MachineDown;
using sim::SimDisk;

const wal::SegmentSize kSize;

wal::SegmentName segment(std::uint64_t segno, wal::TimelineId timeline = 1) {
  return {timeline, segno, kSize};
}
Mark empty() { return {"s3://wal/main", 7'000'000'000'000'000'001, kSize, {}, {}}; }

void keep(SimDisk& disk, const Mark& mark) {
  const auto directory = disk.open();
  archive::DirectoryHome home(*directory);
  keep_mark(home, mark);
}
std::optional<Mark> read(SimDisk& disk) { return read_mark(*disk.open()); }

TEST(Mark, ForgetsOneOfARow) {
  auto mark = empty();
  for (const std::uint64_t segno : {5, 6, 7, 8}) mark.add(segment(segno));
  mark.add(segment(9, 2));
  mark.remove(segment(6));
  EXPECT_EQ(mark.sent, (std::vector<Mark::Run>{{segment(5), segment(5)},
                                               {segment(7), segment(8)},
                                               {segment(9, 2), segment(9, 2)}}));
  mark.remove(segment(5));
  mark.remove(segment(8));
  mark.remove(segment(6));
  EXPECT_EQ(mark.sent,
            (std::vector<Mark::Run>{{segment(7), segment(7)}, {segment(9, 2), segment(9, 2)}}));
  mark.add(segment(8));
  EXPECT_TRUE(mark.has(segment(8)));
}

TEST(Mark, NamesTheFirstCompleteSegmentThatIsNotSent) {
  auto mark = empty();
  archive::Listing listing;
  const auto add = [&](wal::SegmentName name, bool partial = false) {
    listing.segments.push_back({{name, codec::Method::none, partial}, std::nullopt});
  };
  for (const std::uint64_t segno : {5, 6, 8, 9}) add(segment(segno));
  add(segment(7, 2));
  add(segment(4, 2), true);
  for (const std::uint64_t segno : {5, 6}) mark.add(segment(segno));
  const archive::Identity cluster{mark.system_identifier, kSize, {}};
  EXPECT_EQ(first_not_sent(mark, cluster, listing), segment(7, 2));
  mark.add(segment(7, 2));
  EXPECT_EQ(first_not_sent(mark, cluster, listing), segment(8));
  mark.add(segment(8));
  mark.add(segment(9));
  EXPECT_EQ(first_not_sent(mark, cluster, listing), std::nullopt);
  // That of another cluster says nothing, nor does none.
  mark.remove(segment(5));
  EXPECT_EQ(first_not_sent(mark, {1, kSize, {}}, listing), std::nullopt);
  EXPECT_EQ(
      first_not_sent(mark, {mark.system_identifier, *wal::SegmentSize::of(1 << 20), {}}, listing),
      std::nullopt);
  EXPECT_EQ(first_not_sent(std::nullopt, cluster, listing), std::nullopt);
}

TEST(Mark, JoinsWhatTouches) {
  auto mark = empty();
  for (const std::uint64_t segno : {5, 7, 9, 6, 5}) mark.add(segment(segno));
  mark.add(segment(8, 2));
  EXPECT_EQ(mark.sent, (std::vector<Mark::Run>{{segment(5), segment(7)},
                                               {segment(9), segment(9)},
                                               {segment(8, 2), segment(8, 2)}}));
  mark.add(segment(8));
  mark.add(segment(4));
  EXPECT_EQ(mark.sent,
            (std::vector<Mark::Run>{{segment(4), segment(9)}, {segment(8, 2), segment(8, 2)}}));
  EXPECT_TRUE(mark.has(segment(4)) && mark.has(segment(9)) && mark.has(segment(8, 2)));
  EXPECT_FALSE(mark.has(segment(3)) || mark.has(segment(10)) || mark.has(segment(9, 2)));
}

TEST(Mark, IsReadAsItWasWritten) {
  SimDisk disk;
  EXPECT_EQ(read(disk), std::nullopt);
  EXPECT_EQ(read_mark_for_removal(*disk.open()), std::nullopt);
  auto mark = empty();
  EXPECT_TRUE(mark.empty());
  keep(disk, mark);
  EXPECT_EQ(read(disk), mark);
  mark.add(segment(5));
  mark.add(segment(6));
  mark.add_history(3);
  mark.add_history(2);
  EXPECT_FALSE(mark.empty());
  keep(disk, mark);
  EXPECT_EQ(read(disk), mark);
  EXPECT_EQ(read_mark_for_removal(*disk.open()), mark);
}

TEST(Mark, IsTheOldOrTheNewOneWheneverThePowerFails) {
  auto before = empty();
  before.add(segment(5));
  auto after = before;
  after.add(segment(6));
  std::mt19937_64 random(test::seed_or(37));
  for (std::uint64_t call = 1;; ++call) {
    SCOPED_TRACE(call);
    SimDisk disk;
    keep(disk, before);
    disk.lose_power_at(disk.calls() + call);
    bool kept = false;
    try {
      keep(disk, after);
      kept = true;
    } catch (const MachineDown&) {
    }
    disk.set_hook({});
    if (call % 2 == 0)
      disk.crash_losing_everything();
    else
      disk.crash(random);
    const auto found = read(disk);
    EXPECT_TRUE(found == after || (!kept && found == before));
    if (kept || HasFailure()) break;
  }
}

TEST(Mark, ThatCannotBeReadSaysThatNothingIsKnown) {
  SimDisk good;
  auto mark = empty();
  mark.add(segment(5));
  mark.add(segment(7));
  keep(good, mark);
  const auto text = test::text_of(good.content(std::string(kMarkName)));
  const auto with = [&](const std::string& what, const std::string& other) {
    auto changed = text;
    const auto at = changed.find(what);
    EXPECT_NE(at, std::string::npos) << what;
    return changed.replace(at, what.size(), other);
  };
  for (const auto& content :
       {std::string(), std::string("{}"), std::string("[]"), text.substr(0, text.size() / 2),
        with("\"version\": 1", "\"version\": 2"), with("000000010000000000000005", "5"),
        // a run that ends before it begins, and one that touches two timelines
        with("\"000000010000000000000005\",\n      \"000000010000000000000005\"",
             "\"000000010000000000000006\",\n      \"000000010000000000000005\""),
        with("16777216", "1000")}) {
    SCOPED_TRACE(content);
    SimDisk disk;
    disk.put(std::string(kMarkName), test::as_bytes(content));
    EXPECT_EQ(read(disk), std::nullopt);
    const auto error =
        test::error_of([&] { static_cast<void>(read_mark_for_removal(*disk.open())); });
    EXPECT_EQ(error.kind(), ErrorKind::damage) << "nothing may be removed then";
  }
}

TEST(Mark, IsMovedByOneProcessAtATime) {
  SimDisk disk;
  const auto one = disk.open();
  const auto other = disk.open();
  auto lock = try_lock_mark(*one);
  EXPECT_NE(lock, nullptr);
  EXPECT_EQ(try_lock_mark(*other), nullptr);
  lock.reset();
  EXPECT_NE(try_lock_mark(*other), nullptr);
}

}  // namespace
}  // namespace weir::store::mark_test

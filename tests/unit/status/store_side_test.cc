#include "status/store_side.h"

#include <gtest/gtest.h>

#include <memory>

#include "archive/home.h"
#include "store/ledger/mark.h"
#include "support/bytes.h"
#include "support/just_changed.h"
#include "support/sim_disk.h"

namespace weir::status::store_side_test {
namespace {

const wal::SegmentSize kSize;

wal::SegmentName segment(std::uint64_t segno) { return {1, segno, kSize}; }

/// The directory has 1 to 5, which were sent; the store has 4 and 5.
class StoreSideTest : public ::testing::Test {
 protected:
  StoreSideTest() {
    for (std::uint64_t segno = 1; segno < 6; ++segno) {
      here_.put(segment(segno).to_string(), test::bytes_of("WAL"));
      if (segno > 3) there_.put(segment(segno).to_string(), test::bytes_of("WAL"));
      mark_.add(segment(segno));
    }
  }
  StoreSide look(const std::string& identity = "here") {
    const auto directory = here_.open();
    archive::DirectoryHome home(*directory);
    store::keep_mark(home, mark_);
    return look_at_store(directory.get(), *there_.open(), identity,
                         std::chrono::system_clock::now());
  }
  sim::SimDisk here_;
  sim::SimDisk there_;
  store::Mark mark_{"here", 7, kSize, {}, {}};
};

TEST_F(StoreSideTest, WhatWasSentBeforeTheFirstSegmentThereWasPruned) {
  EXPECT_EQ(look().pending_segments, 0u);
  EXPECT_EQ(look("another one").pending_segments, 3u);
}

TEST_F(StoreSideTest, NothingWasPrunedInAStoreThatWasEmptied) {
  mark_.emptied = true;
  const auto side = look();
  EXPECT_EQ(side.pending_segments, 3u);
  EXPECT_EQ(side.oldest_pending.substr(0, 24), segment(1).to_string());
}

TEST_F(StoreSideTest, TellsHowOldTheNewestWalOfAStoreAloneIs) {
  using namespace std::chrono_literals;
  const auto age = [](io::Shelf& stored) {
    return look_at_store(nullptr, stored, "here", std::chrono::system_clock::now() + 2h).newest_age;
  };
  EXPECT_EQ(age(*there_.open()), std::nullopt) << "files without a time";
  test::JustChanged recent(there_.open());
  const auto told = age(recent);
  ASSERT_TRUE(told);
  EXPECT_GT(*told, 1h);
  EXPECT_LE(*told, 2h);
  sim::SimDisk empty;
  empty.put("pgweir.json", test::bytes_of("{}"));
  test::JustChanged without_wal(empty.open());
  EXPECT_EQ(age(without_wal), std::nullopt);
}

}  // namespace
}  // namespace weir::status::store_side_test

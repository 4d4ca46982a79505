#include "archive/stored_begin.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "archive/listing.h"
#include "archive/own_names.h"
#include "support/bytes.h"
#include "support/sim_disk.h"

namespace weir::archive::stored_begin_test {
namespace {

using sim::SimDisk;
using wal::Lsn;

std::optional<Lsn> read(SimDisk& disk) {
  const auto directory = disk.open();
  return read_stored_begin(*directory, list_archive_names(*directory));
}

TEST(StoredBegin, IsTheEarliestFromWhichWalWasRemoved) {
  SimDisk disk;
  EXPECT_EQ(read(disk), std::nullopt);
  extend_stored_begin(*disk.open(), Lsn(0x300000));
  EXPECT_EQ(read(disk), Lsn(0x300000));
  extend_stored_begin(*disk.open(), Lsn(0x400000));
  EXPECT_EQ(read(disk), Lsn(0x300000));
  extend_stored_begin(*disk.open(), Lsn(0x100000));
  EXPECT_EQ(read(disk), Lsn(0x100000));
}

TEST(StoredBegin, IsCorrectedOnlyWhereWalWasRemoved) {
  SimDisk disk;
  correct_stored_begin(*disk.open(), Lsn(0x300000));
  EXPECT_EQ(read(disk), std::nullopt);
  extend_stored_begin(*disk.open(), Lsn(0x300000));
  for (const std::uint64_t at : {0x500000, 0x200000}) {
    correct_stored_begin(*disk.open(), Lsn(at));
    EXPECT_EQ(read(disk), Lsn(at));
  }
}

TEST(StoredBegin, SurvivesAPowerFailureAsSoonAsItReturns) {
  SimDisk disk;
  extend_stored_begin(*disk.open(), Lsn(0x300000));
  disk.crash_losing_everything();
  EXPECT_EQ(read(disk), Lsn(0x300000));
}

TEST(StoredBegin, IsTheStartOfAllWalIfItIsDamaged) {
  SimDisk disk;
  for (const char* text : {"", "{", "[]", R"({"begin": 7})", R"({"begin": "x"})"}) {
    disk.put(std::string(kStoredBeginName), test::bytes_of(text));
    EXPECT_EQ(read(disk), Lsn()) << text;
  }
  extend_stored_begin(*disk.open(), Lsn(0x300000));
  EXPECT_EQ(read(disk), Lsn()) << "how far it went is unknown until the store is listed";
  correct_stored_begin(*disk.open(), Lsn(0x200000));
  EXPECT_EQ(read(disk), Lsn(0x200000));
}

}  // namespace
}  // namespace weir::archive::stored_begin_test

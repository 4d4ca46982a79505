#include "archive/history_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "base/error.h"
#include "codec/codec.h"
#include "support/bytes.h"
#include "support/error_of.h"
#include "support/just_changed.h"
#include "support/sim_disk.h"

namespace weir::archive::history_store_test {
namespace {

using sim::MachineDown;
using sim::SimDisk;
using test::as_bytes;
using test::error_of;
using test::text_of;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kContent = "1\t0/3000158\tno recovery target specified\n";

TEST(HistoryStore, KeepsTheBytesThatTheServerSent) {
  SimDisk disk;
  store_history(*disk.open(), 2, kContent);
  disk.crash_losing_everything();
  EXPECT_THAT(disk.names(), ElementsAre("00000002.history"));
  EXPECT_EQ(text_of(disk.content("00000002.history")), kContent);
  EXPECT_EQ(read_history(*disk.open(), 2), kContent);
  EXPECT_EQ(read_history(*disk.open(), 3), std::nullopt);
}

/// A server that was promoted has an archive_command, too, which flushes nothing.
TEST(HistoryStore, FlushesAFileThatAnotherProgramHasCopied) {
  SimDisk disk;
  test::ChangedAgo directory(disk.open());
  directory.create("00000002.history")->write_at(0, as_bytes(kContent));
  EXPECT_FALSE(store_history(directory, 2, kContent));
  disk.crash_losing_everything();
  EXPECT_EQ(read_history(*disk.open(), 2), kContent);
}

/// At the moment of a promotion, both are stored.
TEST(HistoryStore, AcceptsACopyThatAppearsMeanwhile) {
  for (const bool same : {true, false}) {
    SimDisk disk;
    disk.set_hook([&](const SimDisk::Call& call) {
      if (call.operation == SimDisk::Operation::rename)
        disk.put("00000002.history", as_bytes(same ? kContent : "1\t0/4000000\tanother\n"));
      return SimDisk::Effect::proceed();
    });
    const auto directory = disk.open();
    const auto store = [&] { return store_history(*directory, 2, kContent); };
    if (same)
      EXPECT_FALSE(store());
    else
      EXPECT_EQ(error_of(store).kind(), ErrorKind::conflict);
    EXPECT_THAT(disk.names(), ElementsAre("00000002.history"));
  }
}

TEST(HistoryStore, WaitsForOneThatIsBeingCopied) {
  SimDisk disk;
  disk.put("00000002.history", as_bytes(""));
  test::ChangedAgo directory(disk.open());
  EXPECT_EQ(error_of([&] { store_history(directory, 2, kContent); }).kind(), ErrorKind::retry);
  disk.put("00000002.history", as_bytes(kContent));
  EXPECT_FALSE(store_history(directory, 2, kContent));

  // All of one line, but not of the file.
  const auto more = kContent + "2\t0/4000000\tno recovery target specified\n";
  disk.put("00000003.history", as_bytes(kContent));
  EXPECT_EQ(error_of([&] { store_history(directory, 3, more); }).kind(), ErrorKind::retry);
  disk.put("00000003.history", as_bytes("1\t0/4000000\tanother\n"));
  EXPECT_EQ(error_of([&] { store_history(directory, 3, more); }).kind(), ErrorKind::conflict);
}

TEST(HistoryStore, IsCompleteOrAbsentAfterAPowerLossAtAnyCall) {
  std::mt19937_64 random(test::seed_or(1));
  bool stored = false;
  for (std::uint64_t n = 1; !stored; ++n) {
    for (int round = 0; round < 20; ++round) {
      SCOPED_TRACE(::testing::Message() << "call " << n << " round " << round);
      SimDisk disk;
      disk.lose_power_at(n);
      try {
        store_history(*disk.open(), 2, kContent);
        stored = true;
      } catch (const MachineDown&) {
      }
      if (round == 0)
        disk.kill();
      else
        disk.crash(random);
      if (stored) {
        ASSERT_TRUE(disk.exists("00000002.history"));
      }
      if (disk.exists("00000002.history")) {
        ASSERT_EQ(text_of(disk.content("00000002.history")), kContent);
      }
      // Again, over whatever is left; then it is safe.
      store_history(*disk.open(), 2, kContent);
      disk.crash_losing_everything();
      ASSERT_TRUE(disk.exists("00000002.history"));
      ASSERT_EQ(text_of(disk.content("00000002.history")), kContent);
    }
  }
}

TEST(HistoryStore, LeavesNothingBehindWhenACallFails) {
  for (const auto operation :
       {SimDisk::Operation::create, SimDisk::Operation::write, SimDisk::Operation::rename}) {
    SimDisk disk;
    const auto directory = disk.open();
    disk.fail_every(operation, ENOSPC);
    EXPECT_EQ(error_of([&] { store_history(*directory, 2, kContent); }).kind(),
              ErrorKind::disk_full);
    EXPECT_TRUE(disk.names().empty());
  }
  for (const auto operation :
       {SimDisk::Operation::sync, SimDisk::Operation::close, SimDisk::Operation::sync_directory}) {
    SimDisk disk;
    const auto directory = disk.open();
    disk.fail_every(operation, EIO);
    EXPECT_EQ(error_of([&] { store_history(*directory, 2, kContent); }).kind(),
              ErrorKind::durability);
  }
}

TEST(HistoryStore, AcceptsTheSameHistoryAndRefusesAnother) {
  struct Case {
    const char* name;
    const char* held;
    std::optional<ErrorKind> error;
  };
  for (const Case& c :
       {Case{"the same", "1\t0/3000158\tno recovery target specified\n", std::nullopt},
        Case{"another comment", "# mine\n\n1 0/3000158   another reason\n", std::nullopt},
        Case{"another switchpoint", "1\t0/3000160\tx\n", ErrorKind::conflict},
        Case{"empty", "", ErrorKind::damage},
        Case{"rubbish", "what is this\n", ErrorKind::damage}}) {
    SCOPED_TRACE(c.name);
    SimDisk disk;
    disk.put("00000002.history", as_bytes(c.held));
    const auto directory = disk.open();
    if (c.error) {
      const Error error = error_of([&] { store_history(*directory, 2, kContent); });
      EXPECT_EQ(error.kind(), *c.error);
      EXPECT_THAT(error.what(), HasSubstr("00000002.history"));
      EXPECT_FALSE(error.hint().empty());
    } else {
      store_history(*directory, 2, kContent);
    }
    EXPECT_EQ(text_of(disk.content("00000002.history")), c.held);
    EXPECT_THAT(disk.names(), ElementsAre("00000002.history"));
  }
}

TEST(HistoryStore, StoresNothingThatCannotBeRead) {
  SimDisk disk;
  const auto directory = disk.open();
  EXPECT_EQ(error_of([&] { store_history(*directory, 2, "3\t0/1\tx\n"); }).kind(),
            ErrorKind::protocol);
  EXPECT_TRUE(disk.names().empty());
}

TEST(HistoryStore, ReadsTheCompressedFormOfOtherArchives) {
  test::Bytes packed;
  const codec::PackedSink sink = [&](auto bytes) {
    packed.insert(packed.end(), bytes.begin(), bytes.end());
  };
  const auto compressor = codec::make_compressor({codec::Method::gzip, 6}, kContent.size());
  compressor->feed(as_bytes(kContent), sink);
  compressor->finish(sink);
  SimDisk disk;
  disk.put("00000002.history.gz", packed);
  const auto directory = disk.open();
  EXPECT_EQ(read_history(*directory, 2), kContent);
  store_history(*directory, 2, kContent);
  EXPECT_THAT(disk.names(), ElementsAre("00000002.history.gz"));
  packed.pop_back();
  disk.put("00000002.history.gz", packed);
  const Error error = error_of([&] { static_cast<void>(read_history(*directory, 2)); });
  EXPECT_EQ(error.kind(), ErrorKind::damage);
  EXPECT_THAT(error.what(), HasSubstr("00000002.history.gz"));
}

}  // namespace
}  // namespace weir::archive::history_store_test

#include "support/sim_disk.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <optional>
#include <set>

#include "base/error.h"
#include "support/bytes.h"

namespace weir::sim::sim_disk_test {
namespace {

using test::as_bytes;
using test::bytes_of;
using test::text_of;
using ::testing::ElementsAre;
using Operation = SimDisk::Operation;
using Effect = SimDisk::Effect;

template <typename Action>
ErrorKind kind_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.kind();
  }
  ADD_FAILURE() << "no error";
  return ErrorKind::usage;
}

TEST(SimDisk, LosesUnsyncedDataAndNamesSeparately) {
  struct Case {
    const char* name;
    bool sync_data;
    bool sync_name;
  };
  for (const Case& c : {Case{"nothing synced", false, false}, Case{"data only", true, false},
                        Case{"name only", false, true}, Case{"both", true, true}}) {
    SCOPED_TRACE(c.name);
    SimDisk disk;
    const auto directory = disk.open();
    const auto file = directory->create("a");
    file->write_at(0, as_bytes("hello"));
    if (c.sync_data) file->sync();
    if (c.sync_name) directory->sync();
    disk.crash_losing_everything();
    ASSERT_EQ(disk.exists("a"), c.sync_name);
    if (c.sync_name) {
      EXPECT_EQ(text_of(disk.content("a")), c.sync_data ? "hello" : "");
    }
  }
}

TEST(SimDisk, KeepsEverythingThatACallHadDoneAtAKill) {
  SimDisk disk;
  const auto directory = disk.open();
  directory->create("a")->write_at(0, as_bytes("hello"));
  directory->rename_replace("a", "b");
  disk.kill();
  EXPECT_THAT(disk.names(), ElementsAre("b"));
  EXPECT_EQ(text_of(disk.content("b")), "hello");
  disk.crash_losing_everything();  // but nothing of it was synced
  EXPECT_THAT(disk.names(), ElementsAre());
}

TEST(SimDisk, KeepsTheNewerBytesWhereAnOlderSyncEndsLater) {
  SimDisk disk;
  const auto directory = disk.open();
  const auto file = directory->create("a");
  directory->sync();
  std::vector<std::uint64_t> syncs;
  disk.set_hook([&](const SimDisk::Call& call) {
    if (call.operation != Operation::sync) return Effect::proceed();
    syncs.push_back(call.number);
    return Effect::defer();
  });
  file->write_at(0, as_bytes("old"));
  file->sync();
  file->write_at(0, as_bytes("new"));
  file->sync();
  ASSERT_EQ(syncs.size(), 2U);
  disk.complete(syncs[1]);
  file->write_at(0, as_bytes("not synced"));
  disk.complete(syncs[0]);
  disk.crash_losing_everything();
  EXPECT_EQ(text_of(disk.content("a")), "new");
}

TEST(SimDisk, KeepsWhatTheKernelWroteBackWhereAnOlderSyncEndsLater) {
  SimDisk disk;
  const auto directory = disk.open();
  const auto file = directory->create("a");
  directory->sync();
  std::optional<std::uint64_t> sync;
  disk.set_hook([&](const SimDisk::Call& call) {
    if (call.operation != Operation::sync) return Effect::proceed();
    sync = call.number;
    return Effect::defer();
  });
  file->write_at(0, as_bytes("old"));
  file->sync();
  file->write_at(0, as_bytes("new"));
  disk.write_back_some([] { return std::uint64_t{1}; });
  file->write_at(0, as_bytes("not synced"));
  ASSERT_TRUE(sync);
  disk.complete(*sync);
  disk.crash_losing_everything();
  EXPECT_EQ(text_of(disk.content("a")), "new");
}

TEST(SimDisk, EndsEveryCallOfAnOlderProcess) {
  SimDisk disk;
  const auto directory = disk.open();
  const auto file = directory->create("a");
  ASSERT_TRUE(directory->try_lock());
  disk.kill();
  EXPECT_THROW(file->write_at(0, as_bytes("x")), MachineDown);
  EXPECT_THROW(file->sync(), MachineDown);
  EXPECT_THROW(directory->sync(), MachineDown);
  EXPECT_THROW(static_cast<void>(directory->list()), MachineDown);
  EXPECT_TRUE(disk.open()->try_lock());
}

TEST(SimDisk, GivesALostSyncedOrTornPageAtACrash) {
  // Two pages, old content 'o' durable, new content 'n' not: over many crashes every fate of each
  // page turns up, and never anything but old and new sectors.
  std::set<std::string> fates;
  std::mt19937_64 random(1);
  for (int round = 0; round < 200; ++round) {
    SimDisk disk;
    const std::string old_text(2 * SimDisk::kPageBytes, 'o');
    disk.put("a", as_bytes(old_text));
    const auto directory = disk.open();
    const auto file = directory->open("a");
    file->write_at(0, as_bytes(std::string(2 * SimDisk::kPageBytes, 'n')));
    disk.crash(random);
    const std::string text = text_of(disk.content("a"));
    std::string fate;
    for (std::size_t page = 0; page < 2; ++page) {
      const std::string_view bytes =
          std::string_view(text).substr(page * SimDisk::kPageBytes, SimDisk::kPageBytes);
      for (std::size_t at = 0; at < bytes.size(); at += SimDisk::kSectorBytes)
        for (const char c : bytes.substr(at, SimDisk::kSectorBytes)) ASSERT_EQ(c, bytes[at]);
      const bool old_in = bytes.find('o') != std::string_view::npos;
      const bool new_in = bytes.find('n') != std::string_view::npos;
      fate += old_in && new_in ? 'T' : old_in ? 'L' : 'K';
    }
    fates.insert(fate);
  }
  for (const char* fate : {"LL", "KK", "LK", "KL", "TL", "LT", "TK", "KT", "TT"})
    EXPECT_TRUE(fates.contains(fate)) << fate;
}

TEST(SimDisk, KeepsOneNameOfARenamedFile) {
  std::set<std::string> seen;
  std::mt19937_64 random(2);
  for (int round = 0; round < 100; ++round) {
    SimDisk disk;
    disk.put("a", as_bytes("x"));
    const auto directory = disk.open();
    directory->rename_no_replace("a", "b");
    static_cast<void>(directory->create("c"));
    disk.crash(random);
    std::string names;
    for (const auto& name : disk.names()) names += name;
    seen.insert(names);
  }
  EXPECT_THAT(seen, ::testing::UnorderedElementsAre("a", "b", "ac", "bc"));
}

TEST(SimDisk, DropsWhatAFailedSyncWasToWriteFromLaterSyncs) {
  SimDisk disk;
  disk.put("a", as_bytes("old"));
  const auto directory = disk.open();
  const auto file = directory->open("a");
  const auto other = directory->open("a");
  file->write_at(0, as_bytes("new"));
  disk.fail_every(Operation::sync, EIO);
  EXPECT_EQ(kind_of([&] { file->sync(); }), ErrorKind::durability);
  disk.set_hook({});
  EXPECT_NO_THROW(file->sync());  // the lie of a second sync
  EXPECT_EQ(text_of(disk.content("a")), "new");
  EXPECT_EQ(kind_of([&] { other->sync(); }), ErrorKind::durability);  // told once, too
  EXPECT_NO_THROW(other->sync());
  EXPECT_NO_THROW(directory->open("a")->sync());  // opened later: knows nothing of it
  std::mt19937_64 random(3);
  disk.crash(random);
  EXPECT_EQ(text_of(disk.content("a")), "old");
}

TEST(SimDisk, WritesAPageAgainThatWasWrittenAfterTheFailedSync) {
  SimDisk disk;
  disk.put("a", as_bytes("old"));
  const auto file = disk.open()->open("a");
  file->write_at(0, as_bytes("new"));
  disk.fail_every(Operation::sync, EIO);
  EXPECT_EQ(kind_of([&] { file->sync(); }), ErrorKind::durability);
  disk.set_hook({});
  file->write_at(0, as_bytes("n"));
  file->sync();
  disk.crash_losing_everything();
  EXPECT_EQ(text_of(disk.content("a")), "new");
}

TEST(SimDisk, CoversWithASyncOnlyWhatWasWrittenBeforeItBegan) {
  SimDisk disk;
  const auto directory = disk.open();
  const auto file = directory->create("a");
  file->write_at(0, as_bytes("before"));
  std::uint64_t number = 0;
  disk.set_hook([&](const SimDisk::Call& call) {
    if (call.operation != Operation::sync && call.operation != Operation::sync_directory)
      return Effect::proceed();
    number = call.number;
    return Effect::defer();
  });
  file->sync();
  const std::uint64_t data_sync = number;
  directory->sync();
  const std::uint64_t name_sync = number;
  file->write_at(0, as_bytes("behind"));
  static_cast<void>(directory->create("b"));
  disk.complete(data_sync);
  disk.complete(name_sync);
  disk.crash_losing_everything();
  EXPECT_THAT(disk.names(), ElementsAre("a"));
  EXPECT_EQ(text_of(disk.content("a")), "before");
}

TEST(SimDisk, MakesNothingDurableByASyncThatWasStillUnderWay) {
  SimDisk disk;
  const auto directory = disk.open();
  const auto file = directory->create("a");
  directory->sync();
  file->write_at(0, as_bytes("x"));
  std::uint64_t number = 0;
  disk.set_hook([&](const SimDisk::Call& call) {
    number = call.number;
    return call.operation == Operation::sync ? Effect::defer() : Effect::proceed();
  });
  file->sync();
  disk.crash_losing_everything();
  disk.complete(number);  // comes too late, and does nothing
  EXPECT_EQ(text_of(disk.content("a")), "");
}

TEST(SimDisk, GivesNoMoreSpaceThanThereIs) {
  SimDisk disk;
  disk.set_capacity(2 * SimDisk::kPageBytes);
  const auto directory = disk.open();
  const auto file = directory->create("a");
  EXPECT_EQ(kind_of([&] { file->allocate(3 * SimDisk::kPageBytes); }), ErrorKind::disk_full);
  EXPECT_EQ(file->size(), 0u);
  file->allocate(SimDisk::kPageBytes);
  file->write_at(0, bytes_of(std::string(SimDisk::kPageBytes, 'x')));
  EXPECT_EQ(directory->free_bytes(), SimDisk::kPageBytes);
  EXPECT_EQ(kind_of([&] { file->write_at(SimDisk::kPageBytes, test::pattern(9000, 1)); }),
            ErrorKind::disk_full);
  EXPECT_EQ(file->size(), 2 * SimDisk::kPageBytes);  // the front part
  EXPECT_EQ(directory->free_bytes(), 0u);
  EXPECT_EQ(kind_of([&] { static_cast<void>(directory->create("b")); }), ErrorKind::disk_full);
  directory->remove("a");
  EXPECT_NO_THROW(static_cast<void>(directory->create("b")));
}

TEST(SimDisk, FailsACallWithTheErrorOfTheRealDirectory) {
  struct Case {
    Operation operation;
    int code;
    ErrorKind kind;
  };
  for (const Case& c : {Case{Operation::create, ENOSPC, ErrorKind::disk_full},
                        Case{Operation::write, ENOSPC, ErrorKind::disk_full},
                        Case{Operation::write, EIO, ErrorKind::io},
                        Case{Operation::rename, EDQUOT, ErrorKind::disk_full},
                        Case{Operation::sync, ENOSPC, ErrorKind::durability},
                        Case{Operation::sync_directory, EIO, ErrorKind::durability},
                        Case{Operation::close, EIO, ErrorKind::durability}}) {
    SCOPED_TRACE(static_cast<int>(c.operation));
    SimDisk disk;
    const auto directory = disk.open();
    disk.fail_every(c.operation, c.code);
    EXPECT_EQ(kind_of([&] {
                const auto file = directory->create("a");
                file->write_at(0, as_bytes("x"));
                file->sync();
                directory->rename_replace("a", "b");
                directory->sync();
                file->close();
              }),
              c.kind);
  }
}

TEST(SimDisk, StopsTheMachineAtTheChosenCall) {
  SimDisk disk;
  disk.lose_power_at(3);
  const auto directory = disk.open();
  const auto file = directory->create("a");
  file->write_at(0, as_bytes("one"));
  EXPECT_THROW(file->write_at(3, as_bytes("twofour")), MachineDown);
  EXPECT_THROW(directory->sync(), MachineDown);
  disk.kill();
  EXPECT_EQ(text_of(disk.content("a")), "onetwo");  // the first half of the write
}

TEST(SimDisk, ForgetsASizeThatWasNotSynced) {
  SimDisk disk;
  const auto directory = disk.open();
  const auto file = directory->create("a");
  file->write_at(0, as_bytes("abc"));
  file->sync();
  directory->sync();
  file->allocate(10000);
  disk.crash_losing_everything();
  EXPECT_EQ(disk.size("a"), 3u);
  disk.open()->open("a")->allocate(10000);
  EXPECT_TRUE(disk.holds("a", 0, as_bytes("abc")));
  EXPECT_TRUE(disk.holds("a", 3, test::Bytes(9997)));
}

TEST(SimDisk, LosesOrKeepsACutThatWasNotSynced) {
  std::mt19937_64 random(7);
  std::set<std::string> seen;
  for (int round = 0; round < 300; ++round) {
    SimDisk disk;
    disk.put("a", as_bytes("old old "));
    auto file = disk.open()->open("a");
    file->truncate(3);
    file->write_at(3, as_bytes("new"));
    disk.crash(random);
    const auto content = disk.content("a");
    seen.emplace(reinterpret_cast<const char*>(content.data()), content.size());
  }
  // The cut and the write kept; the cut alone; neither. And, as nothing orders them, the size of
  // one with the page of the other.
  EXPECT_THAT(seen, ::testing::IsSupersetOf({"oldnew", "old", "old old "}));
  for (const auto& text : seen) EXPECT_TRUE(text.starts_with("old")) << text;
}

TEST(SimDisk, KeepsACutThatWasSynced) {
  for (const bool again : {false, true}) {
    SimDisk disk;
    disk.put("a", std::vector<std::byte>(3 * SimDisk::kPageBytes, std::byte{'x'}));
    auto file = disk.open()->open("a");
    file->truncate(SimDisk::kPageBytes + 5);
    file->sync();
    if (again) file->write_at(2 * SimDisk::kPageBytes, as_bytes("far"));  // zeros in between
    EXPECT_EQ(file->size(), again ? 2 * SimDisk::kPageBytes + 3 : SimDisk::kPageBytes + 5);
    if (again) {
      std::byte byte{'y'};
      EXPECT_EQ(file->read_at(SimDisk::kPageBytes + 5, std::span(&byte, 1)), 1u);
      EXPECT_EQ(byte, std::byte{0});
    }
    disk.crash_losing_everything();
    EXPECT_EQ(disk.size("a"), SimDisk::kPageBytes + 5);
  }
}

}  // namespace
}  // namespace weir::sim::sim_disk_test

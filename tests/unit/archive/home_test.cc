#include "archive/home.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <random>

#include "archive/leftovers.h"
#include "base/error.h"
#include "support/bytes.h"
#include "support/error_of.h"
#include "support/sim_disk.h"

namespace weir::archive::home_test {
namespace {

using sim::MachineDown;
using sim::SimDisk;
using test::Bytes;
using test::bytes_of;
using test::error_of;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

const Bytes kContent = test::pattern(3 * SimDisk::kPageBytes + 100, 5);

bool fill_in_pieces(Draft& draft) {
  for (std::size_t at = 0; at < kContent.size(); at += 5000)
    draft.write(
        std::span(kContent).subspan(at).first(std::min<std::size_t>(5000, kContent.size() - at)));
  return true;
}

bool publish(SimDisk& disk, Home::Publication what, const Home::Fill& fill = fill_in_pieces) {
  const auto directory = disk.open();
  what.name = "file";
  return DirectoryHome(*directory).publish(what, fill);
}

const Home::Publication kAll[] = {{.writers = Home::Writers::one},
                                  {.writers = Home::Writers::many},
                                  {.replace = true, .writers = Home::Writers::one},
                                  {.replace = true, .writers = Home::Writers::many}};

TEST(Home, ShowsAllOfAFileOrNothingWheneverThePowerFails) {
  std::mt19937_64 random(test::seed_or(11));
  for (const auto& what : kAll) {
    for (std::uint64_t call = 1;; ++call) {
      SCOPED_TRACE(call);
      SimDisk disk;
      const auto before = bytes_of("what was there before");
      if (what.replace) disk.put("file", before);
      disk.lose_power_at(call);
      bool published = false;
      try {
        published = publish(disk, what);
      } catch (const MachineDown&) {
      }
      disk.set_hook({});
      if (call % 2 == 0)
        disk.crash_losing_everything();
      else
        disk.crash(random);
      if (published) {
        ASSERT_TRUE(disk.exists("file"));
      }
      if (disk.exists("file") && (published || disk.content("file") != before)) {
        EXPECT_EQ(disk.content("file"), kContent);
      }
      if (published || HasFailure()) break;
    }
  }
}

TEST(Home, LeavesNothingIfACallFails) {
  for (const auto& what : kAll) {
    for (std::uint64_t call = 1;; ++call) {
      SCOPED_TRACE(call);
      SimDisk disk;
      disk.fail_at(call, ENOSPC);
      bool published = false;
      bool durability = false;
      try {
        published = publish(disk, what);
      } catch (const Error& error) {
        durability = error.kind() == ErrorKind::durability;
      }
      disk.set_hook({});
      if (published && disk.calls() < call) break;
      // (After a failed sync nothing more is done, and a file that could not be removed stays.)
      for (const auto& name : disk.names())
        EXPECT_TRUE(durability || name == "file" || name == ".pgweir-file.tmp") << name;
      if (disk.exists("file")) {
        EXPECT_EQ(disk.content("file"), kContent);
      }
      if (HasFailure()) break;
    }
  }
}

TEST(Home, PublishesNothingThatIsNotWantedAfterAll) {
  for (auto what : kAll) {
    SimDisk disk;
    EXPECT_FALSE(publish(disk, what, [](Draft& draft) {
      fill_in_pieces(draft);
      return false;
    }));
    EXPECT_THAT(disk.names(), IsEmpty());
    // Asked when it is durable, and no later than that.
    bool synced = false;
    disk.set_hook([&](const SimDisk::Call& call) {
      if (call.operation == SimDisk::Operation::sync) synced = true;
      return SimDisk::Effect::proceed();
    });
    what.still_wanted = [&] {
      EXPECT_TRUE(synced);
      return false;
    };
    EXPECT_FALSE(publish(disk, what));
    EXPECT_THAT(disk.names(), IsEmpty());
    what.still_wanted = [] { return true; };
    EXPECT_TRUE(publish(disk, what));
    EXPECT_THAT(disk.names(), ElementsAre("file"));
  }
}

TEST(Home, NeverReplacesUnlessAsked) {
  for (const auto& what : kAll) {
    SimDisk disk;
    disk.put("file", bytes_of("another"));
    if (what.replace) {
      EXPECT_TRUE(publish(disk, what));
      EXPECT_EQ(disk.content("file"), kContent);
    } else {
      EXPECT_EQ(error_of([&] { publish(disk, what); }).kind(), ErrorKind::conflict);
      EXPECT_EQ(disk.content("file"), bytes_of("another"));
    }
    EXPECT_THAT(disk.names(), ElementsAre("file"));
  }
}

TEST(Home, GivesBackWhatWasWrittenBeforeItHasItsName) {
  SimDisk disk;
  EXPECT_TRUE(publish(disk, {}, [&](Draft& draft) {
    fill_in_pieces(draft);
    EXPECT_EQ(draft.written().size(), kContent.size());
    Bytes read(kContent.size());
    EXPECT_EQ(draft.written().read_at(0, read), read.size());
    EXPECT_EQ(read, kContent);
    EXPECT_FALSE(disk.exists("file"));
    return true;
  }));
}

TEST(Home, LetsSeveralWriteOneFileAndAReceiverCleanUpMeanwhile) {
  SimDisk disk;
  const auto other = disk.open();
  const Home::Publication many{.writers = Home::Writers::many};
  const auto published = publish(disk, many, [&](Draft& draft) {
    fill_in_pieces(draft);
    // Another one, from begin to end; and one that removes what nobody is at work on.
    EXPECT_TRUE(DirectoryHome(*other).publish({.name = "other", .writers = Home::Writers::many},
                                              fill_in_pieces));
    remove_leftovers(*other, std::chrono::system_clock::time_point::max());
    return true;
  });
  EXPECT_TRUE(published);
  EXPECT_EQ(disk.content("file"), kContent);
}

TEST(Home, RemovesWhatAKilledOneLeft) {
  SimDisk disk;
  try {
    publish(disk, {.writers = Home::Writers::many}, [&](Draft&) -> bool { throw MachineDown(); });
  } catch (const MachineDown&) {
  }
  disk.kill();
  ASSERT_EQ(disk.names().size(), 1u);
  EXPECT_TRUE(is_leftover(disk.names().front()));
  remove_leftovers(*disk.open(), std::chrono::system_clock::time_point::max());
  EXPECT_THAT(disk.names(), IsEmpty());
}

}  // namespace
}  // namespace weir::archive::home_test

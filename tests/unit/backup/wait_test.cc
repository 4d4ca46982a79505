#include "backup/wait.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "net/wake.h"
#include "support/archive_builder.h"

namespace weir::backup::wait_test {
namespace {

using namespace std::chrono_literals;
using sim::SimDisk;
using ::testing::Contains;
using ::testing::HasSubstr;
using testing::WalBuilder;
using verify::ArchiveBuilder;
using verify::kSize;

/// Without a receiver, the archive's end is synced here. A receiver that starts meanwhile may
/// replace or remove the file: that is no failed sync, and what has its place is synced.
TEST(WaitForWal, SyncsTheFileThatHasTakenThePlaceOfTheOneItHadOpen) {
  WalBuilder wal({.switch_every = 0, .abort_every = 0});
  wal.grow_to(kSize.start(3) + 5000);
  archive::BackupPoint backup;
  backup.timeline = backup.end_timeline = 1;
  backup.file = "backup_manifest";
  backup.start = wal.append_random(100).start;
  wal.grow_to(kSize.start(4) + 9000);
  backup.end = wal.append_random(100).end;
  wal.grow_to(kSize.start(4) + 20'000);
  ArchiveBuilder builder;
  builder.segments(wal, 1, 4).partial(wal, wal.end());
  const auto name = ArchiveBuilder::name(wal, 4, codec::Method::none, true);
  int syncs = 0;
  builder.disk.set_hook([&](const SimDisk::Call& call) {
    if (call.operation == SimDisk::Operation::sync && call.name == name && ++syncs == 1)
      builder.partial(wal, wal.end());  // a new file of this name
    return SimDisk::Effect::proceed();
  });
  const auto directory = builder.disk.open();
  const net::Wake interrupt;
  std::vector<std::string> told;
  Options options;
  options.wait = 1min;
  options.tell = [&](const std::string& text) { told.push_back(text); };
  options.stop = [] { return false; };
  options.interrupt = &interrupt;
  wait_for_wal(*directory, backup, options);
  EXPECT_EQ(syncs, 2);
  EXPECT_THAT(told, Contains(HasSubstr("was completed or removed while it was synced")));
}

}  // namespace
}  // namespace weir::backup::wait_test

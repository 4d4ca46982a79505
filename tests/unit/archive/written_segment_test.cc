#include "archive/written_segment.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <utility>

#include "base/threads.h"
#include "support/sim_disk.h"

namespace weir::archive::written_segment_test {
namespace {

/// A job whose sync has failed gives its file back before it reports that: it must not wait while
/// another one opens the file on a disk that hangs. (If it does, this test waits for itself.)
TEST(WrittenSegment, IsNotLockedWhileAFileIsOpened) {
  sim::SimDisk disk;
  const auto directory = disk.open();
  WrittenSegment segment(machine_threads(), *wal::SegmentName::parse("000000010000000000000003"),
                         directory->create("000000010000000000000003.partial"), true, std::nullopt);
  auto first = segment.take_file(*directory);
  ASSERT_NE(first, nullptr);
  disk.set_hook([&](const sim::SimDisk::Call& call) {
    if (call.operation == sim::SimDisk::Operation::open && first)
      segment.give_back(std::move(first));
    return sim::SimDisk::Effect::proceed();
  });
  EXPECT_NE(segment.take_file(*directory), nullptr);
  EXPECT_EQ(segment.syncing.size(), 1U);
}

}  // namespace
}  // namespace weir::archive::written_segment_test

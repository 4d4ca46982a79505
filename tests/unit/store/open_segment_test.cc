#include "store/open_segment.h"

#include <gtest/gtest.h>

#include <string>

#include "store/open_object.h"
#include "support/memory_store.h"
#include "support/sim_disk.h"

namespace weir::store::open_segment_test {
namespace {

using test::MemoryStore;
using Fault = MemoryStore::Fault;

const auto kSize = *wal::SegmentSize::of(1 << 20);

TEST(OpenSegment, RemovesTheNextTimeWhatTheStoreDidNotAnswerFor) {
  for (const std::string what : {"list", "remove"}) {
    SCOPED_TRACE(what);
    const Layout layout(Layout::Form::barman, {"memory", "p"}, "main");
    const wal::SegmentName segment(1, 4, kSize);
    const wal::SegmentName next(1, 5, kSize);
    sim::SimDisk disk;
    const auto archive = disk.open();
    MemoryStore store;
    const Sealing sealing;
    OpenSegment open(*archive, store, layout, sealing, 1);
    store.objects[OpenObject{segment, kSize.start(4) + 5000, "a-1"}.key(layout)] = {};
    const auto key_of_next = OpenObject{next, kSize.start(5) + 5000, "a-2"}.key(layout);
    store.objects[key_of_next] = {};
    Mark mark;
    mark.segment_size = kSize;
    mark.add(segment);

    bool answers = false;
    store.fault = [&](const MemoryStore::Call& call) {
      return !answers && call.what == what ? Fault::lost_request : Fault::none;
    };
    EXPECT_THROW(static_cast<void>(open.tidy_up(mark)), StoreError);
    EXPECT_EQ(store.objects.size(), 2u);
    answers = true;
    EXPECT_EQ(open.tidy_up(mark), "");
    ASSERT_EQ(store.objects.size(), 1u);
    EXPECT_EQ(store.objects.begin()->first, key_of_next);

    // Nothing is asked again without need.
    const auto calls = store.calls.size();
    EXPECT_EQ(open.tidy_up(mark), "");
    EXPECT_EQ(store.calls.size(), calls);
  }
}

}  // namespace
}  // namespace weir::store::open_segment_test

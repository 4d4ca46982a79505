#include "store/send/open_segment.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "store/shelf/open_object.h"
#include "support/error_of.h"
#include "support/memory_store.h"
#include "support/sim_disk.h"
#include "support/wal_builder.h"

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

/// Up to where the receiver says that it is durable, and no further, and nothing that is not sound.
TEST(OpenSegment, SendsNothingThatIsDamagedOrShort) {
  const Layout layout(Layout::Form::barman, {"memory", "p"}, "main");
  testing::WalBuilder wal{testing::WalBuilder::Options{.switch_every = 0}};
  wal.grow_to(kSize.start(4) + 500'000);
  const archive::Identity cluster{wal.options().system_identifier, kSize, "x"};
  const auto durable = wal.complete_end(kSize.start(4) + 400'000);
  const auto front = wal.bytes(kSize.start(4), durable);
  const auto name = wal::SegmentName(1, 4, kSize).to_string() + ".partial";
  sim::SimDisk disk;
  const auto archive = disk.open();
  MemoryStore store;
  const Sealing sealing;
  OpenSegment open(*archive, store, layout, sealing, 1);
  const auto send = [&] { return open.send({1, durable}, cluster, archive::Timelines()); };

  EXPECT_FALSE(send()) << "there is no such file: it was finished meanwhile";
  disk.put(name, front.first(300'000));
  auto error = test::error_of([&] { static_cast<void>(send()); });
  EXPECT_EQ(error.kind(), ErrorKind::io);
  EXPECT_NE(std::string(error.what()).find("shorter than its flushed WAL"), std::string::npos);
  test::Bytes damaged(front.begin(), front.end());
  damaged[200'004] ^= std::byte{1};
  disk.put(name, damaged);
  error = test::error_of([&] { static_cast<void>(send()); });
  EXPECT_EQ(error.kind(), ErrorKind::damage);
  EXPECT_NE(std::string(error.what()).find("the partial segment is damaged: "), std::string::npos);
  EXPECT_TRUE(store.objects.empty());

  // What a lost answer may have left goes when the next one is there.
  disk.put(name, front);
  bool lost = true;
  store.fault = [&](const MemoryStore::Call& call) {
    return call.what == "put" && std::exchange(lost, false) ? Fault::lost_answer : Fault::none;
  };
  EXPECT_THROW(static_cast<void>(send()), StoreError);
  ASSERT_EQ(store.objects.size(), 1u);
  const auto first = store.objects.begin()->first;
  EXPECT_TRUE(send());
  EXPECT_EQ(store.objects.size(), 2u);
  EXPECT_EQ(open.tidy_up(Mark{}), "");
  ASSERT_EQ(store.objects.size(), 1u);
  EXPECT_NE(store.objects.begin()->first, first);
}

/// The complete segment may be sent much later than the next one begins: after an outage of the
/// store, or if its file has been damaged since.
TEST(OpenSegment, KeepsWhatTheStoreHasOfASegmentUntilItIsSent) {
  const Layout layout(Layout::Form::barman, {"memory", "p"}, "main");
  testing::WalBuilder wal{testing::WalBuilder::Options{.switch_every = 0}};
  wal.grow_to(kSize.start(5) + 500'000);
  const archive::Identity cluster{wal.options().system_identifier, kSize, "x"};
  sim::SimDisk disk;
  const auto archive = disk.open();
  MemoryStore store;
  const Sealing sealing;
  OpenSegment open(*archive, store, layout, sealing, 1);
  const auto send = [&](std::uint64_t segno, std::uint64_t bytes) {
    const auto end = wal.complete_end(kSize.start(segno) + bytes);
    disk.put(wal::SegmentName(1, segno, kSize).to_string() + ".partial",
             wal.bytes(kSize.start(segno), end));
    EXPECT_TRUE(open.send({1, end}, cluster, archive::Timelines()));
    return end;
  };
  const auto kept = [&] {
    std::vector<std::pair<wal::SegmentName, wal::Lsn>> found;
    for (const auto& [key, object] : store.objects)
      if (const auto each = OpenObject::parse(layout, key))
        found.emplace_back(each->segment, each->end);
    return found;
  };
  using Kept = decltype(kept());
  Mark mark;
  mark.segment_size = kSize;
  const wal::SegmentName before(1, 4, kSize);
  const wal::SegmentName now(1, 5, kSize);

  send(4, 200'000);
  const auto confirmed = send(4, 400'000);
  EXPECT_EQ(open.tidy_up(mark), "");
  EXPECT_EQ(kept(), Kept({{before, confirmed}}));
  send(5, 200'000);
  EXPECT_EQ(open.tidy_up(mark), "");
  const auto newest = send(5, 400'000);
  EXPECT_EQ(open.tidy_up(mark), "");
  EXPECT_EQ(kept(), Kept({{before, confirmed}, {now, newest}}));
  mark.add(before);
  EXPECT_EQ(open.tidy_up(mark), "");
  EXPECT_EQ(kept(), Kept({{now, newest}}));
}

}  // namespace
}  // namespace weir::store::open_segment_test

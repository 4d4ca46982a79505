// A store that is away for an hour while a server works: store::Follow on the simulation's
// scheduler, so that the hour takes a second.

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "lineage.h"
#include "random.h"
#include "scheduler.h"
#include "store/ledger/mark.h"
#include "store/send/follow.h"
#include "story.h"
#include "support/memory_store.h"
#include "support/sim_disk.h"
#include "support/wal_builder.h"

namespace weir::sim {
namespace {

using namespace std::chrono_literals;
using test::MemoryStore;

constexpr std::uint64_t kSegments = 600;
constexpr auto kEach = 6s;  ///< a segment: 600 of them in an hour

class StoreAway : public ::testing::Test {
 protected:
  StoreAway() { wal_.grow_to(kSegment.start(kSegments + 2)); }

  static wal::SegmentName segment(std::uint64_t number) { return {1, number, kSegment}; }

  /// What a receiver does that finishes a segment.
  void finish(std::uint64_t number) {
    disk_.put(segment(number).to_string(),
              wal_.bytes(kSegment.start(number), kSegment.start(number + 1)));
    follow_->finished(segment(number));
  }
  [[nodiscard]] std::size_t finished_here() const {
    std::size_t count = 0;
    for (const auto& name : disk_.names())
      if (wal::SegmentName::parse(name)) ++count;
    return count;
  }

  Random random_{7};
  Story story_{Telling::none};
  Scheduler scheduler_{random_, story_};
  testing::WalBuilder wal_{testing::WalBuilder::Options{.segment_size = kSegment,
                                                        .system_identifier = kSystem,
                                                        .start = kSegment.start(1),
                                                        .switch_every = 0}};
  SimDisk disk_;
  MemoryStore store_;
  const store::Layout layout_{store::Layout::Form::barman, {"memory", "p"}, "main"};
  std::optional<store::Follow> follow_;
};

TEST_F(StoreAway, AnHourOfLoadIsKeptAndCaughtUpWithInOrder) {
  const auto directory = disk_.open();
  std::vector<wal::SegmentName> sent;
  int troubles = 0;
  int works = 0;
  bool away = false;
  store_.fault = [&](const MemoryStore::Call&) {
    return away ? MemoryStore::Fault::lost_request : MemoryStore::Fault::none;
  };
  scheduler_.run(
      "receiver",
      [&] {
        follow_.emplace(*directory, store_, layout_,
                        store::FollowOptions{
                            .store_name = "here",
                            .jobs = 3,
                            .look_every = 60s,
                            .raw_settles = false,
                            .keep_local = store::KeepLocal{.bytes = 1},
                            .seed = 7,
                            .on_sent =
                                [&](const store::UploadItem& item) {
                                  if (item.segment) sent.push_back(*item.segment);
                                },
                            .on_trouble = [&](const Error&) { ++troubles; },
                            .on_works = [&] { ++works; },
                        },
                        scheduler_, story_);
        const auto thread = scheduler_.start(
            "store", [&] { follow_->run(); }, Threads::Priority::low);
        finish(1);
        for (int i = 0; i < 100 && sent.empty(); ++i) scheduler_.sleep_until(story_.now + 100ms);
        away = true;
        const auto asked_before = store_.calls.size();
        const auto begin = story_.now;
        for (std::uint64_t number = 2; number <= kSegments; ++number) {
          scheduler_.sleep_until(begin + number * kEach);
          const auto on_time = story_.now;
          finish(number);
          EXPECT_LT(story_.now - on_time, 100ms) << "the receiver waits for the store";
        }
        // Nothing has left, nothing counts, and nobody was asked without pause.
        EXPECT_EQ(sent.size(), 1u);
        EXPECT_EQ(finished_here(), kSegments);
        const auto view = follow_->view();
        EXPECT_EQ(view.pending_segments, kSegments - 1);
        EXPECT_EQ(view.next, segment(2).to_string());
        EXPECT_TRUE(view.problem && view.problem->reason == "unreachable" &&
                    !view.problem->needs_person);
        EXPECT_EQ(troubles, 1) << "told once";
        EXPECT_LT(store_.calls.size() - asked_before, 1'000u);

        away = false;
        const auto back = story_.now;
        while (sent.size() < kSegments && story_.now < back + 10min)
          scheduler_.sleep_until(story_.now + 1s);
        EXPECT_EQ(sent.size(), kSegments);
        EXPECT_TRUE(std::is_sorted(sent.begin(), sent.end())) << "in order";
        EXPECT_EQ(works, 1);
        while (finished_here() > 1 && story_.now < back + 1h)
          scheduler_.sleep_until(story_.now + 1s);
        EXPECT_EQ(finished_here(), 1u) << "what the store has may go now";
        EXPECT_EQ(follow_->view().pending_segments, 0u);
        follow_->stop();
        thread->join();
      },
      [&](std::optional<Threads::Time> idle_until) {
        story_.now += 100us;
        if (idle_until) story_.now = std::max(story_.now, std::min(*idle_until, story_.now + 1h));
      });
  for (std::uint64_t number = 1; number <= kSegments; ++number) {
    const auto key = layout_.key(segment(number));
    ASSERT_TRUE(store_.objects.contains(key)) << key;
    EXPECT_EQ(store_.puts[key], 1u) << "once";
    const auto truth = wal_.bytes(kSegment.start(number), kSegment.start(number + 1));
    EXPECT_TRUE(std::equal(truth.begin(), truth.end(), store_.objects[key].bytes.begin(),
                           store_.objects[key].bytes.end()))
        << key;
  }
  EXPECT_TRUE(store::read_mark(*disk_.open())->has(segment(kSegments)));
}

}  // namespace
}  // namespace weir::sim

#include "receive/feed.h"

#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace weir::receive::feed_test {
namespace {

TEST(Feed, TellsEachListenerInTheOrderOfSubscription) {
  Feed feed;
  std::vector<std::string> told;
  const auto first = feed.subscribe([&](const Event& happened) {
    on(
        happened,
        [&](const event::DiskFull& disk) { told.push_back(disk.full ? "full" : "space"); },
        [&](const event::Streaming& streaming) { told.push_back(streaming.start.to_string()); });
  });
  auto second =
      std::optional(feed.subscribe([&](const Event&) { told.emplace_back("the second"); }));
  feed.publish(event::DiskFull{true});
  feed.publish(event::Streaming{1, wal::Lsn(0x3000000)});
  second.reset();
  feed.publish(event::DiskFull{false});
  feed.publish(event::Trouble{Error(ErrorKind::io, "is for nobody")});
  EXPECT_EQ(told,
            (std::vector<std::string>{"full", "the second", "0/3000000", "the second", "space"}));
}

TEST(Feed, CallsAListenerOnlyForTheTypesThatItTakes) {
  Feed feed;
  std::vector<std::string> told;
  auto listening = feed.listen(
      [&](const event::DiskFull& disk) { told.push_back(disk.full ? "full" : "space"); },
      [&](const event::Streaming&) { told.emplace_back("streaming"); });
  int called = 0;
  const auto some = feed.subscribe([&](const Event&) { ++called; },
                                   EventTypes::taken_by<decltype([](const event::Stopped&) {})>());
  feed.publish(event::DiskFull{true});
  feed.publish(event::StoreWorks{});
  feed.publish(event::Streaming{1, wal::Lsn(0x3000000)});
  EXPECT_EQ(told, (std::vector<std::string>{"full", "streaming"}));
  EXPECT_EQ(called, 0);
  feed.publish(event::Stopped{1, wal::Lsn(1), true});
  EXPECT_EQ(called, 1);
  listening = {};
  feed.publish(event::DiskFull{false});
  EXPECT_EQ(told.size(), 2u);
}

TEST(Feed, CallsNobodyWhoseSubscriptionHasEnded) {
  Feed feed;
  std::atomic<bool> over = false;
  std::thread publisher([&] {
    while (!over) feed.publish(event::DurableEnd{1, wal::Lsn(1)});
  });
  for (int i = 0; i < 200; ++i) {
    std::atomic<bool> called = false;
    bool ended = false;
    {
      const auto subscription = feed.subscribe([&](const Event&) {
        EXPECT_FALSE(ended);
        called = true;
      });
      while (!called) std::this_thread::yield();
    }
    ended = true;
  }
  over = true;
  publisher.join();
}

TEST(Feed, KeepsASubscriptionThatIsMoved) {
  Feed feed;
  int called = 0;
  Feed::Subscription kept;
  {
    auto subscription = feed.subscribe([&](const Event&) { ++called; });
    kept = std::move(subscription);
  }
  feed.publish(event::DiskFull{true});
  EXPECT_EQ(called, 1);
  kept = {};
  feed.publish(event::DiskFull{true});
  EXPECT_EQ(called, 1);
}

}  // namespace
}  // namespace weir::receive::feed_test

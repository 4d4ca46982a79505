#include "pq/stuck_reader.h"

#include <gtest/gtest.h>

#include <chrono>
#include <future>

namespace weir::pq::stuck_reader_test {
namespace {

using namespace std::chrono_literals;

TEST(StuckReader, LetsGoOfOneThatIsStuck) {
  std::promise<void> gone;
  StuckReader reader(20ms, [&] { gone.set_value(); });
  reader.enter();
  EXPECT_EQ(gone.get_future().wait_for(60s), std::future_status::ready);
}

TEST(StuckReader, LeavesOneAloneThatListens) {
  StuckReader reader(5ms, [] { ADD_FAILURE() << "let go"; });
  // Another one beside it is stuck, and gets its looks meanwhile.
  std::promise<void> gone;
  StuckReader other(50ms, [&] { gone.set_value(); });
  other.enter();
  EXPECT_EQ(gone.get_future().wait_for(60s), std::future_status::ready);
}

TEST(StuckReader, IsToldTwiceOfOnePiece) {
  std::promise<void> gone;
  StuckReader reader(20ms, [&] { gone.set_value(); });
  reader.enter();
  reader.enter();
  EXPECT_EQ(gone.get_future().wait_for(60s), std::future_status::ready);

  StuckReader listening(5ms, [] { ADD_FAILURE() << "let go"; });
  listening.enter();
  listening.enter();
  listening.leave();
  std::promise<void> other_gone;
  StuckReader other(50ms, [&] { other_gone.set_value(); });
  other.enter();
  EXPECT_EQ(other_gone.get_future().wait_for(60s), std::future_status::ready);
}

TEST(StuckReader, LeavesOneAloneThatGoesOn) {
  StuckReader reader(400ms, [] { ADD_FAILURE() << "let go"; });
  reader.enter();
  std::promise<void> gone;
  StuckReader other(800ms, [&] { gone.set_value(); });
  other.enter();
  const auto end = gone.get_future();
  while (end.wait_for(1ms) != std::future_status::ready) reader.advance();
  reader.leave();
  reader.advance();  // without effect: it listens
}

TEST(StuckReader, LetsGoOfOneThatGoesOnNoMore) {
  std::promise<void> gone;
  StuckReader reader(20ms, [&] { gone.set_value(); });
  reader.advance();
  reader.enter();
  reader.advance();
  EXPECT_EQ(gone.get_future().wait_for(60s), std::future_status::ready);
}

}  // namespace
}  // namespace weir::pq::stuck_reader_test

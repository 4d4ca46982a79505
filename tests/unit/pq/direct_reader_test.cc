#include "pq/direct_reader.h"

#include <gtest/gtest.h>

#include <string>

#include "unit/pq/tcp_line.h"

namespace weir::pq::direct_reader_test {
namespace {

using Found = DirectCopy::Found;

constexpr std::size_t kLargest = 1 << 20;

TEST(DirectReader, LeavesTheLastMessageToWhoStillNeedsItWhenItStops) {
  TcpLine line;
  DirectReader reader;
  reader.on_command_sent(0);
  line.send(std::string(8, 'W'));  // CopyBothResponse, read by libpq
  ASSERT_EQ(line.rest().size(), 8u);
  reader.on_copy_began();
  reader.gather(1000);
  ASSERT_TRUE(reader.take_over(line.ours(), kLargest));
  const std::string body(500, 'x');
  std::string length(4, '\0');
  length[2] = static_cast<char>((4 + DirectCopy::kHead + body.size()) >> 8);
  length[3] = static_cast<char>((4 + DirectCopy::kHead + body.size()) & 0xff);
  line.send('d' + length + std::string(DirectCopy::kHead, 'w') + body);
  ASSERT_EQ(reader.next({}), Found::message);
  const auto last = reader.message().body();

  reader.stop();
  EXPECT_FALSE(reader.reading());
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(last.data()), last.size()), body);
  const auto kept = reader.release_body();
  EXPECT_EQ(kept.data(), last.data());
  EXPECT_TRUE(reader.release_body().empty());
}

}  // namespace
}  // namespace weir::pq::direct_reader_test

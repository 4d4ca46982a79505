#include "base/growing_buffer.h"

#include <gtest/gtest.h>

#include <utility>

#include "support/bytes.h"

namespace weir::growing_buffer_test {
namespace {

test::Bytes content(const GrowingBuffer& buffer) { return {buffer.begin(), buffer.end()}; }

TEST(GrowingBuffer, KeepsItsContentWhenItGrows) {
  GrowingBuffer buffer;
  test::Bytes expected;
  for (const std::size_t size : {1u, 0u, 7u, 100u, 5000u, 3u}) {
    const auto bytes = test::pattern(size, size);
    buffer.append(bytes);
    expected.insert(expected.end(), bytes.begin(), bytes.end());
    EXPECT_EQ(content(buffer), expected);
    EXPECT_GE(buffer.capacity(), buffer.size());
  }
  buffer.reserve(100'000);
  EXPECT_GE(buffer.capacity(), 100'000u);
  EXPECT_EQ(content(buffer), expected);
}

TEST(GrowingBuffer, AllocatesNoMoreThanTheFirstContentNeeds) {
  GrowingBuffer buffer;
  buffer.append(test::pattern(1000, 1));
  EXPECT_EQ(buffer.capacity(), 1000u);
}

TEST(GrowingBuffer, IsExtendedBehindItsContent) {
  GrowingBuffer buffer;
  buffer.append(test::pattern(3, 1));
  const auto more = buffer.extend(2);
  ASSERT_EQ(more.size(), 2u);
  more[0] = more[1] = std::byte{9};
  auto expected = test::pattern(3, 1);
  expected.insert(expected.end(), 2, std::byte{9});
  EXPECT_EQ(content(buffer), expected);
}

TEST(GrowingBuffer, DropsBytesAtBothEnds) {
  GrowingBuffer buffer;
  const auto bytes = test::pattern(10, 1);
  buffer.append(bytes);
  buffer.drop_front(0);
  buffer.drop_front(4);
  EXPECT_EQ(content(buffer), test::Bytes(bytes.begin() + 4, bytes.end()));
  buffer.truncate(2);
  EXPECT_EQ(content(buffer), test::Bytes(bytes.begin() + 4, bytes.begin() + 6));
  buffer.drop_front(2);
  EXPECT_TRUE(buffer.empty());
  EXPECT_GE(buffer.capacity(), 10u);
}

TEST(GrowingBuffer, MovesNoByteWhenItIsMoved) {
  GrowingBuffer buffer;
  buffer.append(test::pattern(10, 1));
  const auto* const place = buffer.data();
  auto other = std::move(buffer);
  EXPECT_EQ(other.data(), place);
  EXPECT_EQ(content(other), test::pattern(10, 1));
  buffer = std::move(other);
  EXPECT_EQ(buffer.data(), place);
  EXPECT_EQ(content(buffer), test::pattern(10, 1));
}

}  // namespace
}  // namespace weir::growing_buffer_test

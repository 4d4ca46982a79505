#include "relay/piece_memory.h"

#include <gtest/gtest.h>

#include <set>

#include "support/bytes.h"

namespace weir::relay::piece_memory_test {
namespace {

std::shared_ptr<const PieceMemory::Bytes> kept(PieceMemory& memory, const test::Bytes& wal) {
  auto bytes = memory.take(131'072);
  EXPECT_TRUE(bytes.empty());
  EXPECT_GE(bytes.capacity(), 131'072u);
  bytes.insert(bytes.end(), wal.begin(), wal.end());
  return memory.keep(std::move(bytes));
}

TEST(PieceMemory, HoldsWhatItWasGiven) {
  PieceMemory memory;
  for (const std::size_t size : {1u, 1000u, 100'000u, 70'000u, 131'072u}) {
    const auto wal = test::pattern(size, size);
    EXPECT_EQ(*kept(memory, wal), wal) << size;
  }
}

TEST(PieceMemory, UsesAgainWhatNobodyHolds) {
  PieceMemory memory;
  const auto wal = test::pattern(131'072, 1);
  const auto held = kept(memory, wal);
  std::set<const std::byte*> places;
  for (std::uint64_t round = 0; round < 20; ++round) {
    const auto other = test::pattern(131'072, round);
    const auto copy = kept(memory, other);
    EXPECT_EQ(*copy, other);
    places.insert(copy->data());
  }
  EXPECT_EQ(places.size(), 1u);
  EXPECT_EQ(*held, wal);
}

TEST(PieceMemory, OfLittleNoMoreIsHeldThanThat) {
  PieceMemory memory;
  const auto little = kept(memory, test::pattern(1000, 1));
  EXPECT_EQ(little->capacity(), 1000u);
}

}  // namespace
}  // namespace weir::relay::piece_memory_test

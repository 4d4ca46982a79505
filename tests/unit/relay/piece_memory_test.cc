#include "relay/piece_memory.h"

#include <gtest/gtest.h>

#include <set>
#include <span>
#include <utility>
#include <vector>

#include "support/bytes.h"

namespace weir::relay::piece_memory_test {
namespace {

/// Takes a buffer, which has `before` in front of `wal`.
WalPiece kept(PieceMemory& memory, const test::Bytes& wal, std::size_t before = 0) {
  auto bytes = memory.take(131'072);
  EXPECT_TRUE(bytes.empty());
  EXPECT_GE(bytes.capacity(), 131'072u);
  bytes.append(test::pattern(before, 99));
  bytes.append(wal);
  const auto content = std::span<const std::byte>(bytes).subspan(before);
  return memory.keep(std::move(bytes), content);
}

test::Bytes content(const WalPiece& piece) { return {piece.wal.begin(), piece.wal.end()}; }

TEST(PieceMemory, HoldsWhatItWasGiven) {
  PieceMemory memory;
  std::vector<std::pair<test::Bytes, WalPiece>> all;
  for (const std::size_t size : {1u, 1000u, 65'535u, 100'000u, 70'000u, 131'072u})
    for (const std::size_t before : {0u, 5000u, 70'000u}) {
      auto wal = test::pattern(size, size + before);
      auto piece = kept(memory, wal, before);
      all.emplace_back(std::move(wal), std::move(piece));
    }
  for (const auto& [wal, piece] : all) EXPECT_EQ(content(piece), wal) << wal.size();
}

TEST(PieceMemory, UsesAgainWhatNobodyHolds) {
  PieceMemory memory;
  const auto wal = test::pattern(131'072, 1);
  const auto held = kept(memory, wal);
  std::set<const std::byte*> places;
  for (std::uint64_t round = 0; round < 20; ++round) {
    const auto other = test::pattern(131'072, round);
    const auto copy = kept(memory, other);
    EXPECT_EQ(content(copy), other);
    places.insert(copy.wal.data());
  }
  EXPECT_EQ(places.size(), 1u);
  EXPECT_EQ(content(held), wal);
}

TEST(PieceMemory, OfLittleNoMoreIsHeldThanThat) {
  PieceMemory memory;
  const auto little = kept(memory, test::pattern(1000, 1), 100'000);
  // The large buffer is used by the next one.
  const auto first = kept(memory, test::pattern(131'072, 2)).wal.data();
  EXPECT_EQ(kept(memory, test::pattern(131'072, 3)).wal.data(), first);
  EXPECT_EQ(content(little), test::pattern(1000, 1));
}

}  // namespace
}  // namespace weir::relay::piece_memory_test

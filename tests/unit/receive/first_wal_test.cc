#include "receive/first_wal.h"

#include <gtest/gtest.h>

#include <vector>

namespace weir::receive::first_wal_test {
namespace {

using wal::Lsn;

std::vector<std::byte> wal_at(Lsn at, std::size_t size) {
  std::vector<std::byte> wal(size);
  for (std::size_t i = 0; i < size; ++i) wal[i] = static_cast<std::byte>((at + i).byte() % 251);
  return wal;
}

std::string expected(Lsn at, std::size_t size) {
  std::string text;
  for (const auto byte : wal_at(at, size)) text += static_cast<char>(byte);
  return text;
}

TEST(FirstWal, IsPutTogetherFromPieces) {
  const Lsn begin(0x5000);
  FirstWal first(begin);
  const auto give = [&](Lsn at, std::size_t size) { first.on_wal(at, wal_at(at, size)); };
  give(Lsn(0x4000), 0x1000);  // up to it
  EXPECT_EQ(first.so_far(), "");
  give(Lsn(0x4FF0), 0x20);
  EXPECT_EQ(first.so_far(), expected(begin, 0x10));
  give(Lsn(0x4FF0), 0x20);  // again
  EXPECT_EQ(first.so_far(), expected(begin, 0x10));
  give(Lsn(0x5020), 0x20);  // a hole is not filled in
  EXPECT_EQ(first.so_far(), expected(begin, 0x10));
  give(Lsn(0x5010), 1);
  EXPECT_EQ(first.so_far(), expected(begin, 0x11));
  give(Lsn(0x5000), 0x2000);
  EXPECT_EQ(first.so_far(), expected(begin, kFirstWalBytes));
  give(Lsn(0x5000), 0x2000);
  EXPECT_EQ(first.so_far(), expected(begin, kFirstWalBytes));
}

}  // namespace
}  // namespace weir::receive::first_wal_test

#include "relay/outgoing.h"

#include <gtest/gtest.h>

#include "unit/relay/client_script.h"

namespace weir::relay::outgoing_test {
namespace {

Outgoing outgoing() {
  Outgoing outgoing;
  outgoing.text() += "front";
  outgoing.append(piece_of({std::byte{'W'}, std::byte{'A'}, std::byte{'L'}}));
  outgoing.text() += "be";
  outgoing.text() += "hind";
  return outgoing;
}

TEST(Outgoing, KeepsTheOrder) {
  const auto all = outgoing();
  EXPECT_EQ(all.size(), 14u);
  EXPECT_EQ(all.all(), "frontWALbehind");
  EXPECT_EQ(all.parts(), (Outgoing::Parts{"front", "WAL", "behind"}));
  EXPECT_TRUE(Outgoing().empty());
}

TEST(Outgoing, GoesInAnyPieces) {
  for (std::size_t first = 0; first <= 14; ++first)
    for (std::size_t second = 0; first + second <= 14; ++second) {
      auto rest = outgoing();
      rest.drop(first);
      EXPECT_EQ(rest.all(), std::string("frontWALbehind").substr(first));
      rest.drop(second);
      EXPECT_EQ(rest.size(), 14 - first - second);
      rest.text() += "!";
      EXPECT_EQ(rest.all(), std::string("frontWALbehind!").substr(first + second));
    }
}

TEST(Outgoing, HasMorePartsThanOneCallTakes) {
  Outgoing outgoing;
  std::string expected;
  for (char at = 'a'; at < 'k'; ++at) {
    outgoing.text() += at;
    outgoing.append(piece_of(test::Bytes(3, std::byte{'W'})));
    expected += std::string(1, at) + "WWW";
  }
  EXPECT_EQ(outgoing.all(), expected);
  std::string sent;
  unsigned calls = 0;
  for (; !outgoing.empty(); ++calls) {
    std::size_t count = 0;
    for (const auto part : outgoing.parts()) {
      sent += part;
      count += part.size();
    }
    outgoing.drop(count);
  }
  EXPECT_EQ(sent, expected);
  EXPECT_EQ(calls, 2u);
}

TEST(Outgoing, LetsGoOfWhatIsSent) {
  auto piece = piece_of(test::Bytes(10));
  const auto memory = piece.memory;
  Outgoing outgoing;
  outgoing.append(std::move(piece));
  EXPECT_EQ(memory.use_count(), 2);
  outgoing.drop(9);
  EXPECT_EQ(memory.use_count(), 2);
  outgoing.drop(1);
  EXPECT_EQ(memory.use_count(), 1);
  outgoing.append(piece_of(test::Bytes(10)));
  EXPECT_EQ(outgoing.size(), 10u);
}

}  // namespace
}  // namespace weir::relay::outgoing_test

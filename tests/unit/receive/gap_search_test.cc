#include "receive/gap_search.h"

#include <gtest/gtest.h>

#include <string>

#include "base/error.h"

namespace weir::receive::gap_search_test {
namespace {

const wal::SegmentSize kSize = *wal::SegmentSize::of(std::uint64_t{16} << 20);

wal::Lsn segment(std::uint64_t segno) { return kSize.start(segno); }

/// Answers for a server that has the segments from `oldest` on.
GapSearch::Found find(GapSearch& search, std::uint64_t oldest, wal::Lsn server_end,
                      const std::string& front = {}) {
  for (int steps = 0; steps < 100; ++steps) {
    const auto step = search.next(server_end, !front.empty());
    if (const auto* found = std::get_if<GapSearch::Found>(&step)) return *found;
    if (const auto* probe = std::get_if<GapSearch::Probe>(&step)) {
      EXPECT_EQ(search.on_probed(probe->lsn >= segment(oldest)), GapSearch::Answer::noted);
    } else if (std::holds_alternative<GapSearch::ReadFront>(step)) {
      search.on_front(front);
    } else {
      throw Error(ErrorKind::gap, "nothing follows");
    }
  }
  throw Error(ErrorKind::protocol, "the search does not end");
}

TEST(GapSearch, FindsTheOldestSegmentOfEachServer) {
  for (std::uint64_t oldest = 8; oldest <= 40; ++oldest) {
    GapSearch search(segment(7), 1, 0, kSize);
    const auto found = find(search, oldest, segment(40) + 100);
    EXPECT_EQ(found.held, segment(oldest));
    EXPECT_EQ(found.last_lost, oldest - 1);
    EXPECT_FALSE(found.reset);
  }
}

TEST(GapSearch, AsksForFewSegments) {
  GapSearch search(segment(1), 1, 0, kSize);
  int probes = 0;
  for (;;) {
    const auto step = search.next(segment(1'000'000), false);
    const auto* probe = std::get_if<GapSearch::Probe>(&step);
    if (probe == nullptr) break;
    ++probes;
    static_cast<void>(search.on_probed(probe->lsn >= segment(777)));
  }
  EXPECT_LE(probes, 20);
}

TEST(GapSearch, HasNothingToContinueFromWhereTheNewestSegmentIsMissing) {
  for (const auto end : {segment(7), segment(7) + 100, segment(3)}) {
    GapSearch search(segment(7), 1, 0, kSize);
    EXPECT_TRUE(std::holds_alternative<GapSearch::NothingFollows>(search.next(end, false)));
  }
}

TEST(GapSearch, AsksAnotherConnectionForTheSegmentItself) {
  GapSearch search(segment(7), 1, 0, kSize);
  static_cast<void>(search.next(segment(40), false));
  search.on_disconnected();
  const auto step = search.next(segment(40), false);
  ASSERT_TRUE(std::holds_alternative<GapSearch::Probe>(step));
  EXPECT_EQ(std::get<GapSearch::Probe>(step).lsn, segment(7));
  auto lacks_it = search;
  EXPECT_EQ(search.on_probed(true), GapSearch::Answer::has_it);
  EXPECT_EQ(lacks_it.on_probed(false), GapSearch::Answer::noted);
  EXPECT_EQ(find(lacks_it, 12, segment(40)).held, segment(12));
}

TEST(GapSearch, DoesNotAskAServerThatHasNotReachedTheSegment) {
  GapSearch search(segment(7), 1, 0, kSize);
  search.on_disconnected();
  EXPECT_TRUE(std::holds_alternative<GapSearch::NothingFollows>(search.next(segment(7), false)));
}

TEST(GapSearch, ReadsTheFrontOnlyWhereTheServerHasIt) {
  GapSearch search(segment(7), 1, 0, kSize);
  EXPECT_TRUE(std::holds_alternative<GapSearch::Found>(
      search.next(segment(8) + (GapSearch::kFront - 1), true)));
  EXPECT_TRUE(std::holds_alternative<GapSearch::ReadFront>(
      search.next(segment(8) + GapSearch::kFront, true)));
}

TEST(GapSearch, DoesNotTakeAnUnreadableFrontForAReset) {
  for (const auto& front : {std::string("x"), std::string(GapSearch::kFront, '\0')}) {
    GapSearch search(segment(7), 1, 0, kSize);
    EXPECT_FALSE(find(search, 9, segment(40), front).reset);
  }
}

}  // namespace
}  // namespace weir::receive::gap_search_test

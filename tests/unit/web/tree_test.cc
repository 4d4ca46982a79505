#include "web/tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "archive/listing.h"

namespace weir::web::tree_test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Kind = Tree::Piece::Kind;

const wal::SegmentSize kSize = *wal::SegmentSize::of(1 << 20);
wal::Lsn at(std::uint64_t segno) { return kSize.start(segno); }

/// Timelines 1 (segments 10 to 14, 15 to 20), 2 (from 17 in the middle of it, with an unfinished
/// one at its end): by hand, as report.cc would describe a listing.
status::StatusReport report() {
  status::StatusReport report;
  report.segment_size = kSize;
  archive::Listing none;
  status::StatusReport::Timeline one;
  one.timeline = 1;
  one.finished = {{10, 14}, {16, 20}};
  one.missing = {{14, 16}};
  status::StatusReport::Timeline two;
  two.timeline = 2;
  two.finished = {{17, 28}};
  two.unfinished = {{28, 30}};
  report.timelines = {one, two};
  report.windows = {{.timeline = 2, .from = at(16), .to = at(28)},
                    {.timeline = 2, .from = at(10), .to = at(14), .newest = false}};
  return report;
}

TEST(Tree, IsDrawnToScale) {
  const auto tree = lay_out(report());
  ASSERT_EQ(tree.rows.size(), 2U);
  const auto& one = tree.rows[0];
  ASSERT_EQ(one.pieces.size(), 3U);
  EXPECT_EQ(one.pieces[0].kind, Kind::finished);
  EXPECT_DOUBLE_EQ(one.pieces[0].from, 0);
  EXPECT_DOUBLE_EQ(one.pieces[0].to, 0.2);  // 4 of 20 segments
  EXPECT_DOUBLE_EQ(one.pieces[1].from, 0.3);
  EXPECT_EQ(one.pieces[2].kind, Kind::hole);  // above the others
  EXPECT_DOUBLE_EQ(one.pieces[2].from, 0.2);
  EXPECT_DOUBLE_EQ(one.pieces[2].to, 0.3);
  EXPECT_THAT(one.pieces[2].says, HasSubstr("2 segments missing, 0/E00000 to 0/1000000, 2 MB"));
  EXPECT_EQ(tree.rows[1].pieces[1].kind, Kind::unfinished);
  EXPECT_DOUBLE_EQ(tree.rows[1].pieces[1].to, 1);
  EXPECT_EQ(tree.ticks.front().text, at(10).to_string());
  EXPECT_EQ(tree.ticks.back().text, at(30).to_string());
}

TEST(Tree, ShowsAHoleHoweverSmallItIs) {
  auto some = report();
  some.timelines[1].finished = {{17, 1'000'000}};
  const auto tree = lay_out(some);
  const auto& hole = tree.rows[0].pieces.back();
  EXPECT_EQ(hole.kind, Kind::hole);
  EXPECT_DOUBLE_EQ(hole.to - hole.from, kLeastHole);
  some.timelines[0].missing = {{999'999, 1'000'000}};
  const auto later = lay_out(some);
  const auto& last = later.rows[0].pieces.back();
  EXPECT_DOUBLE_EQ(last.to, 1);
  EXPECT_GE(last.to - last.from, kLeastHole * 0.999);
}

TEST(Tree, TellsAHoleThatIsAcknowledged) {
  auto some = report();
  some.holes.push_back(
      {1, at(14), at(16), 2, "hole-1", at(14), "", archive::Loss::Acknowledgement{}});
  const auto tree = lay_out(some);
  const auto& hole = tree.rows[0].pieces.back();
  EXPECT_EQ(hole.kind, Kind::known_hole);
  EXPECT_THAT(hole.says, HasSubstr("acknowledged"));
}

TEST(Tree, ShowsWhatAFailoverLeftBehind) {
  auto some = report();
  archive::Loss loss;
  loss.kind = archive::Loss::Kind::lost_branch;
  loss.timeline = 1;
  loss.next_timeline = 2;
  loss.begin = at(17);
  loss.end = at(20);
  some.lost_branches = {loss};
  status::StatusReport::Timeline empty;  // known by its history file alone
  empty.timeline = 3;
  some.timelines.push_back(empty);
  const auto tree = lay_out(some);
  ASSERT_EQ(tree.rows.size(), 2U) << "nothing is drawn of a timeline without WAL";
  ASSERT_EQ(tree.rows[0].pieces.size(), 4U);
  const auto& lost = tree.rows[0].pieces[2];
  EXPECT_EQ(lost.kind, Kind::lost);
  EXPECT_DOUBLE_EQ(lost.from, 0.35);  // 7 of 20 segments
  EXPECT_DOUBLE_EQ(lost.to, 0.5);
  EXPECT_THAT(lost.says, HasSubstr("left behind by a failover to timeline 2, 0/1100000 to "));
  for (const auto& piece : tree.rows[1].pieces) EXPECT_NE(piece.kind, Kind::lost);
  // In an unfinished segment, up to its end: nothing follows it there.
  some.timelines[0].unfinished = {{20, 21}};
  some.lost_branches[0].end = at(20) + 0x1000;
  EXPECT_DOUBLE_EQ(lay_out(some).rows[0].pieces[3].to, 0.55);
  EXPECT_THAT(tree_svg(tree), HasSubstr("class=\"lost\""));
  auto known = report();
  known.holes.push_back(
      {1, at(14), at(16), 2, "hole-1", at(14), "", archive::Loss::Acknowledgement{}});
  EXPECT_THAT(tree_svg(lay_out(known)), HasSubstr("class=\"hole known\""));
}

TEST(Tree, TellsApartWhatOnlyTheObjectStoreHas) {
  auto some = report();
  some.timelines[0].only_stored = {{6, 12}};  // 10 and 11 are in `finished`: the store was asked
  some.windows[1].timeline = 1;
  some.windows[1].stored_from = at(6);
  some.backups = {{.name = "old", .timeline = 1, .start = at(7), .end = at(8)}};
  const auto tree = lay_out(some);
  EXPECT_EQ(tree.ticks.front().text, at(6).to_string()) << "the scale has it, too";
  const auto& pieces = tree.rows[0].pieces;
  ASSERT_EQ(pieces.size(), 4U);
  EXPECT_EQ(pieces[0].kind, Kind::stored);
  EXPECT_DOUBLE_EQ(pieces[0].from, 0);
  EXPECT_DOUBLE_EQ(pieces[0].to, 0.25);  // 6 of 24
  EXPECT_THAT(pieces[0].says, HasSubstr("6 segments in the object store alone"));
  EXPECT_EQ(pieces[1].kind, Kind::finished);
  EXPECT_DOUBLE_EQ(pieces[1].from, 0.25);
  ASSERT_EQ(tree.rows[0].pins.size(), 1U);
  EXPECT_THAT(tree.rows[0].pins[0].says, HasSubstr(", with the object store"));
  EXPECT_TRUE(tree.rows[0].pins[0].until);
  EXPECT_THAT(tree_svg(tree), HasSubstr("class=\"stored\""));
  EXPECT_THAT(tree_svg(tree), HasSubstr("url(#rows)"));
}

TEST(Tree, HasPinsForBackupsAndSaysWhichAreOfNoUse) {
  auto some = report();
  some.timelines[1].timeline = 1;
  some.timelines.erase(some.timelines.begin());
  for (auto& window : some.windows) window.timeline = 1;
  some.backups = {
      {.name = "sunday", .timeline = 1, .start = at(11), .end = at(12)},
      {.name = "monday", .timeline = 1, .start = at(13), .end = at(15)},  // ends in the hole
      {.name = "tuesday", .timeline = 1, .start = at(18), .end = at(19)},
      {.name = "now", .timeline = 1, .start = at(20), .problem = "it has lost a file"},
      {.name = "other", .timeline = 5, .start = at(18)},
  };
  const auto tree = lay_out(some);
  ASSERT_EQ(tree.rows.size(), 1U);
  const auto& pins = tree.rows[0].pins;
  ASSERT_EQ(pins.size(), 4U);
  EXPECT_TRUE(pins[0].until);
  EXPECT_THAT(pins[0].says, HasSubstr("recoverable up to 0/E00000"));
  EXPECT_FALSE(pins[1].until);
  EXPECT_THAT(pins[1].says, HasSubstr("NOT recoverable"));
  EXPECT_TRUE(pins[2].until);
  EXPECT_FALSE(pins[3].until);
  EXPECT_THAT(pins[3].says, HasSubstr("NOT recoverable: it has lost a file"));
}

TEST(Tree, IsBoundedWhateverTheArchiveHas) {
  status::StatusReport some;
  some.segment_size = kSize;
  status::StatusReport::Timeline one;
  one.timeline = 1;
  for (std::uint64_t i = 0; i < 50'000; ++i) {
    one.finished.push_back({4 * i, 4 * i + 2});
    one.missing.push_back({4 * i + 2, 4 * i + 4});
  }
  some.timelines = {one};
  for (std::uint64_t i = 0; i < 500; ++i)
    some.backups.push_back({.name = "b", .timeline = 1, .start = at(i + 1)});
  const auto tree = lay_out(some);
  EXPECT_LT(tree.rows[0].pieces.size(), 2000U);
  EXPECT_EQ(tree.rows[0].pins.size(), kMostPins);
  EXPECT_EQ(tree.rows[0].pins_left_out, 500 - kMostPins);
  EXPECT_LT(tree_svg(tree).size(), std::size_t{1} << 20);
}

TEST(Tree, EscapesNames) {
  auto some = report();
  some.backups = {{.name = "<script>\"", .timeline = 1, .start = at(11), .end = at(12)}};
  const auto svg = tree_svg(lay_out(some));
  EXPECT_THAT(svg, HasSubstr("&lt;script&gt;&quot;"));
  EXPECT_THAT(svg, Not(HasSubstr("<script>")));
  EXPECT_THAT(svg, Not(HasSubstr("style=")));  // the policy forbids it
}

TEST(Tree, IsNothingWithoutWal) { EXPECT_EQ(tree_svg(lay_out({})), ""); }

}  // namespace
}  // namespace weir::web::tree_test

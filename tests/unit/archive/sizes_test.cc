#include "archive/sizes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "archive/find_losses.h"
#include "support/archive_builder.h"
#include "support/bytes.h"
#include "support/sim_disk.h"

namespace weir::archive::sizes_test {
namespace {

using codec::Method;
using sim::SimDisk;
using test::Bytes;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using verify::kSize;
using verify::packed;
using wal::Lsn;

/// The simulated disk's files are as old as the epoch.
const auto kNow = std::chrono::system_clock::time_point(std::chrono::hours(24));

std::string name(std::uint64_t segno, const char* suffix = "", wal::TimelineId timeline = 1) {
  return wal::SegmentName(timeline, segno, kSize).to_string() + suffix;
}

SegmentFileName file_name(std::uint64_t segno, const char* suffix = "") {
  return *SegmentFileName::parse(name(segno, suffix));
}

const Bytes kWhole = test::pattern(kSize.bytes(), 3);
const Bytes kCut(kWhole.begin(), kWhole.begin() + 5000);

Bytes longer() {
  auto bytes = kWhole;
  bytes.resize(kSize.bytes() + 8192);
  return bytes;
}

std::vector<std::string> names_of(std::span<const WrongSize> wrong) {
  std::vector<std::string> names;
  for (const auto& each : wrong) names.push_back(each.name.to_string());
  return names;
}

TEST(SizeOfASegment, IsTakenFromTheFileAndWhatItSays) {
  auto two_members = packed(Method::gzip, std::span(kWhole).first(400'000));
  const auto second = packed(Method::gzip, std::span(kWhole).subspan(400'000));
  two_members.insert(two_members.end(), second.begin(), second.end());
  auto rubbish_behind = packed(Method::gzip, kWhole);
  rubbish_behind.resize(rubbish_behind.size() + 20);
  struct Case {
    const char* what;
    const char* suffix;
    Bytes content;
    std::optional<std::uint64_t> wrong;
  };
  const auto over = longer();
  for (const auto& c : {
           Case{"raw", "", kWhole, std::nullopt},
           Case{"raw and empty", "", {}, 0},
           Case{"raw and short", "", kCut, kCut.size()},
           Case{"raw and long", "", over, over.size()},
           Case{"zstd", ".zst", packed(Method::zstd, kWhole), std::nullopt},
           Case{"zstd of too little", ".zst", packed(Method::zstd, kCut), kCut.size()},
           Case{"zstd and empty", ".zst", {}, 0},
           Case{"zstd by its name", ".zst", kCut, 0},
           Case{"gzip", ".gz", packed(Method::gzip, kWhole), std::nullopt},
           Case{"gzip in two members", ".gz", two_members, std::nullopt},
           Case{"gzip and rubbish", ".gz", rubbish_behind, 0},
           Case{"gzip of too little", ".gz", packed(Method::gzip, kCut), kCut.size()},
           Case{"gzip and empty", ".gz", {}, 0},
           Case{"lz4", ".lz4", packed(Method::lz4, kWhole), std::nullopt},
           Case{"lz4 of too little", ".lz4", packed(Method::lz4, kCut), kCut.size()},
           Case{"lz4 and empty", ".lz4", {}, 0},
       }) {
    SCOPED_TRACE(c.what);
    SimDisk disk;
    disk.put(name(5, c.suffix), c.content);
    const auto directory = disk.open();
    const auto check = check_size(*directory, file_name(5, c.suffix), kSize, kNow);
    EXPECT_EQ(check.wrong.has_value(), c.wrong.has_value());
    EXPECT_FALSE(check.being_written);
    if (check.wrong && c.wrong) {
      EXPECT_EQ(check.wrong->bytes, *c.wrong);
      EXPECT_EQ(check.wrong->name.to_string(), name(5, c.suffix));
    }
    const auto listing = list_archive_names(*directory);
    EXPECT_EQ(is_of_wrong_size(*directory, listing.segments[0], kSize), c.wrong.has_value());
  }
  SimDisk disk;
  disk.put(name(5, ".zst"), packed(Method::zstd, over));
  const auto check = check_size(*disk.open(), file_name(5, ".zst"), kSize, kNow);
  ASSERT_TRUE(check.wrong);
  EXPECT_THAT(text_of(std::span(&*check.wrong, 1), kSize),
              HasSubstr("has more than 1048576 bytes unpacked; a segment has 1048576"));
}

TEST(SizeOfASegment, IsRightIfOneOfItsFormsIs) {
  SimDisk disk;
  disk.put(name(5), kCut);
  disk.put(name(5, ".zst"), packed(Method::zstd, kWhole));
  disk.put(name(6, ".gz"), {});
  disk.put(name(6, ".lz4"), {});
  const auto directory = disk.open();
  for (const auto* const suffix : {"", ".zst"})
    EXPECT_FALSE(check_size(*directory, file_name(5, suffix), kSize, kNow).wrong);
  EXPECT_TRUE(check_size(*directory, file_name(6, ".gz"), kSize, kNow).wrong);
  // Compressed or removed since it was listed.
  EXPECT_FALSE(check_size(*directory, file_name(5, ".gz"), kSize, kNow).wrong);
  EXPECT_FALSE(check_size(*directory, file_name(7), kSize, kNow).wrong);
}

TEST(SizeOfASegment, IsNotJudgedWhileItIsBeingWritten) {
  SimDisk disk;
  disk.put(name(5), kCut);
  const auto directory = disk.open();
  const auto modified = directory->find(name(5))->modified;
  using std::chrono::seconds;
  EXPECT_TRUE(check_size(*directory, file_name(5), kSize, modified + seconds(9)).being_written);
  EXPECT_FALSE(check_size(*directory, file_name(5), kSize, modified + seconds(10)).being_written);
  // A clock that goes wrong hides nothing.
  EXPECT_FALSE(check_size(*directory, file_name(5), kSize, modified - seconds(10)).being_written);
  EXPECT_THAT(find_wrong_sizes(*directory, list_archive(*directory), kSize, modified + seconds(9)),
              IsEmpty());
}

TEST(SizeOfASegment, TellsAFileThatIsBeingWrittenFromADamagedOne) {
  struct Form {
    const char* suffix;
    Method method;
  };
  for (const auto& form : {Form{"", Method::none}, Form{".gz", Method::gzip},
                           Form{".lz4", Method::lz4}, Form{".zst", Method::zstd}}) {
    SCOPED_TRACE(form.suffix);
    const auto content = form.method == Method::none ? kWhole : packed(form.method, kWhole);
    SimDisk disk;
    const auto find = [&](std::chrono::seconds age) {
      const auto directory = disk.open();
      return find_recent_change(*directory, file_name(5).segment, kSize,
                                std::chrono::system_clock::time_point(age));
    };
    using std::chrono::seconds;
    EXPECT_FALSE(find(seconds(0)).changed);
    for (const auto part : {std::size_t{0}, std::size_t{3}, content.size() / 2}) {
      SCOPED_TRACE(part);
      disk.put(name(5, form.suffix),
               Bytes(content.begin(), content.begin() + static_cast<std::ptrdiff_t>(part)));
      EXPECT_TRUE(find(seconds(9)).ends_early);
      for (const auto age : {seconds(10), seconds(-10)}) {
        EXPECT_FALSE(find(age).changed);
        EXPECT_FALSE(find(age).ends_early);
      }
    }
    disk.put(name(5, form.suffix), content);
    EXPECT_TRUE(find(seconds(9)).changed);
    EXPECT_FALSE(find(seconds(9)).ends_early);
    if (form.method == Method::none) continue;
    disk.put(name(5, form.suffix), kCut);  // of this format by its name only
    EXPECT_FALSE(find(seconds(9)).ends_early);
  }
}

/// Segments 1 to 9 in an order of forms; some are put again, as they should not be.
struct Damaged {
  SimDisk disk;
  Damaged() {
    for (std::uint64_t segno = 1; segno < 10; ++segno)
      disk.put(name(segno, segno % 2 == 0 ? ".zst" : ""),
               segno % 2 == 0 ? packed(Method::zstd, kWhole) : kWhole);
  }
  std::vector<Loss> holes(std::vector<WrongSize> wrong) {
    const auto directory = disk.open();
    const auto listing = list_archive_names(*directory);
    return find_wrong_size_holes(wrong, listing, Timelines::read(*directory, listing), kSize,
                                 read_losses(*directory, listing));
  }
  std::vector<WrongSize> all_wrong() {
    const auto directory = disk.open();
    std::vector<WrongSize> wrong;
    for (const auto& entry : list_archive_names(*directory).segments)
      if (const auto check = check_size(*directory, entry.name, kSize, kNow); check.wrong)
        wrong.push_back(*check.wrong);
    return wrong;
  }
};

TEST(WrongSizes, OfAListingAreRawOnesAndEmptyOnes) {
  Damaged damaged;
  damaged.disk.put(name(3), kCut);
  damaged.disk.put(name(4, ".zst"), {});
  damaged.disk.put(name(6, ".zst"), packed(Method::zstd, kCut));  // its own size tells nothing
  damaged.disk.put(name(10, ".partial"), kCut);
  const auto directory = damaged.disk.open();
  const auto wrong = find_wrong_sizes(*directory, list_archive(*directory), kSize, kNow);
  EXPECT_THAT(names_of(wrong), ElementsAre(name(3), name(4, ".zst")));
  EXPECT_EQ(text_of(wrong, kSize), name(3) + " has 5000 bytes, " + name(4, ".zst") +
                                       " has 0 bytes unpacked; a segment has 1048576");
}

TEST(WrongSizes, AreHolesBetweenSoundSegments) {
  Damaged damaged;
  damaged.disk.put(name(3), kCut);
  damaged.disk.put(name(4, ".zst"), {});
  damaged.disk.put(name(7), {});
  const auto holes = damaged.holes(damaged.all_wrong());
  ASSERT_THAT(holes, SizeIs(2));
  EXPECT_EQ(holes[0].id(), "hole-1-0-300000");
  EXPECT_EQ(holes[0].end, kSize.start(5));
  EXPECT_EQ(holes[0].missing, (std::vector<Loss::Range>{{kSize.start(3), kSize.start(5)}}));
  EXPECT_THAT(holes[0].cause, HasSubstr(name(3) + " has 5000 bytes"));
  EXPECT_FALSE(holes[0].recorded);
  EXPECT_EQ(holes[1].id(), "hole-1-0-700000");
  // By the names alone there is none.
  const auto directory = damaged.disk.open();
  const auto listing = list_archive_names(*directory);
  EXPECT_THAT(find_holes(listing, Timelines::read(*directory, listing), kSize, {}), IsEmpty());
}

TEST(WrongSizes, AtAnEndOfTheArchiveAreNoHoles) {
  Damaged damaged;
  damaged.disk.put(name(1), {});
  damaged.disk.put(name(9), kCut);
  EXPECT_THAT(damaged.holes(damaged.all_wrong()), IsEmpty());
}

TEST(WrongSizes, OnATimelineThatNobodyFollowsToThereAreNoHoles) {
  Damaged damaged;
  for (std::uint64_t segno = 4; segno < 8; ++segno) damaged.disk.put(name(segno, "", 2), kWhole);
  damaged.disk.put("00000002.history", test::as_bytes(verify::history_line(1, kSize.start(4) + 8)));
  damaged.disk.put(name(3), kCut);  // of both
  damaged.disk.put(name(5), kCut);  // left behind by timeline 2
  const auto holes = damaged.holes(damaged.all_wrong());
  ASSERT_THAT(holes, SizeIs(1));
  EXPECT_EQ(holes[0].begin, kSize.start(3));
}

TEST(WrongSizes, OfAnotherBranchArePartOfNoHole) {
  SimDisk disk;
  disk.put("00000002.history", test::as_bytes(verify::history_line(1, kSize.start(4) + 8)));
  disk.put("00000003.history", test::as_bytes(verify::history_line(1, kSize.start(5) + 8)));
  const auto directory = disk.open();
  const auto timelines = Timelines::read(*directory, list_archive(*directory));
  Loss hole;
  hole.timeline = 1;
  hole.next_timeline = 3;
  hole.begin = kSize.start(4);
  hole.end = kSize.start(7);
  hole.segment_size = kSize;
  std::vector<std::string> within;
  for (const wal::TimelineId timeline : {1, 2, 3, 4})
    for (std::uint64_t segno = 3; segno < 8; ++segno) {
      const WrongSize wrong{*SegmentFileName::parse(name(segno, "", timeline)), 0};
      if (lies_in_a_hole(wrong, timelines, kSize, std::span(&hole, 1)))
        within.push_back(wrong.name.to_string());
    }
  EXPECT_THAT(within, ElementsAre(name(4), name(5, "", 3), name(6, "", 3)));
}

TEST(WrongSizes, AreOpenLossesUntilTheyAreMended) {
  struct Case {
    const char* suffix;
    Bytes broken;
    Bytes mended;
  };
  for (const auto& c : {Case{"", {}, kWhole},
                        Case{".zst", packed(Method::zstd, kCut), packed(Method::zstd, kWhole)},
                        Case{".gz", {}, packed(Method::gzip, kWhole)}}) {
    SCOPED_TRACE(c.suffix);
    Damaged damaged;
    damaged.disk.open()->remove(name(5));
    damaged.disk.put(name(5, c.suffix), c.broken);
    const auto holes = damaged.holes(damaged.all_wrong());
    ASSERT_THAT(holes, SizeIs(1));
    const auto directory = damaged.disk.open();
    EXPECT_TRUE(record_loss(*directory, holes[0]));
    EXPECT_THAT(damaged.holes(damaged.all_wrong()), IsEmpty()) << "it is recorded";
    for (const auto& listing : {list_archive(*directory), list_archive_names(*directory)}) {
      EXPECT_THAT(read_losses(*directory, listing), SizeIs(1));
      EXPECT_THAT(close_losses(*directory, listing), IsEmpty());
    }
    // In another form than it was, too.
    damaged.disk.put(name(5, c.suffix), c.mended);
    for (const auto& listing : {list_archive(*directory), list_archive_names(*directory)})
      EXPECT_THAT(read_losses(*directory, listing), IsEmpty());
    EXPECT_THAT(close_losses(*directory, list_archive_names(*directory)),
                ElementsAre("hole-1-0-500000"));
  }
}

TEST(WrongSizes, AreNamedUpToABound) {
  std::vector<WrongSize> many;
  for (std::uint64_t segno = 1; segno < 100; ++segno) many.push_back({file_name(segno), segno});
  const auto text = text_of(many, kSize);
  EXPECT_THAT(text, HasSubstr(name(5) + " has 5 bytes, and 94 more; a segment has 1048576"));
  EXPECT_LT(text.size(), 300u);
}

TEST(SkipWrongSizes, TakesOutWhatCannotBeASegment) {
  Bytes broken = packed(Method::lz4, kWhole);
  broken.resize(broken.size() / 2);
  SimDisk disk;
  disk.put(name(1), kCut);
  disk.put(name(2), kWhole);
  disk.put(name(3, ".gz"), packed(Method::gzip, kWhole));
  disk.put(name(4, ".gz"), packed(Method::gzip, kCut));
  disk.put(name(5, ".lz4"), broken);
  disk.put(name(6, ".partial"), kCut);
  const auto directory = disk.open();
  auto listing = list_archive(*directory);
  EXPECT_THAT(names_of(skip_wrong_sizes(*directory, listing, kSize)),
              ::testing::UnorderedElementsAre(name(1), name(4, ".gz"), name(5, ".lz4")));
  std::vector<std::string> left;
  for (const auto& entry : listing.segments) left.push_back(entry.name.to_string());
  EXPECT_THAT(left, ElementsAre(name(2), name(3, ".gz"), name(6, ".partial")));
}

}  // namespace
}  // namespace weir::archive::sizes_test

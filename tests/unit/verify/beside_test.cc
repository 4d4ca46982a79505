#include "verify/beside.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <utility>

#include "archive/published_open.h"
#include "base/error.h"
#include "support/archive_builder.h"
#include "support/error_of.h"

namespace weir::verify::beside_test {
namespace {

using codec::Method;

WalBuilder::Options plain() {
  WalBuilder::Options options;
  options.switch_every = 0;
  return options;
}

/// Two archives of one server with the segments [1, 8).
struct Two {
  Two() {
    wal.grow_to(kSize.start(8));
    one.segments(wal, 1, 8);
    other.segments(wal, 1, 8, Method::zstd);
  }
  BesideReport compare(unsigned jobs = 2) {
    const auto here = one.disk.open();
    const auto there = other.disk.open();
    Options options;
    options.jobs = jobs;
    return compare_archives(*here, *there, options);
  }
  std::string name(std::uint64_t segno, Method method = Method::none) {
    return ArchiveBuilder::name(wal, segno, method);
  }

  WalBuilder wal{plain()};
  ArchiveBuilder one, other;
};

TEST(CompareArchives, FindsTheSameWalInWhateverForm) {
  Two two;
  two.one.partial(two.wal, kSize.start(8) + 1000);
  two.one.history(2, history_line(1, kSize.start(8)));
  two.other.history(2, "1\t" + kSize.start(8).to_string() + "\tanother comment\n");
  for (const unsigned jobs : {1u, 3u}) {
    const auto report = two.compare(jobs);
    EXPECT_TRUE(report.agrees()) << to_text(report);
    EXPECT_EQ(report.compared, 7u);
    EXPECT_TRUE(report.names.only_one.empty());
    EXPECT_TRUE(report.names.only_other.empty());
  }
}

TEST(CompareArchives, TellsWhatOnlyOneOfThemHas) {
  Two two;
  two.one.disk.erase(two.name(3));
  two.one.disk.erase(two.name(4));
  two.other.disk.erase(two.name(6, Method::zstd));
  two.other.history(2, history_line(1, kSize.start(8)));
  const auto report = two.compare();
  ASSERT_EQ(report.names.only_one.size(), 1u);
  EXPECT_EQ(report.names.only_one[0].first.to_string(), two.name(6));
  ASSERT_EQ(report.names.only_other.size(), 1u);
  const auto& hole = report.names.only_other[0];
  EXPECT_EQ(hole.first.to_string(), two.name(3));
  EXPECT_EQ(hole.last.to_string(), two.name(4));
  EXPECT_EQ(hole.segments, 2u);
  EXPECT_TRUE(hole.hole);
  EXPECT_EQ(report.names.histories_only_other, std::vector<wal::TimelineId>{2});
  EXPECT_FALSE(report.agrees());
  EXPECT_EQ(report.compared, 4u);
  EXPECT_NE(to_text(report).find(two.name(3) + " to " + two.name(4)), std::string::npos);
}

TEST(CompareArchives, TakesItForNoFaultThatOneBeginsEarlierOrEndsLater) {
  Two two;
  two.one.disk.erase(two.name(1));
  two.other.disk.erase(two.name(7, Method::zstd));
  const auto report = two.compare();
  EXPECT_TRUE(report.agrees()) << to_text(report);
  EXPECT_EQ(report.names.only_one.size(), 1u);
  EXPECT_EQ(report.names.only_other.size(), 1u);
}

/// One received what a failover abandoned, the other one only the new timeline: neither has a hole.
TEST(CompareArchives, CallsAnAbandonedBranchNoHole) {
  // Where the switchpoint is a border, too.
  for (const std::uint64_t offset : {400'000, 0}) {
    SCOPED_TRACE(offset);
    auto wal = WalBuilder(plain());
    wal.grow_to(kSize.start(4) + 700'000);
    wal.append_switch();
    if (offset != 0) wal.grow_to(kSize.start(8));
    const auto at = offset == 0 ? kSize.start(5) : wal.fork_point(kSize.start(5) + offset);
    auto next = promote(wal, at, 2, 9);
    wal.grow_to(kSize.start(8));
    next.grow_to(kSize.start(9));
    for (const bool known : {true, false}) {
      SCOPED_TRACE(known);
      ArchiveBuilder one, other;
      one.segments(wal, 1, 8).segments(next, 5, 9);
      other.segments(wal, 1, 5).segments(next, 5, 9);
      if (known) one.history(2, history_line(1, at));
      const auto compare = [&] {
        const auto here = one.disk.open();
        const auto there = other.disk.open();
        return compare_archives(*here, *there, Options());
      };
      auto report = compare();
      ASSERT_EQ(report.names.only_one.size(), 1u);
      EXPECT_EQ(report.names.only_one[0].segments, 3u);
      // Without a history, the new timeline may have begun later.
      EXPECT_EQ(report.names.only_one[0].hole, !known) << to_text(report);
      EXPECT_EQ(report.agrees(), known);
      if (!known) continue;
      // Of what both histories need, it lacks one: no branch explains that.
      other.disk.erase(ArchiveBuilder::name(wal, 4));
      other.disk.erase(ArchiveBuilder::name(next, 6));
      report = compare();
      ASSERT_EQ(report.names.only_one.size(), 3u);
      EXPECT_TRUE(report.names.only_one[0].hole) << to_text(report);
      EXPECT_FALSE(report.names.only_one[1].hole);
      EXPECT_TRUE(report.names.only_one[2].hole);
      EXPECT_FALSE(report.agrees());
    }
  }
}

TEST(CompareArchives, TellsWhichOfTwoCopiesIsDamaged) {
  Two two;
  two.one.flip(two.name(2), 500'000, 3);
  auto bytes = two.other.disk.content(two.name(4, Method::zstd));
  bytes.resize(bytes.size() / 2);
  two.other.disk.put(two.name(4, Method::zstd), bytes);
  two.one.flip(two.name(5), 500'000, 3);
  two.other.disk.put(two.name(5, Method::zstd), {});
  const auto report = two.compare();
  EXPECT_FALSE(report.agrees());
  ASSERT_EQ(report.unlike.size(), 3u);
  using Kind = Unlike::Kind;
  EXPECT_EQ(report.unlike[0].kind, Kind::damaged_one);
  EXPECT_NE(report.unlike[0].file.find(two.name(2)), std::string::npos);
  EXPECT_EQ(report.unlike[1].kind, Kind::damaged_other);
  EXPECT_EQ(report.unlike[2].kind, Kind::damaged_both);

  const auto directory = two.one.disk.open();
  const auto json = nlohmann::json::parse(to_json(verify(*directory, {}), &report));
  EXPECT_FALSE(json["beside"]["agrees"].get<bool>());
  EXPECT_EQ(json["beside"]["unlike"][0]["kind"], "damaged_here");
}

/// As "pgweir store publish-partial" uploads the last segment of a lost primary.
TEST(CompareArchives, ComparesAPublishedPartialSegmentUpToItsZeros) {
  const struct {
    const char* what;
    std::uint64_t segno;
    int recorded_after;  ///< bytes after the last record
    bool in_other;       ///< the record is there, else in the one
    bool flipped;        ///< a byte of a record before its zeros
    bool rubbish;        ///< a byte of its zeros is none
    const char* wrong;
  } cases[] = {
      {"with its record", 7, 0, true, false, false, nullptr},
      {"with the archiver's record", 7, 0, false, false, false, nullptr},
      {"recorded to a place within a record", 7, -8, true, false, false, "is damaged at"},
      {"recorded further than it has WAL", 7, 8, true, false, false, "is damaged at"},
      {"damaged before", 7, 0, true, true, false, "is damaged at"},
      {"not only zeros", 7, 0, true, false, true, "is damaged at"},
      {"not the last one", 6, 0, true, false, false, "but is not the last segment"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.what);
    Two two;
    const auto start = kSize.start(each.segno);
    const auto end = two.wal.complete_end(start + 500'000);
    const auto content = ArchiveBuilder::content(two.wal, each.segno);
    test::Bytes padded(content.begin(), content.end());
    std::fill(padded.begin() + (end - start), padded.end(), std::byte{0});
    if (each.flipped) padded[200'000] ^= std::byte{1};
    if (each.rubbish) padded.back() = std::byte{1};
    const auto name = two.name(each.segno, Method::zstd);
    two.other.disk.put(name, packed(Method::zstd, padded));
    const auto without = two.compare();
    ASSERT_EQ(without.unlike.size(), 1u) << "without a record it is damaged";
    EXPECT_EQ(without.unlike[0].kind, Unlike::Kind::damaged_other);

    const wal::SegmentName segment(1, each.segno, kSize);
    const auto recorded = Lsn(end.byte() + static_cast<std::uint64_t>(each.recorded_after));
    (each.in_other ? two.other : two.one)
        .disk.put(archive::published_open_name(segment),
                  test::as_bytes(archive::published_open_record(
                      {.segment = segment, .end = recorded, .object = {}, .time = {}})));
    const auto report = two.compare();
    EXPECT_EQ(report.agrees(), each.wrong == nullptr) << to_text(report);
    if (each.wrong != nullptr) {
      ASSERT_EQ(report.unlike.size(), 1u);
      EXPECT_EQ(report.unlike[0].kind, Unlike::Kind::damaged_other);
      EXPECT_NE(report.unlike[0].what.find(each.wrong), std::string::npos) << report.unlike[0].what;
      EXPECT_TRUE(report.notes.empty());
      continue;
    }
    ASSERT_EQ(report.notes.size(), 1u);
    EXPECT_NE(report.notes[0].find(name + ": padded after " + end.to_string()), std::string::npos)
        << report.notes[0];
    EXPECT_NE(to_text(report).find(report.notes[0] + "\n"), std::string::npos);
    const auto directory = two.one.disk.open();
    const auto json = nlohmann::json::parse(to_json(verify(*directory, {}), &report));
    EXPECT_TRUE(json["beside"]["agrees"].get<bool>());
    EXPECT_EQ(json["beside"]["notes"][0], report.notes[0]);
    // Other WAL before its zeros.
    auto branch = two.wal.other_branch(two.wal.fork_point(start + 300'000), 5, false);
    two.one.segments(branch, 7, 8);
    const auto other = two.compare();
    ASSERT_EQ(other.unlike.size(), 1u);
    EXPECT_EQ(other.unlike[0].kind, Unlike::Kind::differ) << to_text(other);
  }
}

TEST(CompareArchives, TellsTwoHistoriesOfTheClusterAndNotWhatMeansNothing) {
  Two two;
  auto branch = two.wal.other_branch(two.wal.fork_point(kSize.start(6) + 300'000), 5, false);
  two.other.segments(branch, 6, 7, Method::zstd);
  // Behind an xlog switch.
  auto switched = WalBuilder(plain());
  switched.grow_to(kSize.start(7) + 300'000);
  switched.append_switch();
  auto content = ArchiveBuilder::content(switched, 7);
  test::Bytes recycled(content.begin(), content.end());
  two.one.disk.put(two.name(7), recycled);
  const auto end = kSize.offset(switched.records().back().end);
  std::fill(recycled.begin() + static_cast<std::ptrdiff_t>(end) + 16, recycled.end(),
            std::byte{0x55});
  two.other.disk.put(two.name(7, Method::zstd), packed(Method::zstd, recycled));
  const auto report = two.compare();
  ASSERT_EQ(report.unlike.size(), 1u) << to_text(report);
  EXPECT_EQ(report.unlike[0].kind, Unlike::Kind::differ);
  EXPECT_NE(report.unlike[0].file.find(two.name(6)), std::string::npos);
  EXPECT_EQ(to_string(report.unlike[0].kind), "differ");
  const auto text = to_text(report, 1);
  EXPECT_NE(text.find(report.unlike[0].file + " and " + report.unlike[0].other_file +
                      ": both are valid, but differ at offset "),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("DIFFERENT"), std::string::npos);
  EXPECT_NE(to_text(report, 0).find("… and 1 more; --json lists all of them\n"), std::string::npos);
}

TEST(CompareArchives, TellsHistoriesThatDiffer) {
  Two two;
  two.one.history(2, history_line(1, kSize.start(8)));
  two.other.history(2, history_line(1, kSize.start(8) + 8));
  two.one.history(3, "rubbish");
  two.other.history(3, history_line(1, kSize.start(8)));
  two.one.history(4, history_line(1, kSize.start(8)));
  two.other.disk.put("00000004.history.gz", test::as_bytes("cannot be unpacked"));
  const auto report = two.compare();
  ASSERT_EQ(report.unlike.size(), 3u) << to_text(report);
  EXPECT_EQ(report.unlike[0].kind, Unlike::Kind::differ);
  EXPECT_EQ(report.unlike[1].kind, Unlike::Kind::damaged_one);
  EXPECT_EQ(report.unlike[2].kind, Unlike::Kind::damaged_other);
}

TEST(CompareArchives, RefusesAnotherClusterAndADirectoryWithoutWal) {
  Two two;
  auto options = plain();
  options.system_identifier = 99;
  WalBuilder foreign(options);
  two.other.segments(foreign, 1, 8, Method::zstd);
  EXPECT_EQ(test::error_of([&] { static_cast<void>(two.compare()); }).kind(), ErrorKind::conflict);
  for (const auto& name : two.other.disk.names()) two.other.disk.erase(name);
  EXPECT_EQ(test::error_of([&] { static_cast<void>(two.compare()); }).kind(), ErrorKind::gap);
}

TEST(CompareArchives, DoNotTakeAnArchiveThatHangsForADamagedOne) {
  Two two;
  const auto file = two.name(5, Method::zstd);
  two.other.disk.set_hook([&](const sim::SimDisk::Call& call) {
    return call.operation == sim::SimDisk::Operation::read && call.name == file
               ? sim::SimDisk::Effect::fail(ETIMEDOUT)
               : sim::SimDisk::Effect::proceed();
  });
  EXPECT_EQ(test::error_of([&] { static_cast<void>(two.compare()); }).system_code(), ETIMEDOUT);
}

TEST(CompareArchives, TakesNoFilesForEqualThatItCouldNotCompareAtFirst) {
  Two two;
  auto branch = two.wal.other_branch(two.wal.fork_point(kSize.start(6) + 300'000), 5, false);
  two.other.segments(branch, 6, 7, Method::zstd);
  const auto file = two.name(6, Method::zstd);
  bool failed = false;
  two.other.disk.set_hook([&](const sim::SimDisk::Call& call) {
    const bool fails = call.operation == sim::SimDisk::Operation::read && call.name == file &&
                       !std::exchange(failed, true);
    return fails ? sim::SimDisk::Effect::fail(EIO) : sim::SimDisk::Effect::proceed();
  });
  const auto report = two.compare(1);
  EXPECT_TRUE(failed);
  ASSERT_EQ(report.unlike.size(), 1u) << to_text(report);
  EXPECT_EQ(report.unlike[0].kind, Unlike::Kind::differ);
  EXPECT_NE(report.unlike[0].file.find(two.name(6)), std::string::npos);
}

TEST(CompareArchives, IsStopped) {
  Two two;
  const auto here = two.one.disk.open();
  const auto there = two.other.disk.open();
  Options options;
  options.stop = [] { return true; };
  EXPECT_EQ(
      test::error_of([&] { static_cast<void>(compare_archives(*here, *there, options)); }).kind(),
      ErrorKind::retry);
}

}  // namespace
}  // namespace weir::verify::beside_test

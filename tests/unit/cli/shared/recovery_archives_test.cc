#include "cli/shared/recovery_archives.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <optional>
#include <string>

#include "archive/home.h"
#include "archive/losses.h"
#include "base/error.h"
#include "codec/codec.h"
#include "io/posix_directory.h"
#include "recovery/promise.h"
#include "store/ledger/mark.h"
#include "support/archive_builder.h"
#include "support/backup_builder.h"
#include "support/error_of.h"
#include "wal/page.h"

namespace weir::cli::recovery_archives_test {
namespace {

using testing::WalBuilder;
using verify::ArchiveBuilder;
using verify::kSize;
using wal::Lsn;

void put(const test::TemporaryDirectory& archive, WalBuilder& wal, std::uint64_t first,
         std::uint64_t behind) {
  for (auto segno = first; segno < behind; ++segno) {
    const auto bytes = ArchiveBuilder::content(wal, segno);
    archive.write(ArchiveBuilder::name(wal, segno),
                  {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
}

archive::BackupPoint backup(Lsn start, std::optional<Lsn> end, wal::TimelineId end_timeline) {
  archive::BackupPoint point{.timeline = 1, .start = start, .end = end};
  if (end) point.end_timeline = end_timeline;
  return point;
}

TEST(ArchivesOfRecovery, FollowTheNewestTimelineThatHasAllOfTheBackup) {
  WalBuilder one({.switch_every = 0});
  one.grow_to(kSize.start(7));
  const auto left = one.fork_point(kSize.start(3) + 500'000);
  auto two = verify::promote(one, left, 2, 9);
  two.grow_to(kSize.start(7));
  const test::TemporaryDirectory archive;
  put(archive, one, 1, 7);
  put(archive, two, 3, 7);
  archive.write("00000002.history", verify::history_line(1, left));
  ArchivesOfRecovery archives({.directories = {archive.path()}});
  const auto timeline = [&](const archive::BackupPoint& point,
                            std::optional<wal::TimelineId> wanted = std::nullopt) {
    return archives.way(point, wanted).history.timeline();
  };
  const Lsn start = one.fork_point(kSize.start(2) + 100'000);
  const Lsn late(kSize.start(5) + 4096);
  EXPECT_EQ(timeline(backup(start, left, 1)), 2U);
  EXPECT_EQ(timeline(backup(start, left, 1), 1), 1U);
  EXPECT_EQ(timeline(backup(start, std::nullopt, 0)), 2U);
  // The old primary's, which ended after the switch; a standby's, which followed it.
  EXPECT_EQ(timeline(backup(start, late, 1)), 1U);
  EXPECT_EQ(timeline(backup(start, late, 2)), 2U);
  EXPECT_EQ(timeline(backup(start, late, 2), 2), 2U);
  for (const auto& [point, wanted] :
       {std::pair(backup(start, late, 1), 2U), std::pair(backup(start, late, 2), 1U)})
    EXPECT_EQ(test::error_of([&, &point = point, wanted = wanted] {
                static_cast<void>(timeline(point, wanted));
              }).kind(),
              ErrorKind::gap);
}

/// A standby finds the history of a new primary before that one's first segment is archived.
TEST(ArchivesOfRecovery, FollowATimelineWithoutWalOnlyForAStandby) {
  WalBuilder one({.switch_every = 0});
  one.grow_to(kSize.start(7));
  const auto left = one.fork_point(kSize.start(3) + 500'000);
  const test::TemporaryDirectory archive;
  put(archive, one, 1, 7);
  archive.write("00000002.history", verify::history_line(1, left));
  const auto before = backup(one.fork_point(kSize.start(2) + 100'000), left, 1);
  const auto after = backup(Lsn(kSize.start(4) + 4096), Lsn(kSize.start(5) + 4096), 1);
  for (const bool standby : {false, true}) {
    SCOPED_TRACE(standby);
    ArchivesOfRecovery archives({.directories = {archive.path()}}, standby);
    EXPECT_EQ(archives.newest_timeline(), standby ? 2U : 1U);
    const auto without_wal = archives.newest_without_wal();
    ASSERT_EQ(without_wal.has_value(), !standby);
    EXPECT_TRUE(!without_wal || without_wal->history->end_of(1) == left);
    EXPECT_EQ(archives.way(before, std::nullopt).history.timeline(), standby ? 2U : 1U);
    EXPECT_EQ(archives.way(after, std::nullopt).history.timeline(), 1U);
  }
  for (std::uint64_t segno = 1; segno < 7; ++segno)
    std::filesystem::remove(archive.path(ArchiveBuilder::name(one, segno)));
  ArchivesOfRecovery none({.directories = {archive.path()}}, true);
  EXPECT_EQ(none.newest_timeline(), std::nullopt) << "it may not be mounted";
  EXPECT_FALSE(none.newest_without_wal());
}

/// It is unknown where a timeline begins without its history: the branch that it left, or the
/// opposite, would be taken for the cluster.
TEST(ArchivesOfRecovery, NeedTheHistoryOfANewerTimeline) {
  WalBuilder one({.switch_every = 0});
  one.grow_to(kSize.start(7));
  const auto left = one.fork_point(kSize.start(3) + 500'000);
  auto two = verify::promote(one, left, 2, 9);
  two.grow_to(kSize.start(7));
  const test::TemporaryDirectory archive;
  put(archive, one, 1, 7);
  put(archive, two, 3, 7);
  const auto point = backup(one.fork_point(kSize.start(2) + 100'000), left, 1);
  const auto way = [&](std::optional<wal::TimelineId> wanted = std::nullopt) {
    ArchivesOfRecovery archives({.directories = {archive.path()}});
    return archives.way(point, wanted).history.timeline();
  };
  const auto refused = [&](std::optional<wal::TimelineId> wanted = std::nullopt) {
    const auto error = test::error_of([&] { static_cast<void>(way(wanted)); });
    EXPECT_EQ(error.kind(), ErrorKind::io) << error.what();
    EXPECT_NE(std::string(error.what()).find("00000002.history"), std::string::npos)
        << error.what();
  };
  for (const char* content : {"", "nonsense\n", static_cast<const char*>(nullptr)}) {
    if (content != nullptr)
      archive.write("00000002.history", content);
    else
      std::filesystem::remove(archive.path("00000002.history"));
    refused();
    refused(2);
    EXPECT_EQ(way(1), 1U) << "wanted along its own history";
  }
  // The archive began on that timeline: there is none that it could have left.
  for (std::uint64_t segno = 1; segno < 7; ++segno)
    std::filesystem::remove(archive.path(ArchiveBuilder::name(one, segno)));
  ArchivesOfRecovery archives({.directories = {archive.path()}});
  EXPECT_EQ(archives.way({.timeline = 2, .start = kSize.start(5) + 4096}, std::nullopt)
                .history.timeline(),
            2U);
}

/// A server stops without them, and only then.
TEST(ArchivesOfRecovery, NameAHistoryThatTheServerNeeds) {
  WalBuilder one({.switch_every = 0});
  one.grow_to(kSize.start(7));
  const auto left = one.fork_point(kSize.start(3) + 500'000);
  auto two = verify::promote(one, left, 2, 9);
  two.grow_to(kSize.start(7));
  const auto left_again = two.fork_point(kSize.start(5) + 500'000);
  auto three = verify::promote(two, left_again, 3, 10);
  three.grow_to(kSize.start(7));
  const test::TemporaryDirectory archive;
  put(archive, two, 3, 6);
  const archive::BackupPoint of_two{.timeline = 2, .start = kSize.start(4) + 4096};
  const auto missing = [&](const archive::BackupPoint& point, bool standby = false) {
    ArchivesOfRecovery archives({.directories = {archive.path()}}, standby);
    return archives.way(point, std::nullopt).missing_history;
  };
  EXPECT_EQ(missing(of_two), 2U) << "the archive begins on timeline 2";
  EXPECT_EQ(missing(of_two, true), std::nullopt);
  put(archive, three, 5, 7);
  archive.write("00000003.history",
                verify::history_line(1, left) + verify::history_line(2, left_again));
  EXPECT_EQ(missing(of_two), 2U) << "it is that of the backup's checkpoint";
  EXPECT_EQ(missing({.timeline = 3, .start = kSize.start(6) + 4096}), std::nullopt);
  EXPECT_EQ(missing(of_two, true), std::nullopt) << "a standby looks for newer ones only";
  const auto of_one = backup(one.fork_point(kSize.start(2) + 100'000), left, 1);
  EXPECT_EQ(missing(of_one, true), 2U) << "it would stay on timeline 1";
  archive.write("00000002.history", verify::history_line(1, left));
  EXPECT_EQ(missing(of_two), std::nullopt);
  EXPECT_EQ(missing(of_one, true), std::nullopt);
  const test::TemporaryDirectory first;
  put(first, one, 1, 7);
  ArchivesOfRecovery archives({.directories = {first.path()}});
  EXPECT_EQ(archives.way(backup(kSize.start(2), std::nullopt, 0), std::nullopt).missing_history,
            std::nullopt)
      << "timeline 1 has none";
}

/// As `restore` does, which stops a server that requests it.
TEST(ArchivesOfRecovery, RejectAHistoryThatContradictsAnotherOneOrTheWal) {
  WalBuilder one({.switch_every = 0});
  one.grow_to(kSize.start(7));
  const auto left = one.fork_point(kSize.start(3) + 500'000);
  auto two = verify::promote(one, left, 2, 9);
  two.grow_to(kSize.start(7));
  const auto left_again = two.fork_point(kSize.start(5) + 500'000);
  auto three = verify::promote(two, left_again, 3, 10);
  three.grow_to(kSize.start(7));
  const test::TemporaryDirectory archive;
  put(archive, one, 1, 4);
  put(archive, two, 3, 6);
  put(archive, three, 5, 7);
  const auto parent = verify::history_line(1, left);
  archive.write("00000003.history", parent + verify::history_line(2, left_again));
  const auto point = backup(one.fork_point(kSize.start(2) + 100'000), left, 1);
  const auto way = [&](std::optional<wal::TimelineId> wanted = std::nullopt, bool standby = false) {
    ArchivesOfRecovery archives({.directories = {archive.path()}}, standby);
    return archives.way(point, wanted).no_promotion;
  };
  const auto error = [&](std::optional<wal::TimelineId> wanted = std::nullopt,
                         bool standby = false) -> std::string {
    return test::error_of([&] { static_cast<void>(way(wanted, standby)); }).what();
  };
  archive.write("00000002.history", verify::history_line(1, left + 8));
  EXPECT_NE(error().find("two timeline histories contradict each other"), std::string::npos);
  EXPECT_NE(error(std::nullopt, true).find("contradict each other"), std::string::npos);
  EXPECT_NE(way(1).find("contradict each other"), std::string::npos) << "requested at the end";
  archive.write("00000002.history", parent);
  archive.write("00000003.history", parent + verify::history_line(2, left_again + 8));
  EXPECT_NE(error().find("does not agree with the WAL"), std::string::npos);
  EXPECT_NE(way(2).find("does not agree with the WAL"), std::string::npos);
  archive.write("00000003.history", parent + verify::history_line(2, left_again));
  EXPECT_EQ(way(), "");
  EXPECT_EQ(way(std::nullopt, true), "");
}

/// A number that is missing between two histories ends a standby's search, although the newest
/// history does not name that timeline.
TEST(ArchivesOfRecovery, NameANumberAtWhichAStandbyEndsItsSearch) {
  WalBuilder one({.switch_every = 0});
  one.grow_to(kSize.start(7));
  const auto left = one.fork_point(kSize.start(3) + 500'000);
  auto three = verify::promote(one, left, 3, 9);
  three.grow_to(kSize.start(7));
  const test::TemporaryDirectory archive;
  put(archive, one, 1, 7);
  put(archive, three, 3, 7);
  archive.write("00000003.history", verify::history_line(1, left));
  const auto point = backup(one.fork_point(kSize.start(2) + 100'000), left, 1);
  const auto missing = [&](bool standby) {
    ArchivesOfRecovery archives({.directories = {archive.path()}}, standby);
    const auto way = archives.way(point, std::nullopt);
    EXPECT_EQ(way.history.timeline(), 3U);
    return way.missing_history;
  };
  EXPECT_EQ(missing(true), 2U);
  EXPECT_EQ(missing(false), std::nullopt) << "its recovery_target_timeline is a number";
}

/// A recovery to a position before a hole starts a timeline that does not have the hole.
TEST(ArchivesOfRecovery, HaveNoHoleOfABranchThatTheHistoryHasLeft) {
  WalBuilder one({.switch_every = 0});
  one.grow_to(kSize.start(5));
  const auto left = one.fork_point(kSize.start(4) + 500'000);
  auto two = verify::promote(one, left, 2, 9);
  two.grow_to(kSize.start(7));
  const test::TemporaryDirectory archive;
  put(archive, one, 1, 5);
  put(archive, two, 4, 7);
  archive.write("00000002.history", verify::history_line(1, left));
  const auto record = [&](std::uint64_t first, std::uint64_t behind) {
    archive::Loss hole;
    hole.timeline = hole.next_timeline = 1;
    hole.begin = hole.sound_end = hole.counted_to = kSize.start(first);
    hole.end = kSize.start(behind);
    hole.segment_size = kSize;
    archive::record_loss(*io::open_directory(archive.path()), hole);
  };
  record(5, 9);
  const auto point = backup(one.fork_point(kSize.start(1) + 100'000), left, 1);
  const auto goes_on = [&](wal::TimelineId timeline, std::uint64_t segno) {
    ArchivesOfRecovery archives({.directories = {archive.path()}});
    return archives.way(point, timeline).goes_on(kSize.start(segno));
  };
  EXPECT_EQ(goes_on(2, 7), std::nullopt) << "that is the end of timeline 2";
  EXPECT_EQ(goes_on(1, 5), kSize.start(9));
  // One before the switchpoint is of both, also if nothing but the record shows where it ends.
  for (const std::uint64_t segno : {3, 4})
    std::filesystem::remove(archive.path(ArchiveBuilder::name(one, segno)));
  for (const std::uint64_t segno : {4, 5})
    std::filesystem::remove(archive.path(ArchiveBuilder::name(two, segno)));
  record(3, 4);
  EXPECT_EQ(goes_on(2, 3), kSize.start(4));
}

/// As `restore` has it: the followed timeline had the segments before the one in which it was left,
/// as a receiver knows that connects to a new primary before it has caught up.
TEST(ArchivesOfRecovery, HaveAHoleBeforeTheSwitchpointOfATimelineWithoutWal) {
  WalBuilder one({.switch_every = 0});
  one.grow_to(kSize.start(7));
  const auto left = one.fork_point(kSize.start(5) + 500'000);
  const test::TemporaryDirectory archive;
  put(archive, one, 1, 3);
  archive.write("00000002.history", verify::history_line(1, left));
  const auto point = backup(one.fork_point(kSize.start(1) + 100'000), left, 1);
  ArchivesOfRecovery archives({.directories = {archive.path()}});
  const auto way = archives.way(point, std::nullopt);
  EXPECT_EQ(way.goes_on(kSize.start(3)), kSize.start(5));
  EXPECT_EQ(way.goes_on(kSize.start(4)), kSize.start(5));
  EXPECT_EQ(way.goes_on(kSize.start(5)), std::nullopt) << "it may end in this segment";
  // A partial segment before it was completed.
  EXPECT_EQ(way.complete_after(kSize.start(4)), kSize.start(5));
  EXPECT_EQ(way.complete_after(kSize.start(5)), kSize.start(5));
  EXPECT_EQ(way.complete_after(kSize.start(6)), std::nullopt);
  put(archive, one, 3, 5);
  EXPECT_EQ(way.goes_on(kSize.start(3)), kSize.start(3));
}

/// If the timeline was requested: its partial segment was not copied, or was cut short.
TEST(ArchivesOfRecovery, HaveAHoleWhereTheRequestedTimelineEndsBeforeTheSwitchpointOfAnother) {
  WalBuilder one({.switch_every = 0});
  one.grow_to(kSize.start(7));
  const auto left = one.fork_point(kSize.start(5) + 500'000);
  auto two = verify::promote(one, left, 2, 9);
  two.grow_to(kSize.start(7));
  const test::TemporaryDirectory archive;
  put(archive, one, 1, 5);
  put(archive, two, 5, 7);
  archive.write("00000002.history", verify::history_line(1, left));
  const auto point =
      backup(one.fork_point(kSize.start(1) + 100'000), one.fork_point(kSize.start(1) + 200'000), 1);
  const auto look = [&](std::optional<wal::TimelineId> timeline, const recovery::Target& target) {
    ArchivesOfRecovery archives({.directories = {archive.path()}});
    const auto way = archives.way(point, timeline);
    return recovery::look_through(way, point, target, [] { return false; });
  };
  const auto hole = [&](wal::Lsn from) {
    return fmt::format(
        "WAL is missing in the archive, from {} to {}: {}; timeline 1 ends only there, as the "
        "history of a later one shows",
        from, left, ArchiveBuilder::name(one, 5));
  };
  EXPECT_EQ(look(1, {}).problem, hole(kSize.start(5)));
  EXPECT_EQ(look(1, {}).obstacle, recovery::Obstacle::hole);
  EXPECT_EQ(look(std::nullopt, {}).problem, "");
  EXPECT_EQ(look(1, {.kind = recovery::Target::Kind::lsn, .lsn = kSize.start(3)}).problem, "");
  EXPECT_EQ(look(1, {.kind = recovery::Target::Kind::lsn, .lsn = left}).problem,
            hole(kSize.start(5)));
  const auto put_partial = [&](wal::Lsn end) {
    const auto front = ArchiveBuilder::content(one, 5).first(kSize.offset(end));
    archive.write(ArchiveBuilder::name(one, 5, codec::Method::none, true),
                  std::string(reinterpret_cast<const char*>(front.data()), front.size()));
  };
  const auto end = one.complete_end(kSize.start(5) + 300'000);
  put_partial(end);
  EXPECT_EQ(look(1, {}).problem, hole(end));
  put_partial(left);
  EXPECT_EQ(look(1, {}).problem, "");
  EXPECT_EQ(look(1, {}).position, left);
}

/// As `restore` has it, which stops a server that requests one of them.
TEST(ArchivesOfRecovery, HaveAHoleWhereASegmentExistsThatIsNotRead) {
  WalBuilder one({.switch_every = 0});
  one.grow_to(kSize.start(8));
  const auto point =
      backup(one.fork_point(kSize.start(1) + 100'000), one.fork_point(kSize.start(1) + 200'000), 1);
  const auto name = [&](std::uint64_t segno) { return ArchiveBuilder::name(one, segno); };
  const auto look = [&](const test::TemporaryDirectory& archive) {
    ArchivesOfRecovery archives({.directories = {archive.path()}});
    const auto way = archives.way(point, std::nullopt);
    return recovery::look_through(way, point, {}, [] { return false; }).problem;
  };
  const test::TemporaryDirectory packed, link, partial, other, copied;
  for (const auto* archive : {&packed, &link, &partial, &other, &copied}) put(*archive, one, 1, 3);
  copied.write("." + name(3) + ".zst.x3F9aQ", "x");
  EXPECT_EQ(look(copied), "WAL is missing in the archive, from 0/300000 to 0/400000: " + name(3) +
                              "; ." + name(3) +
                              ".zst.x3F9aQ exists, which rsync has not copied completely");
  put(copied, one, 3, 4);
  EXPECT_EQ(look(copied), "");
  packed.write(name(4) + ".bz2", "x");
  packed.write(name(3) + ".xz", "x");
  EXPECT_EQ(look(packed), "WAL is missing in the archive, from 0/300000 to 0/500000: " + name(3) +
                              " to " + name(4) + "; " + name(3) +
                              ".xz exists, in a format that is not supported (xz; unpack it with "
                              "\"xz -d\")");
  std::filesystem::create_symlink("/nowhere", link.path(name(3) + ".zst"));
  EXPECT_EQ(look(link), "WAL is missing in the archive, from 0/300000 to 0/400000: " + name(3) +
                            "; " + name(3) +
                            ".zst exists, but is a directory, a device, or a symbolic link without "
                            "a target");
  // With its partial file.
  const auto front = ArchiveBuilder::content(one, 3).first(500'000);
  partial.write(ArchiveBuilder::name(one, 3, codec::Method::none, true),
                {reinterpret_cast<const char*>(front.data()), front.size()});
  EXPECT_EQ(look(partial), "");
  partial.write(name(3) + ".bz2", "x");
  EXPECT_NE(look(partial).find(name(3) + ".bz2 exists"), std::string::npos) << look(partial);
  // Names that are not of this history, or not of a segment.
  other.write(name(2) + ".bz2", "x");
  other.write(wal::SegmentName(2, 7, kSize).to_string() + ".bz2", "x");
  other.write(name(3) + ".bz2.tmp", "x");
  EXPECT_EQ(look(other), "");
  std::filesystem::create_symlink("/nowhere", other.path(name(4) + ".partial"));
  EXPECT_NE(look(other).find(name(4) + ".partial exists"), std::string::npos) << look(other);
}

/// A server that is promoted requests the histories after its own, until one does not exist.
TEST(ArchivesOfRecovery, NameAHistoryThatPreventsThePromotion) {
  WalBuilder one({.switch_every = 0});
  one.grow_to(kSize.start(7));
  const auto left = one.fork_point(kSize.start(3) + 500'000);
  auto two = verify::promote(one, left, 2, 9);
  two.grow_to(kSize.start(7));
  const test::TemporaryDirectory archive;
  put(archive, one, 1, 7);
  const auto point = backup(one.fork_point(kSize.start(2) + 100'000), left, 1);
  const auto told = [&](bool standby = false) {
    ArchivesOfRecovery archives({.directories = {archive.path()}}, standby);
    return archives.way(point, 1).no_promotion;
  };
  EXPECT_EQ(told(), "");
  archive.write("00000003.history", verify::history_line(1, left));
  EXPECT_EQ(told(), "") << "timeline 2 was never there, as far as is known";
  put(archive, two, 3, 7);
  EXPECT_EQ(told().substr(0, 76),
            "00000002.history is missing in the archive: segments of timeline 2 exist (00");
  EXPECT_EQ(told(true), "") << "it is given nothing then";
  archive.write("00000002.history", "nonsense\n");
  EXPECT_EQ(told(), "00000002.history cannot be read");
  archive.write("00000002.history", verify::history_line(1, left));
  EXPECT_EQ(told(), "");
  archive.write("00000004.history", "");
  std::filesystem::remove(archive.path("00000003.history"));
  EXPECT_EQ(told(), "") << "the search ends at 3";
}

/// As `restore` has it: a copy of the archive that is not complete must not lead to a branch that
/// the cluster has left, nor end early.
TEST(ArchivesOfRecovery, MissWhatTheRecordsOfTheArchiveName) {
  WalBuilder one({.switch_every = 0});
  one.grow_to(kSize.start(7));
  const auto left = one.fork_point(kSize.start(3) + 500'000);
  const test::TemporaryDirectory archive;
  put(archive, one, 1, 5);
  const auto directory = io::open_directory(archive.path());
  const auto point = backup(one.fork_point(kSize.start(2) + 100'000), left, 1);
  const auto open = [&](bool standby = false) {
    return ArchivesOfRecovery({.directories = {archive.path()}}, standby);
  };
  EXPECT_FALSE(open().newest_without_wal());
  archive::Loss loss{.kind = archive::Loss::Kind::lost_branch,
                     .timeline = 1,
                     .next_timeline = 2,
                     .begin = left,
                     .end = kSize.start(5),
                     .segment_size = kSize};
  archive::record_loss(*directory, loss);
  const auto record = ".pgweir-loss-" + loss.id();
  auto newer = open().newest_without_wal();
  ASSERT_TRUE(newer);
  EXPECT_EQ(newer->timeline, 2U);
  EXPECT_TRUE(newer->lost);
  EXPECT_EQ(newer->record, record);
  EXPECT_EQ(open().way(point, std::nullopt).no_promotion,
            "00000002.history is missing in the archive: according to " + record +
                ", timeline 2 existed. Only if no copy of it exists, and timeline 2 is not "
                "wanted, remove " +
                record);
  EXPECT_FALSE(open(true).newest_without_wal()) << "a standby can stream it";
  archive.write("00000002.history", verify::history_line(1, left));
  EXPECT_EQ(open().way(point, std::nullopt).no_promotion, "");
  EXPECT_FALSE(open().newest_without_wal()->lost);
  // A timeline before the newest one, which the newest does not name.
  std::filesystem::remove(archive.path("00000002.history"));
  auto three = verify::promote(one, left, 3, 9);
  three.grow_to(kSize.start(7));
  put(archive, three, 3, 6);
  archive.write("00000003.history", verify::history_line(1, left));
  EXPECT_EQ(open().way(point, std::nullopt).missing_history, 2U);
  std::filesystem::remove(archive.path(record));
  EXPECT_EQ(open().way(point, std::nullopt).missing_history, std::nullopt);

  store::Mark mark{.system_identifier = one.options().system_identifier, .segment_size = kSize};
  const auto keep = [&] {
    archive::DirectoryHome home(*directory);
    store::keep_mark(home, mark);
  };
  const auto goes_on = [&](wal::TimelineId timeline, std::uint64_t segno) {
    auto archives = open();
    return archives.way(point, timeline).goes_on(kSize.start(segno));
  };
  EXPECT_EQ(goes_on(3, 6), std::nullopt);
  for (const std::uint64_t segno : {4, 5, 6, 7}) mark.add(wal::SegmentName(3, segno, kSize));
  for (const std::uint64_t segno : {4, 5, 6, 7, 8}) mark.add(wal::SegmentName(1, segno, kSize));
  mark.add_history(3);
  keep();
  EXPECT_EQ(goes_on(3, 6), kSize.start(8));
  EXPECT_EQ(goes_on(3, 8), std::nullopt);
  EXPECT_EQ(goes_on(1, 5), std::nullopt) << "timeline 3 left timeline 1 before it";
  EXPECT_FALSE(open().newest_without_wal());
  put(archive, three, 6, 7);
  EXPECT_EQ(goes_on(3, 7), kSize.start(8));
  mark.add(wal::SegmentName(4, 7, kSize));
  keep();
  newer = open().newest_without_wal();
  ASSERT_TRUE(newer);
  EXPECT_EQ(newer->timeline, 4U);
  EXPECT_TRUE(newer->lost);
  EXPECT_EQ(newer->record, store::kMarkName);
}

/// A receiver creates a segment's file before it writes to it. One that a power loss leaves so is
/// no WAL after a hole.
TEST(ArchivesOfRecovery, TakeAPartialSegmentWithoutWalForNoWal) {
  WalBuilder wal({.switch_every = 0});
  wal.grow_to(kSize.start(6));
  const test::TemporaryDirectory archive;
  put(archive, wal, 1, 3);
  const auto text = [&](std::uint64_t segno, std::uint64_t bytes) {
    const auto content = ArchiveBuilder::content(wal, segno).first(bytes);
    std::string front(reinterpret_cast<const char*>(content.data()), content.size());
    front.resize(kSize.bytes());
    return front;
  };
  const auto name = [&](std::uint64_t segno) {
    return ArchiveBuilder::name(wal, segno, codec::Method::none, true);
  };
  const auto point = backup(wal.fork_point(kSize.start(1) + 100'000), std::nullopt, 0);
  const auto goes_on = [&](std::uint64_t segno) {
    ArchivesOfRecovery archives({.directories = {archive.path()}});
    return archives.way(point, std::nullopt).goes_on(kSize.start(segno));
  };
  // Only created; with its size; with the content of the file that was recycled.
  for (const auto& content : {std::string(), text(4, 0), text(1, kSize.bytes())}) {
    archive.write(name(3), content);
    EXPECT_EQ(goes_on(3), std::nullopt) << "nothing was written after the complete ones";
    archive.write(name(3), text(3, 500'000));
    archive.write(name(4), content);
    EXPECT_EQ(goes_on(4), std::nullopt) << "the WAL ends in the one before";
  }
  archive.write(name(4), text(4, 300'000));
  EXPECT_EQ(goes_on(4), kSize.start(4));
  archive.write(name(4), "");
  put(archive, wal, 5, 6);
  EXPECT_EQ(goes_on(4), kSize.start(5));
}

/// The pg_wal of a server was copied into the archive, with the files that it had renamed for later
/// use.
TEST(ArchivesOfRecovery, SayWhatARecycledFileIs) {
  WalBuilder one({.switch_every = 0});
  one.grow_to(kSize.start(6));
  const auto point =
      backup(one.fork_point(kSize.start(2) + 100'000), one.fork_point(kSize.start(2) + 200'000), 1);
  const test::TemporaryDirectory archive;
  const auto text = [&](std::uint64_t segno) {
    const auto content = ArchiveBuilder::content(one, segno);
    return std::string(reinterpret_cast<const char*>(content.data()), content.size());
  };
  const auto look = [&] {
    ArchivesOfRecovery archives({.directories = {archive.path()}});
    return recovery::look_through(archives.way(point, std::nullopt), point, {},
                                  [] { return false; });
  };
  const auto name = [&](std::uint64_t segno) { return ArchiveBuilder::name(one, segno); };
  put(archive, one, 2, 4);
  auto last = text(4).substr(0, one.complete_end(kSize.start(4) + 500'000) - kSize.start(4));
  last.resize((last.size() + wal::kPageSize - 1) / wal::kPageSize * wal::kPageSize);
  archive.write(name(4), last + text(1).substr(last.size()));
  archive.write(name(5), text(1));
  auto promise = look();
  EXPECT_EQ(promise.obstacle, recovery::Obstacle::damage);
  EXPECT_NE(promise.hint.find("rename it to " + name(4) + ".partial"), std::string::npos)
      << promise.hint;
  std::filesystem::remove(archive.path(name(4)));
  put(archive, one, 4, 5);
  promise = look();
  EXPECT_EQ(promise.position, one.complete_end(kSize.start(5)));
  EXPECT_NE(promise.problem.find("(old content of a recycled file)"), std::string::npos)
      << promise.problem;
  EXPECT_NE(promise.hint.find("which prepares files for later use, move it out"), std::string::npos)
      << promise.hint;
}

/// "restore --up-to-damage" delivers it.
TEST(ArchivesOfRecovery, ReadWhatPrecedesTheDamageOfAFile) {
  WalBuilder one({.switch_every = 0});
  one.grow_to(kSize.start(5));
  const auto point =
      backup(one.fork_point(kSize.start(1) + 100'000), one.fork_point(kSize.start(1) + 200'000), 1);
  for (const auto method : {codec::Method::none, codec::Method::zstd}) {
    SCOPED_TRACE(codec::suffix(method));
    const test::TemporaryDirectory archive;
    put(archive, one, 1, 3);
    auto content = verify::packed(method, ArchiveBuilder::content(one, 3));
    content.resize(content.size() / 2);
    const auto file = archive.write(ArchiveBuilder::name(one, 3, method), test::text_of(content));
    using Clock = std::filesystem::file_time_type::clock;
    std::filesystem::last_write_time(file, Clock::now() - std::chrono::hours(1));
    const auto look = [&](const recovery::Target& target) {
      ArchivesOfRecovery archives({.directories = {archive.path()}});
      return recovery::look_through(archives.way(point, std::nullopt), point, target,
                                    [] { return false; });
    };
    auto promise = look({});
    EXPECT_EQ(promise.obstacle, recovery::Obstacle::damage);
    EXPECT_GT(promise.position, kSize.start(3) + 300'000);
    if (method == codec::Method::none) {
      EXPECT_EQ(promise.position, one.complete_end(kSize.start(3) + kSize.bytes() / 2));
    }
    const auto last = promise.last_record;
    EXPECT_NE(promise.hint.find("\"--to " + last.to_string() + "\" recovers"), std::string::npos)
        << promise.hint;
    promise = look({.kind = recovery::Target::Kind::lsn, .lsn = last});
    EXPECT_EQ(promise.problem, "");
    EXPECT_EQ(promise.last_record, last);
    EXPECT_TRUE(promise.damage_behind);
    // Another copy of it is valid.
    put(archive, one, 3, 4);
    EXPECT_EQ(look({}).problem, "");
  }
}

/// "restore" does not deliver it without "--up-to-damage".
TEST(ArchivesOfRecovery, DoNotPassAFileThatIsTooLong) {
  WalBuilder one({.switch_every = 0});
  one.grow_to(kSize.start(3) + 500'000);
  ASSERT_TRUE(one.append_switch());
  const auto end = one.end();
  one.grow_to(kSize.start(6));
  const auto point =
      backup(one.fork_point(kSize.start(1) + 100'000), one.fork_point(kSize.start(1) + 200'000), 1);
  for (const auto method : {codec::Method::none, codec::Method::zstd}) {
    SCOPED_TRACE(codec::suffix(method));
    const test::TemporaryDirectory archive;
    put(archive, one, 1, 6);
    std::filesystem::remove(archive.path(ArchiveBuilder::name(one, 3)));
    auto content = verify::packed(method, ArchiveBuilder::content(one, 3));
    content.resize(content.size() + 100, std::byte{1});
    const auto file = archive.write(ArchiveBuilder::name(one, 3, method), test::text_of(content));
    using Clock = std::filesystem::file_time_type::clock;
    std::filesystem::last_write_time(file, Clock::now() - std::chrono::hours(1));
    ArchivesOfRecovery archives({.directories = {archive.path()}});
    const auto promise =
        recovery::look_through(archives.way(point, std::nullopt), point, {}, [] { return false; });
    EXPECT_EQ(promise.obstacle, recovery::Obstacle::damage);
    EXPECT_EQ(promise.position, end);
  }
}

TEST(ArchivesOfRecovery, TakeTheZerosInTheBackupsOwnWalForItsEnd) {
  WalBuilder wal({.switch_every = 0});
  wal.grow_to(kSize.start(6));
  const auto content = [&](std::uint64_t segno, Lsn end) {
    const auto bytes = ArchiveBuilder::content(wal, segno).first(end - kSize.start(segno));
    std::string front(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    front.resize(kSize.bytes());
    return front;
  };
  const auto name = [&](std::uint64_t segno, bool partial = false) {
    return ArchiveBuilder::name(wal, segno, codec::Method::none, partial);
  };
  const auto start = wal.fork_point(kSize.start(1) + 100'000);
  const auto point = backup(start, wal.fork_point(kSize.start(2) + 100'000), 1);
  // It ends with a record, or at the end of a page within a record.
  const auto end = wal.fork_point(kSize.start(3) + 500'000);
  const auto page_of = [](Lsn at) { return at.byte() / wal::kPageSize; };
  const auto& records = wal.records();
  const auto torn = std::find_if(records.begin(), records.end(), [&](const auto& each) {
    return each.start > end && each.kind == WalBuilder::Kind::ordinary &&
           page_of(each.start) < page_of(Lsn(each.end.byte() - 1));
  });
  ASSERT_NE(torn, records.end());
  const Lsn page(page_of(Lsn(torn->end.byte() - 1)) * wal::kPageSize);
  ASSERT_EQ(kSize.segno(page), 3U);
  ASSERT_NE(kSize.offset(page), 0U);

  const test::TemporaryDirectory archive, own;
  put(archive, wal, 1, 3);
  const auto look = [&](bool is_own = true) {
    ArchivesOfRecovery archives({.directories = {archive.path(), own.path()}}, false,
                                is_own ? std::optional<std::size_t>(1) : std::nullopt);
    return recovery::look_through(archives.way(point, std::nullopt), point, {},
                                  [] { return false; });
  };
  for (const auto zeros : {end, page}) {
    own.write(name(3), content(3, zeros));
    const auto promise = look();
    EXPECT_EQ(promise.problem, "");
    EXPECT_EQ(promise.position, wal.complete_end(zeros));
    ASSERT_TRUE(promise.damage_behind);
    EXPECT_TRUE(promise.damage_behind->is_padding);
    EXPECT_EQ(promise.damage_behind->segment, name(3));
    EXPECT_EQ(look(false).obstacle, recovery::Obstacle::damage) << "an archive has no such segment";
  }
  // A wrong checksum of the last record, and a byte after its zeros.
  constexpr std::uint64_t kCrcAt = 20;
  const auto last = std::find_if(records.begin(), records.end(),
                                 [&](const auto& each) { return each.end == end; });
  ASSERT_NE(last, records.end());
  for (const auto offset :
       {kSize.offset(wal.byte_of_record(last->start, kCrcAt)), kSize.bytes() - 1}) {
    auto damaged = content(3, end);
    damaged.at(offset) = static_cast<char>(damaged.at(offset) ^ 1);
    own.write(name(3), damaged);
    EXPECT_EQ(look().obstacle, recovery::Obstacle::damage) << offset;
  }
  own.write(name(3), content(3, end));
  archive.write(name(3, true), content(3, end + 100'000));
  EXPECT_EQ(look().obstacle, recovery::Obstacle::damage) << "it is not the end";
  archive.write(name(3, true), content(3, Lsn(end.byte() - 100'000)));
  EXPECT_EQ(look().problem, "");
  // And WAL after it.
  put(archive, wal, 4, 5);
  EXPECT_EQ(look().obstacle, recovery::Obstacle::damage);
}

}  // namespace
}  // namespace weir::cli::recovery_archives_test

#include "archive/last_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <utility>

#include "io/posix_directory.h"
#include "support/backup_builder.h"

namespace weir::archive::last_check_test {
namespace {

using namespace std::chrono_literals;
using Kind = LastCheck::Kind;

constexpr std::chrono::system_clock::time_point kNow(1'795'305'600s);

LastCheck check_of(bool passed, bool whole, std::uint64_t end) {
  return {.time = kNow,
          .passed = passed,
          .whole = whole,
          .timeline = 2,
          .from = wal::Lsn(0x1000000),
          .to = wal::Lsn(end),
          .problems = passed ? 0U : 3U,
          .problem = passed ? "" : "a \"name\" and\nmore"};
}

TEST(LastCheck, IsReadAsItWasKeptEachKindByItself) {
  const test::TemporaryDirectory place;
  const auto directory = io::open_existing_directory(place.path(""));
  EXPECT_EQ(read_last_check(*directory, Kind::verify), std::nullopt);
  keep_last_check(directory->path(), Kind::verify, check_of(false, true, 0x9000000));
  EXPECT_EQ(read_last_check(*directory, Kind::verify), check_of(false, true, 0x9000000));
  EXPECT_EQ(read_last_check(*directory, Kind::drill), std::nullopt);
  keep_last_check(directory->path(), Kind::drill, check_of(true, true, 0x8000000));
  EXPECT_EQ(read_last_check(*directory, Kind::drill), check_of(true, true, 0x8000000));
  EXPECT_EQ(read_last_check(*directory, Kind::verify), check_of(false, true, 0x9000000));
}

TEST(LastCheck, OfAPartThatPassesDoesNotHideAFailure) {
  const test::TemporaryDirectory place;
  const auto directory = io::open_existing_directory(place.path(""));
  const auto keep = [&](const LastCheck& check) {
    keep_last_check(directory->path(), Kind::verify, check);
    return read_last_check(*directory, Kind::verify);
  };
  EXPECT_EQ(keep(check_of(true, false, 2)), check_of(true, false, 2));
  EXPECT_EQ(keep(check_of(false, false, 3)), check_of(false, false, 3));
  EXPECT_EQ(keep(check_of(true, false, 4)), check_of(false, false, 3));
  EXPECT_EQ(keep(check_of(true, true, 5)), check_of(true, true, 5));
}

TEST(LastCheck, OfAPartIsNotTheLastVerificationOfAllOfIt) {
  const test::TemporaryDirectory place;
  const auto directory = io::open_existing_directory(place.path(""));
  const auto keep = [&](Kind kind, const LastCheck& check) {
    keep_last_check(directory->path(), kind, check);
    return read_last_check(*directory, kind);
  };
  const auto whole = check_of(true, true, 1);
  const auto part = check_of(true, false, 2);
  const auto failed = check_of(false, false, 3);
  EXPECT_EQ(keep(Kind::verify, part), part);
  EXPECT_EQ(keep(Kind::verify, whole), whole);
  EXPECT_EQ(keep(Kind::verify, part), whole);
  EXPECT_EQ(keep(Kind::verify, failed), failed);
  // A drill to an earlier target is one, too.
  EXPECT_EQ(keep(Kind::drill, whole), whole);
  EXPECT_EQ(keep(Kind::drill, part), part);
}

TEST(LastCheck, ThatReadLessDoesNotHideAFailure) {
  using Beside = LastCheck::Beside;
  const test::TemporaryDirectory place;
  const auto directory = io::open_existing_directory(place.path(""));
  const auto keep = [&](bool passed, Beside beside) {
    auto check = check_of(passed, true, 1);
    check.beside = beside;
    keep_last_check(directory->path(), Kind::verify, check);
    const auto kept = read_last_check(*directory, Kind::verify);
    return std::pair(kept->passed, kept->beside);
  };
  EXPECT_EQ(keep(false, Beside::store), std::pair(false, Beside::store));
  EXPECT_EQ(keep(true, Beside::none), std::pair(false, Beside::store));
  EXPECT_EQ(keep(true, Beside::archive), std::pair(false, Beside::store));
  EXPECT_EQ(keep(false, Beside::none), std::pair(false, Beside::store)) << "found nothing about it";
  EXPECT_EQ(keep(true, Beside::none), std::pair(false, Beside::store));
  EXPECT_EQ(keep(true, Beside::store), std::pair(true, Beside::store));
  EXPECT_EQ(keep(true, Beside::none), std::pair(true, Beside::none));
  EXPECT_EQ(keep(false, Beside::archive), std::pair(false, Beside::archive));
  EXPECT_EQ(keep(true, Beside::none), std::pair(false, Beside::archive));
  EXPECT_EQ(keep(true, Beside::archive), std::pair(true, Beside::archive));
}

TEST(LastCheck, OfAnEarlierVersionIsReadAndReplaced) {
  const test::TemporaryDirectory place;
  const auto directory = io::open_existing_directory(place.path(""));
  place.write(".pgweir-last-verify",
              R"({"version":1,"directory_inode":1,"time":"2026-11-22 00:00:00.000 UTC",)"
              R"("passed":false,"whole":true,"timeline":1,"from":"0/1000000","to":"0/2000000",)"
              R"("problems":1,"problem":"damaged","backup":""})");
  const auto earlier = read_last_check(*directory, Kind::verify);
  ASSERT_TRUE(earlier);
  EXPECT_EQ(earlier->problem, "damaged");
  EXPECT_EQ(earlier->beside, LastCheck::Beside::none);
  keep_last_check(directory->path(), Kind::verify, check_of(true, true, 1));
  EXPECT_TRUE(read_last_check(*directory, Kind::verify)->passed);
}

TEST(LastCheck, OfACopiedDirectoryIsNotThatOfTheCopy) {
  const test::TemporaryDirectory place;
  std::filesystem::create_directory(place.path("one"));
  keep_last_check(place.path("one"), Kind::verify, check_of(true, true, 1));
  std::filesystem::copy(place.path("one"), place.path("two"));
  EXPECT_EQ(read_last_check(*io::open_existing_directory(place.path("one")), Kind::verify),
            check_of(true, true, 1));
  EXPECT_EQ(read_last_check(*io::open_existing_directory(place.path("two")), Kind::verify),
            std::nullopt);
  std::filesystem::rename(place.path("one"), place.path("moved"));
  EXPECT_EQ(read_last_check(*io::open_existing_directory(place.path("moved")), Kind::verify),
            check_of(true, true, 1));
}

/// The inode may change with each mount (FUSE).
TEST(LastCheck, ThatFailedCountsInADirectoryWithAnotherInode) {
  const test::TemporaryDirectory place;
  std::filesystem::create_directory(place.path("one"));
  keep_last_check(place.path("one"), Kind::verify, check_of(false, true, 1));
  std::filesystem::copy(place.path("one"), place.path("two"));
  EXPECT_EQ(read_last_check(*io::open_existing_directory(place.path("two")), Kind::verify),
            check_of(false, true, 1));
}

TEST(LastCheck, IsNotKeptInAServersDirectory) {
  const test::TemporaryDirectory place;
  const auto directory = io::open_existing_directory(place.path(""));
  std::filesystem::create_directory(place.path("archive_status"));
  EXPECT_THROW(keep_last_check(directory->path(), Kind::verify, check_of(true, true, 1)), Error);
  EXPECT_EQ(read_last_check(*directory, Kind::verify), std::nullopt);
}

TEST(LastCheck, NamesItsRange) {
  EXPECT_EQ(check_of(true, true, 0x9000000).range(), "0/1000000 to 0/9000000 on timeline 2");
  EXPECT_EQ((LastCheck{.to = wal::Lsn(0x9000000)}).range(), "up to 0/9000000");
  EXPECT_EQ(LastCheck{}.range(), "");
}

TEST(LastCheck, ThatCannotBeReadIsNone) {
  const test::TemporaryDirectory place;
  const auto directory = io::open_existing_directory(place.path(""));
  for (const auto* text : {"", "{", "[]", "{}", R"({"version":1,"time":1})", R"({"version":2})"}) {
    place.write(".pgweir-last-verify", text);
    EXPECT_EQ(read_last_check(*directory, Kind::verify), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace weir::archive::last_check_test

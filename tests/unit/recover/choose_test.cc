#include "recover/choose.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "recover/places.h"
#include "support/error_of.h"

namespace weir::recover::choose_test {
namespace {

using test::error_of;
using ::testing::ElementsAre;

Candidate candidate(const std::string& path, std::uint64_t start, std::uint64_t parent = 0) {
  archive::BackupPoint point{.timeline = 1, .start = wal::Lsn(start)};
  point.end = wal::Lsn(start + 0x100);
  if (parent != 0) point.parent = archive::BackupPoint::Parent{1, wal::Lsn(parent)};
  return {.path = path, .point = point};
}

std::vector<std::string> paths(const std::vector<const Candidate*>& candidates) {
  std::vector<std::string> names;
  for (const auto* each : candidates) names.push_back(each->path);
  return names;
}

TEST(Candidates, AreTakenNewestFirst) {
  std::vector<Candidate> all = {candidate("a", 0x100), candidate("c", 0x900),
                                candidate("b", 0x300)};
  all[1].point.reset();
  EXPECT_THAT(paths(newest_first(all)), ElementsAre("b", "a", "c"));
}

TEST(Candidates, BuildUponOthersThatAreThere) {
  const std::vector<Candidate> all = {candidate("full", 0x100), candidate("one", 0x200, 0x100),
                                      candidate("two", 0x300, 0x200),
                                      candidate("orphan", 0x400, 0x350)};
  EXPECT_THAT(paths(*builds_upon(all[2], all)), ElementsAre("full", "one"));
  EXPECT_TRUE(builds_upon(all[0], all)->empty());
  EXPECT_FALSE(builds_upon(all[3], all));
  // An incomplete backup is no base for others.
  auto broken = all;
  broken[0].problem = "its file base/1 is missing";
  EXPECT_FALSE(builds_upon(broken[2], broken));
  // Tar files cannot be combined, their extracted copy can.
  auto copies = all;
  copies[0].in_tar = true;
  EXPECT_THAT(paths(*builds_upon(copies[2], copies)), ElementsAre("full", "one"));
  copies.push_back(candidate("extracted", 0x100));
  EXPECT_THAT(paths(*builds_upon(copies[2], copies)), ElementsAre("extracted", "one"));
}

TEST(Mapping, IsReadAsPgBasebackupReadsIt) {
  const auto pair = [](const char* from, const char* to) {
    return std::pair(std::string(from), std::string(to));
  };
  EXPECT_EQ(parse_mapping("/old=/new"), pair("/old", "/new"));
  EXPECT_EQ(parse_mapping("/o\\=ld=/n\\=ew/"), pair("/o=ld", "/n=ew"));
  EXPECT_EQ(parse_mapping("../../tablespaces/1=/new").first, "../../tablespaces/1");
  for (const auto* wrong : {"", "/old", "=/new", "/old=", "/old=new"})
    EXPECT_EQ(error_of([&] { static_cast<void>(parse_mapping(wrong)); }).kind(), ErrorKind::usage)
        << wrong;
}

TEST(RecoverReport, TellsAnotherCallWhereItStands) {
  Report report;
  report.state = State::prepared;
  report.into = "/srv/pg/main";
  report.backup = "/srv/backup/sunday";
  report.target = "latest";
  report.timeline = 3;
  report.promised = wal::Lsn(0x3000148);
  report.promised_commit = wal::Commit{
      .start = wal::Lsn(0x3000100), .end = {}, .transaction = 4711, .time = {1'000'000}};
  report.tablespaces = {{"16385", "/old", "/new"}};
  const auto left = parse_left(report_json(report, "the words"));
  ASSERT_TRUE(left);
  EXPECT_EQ(left->state, State::prepared);
  EXPECT_EQ(left->words, "the words");
  EXPECT_EQ(left->report.promised, report.promised);
  EXPECT_EQ(left->report.promised_commit->start, report.promised_commit->start);
  EXPECT_EQ(left->report.promised_commit->transaction, 4711);
  EXPECT_EQ(left->report.tablespaces.at(0).to, "/new");
  EXPECT_EQ(left->report.timeline, 3);
  for (const auto* wrong : {"", "{", "{}", "[]", R"({"words": 1})", R"({"words": "x"})"})
    EXPECT_FALSE(parse_left(wrong)) << wrong;
}

}  // namespace
}  // namespace weir::recover::choose_test

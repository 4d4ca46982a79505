#include "recover/choose.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/error.h"
#include "recover/places.h"
#include "support/append_checkpoint.h"
#include "support/backup_builder.h"
#include "support/error_of.h"
#include "support/wal_builder.h"
#include "wal/records.h"

namespace weir::recover::choose_test {
namespace {

using test::error_of;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

Candidate candidate(const std::string& path, std::uint64_t start, std::uint64_t parent = 0) {
  archive::BackupPoint point{.timeline = 1, .start = wal::Lsn(start)};
  point.end = wal::Lsn(start + 0x100);
  if (parent != 0) point.parent = archive::BackupPoint::Parent{1, wal::Lsn(parent)};
  return {.path = path, .point = point};
}

/// Of two archives the second does not answer.
class NoArchives final : public recovery::Archives {
 public:
  recovery::Way way(const archive::BackupPoint&, std::optional<wal::TimelineId>) override {
    throw Error(ErrorKind::gap, "the archive has no WAL of the backup's timeline");
  }
  std::vector<Silence> silent() override {
    return {{1, Error(ErrorKind::retry, "connection refused")}};
  }
  std::optional<wal::TimelineId> newest_timeline() override { return 1; }
  std::optional<WithoutWal> newest_without_wal() override { return std::nullopt; }
};

/// The archive's WAL begins after the backup.
class LaterWal final : public recovery::Archives, public archive::WalSource {
 public:
  recovery::Way way(const archive::BackupPoint&, std::optional<wal::TimelineId>) override {
    return {.source = *this,
            .history = wal::TimelineHistory(1),
            .segment_size = {},
            .goes_on = [](wal::Lsn) { return wal::Lsn(0x9000000); },
            .unfinished = [] { return false; },
            .is_finished = [](wal::Lsn) { return false; },
            .complete_after = [](wal::Lsn) { return std::nullopt; },
            .has_wal_after_damage = [](wal::Lsn) { return false; },
            .has_another_copy = [] { return false; }};
  }
  std::vector<Silence> silent() override { return {}; }
  std::optional<wal::TimelineId> newest_timeline() override { return 1; }
  std::optional<WithoutWal> newest_without_wal() override { return std::nullopt; }
  Read read(wal::Lsn, std::span<std::byte>) override { return {}; }
};

/// What a server has written, as far as it is archived.
struct Archived {
  testing::WalBuilder& server;
  wal::Lsn end;
  std::optional<wal::Lsn> missing{};  ///< the segment with this byte
  std::optional<wal::Lsn> damaged{};  ///< this byte
  std::optional<wal::TimelineId> missing_history{};
  std::optional<wal::Lsn> end_with_own{};  ///< with the backup's own WAL
};

class OneArchive final : public recovery::Archives, public archive::WalSource {
 public:
  explicit OneArchive(const Archived& content) : content_(content) {}

  recovery::Way way(const archive::BackupPoint& backup, std::optional<wal::TimelineId>) override {
    if (backup.timeline > 1)
      throw Error(ErrorKind::gap, "the archive has no WAL of the backup's timeline");
    return {.source = *this,
            .history = wal::TimelineHistory(1),
            .segment_size = size(),
            .system_identifier = content_.server.options().system_identifier,
            .goes_on = [this](wal::Lsn at) -> std::optional<wal::Lsn> {
              if (is_missing(at)) at = size().start(size().segno(at) + 1);
              return at < content_.end ? std::optional(at) : std::nullopt;
            },
            .unfinished = [] { return false; },
            .is_finished = [](wal::Lsn) { return false; },
            .complete_after = [](wal::Lsn) { return std::nullopt; },
            .has_wal_after_damage = [](wal::Lsn) { return false; },
            .is_left_before = [](wal::Lsn) { return false; },
            .is_padding = [](wal::Lsn) { return false; },
            .has_another_copy = [] { return false; },
            .missing_history = content_.missing_history};
  }
  std::vector<Silence> silent() override { return {}; }
  std::optional<wal::TimelineId> newest_timeline() override { return 1; }
  std::optional<WithoutWal> newest_without_wal() override { return std::nullopt; }
  Read read(wal::Lsn at, std::span<std::byte> into) override {
    if (is_missing(at)) return {State::gone, 0, std::nullopt};
    if (at >= content_.end) return {State::end, 0, std::nullopt};
    const auto stop = std::min(content_.end, size().start(size().segno(at) + 1));
    const auto count = std::min<std::uint64_t>(into.size(), stop - at);
    const auto wal = content_.server.bytes(at, at + count);
    std::copy(wal.begin(), wal.end(), into.begin());
    if (const auto& byte = content_.damaged; byte && at <= *byte && *byte < at + count)
      into[*byte - at] = into[*byte - at] ^ std::byte{1};
    return {State::bytes, count, std::nullopt};
  }

 private:
  [[nodiscard]] wal::SegmentSize size() const { return content_.server.options().segment_size; }
  [[nodiscard]] bool is_missing(wal::Lsn at) const {
    return content_.missing && size().segno(*content_.missing) == size().segno(at);
  }

  const Archived content_;
};

/// Two backups of a server, and WAL of some segments before, between and after them.
class ChooseOfTwo : public ::testing::Test {
 protected:
  ChooseOfTwo() {
    commit(50);
    backup(older_);
    before_ = commit(100);
    commit(300);
    end_ = wal_.end();
    fill();
    backup(newer_);
  }

  wal::Lsn commit(std::int64_t time) { return append(wal::kTransactionManager, 0x00, time); }
  void fill() {
    for (unsigned i = 0; i < 500; ++i) wal_.append_random(5000);
  }
  void backup(const test::TemporaryDirectory& directory) {
    const auto start = wal_.append_random(2000).start;
    const auto checkpoint = testing::append_checkpoint(wal_, start);
    append(wal::kXlogManager, static_cast<std::uint8_t>(wal::XlogRecord::backup_end),
           static_cast<std::int64_t>(start.byte()));
    directory.write("PG_VERSION", "18\n");
    directory.write("backup_label", test::backup_label(start, 1, wal_.options().segment_size));
    backups_.push_back(candidate(directory.path(), start.byte()));
    backups_.back().point->end = wal_.end();
    backups_.back().point->checkpoint = checkpoint;
  }
  /// The path of the backup; "": there is none.
  std::string choice(const recovery::Target& target, const Archived& archived,
                     const std::optional<std::string>& standby = std::nullopt) {
    Options options;
    options.standby = standby;
    options.open = [&](const std::vector<std::string>& more) {
      auto content = archived;
      if (!more.empty()) content.missing_history.reset();
      if (!more.empty()) content.end = content.end_with_own.value_or(content.end);
      return std::make_unique<OneArchive>(content);
    };
    options.tell = [](const std::string&) {};
    options.stop = [] { return false; };
    options.backups = backups_;
    options.target = target;
    options.timeline = timeline_;
    report_ = {};
    const auto chosen = choose(options, report_);
    commit_ = chosen && chosen->promise.commit ? chosen->promise.commit->start : wal::Lsn();
    return chosen ? chosen->backup.path : "";
  }
  static recovery::Target at(std::int64_t time) {
    return {.kind = recovery::Target::Kind::time, .time = {time}};
  }
  static recovery::Target at(wal::Lsn lsn) {
    return {.kind = recovery::Target::Kind::lsn, .lsn = lsn};
  }

  testing::WalBuilder wal_{testing::WalBuilder::Options{}};
  const test::TemporaryDirectory older_, newer_;
  std::vector<Candidate> backups_;
  std::optional<wal::TimelineId> timeline_;  ///< --timeline
  wal::Lsn before_;                          ///< a commit between the backups
  wal::Lsn end_;                             ///< of the last one between them
  Report report_;
  wal::Lsn commit_;  ///< the last one that is recovered

 private:
  wal::Lsn append(std::uint8_t manager, std::uint8_t info, std::int64_t value) {
    std::array<std::byte, 2 + sizeof value> body = {std::byte{255}, std::byte{sizeof value}};
    std::memcpy(&body[2], &value, sizeof value);
    return wal_.append(manager, info, body).start;
  }
};

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
  // pg_combinebackup has made a full backup of the first two, of which one may be gone.
  auto combined = all;
  combined.push_back(candidate("combined", 0x200));
  EXPECT_THAT(paths(*builds_upon(combined[2], combined)), ElementsAre("combined"));
  combined.erase(combined.begin());
  EXPECT_THAT(paths(*builds_upon(combined[1], combined)), ElementsAre("combined"));
  combined.back().in_tar = true;
  EXPECT_FALSE(builds_upon(combined[1], combined));
  // Another cluster's full backup may have the same start, and be found first.
  auto foreign = all;
  for (auto& each : foreign) each.point->system_identifier = 1;
  foreign.insert(foreign.begin(), candidate("foreign", 0x100));
  foreign.front().point->system_identifier = 2;
  EXPECT_THAT(paths(*builds_upon(foreign[3], foreign)), ElementsAre("full", "one"));
}

TEST(Choose, TellsOfEachBackupThatCannotBeRead) {
  Options options;
  options.open = [](const auto&) { return std::make_unique<NoArchives>(); };
  options.tell = [](const std::string&) {};
  options.backups = {{.path = "monday", .problem = "Permission denied", .unreadable = true},
                     {.path = "tuesday", .problem = "damaged", .unreadable = true},
                     {.path = "tablespace", .problem = "it has no backup_label"}};
  Report report;
  EXPECT_FALSE(choose(options, report));
  EXPECT_THAT(report.passed_over, ElementsAre("monday: Permission denied", "tuesday: damaged"));
  EXPECT_THAT(report.problems, ElementsAre("no base backup that was found can be recovered"));
}

/// It may have what is missing, or a newer timeline.
TEST(Choose, NeedsTheAnswerOfEachArchiveUnlessItIsForAStandby) {
  const test::TemporaryDirectory backup;
  backup.write("PG_VERSION", "15\n");
  backup.write("backup_label",
               "START WAL LOCATION: 0/300028 (file 000000010000000000000003)\n"
               "CHECKPOINT LOCATION: 0/300060\nSTART TIMELINE: 1\n");
  Options options;
  options.open = [](const auto&) { return std::make_unique<NoArchives>(); };
  options.tell = [](const std::string&) {};
  options.archives = {"/srv/a", "/srv/b"};
  options.backups = {candidate(backup.path(), 0x300028)};
  Report report;
  const auto error = error_of([&] { static_cast<void>(choose(options, report)); });
  EXPECT_EQ(error.kind(), ErrorKind::io) << error.what();
  EXPECT_THAT(error.what(), HasSubstr("does not respond"));
  EXPECT_THAT(error.what(), HasSubstr("/srv/b"));
  EXPECT_THAT(error.what(), HasSubstr("connection refused"));
  EXPECT_THAT(error.hint(), HasSubstr("remove its -D or --store"));
  options.standby = "host=db1";
  EXPECT_FALSE(choose(options, report));
  EXPECT_THAT(report.passed_over, ElementsAre(HasSubstr("has no WAL of the backup's timeline")));
}

TEST(Choose, NamesTheWalOfABackupInTarFormatThatTheArchiveLacks) {
  const test::TemporaryDirectory backup;
  backup.write("base.tar", test::tar({{"backup_label", test::backup_label(wal::Lsn(0x3000028))}}));
  Options options;
  options.open = [](const auto&) { return std::make_unique<LaterWal>(); };
  options.tell = [](const std::string&) {};
  options.stop = [] { return false; };
  options.backups = {candidate(backup.path(), 0x3000028)};
  const auto hint = [&] {
    Report report;
    EXPECT_FALSE(choose(options, report));
    EXPECT_THAT(report.problems, ElementsAre(HasSubstr("WAL is missing in the archive")));
    return report.hints.at(0);
  };
  EXPECT_THAT(hint(), Not(HasSubstr("own WAL")));
  const auto file = backup.write("pg_wal.tar.gz", "x");
  EXPECT_THAT(hint(), HasSubstr("own WAL is in " + file + ": extract it"));
}

/// The receiver had ended, and backups were taken nevertheless.
TEST_F(ChooseOfTwo, TakesTheOlderOneForATargetBeforeTheEndOfTheArchive) {
  commit(400);
  const Archived archived{.server = wal_, .end = end_};
  for (const auto& target : {at(200), at(before_)}) {
    EXPECT_EQ(choice(target, archived), older_.path());
    EXPECT_EQ(commit_, before_);
    EXPECT_THAT(report_.passed_over, ElementsAre(HasSubstr("the archive ends before the target")));
  }
  EXPECT_EQ(choice(at(300), archived), "");
  EXPECT_THAT(report_.problems, ElementsAre(HasSubstr("the archive ends before the target")));
}

TEST_F(ChooseOfTwo, TakesTheOlderOneForATargetBeforeAHoleOrDamage) {
  const auto start = backups_.back().point->start;
  commit(400);
  fill();
  const auto damaged = wal_.byte_of_record(start, 100);
  for (const auto& archived : {Archived{.server = wal_, .end = wal_.end(), .missing = start},
                               Archived{.server = wal_, .end = wal_.end(), .damaged = damaged}}) {
    const auto* const obstacle = archived.missing ? "WAL is missing" : "is damaged";
    for (const auto& target : {at(200), at(before_)}) {
      EXPECT_EQ(choice(target, archived), older_.path());
      EXPECT_EQ(commit_, before_);
      EXPECT_THAT(report_.passed_over, ElementsAre(HasSubstr(obstacle)));
    }
    // Nor does an older one pass it.
    for (const auto& target : {at(350), at(wal_.end()), recovery::Target{}}) {
      EXPECT_EQ(choice(target, archived), "");
      EXPECT_THAT(report_.problems, ElementsAre(HasSubstr(obstacle)));
    }
  }
}

TEST_F(ChooseOfTwo, LooksAtNoOlderOneIfItWouldMeetTheSameObstacle) {
  commit(340);
  wal_.append_switch();
  const auto hole = wal_.end();
  fill();
  EXPECT_EQ(choice(at(350), {.server = wal_, .end = wal_.end(), .missing = hole}), "");
  EXPECT_THAT(report_.passed_over, ElementsAre());
  EXPECT_EQ(report_.backup, newer_.path());
  EXPECT_THAT(report_.problems, ElementsAre(HasSubstr("WAL is missing")));
}

/// The application was stopped, and a backup was taken for safety.
TEST_F(ChooseOfTwo, TakesTheOlderOneForATargetBeforeTheAccidentThatTheNewerOneContains) {
  const Archived archived{.server = wal_, .end = wal_.end()};
  EXPECT_EQ(choice(at(200), archived), older_.path());
  EXPECT_EQ(commit_, before_);
  EXPECT_THAT(report_.passed_over, ElementsAre(HasSubstr("the backup started after the target")));
  // Without an older one.
  backups_.erase(backups_.begin());
  EXPECT_EQ(choice(at(200), archived), "");
  EXPECT_THAT(report_.problems, ElementsAre(HasSubstr("the backup started after the target")));
  EXPECT_THAT(report_.hints, ElementsAre(Not(HasSubstr("latest"))));
}

/// The server was promoted, and the archive received nothing of the new timeline.
TEST_F(ChooseOfTwo, DoesNotTakeTheEndOfATimelineForTheLatestIfABackupIsOfANewerOne) {
  const Archived archived{.server = wal_, .end = wal_.end()};
  auto& newest = backups_.back();
  newest.point->timeline = newest.point->end_timeline = 2;
  newest.point->end = newest.point->checkpoint = std::nullopt;
  newer_.write("backup_label", test::backup_label(newest.point->start, 2));
  EXPECT_EQ(choice({}, archived), older_.path()) << "it may be of another cluster";
  newest.point->system_identifier = wal_.options().system_identifier;
  EXPECT_EQ(choice({}, archived), "");
  EXPECT_THAT(report_.problems,
              ElementsAre(HasSubstr("although timeline 2 is newer: the backup " + newer_.path())));
  EXPECT_THAT(report_.hints, ElementsAre(HasSubstr("\"--timeline 1\" recovers without them")));
  EXPECT_THAT(report_.passed_over, ElementsAre(HasSubstr("no WAL of the backup's timeline")));
  EXPECT_EQ(report_.backup, older_.path());
  EXPECT_EQ(choice({}, archived, "host=db1"), older_.path()) << "it streams that timeline";
  // To another target, it is a note.
  EXPECT_EQ(choice(at(200), archived), older_.path());
  EXPECT_THAT(report_.notes, ElementsAre(HasSubstr("although timeline 2 is newer")));
  timeline_ = 1;
  EXPECT_EQ(choice({}, archived), older_.path());
  EXPECT_THAT(report_.notes, ElementsAre());
}

TEST_F(ChooseOfTwo, TakesAHistoryFromTheBackupsOwnWal) {
  const Archived archived{.server = wal_, .end = wal_.end(), .missing_history = 2};
  EXPECT_EQ(choice({}, archived), "");
  ASSERT_FALSE(report_.problems.empty());
  EXPECT_THAT(report_.problems[0], HasSubstr("00000002.history"));
  newer_.write("pg_wal/" + wal::SegmentName(1, 1, wal_.options().segment_size).to_string(), "");
  EXPECT_EQ(choice({}, archived), newer_.path());
}

/// Whether the server has written more is unknown.
TEST_F(ChooseOfTwo, TellsThatTheLatestIsTheEndOfTheBackupsOwnWal) {
  const auto end = *backups_.back().point->end;
  newer_.write("pg_wal/" + wal::SegmentName(1, 1, wal_.options().segment_size).to_string(), "");
  commit(400);
  const Archived archived{.server = wal_, .end = end_, .end_with_own = end};
  EXPECT_EQ(choice({}, archived), newer_.path());
  EXPECT_THAT(report_.notes,
              ElementsAre(HasSubstr("the archive has no WAL of timeline 1 after that in the "
                                    "backup, which ends at " +
                                    end.to_string())));
  EXPECT_EQ(choice({.kind = recovery::Target::Kind::immediate}, archived), newer_.path());
  EXPECT_THAT(report_.notes, ElementsAre()) << "it does not reach beyond the backup";
  EXPECT_EQ(choice({}, archived, "host=db1"), newer_.path());
  EXPECT_THAT(report_.notes, ElementsAre()) << "it streams the rest";
  EXPECT_EQ(choice({}, {.server = wal_, .end = wal_.end(), .end_with_own = end}), newer_.path());
  EXPECT_THAT(report_.notes, ElementsAre()) << "the archive has all of it";
}

/// What it streams does not help: it may have replayed WAL that the newer timeline has left.
TEST_F(ChooseOfTwo, MakesNoStandbyThatWouldStayOnAnOlderTimeline) {
  const Archived archived{.server = wal_, .end = wal_.end(), .missing_history = 2};
  EXPECT_EQ(choice({}, archived, "host=db1"), "");
  EXPECT_THAT(report_.problems, ElementsAre(HasSubstr("00000002.history")));
  EXPECT_THAT(report_.hints, ElementsAre(HasSubstr("pgweir receive")));
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
  report.id = "5f3a";
  const auto left = parse_left(report_json(report, "the words"));
  ASSERT_TRUE(left);
  EXPECT_EQ(left->state, State::prepared);
  EXPECT_EQ(left->words, "the words");
  EXPECT_EQ(left->report.promised, report.promised);
  EXPECT_EQ(left->report.promised_commit->start, report.promised_commit->start);
  EXPECT_EQ(left->report.promised_commit->transaction, 4711);
  EXPECT_EQ(left->report.tablespaces.at(0).to, "/new");
  EXPECT_EQ(left->report.id, "5f3a");
  EXPECT_EQ(left->report.timeline, 3);
  for (const auto* wrong : {"", "{", "{}", "[]", R"({"words": 1})", R"({"words": "x"})"})
    EXPECT_FALSE(parse_left(wrong)) << wrong;
}

}  // namespace
}  // namespace weir::recover::choose_test

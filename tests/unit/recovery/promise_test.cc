#include "recovery/promise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "recovery/settings.h"
#include "support/append_checkpoint.h"
#include "support/error_of.h"
#include "support/wal_builder.h"
#include "wal/page.h"
#include "wal/records.h"

namespace weir::recovery::promise_test {
namespace {

using testing::WalBuilder;
using State = archive::WalSource::State;

const auto kSize = *wal::SegmentSize::of(1 << 20);

std::vector<std::byte> body_of(std::span<const std::byte> data) {
  std::vector<std::byte> body = {std::byte{255}, std::byte(data.size())};
  body.insert(body.end(), data.begin(), data.end());
  return body;
}

/// The WAL of a builder, as far as it is "there".
class Source final : public archive::WalSource {
 public:
  explicit Source(WalBuilder& builder) : builder_(builder) {}

  Read read(wal::Lsn at, std::span<std::byte> into) override {
    const auto segno = kSize.segno(at);
    if (at < builder_.options().start) return {State::gone, 0, std::nullopt};
    if (missing.contains(segno)) return {State::gone, 0, std::nullopt};
    if (late.erase(segno) > 0) return {State::gone, 0, std::nullopt};
    if (at >= end) return {State::end, 0, std::nullopt};
    if (segno == unreadable) return {State::damaged, 0, read_error};
    if (kSize.start(segno) >= end) return {State::gone, 0, std::nullopt};
    const auto stop = std::min(end, kSize.start(segno + 1));
    const auto count = std::min<std::uint64_t>({into.size(), stop - at, 50'000});
    const auto wal = builder_.bytes(at, at + count);
    std::copy(wal.begin(), wal.end(), into.begin());
    if (damaged && at <= *damaged && *damaged < at + count)
      into[*damaged - at] = into[*damaged - at] ^ std::byte{1};
    for (auto page = at.byte() / wal::kPageSize * wal::kPageSize; magic && page < at.byte() + count;
         page += wal::kPageSize)
      if (page >= at.byte()) std::memcpy(&into[page - at.byte()], &*magic, sizeof *magic);
    if (zeros_from && kSize.segno(*zeros_from) == segno && *zeros_from < at + count)
      std::fill(into.begin() + (std::max(at, *zeros_from) - at), into.begin() + count,
                std::byte{0});
    return {State::bytes, count, std::nullopt};
  }

  std::optional<Padded> padded(wal::Lsn at) override {
    if (!published || !zeros_from || kSize.segno(at) != kSize.segno(*zeros_from))
      return std::nullopt;
    if (published->continues) zeros_from.reset();
    return published;
  }

  bool was_uploaded(wal::Lsn at) override { return uploaded == kSize.segno(at); }

  wal::Lsn end;
  std::optional<std::uint64_t> uploaded;
  std::set<std::uint64_t> missing;
  std::set<std::uint64_t> late;  ///< at the first look
  std::optional<wal::Lsn> damaged;
  std::optional<std::uint64_t> unreadable;
  Error read_error{ErrorKind::damage, "it cannot be unpacked"};  ///< of that one
  std::optional<std::uint16_t> magic;                            ///< of all pages
  std::optional<wal::Lsn> zeros_from;                            ///< up to the end of its segment
  std::optional<Padded> published;                               ///< what is known of that one

 private:
  WalBuilder& builder_;
};

class PromiseTest : public ::testing::Test {
 protected:
  PromiseTest() : builder_({}), source_(builder_) {
    builder_.append_random(3000);
    begin_backup();
  }

  void begin_backup() {
    backup_.timeline = 1;
    backup_.start = builder_.append_random(2000).start;
    end_backup();
  }
  /// Without this record no recovery opens the database.
  void end_backup() {
    const auto start = backup_.start.byte();
    std::vector<std::byte> data(sizeof start);
    std::memcpy(data.data(), &start, sizeof start);
    builder_.append(wal::kXlogManager, static_cast<std::uint8_t>(wal::XlogRecord::backup_end),
                    body_of(data));
  }

  /// Returns where the record begins.
  wal::Lsn commit(std::int64_t time, bool aborted = false) {
    std::vector<std::byte> data(sizeof time);
    std::memcpy(data.data(), &time, sizeof time);
    const auto& record =
        builder_.append(wal::kTransactionManager, aborted ? 0x20 : 0x00, body_of(data));
    return record.start;
  }
  void fill(unsigned records) {
    for (unsigned i = 0; i < records; ++i) builder_.append_random(5000);
  }

  Promise look(const Target& target = {}) {
    if (!source_.end.valid()) source_.end = builder_.end();
    const Way way{.source = source_,
                  .history = wal::TimelineHistory(1),
                  .segment_size = kSize,
                  .system_identifier = builder_.options().system_identifier,
                  .goes_on = [this](wal::Lsn at) -> std::optional<wal::Lsn> {
                    for (auto segno = (at.byte() + kSize.bytes() - 1) / kSize.bytes();
                         kSize.start(segno) < source_.end; ++segno)
                      if (!source_.missing.contains(segno)) return kSize.start(segno);
                    return std::nullopt;
                  },
                  .unfinished = [this] { return unfinished_; },
                  .is_finished = [this](wal::Lsn) { return finished_since_; },
                  .complete_after = [this](wal::Lsn at) -> std::optional<wal::Lsn> {
                    if (!complete_ || at > *complete_) return std::nullopt;
                    return complete_;
                  },
                  .has_wal_after_damage = [this](wal::Lsn) { return wal_after_damage_; },
                  .is_left_before = [this](wal::Lsn at) { return left_at_ && *left_at_ <= at; },
                  .is_padding = [this](wal::Lsn at) { return padding_from_ == at; },
                  .has_another_copy =
                      [this] {
                        if (copies_ == 0) return false;
                        --copies_;
                        source_.damaged.reset();
                        source_.unreadable.reset();
                        return true;
                      },
                  .missing_history = missing_history_};
    return look_through(way, backup_, target, [] { return false; });
  }

  WalBuilder builder_;
  Source source_;
  archive::BackupPoint backup_;
  bool unfinished_ = false;
  bool finished_since_ = false;
  std::optional<wal::Lsn> complete_;      ///< start of a complete segment after partial ones
  bool wal_after_damage_ = false;         ///< in the partial segment
  std::optional<wal::Lsn> left_at_;       ///< where a later timeline begins
  std::optional<wal::Lsn> padding_from_;  ///< zeros of the backup's own WAL
  int copies_ = 0;
  std::optional<wal::TimelineId> missing_history_;
};

TEST_F(PromiseTest, IsTheEndOfTheLastRecordAndTheLastCommit) {
  commit(100);
  fill(500);  // over segments
  const auto last = commit(200);
  commit(300, true);
  const auto end = builder_.end();
  const auto promise = look();
  EXPECT_EQ(promise.problem, "");
  EXPECT_EQ(promise.position, end);
  EXPECT_EQ(promise.last_record, builder_.records().back().start);
  ASSERT_TRUE(promise.commit);
  EXPECT_EQ(promise.commit->start, last);
  EXPECT_EQ(promise.bytes, end - backup_.start);
  EXPECT_EQ(promise.server_major, 18);
}

TEST_F(PromiseTest, OfAnXlogSwitchIsTheSegmentsEnd) {
  commit(100);
  ASSERT_TRUE(builder_.append_switch());
  EXPECT_EQ(look().position, kSize.start_of(backup_.start) + kSize.bytes());
}

TEST_F(PromiseTest, StopsWhereARecoveryToATransactionOrANameStops) {
  commit(100);
  const auto before = builder_.end();
  const auto wanted = commit(200);
  std::vector<std::byte> point(8);
  for (const char c : std::string("here")) point.push_back(static_cast<std::byte>(c));
  point.push_back(std::byte{});
  builder_.append(wal::kXlogManager, static_cast<std::uint8_t>(wal::XlogRecord::restore_point),
                  body_of(point));
  const auto named = builder_.end();
  const auto later = commit(300);
  auto promise = look({.kind = Target::Kind::name, .name = "here"});
  EXPECT_EQ(promise.problem, "");
  EXPECT_EQ(promise.position, named);
  EXPECT_EQ(promise.commit->start, wanted);
  EXPECT_EQ(promise.next_commit->start, later);
  promise = look({.kind = Target::Kind::name, .name = "elsewhere"});
  EXPECT_EQ(promise.obstacle, Obstacle::not_found);
  promise = look({.kind = Target::Kind::xid, .xid = 4711});
  EXPECT_EQ(promise.obstacle, Obstacle::not_found);
  // Just before a position and a time.
  promise = look({.kind = Target::Kind::lsn, .lsn = wanted, .exclusive = true});
  EXPECT_EQ(promise.position, before);
  EXPECT_EQ(promise.next_commit->start, wanted);
  promise = look({.kind = Target::Kind::time, .time = {200}, .exclusive = true});
  EXPECT_EQ(promise.position, before);
  // The end of the backup, as its record tells.
  promise = look({.kind = Target::Kind::immediate});
  EXPECT_EQ(promise.problem, "");
  EXPECT_LT(promise.position, before);
  EXPECT_FALSE(promise.commit);
}

TEST_F(PromiseTest, OfImmediateIsTheFirstRecordThatReachesTheEndOfAStandbysBackup) {
  commit(100);
  const auto last = commit(200);
  backup_.from_standby = true;
  backup_.end = builder_.end();
  const Target immediate{.kind = Target::Kind::immediate};
  auto promise = look(immediate);
  EXPECT_EQ(promise.problem, "") << "no record need follow";
  commit(300);
  source_.end = {};
  promise = look(immediate);
  EXPECT_EQ(promise.problem, "");
  EXPECT_EQ(promise.position, *backup_.end);
  EXPECT_EQ(promise.last_record, last);
}

/// The standby of a primary that was shut down. Its checkpoint is read, but not replayed.
TEST_F(PromiseTest, DoesNotEndAtTheCheckpointOfAShutdownAtWhichTheBackupStarts) {
  const auto begin = builder_.end();
  std::vector<std::byte> checkpoint(88);
  const auto redo = begin.byte();
  std::memcpy(checkpoint.data(), &redo, sizeof redo);
  const auto shutdown = builder_.append(wal::kXlogManager, 0x00, body_of(checkpoint));
  ASSERT_EQ(shutdown.start, begin) << "a page begins there: append another record first";
  backup_.start = begin;
  backup_.checkpoint = begin;
  backup_.from_standby = true;
  backup_.end = shutdown.end;
  // Without a record that follows, a server never stops at a target.
  auto alone = look();
  EXPECT_EQ(alone.problem, "");
  EXPECT_EQ(alone.position, shutdown.end);
  EXPECT_EQ(target_setting({}, alone.last_record).value, "");
  alone = look({.kind = Target::Kind::immediate});
  EXPECT_EQ(alone.obstacle, Obstacle::ends);
  EXPECT_NE(alone.problem.find("no record follows"), std::string::npos) << alone.problem;
  source_.end = {};
  const auto next = commit(100);
  const auto end = builder_.end();
  commit(200);
  for (const auto& target :
       {Target{.kind = Target::Kind::immediate}, Target{.kind = Target::Kind::lsn, .lsn = begin}}) {
    const auto promise = look(target);
    EXPECT_EQ(promise.problem, "");
    EXPECT_EQ(promise.position, end);
    EXPECT_EQ(promise.last_record, next);
  }
}

TEST(TargetTest, IsReadInEachForm) {
  EXPECT_EQ(Target::parse_any("xid:4711").xid, 4711);
  EXPECT_EQ(Target::parse_any("xid:4294972007").xid, 4711) << "with its epoch";
  EXPECT_EQ(Target::parse_any("name:before release").name, "before release");
  EXPECT_EQ(Target::parse_any("immediate").kind, Target::Kind::immediate);
  EXPECT_EQ(Target::parse_any("16/B374D848").to_string(), "16/B374D848");
  for (const auto* wrong : {"", "xid:", "xid:0", "xid:x", "name:", "nonsense"})
    EXPECT_THROW(static_cast<void>(Target::parse_any(wrong)), Error) << wrong;
}

TEST_F(PromiseTest, StopsBeforeTheFirstTransactionOfALaterTime) {
  const auto first = commit(100);
  fill(2);
  const auto before = builder_.end();
  commit(200, true);  // an abort counts, too
  commit(300);
  const auto promise = look({.kind = Target::Kind::time, .time = {150}});
  EXPECT_EQ(promise.problem, "");
  EXPECT_EQ(promise.position, before);
  EXPECT_EQ(promise.commit->start, first);
  // One of that very time is in.
  EXPECT_GT(look({.kind = Target::Kind::time, .time = {200}}).position, before);
}

/// PostgreSQL would stop at the first later commit that it replays, with the earlier ones in it.
TEST_F(PromiseTest, IsNoneForATimeThatTheBackupHadPassed) {
  for (const unsigned between : {0U, 900U}) {  // in the same segment, and some segments before
    SCOPED_TRACE(between);
    commit(100);
    const auto held = commit(200);
    commit(5000, true);  // an abort is nothing that the backup would show
    fill(between);
    begin_backup();
    commit(300);
    for (const std::int64_t time : {100, 150, 199}) {
      source_.end = {};
      const auto promise = look({.kind = Target::Kind::time, .time = {time}});
      EXPECT_NE(promise.problem.find("the backup started after the target"), std::string::npos)
          << time << promise.problem;
      ASSERT_TRUE(promise.held);
      EXPECT_EQ(promise.held->start, held);
      EXPECT_NE(promise.hint, "");
    }
    for (const std::int64_t time : {200, 299}) {
      const auto promise = look({.kind = Target::Kind::time, .time = {time}});
      EXPECT_EQ(promise.problem + promise.hint, "") << time;
      EXPECT_FALSE(promise.commit);
    }
    source_.end = {};
  }
}

/// A backup that was taken after an accident, of a server that nobody used any more.
TEST_F(PromiseTest, IsNoneForATimeThatABackupWithoutLaterCommitsHadPassed) {
  commit(100);
  const auto held = commit(200);
  backup_.start = builder_.append_random(2000).start;
  testing::append_checkpoint(builder_, backup_.start);
  end_backup();
  auto promise = look({.kind = Target::Kind::time, .time = {150}});
  EXPECT_EQ(promise.obstacle, Obstacle::too_early);
  EXPECT_NE(promise.problem.find("the backup started after the target"), std::string::npos)
      << promise.problem;
  EXPECT_EQ(promise.hint.find("latest"), std::string::npos) << promise.hint;
  ASSERT_TRUE(promise.held);
  EXPECT_EQ(promise.held->start, held);
  for (const std::int64_t time : {200, 250}) {
    promise = look({.kind = Target::Kind::time, .time = {time}});
    EXPECT_EQ(promise.obstacle, Obstacle::ends) << promise.problem;
    EXPECT_FALSE(promise.held);
  }
  // The archive ends before the backup's checkpoint: nothing else is known.
  source_.end = backup_.start;
  promise = look({.kind = Target::Kind::time, .time = {150}});
  EXPECT_EQ(promise.obstacle, Obstacle::ends) << promise.problem;
}

TEST_F(PromiseTest, IsNoneWhereNothingTellsWhetherTheBackupHadPassedTheTime) {
  commit(100);
  fill(900);
  begin_backup();
  commit(300);
  source_.missing = {kSize.segno(backup_.start) - 1};
  const auto promise = look({.kind = Target::Kind::time, .time = {200}});
  EXPECT_NE(promise.problem.find("it is unknown whether the backup started after the target"),
            std::string::npos)
      << promise.problem;
  EXPECT_FALSE(promise.held);
  // A commit that is replayed tells that all before it was earlier.
  EXPECT_EQ(look({.kind = Target::Kind::time, .time = {100}}).problem.find("ends before"),
            std::string::npos);
}

TEST_F(PromiseTest, TakesTheTimeOfTheBackupsCheckpointWhereThereIsNoCommitBeforeIt) {
  // CheckPoint of catalog/pg_control.h, the redo position first.
  const struct {
    int major;
    std::size_t size, time_at;
  } versions[] = {{13, 88, 64}, {18, 88, 64}, {19, 96, 72}};
  for (const auto& version : versions) {
    SCOPED_TRACE(version.major);
    builder_ = WalBuilder({.server_major = version.major});
    source_.end = wal::Lsn();
    fill(900);
    const auto begin =
        builder_.end() + (builder_.end().byte() % 8 == 0 ? 0 : 8 - builder_.end().byte() % 8);
    const std::int64_t seconds = 946'684'800 + 100;
    std::vector<std::byte> data(version.size);
    std::memcpy(data.data(), &begin, sizeof begin);
    std::memcpy(&data[version.time_at], &seconds, sizeof seconds);
    const auto& record = builder_.append(wal::kXlogManager, 0x10, body_of(data));
    ASSERT_EQ(record.start, begin) << "a page begins there: fill in another number of records";
    backup_.start = begin;
    end_backup();
    commit(300'000'000);
    source_.missing = {kSize.segno(begin) - 1};
    EXPECT_NE(look({.kind = Target::Kind::time, .time = {100'999'999}}).problem, "");
    const auto promise = look({.kind = Target::Kind::time, .time = {101'000'000}});
    EXPECT_EQ(promise.problem + promise.hint, "");
  }
}

/// Nothing else in a backup in compressed tar files names its cluster before it is unpacked.
TEST_F(PromiseTest, RefusesABackupWithAnotherRecordAtItsCheckpoint) {
  const auto before = builder_.append_random(2000).start;
  backup_.start = builder_.append_random(2000).start;
  const auto checkpoint = testing::append_checkpoint(builder_, backup_.start);
  const auto other = commit(100);
  end_backup();
  backup_.checkpoint = checkpoint;
  EXPECT_EQ(look().problem, "");
  backup_.checkpoint = builder_.end() + 10'000;
  EXPECT_EQ(look().problem, "") << "the archive ends before it";
  const auto refused = [&](wal::Lsn at) {
    backup_.checkpoint = at;
    return test::error_of([&] { static_cast<void>(look()); }).kind() == ErrorKind::conflict;
  };
  EXPECT_TRUE(refused(checkpoint + 8));
  EXPECT_TRUE(refused(other));
  EXPECT_TRUE(refused(backup_.start));
  backup_.start = before;
  EXPECT_TRUE(refused(checkpoint)) << "it has another start";
}

TEST_F(PromiseTest, TellsOfDamageBehindTheTargetInItsSegment) {
  const auto first = commit(100);
  fill(20);
  const auto damaged = commit(200);
  fill(900);
  const auto name = wal::SegmentName(1, kSize.segno(damaged), kSize).to_string();
  const Target target{.kind = Target::Kind::lsn, .lsn = first};
  source_.damaged = builder_.byte_of_record(damaged, 26);
  auto promise = look(target);
  EXPECT_EQ(promise.problem, "");
  ASSERT_TRUE(promise.damage_behind);
  EXPECT_EQ(promise.damage_behind->at, damaged);
  EXPECT_EQ(promise.damage_behind->segment, name);
  EXPECT_NE(look().problem, "") << "without a target it is in the way";
  // Another copy, and damage in another segment.
  copies_ = 1;
  EXPECT_FALSE(look(target).damage_behind);
  source_.damaged = builder_.byte_of_record(builder_.records().back().start, 26);
  EXPECT_FALSE(look(target).damage_behind);
}

/// "pgweir restore" delivers no segment of such a record.
TEST_F(PromiseTest, TellsOfDamageToARecordThatBeginsBehindTheTargetInItsSegment) {
  const auto first = commit(100);
  const auto behind = kSize.start_of(first) + kSize.bytes();
  const auto record =
      builder_.append_random(static_cast<std::uint32_t>(behind - builder_.end() + 300'000));
  fill(20);
  const Target target{.kind = Target::Kind::lsn, .lsn = first};
  EXPECT_FALSE(look(target).damage_behind);
  source_.damaged = builder_.byte_of_record(record.start, record.length - 100);
  ASSERT_GT(*source_.damaged, behind);
  const auto promise = look(target);
  EXPECT_EQ(promise.problem, "");
  ASSERT_TRUE(promise.damage_behind);
  EXPECT_EQ(promise.damage_behind->at, record.start);
  EXPECT_EQ(promise.damage_behind->segment,
            wal::SegmentName(1, kSize.segno(first), kSize).to_string());
  // Of one that is not there, restore does not know.
  source_.missing = {kSize.segno(behind)};
  EXPECT_EQ(look(target).problem, "");
  EXPECT_FALSE(look(target).damage_behind);
}

TEST_F(PromiseTest, StopsBehindTheRecordThatBeginsAtTheTarget) {
  const auto first = commit(100);
  const auto behind = builder_.end();
  commit(200);
  for (const auto target : {first, wal::Lsn(first.byte() - 1)}) {
    const auto promise = look({.kind = Target::Kind::lsn, .lsn = target});
    EXPECT_EQ(promise.problem, "");
    EXPECT_EQ(promise.position, behind);
    EXPECT_EQ(promise.last_record, first);
  }
  EXPECT_GT(look({.kind = Target::Kind::lsn, .lsn = first + 1}).position, behind);
}

TEST_F(PromiseTest, SaysThatNoRecoveryPassesMinimalWal) {
  commit(40);
  begin_backup();
  commit(100);
  const auto before = builder_.end();
  std::vector<std::byte> change(26);  // xl_parameter_change
  const auto lowered = builder_.append(wal::kXlogManager, 0x60, body_of(change)).start;
  commit(200);
  change[20] = std::byte{1};
  builder_.append(wal::kXlogManager, 0x60, body_of(change));
  commit(300);
  for (const auto& target : {Target{}, Target{.kind = Target::Kind::time, .time = {200}},
                             Target{.kind = Target::Kind::lsn, .lsn = lowered}}) {
    const auto promise = look(target);
    EXPECT_NE(promise.problem.find(fmt::format("wal_level=minimal from {} on", lowered)),
              std::string::npos)
        << promise.problem;
    EXPECT_EQ(promise.position, before);
  }
  EXPECT_EQ(look({.kind = Target::Kind::time, .time = {50}}).problem, "") << "it stops before";
}

TEST_F(PromiseTest, SaysThatATargetIsNotReached) {
  commit(100);
  for (const auto& target : {Target{.kind = Target::Kind::time, .time = {100}},
                             Target{.kind = Target::Kind::lsn, .lsn = builder_.end()}})
    EXPECT_NE(look(target).problem.find("ends before the target"), std::string::npos);
}

TEST_F(PromiseTest, SaysThatTheBackupDoesNotEnd) {
  commit(100);
  backup_.end = builder_.end() + 8;
  EXPECT_NE(look().problem.find("before the backup does"), std::string::npos);
  backup_.end = builder_.end();
  EXPECT_EQ(look().problem, "");
  fill(1);
  source_.end = {};
  commit(200);
  backup_.end = builder_.end();
  EXPECT_NE(look({.kind = Target::Kind::lsn, .lsn = backup_.start})
                .problem.find("the target precedes the end of the backup"),
            std::string::npos);
}

TEST_F(PromiseTest, NamesAHole) {
  fill(900);
  const auto second = kSize.segno(backup_.start) + 1;
  source_.missing = {second, second + 1};
  const auto promise = look();
  EXPECT_EQ(promise.problem, fmt::format("WAL is missing in the archive, from {} to {}: {} to {}",
                                         kSize.start(second), kSize.start(second + 2),
                                         wal::SegmentName(1, second, kSize),
                                         wal::SegmentName(1, second + 1, kSize)));
  EXPECT_LE(promise.position, kSize.start(second));
}

TEST_F(PromiseTest, IsNoneWithoutAHistoryThatTheServerNeeds) {
  commit(100);
  missing_history_ = 3;
  const auto promise = look();
  EXPECT_EQ(promise.obstacle, Obstacle::no_history);
  EXPECT_NE(promise.problem.find("00000003.history"), std::string::npos) << promise.problem;
  EXPECT_NE(promise.hint.find("pg_wal"), std::string::npos) << promise.hint;
}

TEST_F(PromiseTest, SaysThatTheObjectStoreHasMissingWal) {
  fill(900);
  const auto first = kSize.segno(backup_.start);
  source_.missing = {first, first + 1};
  auto promise = look();
  EXPECT_EQ(promise.obstacle, Obstacle::hole);
  EXPECT_EQ(promise.hint.find("--store"), std::string::npos) << promise.hint;
  source_.uploaded = first;
  promise = look();
  EXPECT_EQ(promise.obstacle, Obstacle::hole);
  EXPECT_NE(promise.hint.find("add --store"), std::string::npos) << promise.hint;
}

TEST_F(PromiseTest, NamesDamageUnlessAnotherCopyIsSound) {
  fill(100);
  const auto& record = builder_.records()[builder_.records().size() / 2];
  source_.damaged = builder_.byte_of_record(record.start, 100);
  const auto promise = look();
  EXPECT_NE(
      promise.problem.find(fmt::format("the WAL at {}, in {}, is damaged", record.start,
                                       wal::SegmentName(1, kSize.segno(record.start), kSize))),
      std::string::npos)
      << promise.problem;
  copies_ = 1;
  EXPECT_EQ(look().problem, "");
}

TEST_F(PromiseTest, NamesWhatCannotBeReadUnlessAnotherCopyCan) {
  commit(100);
  fill(500);
  source_.unreadable = kSize.segno(backup_.start) + 1;
  copies_ = 1;
  EXPECT_EQ(look().position, builder_.end()) << "the other copy";
  source_.unreadable = kSize.segno(backup_.start) + 1;
  const auto promise = look();
  EXPECT_NE(promise.problem.find("cannot be unpacked"), std::string::npos) << promise.problem;
}

TEST_F(PromiseTest, TakesNoReadErrorForDamage) {
  const auto first = commit(100);
  fill(500);
  for (const auto kind : {ErrorKind::io, ErrorKind::retry}) {
    source_.read_error = Error(kind, "it cannot be read").hint("Check the disk.");
    source_.unreadable = kSize.segno(backup_.start) + 1;
    const auto error = test::error_of([&] { static_cast<void>(look()); });
    EXPECT_EQ(error.kind(), kind);
    EXPECT_STREQ(error.what(), "it cannot be read");
    EXPECT_EQ(error.hint(), "Check the disk.");
    // The segments up to the target can be read.
    EXPECT_EQ(look({.kind = Target::Kind::lsn, .lsn = first}).problem, "");
  }
}

TEST_F(PromiseTest, PromisesNothingInWalOfANewerServer) {
  commit(100);
  source_.magic = 0xD1FE;
  const auto error = test::error_of([&] { static_cast<void>(look()); });
  EXPECT_EQ(error.kind(), ErrorKind::refused);
  EXPECT_NE(std::string(error.what()).find("of a newer PostgreSQL than this pgweir knows"),
            std::string::npos);
}

TEST_F(PromiseTest, TakesDamageAtTheEndOfTheOpenSegmentForItsEnd) {
  fill(10);
  const auto& last = builder_.records().back();
  source_.damaged = builder_.byte_of_record(last.start, 100);
  unfinished_ = true;
  EXPECT_EQ(look().problem, "");
  EXPECT_EQ(look().position, builder_.records()[builder_.records().size() - 2].end);
  // But not where WAL goes on in the next segment.
  fill(400);
  source_.end = {};
  EXPECT_NE(look().problem.find("is damaged"), std::string::npos);
  // Unless it was still being written when it was read.
  finished_since_ = true;
  EXPECT_EQ(look().problem, "");
}

TEST_F(PromiseTest, TakesTheZerosOfAPublishedSegmentForTheEnd) {
  const auto first = commit(100);
  commit(200);
  const auto end = builder_.records().back().end;
  fill(900);
  const auto segment_end = kSize.start_of(end) + kSize.bytes();
  source_.zeros_from = end;
  source_.end = segment_end;
  EXPECT_EQ(look().obstacle, Obstacle::damage) << "it has no record";
  source_.published = {.end = end};
  auto promise = look();
  EXPECT_EQ(promise.problem, "");
  EXPECT_EQ(promise.position, end);
  const Target before{.kind = Target::Kind::lsn, .lsn = first};
  EXPECT_FALSE(look(before).damage_behind) << "restore delivers it";
  EXPECT_EQ(look({.kind = Target::Kind::lsn, .lsn = end}).obstacle, Obstacle::ends);
  // Not up to another position, and not before more WAL.
  source_.published = {.end = wal::Lsn(end.byte() - 8)};
  EXPECT_EQ(look().obstacle, Obstacle::damage);
  EXPECT_TRUE(look(before).damage_behind);
  source_.published = {.end = end};
  source_.end = {};
  EXPECT_EQ(look().obstacle, Obstacle::damage);
  // A partial file may have more.
  source_.end = segment_end;
  source_.published = {.end = end, .continues = true};
  promise = look();
  EXPECT_EQ(promise.problem, "");
  EXPECT_GT(promise.position, end + 10'000);
}

/// A promoted standby with archive_mode = always archives it so, before the segment of the new
/// timeline.
TEST_F(PromiseTest, TakesTheEndOfASegmentInWhichItsTimelineWasLeftForTheEnd) {
  commit(100);
  const auto last = commit(200);
  const auto end = builder_.records().back().end;
  fill(900);
  source_.zeros_from = end;
  source_.end = kSize.start_of(end) + kSize.bytes();
  left_at_ = end + 8;
  EXPECT_EQ(look().obstacle, Obstacle::damage) << "WAL before the switchpoint is missing";
  left_at_ = end;
  const auto promise = look();
  EXPECT_EQ(promise.problem, "");
  EXPECT_EQ(promise.position, end);
  EXPECT_EQ(promise.last_record, last);
  EXPECT_TRUE(promise.damage_behind) << "restore must be told to deliver the front";
  EXPECT_EQ(look({.kind = Target::Kind::lsn, .lsn = end}).obstacle, Obstacle::ends);
  source_.end = {};
  EXPECT_EQ(look().obstacle, Obstacle::damage) << "more WAL of the timeline follows";
}

/// In pg_wal of a standby's backup.
TEST_F(PromiseTest, TakesTheZerosInTheBackupsOwnWalForTheEnd) {
  const auto first = commit(100);
  const auto last = commit(200);
  const auto end = builder_.records().back().end;
  fill(900);
  source_.zeros_from = end;
  source_.end = kSize.start_of(end) + kSize.bytes();
  EXPECT_EQ(look().obstacle, Obstacle::damage);
  padding_from_ = end;
  auto promise = look();
  EXPECT_EQ(promise.problem, "");
  EXPECT_EQ(promise.position, end);
  EXPECT_EQ(promise.last_record, last);
  for (const auto& target : {Target{}, Target{.kind = Target::Kind::lsn, .lsn = first}}) {
    promise = look(target);
    ASSERT_TRUE(promise.damage_behind) << "restore must be told to deliver the front";
    EXPECT_TRUE(promise.damage_behind->is_padding);
    EXPECT_EQ(promise.damage_behind->at, end);
  }
  source_.damaged = builder_.byte_of_record(last, 26);
  EXPECT_EQ(look().obstacle, Obstacle::damage) << "damage before the zeros";
  source_.damaged.reset();
  backup_.end = end + 8;
  EXPECT_EQ(look().obstacle, Obstacle::ends) << "the zeros are before the backup's end";
  backup_.end.reset();
  source_.end = {};
  EXPECT_EQ(look().obstacle, Obstacle::damage) << "more WAL follows";
}

TEST_F(PromiseTest, NamesDamageInTheOpenSegmentWithMoreWalBehindIt) {
  commit(100);
  const auto last = builder_.records().back().start;
  source_.damaged = builder_.end() + 40;
  fill(3);
  unfinished_ = true;
  wal_after_damage_ = true;
  auto promise = look();
  EXPECT_EQ(promise.obstacle, Obstacle::damage);
  EXPECT_NE(promise.problem.find("but WAL was written there"), std::string::npos)
      << promise.problem;
  EXPECT_NE(promise.hint.find(last.to_string()), std::string::npos) << promise.hint;
  // What is before it can be recovered.
  promise = look({.kind = Target::Kind::lsn, .lsn = last});
  EXPECT_EQ(promise.problem, "");
  ASSERT_TRUE(promise.damage_behind);
}

TEST_F(PromiseTest, TakesAPartialSegmentBeforeACompleteOneForAHole) {
  commit(100);
  fill(1000);
  unfinished_ = true;
  complete_ = kSize.start_of(builder_.end());
  const auto promise = look();
  EXPECT_EQ(promise.obstacle, Obstacle::hole);
  EXPECT_NE(promise.problem.find(complete_->to_string()), std::string::npos) << promise.problem;
  finished_since_ = true;
  EXPECT_EQ(look().problem, "") << "it was completed meanwhile";
}

TEST_F(PromiseTest, GoesOnWhereASegmentWasFinishedMeanwhile) {
  fill(900);
  const auto first = kSize.segno(backup_.start);
  source_.late = {first + 1, first + 2};
  const auto promise = look();
  EXPECT_EQ(promise.problem, "");
  EXPECT_EQ(promise.position, builder_.end());
}

TEST_F(PromiseTest, SeesWhereATablespaceIsMade) {
  const auto make = [&](const std::string& location) {
    std::vector<std::byte> data(4);
    const auto text = std::as_bytes(std::span(location.c_str(), location.size() + 1));
    data.insert(data.end(), text.begin(), text.end());
    return builder_.append(wal::kTablespaceManager, 0x00, body_of(data)).start;
  };
  commit(100);
  make("");  // in the data directory
  EXPECT_TRUE(look().tablespaces.empty());
  source_.end = {};
  const auto behind = commit(200);
  const auto at = make("/srv/fast");
  commit(300);
  const auto promise = look();
  ASSERT_EQ(promise.tablespaces.size(), 1);
  EXPECT_EQ(promise.tablespaces[0].at, at);
  EXPECT_EQ(promise.tablespaces[0].location, "/srv/fast");
  EXPECT_TRUE(look({.kind = Target::Kind::lsn, .lsn = behind}).tablespaces.empty());
}

TEST(TimelineWithoutWal, IsToldUnlessTheTargetIsBeforeIt) {
  const Archives::WithoutWal newer{3, wal::TimelineHistory::parse(3, "2\t0/5000000\tx\n")};
  Promise promise{.position = wal::Lsn(0x4000000)};
  const auto told = [&](const std::string& target, wal::TimelineId followed = 2) {
    return of_a_timeline_without_wal(newer, followed, Target::parse_any(target), promise);
  };
  EXPECT_EQ(
      told("latest"),
      "the recovery follows timeline 2, although timeline 3 is newer: the archive has the "
      "history file of that timeline, but none of its WAL. A server was promoted at "
      "0/5000000 of timeline 2; changes that were made on the newer timeline are not recovered, "
      "nor is WAL of timeline 2 after 0/4000000. If timeline 3 is wanted, archive or import its "
      "WAL "
      "first");
  EXPECT_EQ(told("0/3000000"), "");
  promise.problem = "the WAL ends before the target";
  EXPECT_NE(told("0/5000028"), "");
  promise.problem.clear();
  promise.position = wal::Lsn(0x6000000);
  const std::string beyond = "not recovered, but WAL of timeline 2 after that position is";
  for (const auto* target : {"latest", "0/6000000"})
    EXPECT_NE(told(target).find(beyond), std::string::npos) << told(target);
  const std::string elsewhere = "Timeline 3 begins at 0/5000000, and timeline 1 is not in its";
  EXPECT_NE(told("latest", 1).find(elsewhere), std::string::npos) << told("latest", 1);
  const auto unread = of_a_timeline_without_wal({3, std::nullopt}, 2, Target(), promise);
  EXPECT_NE(unread.find("The history file cannot be read"), std::string::npos) << unread;
  const auto lost = of_a_timeline_without_wal({3, std::nullopt, true}, 2, Target(), promise);
  EXPECT_NE(lost.find("is newer: the store has lost files of that timeline"), std::string::npos);
  const Archives::WithoutWal recorded{.timeline = 3, .lost = true, .record = ".pgweir-store"};
  EXPECT_EQ(
      of_a_timeline_without_wal(recorded, 2, Target(), promise),
      "the recovery follows timeline 2, although timeline 3 is newer: according to "
      ".pgweir-store, that timeline existed, but the archive lacks files of it. It is unknown "
      "where the timeline begins; changes that were made on the newer timeline are not "
      "recovered. If timeline 3 is wanted, archive or import its WAL first");
  EXPECT_NE(hint_of_lost_files(recorded), hint_of_lost_files({3, std::nullopt, true}));
  const auto of_backup =
      of_a_timeline_without_wal({.timeline = 3, .backup = "/srv/b"}, 2, Target(), promise);
  EXPECT_NE(of_backup.find("the backup /srv/b is of that timeline, and the archive has none of its "
                           "WAL. It is unknown where the timeline begins; changes"),
            std::string::npos)
      << of_backup;
}

TEST(DrillTarget, IsReadAsItIsWritten) {
  EXPECT_EQ(Target::parse("latest").kind, Target::Kind::latest);
  EXPECT_EQ(Target::parse("16/B374D848").lsn, wal::Lsn(0x16B374D848));
  EXPECT_EQ(Target::parse("2026-11-20 03:14:15+00").to_string(), "2026-11-20 03:14:15.000000 UTC");
  for (const auto* text : {"", "newest", "16/", "2026-13-01", "16/B374D848 "})
    EXPECT_THROW(static_cast<void>(Target::parse(text)), Error) << text;
}

}  // namespace
}  // namespace weir::recovery::promise_test

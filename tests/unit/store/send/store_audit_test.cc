#include "store/send/store_audit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <memory>

#include "archive/losses.h"
#include "store/cluster_record.h"
#include "support/archive_builder.h"
#include "support/memory_store.h"
#include "support/recorded_begin.h"

namespace weir::store::store_audit_test {
namespace {

using namespace std::chrono_literals;
using test::MemoryStore;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using testing::WalBuilder;
using verify::ArchiveBuilder;
using verify::kSize;

const Layout kLayout(Layout::Form::barman, {"memory", "p"}, "main");

/// The store has 1 to 5, as the mark says; the archive has all but 2.
class StoreAuditTest : public ::testing::Test {
 protected:
  StoreAuditTest() {
    WalBuilder wal{WalBuilder::Options{}};
    wal.grow_to(wal::Lsn(6 * kSize.bytes() + 200'000));
    builder_.segments(wal, 1, 2).segments(wal, 3, 6);
    cluster_.system_identifier = wal.options().system_identifier;
    cluster_.segment_size = mark_.segment_size = kSize;
    for (std::uint64_t segno = 1; segno < 6; ++segno) {
      store_.place(key(segno), ArchiveBuilder::content(wal, segno));
      mark_.add(segment(segno));
    }
    static_cast<void>(
        write_cluster(store_, kLayout, Conditions::heeded,
                      {cluster_.system_identifier, cluster_.segment_size, kLayout.form()}));
    directory_ = builder_.disk.open();
  }
  static wal::SegmentName segment(std::uint64_t segno) { return {1, segno, kSize}; }
  static std::string key(std::uint64_t segno) { return kLayout.key(segment(segno)); }
  void lose(std::uint64_t segno) { static_cast<void>(store_.remove(std::array{key(segno)})); }
  /// Until it rests.
  void run() {
    for (int i = 0; i < 20; ++i)
      if (audit_->look(mark_, cluster_) > machine_threads().now() + 30min) return;
    FAIL() << "it does not end";
  }

  ArchiveBuilder builder_;
  MemoryStore store_;
  NullLog log_;
  archive::Identity cluster_;
  Mark mark_;
  std::unique_ptr<io::Directory> directory_;
  std::vector<std::string> sent_again_;
  int recorded_ = 0;
  int emptied_ = 0;
  int whole_ = 0;
  std::vector<SignifyPublic> keys_;
  FollowReport report_{"s3://memory", {}, false, machine_threads(), log_};
  std::optional<StoreAudit> audit_;
  void SetUp() override { make_audit(); }
  void make_audit() {
    audit_.emplace(*directory_, store_, kLayout,
                   StoreAudit::Options{.place = "s3://memory",
                                       .every = 1h,
                                       .keys = keys_,
                                       .send_again =
                                           [this](const UploadItem& item) {
                                             sent_again_.push_back(item.to_string());
                                           },
                                       .recorded = [this] { ++recorded_; },
                                       .emptied =
                                           [this] {
                                             EXPECT_FALSE(read_cluster(store_, kLayout));
                                             ++emptied_;
                                           },
                                       .whole = [this] { ++whole_; }},
                   machine_threads(), report_, log_);
  }
};

TEST_F(StoreAuditTest, FindsNothingWhereNothingIsMissing) {
  run();
  EXPECT_THAT(sent_again_, IsEmpty());
  EXPECT_FALSE(report_.view().problem);
}

TEST_F(StoreAuditTest, SendsAgainWhatTheArchiveHas) {
  lose(4);
  run();
  EXPECT_THAT(sent_again_, ElementsAre(segment(4).to_string()));
  EXPECT_EQ(recorded_, 0);
  EXPECT_FALSE(report_.view().problem);
}

/// On another machine, without the archive directory: it was killed, or the store keeps 1.
TEST_F(StoreAuditTest, LeavesAloneWhatAPruneHasRecorded) {
  lose(2);
  lose(3);
  test::record_begin(store_, kLayout, segment(4));
  run();
  EXPECT_THAT(sent_again_, IsEmpty());
  EXPECT_EQ(recorded_, 0);
  EXPECT_FALSE(report_.view().problem);
  lose(4);
  run();
  EXPECT_THAT(sent_again_, ElementsAre(segment(4).to_string())) << "the prune did not remove it";
}

TEST_F(StoreAuditTest, BelievesOnlyAPruneThatTheKeyProves) {
  const auto key = std::make_shared<const SignifyKey>(SignifyKey::make());
  keys_ = proofs_of(key);
  make_audit();
  lose(3);
  test::record_begin(store_, kLayout, segment(4));
  run();
  EXPECT_THAT(sent_again_, ElementsAre(segment(3).to_string()));
  test::record_begin(store_, kLayout, segment(4), key);
  run();
  EXPECT_THAT(sent_again_, SizeIs(1));
}

/// Uploads after that are no reason to take what precedes them for pruned.
TEST_F(StoreAuditTest, TakesNothingForPrunedInAStoreThatWasEmptied) {
  for (const std::uint64_t segno : {1, 2, 3, 4}) lose(segno);
  run();
  EXPECT_THAT(sent_again_, IsEmpty());
  static_cast<void>(store_.remove(std::array{key_of_cluster(kLayout)}));
  for (int i = 1; i < 3; ++i) {
    sent_again_.clear();
    run();
    EXPECT_THAT(sent_again_, ElementsAre(segment(1).to_string(), segment(3).to_string(),
                                         segment(4).to_string()));
    EXPECT_TRUE(read_cluster(store_, kLayout));
  }
  EXPECT_EQ(recorded_, 1) << "2 is not here either";
  EXPECT_EQ(emptied_, 1);
  EXPECT_EQ(whole_, 0);
  for (const std::uint64_t segno : {1, 2, 3, 4}) store_.place(key(segno), test::as_bytes("again"));
  run();
  run();
  EXPECT_EQ(whole_, 1);
}

/// What is sent after that is no reason either to take the rest for pruned.
TEST_F(StoreAuditTest, BeginsAnewIfTheStoreIsEmptiedMeanwhile) {
  static_cast<void>(audit_->look(mark_, cluster_));
  for (const std::uint64_t segno : {1, 2, 3, 4, 5}) lose(segno);
  static_cast<void>(store_.remove(std::array{key_of_cluster(kLayout)}));
  audit_->look_at_place(cluster_);
  EXPECT_TRUE(read_cluster(store_, kLayout));
  EXPECT_EQ(emptied_, 1);
  store_.place(key(6), test::as_bytes("the next one"));
  run();
  EXPECT_THAT(sent_again_, ElementsAre(segment(1).to_string(), segment(3).to_string(),
                                       segment(4).to_string(), segment(5).to_string()));
  EXPECT_EQ(whole_, 0);
}

TEST_F(StoreAuditTest, RaisesNoAlertForALossThatWasAcknowledged) {
  lose(2);
  run();
  ASSERT_TRUE(report_.view().problem);
  const auto losses = archive::read_losses(*directory_, archive::list_archive_names(*directory_));
  ASSERT_THAT(losses, SizeIs(1));
  archive::acknowledge_loss(*directory_, losses.front(),
                            {.time = "2026-11-28 00:00:00Z", .who = "me", .reason = "known"});
  run();
  EXPECT_FALSE(report_.view().problem);
  EXPECT_EQ(recorded_, 1);
}

TEST_F(StoreAuditTest, StopsAtThePlaceOfAnotherCluster) {
  static_cast<void>(store_.remove(std::array{key_of_cluster(kLayout)}));
  static_cast<void>(write_cluster(store_, kLayout, Conditions::heeded,
                                  {4711, cluster_.segment_size, kLayout.form()}));
  try {
    run();
    FAIL() << "it went on";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::conflict);
    EXPECT_THAT(error.what(), HasSubstr("4711"));
  }
}

TEST_F(StoreAuditTest, SendsAHistoryAgain) {
  builder_.history(2, verify::history_line(1, kSize.start(6)));
  for (const wal::TimelineId timeline : {2, 3}) {  // the archive has only that of 2
    store_.place(kLayout.history_key(timeline), test::as_bytes("1\t0/600000\tno reason\n"));
    mark_.add_history(timeline);
  }
  run();
  EXPECT_THAT(sent_again_, IsEmpty());
  static_cast<void>(store_.remove(std::array{kLayout.history_key(2), kLayout.history_key(3)}));
  run();
  EXPECT_THAT(sent_again_, ElementsAre("00000002.history"));
}

TEST_F(StoreAuditTest, RecordsWhatTheArchiveHasNotUntilItIsBack) {
  const auto content = store_.objects.at(key(2)).bytes;
  lose(2);
  run();
  EXPECT_THAT(sent_again_, IsEmpty());
  EXPECT_EQ(recorded_, 1);
  ASSERT_TRUE(report_.view().problem);
  EXPECT_EQ(report_.view().problem->reason, "gap");
  const auto losses = archive::read_losses(*directory_, archive::list_archive_names(*directory_));
  ASSERT_THAT(losses, SizeIs(1));
  EXPECT_EQ(losses.front().begin, kSize.start(2));
  EXPECT_EQ(losses.front().end, kSize.start(3));
  run();
  EXPECT_EQ(recorded_, 1) << "once";
  store_.place(key(2), content);
  run();
  EXPECT_FALSE(report_.view().problem);
}

/// Each look has requests for a thousand of them.
TEST_F(StoreAuditTest, ThatMuchIsLostHidesNothingBehindIt) {
  Mark mark;
  mark.segment_size = kSize;
  for (std::uint64_t segno = 1; segno <= 2'500; ++segno) mark.add(segment(segno + 10));
  for (std::uint64_t segno = 1; segno < 6; ++segno) mark.add(segment(segno + 3'000));
  mark_ = mark;
  for (std::uint64_t segno = 1; segno < 6; ++segno) lose(segno);
  builder_.disk.put(segment(3'003).to_string(), {});
  store_.place(key(3'005), {});
  audit_->place_was_emptied();
  int looks = 0;
  while (audit_->look(mark_, cluster_) < machine_threads().now() + 30min) ++looks;
  EXPECT_GT(looks, 2);
  EXPECT_THAT(sent_again_, ::testing::Contains(segment(3'003).to_string()));
  const auto losses = archive::read_losses(*directory_, archive::list_archive_names(*directory_));
  ASSERT_THAT(losses, SizeIs(3));
  EXPECT_EQ(losses[0].end, kSize.start(2'511));
  EXPECT_EQ(losses[1].begin, kSize.start(3'001));
  EXPECT_EQ(losses[2].end, kSize.start(3'005)) << "3,003 is sent again, and 3,005 is there";
}

TEST_F(StoreAuditTest, ContinuesWhereARequestFailed) {
  lose(4);
  bool away = true;
  store_.fault = [&](const MemoryStore::Call&) {
    return std::exchange(away, false) ? MemoryStore::Fault::lost_request : MemoryStore::Fault::none;
  };
  EXPECT_THROW(static_cast<void>(audit_->look(mark_, cluster_)), StoreError);
  run();
  EXPECT_THAT(sent_again_, SizeIs(1));
}

TEST_F(StoreAuditTest, AFailedSyncOfARecordIsTheEnd) {
  lose(2);
  builder_.disk.set_hook([](const sim::SimDisk::Call& call) {
    return call.operation == sim::SimDisk::Operation::sync ? sim::SimDisk::Effect::fail(EIO)
                                                           : sim::SimDisk::Effect::proceed();
  });
  try {
    run();
    FAIL() << "it went on";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::durability);
  }
}

}  // namespace
}  // namespace weir::store::store_audit_test

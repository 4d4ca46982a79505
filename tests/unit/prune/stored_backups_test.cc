// Base backups in an object store: which there are, and which of them count.

#include "prune/stored_backups.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "support/error_of.h"
#include "support/memory_store.h"

namespace weir::prune::stored_backups_test {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using State = FoundBackup::State;
using store::Layout;
using test::MemoryStore;
using wal::Lsn;

const auto kSize = *wal::SegmentSize::of(16 << 20);

std::string info(const std::string& status = "DONE", const std::string& more = "") {
  return fmt::format(
      "begin_wal=000000010000000000000004\nbegin_xlog=0/4000028\nend_wal=000000010000000000000005\n"
      "end_xlog=0/5000138\nstatus={}\ntimeline=1\ntablespaces=None\n{}",
      status, more);
}

class StoredBackups : public ::testing::Test {
 protected:
  void put(const std::string& key, const std::string& text) {
    store_.place(key, test::as_bytes(text));
  }
  std::vector<FoundBackup> find(Layout::Form form, std::optional<wal::SegmentSize> size = kSize) {
    const Layout layout(form, {"memory", "p"}, "main");
    return find_stored_backups(store_, layout, size, 4, store::kOnce);
  }
  FoundBackup only(Layout::Form form) {
    auto found = find(form);
    EXPECT_THAT(found, SizeIs(1));
    return found.empty() ? FoundBackup{} : found.front();
  }
  MemoryStore store_;
};

class StoredBackupsOfBarman : public StoredBackups {
 protected:
  static constexpr auto kForm = Layout::Form::barman;
  const std::string at_ = "p/main/base/20261126T143904/";
};

TEST_F(StoredBackupsOfBarman, Count) {
  put(at_ + "data.tar.gz", "four");
  put(at_ + "data_0001.tar.gz", "five!");
  put(at_ + "backup.info", info());
  put("p/main/wals/0000000100000000/000000010000000000000004.gz", "");
  put("p/other/base/20261126T143904/backup.info", info());
  const auto backup = only(kForm);
  EXPECT_EQ(backup.path, "s3://memory/p/main/base/20261126T143904");
  EXPECT_EQ(backup.state, State::finished);
  EXPECT_TRUE(backup.vouched && backup.in_store);
  EXPECT_FALSE(backup.keep_always);
  EXPECT_EQ(backup.bytes, 9 + info().size());
  EXPECT_EQ(backup.point->start, Lsn(0x4000028));
}

TEST_F(StoredBackupsOfBarman, ThatAreKeptForGoodAreKnown) {
  put(at_ + "data.tar", "");
  put(at_ + "backup.info", info());
  put(at_ + "annotations/keep", "full");
  EXPECT_TRUE(only(kForm).keep_always);
  store_.objects.erase(at_ + "backup.info");
  store_.objects.erase(at_ + "data.tar");
  EXPECT_THAT(find(kForm), IsEmpty()) << "an annotation is no backup";
}

TEST_F(StoredBackupsOfBarman, OfSnapshotsHaveNoData) {
  put(at_ + "backup.info", info("DONE", "snapshots_info={'provider': 'gcp'}\n"));
  EXPECT_EQ(only(kForm).state, State::finished);
}

TEST_F(StoredBackupsOfBarman, WithoutAllTarFilesAreNotWhole) {
  put(at_ + "backup.info", info());
  put(at_ + "database.tar", "no data");
  EXPECT_EQ(only(kForm).problem, "its data.tar is missing");
  put(at_ + "data.tar", "");
  EXPECT_EQ(only(kForm).state, State::finished);
  put(at_ + "backup.info", info() + "tablespaces=[('one', 16387, '/srv/one')]\n");
  EXPECT_EQ(only(kForm).problem, "its 16387.tar is missing");
  EXPECT_EQ(only(kForm).state, State::unfinished);
  EXPECT_EQ(only(kForm).point->start, Lsn(0x4000028)) << "its WAL stays";
  put(at_ + "16387.tar.bz2", "");
  EXPECT_EQ(only(kForm).state, State::finished);
}

/// A large tar file has several, whose numbers have no gap.
TEST_F(StoredBackupsOfBarman, WithoutAllPartsOfATarFileAreNotWhole) {
  put(at_ + "backup.info", info());
  put(at_ + "data_0001.tar.gz", "");
  put(at_ + "data_0003.tar.gz", "");
  EXPECT_EQ(only(kForm).problem, "its data.tar is missing");
  EXPECT_EQ(only(kForm).state, State::unfinished);
  put(at_ + "data.tar.gz", "");
  EXPECT_EQ(only(kForm).problem, "its data_0002.tar is missing");
  put(at_ + "data_0002.tar.gz", "");
  EXPECT_EQ(only(kForm).state, State::finished);
}

TEST_F(StoredBackupsOfBarman, ThatAreNotFinishedSaySo) {
  put(at_ + "data.tar", "");
  EXPECT_EQ(only(kForm).state, State::unfinished);
  EXPECT_FALSE(only(kForm).point);
  EXPECT_THAT(only(kForm).problem, HasSubstr("no backup.info"));
  put(at_ + "backup.info", info("FAILED", "error=no space\n"));
  EXPECT_EQ(only(kForm).state, State::unfinished);
  EXPECT_EQ(only(kForm).problem, "Barman has marked it as failed: no space");
  EXPECT_TRUE(only(kForm).point);
  put(at_ + "backup.info", info("SOMETHING_NEW"));
  EXPECT_THAT(only(kForm).problem, HasSubstr("SOMETHING_NEW"));
  put(at_ + "backup.info", "status=STARTED\n");
  EXPECT_EQ(only(kForm).state, State::unfinished);
  put(at_ + "backup.info", "status=FAILED\nerror=no connection\n");
  EXPECT_THAT(find(kForm), IsEmpty()) << "it has not begun";
}

TEST_F(StoredBackupsOfBarman, ThatCannotBeReadAreThere) {
  put(at_ + "data.tar", "");
  for (const auto& text : {std::string("<html>"), info() + "timeline=0\n"}) {
    put(at_ + "backup.info", text);
    const auto backup = only(kForm);
    EXPECT_EQ(backup.state, State::unreadable) << text;
    EXPECT_EQ(backup.path, "s3://memory/p/main/base/20261126T143904");
    EXPECT_FALSE(backup.problem.empty() || backup.point);
  }
}

TEST_F(StoredBackupsOfBarman, AreNotFoundWhereTheStoreDoesNotTell) {
  put(at_ + "data.tar", "");
  put(at_ + "backup.info", info());
  for (const auto* const what : {"list", "get"}) {
    store_.fault = [what](const MemoryStore::Call& call) {
      return call.what == what ? MemoryStore::Fault::refused : MemoryStore::Fault::none;
    };
    EXPECT_THROW(static_cast<void>(find(kForm)), store::StoreError) << what;
  }
}

TEST_F(StoredBackupsOfBarman, ThatAreIncrementalKnowTheirBase) {
  put(at_ + "data.tar", "");
  put(at_ + "backup.info", info());
  const std::string later = "p/main/base/20261127T143904/";
  put(later + "data.tar", "");
  const auto text =
      "begin_xlog=0/7000028\nend_xlog=0/7000138\nstatus=DONE\ntimeline=1\nparent_backup_id={}\n";
  put(later + "backup.info", fmt::format(fmt::runtime(text), "20261126T143904"));
  auto found = find(kForm);
  ASSERT_THAT(found, SizeIs(2));
  EXPECT_EQ(found[1].point->parent, (archive::BackupPoint::Parent{1, Lsn(0x4000028)}));
  EXPECT_EQ(found[1].state, State::finished);
  put(later + "backup.info", fmt::format(fmt::runtime(text), "20261125T143904"));
  found = find(kForm);
  EXPECT_EQ(found[1].state, State::unfinished);
  EXPECT_THAT(found[1].problem, HasSubstr("/20261125T143904, which does not exist here"));
}

class StoredBackupsOfWalg : public StoredBackups {
 protected:
  static constexpr auto kForm = Layout::Form::wal_g;
  static constexpr const char* kSentinel = R"({"LSN":67108904,"Timeline":1,"FinishLSN":83886392})";
  const std::string at_ = "p/basebackups_005/base_000000010000000000000004";
};

TEST_F(StoredBackupsOfWalg, Count) {
  put(at_ + "/tar_partitions/part_001.tar.lz4", "four");
  put(at_ + "/metadata.json", R"({"start_time":"2026-11-26T13:39:04Z","is_permanent":true})");
  put(at_ + "_backup_stop_sentinel.json", kSentinel);
  const auto backup = only(kForm);
  EXPECT_EQ(backup.path, "s3://memory/" + at_);
  EXPECT_EQ(backup.state, State::finished);
  EXPECT_TRUE(backup.vouched && backup.in_store && backup.keep_always);
  EXPECT_EQ(backup.point->end, Lsn(0x5000138));
  EXPECT_EQ(backup.point->began, wal::PgTime::parse("2026-11-26 13:39:04 UTC"));
}

TEST_F(StoredBackupsOfWalg, ThatAreNotFinishedBeginByTheirName) {
  put(at_ + "/tar_partitions/part_001.tar.lz4", "four");
  const auto backup = only(kForm);
  EXPECT_EQ(backup.state, State::unfinished);
  EXPECT_EQ(backup.point->start, Lsn(0x4000000));
  EXPECT_EQ(backup.point->timeline, 1u);
  EXPECT_THAT(backup.problem, HasSubstr("no sentinel"));
  EXPECT_FALSE(find(kForm, std::nullopt).front().point);
}

TEST_F(StoredBackupsOfWalg, WithoutTarFilesAreNotWhole) {
  put(at_ + "_backup_stop_sentinel.json", kSentinel);
  EXPECT_EQ(only(kForm).state, State::unfinished);
  EXPECT_EQ(only(kForm).problem, "its tar files are missing");
  EXPECT_TRUE(only(kForm).point);
}

TEST_F(StoredBackupsOfWalg, ThatCannotBeReadAreThere) {
  put(at_ + "/tar_partitions/part_001.tar.lz4", "four");
  put(at_ + "_backup_stop_sentinel.json", "{}");
  EXPECT_EQ(only(kForm).state, State::unreadable);
  put(at_ + "_backup_stop_sentinel.json", kSentinel);
  put(at_ + "/metadata.json", "");
  EXPECT_EQ(only(kForm).state, State::unreadable);
}

}  // namespace
}  // namespace weir::prune::stored_backups_test

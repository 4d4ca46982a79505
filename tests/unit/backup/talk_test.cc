#include "backup/talk.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backup/command.h"

namespace weir::backup::talk_test {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::Not;
using Kind = Talk::Kind;

TEST(BackupTalk, ReadsProgressAndWhatTheServerWaitsFor) {
  Talk talk;
  EXPECT_EQ(talk.take("waiting for checkpoint"), Kind::other);
  EXPECT_EQ(talk.take("  23133/31246 kB (74%), 0/1 tablespace"), Kind::progress);
  EXPECT_EQ(talk.done(), 23133U * 1024);
  EXPECT_EQ(talk.total(), 31246U * 1024);
  EXPECT_EQ(talk.take("31246 kB (100%), 2/2 tablespaces"), Kind::progress);
  EXPECT_EQ(talk.take("NOTICE:  WAL archiving is not enabled; you must ensure that all required "
                      "WAL segments are copied through other means to complete the backup"),
            Kind::swallowed);
  EXPECT_EQ(
      talk.take("NOTICE:  base backup done, waiting for required WAL segments to be archived"),
      Kind::waits);
  EXPECT_EQ(talk.take("WARNING:  still waiting for all required WAL segments to be archived (60 "
                      "seconds elapsed)"),
            Kind::waits);
}

TEST(BackupTalk, TellsWhyItFailed) {
  Talk full;
  full.take("pg_basebackup: error: could not write to file \"x/1\": No space left on device");
  EXPECT_EQ(full.failure().kind(), ErrorKind::disk_full);

  Talk page;
  page.take(
      "WARNING:  checksum verification failed in file \"./base/5/1259\", block 2: calculated "
      "F4F5 but expected 7B2C");
  page.take("pg_basebackup: error: checksum error occurred");
  EXPECT_EQ(page.failure().kind(), ErrorKind::damage);
  EXPECT_THAT(page.failure().what(), HasSubstr("base/5/1259\", block 2"));

  Talk late;
  late.take("pg_basebackup: error: directory \"/srv/fast\" exists but is not empty");
  EXPECT_EQ(late.failure().kind(), ErrorKind::retry);
  EXPECT_THAT(late.failure().what(), HasSubstr("a tablespace was created while the backup began"));

  Talk other;
  other.take("pg_basebackup: error: connection to server was lost");
  EXPECT_EQ(other.failure().kind(), ErrorKind::retry);
  EXPECT_THAT(other.failure().what(), HasSubstr("connection to server was lost"));
}

TEST(BackupCommand, ShowsNoPasswordAndQuotesWhatItIsGiven) {
  const pq::ConninfoValues values{{"host", "/run/a b"}, {"user", "it's"}};
  const auto command = basebackup_command(
      "/bin/pg_basebackup", values,
      {.into = "/to/.x/data", .tablespaces = {{"/a=b", "/to/.x/tablespaces/1"}}, .tool_major = 15});
  EXPECT_THAT(command, Contains("--dbname=host='/run/a b' user='it\\'s'"));
  EXPECT_THAT(command, Contains("--tablespace-mapping=/a\\=b=/to/.x/tablespaces/1"));
  EXPECT_THAT(command, Contains("--no-password"));
  EXPECT_THAT(command, Contains("--wal-method=none"));
  EXPECT_THAT(command, Each(Not(HasSubstr("--compress"))));
}

TEST(BackupCommand, AnOldProgramKnowsGzipAlone) {
  CopyPlan plan{.format = Format::tar, .compress = "gzip:3", .tool_major = 14};
  EXPECT_THAT(basebackup_command("p", {}, plan), Contains("--compress=3"));
  plan.compress = "gzip";
  EXPECT_THAT(basebackup_command("p", {}, plan), Contains("--compress=6"));
  plan.compress = "zstd";
  EXPECT_THROW(static_cast<void>(basebackup_command("p", {}, plan)), Error);
  plan.tool_major = 15;
  EXPECT_THAT(basebackup_command("p", {}, plan), Contains("--compress=zstd"));
}

}  // namespace
}  // namespace weir::backup::talk_test

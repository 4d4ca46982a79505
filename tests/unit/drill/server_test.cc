#include "drill/server.h"

#include <gtest/gtest.h>

#include <string>

namespace weir::drill::server_test {
namespace {

ServerSettings settings() {
  return {.restore_command = "pgweir restore -D '/srv/it''s' %f %p",
          .preload = "",
          .target = {},
          .last_record = wal::Lsn(0x3000148),
          .timeline = 2,
          .segment_size = {},
          .prepared_transactions = 5000};
}

bool has(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

TEST(ServerConfiguration, KeepsTheServerToItself) {
  for (int major = 13; major <= 18; ++major) {
    const auto text = server_configuration(settings(), major, "/tmp/pgweir-drill-x");
    for (const auto* line :
         {"listen_addresses = ''", "archive_mode = 'off'", "primary_conninfo = ''",
          "synchronous_standby_names = ''", "max_logical_replication_workers = '0'",
          "max_wal_senders = '0'", "shared_preload_libraries = ''",
          "session_preload_libraries = ''", "local_preload_libraries = ''",
          "unix_socket_permissions = '0700'", "hba_file = '/tmp/pgweir-drill-x/pg_hba.conf'",
          "recovery_target_timeline = '2'", "recovery_target_lsn = '0/3000148'",
          "max_prepared_transactions = '5000'"})
      EXPECT_TRUE(has(text, line)) << major << ": " << line;
    EXPECT_EQ(has(text, "event_triggers = 'off'"), major >= 17);
  }
}

TEST(ServerConfiguration, QuotesWhatItIsGiven) {
  const auto text = server_configuration(settings(), 15, "/tmp/o'clock");
  EXPECT_TRUE(has(text, "restore_command = 'pgweir restore -D ''/srv/it''''s'' %f %p'"));
  EXPECT_TRUE(has(text, "hba_file = '/tmp/o''clock/pg_hba.conf'"));
}

TEST(ServerConfiguration, HasOneTarget) {
  auto to_time = settings();
  to_time.target = {.kind = Target::Kind::time, .time = {1}};
  const auto text = server_configuration(to_time, 15, "/tmp/x");
  EXPECT_EQ(text.find("recovery_target_lsn"), std::string::npos);
  EXPECT_TRUE(has(text, "recovery_target_time = '2000-01-01 00:00:00.000001 UTC'"));
  EXPECT_TRUE(has(text, "recovery_prefetch = 'off'"));
  EXPECT_EQ(server_configuration(to_time, 14, "/tmp/x").find("recovery_prefetch"),
            std::string::npos);
}

}  // namespace
}  // namespace weir::drill::server_test

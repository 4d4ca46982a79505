#include "wal/server_version.h"

#include <gtest/gtest.h>

#include <vector>

#include "wal/page.h"

namespace weir::wal::server_version_test {
namespace {

/// The versions that have it, of those that are known.
template <typename Ability>
std::vector<int> with(Ability ability) {
  std::vector<int> majors;
  for (int major = kOldestKnownMajor; major <= kNewestKnownMajor; ++major)
    if ((ServerVersion(major).*ability)()) majors.push_back(major);
  return majors;
}

TEST(ServerVersion, CanWhatTheReleaseNotesOfItsMajorVersionSay) {
  using Majors = std::vector<int>;
  EXPECT_EQ(with(&ServerVersion::reports_in_hot_standby), (Majors{14, 15, 16, 17, 18, 19}));
  EXPECT_EQ(with(&ServerVersion::has_wal_statistics), (Majors{14, 15, 16, 17, 18, 19}));
  EXPECT_EQ(with(&ServerVersion::has_two_phase_in_sql_only), Majors{14});
  EXPECT_EQ(with(&ServerVersion::has_read_replication_slot), (Majors{15, 16, 17, 18, 19}));
  EXPECT_EQ(with(&ServerVersion::has_slot_options_in_parentheses), (Majors{15, 16, 17, 18, 19}));
  EXPECT_EQ(with(&ServerVersion::has_recovery_prefetch), (Majors{15, 16, 17, 18, 19}));
  EXPECT_EQ(with(&ServerVersion::has_wide_timeline), (Majors{16, 17, 18, 19}));
  EXPECT_EQ(with(&ServerVersion::decodes_on_standbys), (Majors{16, 17, 18, 19}));
  EXPECT_EQ(with(&ServerVersion::synchronizes_slots), (Majors{17, 18, 19}));
  EXPECT_EQ(with(&ServerVersion::has_invalidation_reason), (Majors{17, 18, 19}));
  EXPECT_EQ(with(&ServerVersion::has_event_triggers_setting), (Majors{17, 18, 19}));
  EXPECT_EQ(with(&ServerVersion::has_idle_slot_timeout), (Majors{18, 19}));
  EXPECT_EQ(with(&ServerVersion::has_own_limit_of_origins), (Majors{18, 19}));
  EXPECT_EQ(with(&ServerVersion::has_effective_wal_level), Majors{19});
  EXPECT_EQ(with(&ServerVersion::has_output_plugin_libraries), Majors{19});
  EXPECT_EQ(with(&ServerVersion::has_wide_checkpoint), Majors{19});
  EXPECT_EQ(ServerVersion(13).pgoutput_protocol(), 1);
  EXPECT_EQ(ServerVersion(14).pgoutput_protocol(), 2);
  EXPECT_EQ(ServerVersion(15).pgoutput_protocol(), 3);
  EXPECT_EQ(ServerVersion(19).pgoutput_protocol(), 4);
  EXPECT_EQ(ServerVersion::of_number(150018).major(), 15);
}

}  // namespace
}  // namespace weir::wal::server_version_test

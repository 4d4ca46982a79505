#include "cli/slot_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace weir::cli::slot_table_test {
namespace {

using ::testing::HasSubstr;

SlotRow slot(std::string status, bool active, std::optional<std::int64_t> retained) {
  SlotRow row{"weir", "physical", "0/2000000", {}};
  row.view.exists = true;
  row.view.active = active;
  row.view.wal_status = std::move(status);
  row.view.retained = retained;
  return row;
}

TEST(SlotList, WarnsOfSlotsInDangerOrCostly) {
  constexpr std::int64_t kGB = std::int64_t{1} << 30;
  EXPECT_EQ(slot_warning(slot("reserved", true, 10 * kGB)), std::nullopt);
  EXPECT_EQ(slot_warning(slot("reserved", false, kGB - 1)), std::nullopt);
  EXPECT_EQ(slot_warning(slot("", false, std::nullopt)), std::nullopt);
  EXPECT_THAT(slot_warning(slot("reserved", false, kGB)).value(), HasSubstr("retains 1 GB"));
  EXPECT_THAT(slot_warning(slot("unreserved", true, kGB)).value(), HasSubstr("next checkpoint"));
  EXPECT_THAT(slot_warning(slot("lost", false, std::nullopt)).value(), HasSubstr("drop it"));
  auto old = slot("reserved", true, 0);
  old.xmin_age = 49'999'999;
  EXPECT_EQ(slot_warning(old), std::nullopt);
  old.xmin_age = 123'000'000;
  EXPECT_THAT(slot_warning(old).value(), HasSubstr("123 million transactions"));
  auto invalidated = slot("reserved", false, 0);
  invalidated.view.invalidation_reason = "idle_timeout";
  EXPECT_THAT(slot_warning(invalidated).value(), HasSubstr("idle_timeout"));
}

TEST(SlotList, IsJsonAlsoIfTheNameOfADatabaseIsNoUtf8) {
  auto row = slot("reserved", true, 0);
  row.database = "m\xfcnchen";
  const auto json = nlohmann::json::parse(slots_json(std::vector{row}));
  EXPECT_EQ(json[0]["database"], "m\xef\xbf\xbdnchen");
}

TEST(SlotList, IsATable) {
  const SlotRow rows[] = {slot("reserved", true, 16), slot("lost", false, std::nullopt)};
  EXPECT_EQ(slots_text(rows),
            "name  type      active  restart_lsn  wal_status  safe_wal_size  retained\n"
            "weir  physical  yes     0/2000000    reserved    -              16 B\n"
            "weir  physical  no      0/2000000    lost        -              -\n"
            "warning: \"weir\" is lost (wal_status lost): the server has removed WAL that it "
            "needs, so it can no longer be used; drop it\n");
  SlotRow logical[] = {slot("reserved", true, 16), slot("reserved", true, 8)};
  logical[0].plugin = "pgoutput";
  logical[0].database = "shop";
  logical[0].confirmed_lsn = "0/3000000";
  EXPECT_THAT(slots_text(logical), HasSubstr("retained  confirmed  plugin    database\n"));
  EXPECT_THAT(slots_text(logical), HasSubstr("16 B      0/3000000  pgoutput  shop\n"));
  EXPECT_THAT(slots_text(logical), HasSubstr("8 B       -          -         -\n"));
  EXPECT_EQ(nlohmann::json::parse(slots_json(logical))[0]["plugin"], "pgoutput");
  EXPECT_EQ(slots_text({}), "no replication slots\n");
  EXPECT_TRUE(nlohmann::json::parse(slots_json(rows))[1]["retained_bytes"].is_null());
}

}  // namespace
}  // namespace weir::cli::slot_table_test

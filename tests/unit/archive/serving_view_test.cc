#include "archive/serving_view.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace weir::archive::serving_view_test {
namespace {

using wal::Lsn;

constexpr std::uint64_t kGb = std::uint64_t{1} << 30;

ServedSlot slot(std::uint64_t retained, std::optional<std::uint32_t> active, bool lost = false) {
  ServedSlot made;
  made.kept.name = "one";
  made.kept.lost = lost;
  made.kept.inactive_since = active ? "" : "yesterday";
  made.active_pid = active;
  made.retained = retained;
  return made;
}

TEST(ServedSlot, HoldsBackUpToTheEnd) {
  KeptSlot kept{.name = "a", .restart_lsn = Lsn(100)};
  EXPECT_EQ(retained_by(kept, Lsn(300)), 200u);
  EXPECT_EQ(retained_by(kept, Lsn(50)), 0u);
  kept.lost = true;
  EXPECT_EQ(retained_by(kept, Lsn(300)), 0u);
  EXPECT_EQ(retained_by({.name = "b"}, Lsn(300)), 0u);  // it reserves nothing
}

TEST(ServedSlot, WarnsOfWhatIsLostAndOfWhatNobodyUses) {
  EXPECT_FALSE(warning_of(slot(100 * kGb, 7)));
  EXPECT_FALSE(warning_of(slot(kGb - 1, std::nullopt)));
  const auto much = warning_of(slot(kGb, std::nullopt));
  ASSERT_TRUE(much);
  EXPECT_NE(much->find("\"one\" holds back 1 GB from pgweir prune"), std::string::npos) << *much;
  EXPECT_NE(much->find("since yesterday"), std::string::npos);
  const auto lost = warning_of(slot(0, std::nullopt, true));
  ASSERT_TRUE(lost);
  EXPECT_NE(lost->find("is lost"), std::string::npos);
}

TEST(DownstreamClient, IsBehindByWhatItHasReplayedElseFlushed) {
  DownstreamClient client;
  client.timeline = 1;
  client.state = "streaming";
  EXPECT_FALSE(bytes_behind(client, Lsn(1000)));  // it has not said anything
  client.flush = Lsn(900);
  EXPECT_EQ(bytes_behind(client, Lsn(1000)), 100u);
  client.replay = Lsn(400);
  EXPECT_EQ(bytes_behind(client, Lsn(1000)), 600u);
  EXPECT_EQ(bytes_behind(client, Lsn(300)), 0u);
  for (const auto* const state : {"startup", "backup"}) {
    client.state = state;
    EXPECT_FALSE(bytes_behind(client, Lsn(1000)));
  }
}

TEST(ServedCertificate, IsToldWithTheTimeThatIsLeft) {
  const auto now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  auto json = nlohmann::json::parse(
      certificate_json({.file = "/r/tls\xff.crt", .expires = now - std::chrono::hours(1)}));
  EXPECT_EQ(json["file"], "/r/tls\xef\xbf\xbd.crt") << "JSON has to be UTF-8";
  EXPECT_LE(json["expires_in_seconds"].get<std::int64_t>(), -3600);
  json = nlohmann::json::parse(
      certificate_json({.file = "f", .expires = now + std::chrono::hours(1000)}));
  EXPECT_GT(json["expires_in_seconds"].get<std::int64_t>(), 0);
}

TEST(ServingView, IsToldInPostgreSQLsWords) {
  ServingView view;
  view.listens = {"127.0.0.1:5433"};
  auto json = nlohmann::json::parse(to_json(view, {}));
  EXPECT_TRUE(json["timeline"].is_null());
  EXPECT_TRUE(json["end_lsn"].is_null());
  EXPECT_FALSE(json["has_slots"]);
  view.end = DurableEnd{2, Lsn(0x3000148)};
  view.slots.emplace();
  auto& client = view.clients.emplace_back();
  client.application_name = "\xff";  // any bytes, and JSON all the same
  client.timeline = 2;
  client.state = "catchup";
  client.flush = Lsn(0x3000000);
  client.ssl = ConnectionSsl{"TLSv1.3", "TLS_AES_256_GCM_SHA384", 256};
  json = nlohmann::json::parse(to_json(view, {.pid = 42}));
  EXPECT_EQ(json["pid"], 42);
  EXPECT_EQ(json["end_lsn"], "0/3000148");
  EXPECT_TRUE(json["has_slots"]);
  ASSERT_EQ(json["clients"], nlohmann::json::parse(clients_json(view)));
  const auto& told = json["clients"][0];
  EXPECT_EQ(told["behind_bytes"], 0x148);
  EXPECT_EQ(told["ssl"]["cipher"], "TLS_AES_256_GCM_SHA384");
  EXPECT_TRUE(told["replay_lsn"].is_null());
  EXPECT_TRUE(told["slot_name"].is_null());
}

}  // namespace
}  // namespace weir::archive::serving_view_test

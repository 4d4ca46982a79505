#include "status/view_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

namespace weir::status::view_json_test {
namespace {

using namespace std::chrono_literals;
using Json = nlohmann::json;
using receive::ReceiverView;
using SystemTime = ReceiverView::SystemTime;

constexpr SystemTime kNow(1'795'305'600s);  // 2026-11-22 00:00:00 UTC

archive::ServingView serving() {
  archive::ServingView view;
  view.listens = {"127.0.0.1:5433", "[::1]:5433"};
  view.end = archive::DurableEnd{2, wal::Lsn(0x3000148)};
  view.clients.push_back({.pid = 42,
                          .user = "repl",
                          .application_name = "standby1",
                          .client_address = "10.0.0.7",
                          .ssl = archive::ConnectionSsl{"TLSv1.3", "TLS_AES_256_GCM_SHA384", 256},
                          .slot = "s1",
                          .backend_start = kNow - 1h,
                          .state = "catchup",
                          .timeline = 2,
                          .sent = wal::Lsn(0x3000100),
                          .write = wal::Lsn(0x3000090),
                          .flush = wal::Lsn(0x3000080),
                          .replay = wal::Lsn(0x3000070),
                          .write_lag = 1500us,
                          .flush_lag = 2'000'001us,
                          .replay_lag = 3ms,
                          .behind = 0xd8,
                          .sync_state = "sync",
                          .reply_time = kNow - 12ms,
                          .xmin = std::uint64_t{1} << 33});
  view.certificate =
      archive::ServedCertificate{"/r/tls.crt", std::chrono::floor<std::chrono::seconds>(kNow) + 1h};
  view.problem = archive::ServingProblem{"out of memory", true, kNow - 70s};
  return view;
}

store::StoreView stored() {
  store::StoreView view;
  view.store = "s3://wal/p/main";
  view.pending_segments = 3;
  view.pending_histories = 1;
  view.pending_bytes = 3 << 20;
  view.next = "000000010000000000000007";
  view.pending_since = kNow - 90s;
  view.sent_to = wal::SegmentName::parse("000000010000000000000006");
  view.sent_lsn = wal::Lsn(0x7000000);
  view.stored_end = store::StoredEnd::Position{2, wal::Lsn(0x7000010)};
  view.open_lsn = wal::Lsn(0x7000020);
  view.open_sent = kNow - 5s;
  view.open_objects = 9;
  view.sent_files = 10;
  view.sent_bytes = 11;
  view.failures = {{"throttled", 2}, {"conflict", 1}};
  view.removed_files = 12;
  view.not_compared = 13;
  view.sent_again = 14;
  view.last_success = kNow - 91s;
  view.manifest = store::StoreView::Manifest{"main", 5, "0123", "4567", true};
  view.problem =
      store::StoreView::Problem{"it is away", "Look there.", "unreachable", true, kNow - 80s};
  view.next_try = kNow + 20s;
  view.kept_for = "the manifest is not signed";
  return view;
}

/// With every member that is told set to something.
ReceiverView full() {
  ReceiverView view;
  view.taken = kNow;
  view.pid = 4711;
  view.version = "0.1.0";
  view.config = "/etc/pgweir/main.ini";
  view.started = kNow - 2h;
  view.state = "streaming";
  view.state_since = kNow - 1h;
  view.outage_since = kNow - 50min;
  view.cut_off_since = kNow - 40min;
  view.lag_time = 1500ms;
  view.lag_at_least = 1400ms;
  view.server = "db1:5432";
  view.cluster_name = "orders";
  view.hosts = {{.index = 1,
                 .name = "db1:5432",
                 .eligibility = receive::Eligibility::behind,
                 .taken = true,
                 .why = "it has less"}};
  view.silence = 412ms;
  view.stream = receive::StreamSnapshot{.timeline = 2,
                                        .start = wal::Lsn(0x6000000),
                                        .write = wal::Lsn(0x7000200),
                                        .flush = wal::Lsn(0x7000100),
                                        .confirmed = wal::Lsn(0x6000100),
                                        .server_end = wal::Lsn(0x7000300)};
  view.bytes_per_second = 21;
  view.archived_bytes = 22;
  view.streams = 23;
  view.errors = 24;
  view.segments_finished = 25;
  view.slow_syncs = 26;
  view.syncs = receive::SyncTimes::Summary{100, 2200us, 2201us, 1500ms};
  view.last_error = "no server";
  view.last_error_time = kNow - 30min;
  for (const auto& kind : archive::Loss::kinds()) {
    archive::Loss loss;
    loss.kind = kind.kind;
    loss.timeline = loss.next_timeline = 1;
    loss.begin = wal::Lsn(0x3000000);
    loss.end = wal::Lsn(0x4000000);
    loss.commits = 7;
    loss.acknowledged = archive::Loss::Acknowledgement{};
    view.losses.push_back(loss);
  }
  view.slot = "weir";
  view.slot_warning = "it is running out";
  view.slot_read_at = kNow - 20s;
  view.slot_view =
      pq::SlotView{.exists = true, .wal_status = "extended", .safe_wal_size = 64, .retained = 32};
  view.candidates = {{.host = "db2:5432",
                      .index = 1,
                      .cover = receive::Cover::no_slot,
                      .reason = "no slot",
                      .timeline = 2,
                      .end = wal::Lsn(0x7000300),
                      .slot_lsn = wal::Lsn(0x6000000),
                      .answered = kNow - 20s,
                      .silent_since = kNow - 10s,
                      .slot_gone_since = kNow - 15s,
                      .was_covered = true}};
  const auto day = std::chrono::floor<std::chrono::seconds>(kNow);
  view.certificates = {"/s/tls.crt", day + 240h, day + 2400h, "the key is gone"};
  view.comparison = ReceiverView::Comparison{.with = "db3:5432",
                                             .problem = "it is away",
                                             .timeline = 2,
                                             .position = wal::Lsn(0x7000000),
                                             .bytes = 31,
                                             .skipped_bytes = 32,
                                             .differences = 33,
                                             .difference = "other WAL",
                                             .difference_time = kNow - 3s};
  view.to_compress = 34;
  view.serving = serving();
  view.store = stored();
  return view;
}

/// Where a member has nothing in it: the view of this test lacks it.
std::string empty_member(const Json& json, const std::string& path = "") {
  if (json.is_structured()) {
    if (json.empty()) return path;
    for (const auto& [key, value] : json.items())
      if (auto found = empty_member(value, path + "/" + key); !found.empty()) return found;
    return "";
  }
  const bool empty = json.is_null() || json == "" || json == 0 || json == false;
  return empty && !path.ends_with("/covered") ? path : "";
}

TEST(ViewJson, BringsEveryMemberThereAndBack) {
  const auto view = full();
  const auto json = json_of(view);
  EXPECT_EQ(empty_member(json), "") << "give it a value in full()";
  const auto again = receiver_of(to_json(view), kNow);
  ASSERT_TRUE(again);
  EXPECT_EQ(json_of(*again), json) << Json::diff(json, json_of(*again));
  EXPECT_EQ(again->lag(), 0x200U);
  EXPECT_EQ(again->losses.size(), 3U);
  EXPECT_EQ(again->serving->end->flush, wal::Lsn(0x3000148)) << "it has a problem";

  archive::Relay relay{kNow, 42, "0.1.0", kNow - 1h, serving()};
  relay.serving.slots.emplace();
  const auto told = json_of(relay);
  EXPECT_EQ(empty_member(told), "");
  const auto relay_again = relay_of(to_json(relay), kNow);
  ASSERT_TRUE(relay_again);
  EXPECT_EQ(json_of(*relay_again), told) << Json::diff(told, json_of(*relay_again));
}

TEST(ViewJson, BringsAViewWithNothingInItThereAndBack) {
  ReceiverView view;
  view.taken = kNow;
  const auto json = json_of(view);
  const auto again = receiver_of(to_json(view), kNow);
  ASSERT_TRUE(again);
  EXPECT_EQ(json_of(*again), json) << Json::diff(json, json_of(*again));
  for (const char* const absent :
       {"flush_lsn", "lag_bytes", "slot", "slot_warning", "certificates", "comparison", "hosts",
        "candidates", "clients", "store", "syncs", "silence_ms", "bytes_per_second", "last_error"})
    EXPECT_FALSE(json.contains(absent)) << absent;
  EXPECT_TRUE(json_of(archive::Relay{})["end_lsn"].is_null());
  EXPECT_FALSE(relay_of(to_json(archive::Relay{}), kNow)->serving.end);
}

TEST(ViewJson, CountsAgesFromTheMomentOfTheView) {
  const auto json = json_of(full());
  EXPECT_EQ(json["last_message"], "2026-11-21 23:59:59.588 UTC");
  EXPECT_EQ(json["certificates"]["client_expires_in_seconds"], 864000);
  EXPECT_EQ(json["serve_certificate"]["expires_in_seconds"], 3600);
  EXPECT_EQ(json["serve_problem"]["since"], "2026-11-21 23:58:50.000 UTC");
  EXPECT_EQ(json["store"]["oldest_pending_seconds"], 90);
  EXPECT_EQ(json["store"]["failures"], 3);
  EXPECT_EQ(json["lag_bytes"], 0x200);
  EXPECT_EQ(json["clients"][0]["write_lag_ms"], 1.5);
}

TEST(ViewJson, TellsAFullDiskAsTheState) {
  auto view = full();
  view.disk_full_since = kNow - 1s;
  EXPECT_EQ(json_of(view)["state"], "disk full");
  const auto again = receiver_of(to_json(view), kNow);
  EXPECT_EQ(again->disk_full_since, kNow - 1s);
  EXPECT_FALSE(again->is_streaming());
}

TEST(ViewJson, ReadsWhatAnotherVersionTells) {
  for (const char* const none : {"", "[1", "[]", "7", "\"x\"", "null"})
    EXPECT_FALSE(receiver_of(none, kNow)) << none;
  // Nothing that this version knows, and what has become something else.
  const auto other = receiver_of(
      R"({"news": {"a": [1]}, "state": 7, "pid": "x", "silence_ms": -1e99, "streams": -1,
          "hosts": 3, "store": [], "candidates": [4, {"cover": "of a newer version"}],
          "clients": "none", "syncs": {"p50_ms": "slow"}, "losses": null, "holes": [[]],
          "certificates": {"client_expires": "soon"}})",
      kNow);
  ASSERT_TRUE(other);
  EXPECT_EQ(other->state, "");
  EXPECT_EQ(other->pid, 0);
  EXPECT_EQ(other->streams, 0U);
  EXPECT_FALSE(other->silence);
  EXPECT_FALSE(other->store);
  EXPECT_FALSE(other->serving);
  EXPECT_TRUE(other->losses.empty());
  EXPECT_FALSE(other->certificates.client_expires);
  ASSERT_EQ(other->candidates.size(), 1U);
  EXPECT_EQ(other->candidates[0].cover, receive::Cover::no_answer);
  // Half a position is none: what is durable is not guessed.
  EXPECT_FALSE(receiver_of(R"({"flush_lsn": "0/7000100"})", kNow)->stream);
  EXPECT_FALSE(receiver_of(R"({"timeline": 1})", kNow)->stream);
  EXPECT_FALSE(receiver_of(R"({"timeline": 1, "flush_lsn": "x"})", kNow)->stream);
  EXPECT_TRUE(receiver_of(R"({"timeline": 1, "flush_lsn": "0/1"})", kNow)->stream);
}

TEST(ViewJson, IsAlwaysUtf8) {
  auto view = full();
  view.last_error = "file \xff";
  view.serving->clients[0].application_name = "\xff";  // any bytes
  EXPECT_EQ(receiver_of(to_json(view), kNow)->last_error, "file \xef\xbf\xbd");
}

}  // namespace
}  // namespace weir::status::view_json_test

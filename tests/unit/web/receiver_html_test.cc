#include "web/receiver_html.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "status/view_json.h"

namespace weir::web::receiver_html_test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Facts told(const std::string& receiver) {
  Facts facts;
  facts.report.receiver = status::receiver_of(receiver, {});
  return facts;
}

std::size_t count(const std::string& html, std::string_view text) {
  std::size_t found = 0;
  for (auto at = html.find(text); at != std::string::npos; at = html.find(text, at + 1)) ++found;
  return found;
}

TEST(Downstream, IsATableOfClientsTheFurthestBehindFirst) {
  const auto html = downstream_html(told(
      R"({"clients": [7, {"application_name": "near", "client_addr": "::1", "behind_bytes": 10},
          {"application_name": "<b>far</b>", "client_addr": "10.0.0.7", "slot_name": "s<1>",
           "state": "catchup", "sync_state": "async", "behind_bytes": 3145728,
           "flush_lsn": "0/5000000", "flush_lag_ms": 1.25, "replay_lsn": "0/4000000",
           "replay_lag_ms": 1234.5},
          {"application_name": "begins", "behind_bytes": null}]})"));
  EXPECT_THAT(html,
              HasSubstr("<div class=\"scroll\"><table><tr><th scope=\"col\">client</th>"
                        "<th scope=\"col\">from</th><th scope=\"col\">state</th>"
                        "<th scope=\"col\">behind</th><th scope=\"col\">flushed</th>"
                        "<th scope=\"col\">replayed</th></tr>\n"
                        "<tr><td>&lt;b&gt;far&lt;/b&gt;</td><td>10.0.0.7, slot s&lt;1&gt;</td>"
                        "<td>catchup, async</td><td>3 MB</td><td>0/5000000 (1.25 ms)</td>"
                        "<td>0/4000000 (1.2 s)</td></tr>\n<tr><td>near</td><td>::1</td>"));
  EXPECT_EQ(count(html, "<tr>"), 4U) << "the head and three; a number is no client";
  EXPECT_LT(html.find("near"), html.find("begins"));
}

TEST(Downstream, IsBounded) {
  std::string clients;
  for (int i = 0; i < 53; ++i)
    clients += fmt::format(R"({}{{"application_name": "c{}", "behind_bytes": {}}})",
                           i == 0 ? "" : ",", i, i);
  const auto html = downstream_html(told("{\"clients\": [" + clients + "]}"));
  EXPECT_EQ(count(html, "<tr>"), 52U);
  EXPECT_THAT(html,
              HasSubstr("<tr><td colspan=\"6\">and 3 more, which are less behind</td></tr>\n"));
  EXPECT_THAT(html, HasSubstr("<td>c3</td>"));
  EXPECT_THAT(html, Not(HasSubstr("<td>c2</td>"))) << "the least behind is left out";
}

TEST(Downstream, SaysThatNobodyIsServed) {
  EXPECT_EQ(downstream_html(told(R"({"clients": []})")), "<p>No clients are connected.</p>\n");
  EXPECT_EQ(downstream_html(told(R"({"clients": "none"})")), "");
  EXPECT_EQ(downstream_html(told(R"({"state": "streaming"})")), "");
  EXPECT_EQ(downstream_html(Facts()), "");
}

TEST(Downstream, HasEachRelayWithItsOwnClients) {
  Facts facts;
  facts.report.relays.resize(2);
  facts.report.relays[0].pid = 4711;
  facts.report.relays[0].serving.clients.emplace_back().application_name = "a";
  facts.report.relays[1].pid = 4712;
  const auto html = downstream_html(facts);
  EXPECT_THAT(html, HasSubstr("<h3>pgweir serve, pid 4711</h3>\n<div"));
  EXPECT_THAT(html, HasSubstr("<td>a</td>"));
  EXPECT_THAT(html, HasSubstr("<h3>pgweir serve, pid 4712</h3>\n"));
  EXPECT_EQ(count(html, "<h3>"), 2U);
}

TEST(Downstream, HasTheSlotsThatAreKeptAndWhatIsTheMatterWithThem) {
  Facts facts;
  archive::ServedSlot used{.kept = {.name = "used", .restart_lsn = wal::Lsn(0x3000000)},
                           .active_pid = 12,
                           .retained = std::uint64_t{3} << 30};
  archive::ServedSlot idle{.kept = {.name = "idle<1>", .restart_lsn = wal::Lsn(0x2000000)},
                           .retained = std::uint64_t{2} << 30};
  archive::ServedSlot lost{.kept = {.name = "gone", .lost = true}};
  facts.report.slots = {used, idle, lost};
  const auto html = downstream_html(facts);
  EXPECT_THAT(html, HasSubstr("<h3>Slots of clients</h3>\n"));
  EXPECT_THAT(html, HasSubstr("<tr><td>used</td><td>0/3000000</td><td>3 GB</td><td>in use</td>"
                              "<td></td></tr>\n"));
  EXPECT_THAT(html, HasSubstr("<tr><td>idle&lt;1&gt;</td><td>0/2000000</td><td>2 GB</td>"
                              "<td>not in use</td><td><span class=\"badge warning\">"));
  EXPECT_THAT(html,
              HasSubstr("&quot;idle&lt;1&gt;&quot; retains 2 GB that pgweir prune would remove"));
  EXPECT_THAT(html, HasSubstr("&quot;gone&quot; is lost (--serve-max-slot-wal-keep-size)"));
}

TEST(Candidates, SayWhetherAFailoverToThemIsCovered) {
  const auto html = candidates_html(told(
      R"({"candidates": [{"host": "db2:5432", "cover": "covered", "slot_lsn": "0/3000000"}, 5,
          {"host": "<db3>", "cover": "no_slot", "reason": "no slot <there>"},
          {"host": "db4", "cover": "of a newer version"}]})"));
  EXPECT_THAT(html, HasSubstr("<th scope=\"col\">a failover to it</th>"));
  EXPECT_THAT(html, HasSubstr("<tr><td>db2:5432</td><td><span class=\"badge ok\">"));
  EXPECT_THAT(html, HasSubstr(" covered</td><td>0/3000000</td><td></td></tr>\n"));
  EXPECT_THAT(html, HasSubstr("<tr><td>&lt;db3&gt;</td><td><span class=\"badge warning\">"));
  EXPECT_THAT(html, HasSubstr(" not covered</td><td></td><td>no slot &lt;there&gt;</td></tr>\n"));
  EXPECT_THAT(html, HasSubstr("<tr><td>db4</td><td><span class=\"badge warning\">"))
      << "what is not known is not covered";
  EXPECT_EQ(count(html, "<tr>"), 4U);
  EXPECT_EQ(candidates_html(told(R"({"candidates": {}})")), "");
  EXPECT_EQ(candidates_html(told(R"({})")), "");
  EXPECT_EQ(candidates_html(Facts()), "");
}

TEST(Receiver, SaysWhyItCannotBeAsked) {
  Facts facts;
  facts.report.receiver_error = "permission <denied>";
  const auto html = receiver_html(facts);
  EXPECT_THAT(html, HasSubstr("badge critical"));
  EXPECT_THAT(html, HasSubstr("permission &lt;denied&gt;"));
  EXPECT_EQ(receiver_html(Facts()), "<p>No receiver runs.</p>\n");
}

TEST(Receiver, SaysWhatIsKnownOfTheSlotAndOfWhen) {
  auto facts = told(R"({"state": "waiting", "slot": "weir", "slot_wal_status": "reserved",
                        "slot_retained_bytes": 1024})");
  auto& receiver = *facts.report.receiver;
  receiver.taken = std::chrono::system_clock::time_point(std::chrono::seconds(1'795'305'600));
  receiver.slot_read_at = receiver.taken - std::chrono::seconds(30);
  EXPECT_THAT(receiver_html(facts), HasSubstr("weir, reserved, keeps 1 kB</dd>"));
  receiver.slot_read_at = receiver.taken - std::chrono::hours(3);
  EXPECT_THAT(receiver_html(facts), HasSubstr("keeps 1 kB, as of <time"));
  EXPECT_THAT(receiver_html(facts), HasSubstr("2026-11-21 21:00:00 UTC"));
  EXPECT_THAT(receiver_html(facts), HasSubstr("not known: no WAL streams"));
  receiver.server = "db1:5432";
  EXPECT_THAT(receiver_html(facts), HasSubstr("<dd>db1:5432, from which no WAL streams</dd>"));
  receiver.stream.emplace();
  EXPECT_THAT(receiver_html(facts), HasSubstr("<dt>Upstream</dt><dd>db1:5432</dd>"));
  receiver.slot_view.reset();
  EXPECT_THAT(receiver_html(facts), HasSubstr("weir; its state is unknown (--monitor-conninfo"));
}

TEST(Receiver, TellsWhatIsLeftToDo) {
  const auto html = receiver_html(told(
      R"({"state": "streaming", "segments_to_compress": 3,
          "store": {"store": "s3://wal", "pending_segments": 0, "sent_again": 2}})"));
  EXPECT_THAT(html, HasSubstr("<dt>To compress</dt><dd>3 segments</dd>"));
  EXPECT_THAT(html, HasSubstr("2 sent, gone from the store, and sent again"));
  EXPECT_THAT(html, HasSubstr("badge warning"));
  const auto none = receiver_html(
      told(R"({"segments_to_compress": 0, "store": {"store": "s", "sent_again": 0}})"));
  EXPECT_THAT(none, Not(HasSubstr("To compress")));
  EXPECT_THAT(none, Not(HasSubstr("sent again")));
}

}  // namespace
}  // namespace weir::web::receiver_html_test

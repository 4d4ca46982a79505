#include "web/fleet.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string_view>

#include "base/error.h"
#include "status/text.h"
#include "status/view_json.h"
#include "web/fleet_file.h"

namespace weir::web::fleet_test {
namespace {

using status::Level;
using status::Topic;
using ::testing::HasSubstr;
using namespace std::chrono_literals;

TEST(FleetFile, HasASectionForEachArchive) {
  const auto members = parse_fleet(
      "# ours\n[orders]\ndirectory = /srv/wal = x\nbackups=/a\n  backups = /b\n\n"
      "; theirs\n[billing-2]\r\nurl = https://db2:9190/\ntoken-file = /etc/token\nca = "
      "/etc/ca\nreceiver = "
      "none\n",
      "f");
  ASSERT_EQ(members.size(), 2U);
  EXPECT_EQ(members[0],
            (FleetMember{.name = "orders", .directory = "/srv/wal = x", .backups = {"/a", "/b"}}));
  EXPECT_EQ(members[1], (FleetMember{.name = "billing-2",
                                     .url = "https://db2:9190",
                                     .token_file = "/etc/token",
                                     .ca = "/etc/ca",
                                     .at_rest = true}));
}

TEST(FleetFile, IsRefusedWithTheLineThatIsWrong) {
  const struct {
    const char* text;
    const char* why;
    int line;
  } cases[] = {
      {"", "does not list any archives", 0},
      {"directory = /a\n", "before the first section", 1},
      {"[a]\n[b]\ndirectory = /b\n", "[a] needs either a directory or a url", 2},
      {"[a]\n", "[a] needs either a directory or a url", 1},
      {"[a]\ndirectory = /a\nurl = http://b\n", "either a directory or a url", 3},
      {"[a]\ndirectory = /a\ndirectory = /b\n", "\"directory\" is specified twice", 3},
      {"[a]\ndirectory =\n", "\"directory\" has no value", 2},
      {"[a]\ndirectory = \"/a b\"\n", "quoted value of \"directory\"", 2},
      {"[a]\nurl = ftp://b\n", "http:// or https://", 2},
      {"[a]\ndirectory = /a\ntoken-file = /t\n", "token-file without a url", 3},
      {"[a]\nurl = http://b\nbackups = /t\n", "backups without a directory", 3},
      {"[a]\nurl = http://b\nca = /c\n", "ca without an https:// url", 3},
      {"[a]\ndirectory = /a\nca = /c\n", "ca without an https:// url", 3},
      {"[a]\nurl = https://b\nca = /c\nca = /d\n", "\"ca\" is specified twice", 4},
      {"[a]\ndirectory = /a\n[a]\n", "[a] is specified twice", 3},
      {"[a/b]\n", "section names contain only", 1},
      {"[..]\n", "section names contain only", 1},
      {"[a\n", "section names contain only", 1},
      {"[]\n", "section names contain only", 1},
      {"[a]\nwhat\n", "neither a [section]", 2},
      {"[a]\nreceiver = maybe\n", "receiver", 2},
      {"[a]\ncolour = red\n", "unknown setting \"colour\"", 2},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.text);
    try {
      static_cast<void>(parse_fleet(each.text, "the file"));
      ADD_FAILURE() << "taken";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::usage);
      EXPECT_THAT(error.what(), HasSubstr(each.why));
      if (each.line > 0)
        EXPECT_THAT(error.what(), HasSubstr("line " + std::to_string(each.line)));
      else
        EXPECT_THAT(error.what(), ::testing::Not(HasSubstr("line")));
    }
  }
}

FleetState with(Level level, Topic topic) {
  return {.asked = true, .level = level, .findings = {{level, "x", topic}}};
}

TEST(Fleet, RanksTheWorstFirst) {
  EXPECT_EQ(rank_of(with(Level::critical, Topic::hole)), Rank::lost);
  EXPECT_EQ(rank_of(with(Level::ok, Topic::hole)), Rank::well);  // acknowledged
  EXPECT_EQ(rank_of(with(Level::critical, Topic::branch)), Rank::lost);
  EXPECT_EQ(rank_of(with(Level::warning, Topic::branch)), Rank::warned);
  EXPECT_EQ(rank_of(with(Level::critical, Topic::damage)), Rank::damaged);
  EXPECT_EQ(rank_of(with(Level::critical, Topic::no_receiver)), Rank::not_archiving);
  EXPECT_EQ(rank_of(state_of_error("gone", Silence::unreachable)), Rank::not_archiving);
  EXPECT_EQ(rank_of(with(Level::warning, Topic::slot)), Rank::endangered);
  EXPECT_EQ(rank_of(with(Level::critical, Topic::store)), Rank::endangered);
  EXPECT_EQ(rank_of(with(Level::warning, Topic::store)), Rank::warned);
  EXPECT_EQ(rank_of(with(Level::critical, Topic::certificate)), Rank::endangered);
  EXPECT_EQ(rank_of(with(Level::critical, Topic::lag)), Rank::behind);
  EXPECT_EQ(rank_of(with(Level::warning, Topic::relay)), Rank::warned);
  EXPECT_EQ(rank_of({}), Rank::not_known);
  EXPECT_EQ(rank_of({.asked = true, .level = Level::ok}), Rank::well);
}

TEST(Fleet, SortsByRankAndThenByHowLongItHasBeenSo) {
  const SystemTime now(1000s);
  std::vector<FleetRow> rows = {
      {.name = "well", .state = {.asked = true, .level = Level::ok}, .since = now - 100s},
      {.name = "silent", .state = state_of_error("x", Silence::unreachable), .since = now},
      {.name = "hole-new", .state = with(Level::critical, Topic::hole), .since = now},
      {.name = "hole-old", .state = with(Level::critical, Topic::hole), .since = now - 1s},
      {.name = "waits", .state = with(Level::warning, Topic::not_streaming), .since = now - 90s},
      {.name = "slot", .state = with(Level::warning, Topic::slot), .since = now - 900s},
      {.name = "also-well", .state = {.asked = true, .level = Level::ok}, .since = now},
  };
  EXPECT_EQ(fleet_title(rows), "5 of 7 need attention");
  sort_rows(rows);
  std::vector<std::string> names;
  for (const auto& row : rows) names.push_back(row.name);
  EXPECT_THAT(names, ::testing::ElementsAre("hole-old", "hole-new", "silent", "waits", "slot",
                                            "also-well", "well"));
}

TEST(Fleet, CountsEachKindAndAdvisesOnce) {
  const SystemTime now(1000s);
  std::vector<FleetRow> rows;
  for (const auto* name : {"a", "b", "c"})
    rows.push_back(
        {.name = name, .state = with(Level::critical, Topic::no_receiver), .since = now - 60s});
  rows.push_back({.name = "d", .state = {.asked = true, .level = Level::ok}, .since = now});
  const auto html = fleet_html(rows, now, "0.1.0");
  EXPECT_THAT(html, HasSubstr("data-kind=\"\">all: 4</button>"));
  EXPECT_THAT(html, HasSubstr("data-kind=\"not_archiving\">not archiving: 3</button>"));
  EXPECT_THAT(html, HasSubstr("data-kind=\"well\">well: 1</button>"));
  EXPECT_THAT(html, HasSubstr("<tr id=\"row-a\" data-kind=\"not_archiving\">"));
  const auto advice = html.find("Start the receiver");
  EXPECT_NE(advice, std::string::npos);
  EXPECT_EQ(html.find("Start the receiver", advice + 1), std::string::npos);
  EXPECT_THAT(html, HasSubstr("<b>no receiver</b> (3 archives)"));
}

std::size_t count(std::string_view text, std::string_view what) {
  std::size_t found = 0;
  for (auto at = text.find(what); at != std::string_view::npos; at = text.find(what, at + 1))
    ++found;
  return found;
}

TEST(Fleet, AdvisesOnceOnEachReasonWhyAnArchiveDoesNotAnswer) {
  std::vector<FleetRow> rows;
  const auto add = [&](const char* where, Silence silence) {
    rows.push_back({.name = "a" + std::to_string(rows.size()),
                    .where = where,
                    .state = state_of_error("why", silence)});
  };
  for (const auto* url : {"https://db1:9190", "https://db2:9190", "https://db3:9190"})
    add(url, Silence::unreachable);
  add("https://db4:9190", Silence::unreachable);
  add("https://db5:9190", Silence::token);
  add("/srv/the wal", Silence::unreadable);
  add("/srv/nfs", Silence::hanging);
  const auto html = fleet_html(rows, SystemTime(), "0.1.0");
  const auto advice = html.substr(html.find("id=\"advice\""));
  EXPECT_THAT(advice, HasSubstr("<b>The page does not answer</b> (4 archives): "));
  EXPECT_EQ(count(advice, "<b>The page does not answer</b>"), 1U);
  EXPECT_EQ(count(advice, "<code>curl "), 3U) << "the first few";
  EXPECT_THAT(advice, HasSubstr("<code>curl -sS -m 10 https://db1:9190/healthz</code>"));
  EXPECT_THAT(advice, HasSubstr("<b>The token is rejected</b> (1 archive): Copy the token"));
  EXPECT_THAT(advice, HasSubstr("<b>The directory cannot be read</b> (1 archive): "));
  EXPECT_THAT(advice, HasSubstr("<code>pgweir status -D &#39;/srv/the wal&#39;</code>"));
  EXPECT_THAT(advice, HasSubstr("<b>The check of the directory does not return</b> (1 archive): "));
  EXPECT_EQ(count(advice, "href=\"troubleshooting#the-page\""), 4U);
  for (const auto silence : {Silence::unreachable, Silence::certificate, Silence::token,
                             Silence::other_answer, Silence::unreadable, Silence::hanging})
    EXPECT_FALSE(words_of(silence).hint.empty());
}

TEST(Fleet, KnowsSinceWhenOnlyOfWhatItHasSeenBegin) {
  const SystemTime start(1000s);
  const auto silent = state_of_error("x", Silence::unreachable);
  const FleetState well{.asked = true, .level = Level::ok};
  FleetSince since;
  auto moment = since.of(silent, start);
  EXPECT_EQ(moment.at, start);
  EXPECT_FALSE(moment.known) << "so it was before, nobody knows for how long";
  moment = since.of(silent, start + 10s);
  EXPECT_EQ(moment.at, start);
  EXPECT_FALSE(moment.known);
  EXPECT_TRUE(since.of(well, start + 20s).known);
  moment = since.of(well, start + 30s);
  EXPECT_EQ(moment.at, start + 20s);
  moment = since.of(silent, start + 50s);
  EXPECT_EQ(moment.at, start + 30s) << "when it answered last";
  EXPECT_TRUE(moment.known);
  // Of the same rank, and no longer silent.
  moment = since.of(with(Level::critical, Topic::no_receiver), start + 60s);
  EXPECT_EQ(moment.at, start + 60s);
  auto told = with(Level::critical, Topic::no_receiver);
  told.since = start - 100s;
  moment = since.of(told, start + 70s);
  EXPECT_EQ(moment.at, start - 100s) << "what the archive says counts";
  EXPECT_TRUE(moment.known);
}

TEST(Fleet, IsAsOfTheOldestAnswer) {
  const FleetState well{.asked = true, .level = Level::ok};
  const SystemTime now(100s);
  const auto html = fleet_html({{.name = "new", .state = well, .answered = now - 10s},
                                {.name = "old", .state = well, .answered = now - 40s},
                                {.name = "not asked"}},
                               now, "0.1.0");
  EXPECT_THAT(html, HasSubstr("id=\"looked\"><time datetime=\"1970-01-01T00:01:00"));
  EXPECT_THAT(fleet_html({{.name = "not asked"}}, now, "0.1.0"), HasSubstr("T00:01:40"));
}

TEST(Fleet, SaysBeforeWhenATroubleBegan) {
  const auto html_of = [](bool known) {
    return fleet_html({{.name = "a",
                        .state = with(Level::critical, Topic::hole),
                        .since = SystemTime(0s),
                        .since_is_known = known}},
                      SystemTime(), "0.1.0");
  };
  EXPECT_THAT(html_of(true), HasSubstr("<td class=\"rest\"><span class=\"since\">"));
  EXPECT_THAT(html_of(false), HasSubstr("<td class=\"rest\">before <time "));
  EXPECT_THAT(fleet_html({{.name = "a"}}, SystemTime(), "0.1.0"),
              ::testing::Not(HasSubstr("class=\"since\"")))
      << "not asked yet";
}

TEST(Fleet, KnowsSinceWhenByWhatTheArchiveSays) {
  status::StatusReport report;
  report.directory = "/srv/wal";
  status::timeline_of(report, 1).segments = 1;
  report.holes.push_back({.timeline = 1,
                          .from = wal::Lsn(0x1000000),
                          .to = wal::Lsn(0x2000000),
                          .segments = 1,
                          .id = "hole-1-0-1000000",
                          .found = "2026-11-20 10:00:00.000 UTC"});
  report.ended = archive::LastWord{.time = "2026-11-19 10:00:00.000 UTC", .message = "x"};
  const auto verdict = status::check(report, {});
  const auto found = wal::PgTime::parse("2026-11-20 10:00:00 UTC")->system_time();
  EXPECT_EQ(state_of_report(report, false).since, found);
  EXPECT_EQ(state_of_json(status::status_json(report, verdict), false).since, found);
  report.holes.clear();
  EXPECT_EQ(state_of_report(report, false).since, found - 24h) << "of what is the worst now";
  report.ended.reset();
  EXPECT_EQ(state_of_report(report, false).since, std::nullopt);
}

TEST(Fleet, ReadsWhatAPageSaysOfItself) {
  status::StatusReport report;
  report.directory = "/srv/wal";
  report.free_bytes = 7;
  report.receiver = status::receiver_of(
      R"({"state": "streaming", "server": "db1:5432", "timeline": 1, "flush_lsn": "0/7000100",
          "server_lsn": "0/7000105", "slot_warning": "running out", "cluster_name": "orders"})",
      {});
  const auto verdict = status::check(report, {});
  const auto here = state_of_report(report, false);
  const auto there = state_of_json(status::status_json(report, verdict), false);
  for (const auto* state : {&here, &there}) {
    EXPECT_FALSE(state->error);
    EXPECT_EQ(state->level, Level::warning);
    EXPECT_EQ(rank_of(*state), Rank::endangered);
    EXPECT_EQ(state->server, "db1:5432");
    EXPECT_EQ(state->cluster_name, "orders");
    EXPECT_EQ(state->position, "0/7000100");
    EXPECT_EQ(state->lag, 5U);
    EXPECT_EQ(state->free, 7U);
  }
  report.silent_since = SystemTime(1'795'305'600s);
  const auto hangs = state_of_json(status::status_json(report, status::check(report, {})), false);
  EXPECT_EQ(hangs.level, Level::critical);
  EXPECT_EQ(rank_of(hangs), Rank::not_archiving);
  EXPECT_EQ(hangs.since, report.silent_since);
  for (const char* const other : {"", "{}", "[]", "<html>", "{\"findings\": 7}"})
    EXPECT_TRUE(state_of_json(other, false).error) << other;
  EXPECT_FALSE(state_of_json("{\"findings\": [7, {}]}", false).error);
}

TEST(Fleet, TakesAnArchiveAtRestForWell) {
  status::StatusReport report;
  report.directory = "/srv/wal";
  EXPECT_EQ(rank_of(state_of_report(report, true, {.at_rest = true})), Rank::damaged) << "no WAL";
  status::timeline_of(report, 1).segments = 1;
  EXPECT_EQ(rank_of(state_of_report(report, false)), Rank::not_archiving);
  EXPECT_EQ(rank_of(state_of_report(report, true)), Rank::well);
  EXPECT_EQ(rank_of(state_of_report(report, true, {.max_lag = 1, .at_rest = true})), Rank::well)
      << "a limit for those that have a receiver";
}

TEST(Fleet, EscapesWhatArchivesSay) {
  auto state = with(Level::critical, Topic::damage);
  state.findings[0].text = "<script>";
  state.server = "<b>";
  const auto html =
      fleet_html({{.name = "a", .where = "/srv/<i>", .link = "archive/a/", .state = state}},
                 SystemTime(), "0.1.0");
  EXPECT_THAT(html, HasSubstr("&lt;script&gt;"));
  EXPECT_THAT(html, HasSubstr("/srv/&lt;i&gt;"));
  EXPECT_THAT(html, ::testing::Not(HasSubstr("<b>\"")));
  EXPECT_THAT(html, HasSubstr("1 of 1 need attention"));
}

TEST(Fleet, SaysInOneLineHowEachArchiveIs) {
  const auto html_of = [](const FleetState& state) {
    return fleet_html({{.name = "a", .where = "/a", .link = "archive/a/", .state = state}},
                      SystemTime(), "0.1.0");
  };
  EXPECT_THAT(html_of({}), HasSubstr("<b>not asked yet</b>"));
  EXPECT_THAT(html_of(state_of_error("timeout", Silence::unreachable)),
              HasSubstr("<b>does not answer: timeout</b>"));
  EXPECT_THAT(html_of({.asked = true, .level = Level::ok}), HasSubstr("<b>at rest</b>"));
  EXPECT_THAT(html_of({.asked = true, .level = Level::ok, .lag = 0}),
              HasSubstr("<b>caught up</b>"));
  EXPECT_THAT(html_of({.asked = true, .level = Level::ok, .lag = 2048}),
              HasSubstr("<b>2 kB behind</b>"));
  EXPECT_THAT(html_of({.asked = true, .cluster_name = "orders"}),
              HasSubstr(">/a, cluster orders<"));
  EXPECT_THAT(html_of({.asked = true, .cluster_name = "a"}), HasSubstr(">/a<"));
  auto two = with(Level::critical, Topic::hole);
  two.findings.push_back({Level::warning, "y", Topic::lag});
  two.findings.push_back({Level::warning, "z", Topic::lag});
  EXPECT_THAT(html_of(two),
              HasSubstr("<b>x</b> <span class=\"aside-note\">and 2 more</span></td>"));
}

TEST(FleetFile, HasABoundedNumberOfArchives) {
  std::string text;
  for (int i = 0; i < 2000; ++i) text += "[a" + std::to_string(i) + "]\ndirectory = /a\n";
  try {
    static_cast<void>(parse_fleet(text, "the file"));
    ADD_FAILURE() << "taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    EXPECT_THAT(error.what(), HasSubstr("more than "));
  }
}

TEST(Topic, HasANameEach) {
  const auto all = status::all_topics();
  EXPECT_EQ(all.front(), Topic::other);
  std::set<std::string_view> keys;
  for (const auto topic : all) keys.insert(status::to_string(topic));
  EXPECT_EQ(keys.size(), all.size());
}

}  // namespace
}  // namespace weir::web::fleet_test

#include "web/page.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/log.h"
#include "status/view_json.h"
#include "web/fleet.h"
#include "web/html.h"
#include "web/site.h"

namespace weir::web::page_test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using namespace std::chrono_literals;

constexpr SystemTime kNow(1'795'305'600s);  // 2026-11-22 00:00:00 UTC
constexpr const char* kWell =

    R"({"state": "streaming", "state_since": "2026-11-22 00:00:00.000 UTC", "server": "db1:5432",
        "flush_lsn": "0/7000100", "timeline": 1, "server_lsn": "0/7000100", "silence_ms": 412,
        "slot": "weir", "slot_wal_status": "extended", "slot_safe_wal_size": 1048576})";

Facts facts_with(const char* receiver) {
  Facts facts;
  facts.report.directory = "/srv/wal";
  facts.report.identity = archive::Identity{42, wal::SegmentSize(), "x"};
  facts.report.segment_size = wal::SegmentSize();
  facts.report.free_bytes = std::uint64_t{1} << 30;
  status::StatusReport::Timeline one;
  one.timeline = 1;
  one.finished = {{1, 7}};
  facts.report.timelines = {one};
  if (receiver != nullptr) facts.report.receiver = status::receiver_of(receiver, kNow);
  facts.verdict = status::check(facts.report, {});
  facts.looked = facts.now = kNow;
  facts.version = "0.1.0";
  return facts;
}

TEST(Page, SaysTheVerdictInWordsFirst) {
  const auto html = page_html(facts_with(kWell), Mode::live);
  EXPECT_THAT(html, HasSubstr("<title>OK · /srv/wal · pgweir</title>"));
  EXPECT_THAT(html, HasSubstr("Streaming from db1:5432, durable up to 0/7000100, caught up."));
  EXPECT_LT(html.find("id=\"verdict\""), html.find("<svg"));
  EXPECT_LT(html.find("id=\"verdict\""), html.find("id=\"receiver\""));
}

TEST(Page, HasTheClustersName) {
  auto facts = facts_with(kWell);
  facts.history.emplace();
  facts.history->cluster("or<ders");
  EXPECT_EQ(title_of(facts), "OK · or<ders · /srv/wal · pgweir");
  facts.report.receiver->cluster_name = "orders";
  const auto html = page_html(facts, Mode::live);
  EXPECT_THAT(html, HasSubstr("<title>OK · orders · /srv/wal · pgweir</title>"));
  EXPECT_THAT(html, HasSubstr("<h1>orders · /srv/wal</h1>"));
  EXPECT_THAT(html, HasSubstr("db1:5432, cluster orders"));
}

TEST(Page, LinksToTheChapterOfTheFinding) {
  auto facts = facts_with(kWell);
  facts.verdict.findings = {{status::Level::warning, "x", status::Topic::candidate},
                            {status::Level::warning, "y", status::Topic::difference},
                            {status::Level::warning, "z", status::Topic::hole}};
  const auto html = page_html(facts, Mode::live);
  EXPECT_THAT(html, HasSubstr("<a href=\"ha#slots-on-every-server\">"));
  EXPECT_THAT(html, HasSubstr("<a href=\"compare#when-a-difference-is-found\">"));
  EXPECT_THAT(html, HasSubstr("<a href=\"troubleshooting#the-server-no-longer-has-the-wal\">"));
  EXPECT_THAT(page_html(facts, Mode::single), HasSubstr("docs/ha.md: Slots on every server"));
}

TEST(Page, DoesNotSayThatAllIsWellByAnOldLook) {
  auto facts = facts_with(kWell);
  EXPECT_THAT(page_html(facts, Mode::live), HasSubstr("All is well"));
  facts.now += 10s;
  EXPECT_THAT(page_html(facts, Mode::live), HasSubstr("All is well"));
  facts.now += 1s;
  const auto html = page_html(facts, Mode::live);
  EXPECT_THAT(html, Not(HasSubstr("All is well")));
  EXPECT_THAT(html, HasSubstr("when the directory was last looked at"));
}

TEST(Page, DoesNotSayThatAllWalIsHereWhileAHoleIsFound) {
  auto facts = facts_with(kWell);
  facts.report.holes.push_back({1, wal::Lsn(0x4000000), wal::Lsn(0x6000000), 2, "hole-1"});
  facts.verdict = status::check(facts.report, {});
  const auto html = page_html(facts, Mode::live);
  EXPECT_THAT(
      html,
      HasSubstr("missing: <b>nothing more</b> than the WAL that is missing or damaged already."));
  EXPECT_THAT(html, Not(HasSubstr("all of its WAL is durable here")));
}

TEST(Page, MarksARemarkNeitherAsGoodNorAsTrouble) {
  auto facts = facts_with(kWell);
  facts.verdict.findings = {{status::Level::ok, "no replication slot is used"}};
  const auto html = page_html(facts, Mode::live);
  EXPECT_THAT(html,
              HasSubstr("<span class=\"badge note\">NOTE</span> no replication slot is used</p>"));
  EXPECT_THAT(html, Not(HasSubstr("badge ok")));
  EXPECT_THAT(html, Not(HasSubstr("What to do:")));
}

TEST(Page, SaysWhatWouldBeMissingIfTheServerWereLost) {
  EXPECT_THAT(page_html(facts_with(kWell), Mode::live),
              HasSubstr("would be missing: <b>nothing</b>"));
  auto committed = facts_with(kWell);
  committed.report.windows = {{.timeline = 1,
                               .from = wal::Lsn(1),
                               .to = wal::Lsn(2),
                               .to_time = wal::PgTime::of(kNow - 3s)}};
  EXPECT_THAT(page_html(committed, Mode::single),
              HasSubstr("is durable here. The newest commit here is of <span class=\"since\">"));
  EXPECT_THAT(page_html(facts_with(
                            R"({"state": "streaming", "timeline": 1, "flush_lsn": "0/1000000",
          "server_lsn": "0/1400000", "silence_ms": 1, "lag_ms": 2500})"),
                        Mode::live),
              HasSubstr("would be missing: <b>4 MB</b> of WAL, that of the last 2.5 s"));
  const auto* const away =
      R"({"state": "waiting", "outage_since": "2026-11-21 20:30:12.000 UTC", "silence_ms": 1})";
  EXPECT_THAT(page_html(facts_with(away), Mode::live),
              HasSubstr("<b>all WAL written since <span class=\"since\"><time "
                        "datetime=\"2026-11-21T20:30:12.000Z\">2026-11-21 20:30:12 UTC</time><span "
                        "class=\"passed\" aria-hidden=\"true\"></span></span></b>"));
  EXPECT_THAT(page_html(facts_with(away), Mode::single), HasSubstr(" (3 h 29 min)</span>"));
  const auto* const nothing_arrives =
      R"({"state": "streaming", "timeline": 1, "flush_lsn": "0/1000000", "server_lsn": "0/1000000",
          "outage_since": "2026-11-21 20:30:12.000 UTC", "silence_ms": 1})";
  EXPECT_THAT(page_html(facts_with(nothing_arrives), Mode::live),
              HasSubstr("<b>all WAL written since <span class=\"since\">"));
  EXPECT_THAT(page_html(facts_with(nullptr), Mode::live), HasSubstr("all WAL that is not here"));
}

TEST(Page, SaysWhatRecoveryIsBasedOn) {
  auto facts = facts_with(kWell);
  facts.report.windows = {{.timeline = 1, .from = wal::Lsn(1), .to = wal::Lsn(2)}};
  EXPECT_THAT(page_html(facts, Mode::live), HasSubstr("Their records were not verified"));
  facts.report.last_verify = archive::LastCheck{.time = kNow - 24h,
                                                .passed = true,
                                                .timeline = 1,
                                                .from = wal::Lsn(0x1000000),
                                                .to = wal::Lsn(0x7000000)};
  facts.report.last_drill =
      archive::LastCheck{.time = kNow - 48h, .problem = "<it>", .backup = "/b/<one>"};
  const auto html = page_html(facts, Mode::live);
  EXPECT_THAT(html, HasSubstr("2026-11-21 00:00:00 UTC</time>, 0/1000000 to 0/7000000 on timeline "
                              "1: passed. Last drill, of /b/&lt;one&gt;: "));
  EXPECT_THAT(html, HasSubstr("<b>✕ FAILED, &lt;it&gt;</b>"));
  EXPECT_THAT(html, Not(HasSubstr("not to the end")));
  facts.report.last_drill->whole = false;
  EXPECT_THAT(page_html(facts, Mode::live),
              HasSubstr(" (not to the end of the archive): <b>✕ FAILED"));
  constexpr auto kEarlier = "recovery may end earlier than shown here";
  EXPECT_THAT(html, Not(HasSubstr(kEarlier)));
  facts.report.last_verify->passed = false;
  facts.verdict = status::check(facts.report, {});
  EXPECT_THAT(page_html(facts, Mode::live), HasSubstr(kEarlier));
  EXPECT_THAT(page_html(facts, Mode::live), HasSubstr("is missing or damaged already"));
}

TEST(Page, TellsTheArchivesSizeAndSpan) {
  auto facts = facts_with(kWell);
  facts.report.disk_bytes = std::uint64_t{4} << 30;
  facts.report.full_in = 50h;
  auto& one = facts.report.timelines[0];
  one.segments = 6;
  one.forms[codec::Method::zstd] = {6, 6 << 20};
  facts.report.windows = {{.timeline = 1,
                           .from = wal::Lsn(0x1000000),
                           .from_time = wal::PgTime::of(kNow - 100h),
                           .to = wal::Lsn(0x7000000),
                           .to_time = wal::PgTime::of(kNow)}};
  const auto told = [&](const char* text) {
    EXPECT_THAT(page_html(facts, Mode::live), HasSubstr(text));
  };
  told("<dt>Size</dt><dd>6 MB in 6 segments; compression ratio 16.0</dd>");
  told("<dt>Free</dt><dd>1 GB of 4 GB (25%); full in 2 d 2 h at the rate of the last day</dd>");
  told("4 d 4 h before the newest commit; with a base backup that old, of which none is known");
  facts.report.backups = {{.name = "000000010000000000000002.00000028.backup",
                           .label = "<monday>",
                           .timeline = 1,
                           .start = wal::Lsn(0x2000028),
                           .end = wal::Lsn(0x2000100),
                           .began = wal::PgTime::of(kNow - 50h)}};
  told("2 d 2 h before the newest commit</dd>");
  told("<b>&lt;monday&gt;</b><br>000000010000000000000002.00000028.backup");
}

TEST(Page, SaysWhyTheLastReceiverEnded) {
  auto facts = facts_with(nullptr);
  facts.report.ended = archive::LastWord{.time = "2026-11-24 10:00:00.000 UTC",
                                         .status = 4,
                                         .message = "of another <cluster>",
                                         .hint = "Look there."};
  const auto html = page_html(facts, Mode::live);
  EXPECT_THAT(html, HasSubstr("<p>No receiver runs; the last one ended on 2026-11-24 10:00:00.000 "
                              "UTC with status 4: of another &lt;cluster&gt;.</p>\n"
                              "<p>Look there.</p>"));
}

TEST(Page, SaysWhatToDoWithTheWorstFirst) {
  auto facts = facts_with(nullptr);
  facts.report.holes.push_back({1, wal::Lsn(0x4000000), wal::Lsn(0x6000000), 2, "hole-1"});
  facts.report.foreign = {"<img src=x onerror=alert(1)>"};
  facts.report.relay_errors = {"a relay <b>says</b> nothing"};
  facts.verdict = status::check(facts.report, {});
  const auto html = page_html(facts, Mode::live);
  const auto hole = html.find("2 segments missing from 0/4000000 to 0/6000000");
  const auto relay = html.find("a relay &lt;b&gt;says&lt;/b&gt; nothing");
  ASSERT_NE(hole, std::string::npos);
  ASSERT_NE(relay, std::string::npos);
  EXPECT_LT(hole, relay);
  EXPECT_THAT(html, HasSubstr("What to do:"));
  EXPECT_THAT(html, HasSubstr("href=\"troubleshooting#the-server-no-longer-has-the-wal\""));
  EXPECT_THAT(html, HasSubstr("&lt;img src=x onerror=alert(1)&gt;"));
  EXPECT_THAT(html, Not(HasSubstr("<img")));
}

TEST(Page, HasADozenFindingsAndTheNumberOfTheOthers) {
  auto facts = facts_with(nullptr);
  for (std::uint64_t i = 1; i < 20; ++i)
    facts.report.holes.push_back(
        {1, wal::Lsn(i << 28), wal::Lsn((i << 28) + (1 << 24)), 1, "hole-" + std::to_string(i)});
  facts.verdict = status::check(facts.report, {});
  ASSERT_GT(facts.verdict.findings.size(), 12U);
  EXPECT_THAT(page_html(facts, Mode::live),
              HasSubstr("<li>and " + std::to_string(facts.verdict.findings.size() - 12) +
                        " more, in the text below</li>\n"));
}

TEST(Page, SaysWhichBackupsAreOfUse) {
  auto facts = facts_with(kWell);
  facts.report.windows = {{.timeline = 1, .from = wal::Lsn(0x3000000), .to = wal::Lsn(0x7000000)}};
  facts.report.backups = {
      {.name = "early", .timeline = 1, .start = wal::Lsn(0x1000028), .end = wal::Lsn(0x2000000)},
      {.name = "<good>",
       .timeline = 1,
       .start = wal::Lsn(0x3000028),
       .end = wal::Lsn(0x4000000),
       .format = status::StatusReport::Backup::Format::tar,
       .bytes = 3U << 20},
      {.name = "upon",
       .timeline = 1,
       .start = wal::Lsn(0x5000028),
       .format = status::StatusReport::Backup::Format::plain,
       .parent = archive::BackupPoint::Parent{1, wal::Lsn(0x3000028)},
       .base = "<good>"},
      {.name = "alone",
       .timeline = 1,
       .start = wal::Lsn(0x6000028),
       .format = status::StatusReport::Backup::Format::plain,
       .parent = archive::BackupPoint::Parent{1, wal::Lsn(0x1000)},
       .problem = "it is <incremental>"},
      {.name = "broken",
       .format = status::StatusReport::Backup::Format::plain,
       .problem = "no label"}};
  const auto html = page_html(facts, Mode::live);
  EXPECT_THAT(html, HasSubstr("<tr><td>early</td><td>full</td><td></td><td></td><td>1</td>"
                              "<td>0/1000028 to 0/2000000</td><td><b>✕ nothing: the WAL that it "
                              "needs is not in this archive</b></td></tr>"));
  EXPECT_THAT(html, HasSubstr("<tr><td>&lt;good&gt;</td><td>full, tar</td><td>3 MB</td><td></td>"
                              "<td>1</td><td>0/3000028 to 0/4000000</td><td>0/7000000</td></tr>"));
  EXPECT_THAT(html, HasSubstr("<tr><td>upon</td><td>incremental to &lt;good&gt;, plain</td>"
                              "<td></td><td></td><td>1</td><td>from 0/5000028</td>"
                              "<td>0/7000000</td></tr>"));
  EXPECT_THAT(html, HasSubstr("<td>incremental to the one that began at 0/1000, plain</td>"));
  EXPECT_THAT(html, HasSubstr("<b>✕ nothing: it is &lt;incremental&gt;</b>"));
  EXPECT_THAT(html, HasSubstr("<tr><td>broken</td><td>plain</td><td></td><td></td><td></td>"
                              "<td></td><td><b>✕ nothing: no label</b></td></tr>"));
  EXPECT_THAT(html, HasSubstr("This is based on names and sizes of the files."));
  constexpr auto kNone = "None of these backups can be recovered";
  EXPECT_THAT(html, Not(HasSubstr(kNone)));
  facts.report.backups.erase(facts.report.backups.begin() + 1, facts.report.backups.begin() + 3);
  EXPECT_THAT(page_html(facts, Mode::live), HasSubstr(kNone));
}

TEST(Page, TellsOfTheSlot) {
  auto facts = facts_with(kWell);
  facts.history.emplace();
  for (int i = 0; i < 60; ++i)
    facts.history->add(
        {.streaming = true, .archived = std::uint64_t{1024} * static_cast<unsigned>(i)},
        facts.now - 10min + i * 10s);
  EXPECT_THAT(page_html(facts, Mode::live),
              HasSubstr("weir, extended, 1 MB left until it is invalidated (about "));
}

TEST(Page, TellsOfTheObjectStore) {
  const auto well = facts_with(
      R"({"state": "streaming", "store": {"store": "s3://wal", "pending_segments": 0,
          "last_error": null}})");
  EXPECT_THAT(main_html(well, Mode::live), HasSubstr("s3://wal: has all complete segments"));
  const auto behind = facts_with(
      R"({"state": "streaming", "store": {"store": "s3://wal", "pending_segments": 3,
          "pending_bytes": 3145728, "pending_since": "2026-11-21 23:58:30.000 UTC", "last_error": "<refused>"}})");
  EXPECT_THAT(main_html(behind, Mode::live),
              HasSubstr("s3://wal: 3 segments wait, 3 MB, the oldest for 1 min 30 s<br>"));
  EXPECT_THAT(main_html(behind, Mode::live), HasSubstr("&lt;refused&gt;"));
  // And first of all in the verdict, with what to do.
  EXPECT_EQ(behind.verdict.level, status::Level::warning);
  EXPECT_THAT(main_html(behind, Mode::live),
              HasSubstr("finished WAL is not sent to the store: &lt;refused&gt; (3 segments wait, "
                        "3 MB, the oldest for 1 min 30 s)"));
  EXPECT_THAT(main_html(behind, Mode::live), HasSubstr("pgweir store check"));
  EXPECT_THAT(main_html(behind, Mode::live), HasSubstr("href=\"troubleshooting#an-object-store\""));
  const auto conflict = facts_with(
      R"({"state": "streaming", "store": {"store": "s3://wal", "pending_segments": 1,
          "pending_bytes": 1048576, "last_error": "other <WAL>",
          "needs_person": true, "since": "2026-11-21 10:00:00.000 UTC", "hint": "look", "kept_for": "it <waits>"}})");
  EXPECT_EQ(conflict.verdict.level, status::Level::critical);
  EXPECT_THAT(conflict.verdict.line, HasSubstr("other <WAL> (1 segment waits, 1 MB)"));
  EXPECT_THAT(main_html(conflict, Mode::live),
              HasSubstr("other &lt;WAL&gt;, since <time datetime=\"2026-11-21T10:00:00.000Z\">"
                        "2026-11-21 10:00:00 UTC</time><br>look<br>--local-retention removes "
                        "nothing more: it &lt;waits&gt;"));
}

TEST(Page, TellsOfCertificatesNearTheirEnd) {
  const auto facts = facts_with(
      R"({"state": "streaming", "server": "db1:5432", "slot": "weir", "certificates": {"client": "/s/<tls>.crt",
          "client_expires": "2026-12-02 00:00:00.000 UTC",
          "server_expires": "2027-03-02 00:00:00.000 UTC",
          "problem": "the client's key /s/tls.key is gone"},
          "clients": [], "serve_certificate": {"file": "/r/tls.crt", "expires": "2026-11-21 23:00:00.000 UTC"}})");
  EXPECT_EQ(facts.verdict.level, status::Level::critical);
  ASSERT_EQ(facts.verdict.findings.size(), 3U);
  for (const auto& finding : facts.verdict.findings)
    EXPECT_EQ(finding.topic, status::Topic::certificate);
  EXPECT_EQ(facts.verdict.findings[0].text,
            "the relay's certificate /r/tls.crt expired 1 h 0 min ago");
  EXPECT_EQ(facts.verdict.findings[1].text,
            "the receiver's certificate /s/<tls>.crt expires in 10 d 0 h");
  EXPECT_THAT(facts.verdict.findings[2].text, HasSubstr("the client's key /s/tls.key is gone"));
  const auto html = main_html(facts, Mode::live);
  EXPECT_THAT(html, HasSubstr("2026-12-02 00:00:00 UTC</time><br>the server's until <time"));
  EXPECT_THAT(html, HasSubstr("href=\"troubleshooting#certificates-and-secrets\""));
}

TEST(Page, TellsSinceWhenSomethingHappensAgainAndAgain) {
  auto facts = facts_with(kWell);
  facts.history.emplace();
  facts.history->happened("refused", true, kNow - 30min);
  facts.history->happened("refused", true, kNow - 10min);
  EXPECT_THAT(main_html(facts, Mode::live),
              HasSubstr("2026-11-21 23:50:00 UTC</time> (2 times since <time "
                        "datetime=\"2026-11-21T23:30:00.000Z\">2026-11-21 23:30:00 UTC</time>)"));
}

TEST(Page, SaysThatTheDiskHangs) {
  auto facts = facts_with(kWell);
  facts.report.silent_since = kNow - 10min;
  facts.verdict = status::check(facts.report, {});
  const auto html = main_html(facts, Mode::live);
  EXPECT_THAT(html, HasSubstr("the check of the archive&#39;s directory has not returned"));
  EXPECT_THAT(html, HasSubstr("2026-11-21 23:50:00 UTC"));
}

TEST(Page, IsOneFileWithoutScripts) {
  const auto html = page_html(facts_with(kWell), Mode::single);
  EXPECT_THAT(html, HasSubstr("<style>"));
  for (const char* const none : {"<script", "<link", "href=", "src=", "style=", "url(/"})
    EXPECT_THAT(html, Not(HasSubstr(none)));
  EXPECT_THAT(html, HasSubstr("Archive /srv/wal: system 42"));  // the text of status
}

TEST(Page, KeepsToThePolicyItIsSentWith) {
  const auto html = page_html(facts_with(kWell), Mode::live);
  for (const char* const none : {"style=", "onclick", "<style", "javascript:", "<script>"})
    EXPECT_THAT(html, Not(HasSubstr(none)));
}

std::string header_of(const http::Answer& answer, std::string_view name) {
  for (const auto& [key, value] : answer.headers)
    if (key == name) return value;
  return {};
}

class SiteTest : public ::testing::Test {
 protected:
  class Messages final : public Log {
   public:
    void write(LogLevel, std::string_view message) override { text += std::string(message) + "\n"; }
    bool enabled(LogLevel) const override { return true; }
    std::string text;
  };
  Messages log_;

  static http::Answer get(Site& site, const std::string& path,
                          const std::string& host = "localhost", const std::string& method = "GET",
                          std::vector<std::pair<std::string, std::string>> more = {}) {
    http::Request request{.method = method, .path = path, .headers = {{"host", host}}};
    request.headers.insert(request.headers.end(), more.begin(), more.end());
    auto reply = site.answer(request);
    if (auto* const later = std::get_if<http::Server::Later>(&reply)) return (*later)();
    return std::get<http::Answer>(reply);
  }
  static Site::Sources sources() {
    return {.facts = [] { return std::optional(facts_with(kWell)); },
            .health = [] { return http::Answer{.body = "ok\n"}; },
            .readiness = [] { return http::Answer{.status = 503, .body = "no\n"}; },
            .metrics = [] { return http::Answer{.body = "metrics\n"}; }};
  }
};

TEST_F(SiteTest, HasItsPagesAndNothingElse) {
  Site site(Gate(std::nullopt, {}, "c"), sources(), log_);
  for (const char* const path : {"/", "/main", "/status.json", "/style.css", "/app.js", "/icon.svg",
                                 "/troubleshooting", "/ha", "/compare", "/metrics", "/healthz"}) {
    const auto answer = get(site, path);
    EXPECT_EQ(answer.status, 200) << path;
    EXPECT_EQ(get(site, path, "localhost", "HEAD").status, 200) << path;
    EXPECT_EQ(get(site, path, "localhost", "POST").status, 405) << path;
    EXPECT_EQ(get(site, path, "localhost", "DELETE").status, 405) << path;
  }
  EXPECT_EQ(get(site, "/readyz").status, 503);
  for (const char* const path : {"/healthz", "/readyz"})
    EXPECT_EQ(header_of(get(site, path), "Cache-Control"), "no-store") << path;
  for (const char* const path :
       {"/../", "/../etc/passwd", "/etc/passwd", "/%2e%2e/", "//", "/main/", "", "*", "/login",
        "http://localhost/", "/app.js/..", "/.pgweir-history"})
    EXPECT_EQ(get(site, path).status, 404) << path;
}

TEST_F(SiteTest, IsForItsOwnNamesAndForProbesOfAnyName) {
  Site site(Gate(std::nullopt, {}, "c"), sources(), log_);
  EXPECT_EQ(get(site, "/", "evil.example").status, 421);
  EXPECT_EQ(get(site, "/status.json", "evil.example").status, 421);
  EXPECT_EQ(get(site, "/metrics", "evil.example").status, 421);
  EXPECT_EQ(get(site, "/healthz", "evil.example").status, 200);
  EXPECT_EQ(get(site, "/readyz", "evil.example").status, 503);
  auto open = sources();
  open.metrics_are_open = true;  // the port of --metrics-listen
  Site shared(Gate("0123456789abcdef", {}, "c"), open, log_);
  EXPECT_EQ(get(shared, "/metrics", "evil.example").status, 200);
  EXPECT_EQ(get(shared, "/", "localhost").status, 303);
}

TEST_F(SiteTest, NeedsTheTokenWhereThereIsOne) {
  Site site(Gate("0123456789abcdef", {}, "c"), sources(), log_);
  for (const char* const path :
       {"/main", "/status.json", "/app.js", "/troubleshooting", "/metrics", "/nothing"}) {
    EXPECT_EQ(get(site, path).status, 401) << path;
    EXPECT_EQ(get(site, path, "localhost", "GET", {{"authorization", "Bearer wrong"}}).status, 401);
  }
  EXPECT_EQ(get(site, "/").status, 303);
  EXPECT_EQ(get(site, "/login").status, 200);
  EXPECT_EQ(get(site, "/healthz").status, 200);
  const std::pair<std::string, std::string> token{"authorization", "Bearer 0123456789abcdef"};
  EXPECT_EQ(get(site, "/", "localhost", "GET", {token}).status, 200);

  http::Request form{.method = "POST",
                     .path = "/login",
                     .body = "token=wrong",
                     .headers = {{"host", "localhost"}}};
  EXPECT_EQ(std::get<http::Answer>(site.answer(form)).status, 403);
  form.body = "token=0123456789abcdef";
  const auto welcome = std::get<http::Answer>(site.answer(form));
  EXPECT_EQ(welcome.status, 303);
  EXPECT_EQ(welcome.headers[1].first, "Set-Cookie");
}

TEST_F(SiteTest, ReportsWrongTokensButNotEachOne) {
  Site site(Gate("0123456789abcdef", {}, "c"), sources(), log_);
  const auto with = [&](const std::string& token, const std::string& from = "") {
    return get(site, "/main", "localhost", "GET",
               {{"authorization", "Bearer " + token}, {"x-forwarded-for", from}})
        .status;
  };
  EXPECT_EQ(get(site, "/main").status, 401);
  EXPECT_EQ(with("0123456789abcdef"), 200);
  EXPECT_EQ(log_.text, "") << "no token is not a wrong one";
  EXPECT_EQ(with("wrong", "192.0.2.7, ::1"), 401);
  EXPECT_EQ(log_.text, "the web page received a wrong token (X-Forwarded-For: 192.0.2.7, ::1)\n");
  EXPECT_EQ(with("wrong", "\x1b[31m"), 401);
  http::Request form{.method = "POST",
                     .path = "/login",
                     .body = "token=wrong",
                     .headers = {{"host", "localhost"}}};
  EXPECT_EQ(std::get<http::Answer>(site.answer(form)).status, 403);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(with("wrong"), 401);
  EXPECT_EQ(std::count(log_.text.begin(), log_.text.end(), '\n'), 3) << log_.text;
  EXPECT_THAT(log_.text, Not(HasSubstr("[31m")));
}

TEST_F(SiteTest, TakesAnotherTokenFromNowOn) {
  Site site(Gate("0123456789abcdef", {}, "c"), sources(), log_);
  const auto with = [&](const char* header, const std::string& value) {
    return get(site, "/main", "localhost", "GET", {{header, value}}).status;
  };
  http::Request form{.method = "POST",
                     .path = "/login",
                     .body = "token=0123456789abcdef",
                     .headers = {{"host", "localhost"}}};
  const auto welcome = std::get<http::Answer>(site.answer(form));
  const auto& header = welcome.headers[1].second;
  const auto cookie = header.substr(0, header.find(';'));
  EXPECT_EQ(with("cookie", cookie), 200);
  site.set_gate(Gate("another-0123456789", {}, "c"));
  EXPECT_EQ(with("cookie", cookie), 401) << "it ends with the token";
  EXPECT_EQ(with("authorization", "Bearer 0123456789abcdef"), 401);
  EXPECT_EQ(with("authorization", "Bearer another-0123456789"), 200);
  EXPECT_EQ(std::get<http::Answer>(site.answer(form)).status, 403);
}

TEST_F(SiteTest, SendsAStrictPolicy) {
  Site site(Gate(std::nullopt, {}, "c"), sources(), log_);
  const auto answer = get(site, "/");
  ASSERT_EQ(answer.headers[0].first, "Content-Security-Policy");
  EXPECT_THAT(answer.headers[0].second, HasSubstr("default-src 'none'"));
  EXPECT_THAT(answer.headers[0].second, HasSubstr("frame-ancestors 'none'"));
  EXPECT_THAT(answer.headers[0].second, Not(HasSubstr("unsafe")));
}

TEST_F(SiteTest, SendsAgainOnlyWhatHasChanged) {
  Site site(Gate(std::nullopt, {}, "c"), sources(), log_);
  const auto first = get(site, "/main");
  const auto& tag = first.headers[0];
  ASSERT_EQ(tag.first, "ETag");
  EXPECT_EQ(get(site, "/main", "localhost", "GET", {{"if-none-match", tag.second}}).status, 304);
  EXPECT_EQ(get(site, "/main", "localhost", "GET", {{"if-none-match", "\"0\""}}).status, 200);
}

TEST(Parts, AreSentIfTheyHaveChanged) {
  const auto main_of = [](const char* looked, const char* text) {
    return fmt::format(
        "<header id=\"top\"><span id=\"looked\">{}</span></header>\n"
        "<section id=\"op\">{}</section>\n<section id=\"b\">B</section>\n",
        looked, text);
  };
  http::Request request{.headers = {}};
  const auto first = part_answer(request, main_of("<time datetime=\"1\">1</time>", "A"), "t", kNow);
  EXPECT_EQ(first.body, main_of("<time datetime=\"1\">1</time>", "A"));
  request.headers = {{"if-none-match", header_of(first, "ETag")},
                     {"x-parts", header_of(first, "X-Parts")}};
  const auto later =
      part_answer(request, main_of("<time datetime=\"2\">2</time>", "A"), "t", kNow + 1min);
  EXPECT_EQ(later.status, 304) << "only the time of the look is another";
  EXPECT_EQ(header_of(later, "X-Looked"), "2");
  EXPECT_EQ(later.body, "");
  EXPECT_EQ(part_answer(request, main_of("", "A"), "other", kNow).status, 200);
  const auto changed = part_answer(request, main_of("3", "C"), "t", kNow + 10s);
  EXPECT_EQ(changed.status, 200);
  EXPECT_EQ(changed.body,
            "<header id=\"top\" data-same></header>\n<section id=\"op\">C</section>\n"
            "<section id=\"b\" data-same></section>\n");
}

/// What our script does: it sends back what it got.
class Tab {
 public:
  /// Bytes of the answer, gzipped, with its head.
  std::size_t ask(const std::string& main, const std::string& title, SystemTime now) {
    http::Request request;
    request.headers = {{"accept-encoding", "gzip"}};
    if (!etag_.empty()) request.headers.emplace_back("if-none-match", etag_);
    if (!parts_.empty()) request.headers.emplace_back("x-parts", parts_);
    auto answer = part_answer(request, main, title, now);
    if (answer.status == 200) {
      etag_ = header_of(answer, "ETag");
      parts_ = header_of(answer, "X-Parts");
      body = answer.body;
    } else {
      body.clear();
    }
    shrink(request, answer);
    add_safety(answer);
    return http::to_bytes(answer, true).size();
  }
  std::string body{};

 private:
  std::string etag_, parts_;
};

TEST(Parts, OfOtherFiguresAreSentEveryTenSecondsAndOfAnotherStateAtOnce) {
  const auto main_of = [](const char* state, const char* figure, const char* hours) {
    return fmt::format(
        "<section id=\"verdict\" data-state=\"{}\">V{}</section>\n<section id=\"receiver\">R{}"
        "</section>\n<section id=\"hours\">H{}</section>\n",
        state, figure, figure, hours);
  };
  Tab tab;
  tab.ask(main_of("OK", "1", "1"), "t", kNow);
  EXPECT_EQ(tab.body, main_of("OK", "1", "1"));
  tab.ask(main_of("OK", "2", "2"), "t", kNow + 2s);
  EXPECT_EQ(tab.body, "") << "nothing but figures";
  tab.ask(main_of("OK", "3", "3"), "t", kNow + 10s);
  EXPECT_THAT(tab.body, HasSubstr(">V3<"));
  EXPECT_THAT(tab.body, HasSubstr(">R3<"));
  EXPECT_THAT(tab.body, HasSubstr("id=\"hours\" data-same"));
  tab.ask(main_of("OK", "3", "3"), "t", kNow + 12s);
  EXPECT_EQ(tab.body, "") << "that drawing waits for its turn";
  tab.ask(main_of("CRITICAL", "4", "4"), "t", kNow + 14s);
  EXPECT_EQ(tab.body, main_of("CRITICAL", "4", "4"));
  tab.ask(main_of("CRITICAL", "4", "5"), "t", kNow + 5min);
  EXPECT_EQ(tab.body, "");
  tab.ask(main_of("CRITICAL", "4", "5"), "t", kNow + 5min + 14s);
  EXPECT_THAT(tab.body, HasSubstr(">H5<"));
  tab.ask(main_of("CRITICAL", "6", "5"), "t", kNow - 1h);
  EXPECT_THAT(tab.body, HasSubstr(">V6<")) << "the clock was set back";
  tab.ask(main_of("CRITICAL", "6", "5"), "another", kNow - 1h);
  EXPECT_THAT(tab.body, HasSubstr("data-same")) << "the title alone";
}

TEST(Parts, AreUnderstoodAsTheyAreSentAlone) {
  const std::string main = "<section id=\"a\">A</section>\n";
  for (const auto* parts : {";;;", "a", "a=", "a=.", "a=zz.1;", "a=1.;", "a=1;", "=1.1",
                            "a=99999999999999999999.1", "-=0.0;a=1.x"}) {
    http::Request request{.headers = {{"x-parts", parts}}};
    EXPECT_EQ(part_answer(request, main, "t", kNow).body, main) << parts;
  }
}

/// Bytes of a day of a tab that is shown, with a poll every two seconds.
template <typename MainOf>
double bytes_of_a_day(MainOf main_of) {
  constexpr int kPolls = 600;  // twenty minutes: the slowest part is sent four times
  Tab tab;
  std::size_t bytes = 0;
  for (int poll = 0; poll < kPolls; ++poll) {
    const auto now = kNow + 10h + poll * 2s;
    const auto [main, title] = main_of(poll, now);
    const auto sent = tab.ask(main, title, now);
    if (poll > 0) bytes += sent;  // the first is that of the page
  }
  return static_cast<double>(bytes) / (kPolls - 1) * 24 * 3600 / 2;
}

TEST(Parts, OfABusyArchiveAreCheap) {
  auto facts = facts_with(kWell);
  History history;
  std::uint64_t end = 0x7000100;
  facts.history.emplace();
  for (int i = 0; i < 10 * 360; ++i) {
    end += 100'000 + static_cast<std::uint64_t>(i % 37) * 1000;
    history.add({.streaming = true,
                 .archived = end,
                 .lag = end % 70'001,
                 .p50_ms = 0.9 + i % 13,
                 .p99_ms = 4.1 + i % 7,
                 .server_end = end},
                kNow + i * 10s);
  }
  const auto bytes = bytes_of_a_day([&](int poll, SystemTime now) {
    end += 20'000 + static_cast<std::uint64_t>(poll % 11) * 1000;
    auto& receiver = *facts.report.receiver;
    receiver.stream->flush = wal::Lsn(end);
    receiver.stream->server_end = wal::Lsn(end + end % 7001);
    receiver.lag_time = std::chrono::milliseconds(end % 97);
    receiver.bytes_per_second = end % 30'001;
    receiver.syncs = receive::SyncTimes::Summary{100, std::chrono::microseconds(800 + poll % 97),
                                                 std::chrono::microseconds(4000 + poll % 89), 9ms};
    if (poll % 5 == 0)
      history.add({.streaming = true,
                   .archived = end,
                   .lag = end % 70'001,
                   .p50_ms = 1 + poll % 13,
                   .p99_ms = 4 + poll % 7,
                   .server_end = end},
                  now);
    facts.history = history;
    status::StatusReport::Window window;
    window.timeline = 1;
    window.from = wal::Lsn(0x1000000);
    window.to = wal::Lsn(end);
    window.to_time = wal::PgTime::parse(
        fmt::format("2026-11-22 10:{:02}:{:02}.123 UTC", poll / 30 % 60, poll * 2 % 60));
    facts.report.windows = {window};
    facts.report.timelines[0].finished = {{1, end >> 24U}};
    facts.report.free_bytes -= 20'000;
    facts.now = facts.looked = receiver.taken = now;
    facts.verdict = status::check(facts.report, {});
    return std::pair(units_kept_together(main_html(facts, Mode::live)), title_of(facts));
  });
  EXPECT_LT(bytes, 45e6) << "of a day";
  EXPECT_GT(bytes, 10e6) << "that all of it stays the same was not meant";
}

TEST(Parts, OfTwoHundredBusyArchivesAreCheap) {
  std::uint64_t end = 0x7000100;
  const auto bytes = bytes_of_a_day([&](int, SystemTime now) {
    std::vector<FleetRow> rows;
    for (int i = 0; i < 200; ++i) {
      FleetRow row;
      row.name = fmt::format("archive-{}", i);
      row.where = "/srv/wal/" + row.name;
      row.link = "archive/" + row.name + "/";
      row.state = {.asked = true, .level = status::Level::ok};
      row.state.server = fmt::format("db{}:5432", i);
      end += 1000 + static_cast<std::uint64_t>(i) * 77;
      row.state.position = wal::Lsn(end).to_string();
      row.state.lag = end % 7 == 0 ? end % 7001 : 0;
      row.state.free = (std::uint64_t{1} << 40) - end;
      rows.push_back(row);
    }
    return std::pair(units_kept_together(fleet_html(rows, now, "0.1.0")),
                     fleet_title(rows) + " · pgweir");
  });
  EXPECT_LT(bytes, 50e6) << "of a day";
}

TEST(Shrink, CompressesForWhoTakesIt) {
  const auto sent = [](std::string_view accepts, std::string body, int status = 200) {
    http::Answer answer{.status = status, .body = std::move(body)};
    http::Request request;
    request.headers = {{"accept-encoding", std::string(accepts)}};
    shrink(request, answer);
    return std::pair(header_of(answer, "Content-Encoding"), answer.body.size());
  };
  const std::string long_one(100'000, 'x');
  EXPECT_EQ(sent("gzip, deflate, br", long_one).first, "gzip");
  EXPECT_LT(sent("br;q=1, gzip;q=0.5", long_one).second, 1000U);
  for (const auto* other : {"", "br", "gzip;q=0", "x-gzip2", "deflate, gzip;q=0.0"})
    EXPECT_EQ(sent(other, long_one), std::pair(std::string(), long_one.size())) << other;
  EXPECT_EQ(sent("gzip", "short").first, "");
  EXPECT_EQ(sent("gzip", long_one, 503).first, "");
}

TEST_F(SiteTest, SaysThatItKnowsNothingYet) {
  auto none = sources();
  none.facts = [] { return std::optional<Facts>(); };
  Site site(Gate(std::nullopt, {}, "c"), none, log_);
  EXPECT_EQ(get(site, "/").status, 503);
  EXPECT_EQ(get(site, "/main").status, 503);
}

}  // namespace
}  // namespace weir::web::page_test

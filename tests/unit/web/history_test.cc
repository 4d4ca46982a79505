#include "web/history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "web/charts.h"
#include "web/receiver_html.h"

namespace weir::web::history_test {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::Not;
using Hour = Day::Hour;

const SystemTime kStart = SystemTime(std::chrono::seconds(1'795'305'600));  // 2026-11-22 00:00 UTC

/// An hour of streaming, 1 MB and a sample in ten seconds.
void stream(History& history, SystemTime from, std::uint64_t& archived, int samples = 360) {
  for (int i = 0; i < samples; ++i) {
    archived += 1 << 20;
    history.add({.streaming = true, .archived = archived, .lag = 100, .p50_ms = 1, .p99_ms = 4},
                from + i * 10s);
  }
}

TEST(History, AddsUpHoursAndShorterSpans) {
  History history;
  std::uint64_t archived = 0;
  stream(history, kStart, archived);
  ASSERT_EQ(history.hours().size(), 1U);
  EXPECT_EQ(history.hours()[0].bytes, std::uint64_t{360} << 20);
  EXPECT_EQ(history.hours()[0].streaming, 360U);
  ASSERT_EQ(history.shorts().size(), 12U);
  EXPECT_EQ(history.shorts()[3].bytes, std::uint64_t{30} << 20);
  EXPECT_EQ(history.shorts()[3].p99_ms, 4);
}

TEST(History, TellsWhenTheDiskIsFullAtTheRateOfTheLastDay) {
  constexpr std::uint64_t kGiga = 1 << 30;
  History history;
  EXPECT_EQ(full_in(history, kGiga, kStart), std::nullopt);
  // 1 GB in an hour, and a disk that was emptied more than a day ago.
  for (int hour = 0; hour < 48; ++hour)
    history.space((hour < 10 ? 1 : 100 - static_cast<std::uint64_t>(hour)) * kGiga,
                  kStart + std::chrono::hours(hour) + 59min);
  EXPECT_EQ(full_in(history, 53 * kGiga, kStart + 47h + 59min + 60s), 53h);
  EXPECT_EQ(full_in(*History::parse(history.to_text()), 53 * kGiga, kStart + 48h), 53h);
  EXPECT_EQ(full_in(history, 90 * kGiga, kStart + 48h), std::nullopt) << "it becomes emptier";
  History fresh;
  fresh.space(2 * kGiga, kStart + 10min);
  EXPECT_EQ(full_in(fresh, kGiga, kStart + 70min), std::nullopt) << "not an hour yet";
}

/// An archive is copied to another machine, with all of its files.
TEST(History, ComparesNoFreeSpaceOfTheDiskThatItWasCopiedFrom) {
  constexpr std::uint64_t kGiga = 1 << 30;
  History there;
  there.lies_on(7);
  there.space(900 * kGiga, kStart + 10min);
  EXPECT_EQ(full_in(there, 800 * kGiga, kStart + 2h), 8h);
  auto here = History::parse(there.to_text());
  ASSERT_TRUE(here);
  here->lies_on(7);
  EXPECT_EQ(full_in(*here, 800 * kGiga, kStart + 2h), 8h) << "the same disk";
  here->lies_on(0);
  EXPECT_EQ(full_in(*here, 100 * kGiga, kStart + 2h), std::nullopt);
  here->space(100 * kGiga, kStart + 2h);
  EXPECT_EQ(full_in(*History::parse(here->to_text()), 50 * kGiga, kStart + 4h), 1h);
}

TEST(History, IsBounded) {
  History history;
  for (int i = 0; i < 40 * 24 * 12; ++i) history.add({.streaming = true}, kStart + i * 5min);
  EXPECT_EQ(history.shorts().size(), History::kShorts);
  EXPECT_EQ(history.hours().size(), History::kHours);
  for (int i = 0; i < 1000; ++i)
    history.happened(std::string(5000, 'x') + std::to_string(i), true, kStart);
  for (int i = 0; i < 1000; ++i) history.happened(std::to_string(i), true, kStart);
  EXPECT_EQ(history.events().size(), History::kEvents);
  EXPECT_LT(history.to_text().size(), 80'000U);
}

TEST(History, CountsWhatComesAgainAndAgain) {
  History history;
  history.happened("refused", true, kStart);
  history.happened("other", true, kStart + 1s);
  history.happened("refused", true, kStart + 2min);
  ASSERT_EQ(history.events().size(), 2U);
  EXPECT_EQ(history.events().back().text, "refused");
  EXPECT_EQ(history.events().back().times, 2U);
  history.happened("refused", true, kStart + 10h);  // another story
  EXPECT_EQ(history.events().size(), 3U);
}

TEST(History, SurvivesAsText) {
  History history;
  std::uint64_t archived = 0;
  stream(history, kStart, archived);
  history.happened("<b>\xFF", true, kStart);
  history.hole_found(kStart + 30min);
  const auto again = History::parse(history.to_text());
  ASSERT_TRUE(again);
  EXPECT_EQ(again->hours(), history.hours());
  EXPECT_EQ(again->shorts(), history.shorts());
  ASSERT_EQ(again->events().size(), 1U);
  // A receiver that starts anew counts from 0, and nothing is counted twice.
  auto later = *again;
  later.add({.streaming = true, .archived = 5}, kStart + 1h);
  EXPECT_EQ(later.hours().back().bytes, 5U);
}

TEST(History, GoesOnAfterAClockThatWasAheadForAMoment) {
  History history;
  std::uint64_t archived = 0;
  stream(history, kStart, archived);
  archived += 1 << 20;
  history.add({.streaming = true, .archived = archived}, kStart + 24h * 365);
  const auto goes_on = [&](History later, std::uint64_t before) {
    later.hole_found(kStart + 1h);
    stream(later, kStart + 1h, before);
    ASSERT_EQ(later.hours().size(), 1U) << "what is a year old by that clock was forgotten";
    EXPECT_EQ(
        later.hours().back().begin,
        std::chrono::duration_cast<std::chrono::seconds>((kStart + 1h).time_since_epoch()).count());
    EXPECT_EQ(later.hours().back().samples, 360U);
    EXPECT_EQ(later.hours().back().holes, 1U);
    EXPECT_EQ(later.shorts().size(), 12U);
  };
  goes_on(history, archived);
  // Nor does a kept file stop them.
  const auto kept = History::parse(history.to_text());
  ASSERT_TRUE(kept);
  goes_on(*kept, 0);
}

TEST(History, GoesOnInTheNewestSpanWhereAClockIsSetBackALittle) {
  History history;
  history.add({.streaming = true}, kStart + 1h);
  history.add({.streaming = true}, kStart + 1h - 1s);
  ASSERT_EQ(history.hours().size(), 1U);
  EXPECT_EQ(history.hours()[0].samples, 2U);
  EXPECT_EQ(history.shorts().size(), 1U);
}

TEST(History, BeginsAnewWhereTheFileIsNone) {
  for (const char* const text :
       {"", "{", "[]", "{\"version\": 2}",
        "{\"version\":1,\"shorts\":[[1]],\"hours\":[],\"events\":[]}",
        "{\"version\":1,\"shorts\":7,\"hours\":[],\"events\":[]}",
        "{\"version\":1,\"shorts\":[],\"hours\":[[7200,1,1,0,0,0,0,0],[3600,1,1,0,0,0,0,0]],"
        "\"events\":[]}"})
    EXPECT_FALSE(History::parse(text)) << text;
}

TEST(History, StaysInOrderWhenTheClockIsSetBack) {
  History history;
  history.add({.streaming = true, .archived = 1}, kStart + 5h);
  history.add({.streaming = true, .archived = 2}, kStart);
  ASSERT_EQ(history.hours().size(), 1U) << "what it told while it was ahead is dropped";
  EXPECT_EQ(history.hours()[0].bytes, 1U);
}

TEST(Charts, HaveABarForEachFiveMinutesAndSayIt) {
  History history;
  std::uint64_t archived = 0;
  stream(history, kStart + 2h, archived, 60);
  const auto charts = charts_of(history, kStart + 2h + 9min);
  ASSERT_EQ(charts.size(), 3U);
  for (const auto& chart : charts) {
    ASSERT_EQ(chart.bars.size(), History::kShorts);
    EXPECT_DOUBLE_EQ(chart.bars.back().to, 1);
    EXPECT_TRUE(chart.bars.front().gap);
    EXPECT_THAT(chart.bars.front().says, HasSubstr("nothing is known"));
    EXPECT_FALSE(chart.bars.back().gap);
  }
  EXPECT_EQ(charts[0].bars.back().says, "02:05 to 02:10: 100 B behind at worst");
  EXPECT_EQ(charts[2].bars.back().says, "02:05 to 02:10: p50 1 ms, p99 4 ms");
  EXPECT_DOUBLE_EQ(charts[2].bars.back().mark, 0.25);
}

TEST(Charts, SayTheHighestValueTheFirstAndTheLastTime) {
  History history;
  std::uint64_t archived = 0;
  stream(history, kStart + 6h, archived, 60);
  const auto chart = charts_of(history, kStart + 6h + 9min).at(0);
  EXPECT_EQ(chart.most, "100 B");
  EXPECT_EQ(chart.from, "00:10");
  EXPECT_EQ(chart.to, "06:10");
  const auto svg = chart_svg(chart);
  EXPECT_THAT(svg, HasSubstr("y=\"13\">100 B</text>"));
  EXPECT_THAT(svg, HasSubstr("text-anchor=\"start\">00:10</text>"));
  EXPECT_THAT(svg, HasSubstr("text-anchor=\"end\">06:10</text>"));
  EXPECT_THAT(svg, HasSubstr("text-anchor=\"middle\">03:00</text>"));
  // It has a line, but its text would overlap that of the last time.
  EXPECT_EQ(chart.ticks.back().text, "");
  EXPECT_THAT(svg, Not(HasSubstr("06:00</text>")));
  // The highest bar is as high as the line of its value.
  EXPECT_THAT(svg, HasSubstr("y1=\"18\" y2=\"18\"/>"));
  EXPECT_THAT(svg, HasSubstr("y=\"18\" width=\"1.194%\" height=\"84\"/>"));
}

TEST(Charts, HaveAPresentValueOnlyOfTheLastMinutes) {
  History history;
  std::uint64_t archived = 0;
  stream(history, kStart + 2h, archived, 60);
  EXPECT_EQ(charts_of(history, kStart + 2h + 9min).at(0).now, "100 B behind at worst");
  EXPECT_EQ(charts_of(history, kStart + 2h + 14min).at(0).now, "100 B behind at worst");
  EXPECT_EQ(charts_of(history, kStart + 2h + 15min).at(0).now, "nothing is known");
}

TEST(Charts, WriteTimesWithoutPowersOfTen) {
  EXPECT_EQ(milliseconds_text(0.0128), "0.0128 ms");
  EXPECT_EQ(milliseconds_text(999.4), "999 ms");
  EXPECT_EQ(milliseconds_text(999.9), "1.0 s");
  EXPECT_EQ(milliseconds_text(1390), "1.4 s");
}

TEST(Days, AreFourteenOfTwentyFourHours) {
  History history;
  std::uint64_t archived = 0;
  stream(history, kStart + 1h, archived);
  history.add({.streaming = false, .archived = archived}, kStart + 2h);
  history.add({.streaming = true, .archived = archived}, kStart + 3h);
  history.add({.streaming = false, .archived = archived}, kStart + 3h + 10s);
  history.hole_found(kStart + 4h);
  history.add({.streaming = true, .archived = archived}, kStart + 4h);
  const auto days = days_of(history, kStart + 4h + 30min);
  ASSERT_EQ(days.size(), 14U);
  EXPECT_EQ(days[0].date, "2026-11-22");
  EXPECT_EQ(days[13].date, "2026-11-09");
  const Hour::Kind expected[] = {Hour::Kind::nothing, Hour::Kind::whole, Hour::Kind::none,
                                 Hour::Kind::partly,  Hour::Kind::hole,  Hour::Kind::future};
  for (std::size_t i = 0; i < std::size(expected); ++i)
    EXPECT_EQ(days[0].hours.at(i).kind, expected[i]) << i << ": " << days[0].hours.at(i).says;
  EXPECT_EQ(days[0].hours.at(1).says,
            "2026-11-22 01:00: streamed 100% of the time, 360 MB archived");
  EXPECT_EQ(days[0].bytes, archived);
}

std::int64_t hour_of(SystemTime time) {
  return std::chrono::duration_cast<std::chrono::hours>(time - kStart).count();
}

/// Of 2026-11-22.
Hour::Kind kind_at(const History& history, const Held& held, int hour) {
  const auto days = days_of(history, kStart + 10h + 30min, held);
  return days.at(0).hours.at(static_cast<std::size_t>(hour)).kind;
}

TEST(Days, ShowWhereTheWalOfAnHourIsByTheServersPositions) {
  History history;
  const auto streams = [&](int hour, std::uint64_t megabytes) {
    history.add({.streaming = true, .server_end = megabytes << 20},
                kStart + std::chrono::hours(hour));
  };
  const auto waits = [&](int hour) {
    history.add({.streaming = false}, kStart + std::chrono::hours(hour));
  };
  streams(0, 16);
  streams(1, 32);
  streams(2, 48);
  waits(3);
  waits(4);
  streams(5, 96);
  streams(6, 112);  // nothing is recorded of the two hours after it
  streams(9, 160);
  waits(10);
  const auto mb = [](std::uint64_t count) { return wal::Lsn(count << 20); };
  Held held{.begin = mb(30), .end = mb(160)};
  EXPECT_EQ(kind_at(history, held, 0), Hour::Kind::whole) << "where its WAL begins is not known";
  EXPECT_EQ(kind_at(history, held, 1), Hour::Kind::gone);
  EXPECT_EQ(kind_at(history, held, 2), Hour::Kind::whole);
  for (const int hour : {3, 4})
    EXPECT_EQ(kind_at(history, held, hour), Hour::Kind::late) << "streamed after the outage";
  for (const int hour : {7, 8}) EXPECT_EQ(kind_at(history, held, hour), Hour::Kind::held);
  EXPECT_EQ(kind_at(history, held, 10), Hour::Kind::none) << "not here yet";
  EXPECT_EQ(kind_at(*History::parse(history.to_text()), held, 4), Hour::Kind::late);
  // The server had removed some of it.
  held.missing = {{mb(64), mb(80)}};
  history.hole_found(kStart + 9h);
  for (const int hour : {3, 4, 5})
    EXPECT_EQ(kind_at(history, held, hour), Hour::Kind::hole)
        << "when it was written, and not when that was found";
  EXPECT_EQ(kind_at(history, held, 2), Hour::Kind::whole);
  EXPECT_EQ(kind_at(history, held, 9), Hour::Kind::whole) << "though it was found then";
  const auto says = days_of(history, kStart + 10h + 30min, held).at(0).hours.at(4).says;
  EXPECT_EQ(says,
            "2026-11-22 04:00: streamed 0% of the time, 0 B archived; WAL of this time is "
            "MISSING");
}

TEST(Days, ClaimWhatCommitsProveOfAnAdoptedArchive) {
  Held held;
  EXPECT_EQ(kind_at({}, held, 5), Hour::Kind::nothing);
  held.commits = {kStart + 2h + 30min, kStart + 6h + 10min};
  for (const int hour : {0, 1, 2, 6, 7})
    EXPECT_EQ(kind_at({}, held, hour), Hour::Kind::nothing) << hour;
  for (const int hour : {3, 4, 5}) EXPECT_EQ(kind_at({}, held, hour), Hour::Kind::held) << hour;
  History history;
  history.add({.streaming = true}, kStart + 1h);
  EXPECT_EQ(kind_at(history, held, 1), Hour::Kind::gone) << "before the first commit here";
  history.add({.streaming = true, .server_end = 2000}, kStart + 1h + 10s);
  held.begin = wal::Lsn(1000);
  held.end = wal::Lsn(3000);
  EXPECT_EQ(kind_at(history, held, 1), Hour::Kind::whole) << "some of it may be here";
  held.begin = wal::Lsn(2000);
  EXPECT_EQ(kind_at(history, held, 1), Hour::Kind::gone);
}

TEST(Days, KnowFromAReportWhatIsHeld) {
  status::StatusReport report;
  EXPECT_FALSE(held_by(report).end.valid());
  report.segment_size = wal::SegmentSize();
  status::StatusReport::Timeline one;
  one.timeline = 1;
  one.finished = {{2, 4}, {6, 8}};
  one.missing = {{4, 6}};
  report.timelines = {one};
  status::StatusReport::Window newest;
  newest.timeline = 1;
  newest.to = wal::Lsn(0x8000000);
  newest.from_time = wal::PgTime::parse("2026-11-22 00:00:00 UTC");
  newest.to_time = wal::PgTime::parse("2026-11-22 03:00:00 UTC");
  report.windows = {newest};
  const auto held = held_by(report);
  EXPECT_EQ(held.begin, wal::Lsn(0x2000000));
  EXPECT_EQ(held.end, wal::Lsn(0x8000000));
  ASSERT_EQ(held.missing.size(), 1U);
  EXPECT_EQ(held.missing[0], std::pair(wal::Lsn(0x4000000), wal::Lsn(0x6000000)));
  ASSERT_TRUE(held.commits);
  EXPECT_EQ(hour_of(held.commits->first), 0);
  EXPECT_EQ(hour_of(held.commits->second), 3);
  // An idle server has written nothing since, and what streams is here up to now.
  report.receiver.emplace();
  report.receiver->taken = kStart + 7h;
  report.receiver->stream.emplace();
  EXPECT_EQ(hour_of(held_by(report).commits->second), 7);
  report.receiver->stream->server_end = wal::Lsn(0x9000000);
  EXPECT_EQ(hour_of(held_by(report).commits->second), 3);
  report.receiver->lag_time = 1h;
  EXPECT_EQ(hour_of(held_by(report).commits->second), 6);
  // When the WAL around a hole was written is not known.
  auto older = newest;
  older.newest = false;
  report.windows.push_back(older);
  EXPECT_FALSE(held_by(report).commits);
}

TEST(History, KeepsTheClustersName) {
  History history;
  EXPECT_EQ(History::parse(history.to_text())->cluster_name(), "");
  history.cluster("orders");
  history.cluster("");
  EXPECT_EQ(History::parse(history.to_text())->cluster_name(), "orders");
}

TEST(Slot, HasTheTimeThatItsBytesLastAtTheFastestOfTheLastHour) {
  History history;
  std::uint64_t archived = 0;
  stream(history, kStart, archived, 45);  // 30 MB in the first five minutes
  EXPECT_EQ(time_to_invalidation(std::uint64_t{60} << 20, history), "10 min 0 s");
  EXPECT_EQ(time_to_invalidation(std::uint64_t{60} << 20, History()), "");
  EXPECT_EQ(time_to_invalidation(UINT64_MAX, history), "");
}

}  // namespace
}  // namespace weir::web::history_test

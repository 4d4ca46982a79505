#include "receive/stalled_upstream.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace weir::receive::stalled_upstream_test {
namespace {

using namespace std::chrono_literals;
using wal::Lsn;

const auto kSize = *wal::SegmentSize::of(1 << 20);
constexpr Time kBegin{1'000'000ms};

ArchivedSoFar ours(std::uint64_t position = 0x550000) {
  return {.system_identifier = 7,
          .segment_size = kSize,
          .end = {.timeline = 1, .start = kSize.start_of(Lsn(position)), .history = {}},
          .position = Lsn(position)};
}

HostWord host(int index, std::uint64_t end, bool standby) {
  HostWord word;
  word.index = index;
  word.name = fmt::format("db{}", index);
  word.identity = {.system_identifier = 7, .timeline = 1, .flush_position = Lsn(end)};
  word.segment_size = kSize;
  word.history = wal::TimelineHistory(1);
  word.standby = standby;
  word.has_wal = true;
  return word;
}

HostWord ahead() { return host(1, 0x560000, false); }

/// The host to move to.
std::optional<int> asked(StalledUpstream& stalled, std::vector<HostWord> hosts, Time now,
                         std::uint64_t position = 0x550000, Prefer prefer = Prefer::any) {
  const auto found = stalled.on_asked(std::move(hosts), ours(position), prefer, now);
  return found && found->obstacle.empty() ? std::optional(found->host.index) : std::nullopt;
}

TEST(StalledUpstream, IsLeftForAHostThatHasHadMoreForAWhile) {
  StalledUpstream stalled(10s);
  EXPECT_FALSE(stalled.suspects());
  EXPECT_EQ(asked(stalled, {ahead()}, kBegin), std::nullopt);
  EXPECT_TRUE(stalled.suspects());
  EXPECT_EQ(asked(stalled, {ahead()}, kBegin + 9s), std::nullopt);
  EXPECT_EQ(asked(stalled, {ahead()}, kBegin + 10s), 1);
}

TEST(StalledUpstream, IsNoServerThatHasSentSomethingMeanwhile) {
  StalledUpstream stalled(10s);
  EXPECT_EQ(asked(stalled, {ahead()}, kBegin), std::nullopt);
  EXPECT_EQ(asked(stalled, {ahead()}, kBegin + 10s, 0x550008), std::nullopt);
  EXPECT_EQ(asked(stalled, {ahead()}, kBegin + 19s, 0x550008), std::nullopt);
  EXPECT_EQ(asked(stalled, {ahead()}, kBegin + 20s, 0x550008), 1);
}

TEST(StalledUpstream, IsLeftOnlyForAHostThatWouldBeChosen) {
  struct Case {
    const char* name;
    void (*change)(HostWord&);
    bool left = false;
  };
  const Case cases[] = {
      {"all is well", [](HostWord&) {}, true},
      {"no answer", [](HostWord& host) { host.failure = Error(ErrorKind::retry, "away"); }},
      {"it has nothing more", [](HostWord& host) { host.identity.flush_position = Lsn(0x550000); }},
      {"it has less", [](HostWord& host) { host.identity.flush_position = Lsn(0x540000); }},
      {"another cluster", [](HostWord& host) { host.identity.system_identifier = 8; }},
      {"a standby", [](HostWord& host) { host.standby = true; }, true},
      {"another branch",
       [](HostWord& host) {
         host.identity.timeline = 3;
         host.history = wal::TimelineHistory::parse(3, "2\t0/550000\tx\n");
       }},
      {"a new primary, which has left something behind",
       [](HostWord& host) {
         host.identity = {.system_identifier = 7, .timeline = 2, .flush_position = Lsn(0x54FFF8)};
         host.history = wal::TimelineHistory::parse(2, "1\t0/54FF00\tx\n");
       },
       true},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    StalledUpstream stalled(10s);
    auto changed = ahead();
    each.change(changed);
    EXPECT_EQ(asked(stalled, {changed}, kBegin), std::nullopt);
    EXPECT_EQ(stalled.suspects(), each.left);
    EXPECT_EQ(asked(stalled, {changed}, kBegin + 10s).has_value(), each.left);
    // One that was not suitable in between is confirmed anew.
    StalledUpstream interrupted(10s);
    EXPECT_EQ(asked(interrupted, {ahead()}, kBegin), std::nullopt);
    EXPECT_EQ(asked(interrupted, {changed}, kBegin + 5s), std::nullopt);
    EXPECT_EQ(asked(interrupted, {ahead()}, kBegin + 10s).has_value(), each.left);
  }
}

TEST(StalledUpstream, IsReportedIfAHostWithMoreCannotBeUsed) {
  struct Case {
    void (*change)(HostWord&);
    const char* obstacle;
  };
  const Case cases[] = {
      {[](HostWord& host) { host.has_wal = false; }, "it no longer has the WAL that comes next"},
      {[](HostWord& host) { host.has_slot = false; }, "it does not have the slot"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.obstacle);
    auto host_ahead = ahead();
    each.change(host_ahead);
    const std::vector<HostWord> hosts{host(0, 0x550000, true), host_ahead};
    StalledUpstream stalled(10s);
    EXPECT_FALSE(stalled.on_asked(hosts, ours(), Prefer::any, kBegin));
    const auto found = stalled.on_asked(hosts, ours(), Prefer::any, kBegin + 10s);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->host.index, 1);
    EXPECT_EQ(found->obstacle, each.obstacle);
    // Another one that can be used.
    StalledUpstream of_two(10s);
    const auto other = host(2, 0x558000, true);
    EXPECT_EQ(asked(of_two, {host_ahead, other}, kBegin), std::nullopt);
    EXPECT_EQ(asked(of_two, {host_ahead, other}, kBegin + 10s), 2);
  }
}

/// A running stream stays with its upstream.
TEST(StalledUpstream, IsNotLeftForTheOtherSideOfASplitBrain) {
  auto promoted = host(2, 0x560000, false);
  promoted.identity.timeline = 2;
  promoted.history = wal::TimelineHistory::parse(2, "1\t0/550000\tx\n");
  const auto clone = host(3, 0x560000, false);
  const auto idle = host(1, 0x550000, false);
  const auto standby = host(0, 0x558000, true);
  for (const auto& hosts : {std::vector{idle, promoted},
                            {promoted, idle},
                            {idle, clone},
                            {ahead(), clone},
                            {idle},
                            {idle, standby}}) {
    StalledUpstream stalled(10s);
    EXPECT_EQ(asked(stalled, hosts, kBegin), std::nullopt);
    EXPECT_FALSE(stalled.suspects());
  }
  // The old primary does not answer any more.
  StalledUpstream stalled(10s);
  EXPECT_EQ(asked(stalled, {promoted}, kBegin), std::nullopt);
  EXPECT_EQ(asked(stalled, {promoted}, kBegin + 10s), 2);
}

TEST(StalledUpstream, IsNotLeftForAnotherOne) {
  StalledUpstream stalled(10s);
  const auto other = host(0, 0x550000, true);
  EXPECT_EQ(asked(stalled, {other}, kBegin), std::nullopt);
  EXPECT_FALSE(stalled.suspects());
  for (const auto prefer : {Prefer::any, Prefer::standby}) {
    StalledUpstream of_two(10s);
    EXPECT_EQ(asked(of_two, {other, ahead()}, kBegin, 0x550000, prefer), std::nullopt);
    EXPECT_EQ(asked(of_two, {other, ahead()}, kBegin + 10s, 0x550000, prefer), 1);
  }
}

TEST(StalledUpstream, MarksWhoHasNothingAfterThatPosition) {
  std::vector<HostWord> hosts{host(0, 0x54FFFF, true), host(1, 0x550000, true),
                              host(2, 0x550001, true), host(3, 0x540000, false)};
  mark_stalled(hosts, Lsn(0x550000));
  EXPECT_TRUE(hosts[0].stalled);
  EXPECT_TRUE(hosts[1].stalled);
  EXPECT_FALSE(hosts[2].stalled);
  EXPECT_FALSE(hosts[3].stalled) << "a primary receives nothing";
  mark_stalled(hosts, Lsn(0x54FFFF));
  EXPECT_FALSE(hosts[1].stalled) << "it has got on";
}

}  // namespace
}  // namespace weir::receive::stalled_upstream_test

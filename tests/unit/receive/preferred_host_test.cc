#include "receive/preferred_host.h"

#include <gtest/gtest.h>

#include "receive/successor_watch.h"

namespace weir::receive::preferred_host_test {
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

HostWord standby() {
  HostWord word;
  word.index = 1;
  word.name = "db1";
  word.identity = {.system_identifier = 7, .timeline = 1, .flush_position = Lsn(0x560000)};
  word.segment_size = kSize;
  word.history = wal::TimelineHistory(1);
  word.standby = true;
  word.has_wal = true;
  return word;
}

TEST(PreferredHost, IsMovedToWhenItHasBeenThereForLongEnough) {
  PreferredHost preferred(Prefer::standby, 30s);
  EXPECT_EQ(preferred.on_asked({standby()}, ours(), kBegin), std::nullopt);
  EXPECT_EQ(preferred.on_asked({standby()}, ours(), kBegin + 29s), std::nullopt);
  EXPECT_EQ(preferred.on_asked({standby()}, ours(), kBegin + 30s), 1);
}

TEST(PreferredHost, IsWaitedForAnewWhenItWasAwayOrNotFit) {
  struct Case {
    const char* name;
    void (*change)(HostWord&);
    bool fit;
  };
  const Case cases[] = {
      {"all is well", [](HostWord&) {}, true},
      {"no answer", [](HostWord& host) { host.failure = Error(ErrorKind::retry, "away"); }, false},
      {"the other role", [](HostWord& host) { host.standby = false; }, false},
      {"a role that it does not say", [](HostWord& host) { host.standby.reset(); }, false},
      {"another cluster", [](HostWord& host) { host.identity.system_identifier = 8; }, false},
      {"it has not what is durable here",
       [](HostWord& host) { host.identity.flush_position = Lsn(0x54FFF8); }, false},
      {"it has just that", [](HostWord& host) { host.identity.flush_position = Lsn(0x550000); },
       true},
      {"its WAL is gone", [](HostWord& host) { host.has_wal = false; }, false},
      {"it has not our slot", [](HostWord& host) { host.has_slot = false; }, false},
      {"it has our slot", [](HostWord& host) { host.has_slot = true; }, true},
      {"a newer timeline that has it all",
       [](HostWord& host) {
         host.identity.timeline = 2;
         host.history = wal::TimelineHistory::parse(2, "1\t0/550000\tx\n");
       },
       true},
      {"a newer timeline that would leave something behind",
       [](HostWord& host) {
         host.identity.timeline = 2;
         host.history = wal::TimelineHistory::parse(2, "1\t0/54FFF8\tx\n");
       },
       false},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    PreferredHost preferred(Prefer::standby, 30s);
    static_cast<void>(preferred.on_asked({standby()}, ours(), kBegin));
    auto changed = standby();
    each.change(changed);
    static_cast<void>(preferred.on_asked({changed}, ours(), kBegin + 20s));
    EXPECT_EQ(preferred.on_asked({standby()}, ours(), kBegin + 40s).has_value(), each.fit);
    EXPECT_EQ(preferred.on_asked({standby()}, ours(), kBegin + 70s), 1);
  }
}

TEST(PreferredHost, IsAskedForOftenEnoughAndNotTooOften) {
  for (const auto prefer : {Prefer::standby, Prefer::primary}) {
    EXPECT_EQ(asks_every(30s, prefer, 10min), 10s);
    EXPECT_EQ(asks_every(1h, prefer, 10min), 10s);
    EXPECT_EQ(asks_every(3s, prefer, 10min), 1s);
    EXPECT_EQ(asks_every(0s, prefer, 10min), 100ms);
  }
  EXPECT_EQ(asks_every(30s, Prefer::standby, 0s), 10s);
  EXPECT_EQ(asks_every(30s, Prefer::primary, 0s), 1s) << "one may be promoted any moment";
}

TEST(Successor, IsAPrimaryOfANewerTimelineThatLeadsOn) {
  auto primary = standby();
  primary.standby = false;
  primary.identity.timeline = 2;
  primary.history = wal::TimelineHistory::parse(2, "1\t0/550000\tx\n");
  EXPECT_TRUE(is_successor(primary, ours()));
  struct Case {
    const char* name;
    void (*change)(HostWord&);
    bool successor = false;
  };
  const Case cases[] = {
      {"no answer", [](HostWord& host) { host.failure = Error(ErrorKind::retry, "away"); }},
      {"a standby", [](HostWord& host) { host.standby = true; }},
      {"it does not say", [](HostWord& host) { host.standby.reset(); }},
      {"another cluster", [](HostWord& host) { host.identity.system_identifier = 8; }},
      {"the same timeline",
       [](HostWord& host) {
         host.identity.timeline = 1;
         host.history = wal::TimelineHistory(1);
       }},
      {"its WAL is gone", [](HostWord& host) { host.has_wal = false; }},
      {"it has not our slot", [](HostWord& host) { host.has_slot = false; }},
      {"another branch",
       [](HostWord& host) {
         host.identity.timeline = 3;
         host.history = wal::TimelineHistory::parse(3, "2\t0/550000\tx\n");
       }},
      {"one that leaves something behind counts all the same",
       [](HostWord& host) { host.history = wal::TimelineHistory::parse(2, "1\t0/54FFF8\tx\n"); },
       true},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    auto host = primary;
    each.change(host);
    EXPECT_EQ(is_successor(host, ours()), each.successor);
  }
}

TEST(PreferredHost, IsMovedToAtOnceWhereItWasPromoted) {
  auto primary = standby();
  primary.standby = false;
  primary.identity.timeline = 2;
  primary.history = wal::TimelineHistory::parse(2, "1\t0/550000\tx\n");
  EXPECT_EQ(PreferredHost(Prefer::primary, 30s).on_asked({primary}, ours(), kBegin), 1);
  // Not where such a move came to nothing before, nor to one that leaves something behind.
  EXPECT_EQ(PreferredHost(Prefer::primary, 30s, false).on_asked({primary}, ours(), kBegin),
            std::nullopt);
  primary.history = wal::TimelineHistory::parse(2, "1\t0/54FFF8\tx\n");
  EXPECT_EQ(PreferredHost(Prefer::primary, 30s).on_asked({primary}, ours(), kBegin), std::nullopt);
  auto same = standby();
  same.standby = false;
  EXPECT_EQ(PreferredHost(Prefer::primary, 30s).on_asked({same}, ours(), kBegin), std::nullopt);
}

}  // namespace
}  // namespace weir::receive::preferred_host_test

#include "wal/record_verifier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <random>

#include "support/wal_builder.h"
#include "wal/records.h"

namespace weir::wal::record_verifier_test {
namespace {

using ::testing::HasSubstr;
using testing::WalBuilder;
using Kind = WalBuilder::Kind;

constexpr std::uint64_t kMegabyte = 1 << 20;

RecordVerifier::Options options_for(const WalBuilder& wal) {
  return {.segment_size = wal.options().segment_size,
          .timeline = wal.options().timeline,
          .system_identifier = wal.options().system_identifier,
          .server_major = wal.options().server_major};
}

/// All that a verifier says about a stream; two splits of it must give the same.
struct Verdict {
  std::string damage = "none";
  Lsn position, last_start, last_end, newest, first;
  std::uint64_t records = 0;
  bool inside = false;
  bool operator==(const Verdict&) const = default;
  friend std::ostream& operator<<(std::ostream& out, const Verdict& v) {
    return out << v.damage << ", position " << v.position.to_string() << ", last record "
               << v.last_start.to_string() << " to " << v.last_end.to_string() << ", newest "
               << v.newest.to_string() << ", first " << v.first.to_string() << ", records "
               << v.records << (v.inside ? ", inside a record" : "");
  }
};

std::string text(const std::optional<Damage>& damage) {
  if (!damage) return "none";
  return fmt::format("{} found at {}: {}", damage->at, damage->found_at, damage->what);
}

Verdict verdict(const RecordVerifier& verifier, const std::optional<Damage>& damage) {
  return {text(damage),
          verifier.position(),
          verifier.last_record_start(),
          verifier.last_record_end(),
          verifier.newest_record_start(),
          verifier.first_record_start(),
          verifier.records(),
          verifier.inside_record()};
}

Verdict verify(RecordVerifier::Options options, Lsn start, std::span<const std::byte> wal,
               const std::function<std::size_t()>& piece_size) {
  RecordVerifier verifier(options, start);
  std::optional<Damage> damage;
  while (!wal.empty() && !damage) {
    const auto piece = wal.first(std::min(wal.size(), piece_size()));
    damage = verifier.feed(piece);
    wal = wal.subspan(piece.size());
  }
  return verdict(verifier, damage);
}

Verdict verify(RecordVerifier::Options options, Lsn start, std::span<const std::byte> wal) {
  return verify(options, start, wal, [&] { return wal.size(); });
}

Verdict verify(const WalBuilder& wal) { return verify(options_for(wal), wal.start(), wal.bytes()); }

Verdict verify_by_bytes(RecordVerifier::Options options, Lsn start,
                        std::span<const std::byte> wal) {
  return verify(options, start, wal, [] { return std::size_t{1}; });
}

std::uint64_t complete_records(const WalBuilder& wal, Lsn from) {
  return static_cast<std::uint64_t>(std::count_if(
      wal.records().begin(), wal.records().end(),
      [&](const auto& record) { return record.start >= from && record.kind != Kind::aborted; }));
}

/// A builder that writes only what it is told to, at the start of a segment of 1 MB.
WalBuilder empty_wal(int server_major = 18) { return WalBuilder({.server_major = server_major}); }

/// Ends the WAL `room` bytes before the end of the page that the next record would begin on.
void leave_room(WalBuilder& wal, std::uint64_t room) {
  if (wal.end().byte() % kPageSize == 0) wal.append_random(100);
  const Lsn border((wal.end().byte() / kPageSize + 1) * kPageSize);
  if (border - wal.end() - room < kRecordHeaderSize) {
    wal.append_random(static_cast<std::uint32_t>(border - wal.end()) + 500);
    leave_room(wal, room);
    return;
  }
  wal.append_up_to(Lsn(border.byte() - room));
}

/// A copy of the WAL to be damaged.
struct Bytes {
  explicit Bytes(const WalBuilder& wal)
      : start(wal.start()), bytes(wal.bytes().begin(), wal.bytes().end()) {}
  template <typename Integer>
  void put(Lsn at, Integer value) {
    std::memcpy(&bytes.at(at - start), &value, sizeof(value));
  }
  void zero(Lsn from) {
    std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(from - start), bytes.end(), std::byte{0});
  }
  Lsn start;
  std::vector<std::byte> bytes;
};

class Collector : public RecordObserver {
 public:
  explicit Collector(bool wanted, bool xlog_only = false)
      : wanted_(wanted), xlog_only_(xlog_only) {}
  bool wants(const RecordHeader&) override { return wanted_; }
  [[nodiscard]] bool needs_xlog_only() const override { return xlog_only_; }
  void on_record(Lsn start, Lsn end, const RecordHeader& header,
                 std::span<const std::byte> body) override {
    seen.push_back({start, end, header, {body.begin(), body.end()}});
  }
  struct Seen {
    Lsn start, end;
    RecordHeader header;
    std::vector<std::byte> body;
  };
  std::vector<Seen> seen;

 private:
  bool wanted_, xlog_only_;
};

// ---- what is legal

TEST(RecordVerifier, AcceptsLegalStreamsHoweverTheyAreCut) {
  const auto seed = testing::test_seed(20260801);
  for (int major = kOldestKnownMajor; major <= kNewestKnownMajor; ++major) {
    for (std::uint64_t round = 0; round < 3; ++round) {
      SCOPED_TRACE(fmt::format("PostgreSQL {}, seed {}", major, seed + round));
      WalBuilder wal({.seed = seed + round, .server_major = major});
      wal.grow_to(wal.start() + 3 * kMegabyte);

      const auto whole = verify(wal);
      EXPECT_EQ(whole.damage, "none");
      EXPECT_EQ(whole.position, wal.end());
      EXPECT_EQ(whole.last_end, wal.complete_end(wal.end()));
      EXPECT_EQ(whole.records, complete_records(wal, wal.start()));
      EXPECT_EQ(whole.first, wal.records().front().start);

      std::mt19937_64 random(seed + round);
      for (const std::size_t limit : {7u, 100u, 9'000u, 70'000u})
        EXPECT_EQ(whole, verify(options_for(wal), wal.start(), wal.bytes(),
                                [&] { return 1 + random() % limit; }))
            << "pieces of up to " << limit;
      EXPECT_EQ(whole, verify_by_bytes(options_for(wal), wal.start(), wal.bytes()));
    }
  }
}

TEST(RecordVerifier, AcceptsOtherSegmentSizes) {
  for (const std::uint64_t megabytes : {2, 16}) {
    SCOPED_TRACE(megabytes);
    const auto size = *SegmentSize::of(megabytes * kMegabyte);
    WalBuilder wal({.segment_size = size, .start = size.start(5), .switch_every = 20'000});
    wal.grow_to(size.start(7) + 100'000);
    const auto found = verify(wal);
    EXPECT_EQ(found.damage, "none");
    EXPECT_EQ(found.last_end, wal.end());
  }
}

TEST(RecordVerifier, KnowsAtEveryPositionWhereTheLastRecordEnds) {
  WalBuilder wal({.seed = 3, .switch_every = 50, .abort_every = 20, .large_every = 10});
  wal.grow_to(wal.start() + kMegabyte + 50'000);
  RecordVerifier verifier(options_for(wal), wal.start());
  for (const auto byte : wal.bytes()) {
    ASSERT_FALSE(verifier.feed({&byte, 1}));
    ASSERT_EQ(verifier.last_record_end(), wal.complete_end(verifier.position()))
        << verifier.position().to_string();
  }
}

TEST(RecordVerifier, StartsOnAnyPageThatHoldsWal) {
  WalBuilder wal({.seed = 5, .switch_every = 700, .abort_every = 30, .large_every = 20});
  wal.grow_to(wal.start() + 2 * kMegabyte);
  int filler = 0;
  for (auto page = wal.start(); page < wal.end(); page = page + kPageSize) {
    SCOPED_TRACE(page.to_string());
    const auto found = verify(options_for(wal), page, wal.bytes().subspan(page - wal.start()));
    if (wal.bytes()[page - wal.start()] == std::byte{0}) {  // behind an xlog-switch
      EXPECT_THAT(found.damage, HasSubstr("the WAL ends"));
      EXPECT_EQ(found.position, page);
      ++filler;
      continue;
    }
    EXPECT_EQ(found.damage, "none");
    EXPECT_EQ(found.last_end, wal.complete_end(wal.end()));
    EXPECT_EQ(found.records, complete_records(wal, page));
  }
  EXPECT_GT(filler, 0);
  EXPECT_LT(filler, 200);
}

TEST(RecordVerifier, AcceptsARecordHeaderSplitAnywhere) {
  for (std::uint64_t room = 8; room <= 48; room += 8) {
    for (const std::uint32_t length : {24u, 25u, 31u, 32u, 40u, 41u, 8'160u, 20'000u}) {
      SCOPED_TRACE(fmt::format("room {}, length {}", room, length));
      auto wal = empty_wal();
      wal.append_random(100);
      leave_room(wal, room);
      const auto start = wal.append_random(length).start;
      wal.append_random(24);
      ASSERT_EQ(kPageSize - start.byte() % kPageSize, room);
      const auto found = verify(wal);
      EXPECT_EQ(found.damage, "none");
      EXPECT_EQ(found.last_end, wal.end());
      EXPECT_EQ(found, verify_by_bytes(options_for(wal), wal.start(), wal.bytes()));
    }
  }
}

TEST(RecordVerifier, AcceptsARecordOverManySegments) {
  auto wal = empty_wal();
  wal.append_random(1000);
  wal.append_random(3 * kMegabyte + 12'345);
  wal.append_random(1000);
  const auto found = verify(wal);
  EXPECT_EQ(found.damage, "none");
  EXPECT_EQ(found.records, 3u);

  // From the second segment on, all of which the large record fills.
  const auto second = wal.start() + kMegabyte;
  const auto later = verify(options_for(wal), second, wal.bytes().subspan(kMegabyte));
  EXPECT_EQ(later.damage, "none");
  EXPECT_EQ(later.records, 1u);
  EXPECT_EQ(later.last_end, wal.end());
}

TEST(RecordVerifier, AcceptsAnXlogSwitchWhereverItEnds) {
  const struct {
    const char* name;
    std::uint64_t room;  // bytes from the switch record's start to the segment's end
    std::uint64_t end;   // segments from the start to the next record
  } cases[] = {{"early in the last page", 8'000, 1},
               {"a page's rest behind it", 32, 1},
               {"exactly at the segment's end", 24, 1},
               {"over the border", 16, 2},
               {"over the border, only 8 bytes before", 8, 2}};
  for (const auto& test : cases) {
    SCOPED_TRACE(test.name);
    auto wal = empty_wal();
    wal.append_random(kMegabyte - 30'000);
    while (wal.end() < wal.start() + (kMegabyte - kPageSize)) wal.append_random(300);
    wal.append_up_to(wal.start() + (kMegabyte - test.room));
    ASSERT_TRUE(wal.append_switch());
    const auto next = wal.start() + test.end * kMegabyte;
    EXPECT_EQ(wal.end(), next);
    EXPECT_EQ(verify(wal).last_end, next);
    wal.append_random(100);
    const auto found = verify(wal);
    EXPECT_EQ(found.damage, "none");
    EXPECT_EQ(found.last_end, wal.end());
    EXPECT_EQ(found, verify_by_bytes(options_for(wal), wal.start(), wal.bytes()));
  }
}

TEST(RecordVerifier, AcceptsAnythingBehindAnXlogSwitch) {
  auto wal = empty_wal();
  wal.append_random(100);
  wal.append_switch();
  const auto behind = wal.records().back().end;
  const auto next = wal.end();
  wal.append_random(100);
  Bytes damaged(wal);
  std::mt19937_64 random(1);
  for (auto at = behind; at < next; at = at + 8) damaged.put(at, random());
  EXPECT_EQ(verify(options_for(wal), wal.start(), damaged.bytes).damage, "none");
}

TEST(RecordVerifier, AcceptsAnOverwrittenContinuation) {
  for (const int major : {13, 18, 19}) {
    for (const unsigned pages : {0u, 1u, 3u, 127u}) {
      for (std::uint64_t room = 8; room <= 40; room += 8) {
        SCOPED_TRACE(fmt::format("PostgreSQL {}, {} pages, room {}", major, pages, room));
        auto wal = empty_wal(major);
        wal.append_random(100);
        leave_room(wal, room);
        const auto before = wal.records().back().start;
        const auto& overwrite = wal.append_aborted(2'000'000, pages);
        EXPECT_EQ(overwrite.previous, before);
        wal.append_random(500);
        const auto found = verify(wal);
        EXPECT_EQ(found.damage, "none");
        EXPECT_EQ(found.last_end, wal.end());
        EXPECT_EQ(found.records, wal.records().size() - 1);
      }
    }
  }
}

TEST(RecordVerifier, AcceptsAStartInsideOrBehindAnAbortedRecord) {
  auto wal = empty_wal();
  wal.append_random(9'000);
  wal.append_aborted(60'000, 3);
  const auto aborted = wal.records()[1].start;
  wal.append_random(500);
  const Lsn first(aborted.byte() / kPageSize * kPageSize);
  for (unsigned pages = 1; pages <= 4; ++pages) {
    SCOPED_TRACE(pages);
    const auto start = first + pages * kPageSize;
    const auto bytes = wal.bytes().subspan(start - wal.start());
    auto options = options_for(wal);
    for (const bool primed : {false, true}) {
      if (primed) options.previous_record = aborted;
      const auto found = verify(options, start, bytes);
      EXPECT_EQ(found.damage, "none");
      EXPECT_EQ(found.records, 2u);
    }
    // The record says whose continuation it overwrites.
    options.previous_record = Lsn(aborted.byte() - 8);
    EXPECT_THAT(verify(options, start, bytes).damage,
                HasSubstr(fmt::format("incorrect position of the overwritten record: expected {}, "
                                      "found {}",
                                      *options.previous_record, aborted)));
  }
}

TEST(RecordVerifier, AcceptsAnAncestorsPagesInATimelinesFirstSegment) {
  const auto seed = testing::test_seed(42);
  std::mt19937_64 random(seed);
  for (int round = 0; round < 50; ++round) {
    WalBuilder parent({.seed = seed + static_cast<std::uint64_t>(round), .timeline = 3});
    parent.grow_to(parent.start() + 2 * kMegabyte);
    const auto fork = parent.fork_point(parent.start() + 1000 + random() % (2 * kMegabyte - 1000));
    SCOPED_TRACE(fmt::format("round {}, switchpoint {}", round, fork));
    auto child = parent.fork(fork, 4, random());
    child.grow_to(child.start() + 3 * kMegabyte);
    const auto grandchild_fork = child.fork_point(fork + random() % (child.end() - fork));
    auto grandchild = child.fork(grandchild_fork, 9, random());
    grandchild.grow_to(grandchild.start() + 4 * kMegabyte);
    for (const auto* wal : {&parent, &child, &grandchild}) {
      const auto found = verify(*wal);
      EXPECT_EQ(found.damage, "none");
      EXPECT_EQ(found.last_end, wal->complete_end(wal->end()));
    }
    // The parent's stream ends at the switchpoint.
    const auto found =
        verify(options_for(parent), parent.start(), parent.bytes(parent.start(), fork));
    EXPECT_EQ(found.damage, "none");
    EXPECT_EQ(found.last_end, fork);
    EXPECT_FALSE(found.inside);
  }
}

TEST(RecordVerifier, GoesOnFromAPositionWithThePreviousRecord) {
  WalBuilder wal({.seed = 8, .switch_every = 0, .abort_every = 40, .large_every = 20});
  wal.grow_to(wal.start() + kMegabyte);
  RecordVerifier first(options_for(wal), wal.start());
  for (auto page = wal.start(); page < wal.end() && page.byte() - wal.start().byte() < kMegabyte;
       page = page + kPageSize) {
    SCOPED_TRACE(page.to_string());
    ASSERT_EQ(first.position(), page);
    const auto bytes = wal.bytes().subspan(page - wal.start());
    if (page != wal.start() && bytes[0] != std::byte{0}) {
      auto options = options_for(wal);
      options.previous_record = first.newest_record_start();
      EXPECT_EQ(verify(options, page, bytes).damage, "none");
    }
    ASSERT_FALSE(first.feed(bytes.first(kPageSize)));
  }
}

TEST(RecordVerifier, ChecksTheFirstPrevLinkIfThePreviousRecordIsKnown) {
  auto wal = empty_wal();
  const auto previous = wal.append_random(10'000).start;
  const auto second = wal.append_random(100).start;
  const auto page = Lsn(second.byte() / kPageSize * kPageSize);
  const auto bytes = wal.bytes().subspan(page - wal.start());
  auto options = options_for(wal);
  EXPECT_EQ(verify(options, page, bytes).damage, "none");
  options.previous_record = previous;
  EXPECT_EQ(verify(options, page, bytes).damage, "none");
  options.previous_record = previous + 8;
  EXPECT_EQ(verify(options, page, bytes).damage,
            fmt::format("{} found at {}: incorrect link to the previous record: expected {}, found "
                        "{}",
                        second, second + 8, previous + 8, previous));
}

TEST(RecordVerifier, TakesVersionAndClusterFromTheStreamIfNotGiven) {
  for (int major = kOldestKnownMajor; major <= kNewestKnownMajor; ++major) {
    SCOPED_TRACE(major);
    WalBuilder wal({.server_major = major, .start = Lsn(3 * kMegabyte)});
    wal.grow_to(wal.start() + 2 * kMegabyte);
    RecordVerifier verifier({.segment_size = wal.options().segment_size}, wal.start());
    EXPECT_EQ(verifier.system_identifier(), 0u);
    EXPECT_EQ(text(verifier.feed(wal.bytes())), "none");
    EXPECT_EQ(verifier.system_identifier(), wal.options().system_identifier);
    EXPECT_FALSE(verifier.unchecked());
    EXPECT_EQ(verifier.last_record_end(), wal.complete_end(wal.end()));
  }
}

/// The builder's WAL with the magic of a version that nobody knows yet.
Bytes newer_than_known(const WalBuilder& wal) {
  Bytes newer(wal);
  for (Lsn page = wal.start(); page < wal.end(); page = page + kPageSize)
    newer.put(page, std::uint16_t{0xD130});
  return newer;
}

class CountingObserver : public RecordObserver {
 public:
  bool wants(const RecordHeader& /*header*/) override { return true; }
  void on_record(Lsn /*start*/, Lsn /*end*/, const RecordHeader& /*header*/,
                 std::span<const std::byte> /*body*/) override {
    ++records;
  }
  int records = 0;
};

TEST(RecordVerifier, ChecksWalOfANewerServerByTheRulesOfTheNewestKnown) {
  auto wal = empty_wal(kNewestKnownMajor);
  wal.append_random(100'000);
  const auto newer = newer_than_known(wal);
  const Bytes same(wal);
  const struct {
    const char* name;
    std::optional<int> major;
    const std::vector<std::byte>& bytes;
    bool unchecked;
  } cases[] = {
      {"newer magic", std::nullopt, newer.bytes, true},
      {"newer server", 20, newer.bytes, true},
      {"newer server that kept the magic", 20, same.bytes, true},
      {"newer magic of a server that we know", 18, newer.bytes, false},
      {"newer magic of the newest server that we know", kNewestKnownMajor, newer.bytes, true},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.name);
    auto options = options_for(wal);
    options.server_major = test.major;
    CountingObserver observer;
    options.observer = &observer;
    RecordVerifier verifier(options, wal.start());
    const auto damage = verifier.feed(test.bytes);
    EXPECT_EQ(verifier.unchecked(), test.unchecked);
    EXPECT_EQ(damage.has_value(), !test.unchecked) << text(damage);
    if (!test.unchecked) continue;
    EXPECT_EQ(verifier.position(), wal.end());
    EXPECT_EQ(verifier.records(), complete_records(wal, wal.start()));
    EXPECT_EQ(verifier.last_record_end(), wal.complete_end(wal.end()));
    EXPECT_EQ(observer.records, 0) << "what a record says may have changed";
  }
}

TEST(RecordVerifier, TakesWhatANewerFormatMayHaveChangedForNoDamage) {
  auto wal = empty_wal(kNewestKnownMajor);
  for (int i = 0; i < 40; ++i) wal.append_random(1000);
  wal.append_random(30'000);
  const auto& records = wal.records();
  const auto& first = records.front();
  const auto& later = records.at(20);
  const auto page = [&](std::uint64_t number) { return wal.start() + number * kPageSize; };
  const struct {
    const char* name;
    Lsn at;
    std::uint64_t value;
    std::size_t size;
    const char* damage;  // nullptr: none
  } cases[] = {
      {"the first checksum is another", first.start + 20, 0, 4, nullptr},
      {"the first link is another", first.start + 8, wal.end().byte(), 8, nullptr},
      {"the first length is another", first.start, 1, 4, nullptr},
      {"the first page has another address", wal.start() + 8, 1, 8, nullptr},
      {"a page flag that is not known", page(1) + 2, 0x0011, 2, nullptr},
      {"a page flag whose meaning may be another", page(1) + 2, 0x0005, 2, nullptr},
      {"a record larger than any", later.start, kMegabyte * 2000, 4, nullptr},
      {"the checksum of a later record", later.start + 20, 0, 4, "incorrect record checksum"},
      {"the link of a later record", later.start + 8, 8, 8, "incorrect link"},
      {"the length of a later record", later.start, 7, 4, "invalid record length"},
      {"no later record", later.start, 0, 4, "the WAL ends"},
      {"the address of a later page", page(2) + 8, 8, 8, "unexpected page address"},
      {"the timeline of a later page", page(2) + 4, 9, 4, "unexpected timeline"},
      {"the magic of a later page", page(2), 0xD131, 2, "unexpected page magic"},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.name);
    auto bytes = newer_than_known(wal);
    std::memcpy(&bytes.bytes.at(test.at - bytes.start), &test.value, test.size);
    auto options = options_for(wal);
    for (const auto& major : {std::optional(kNewestKnownMajor + 1), std::optional<int>()}) {
      options.server_major = major;
      RecordVerifier verifier(options, wal.start());
      const auto damage = verifier.feed(bytes.bytes);
      EXPECT_TRUE(verifier.unchecked());
      ASSERT_EQ(damage.has_value(), test.damage != nullptr) << text(damage);
      if (!damage) {
        EXPECT_EQ(verifier.position(), wal.end());
        EXPECT_EQ(verifier.last_record_end(), Lsn());
        EXPECT_EQ(verifier.records_end(), Lsn());
        continue;
      }
      EXPECT_THAT(damage->what, ::testing::HasSubstr(test.damage));
      EXPECT_THAT(damage->what, ::testing::HasSubstr("of a newer PostgreSQL than this pgweir"));
      EXPECT_EQ(verify_by_bytes(options, wal.start(), bytes.bytes).damage, text(damage));
    }
  }
}

TEST(RecordVerifier, TakesNoSinglePageForThatOfANewerServer) {
  auto wal = empty_wal();
  wal.append_random(100'000);
  Bytes bytes(wal);
  bytes.put(wal.start(), std::uint16_t{0xD910});  // one bit of 0xD110
  for (const std::size_t piece : {std::size_t{1}, std::size_t{100}, std::size_t{1'000'000}}) {
    SCOPED_TRACE(piece);
    auto options = options_for(wal);
    options.server_major = std::nullopt;
    RecordVerifier verifier(options, wal.start());
    std::optional<Damage> damage;
    for (std::size_t at = 0; at < bytes.bytes.size() && !damage; at += piece)
      damage = verifier.feed(
          std::span(bytes.bytes).subspan(at, std::min(piece, bytes.bytes.size() - at)));
    ASSERT_TRUE(damage);
    EXPECT_EQ(damage->at, wal.start());
    EXPECT_THAT(damage->what, ::testing::HasSubstr("unexpected page magic"));
    EXPECT_EQ(verifier.position(), wal.start());
    EXPECT_EQ(verifier.last_record_end(), Lsn()) << "behind what is damaged";
  }
}

// ---- what is not

TEST(RecordVerifier, SaysThatTheWalEndsWhereThereIsNone) {
  WalBuilder wal({.seed = 11, .switch_every = 0});
  wal.grow_to(wal.start() + 200'000);
  for (const auto& record : wal.records()) {
    if (record.kind == Kind::aborted) continue;
    SCOPED_TRACE(record.end.to_string());
    Bytes partial(wal);
    partial.bytes.resize(kMegabyte);
    partial.zero(record.end);
    const auto found = verify(options_for(wal), wal.start(), partial.bytes);
    EXPECT_THAT(found.damage, HasSubstr("the WAL ends"));
    EXPECT_EQ(found.last_end, record.end);
    EXPECT_EQ(found.last_start, record.start);
    EXPECT_EQ(found.position, record.end);
  }
}

TEST(RecordVerifier, StaysAtTheFirstDamage) {
  auto wal = empty_wal();
  wal.append_random(100);
  const auto bad = wal.append_random(100);
  wal.append_random(100);
  Bytes damaged(wal);
  damaged.put(bad.start + 50, std::uint64_t{1});
  RecordVerifier verifier(options_for(wal), wal.start());
  const auto damage = text(verifier.feed(damaged.bytes));
  EXPECT_THAT(damage, HasSubstr("incorrect record checksum: expected 0x"));
  EXPECT_EQ(text(verifier.feed(damaged.bytes)), damage);
  EXPECT_EQ(text(verifier.feed({})), damage);
  EXPECT_EQ(verifier.records(), 1u);
  EXPECT_EQ(verifier.last_record_end(), bad.start);
}

// Page 0: a record, then one of two and a half pages; page 2: its end, then small ones.
TEST(RecordVerifier, NamesTheDamageAndItsPlace) {
  auto wal = empty_wal();
  wal.append_random(100);
  const auto large = wal.append_random(20'000);
  const auto small = wal.append_random(100);
  leave_room(wal, 16);
  const auto split = wal.append_random(100);
  const auto fourth_page = wal.append_random(100).start;
  const auto page = [&](std::uint64_t number) { return wal.start() + number * kPageSize; };
  ASSERT_EQ(fourth_page.byte() / kPageSize, page(3).byte() / kPageSize);
  const std::uint32_t on_page_1 = 20'000 - static_cast<std::uint32_t>(page(1) - large.start);
  const auto small_crc = [&] {  // the right checksum with another manager
    std::uint32_t crc;
    std::memcpy(&crc, &wal.bytes()[small.start + 20 - wal.start()], 4);
    return crc;
  }();

  const struct {
    const char* name;
    Lsn changed;
    std::uint64_t value;
    int bytes;
    std::string expected;
  } cases[] = {
      {"no page", page(0), 0, 40,
       fmt::format("{0} found at {0}: no page here: the WAL ends (the page header is all zeros)",
                   page(0))},
      {"magic of another version", page(1), 0xD116, 2,
       fmt::format(
           "{0} found at {0}: unexpected page magic: expected 0xD118 (PostgreSQL 18), found "
           "0xD116 (PostgreSQL 17)",
           page(1))},
      {"magic of another byte order", page(0), 0x18D1, 2,
       fmt::format(
           "{0} found at {0}: unexpected page magic: expected 0xD118 (PostgreSQL 18), found "
           "0x18D1 (the other byte order)",
           page(0))},
      {"recycled page", page(2) + 8, page(0).byte(), 8,
       fmt::format("{} found at {}: unexpected page address: expected {}, found {}", page(2),
                   page(2) + 8, page(2), page(0))},
      {"page of a recycled file", page(2) + 8, page(2).byte() - (1 << 20), 8,
       fmt::format("{} found at {}: unexpected page address: expected {}, found {} (old content of "
                   "a recycled file)",
                   page(2), page(2) + 8, page(2), wal::Lsn(page(2).byte() - (1 << 20)))},
      {"unknown info bit", page(1) + 2, 0x0011, 2,
       fmt::format("{} found at {}: unknown bits in page info 0x0011", page(1), page(1) + 2)},
      {"long header inside a segment", page(1) + 2, 0x0003, 2,
       fmt::format(
           "{} found at {}: unexpected page info 0x0003: a long header belongs on the first "
           "page of a segment only, with segments of 1048576 bytes",
           page(1), page(1) + 2)},
      {"short header at a segment's start", page(0) + 2, 0x0000, 2,
       fmt::format(
           "{} found at {}: unexpected page info 0x0000: a long header belongs on the first "
           "page of a segment only, with segments of 1048576 bytes",
           page(0), page(0) + 2)},
      {"later timeline", page(1) + 4, 2, 4,
       fmt::format("{} found at {}: unexpected timeline in page header: expected 1 to 1, found 2",
                   page(1), page(1) + 4)},
      {"no timeline", page(0) + 4, 0, 4,
       fmt::format("{} found at {}: unexpected timeline in page header: expected 1 to 1, found 0",
                   page(0), page(0) + 4)},
      {"other cluster", page(0) + 24, 12345, 8,
       fmt::format("{} found at {}: WAL of another cluster: expected system identifier "
                   "7301234567890123456, found 12345",
                   page(0), page(0) + 24)},
      {"other segment size", page(0) + 32, 1 << 24, 4,
       fmt::format(
           "{} found at {}: unexpected segment size in page header: expected 1048576, found "
           "16777216",
           page(0), page(0) + 32)},
      {"other block size", page(0) + 36, 16'384, 4,
       fmt::format("{} found at {}: unexpected WAL block size (XLOG_BLCKSZ): expected 8192, found "
                   "16384",
                   page(0), page(0) + 36)},
      {"not continued", page(1) + 2, 0x0000, 2,
       fmt::format(
           "{} found at {}: unexpected length of a continued record where no record continues: "
           "expected 0, found {}",
           large.start, page(1) + 16, on_page_1)},
      {"continued with another length", page(1) + 16, on_page_1 + 8, 4,
       fmt::format("{} found at {}: unexpected length of the continued record: expected {}, found "
                   "{}",
                   large.start, page(1) + 16, on_page_1, on_page_1 + 8)},
      {"continued with no length", page(1) + 16, 0, 4,
       fmt::format("{} found at {}: unexpected length of a continued record: expected more than 0, "
                   "found 0",
                   large.start, page(1) + 16)},
      {"continued and overwritten", page(1) + 2, 0x0009, 2,
       fmt::format("{} found at {}: unexpected page info 0x0009: it both continues a record and "
                   "overwrites the continuation",
                   large.start, page(1) + 2)},
      {"no record", small.start, 0, 4,
       fmt::format("{0} found at {0}: no record here: the WAL ends (xl_tot_len is 0)",
                   small.start)},
      {"record too short", small.start, 23, 4,
       fmt::format("{0} found at {0}: invalid record length: expected at least 24, found 23",
                   small.start)},
      {"record too long", small.start, 1020u * 1024 * 1024 + 1, 4,
       fmt::format("{0} found at {0}: invalid record length: expected at most 1069547520, found "
                   "1069547521",
                   small.start)},
      {"invalid manager", small.start + 17, 22, 1,
       fmt::format("{} found at {}: invalid resource manager 22 for PostgreSQL 18", small.start,
                   small.start + 17)},
      {"prev-link", small.start + 8, small.start.byte(), 8,
       fmt::format("{} found at {}: incorrect link to the previous record: expected {}, found {}",
                   small.start, small.start + 8, large.start, small.start)},
      {"manager in the part of the header on the next page", page(3) + 25, 22, 1,
       fmt::format("{} found at {}: invalid resource manager 22 for PostgreSQL 18", split.start,
                   page(3) + 25)},
      {"checksum", small.start + 20, small_crc ^ 1, 4,
       fmt::format("{} found at {}: incorrect record checksum: expected 0x{:08X}, found 0x{:08X}",
                   small.start, small.start + 20, small_crc, small_crc ^ 1)},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.name);
    Bytes damaged(wal);
    for (int i = 0; i < test.bytes; ++i)
      damaged.put(test.changed + static_cast<unsigned>(i),
                  static_cast<std::uint8_t>(i < 8 ? test.value >> (8 * i) : 0));
    const auto found = verify(options_for(wal), wal.start(), damaged.bytes);
    EXPECT_EQ(found.damage, test.expected);
    EXPECT_EQ(found, verify_by_bytes(options_for(wal), wal.start(), damaged.bytes));
  }
}

TEST(RecordVerifier, RefusesARecordThatBreaksOffOrGoesOnWhereNoneDoes) {
  auto wal = empty_wal();
  const auto first = wal.append_random(100);
  leave_room(wal, 0);  // page 1 begins with a record
  wal.append_random(kPageSize);
  const auto page = [&](std::uint64_t number) { return wal.start() + number * kPageSize; };
  const auto large = wal.records().back().start;
  const auto left = kPageSize - static_cast<std::uint32_t>(page(2) - large);
  wal.append_random(100);
  const struct {
    const char* name;
    std::uint64_t page;
    std::uint16_t info;
    std::uint32_t remaining;
    std::string expected;
  } cases[] = {
      {"goes on where none began", 1, 0x0001, 500,
       fmt::format(
           "{} found at {}: unexpected page info 0x0001: the preceding record is complete, so "
           "no record can continue here",
           page(1), page(1) + 2)},
      {"overwrites where none was", 1, 0x0008, 0,
       fmt::format("{} found at {}: unexpected page info 0x0008: no record continues here whose "
                   "continuation could be overwritten",
                   page(1), page(1) + 2)},
      {"overwrites one that began before the stream", 0, 0x000A, 0,
       fmt::format(
           "{} found at {}: the page overwrites a record's continuation, but does not begin "
           "with the record that marks this: expected resource manager 0 and info 0xD0, found "
           "{} and 0x{:02X}",
           first.start, first.start + 16, first.resource_manager, first.info)},
      {"a length where none goes on", 1, 0x0000, 24,
       fmt::format(
           "{} found at {}: unexpected length of a continued record where no record continues: "
           "expected 0, found 24",
           page(1), page(1) + 16)},
      {"breaks off", 2, 0x0000, 0,
       fmt::format(
           "{} found at {}: the record is not continued: expected {} more bytes of it, found "
           "page info 0x0000",
           large, page(2) + 2, left)},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.name);
    Bytes damaged(wal);
    damaged.put(page(test.page) + 2, test.info);
    damaged.put(page(test.page) + 16, test.remaining);
    const auto found = verify(options_for(wal), wal.start(), damaged.bytes);
    EXPECT_EQ(found.damage, test.expected);
    EXPECT_EQ(found, verify_by_bytes(options_for(wal), wal.start(), damaged.bytes));
  }
}

TEST(RecordVerifier, RefusesAnOverwriteRecordOfAnotherRecord) {
  for (const int major : {13, 19}) {
    SCOPED_TRACE(major);
    auto wal = empty_wal(major);
    wal.append_random(100);
    const auto overwrite = wal.append_aborted(60'000);
    const auto aborted = wal.records()[1].start;
    Bytes damaged(wal);
    damaged.put(overwrite.start + 26, aborted.byte() + 8);
    const auto bytes =
        std::span<const std::byte>(damaged.bytes).last(overwrite.end - overwrite.start);
    const auto crc = ~testing::crc32c(testing::crc32c(~0u, bytes.subspan(24, 18)), bytes.first(20));
    damaged.put(overwrite.start + 20, crc);
    EXPECT_EQ(verify(options_for(wal), wal.start(), damaged.bytes).damage,
              fmt::format("{} found at {}: incorrect position of the overwritten record: expected "
                          "{}, found {}",
                          overwrite.start, overwrite.start + 26, aborted, aborted + 8));
  }
}

TEST(RecordVerifier, RefusesAnOverwriteRecordWhereNothingWasOverwritten) {
  auto wal = empty_wal();
  const auto before = wal.append_random(100).start;
  std::vector<std::byte> body(18);
  body[0] = std::byte{255};
  body[1] = std::byte{16};
  const auto before_lsn = before.byte();
  std::memcpy(body.data() + 2, &before_lsn, 8);
  const auto at = wal.append(0, 0xD0, body).start;
  EXPECT_EQ(
      verify(wal).damage,
      fmt::format("{0} found at {0}: the record says that a continuation was overwritten, but "
                  "its page does not",
                  at));
}

TEST(RecordVerifier, KnowsTheResourceManagersOfEachVersion) {
  const struct {
    std::uint8_t manager;
    int first_major;  // that has it; 0: none
  } cases[] = {{0, 13}, {21, 13}, {22, 0}, {23, 0}, {127, 0}, {128, 15}, {255, 15}};
  for (int major = kOldestKnownMajor; major <= kNewestKnownMajor; ++major) {
    for (const auto& test : cases) {
      SCOPED_TRACE(fmt::format("manager {}, PostgreSQL {}", test.manager, major));
      auto wal = empty_wal(major);
      wal.append(test.manager, 0, {});
      const bool valid = test.first_major != 0 && major >= test.first_major;
      EXPECT_EQ(verify(wal).damage == "none", valid);
    }
  }
}

TEST(RecordVerifier, LimitsTheLengthOfRecordsAsServersDoSince16) {
  for (const int major : {13, 15, 16, 18, 19}) {
    for (const std::uint32_t length : {1020u << 20, (1020u << 20) + 1}) {
      SCOPED_TRACE(fmt::format("PostgreSQL {}, length {}", major, length));
      auto wal = empty_wal(major);
      const auto start = wal.append_random(100).start;
      Bytes huge(wal);
      huge.put(start, length);
      huge.bytes.resize(100);
      const auto found = verify(options_for(wal), wal.start(), huge.bytes);
      EXPECT_EQ(found.damage == "none", major < 16 || length == 1020u << 20);
    }
  }
}

TEST(RecordVerifier, RefusesATimelineThatGoesBack) {
  auto parent = empty_wal();
  parent.append_random(20'000);
  auto child = parent.fork(parent.end(), 2, 1);
  child.append_random(20'000);
  const auto page = child.start() + 4 * kPageSize;
  Bytes damaged(child);
  damaged.put(page + 4, std::uint32_t{1});
  EXPECT_EQ(verify(options_for(child), child.start(), child.bytes()).damage, "none");
  EXPECT_EQ(
      verify(options_for(child), child.start(), damaged.bytes).damage,
      fmt::format("{} found at {}: unexpected timeline in page header: expected 2 to 2, found "
                  "1",
                  page, page + 4));
}

TEST(RecordVerifier, RefusesVersionsThatItDoesNotKnow) {
  auto wal = empty_wal();
  wal.append_random(100);
  const struct {
    const char* name;
    std::optional<int> major;
    std::uint16_t magic;
    const char* expected;
  } cases[] = {
      {"12", std::nullopt, 0xD101, "expected that of PostgreSQL 13 to 19, found 0xD101"},
      {"a development version", std::nullopt, 0xD117, "expected that of PostgreSQL 13 to 19"},
      {"server too old", 12, 0xD101, "expected that of PostgreSQL 13 to 19"},
      {"server of another version", 17, 0xD118,
       "expected 0xD116 (PostgreSQL 17), found 0xD118 (PostgreSQL 18)"},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.name);
    Bytes other(wal);
    other.put(wal.start(), test.magic);
    auto options = options_for(wal);
    options.server_major = test.major;
    EXPECT_THAT(verify(options, wal.start(), other.bytes).damage, HasSubstr(test.expected));
  }
}

TEST(RecordVerifierDeathTest, RefusesAStartInsideAPage) {
  EXPECT_DEATH(RecordVerifier({}, Lsn(kMegabyte + 8)), "broken invariant");
}

/// Marks what may be anything: no reader looks at it.
std::vector<std::byte> legally_arbitrary(const WalBuilder& wal) {
  std::vector<std::byte> mask(wal.bytes().size());
  const auto set = [&](Lsn at, unsigned bits) { mask[at - wal.start()] |= std::byte(bits); };
  for (const auto& record : wal.records()) {
    // Of an aborted record only the length is checked, against the next page (if that is not the
    // one that overwrites it).
    if (record.kind == Kind::aborted)
      for (auto at = record.start; at < record.end; at = at + 1) set(at, 0xFF);
    else if (record.length % 8 != 0)
      for (auto at = wal.byte_of_record(record.start, record.length - 1) + 1; at < record.end;
           at = at + 1)
        set(at, 0xFF);
    if (record.kind == Kind::xlog_switch)
      for (auto at = record.end; wal.options().segment_size.offset(at) != 0; at = at + 1)
        set(at, 0xFF);
  }
  for (auto page = wal.start(); page < wal.end(); page = page + kPageSize) {
    if (wal.bytes()[page - wal.start()] == std::byte{0}) continue;  // filler
    for (unsigned at = 0; at < kShortHeaderSize; ++at) mask[page - wal.start() + at] = std::byte{0};
    if (wal.options().server_major < 19) set(page + 2, 0x04);    // XLP_BKP_REMOVABLE
    for (unsigned at = 20; at < 24; ++at) set(page + at, 0xFF);  // padding
  }
  return mask;
}

TEST(RecordVerifier, FindsEveryFlippedBit) {
  const auto seed = testing::test_seed(99);
  for (const int major : {13, 18, 19}) {
    WalBuilder wal({.seed = seed, .server_major = major});
    for (const std::uint32_t length : {24, 100, 3'000, 8'000, 300}) wal.append_random(length);
    wal.append_aborted(60'000, 1);
    for (const std::uint32_t length : {24, 57, 9'000}) wal.append_random(length);
    leave_room(wal, 16);
    const auto flips_end = wal.append_random(49).end;
    wal.append_random(20'000);  // what a wrong length claims is there, up to the next page at least
    const auto mask = legally_arbitrary(wal);

    Bytes flipped(wal);
    const auto options = options_for(wal);
    std::uint64_t found = 0;
    for (auto at = wal.start(); at < flips_end; at = at + 1) {
      auto& byte = flipped.bytes[at - wal.start()];
      const auto start = Lsn(at.byte() / kPageSize * kPageSize);
      for (unsigned bit = 0; bit < 8; ++bit) {
        // In the bodies a sample is enough: to the checksum they are all alike.
        const auto in_page = at.byte() % kPageSize;
        if (in_page > 400 && in_page < kPageSize - 200 && (at.byte() * 8 + bit) % 61 != 0) continue;
        byte ^= std::byte(1u << bit);
        const auto verdict_of_flip = verify(options, wal.start(), flipped.bytes);
        byte ^= std::byte(1u << bit);
        const bool arbitrary = (mask[at - wal.start()] & std::byte(1u << bit)) != std::byte{0};
        if (!arbitrary) {
          ASSERT_NE(verdict_of_flip.damage, "none")
              << "PostgreSQL " << major << ", bit " << bit << " of " << at.to_string() << ", page "
              << start.to_string();
          ++found;
        }
      }
    }
    EXPECT_GT(found, 10'000u);
  }
}

TEST(RecordVerifier, GivesNoAlarmForBitsThatMayBeAnything) {
  const auto seed = testing::test_seed(7);
  WalBuilder wal({.seed = seed});
  for (const std::uint32_t length : {25, 101, 3'001, 8'000, 300}) wal.append_random(length);
  wal.append_aborted(60'000);
  for (const std::uint32_t length : {24, 57, 9'000}) wal.append_random(length);
  wal.append_switch();
  wal.append_random(100);
  auto mask = legally_arbitrary(wal);
  const auto aborted = std::find_if(wal.records().begin(), wal.records().end(),
                                    [](const auto& r) { return r.kind == Kind::aborted; });
  // The head of an aborted record is judged like any: only what lies behind its header is free.
  std::fill_n(mask.begin() + static_cast<std::ptrdiff_t>(aborted->start - wal.start()),
              kRecordHeaderSize, std::byte{0});
  Bytes other(wal);
  std::mt19937_64 random(seed);
  for (std::size_t i = 0; i < mask.size(); ++i)
    other.bytes[i] ^= mask[i] & static_cast<std::byte>(random());
  const auto found = verify(options_for(wal), wal.start(), other.bytes);
  EXPECT_EQ(found.damage, "none");
  EXPECT_EQ(found.last_end, wal.end());
}

TEST(RecordVerifier, SurvivesAnyBytes) {
  const auto seed = testing::test_seed(31);
  std::mt19937_64 random(seed);
  WalBuilder wal({.seed = seed, .abort_every = 20});
  wal.grow_to(wal.start() + 300'000);
  for (int round = 0; round < 2'000; ++round) {
    SCOPED_TRACE(round);
    // A sound beginning, then a few bytes or all of them changed from some point on.
    const auto from = random() % 100'000;
    std::vector<std::byte> bytes(wal.bytes().begin(), wal.bytes().begin() + 120'000);
    if (round % 2 == 0) {
      std::generate(bytes.begin() + static_cast<std::ptrdiff_t>(from), bytes.end(),
                    [&] { return static_cast<std::byte>(random()); });
    } else {
      for (int i = 0; i < 3; ++i) bytes[from + random() % 64] = static_cast<std::byte>(random());
    }
    Collector collector(true);
    auto options = options_for(wal);
    options.observer = &collector;
    const auto found = verify(options, wal.start(), bytes);
    EXPECT_EQ(found, verify(options, wal.start(), bytes, [&] { return 1 + random() % 3'000; }));
    EXPECT_LE(found.last_end, found.position);
    if (round % 2 == 0) {
      EXPECT_NE(found.damage, "none");
    }
  }
}

// ---- observers

TEST(RecordVerifier, TellsTheObserverOfEveryCompleteRecord) {
  WalBuilder wal({.seed = 21, .abort_every = 30});
  wal.grow_to(wal.start() + kMegabyte + 300'000);
  for (const std::size_t piece : {std::size_t{1}, std::size_t{5'000}, wal.bytes().size()}) {
    for (const bool wanted : {true, false}) {
      SCOPED_TRACE(fmt::format("pieces of {}, bodies {}", piece, wanted));
      Collector collector(wanted);
      auto options = options_for(wal);
      options.observer = &collector;
      EXPECT_EQ(verify(options, wal.start(), wal.bytes(), [&] { return piece; }).damage, "none");

      auto seen = collector.seen.begin();
      for (const auto& record : wal.records()) {
        if (record.kind == Kind::aborted) continue;
        ASSERT_NE(seen, collector.seen.end());
        ASSERT_EQ(seen->start, record.start);
        ASSERT_EQ(seen->end, record.end);
        ASSERT_EQ(seen->header.total_length, record.length);
        ASSERT_EQ(seen->header.previous, record.previous);
        ASSERT_EQ(seen->header.resource_manager, record.resource_manager);
        ASSERT_EQ(seen->header.info, record.info);
        if (wanted) {
          ASSERT_EQ(seen->body.size(), record.length - kRecordHeaderSize);
          for (std::size_t i = 0; i < seen->body.size(); ++i)
            ASSERT_EQ(seen->body[i],
                      wal.bytes()[wal.byte_of_record(record.start, 24 + i) - wal.start()]);
        } else {
          ASSERT_TRUE(seen->body.empty());
        }
        ++seen;
      }
      EXPECT_EQ(seen, collector.seen.end());
    }
  }
}

TEST(RecordVerifier, TellsOfEveryXlogRecordWhereOnlyTheseAreNeeded) {
  WalBuilder wal({.seed = 23, .abort_every = 30});
  wal.grow_to(wal.start() + kMegabyte + 300'000);
  const auto seen = [&](bool xlog_only) {
    Collector collector(true, xlog_only);
    auto options = options_for(wal);
    options.observer = &collector;
    EXPECT_EQ(verify(options, wal.start(), wal.bytes(), [] { return std::size_t{9'000}; }).damage,
              "none");
    return collector.seen;
  };
  const auto all = seen(false);
  const auto few = seen(true);
  EXPECT_LT(few.size(), all.size() / 2) << "the others are checked without telling";
  std::size_t xlog = 0;
  auto next = few.begin();
  for (const auto& record : all) {
    if (!is_xlog(record.header)) continue;
    ++xlog;
    next =
        std::find_if(next, few.end(), [&](const auto& one) { return one.start == record.start; });
    ASSERT_NE(next, few.end()) << fmt::format("{}", record.start);
    ASSERT_EQ(next->end, record.end);
    ASSERT_EQ(next->body, record.body);
  }
  EXPECT_GT(xlog, 5u);
}

TEST(RecordVerifier, TellsTheObserverOfNoDamagedRecord) {
  auto wal = empty_wal();
  wal.append_random(100);
  const auto bad = wal.append_random(100);
  Bytes damaged(wal);
  damaged.put(bad.start + 30, std::uint64_t{0});
  Collector collector(true);
  auto options = options_for(wal);
  options.observer = &collector;
  EXPECT_NE(verify(options, wal.start(), damaged.bytes).damage, "none");
  EXPECT_EQ(collector.seen.size(), 1u);
}

}  // namespace
}  // namespace weir::wal::record_verifier_test

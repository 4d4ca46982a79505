#include "restore/find.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <set>

#include "base/error.h"
#include "support/bytes.h"
#include "support/sim_disk.h"
#include "support/wal_builder.h"

namespace weir::restore {
namespace {

const wal::SegmentSize kSize = *wal::SegmentSize::of(1 << 20);

TEST(PgTime, ReadsTimesWithAZone) {
  struct Case {
    const char* text;
    std::optional<const char*> as;
  };
  const Case cases[] = {
      {"2000-01-01 00:00 UTC", "2000-01-01 00:00:00.000000 UTC"},
      {"2026-11-20 03:14:15.926535+00", "2026-11-20 03:14:15.926535 UTC"},
      {"2026-11-20T03:14:15Z", "2026-11-20 03:14:15.000000 UTC"},
      {"2026-11-20 03:14:15.9 +02:00", "2026-11-20 01:14:15.900000 UTC"},
      {"2026-11-20 03:14-0330", "2026-11-20 06:44:00.000000 UTC"},
      {"1999-12-31 23:59:59.5 UTC", "1999-12-31 23:59:59.500000 UTC"},
      {"2024-02-29 00:00:00Z", "2024-02-29 00:00:00.000000 UTC"},
      {"2023-02-29 00:00:00Z", std::nullopt},
      {"2026-13-01 00:00Z", std::nullopt},
      {"2026-11-20 24:00Z", std::nullopt},
      {"2026-11-20", std::nullopt},
      {"2026-11-20 03:14:15.1234567Z", std::nullopt},
      {"2026-11-20 03:14 CET", std::nullopt},
      {"2026-11-20 03:14+99", std::nullopt},
      {"tomorrow", std::nullopt},
      {"", std::nullopt},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.text);
    const auto time = PgTime::parse(test.text);
    ASSERT_EQ(time.has_value(), test.as.has_value());
    if (!time) continue;
    EXPECT_EQ(time->to_string(), *test.as);
    EXPECT_EQ(PgTime::parse(time->to_string()), time);
  }
}

/// Commits at whole seconds, one in so many random records, over ten segments.
struct History {
  explicit History(sim::SimDisk& disk) : wal({.switch_every = 0}) {
    std::int64_t second = 0;
    while (wal.end() < kSize.start(10)) {
      for (int i = 0; i < 5; ++i) wal.append_random(20'000);
      std::array<std::byte, 10> body{std::byte{255}, std::byte{8}};
      const std::int64_t time = ++second * 1'000'000;
      std::memcpy(body.data() + 2, &time, sizeof(time));
      const bool aborted = second % 10 == 0;
      const auto record = wal.append(1, aborted ? 0x20 : 0x00, body);
      if (!aborted) commits.push_back({record.start, record.end, 0, {time}});
    }
    for (std::uint64_t segno = 1; segno < 10; ++segno)
      disk.put(wal::SegmentName(1, segno, kSize).to_string(),
               wal.bytes(kSize.start(segno), kSize.start(segno + 1)));
    std::erase_if(commits, [](const Commit& commit) { return commit.end > kSize.start(10); });
  }

  weir::testing::WalBuilder wal;
  std::vector<Commit> commits;
};

void expect_between(const std::optional<Moment>& moment, const Commit* before,
                    const Commit* after) {
  ASSERT_TRUE(moment);
  EXPECT_EQ(moment->before.has_value(), before != nullptr);
  EXPECT_EQ(moment->after.has_value(), after != nullptr);
  if (before != nullptr && moment->before) {
    EXPECT_EQ(moment->before->start, before->start);
    EXPECT_EQ(moment->before->end, before->end);
    EXPECT_EQ(moment->before->time, before->time);
  }
  if (after != nullptr && moment->after) {
    EXPECT_EQ(moment->after->start, after->start);
  }
}

TEST(FindTime, NamesTheCommitsAroundEveryMoment) {
  sim::SimDisk disk;
  const History history(disk);
  const auto directory = disk.open();
  const auto& commits = history.commits;
  ASSERT_GT(commits.size(), 40u);
  for (std::size_t i = 0; i + 1 < commits.size(); ++i) {
    SCOPED_TRACE(i);
    for (const std::int64_t later : {0, 1, 999'999})
      expect_between(find_time(*directory, {commits[i].time.microseconds + later}, std::nullopt),
                     &commits[i], &commits[i + 1]);
  }
  expect_between(find_time(*directory, {0}, std::nullopt), nullptr, &commits.front());
  expect_between(find_time(*directory, {std::int64_t{1} << 60}, std::nullopt), &commits.back(),
                 nullptr);
}

TEST(FindTime, OpensFewSegments) {
  sim::SimDisk disk;
  const History history(disk);
  const auto directory = disk.open();
  std::set<std::string> opened;
  disk.set_hook([&](const sim::SimDisk::Call& call) {
    if (call.operation == sim::SimDisk::Operation::read && call.offset > 0)
      opened.insert(call.name);
    return sim::SimDisk::Effect::proceed();
  });
  static_cast<void>(find_time(*directory, history.commits[20].time, std::nullopt));
  EXPECT_LE(opened.size(), 6u);
}

TEST(FindLsn, NamesTheCommitsAroundEveryPosition) {
  sim::SimDisk disk;
  const History history(disk);
  const auto directory = disk.open();
  const auto& commits = history.commits;
  for (std::size_t i = 0; i + 1 < commits.size(); ++i) {
    SCOPED_TRACE(i);
    expect_between(find_lsn(*directory, commits[i].end, std::nullopt), &commits[i],
                   &commits[i + 1]);
    expect_between(find_lsn(*directory, commits[i + 1].start, std::nullopt), &commits[i],
                   &commits[i + 1]);
    EXPECT_EQ(find_lsn(*directory, commits[i].end, std::nullopt)->segment,
              wal::SegmentName(1, kSize.segno(commits[i].end), kSize).to_string());
  }
  EXPECT_FALSE(find_lsn(*directory, kSize.start(10), std::nullopt));
  EXPECT_FALSE(find_lsn(*directory, wal::Lsn(8), std::nullopt));
}

TEST(FindLsn, StopsAtDamage) {
  sim::SimDisk disk;
  const History history(disk);
  auto content = disk.content(wal::SegmentName(1, 3, kSize).to_string());
  for (std::size_t i = 500'000; i < 500'064; ++i) content[i] ^= std::byte{0xFF};
  disk.put(wal::SegmentName(1, 3, kSize).to_string(), content);
  EXPECT_THROW(static_cast<void>(
                   find_lsn(*disk.open(), kSize.start(4) + (0 - std::uint64_t{100}), std::nullopt)),
               Error);
}

}  // namespace
}  // namespace weir::restore

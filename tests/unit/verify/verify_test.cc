#include "verify/verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <tuple>
#include <utility>

#include "archive/losses.h"
#include "archive/published_open.h"
#include "base/error.h"
#include "io/posix_directory.h"
#include "support/archive_builder.h"
#include "support/backup_builder.h"
#include "support/error_of.h"
#include "wal/page.h"

namespace weir::verify::verify_test {
namespace {

using codec::Method;
using test::error_of;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using Tail = ArchiveBuilder::Tail;
using Range = HistoryReport::Range;

constexpr Method kMethods[] = {Method::none, Method::zstd, Method::gzip, Method::lz4};

/// Without xlog-switches: behind them is much that nobody reads.
WalBuilder make_wal(std::uint64_t seed = 1, int major = 18, unsigned switch_every = 0) {
  WalBuilder::Options options;
  options.switch_every = switch_every;
  options.seed = seed;
  options.server_major = major;
  return WalBuilder(options);
}

/// Each kind once, in the order in which they are told.
std::string kinds(const Report& report) {
  std::string text;
  for (const auto& finding : report.findings) {
    const std::string kind(to_string(finding.kind));
    if (text.find(kind) == std::string::npos) text += (text.empty() ? "" : " ") + kind;
  }
  return text;
}

Range range(std::uint64_t first, std::uint64_t behind) {
  return {kSize.start(first), kSize.start(behind)};
}

/// Where the sound WAL of a .partial ends; behind an xlog-switch all bytes of the tail are filler.
Lsn sound_end(const WalBuilder& wal, Lsn end, Tail tail) {
  const auto sound = wal.complete_end(end);
  const auto is_switch = [&](const WalBuilder::Record& record) {
    return record.kind == WalBuilder::Kind::xlog_switch && record.end == sound &&
           kSize.offset(sound) != 0;
  };
  if (tail != Tail::none && std::any_of(wal.records().begin(), wal.records().end(), is_switch))
    return kSize.start(kSize.segno(sound) + 1);
  return std::max(sound, kSize.start_of(end));
}

TEST(Verify, FindsNothingInALegalArchiveOfAnySeedFormAndVersion) {
  const auto base = test::seed_or(100);
  for (std::uint64_t i = 0; i < 24; ++i) {
    const auto seed = base + i;
    SCOPED_TRACE(seed);
    auto wal = make_wal(seed, 13 + static_cast<int>(i % 7), 400);
    const auto method = kMethods[i % 4];
    const auto end = wal.start() + 5 * kSize.bytes() + 1000 * (i + 1) * 37 % kSize.bytes();
    wal.grow_to(end + 100'000);
    ArchiveBuilder archive;
    archive.jobs = 1 + static_cast<unsigned>(i % 3);
    archive.segments(wal, 1, 6, method).partial(wal, end, static_cast<Tail>(i % 3));
    const auto report = archive.verify();
    EXPECT_TRUE(report.sound()) << to_text(report);
    EXPECT_THAT(report.findings, IsEmpty());
    ASSERT_THAT(report.histories, SizeIs(1));
    EXPECT_THAT(report.histories[0].sound,
                ElementsAre(Range{wal.start(), sound_end(wal, end, static_cast<Tail>(i % 3))}));
    EXPECT_EQ(report.histories[0].partial, ArchiveBuilder::name(wal, 6, Method::none, true));
    EXPECT_EQ(report.server_major, wal.options().server_major);
    EXPECT_EQ(report.system_identifier, wal.options().system_identifier);
  }
}

TEST(Verify, GoesOverSegmentsInWhichNoRecordBegins) {
  auto wal = make_wal();
  wal.append_random(500);
  wal.append_random(static_cast<std::uint32_t>(3 * kSize.bytes() + 4000));
  wal.grow_to(kSize.start(7));
  ArchiveBuilder archive;
  std::optional<std::uint64_t> records;
  for (const unsigned jobs : {1u, 2u, 8u}) {
    archive.jobs = jobs;
    archive.segments(wal, 1, 7);
    const auto report = archive.verify();
    EXPECT_THAT(report.findings, IsEmpty());
    if (!records) records = report.records;
    EXPECT_EQ(report.records, *records) << "with " << jobs << " jobs";
  }
  // The one record's checksum covers all of them.
  for (const std::uint64_t segno : {2u, 3u, 4u}) {
    SCOPED_TRACE(segno);
    ArchiveBuilder damaged;
    damaged.jobs = 8;
    damaged.segments(wal, 1, 7).flip(ArchiveBuilder::name(wal, segno), 500'000, 3);
    EXPECT_THAT(kinds(damaged.verify()), HasSubstr("damage"));
  }
}

TEST(Verify, AttributesMinimalWalToTheTimelineThatItsUnfinishedSegmentBegins) {
  auto one = make_wal();
  one.grow_to(kSize.start(6));
  // Where the switchpoint is a border, the new timeline's records begin on its first page.
  for (const std::uint64_t offset : {400'000, 0}) {
    for (const bool finished : {false, true}) {
      SCOPED_TRACE(std::to_string(offset) + (finished ? " finished" : " unfinished"));
      auto parent = one;
      if (offset == 0) {
        parent = make_wal();
        parent.grow_to(kSize.start(4) + 700'000);
        parent.append_switch();
      }
      const auto at = offset == 0 ? kSize.start(5) : one.fork_point(kSize.start(5) + offset);
      auto two = promote(parent, at, 2, 9);
      std::vector<std::byte> body = {std::byte{255}, std::byte{26}};
      body.resize(28);  // XLOG_PARAMETER_CHANGE, wal_level 0
      const auto lowered = two.append(0, 0x60, body);
      two.grow_to(kSize.start(6) + 100'000);
      ArchiveBuilder archive;
      archive.segments(parent, 1, 5).history(2, history_line(1, at));
      if (finished)
        archive.segments(two, 5, 6);
      else
        archive.partial(two, kSize.start(5) + 900'000);
      const auto report = archive.verify();
      ASSERT_THAT(report.findings, SizeIs(1)) << to_text(report);
      EXPECT_EQ(report.findings[0].kind, FindingKind::minimal_wal);
      EXPECT_EQ(report.findings[0].timeline, 2u);
      EXPECT_EQ(report.findings[0].lsn, lowered.start);
    }
  }
}

TEST(Verify, FindsEveryBitFlipInEveryForm) {
  const auto seed = test::seed_or(7);
  std::mt19937_64 random(seed);
  auto wal = make_wal(seed);
  wal.grow_to(kSize.start(4));
  for (const auto method : kMethods) {
    ArchiveBuilder sound;
    sound.segments(wal, 1, 4, method);
    int found = 0, harmless = 0;
    for (int i = 0; i < 60; ++i) {
      ArchiveBuilder archive;
      archive.jobs = 1 + static_cast<unsigned>(i % 4);
      archive.segments(wal, 1, 4, method);
      const auto segno = 1 + random() % 3;
      const auto file = ArchiveBuilder::name(wal, segno, method);
      const auto before = archive.disk.content(file);
      const auto offset = random() % before.size();
      const auto bit = static_cast<unsigned>(random() % 8);
      archive.flip(file, offset, bit);
      SCOPED_TRACE(file + " offset " + std::to_string(offset) + " bit " + std::to_string(bit));
      const auto report = archive.verify();
      if (!report.sound()) {
        ++found;
        continue;
      }
      ++harmless;
      // Nobody reads it: filler behind an xlog-switch, alignment padding, XLP_BKP_REMOVABLE and the
      // padding of headers; in a compressed form, what does not change the content.
      if (method != Method::none) continue;
      const auto at = kSize.start(segno) + offset;
      bool covered = false;
      for (const auto& record : wal.records()) {
        if (record.kind == WalBuilder::Kind::aborted) continue;
        for (std::uint64_t byte = 0; byte < record.length && !covered; ++byte)
          covered = at >= record.start && at < record.end &&
                    wal.byte_of_record(record.start, byte) == at && !(byte == 18 || byte == 19);
      }
      EXPECT_FALSE(covered) << to_text(report);
    }
    EXPECT_GT(found, harmless) << codec::suffix(method);
  }
}

TEST(Verify, SaysWhereTheFirstDamagedRecordIs) {
  auto wal = make_wal();
  wal.grow_to(kSize.start(5));
  const WalBuilder::Record* record = nullptr;
  for (const auto& candidate : wal.records())
    if (candidate.start > kSize.start(3) + 100'000 && candidate.length > 100 &&
        candidate.kind == WalBuilder::Kind::ordinary) {
      record = &candidate;
      break;
    }
  ASSERT_TRUE(record);
  const auto byte = wal.byte_of_record(record->start, 60);
  ArchiveBuilder archive;
  archive.segments(wal, 1, 5);
  archive.flip(ArchiveBuilder::name(wal, 3), byte - kSize.start(3), 0);
  const auto report = archive.verify();
  ASSERT_THAT(report.findings, SizeIs(1));
  const auto& finding = report.findings[0];
  EXPECT_EQ(finding.kind, FindingKind::damage);
  EXPECT_EQ(finding.file, ArchiveBuilder::name(wal, 3));
  EXPECT_EQ(finding.lsn, record->start);
  EXPECT_EQ(finding.offset, wal.byte_of_record(record->start, 20) - kSize.start(3));
  EXPECT_THAT(finding.what, HasSubstr("incorrect record checksum"));
  EXPECT_THAT(finding.resource_manager, Not(IsEmpty()));
  EXPECT_EQ(finding.loss, (LostRange{1, record->start, kSize.start(4)}));
  EXPECT_THAT(report.histories[0].sound,
              ElementsAre(Range{kSize.start(1), record->start}, range(4, 5)));
  EXPECT_THAT(to_text(report), HasSubstr("NOT SOUND: 1 finding"));
}

/// Each of these damages: what is done to three segments of WAL, and what is found.
TEST(Verify, FindsEachKindOfDamage) {
  struct Case {
    const char* name;
    void (*damage)(ArchiveBuilder&, WalBuilder&);
    const char* kinds;
  };
  static const auto second = [](WalBuilder& wal) { return ArchiveBuilder::name(wal, 2); };
  const Case cases[] = {
      {"nothing", [](ArchiveBuilder&, WalBuilder&) {}, ""},
      {"missing", [](ArchiveBuilder& a, WalBuilder& w) { a.disk.erase(second(w)); }, "gap"},
      {"empty file", [](ArchiveBuilder& a, WalBuilder& w) { a.disk.put(second(w), {}); },
       "broken_file"},
      {"too short",
       [](ArchiveBuilder& a, WalBuilder& w) {
         a.disk.put(second(w), ArchiveBuilder::content(w, 2).first(500'000));
       },
       "broken_file"},
      {"too long",
       [](ArchiveBuilder& a, WalBuilder& w) {
         auto bytes = a.disk.content(second(w));
         bytes.resize(bytes.size() + 1);
         a.disk.put(second(w), bytes);
       },
       "broken_file"},
      {"zeros",
       [](ArchiveBuilder& a, WalBuilder& w) { a.disk.put(second(w), test::Bytes(kSize.bytes())); },
       "damage"},
      {"zeros at the end",
       [](ArchiveBuilder& a, WalBuilder& w) {
         auto bytes = a.disk.content(second(w));
         std::fill(bytes.begin() + 300'000, bytes.end(), std::byte{0});
         a.disk.put(second(w), bytes);
       },
       "damage"},
      {"the neighbour's content",
       [](ArchiveBuilder& a, WalBuilder& w) {
         a.disk.put(second(w), ArchiveBuilder::content(w, 3));
       },
       "wrong_name"},
      {"another cluster's",
       [](ArchiveBuilder& a, WalBuilder& w) {
         auto options = w.options();
         options.system_identifier += 1;
         WalBuilder other(options);
         a.disk.put(second(w), ArchiveBuilder::content(other, 2));
       },
       "other_cluster"},
      {"another timeline's",
       [](ArchiveBuilder& a, WalBuilder& w) {
         auto options = w.options();
         options.timeline = 5;
         WalBuilder other(options);
         a.disk.put(second(w), ArchiveBuilder::content(other, 2));
       },
       "wrong_name"},
      {"other WAL at the same place",
       [](ArchiveBuilder& a, WalBuilder& w) {
         auto options = w.options();
         options.seed += 1;
         WalBuilder other(options);
         a.disk.put(second(w), ArchiveBuilder::content(other, 2));
       },
       "damage"},
      {"an older version's",
       [](ArchiveBuilder& a, WalBuilder& w) {
         auto options = w.options();
         options.server_major = 15;
         WalBuilder other(options);
         a.disk.put(second(w), ArchiveBuilder::content(other, 2));
       },
       "damage"},
      {"a version from the future, by one bit",
       [](ArchiveBuilder& a, WalBuilder& w) { a.flip(second(w), 1, 5); }, "damage"},
      {"a second form that is equal",
       [](ArchiveBuilder& a, WalBuilder& w) { a.segments(w, 2, 3, Method::zstd); }, ""},
      {"a second form of other WAL",
       [](ArchiveBuilder& a, WalBuilder& w) {
         a.disk.put(second(w) + ".zst", packed(Method::zstd, ArchiveBuilder::content(w, 3)));
       },
       "forms_differ"},
      {"a second form with one bit flipped in its content",
       [](ArchiveBuilder& a, WalBuilder& w) {
         auto bytes = a.disk.content(second(w));
         bytes[77'777] ^= std::byte{4};
         a.disk.put(second(w) + ".gz", packed(Method::gzip, bytes));
       },
       "forms_differ"},
      {"a second form that differs only behind an xlog switch",
       [](ArchiveBuilder& a, WalBuilder& w) {
         auto switched = make_wal(3);
         switched.grow_to(kSize.start(2) + 300'000);
         switched.append_switch();
         const auto used = kSize.offset(switched.records().back().end);
         auto bytes = test::Bytes(ArchiveBuilder::content(switched, 2).begin(),
                                  ArchiveBuilder::content(switched, 2).end());
         for (const std::uint64_t segno : {3u, 4u}) a.disk.erase(ArchiveBuilder::name(w, segno));
         a.disk.put(second(w), bytes);
         std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(used) + 16, bytes.end(),
                   std::byte{0x55});
         a.disk.put(second(w) + ".zst", packed(Method::zstd, bytes));
       },
       ""},
      {"a .partial of other WAL beside the finished form",
       [](ArchiveBuilder& a, WalBuilder& w) {
         auto branch = w.other_branch(w.fork_point(kSize.start(2) + 300'000), 5, false);
         a.partial(branch, kSize.start(2) + 700'000);
       },
       "forms_differ"},
      {"a .partial beside the finished form that cannot be unpacked",
       [](ArchiveBuilder& a, WalBuilder& w) {
         a.disk.put(second(w) + ".zst.partial", test::as_bytes("rubbish"));
       },
       "broken_file"},
      {"a segment under a .partial's name that is another cluster's",
       [](ArchiveBuilder& a, WalBuilder& w) {
         auto options = w.options();
         options.system_identifier += 1;
         WalBuilder other(options);
         other.grow_to(kSize.start(5));
         const auto page = ArchiveBuilder::content(other, 4).first(8192);
         auto bytes = test::Bytes(page.begin(), page.end());
         bytes.resize(kSize.bytes());
         a.disk.put(ArchiveBuilder::name(w, 4, Method::none, true), bytes);
       },
       "other_cluster"},
      {"a second form that is truncated",
       [](ArchiveBuilder& a, WalBuilder& w) {
         auto bytes = packed(Method::lz4, ArchiveBuilder::content(w, 2));
         bytes.resize(bytes.size() / 2);
         a.disk.put(second(w) + ".lz4", bytes);
       },
       "broken_file"},
      {"a first form that is damaged beside a sound one",
       [](ArchiveBuilder& a, WalBuilder& w) {
         a.segments(w, 2, 3, Method::zstd).flip(second(w), 400'004, 1);
       },
       "damage"},
      {"rubbish behind a frame",
       [](ArchiveBuilder& a, WalBuilder& w) {
         auto bytes = packed(Method::zstd, ArchiveBuilder::content(w, 2));
         bytes.insert(bytes.end(), 10, std::byte{'x'});
         a.disk.erase(second(w));
         a.disk.put(second(w) + ".zst", bytes);
       },
       "broken_file"},
      {"a frame that gives too much",
       [](ArchiveBuilder& a, WalBuilder& w) {
         auto raw = a.disk.content(second(w));
         raw.resize(raw.size() + 8192);
         a.disk.erase(second(w));
         a.disk.put(second(w) + ".gz", packed(Method::gzip, raw));
       },
       "broken_file"},
      {"raw WAL under a compressed name",
       [](ArchiveBuilder& a, WalBuilder& w) {
         const auto raw = a.disk.content(second(w));
         a.disk.erase(second(w));
         a.disk.put(second(w) + ".zst", raw);
       },
       "broken_file"},
      {"only a .partial, and finished ones behind it",
       [](ArchiveBuilder& a, WalBuilder& w) {
         a.disk.erase(second(w));
         a.partial(w, kSize.start(2) + 300'000);
       },
       "gap"},
      {"a .partial beside the finished form, and equal",
       [](ArchiveBuilder& a, WalBuilder& w) { a.partial(w, kSize.start(2) + 300'000); }, ""},
      {"a name that the segment size does not know",
       [](ArchiveBuilder& a, WalBuilder& w) {
         a.disk.put("0000000100000000FFFFFFFF", ArchiveBuilder::content(w, 2));
       },
       "wrong_name"},
      {"a foreign file",
       [](ArchiveBuilder& a, WalBuilder&) { a.disk.put("README", test::as_bytes("hello")); }, ""},
      {"hidden files of ours",
       [](ArchiveBuilder& a, WalBuilder&) { a.disk.put(".pgweir-spare", test::as_bytes("x")); },
       ""},
  };
  for (const auto& [name, damage, expected] : cases) {
    for (const unsigned jobs : {1u, 4u}) {
      SCOPED_TRACE(std::string(name) + ", jobs " + std::to_string(jobs));
      auto wal = make_wal(3);
      wal.grow_to(kSize.start(4));
      ArchiveBuilder archive;
      archive.jobs = jobs;
      archive.segments(wal, 1, 4);
      damage(archive, wal);
      const auto report = archive.verify();
      EXPECT_EQ(kinds(report), expected) << to_text(report);
      EXPECT_EQ(report.sound(), std::string_view(expected).empty());
    }
  }
}

TEST(Verify, CallsAnEmptyDirectoryNoSoundArchive) {
  ArchiveBuilder archive;
  const auto report = archive.verify();
  EXPECT_EQ(kinds(report), "gap");
  EXPECT_FALSE(report.sound());
}

TEST(Verify, ReportsAFileItCannotReadAndGoesOn) {
  auto wal = make_wal();
  wal.grow_to(kSize.start(4));
  ArchiveBuilder archive;
  archive.jobs = 1;
  archive.segments(wal, 1, 4);
  const auto bad = ArchiveBuilder::name(wal, 2);
  archive.disk.set_hook([&](const sim::SimDisk::Call& call) {
    return call.operation == sim::SimDisk::Operation::read && call.name == bad
               ? sim::SimDisk::Effect::fail(EIO)
               : sim::SimDisk::Effect::proceed();
  });
  const auto report = archive.verify();
  EXPECT_EQ(kinds(report), "unreadable") << to_text(report);
  // Whether the record over the border is sound, nobody knows.
  EXPECT_THAT(report.histories[0].sound,
              ElementsAre(Range{kSize.start(1), wal.complete_end(kSize.start(2))}, range(3, 4)));
}

/// The segment behind a border is read twice, by two threads at times: an error may be met by the
/// one that checks the record over the border alone.
TEST(Verify, ReportsABorderThatCouldNotBeChecked) {
  for (const int failures : {1, 2}) {
    SCOPED_TRACE(failures);
    auto wal = make_wal();
    wal.grow_to(kSize.start(4));
    ArchiveBuilder archive;
    archive.jobs = 4;  // each segment by itself
    archive.segments(wal, 1, 4);
    const auto before = ArchiveBuilder::name(wal, 1);
    const auto behind = ArchiveBuilder::name(wal, 2);
    archive.disk.set_hook([&](const sim::SimDisk::Call& call) {
      using Operation = sim::SimDisk::Operation;
      thread_local int left = 0;
      thread_local bool fails = false;
      // (Its beginning is also read by the thread that looks which cluster's WAL it is.)
      if (call.operation == Operation::read && call.name == before && call.offset > 0)
        left = failures;
      if (call.operation == Operation::open && call.name == behind) fails = left-- > 0;
      return call.operation == Operation::read && call.name == behind && fails
                 ? sim::SimDisk::Effect::fail(EIO)
                 : sim::SimDisk::Effect::proceed();
    });
    const auto report = archive.verify();
    if (failures == 1) {
      EXPECT_TRUE(report.sound()) << to_text(report);
      continue;
    }
    EXPECT_FALSE(report.sound());
    ASSERT_THAT(report.findings, SizeIs(1)) << to_text(report);
    EXPECT_EQ(report.findings[0].kind, FindingKind::unreadable);
    EXPECT_EQ(report.findings[0].file, behind);
    EXPECT_THAT(report.findings[0].what, HasSubstr("the boundary to the segment before"));
    EXPECT_FALSE(report.findings[0].loss) << "nothing is known to be lost";
  }
}

TEST(Verify, WritesNothing) {
  auto wal = make_wal();
  wal.grow_to(kSize.start(4));
  ArchiveBuilder archive;
  archive.segments(wal, 1, 4, Method::zstd);
  archive.disk.set_hook([](const sim::SimDisk::Call& call) {
    using Operation = sim::SimDisk::Operation;
    EXPECT_TRUE(call.operation == Operation::open || call.operation == Operation::read ||
                call.operation == Operation::list || call.operation == Operation::find ||
                call.operation == Operation::close)
        << call.name;
    return sim::SimDisk::Effect::proceed();
  });
  EXPECT_TRUE(archive.verify().sound());
}

TEST(Verify, SaysWhichOfTwoFormsIsSound) {
  auto wal = make_wal(3);
  wal.grow_to(kSize.start(4));
  ArchiveBuilder archive;
  archive.segments(wal, 1, 4);
  auto branch = wal.other_branch(wal.fork_point(kSize.start(2) + 300'000), 5, false);
  archive.partial(branch, kSize.start(2) + 700'000);
  auto report = archive.verify();
  ASSERT_THAT(report.findings, SizeIs(1)) << to_text(report);
  const auto partial = ArchiveBuilder::name(wal, 2, Method::none, true);
  const auto& finding = report.findings[0];
  EXPECT_EQ(finding.file, partial);
  EXPECT_EQ(finding.what, "the partial file's WAL differs from that of " +
                              ArchiveBuilder::name(wal, 2) + ", which is valid");
  EXPECT_EQ(finding.hint, "Move " + partial + " away.");
  ASSERT_TRUE(finding.offset);
  EXPECT_GE(kSize.start(2) + *finding.offset, wal.fork_point(kSize.start(2) + 300'000));
  EXPECT_FALSE(finding.loss) << "nothing is lost";

  archive.disk.set_hook([&](const sim::SimDisk::Call& call) {
    return call.operation == sim::SimDisk::Operation::read && call.name == partial
               ? sim::SimDisk::Effect::fail(EIO)
               : sim::SimDisk::Effect::proceed();
  });
  report = archive.verify();
  ASSERT_THAT(report.findings, SizeIs(1)) << to_text(report);
  EXPECT_EQ(report.findings[0].kind, FindingKind::unreadable);
  EXPECT_THAT(report.findings[0].hint,
              HasSubstr(ArchiveBuilder::name(wal, 2) + " is sound. Move "));
  EXPECT_FALSE(report.findings[0].loss);
}

/// A directory with the complete segment, and a store in which the published one has not been
/// replaced yet: the forms differ.
TEST(Verify, KnowsAPublishedPartialSegmentNextToTheCompleteOne) {
  auto wal = make_wal(3);
  wal.grow_to(kSize.start(5));
  const auto end = wal.complete_end(kSize.start(3) + 500'000);
  const auto content = ArchiveBuilder::content(wal, 3);
  const test::Bytes whole(content.begin(), content.end());
  auto padded = whole;
  std::fill(padded.begin() + (end - kSize.start(3)), padded.end(), std::byte{0});
  const wal::SegmentName segment(1, 3, kSize);
  const auto name = segment.to_string();
  ArchiveBuilder archive;
  archive.segments(wal, 1, 3);
  archive.disk.put(archive::published_open_name(segment),
                   test::as_bytes(archive::published_open_record(
                       {.segment = segment, .end = end, .object = {}, .time = {}})));
  const auto put = [&](const test::Bytes& raw, const test::Bytes& compressed) {
    archive.disk.put(name, raw);
    archive.disk.put(name + ".zst", packed(Method::zstd, compressed));
  };
  put(whole, padded);
  auto report = archive.verify();
  EXPECT_TRUE(report.sound()) << to_text(report);
  EXPECT_THAT(report.notes, Contains(HasSubstr(name + ".zst: padded after " + end.to_string())));
  EXPECT_THAT(report.notes, Not(Contains(HasSubstr("a recovery ends there"))));
  put(padded, whole);
  report = archive.verify();
  EXPECT_TRUE(report.sound()) << to_text(report);
  EXPECT_THAT(report.notes, Not(Contains(HasSubstr("a recovery ends there"))));
  EXPECT_EQ(report.histories.at(0).sound.back().end, kSize.start(4));
  put(padded, padded);
  report = archive.verify();
  EXPECT_TRUE(report.sound()) << to_text(report);
  EXPECT_THAT(report.notes, Contains(HasSubstr("a recovery ends there")));
  EXPECT_EQ(report.histories.at(0).sound.back().end, end);
  // A recovery goes past it with the complete one, and not without.
  archive.partial(wal, kSize.start(4) + 300'000);
  EXPECT_EQ(kinds(archive.verify()), "damage");
  for (const bool raw : {false, true}) {
    put(raw ? padded : whole, raw ? whole : padded);
    report = archive.verify();
    EXPECT_TRUE(report.sound()) << to_text(report);
    EXPECT_GT(report.histories.at(0).sound.back().end, kSize.start(4));
  }
  archive.disk.erase(ArchiveBuilder::name(wal, 4, Method::none, true));
  // Other WAL before the zeros.
  auto branch = wal.other_branch(wal.fork_point(kSize.start(3) + 300'000), 5, false);
  const auto other = ArchiveBuilder::content(branch, 3);
  put({other.begin(), other.end()}, padded);
  report = archive.verify();
  EXPECT_EQ(kinds(report), "forms_differ") << to_text(report);
  put(whole, padded);
  archive.disk.erase(archive::published_open_name(segment));
  EXPECT_EQ(kinds(archive.verify()), "forms_differ");
}

TEST(Verify, EndsWithTheErrorWhereTheDirectoryItselfCannotBeRead) {
  auto wal = make_wal();
  wal.grow_to(kSize.start(6));
  for (const unsigned jobs : {1u, 4u}) {
    ArchiveBuilder archive;
    archive.jobs = jobs;
    archive.segments(wal, 1, 6);
    const auto gone = ArchiveBuilder::name(wal, 3);
    std::atomic<bool> looked = false;
    archive.disk.set_hook([&](const sim::SimDisk::Call& call) {
      using Operation = sim::SimDisk::Operation;
      if (call.operation == Operation::read && call.name == gone && !looked.exchange(true))
        return sim::SimDisk::Effect::proceed();  // who the cluster is
      if (call.operation == Operation::open && call.name == gone && looked)
        return sim::SimDisk::Effect::fail(ENOENT);
      if (call.operation == Operation::find && call.name.starts_with(gone) && looked)
        return sim::SimDisk::Effect::fail(EIO);
      return sim::SimDisk::Effect::proceed();
    });
    const auto error = error_of([&] { static_cast<void>(archive.verify()); });
    EXPECT_EQ(error.kind(), ErrorKind::io);
    EXPECT_TRUE(looked);
  }
}

TEST(Verify, DoesNotCheckRecordsOfANewerServer) {
  auto wal = make_wal(1, 19);
  wal.grow_to(kSize.start(3));
  ArchiveBuilder archive;
  for (const std::uint64_t segno : {1u, 2u}) {
    auto bytes = test::Bytes(ArchiveBuilder::content(wal, segno).begin(),
                             ArchiveBuilder::content(wal, segno).end());
    for (std::size_t page = 0; page < bytes.size(); page += wal::kPageSize) {
      bytes[page] = std::byte{0xFE};
      bytes[page + 1] = std::byte{0xD1};
    }
    archive.disk.put(ArchiveBuilder::name(wal, segno), bytes);
  }
  ASSERT_TRUE(wal::magic_is_newer_than_known(0xD1FE));
  const auto report = archive.verify();
  EXPECT_THAT(report.findings, IsEmpty());
  EXPECT_FALSE(report.sound()) << "nobody has read its records";
  EXPECT_THAT(to_text(report), HasSubstr("NOT CHECKED"));
  EXPECT_FALSE(report.server_major);
  EXPECT_THAT(report.notes,
              Contains("the WAL is of a newer PostgreSQL than this pgweir knows: it was checked as "
                       "far as its format is still that of PostgreSQL 19"));
  EXPECT_GT(report.records, 0u);
  EXPECT_THAT(to_text(report), HasSubstr(fmt::format("each record ({} in all)", report.records)));
}

TEST(Verify, TellsWhatIsNoFileUnderANameOfWal) {
  auto wal = make_wal();
  wal.grow_to(kSize.start(3));
  const test::TemporaryDirectory archive;
  for (const std::uint64_t segno : {1u, 2u})
    archive.write(ArchiveBuilder::name(wal, segno),
                  test::text_of(ArchiveBuilder::content(wal, segno)));
  const auto above = ArchiveBuilder::name(wal, 3);
  std::filesystem::create_directory(archive.path(above));
  std::filesystem::create_symlink("nowhere", archive.path("00000002.history"));
  archive.write("notes", "x");
  const auto directory = io::open_existing_directory(archive.path());
  const auto report = verify(*directory, Options{});
  ASSERT_THAT(report.findings, SizeIs(2)) << to_text(report);
  for (const auto& finding : report.findings) EXPECT_EQ(finding.kind, FindingKind::not_a_file);
  const auto& first = report.findings[report.findings[0].file == above ? 0 : 1];
  const auto& second = report.findings[report.findings[0].file == above ? 1 : 0];
  EXPECT_EQ(first.file, above);
  EXPECT_THAT(first.what, HasSubstr("this segment's name is that of a directory"));
  EXPECT_EQ(second.file, "00000002.history");
  EXPECT_THAT(second.what, HasSubstr("this history's name is that of a directory"));
  EXPECT_THAT(first.hint, HasSubstr("Move it away"));
  EXPECT_THAT(report.notes, Contains("1 entry is not WAL and left alone, \"notes\""));
}

TEST(Verify, TellsOfFilesInAFormatThatIsNotSupported) {
  auto wal = make_wal();
  wal.grow_to(kSize.start(3));
  ArchiveBuilder archive;
  archive.segments(wal, 1, 3);
  const auto packed = ArchiveBuilder::name(wal, 3) + ".bz2";
  archive.disk.put(packed, test::bytes_of("packed"));
  const auto report = archive.verify();
  EXPECT_THAT(report.notes,
              Contains("1 file is not checked: the format is not supported, \"" + packed + "\""));
}

/// "pgweir recover" and "pgweir restore" do not pass the end before it.
TEST(Verify, FindsThatTheNewestSegmentIsInAFormatThatIsNotSupported) {
  auto wal = make_wal();
  wal.grow_to(kSize.start(8));
  const auto name = [&](std::uint64_t segno) { return ArchiveBuilder::name(wal, segno); };
  ArchiveBuilder archive;
  archive.segments(wal, 2, 4);
  archive.disk.put(name(1) + ".bz2", test::bytes_of("x"));
  archive.disk.put(name(3) + ".bz2", test::bytes_of("x"));
  EXPECT_TRUE(archive.verify().sound()) << "all of what follows is there";
  archive.disk.put("00000002" + name(5).substr(8) + ".bz2", test::bytes_of("x"));
  EXPECT_TRUE(archive.verify().sound()) << "of another timeline";
  for (const std::uint64_t segno : {4, 5})
    archive.disk.put(name(segno) + ".xz", test::bytes_of("x"));
  auto report = archive.verify();
  ASSERT_EQ(kinds(report), "gap") << to_text(report);
  EXPECT_EQ(report.findings[0].file, name(4));
  EXPECT_EQ(report.findings[0].to_file, name(5));
  EXPECT_EQ(report.findings[0].loss, (LostRange{1, kSize.start(4), kSize.start(6)}));
  EXPECT_THAT(report.findings[0].what, HasSubstr(name(5) + ".xz exists"));
  EXPECT_THAT(report.findings[0].hint, HasSubstr("xz -d"));
  Options options;
  options.to = kSize.start(4);
  EXPECT_TRUE(archive.verify(options).sound());
  archive.partial(wal, wal.complete_end(kSize.start(5) + 300'000));
  report = archive.verify();
  ASSERT_THAT(report.findings, SizeIs(2)) << to_text(report);
  EXPECT_EQ(report.findings[1].loss, (LostRange{1, kSize.start(5), kSize.start(6)}));
  archive.segments(wal, 4, 6);
  EXPECT_TRUE(archive.verify().sound());
}

TEST(Verify, NotesThatRsyncHasNotCopiedASegmentCompletely) {
  auto wal = make_wal();
  wal.grow_to(kSize.start(4));
  ArchiveBuilder archive;
  archive.segments(wal, 1, 3);
  const auto name = "." + ArchiveBuilder::name(wal, 3) + ".zst.x3F9aQ";
  archive.disk.put(name, test::bytes_of("x"));
  EXPECT_THAT(archive.verify().notes, ElementsAre(HasSubstr("\"" + name + "\" is a copy")));
  archive.segments(wal, 3, 4);
  EXPECT_THAT(archive.verify().notes, IsEmpty());
}

/// Such as gzip writes it: the final name first. It does not grow, so it is damaged.
TEST(Verify, TellsASecondFormThatIsNotBeingWrittenAnyMore) {
  auto wal = make_wal();
  wal.grow_to(kSize.start(3));
  const test::TemporaryDirectory archive;
  for (const std::uint64_t segno : {1u, 2u})
    archive.write(ArchiveBuilder::name(wal, segno),
                  test::text_of(ArchiveBuilder::content(wal, segno)));
  auto half = packed(Method::gzip, ArchiveBuilder::content(wal, 2));
  half.resize(half.size() / 2);
  const auto name = ArchiveBuilder::name(wal, 2, Method::gzip);
  const auto path = archive.write(name, test::text_of(half));
  std::filesystem::last_write_time(
      path, std::filesystem::file_time_type::clock::now() - std::chrono::hours(1));
  const auto directory = io::open_existing_directory(archive.path());
  const auto report = verify(*directory, Options{});
  ASSERT_THAT(report.findings, SizeIs(1)) << to_text(report);
  EXPECT_EQ(report.findings[0].kind, FindingKind::broken_file);
  EXPECT_EQ(report.findings[0].file, name);
  EXPECT_THAT(report.findings[0].hint, HasSubstr(" is sound. Move " + name + " away."));
}

// ---- borders

TEST(Verify, ChecksTheRecordOverABorderWhateverTheChunks) {
  const auto base = test::seed_or(500);
  int flips = 0;
  for (std::uint64_t seed = base; seed < base + 6; ++seed) {
    auto wal = make_wal(seed);
    wal.grow_to(kSize.start(5));
    for (const auto& record : wal.records()) {
      const auto border = kSize.start(kSize.segno(record.end));
      if (record.start >= border || record.end <= border + 64 || border == kSize.start(1) ||
          border > kSize.start(4) || record.kind != WalBuilder::Kind::ordinary)
        continue;
      // A byte of it on either side.
      for (const auto byte : {wal.byte_of_record(record.start, 4),
                              wal.byte_of_record(record.start, record.length - 1)}) {
        for (const unsigned jobs : {1u, 8u}) {
          ArchiveBuilder archive;
          archive.jobs = jobs;
          archive.segments(wal, 1, 5);
          archive.flip(ArchiveBuilder::name(wal, kSize.segno(byte)), kSize.offset(byte), 2);
          SCOPED_TRACE(byte.to_string() + " seed " + std::to_string(seed));
          const auto report = archive.verify();
          EXPECT_EQ(kinds(report), "damage") << to_text(report);
          EXPECT_EQ(report.findings.at(0).lsn, record.start);
          ++flips;
        }
      }
    }
  }
  EXPECT_GT(flips, 8);
}

/// Each of the two files is valid by itself, whichever the chunks are.
TEST(Verify, SparesTheValidFileWhereAnotherIsDamagedInARecordOverABorder) {
  auto wal = make_wal();
  wal.grow_to(Lsn(kSize.start(3).byte() - 10'000));
  const auto record = wal.append_random(20'000);
  wal.grow_to(kSize.start(5));
  for (const std::uint64_t segno : {2, 3})
    for (const auto damaged : {Method::none, Method::zstd})
      for (const unsigned jobs : {1u, 8u}) {
        SCOPED_TRACE(fmt::format("{} {} {}", segno, static_cast<int>(damaged), jobs));
        const auto byte = wal.byte_of_record(record.start, segno == 2 ? 100 : record.length - 1);
        ASSERT_EQ(kSize.segno(byte), segno);
        const auto content = ArchiveBuilder::content(wal, segno);
        test::Bytes wrong(content.begin(), content.end());
        wrong[kSize.offset(byte)] ^= std::byte{4};
        ArchiveBuilder archive;
        archive.jobs = jobs;
        archive.segments(wal, 1, 5).segments(wal, segno, segno + 1, Method::zstd);
        archive.disk.put(ArchiveBuilder::name(wal, segno, damaged), packed(damaged, wrong));
        const auto report = archive.verify();
        EXPECT_FALSE(report.sound());
        const auto valid =
            ArchiveBuilder::name(wal, segno, damaged == Method::none ? Method::zstd : Method::none);
        for (const auto& finding : report.findings)
          EXPECT_THAT(finding.hint, Not(HasSubstr("Move " + valid + " away"))) << to_text(report);
        if (segno == 2) continue;
        EXPECT_THAT(report.findings, SizeIs(1)) << to_text(report);
        EXPECT_THAT(report.histories.at(0).sound, ElementsAre(range(1, 5)));
      }
}

TEST(Verify, CountsNoWalAsLostOfWhichAnotherFileIsValid) {
  auto wal = make_wal();
  wal.grow_to(kSize.start(5));
  for (const auto damaged : {Method::none, Method::zstd})
    for (const unsigned jobs : {1u, 8u}) {
      SCOPED_TRACE(fmt::format("{} {}", static_cast<int>(damaged), jobs));
      ArchiveBuilder archive;
      archive.jobs = jobs;
      archive.segments(wal, 1, 5).segments(wal, 3, 4, Method::zstd);
      const auto zeros = ArchiveBuilder::name(wal, 3, damaged);
      archive.disk.put(zeros, packed(damaged, test::Bytes(kSize.bytes())));
      const auto report = archive.verify();
      ASSERT_THAT(report.findings, SizeIs(1)) << to_text(report);
      EXPECT_EQ(report.findings[0].file, zeros);
      EXPECT_FALSE(report.findings[0].loss);
      EXPECT_THAT(report.findings[0].hint, HasSubstr("Move " + zeros + " away"));
      EXPECT_THAT(report.histories.at(0).sound, ElementsAre(range(1, 5)));
    }
}

/// A power failure tears an unfinished segment also where nothing tells before the next one: in the
/// record over its end.
/// As `pgweir status` has it: the gap begins with the first of them.
TEST(Verify, TakesARowOfPartialSegmentsBeforeAGapForMissing) {
  auto wal = make_wal();
  wal.grow_to(kSize.start(9));
  ArchiveBuilder archive;
  archive.segments(wal, 1, 3);
  const auto partial = [&](std::uint64_t segno) {
    archive.partial(wal, wal.complete_end(kSize.start(segno) + 300'000));
  };
  const auto missing = [&] {
    std::vector<std::uint64_t> found;
    for (const auto& finding : archive.verify().findings) {
      EXPECT_EQ(finding.kind, FindingKind::gap);
      for (auto at = finding.loss->from; at < finding.loss->to; at = at + kSize.bytes())
        found.push_back(kSize.segno(at));
    }
    return found;
  };
  for (const std::uint64_t segno : {3, 5}) partial(segno);
  EXPECT_THAT(missing(), ElementsAre(3, 4));
  partial(7);
  EXPECT_THAT(missing(), ElementsAre(3, 4, 5, 6));
  // A receiver may have several.
  for (const std::uint64_t segno : {4, 6}) partial(segno);
  const auto report = archive.verify();
  EXPECT_EQ(kinds(report).find("gap"), std::string::npos) << to_text(report);
}

TEST(Verify, BlamesNoSegmentForAnUnfinishedOneBeforeIt) {
  auto wal = make_wal();
  wal.grow_to(Lsn(kSize.start(3).byte() - 1000));
  const auto& record = wal.append_random(20'000);
  const auto byte = wal.byte_of_record(record.start, 100);
  ASSERT_LT(byte, kSize.start(3));
  wal.grow_to(kSize.start(5));
  for (const bool torn : {false, true}) {
    SCOPED_TRACE(torn);
    ArchiveBuilder archive;
    archive.segments(wal, 1, 2).segments(wal, 3, 5);
    const auto partial = ArchiveBuilder::name(wal, 2, Method::none, true);
    archive.disk.put(partial, packed(Method::none, ArchiveBuilder::content(wal, 2)));
    if (torn) archive.flip(partial, kSize.offset(byte), 2);
    const auto report = archive.verify();
    EXPECT_EQ(kinds(report), "gap") << to_text(report);
    EXPECT_THAT(report.findings.at(0).what, HasSubstr(partial));
    EXPECT_THAT(report.histories.at(0).sound, ElementsAre(range(1, 2), range(3, 5)));
  }
}

TEST(Verify, FindsTwoSoundSegmentsThatDoNotBelongTogether) {
  // Both are flawless; only the link over the border tells.
  auto wal = make_wal();
  const auto border = kSize.start(2);
  while (border - wal.end() > 1000) wal.append_random(200);
  wal.append_up_to(border);
  auto options = wal.options();
  options.seed = 99;
  options.start = border;
  WalBuilder stranger(options);
  stranger.grow_to(kSize.start(4));
  wal.grow_to(kSize.start(4));
  for (const unsigned jobs : {1u, 8u}) {
    ArchiveBuilder sound;
    sound.jobs = jobs;
    EXPECT_TRUE(sound.segments(wal, 1, 4).verify().sound());
    ArchiveBuilder archive;
    archive.jobs = jobs;
    const auto report = archive.segments(wal, 1, 2).segments(stranger, 2, 4).verify();
    EXPECT_EQ(kinds(report), "damage");
    EXPECT_THAT(report.findings.at(0).what, HasSubstr("link to the previous record"));
  }
}

// ---- partials

TEST(Verify, FindsDamageInsideAPartial) {
  const auto seed = test::seed_or(11);
  std::mt19937_64 random(seed);
  auto wal = make_wal(seed);
  wal.grow_to(kSize.start(4));
  const auto end = wal.complete_end(kSize.start(3) + 700'000);
  for (int i = 0; i < 30; ++i) {
    const auto offset = random() % (end - kSize.start(3) - 16'384);
    ArchiveBuilder archive;
    archive.segments(wal, 1, 3).partial(wal, end, static_cast<Tail>(i % 3));
    const auto file = ArchiveBuilder::name(wal, 3, Method::none, true);
    bool covered = false;
    const auto at = kSize.start(3) + offset;
    for (const auto& record : wal.records())
      covered |= record.kind == WalBuilder::Kind::ordinary && at >= record.start &&
                 at < record.start + 18 && record.start.byte() % 8192 < 8192 - 24;
    archive.flip(file, offset, 1);
    const auto report = archive.verify();
    if (covered) {
      EXPECT_FALSE(report.sound()) << offset << to_text(report);
    }
  }
}

TEST(Verify, AcceptsAPartialThatBreaksOffAnywhere) {
  const auto seed = test::seed_or(12);
  std::mt19937_64 random(seed);
  auto wal = make_wal(seed);
  wal.grow_to(kSize.start(4));
  for (int i = 0; i < 60; ++i) {
    // A walsender breaks off at a record's end or, within a record, at a page's.
    auto end = kSize.start(3) + random() % (kSize.bytes() - 1);
    end = i % 2 == 0 ? std::max(kSize.start(3), wal.complete_end(end))
                     : Lsn(end.byte() & ~(wal::kPageSize - 1));
    SCOPED_TRACE(end.to_string());
    ArchiveBuilder archive;
    archive.jobs = 1 + static_cast<unsigned>(i % 2);
    const auto method = i % 5 == 0 ? Method::gzip : i % 5 == 1 ? Method::lz4 : Method::none;
    archive.segments(wal, 1, 3).partial(wal, end, static_cast<Tail>(i % 3), method);
    const auto report = archive.verify();
    EXPECT_TRUE(report.sound()) << to_text(report);
  }
}

TEST(Verify, IsNotMisledByAPartialThatGrowsWhileItIsRead) {
  auto wal = make_wal(5);
  wal.grow_to(kSize.start(3));
  ArchiveBuilder archive;
  archive.jobs = 1;
  const auto name = ArchiveBuilder::name(wal, 2, Method::none, true);
  archive.segments(wal, 1, 2).partial(wal, kSize.start(2) + 100'000);
  // Each read of the file finds it further on than the read before.
  std::uint64_t bytes = 100'000;
  archive.disk.set_hook([&](const sim::SimDisk::Call& call) {
    if (call.operation == sim::SimDisk::Operation::read && call.name == name && bytes < 1'000'000) {
      bytes += 150'000;
      auto content = archive.disk.content(name);
      const auto wal_bytes =
          wal.bytes(kSize.start(2), kSize.start(2) + std::min<std::uint64_t>(bytes, 1'000'000));
      // In place, as a writer would: the open file sees it.
      content.assign(wal_bytes.begin(), wal_bytes.end());
      content.resize(kSize.bytes());
      archive.disk.put(name, content);
    }
    return sim::SimDisk::Effect::proceed();
  });
  const auto report = archive.verify();
  EXPECT_TRUE(report.sound()) << to_text(report);
}

/// What a kill leaves while the pieces of a large segment are written: it is told as that, and that
/// a receiver mends it.
TEST(Verify, SaysWhatIsToBeDoneWhereAPieceOfTheUnfinishedSegmentIsMissing) {
  const auto size = *wal::SegmentSize::of(32 << 20);
  constexpr std::uint64_t kMegabyte = 1 << 20;
  WalBuilder wal({.segment_size = size, .start = size.start(1), .switch_every = 0});
  wal.grow_to(size.start(1) + 20 * kMegabyte);
  const auto all = wal.bytes(size.start(1), size.start(1) + 18 * kMegabyte);
  struct Case {
    const char* name;
    std::uint64_t end;  ///< of the zeros, in MB
    bool piece;
  };
  const std::string partial = "000000010000000000000001.partial";
  for (const auto& c : {Case{"at a piece's border", 16, true}, Case{"elsewhere", 15, false}}) {
    SCOPED_TRACE(c.name);
    ArchiveBuilder archive;
    test::Bytes bytes(all.begin(), all.end());
    bytes.resize(size.bytes());
    const auto at = [&](std::uint64_t megabytes) {
      return bytes.begin() + static_cast<std::ptrdiff_t>(megabytes * kMegabyte);
    };
    std::fill(at(4), at(c.end), std::byte{0});
    archive.disk.put(partial, bytes);
    const auto report = archive.verify();
    ASSERT_THAT(report.findings, SizeIs(1)) << to_text(report);
    const auto& finding = report.findings[0];
    EXPECT_EQ(finding.kind, FindingKind::damage);
    EXPECT_EQ(finding.what.find("was not confirmed") != std::string::npos, c.piece) << finding.what;
    EXPECT_TRUE(finding.hint.starts_with("Restart the receiver")) << finding.hint;
    // Behind what it goes on with, a receiver goes nowhere.
    archive.disk.put("000000020000000000000001.partial", {});
    const auto older = archive.verify();
    const auto found = std::find_if(older.findings.begin(), older.findings.end(),
                                    [&](const auto& each) { return each.file == partial; });
    ASSERT_NE(found, older.findings.end()) << to_text(older);
    EXPECT_FALSE(found->hint.starts_with("Restart the receiver")) << found->hint;
  }
}

TEST(Verify, TakesTheFinishedFileOfAPartialThatWasFinishedMeanwhile) {
  auto wal = make_wal(5);
  wal.grow_to(kSize.start(3));
  ArchiveBuilder archive;
  archive.jobs = 1;
  const auto partial = ArchiveBuilder::name(wal, 2, Method::none, true);
  archive.segments(wal, 1, 2).partial(wal, kSize.start(2) + 100'000);
  int opened = 0;
  archive.disk.set_hook([&](const sim::SimDisk::Call& call) {
    if (call.operation == sim::SimDisk::Operation::open && call.name == partial && ++opened == 2) {
      archive.segments(wal, 2, 3);
      archive.disk.erase(partial);
    }
    return sim::SimDisk::Effect::proceed();
  });
  const auto report = archive.verify();
  EXPECT_GE(opened, 2);
  EXPECT_TRUE(report.sound()) << to_text(report);
  EXPECT_THAT(report.histories[0].sound, ElementsAre(range(1, 3)));
}

TEST(Verify, ChecksWhatAPartialHasBecomeMeanwhile) {
  using Operation = sim::SimDisk::Operation;
  using Effect = sim::SimDisk::Effect;
  enum class Becomes { damaged, unreadable, nothing };
  for (const auto becomes : {Becomes::damaged, Becomes::unreadable, Becomes::nothing}) {
    SCOPED_TRACE(static_cast<int>(becomes));
    auto wal = make_wal(5);
    wal.grow_to(kSize.start(4));
    ArchiveBuilder archive;
    archive.jobs = 1;
    archive.segments(wal, 1, 2).partial(wal, kSize.start(2) + 500'000);
    const auto partial = ArchiveBuilder::name(wal, 2, Method::none, true);
    const auto whole = ArchiveBuilder::name(wal, 2);
    int opened = 0;
    archive.disk.set_hook([&](const sim::SimDisk::Call& call) {
      if (call.operation == Operation::open && call.name == partial && ++opened == 2) {
        if (becomes != Becomes::nothing) archive.segments(wal, 2, 3);
        if (becomes == Becomes::damaged) archive.flip(whole, 400'004, 1);
        archive.disk.erase(partial);
      }
      if (call.operation == Operation::read && call.name == whole && becomes == Becomes::unreadable)
        return Effect::fail(EIO);
      return Effect::proceed();
    });
    const auto report = archive.verify();
    EXPECT_EQ(opened, 2);
    EXPECT_EQ(kinds(report), becomes == Becomes::damaged      ? "damage"
                             : becomes == Becomes::unreadable ? "unreadable"
                                                              : "gap")
        << to_text(report);
    ASSERT_THAT(report.findings, SizeIs(1));
    EXPECT_EQ(report.findings[0].file, whole);
    if (becomes == Becomes::nothing) {
      EXPECT_THAT(report.findings[0].what, HasSubstr("disappeared while verify was running"));
    }
  }
}

/// The check of the segment itself may succeed, and would be with another size.
TEST(Verify, ReportsNoDamageWhereTheSegmentSizeCouldNotBeRead) {
  auto wal = make_wal();
  ArchiveBuilder archive;
  archive.jobs = 1;
  archive.segments(wal, 1, 2, Method::zstd);
  for (const auto code : {EIO, ENOENT}) {
    bool failed = false;
    archive.disk.set_hook([&](const sim::SimDisk::Call& call) {
      return call.operation == sim::SimDisk::Operation::open && !std::exchange(failed, true)
                 ? sim::SimDisk::Effect::fail(code)
                 : sim::SimDisk::Effect::proceed();
    });
    EXPECT_EQ(error_of([&] { static_cast<void>(archive.verify()); }).system_code(), code);
    EXPECT_TRUE(archive.verify().sound());
  }
}

TEST(Verify, ReportsAPartialItCannotRead) {
  auto wal = make_wal(5);
  wal.grow_to(kSize.start(3));
  ArchiveBuilder archive;
  archive.segments(wal, 1, 2).partial(wal, kSize.start(2) + 500'000);
  const auto partial = ArchiveBuilder::name(wal, 2, Method::none, true);
  archive.disk.set_hook([&](const sim::SimDisk::Call& call) {
    return call.operation == sim::SimDisk::Operation::read && call.name == partial
               ? sim::SimDisk::Effect::fail(EIO)
               : sim::SimDisk::Effect::proceed();
  });
  const auto report = archive.verify();
  ASSERT_THAT(report.findings, SizeIs(1)) << to_text(report);
  EXPECT_EQ(report.findings[0].kind, FindingKind::unreadable);
  EXPECT_EQ(report.findings[0].file, partial);
}

/// The segments there, and the records over their boundaries, are read as well.
TEST(Verify, TellsNoGapThatWasClosedWhileItRead) {
  auto wal = make_wal(5);
  wal.grow_to(kSize.start(5));
  ArchiveBuilder archive;
  archive.jobs = 1;
  archive.segments(wal, 1, 5);
  archive.disk.erase(ArchiveBuilder::name(wal, 2));
  int reads = 0;
  archive.disk.set_hook([&](const sim::SimDisk::Call& call) {
    // At the second look, which finds the same, they are read.
    if (call.operation == sim::SimDisk::Operation::read &&
        call.name == ArchiveBuilder::name(wal, 4) && ++reads == 4)
      archive.segments(wal, 2, 3);
    return sim::SimDisk::Effect::proceed();
  });
  const auto report = archive.verify();
  EXPECT_THAT(report.findings, IsEmpty()) << to_text(report);
  EXPECT_THAT(report.notes, IsEmpty());
  EXPECT_THAT(report.histories[0].sound, ElementsAre(range(1, 5)));
  EXPECT_EQ(report.segments, 4u);
}

TEST(Verify, TellsWhatIsLeftOfAGapThatWasFilledInPartWhileItRead) {
  auto wal = make_wal(5);
  wal.grow_to(kSize.start(8));
  // The first one, the last one, or a partial one; or one that is damaged.
  for (const auto& [filled, partial, damaged] :
       {std::tuple(2, false, false), std::tuple(4, false, false), std::tuple(2, true, false),
        std::tuple(3, false, true)}) {
    SCOPED_TRACE(fmt::format("{} {} {}", filled, partial, damaged));
    ArchiveBuilder archive;
    archive.jobs = 1;
    archive.segments(wal, 1, 2).segments(wal, 5, 8);
    const auto name = ArchiveBuilder::name(wal, static_cast<std::uint64_t>(filled));
    int opened = 0;
    archive.disk.set_hook(
        [&, filled = filled, partial = partial, damaged = damaged](const sim::SimDisk::Call& call) {
          // Once as a sample, then to be checked.
          if (call.operation == sim::SimDisk::Operation::open &&
              call.name == ArchiveBuilder::name(wal, 7) && ++opened == 2) {
            const auto segno = static_cast<std::uint64_t>(filled);
            if (partial)
              archive.partial(wal, kSize.start(segno) + 300'000);
            else
              archive.segments(wal, segno, segno + 1);
            if (damaged) archive.flip(name, 400'004, 1);
          }
          return sim::SimDisk::Effect::proceed();
        });
    const auto report = archive.verify();
    EXPECT_GE(opened, 3);
    EXPECT_EQ(kinds(report), damaged ? "gap damage" : "gap") << to_text(report);
    const auto told = [&](std::uint64_t segno) {
      return std::any_of(report.findings.begin(), report.findings.end(), [&](const auto& finding) {
        return finding.kind == FindingKind::gap && finding.loss &&
               finding.loss->from <= kSize.start(segno) && kSize.start(segno) < finding.loss->to;
      });
    };
    for (int segno = 2; segno < 5; ++segno)
      EXPECT_EQ(told(static_cast<std::uint64_t>(segno)), partial || segno != filled) << segno;
  }
}

/// Each time it looks, there is one more: what was not read is not called sound.
TEST(Verify, EndsBesideSomebodyWhoNeverEndsToFillGaps) {
  auto wal = make_wal(5);
  wal.grow_to(kSize.start(14));
  ArchiveBuilder archive;
  archive.jobs = 1;
  archive.segments(wal, 1, 2).segments(wal, 12, 13);
  std::uint64_t next = 2;
  Options options;
  options.progress = [&](std::uint64_t done, std::uint64_t total) {
    if (done != total) return;
    archive.segments(wal, next, next + 1);
    ++next;
  };
  const auto report = archive.verify(options);
  ASSERT_LT(next, 12u);
  EXPECT_FALSE(report.sound());
  ASSERT_THAT(report.findings, SizeIs(1)) << to_text(report);
  EXPECT_THAT(report.findings[0].what, HasSubstr("have not been verified"));
}

TEST(Verify, TakesTheCompressedFileOfASegmentThatWasCompressedMeanwhile) {
  auto wal = make_wal(5);
  wal.grow_to(kSize.start(4));
  ArchiveBuilder archive;
  archive.jobs = 1;
  const auto raw = ArchiveBuilder::name(wal, 2);
  archive.segments(wal, 1, 4);
  int opened = 0;
  archive.disk.set_hook([&](const sim::SimDisk::Call& call) {
    if (call.operation == sim::SimDisk::Operation::open && call.name == raw && ++opened == 2) {
      archive.segments(wal, 2, 3, Method::zstd);
      archive.disk.erase(raw);
    }
    return sim::SimDisk::Effect::proceed();
  });
  const auto report = archive.verify();
  EXPECT_GE(opened, 2);
  EXPECT_TRUE(report.sound()) << to_text(report);
  EXPECT_THAT(report.histories[0].sound, ElementsAre(range(1, 4)));
}

/// Somebody else is at work: at the N-th call, for every N, a step of his work is done, and what is
/// left of it with the calls that follow. Whatever he does is no damage and no gap.
TEST(Verify, HasNoFalseAlarmBesideOthersAtWork) {
  auto wal = make_wal(5);
  wal.grow_to(kSize.start(7));
  using Step = std::function<void(ArchiveBuilder&)>;
  const auto drop = [&](std::uint64_t segno, Method method = Method::none, bool partial = false) {
    return Step([&wal, segno, method, partial](ArchiveBuilder& archive) {
      archive.disk.erase(ArchiveBuilder::name(wal, segno, method, partial));
    });
  };
  const auto put = [&](std::uint64_t segno, Method method = Method::none) {
    const auto name = ArchiveBuilder::name(wal, segno, method);
    const auto content = packed(method, ArchiveBuilder::content(wal, segno));
    return Step([name, content](ArchiveBuilder& archive) { archive.disk.put(name, content); });
  };
  struct Case {
    const char* name;
    std::vector<Step> steps;
  };
  std::vector<Case> cases = {
      {"prune", {drop(1), drop(2), drop(3)}},
      {"archivecleanup in any order", {drop(2), drop(3), drop(1)}},
      {"conversion to zstd", {put(2, Method::zstd), drop(2), put(3, Method::zstd), drop(3)}},
      {"conversion by stages",
       {put(2, Method::gzip), drop(2), put(2, Method::zstd), drop(2, Method::gzip)}},
  };
  for (const auto method : {Method::none, Method::gzip, Method::lz4, Method::zstd}) {
    static const std::map<Method, const char*> kNames = {
        {Method::none, "a receiver finishes"},
        {Method::gzip, "a receiver finishes with gzip"},
        {Method::lz4, "a receiver finishes with lz4"},
        {Method::zstd, "a receiver finishes with zstd"}};
    cases.push_back({kNames.at(method),
                     {[&wal, finished = put(5, method),
                       partial = drop(5, Method::none, true)](ArchiveBuilder& archive) {
                       archive.partial(wal, kSize.start(6) + 10'000);
                       finished(archive);
                       partial(archive);
                     }}});
  }
  for (const auto& test : cases) {
    SCOPED_TRACE(test.name);
    for (const unsigned jobs : {1u, 3u})
      for (const std::uint64_t apart : {1, 3, 20}) {
        // He is through before long, or what is left for the moment is a gap.
        if (apart > 3 && test.steps.size() == 3 && std::string_view(test.name) != "prune") continue;
        if (apart > 1 && (jobs > 1 || test.steps.size() == 1)) continue;
        for (std::uint64_t call = 1;; call += jobs) {
          ArchiveBuilder archive;
          archive.jobs = jobs;
          archive.segments(wal, 1, 5);
          // Whole, and on its way to its final name.
          archive.segments(wal, 5, 6);
          const auto whole = archive.disk.content(ArchiveBuilder::name(wal, 5));
          archive.disk.erase(ArchiveBuilder::name(wal, 5));
          archive.disk.put(ArchiveBuilder::name(wal, 5, Method::none, true), whole);
          std::mutex mutex;
          std::size_t done = 0;
          archive.disk.set_hook([&](const sim::SimDisk::Call& now) {
            const std::lock_guard lock(mutex);
            if (done < test.steps.size() && now.number >= call + done * apart)
              test.steps[done++](archive);
            return sim::SimDisk::Effect::proceed();
          });
          const auto report = archive.verify();
          ASSERT_TRUE(report.sound())
              << "call " << call << ", jobs " << jobs << ", " << apart << " apart\n"
              << to_text(report);
          if (done == 0) break;
        }
      }
  }
}

TEST(Verify, StillTellsASegmentThatSomebodyTookOutOfTheMiddle) {
  auto wal = make_wal(5);
  wal.grow_to(kSize.start(6));
  ArchiveBuilder archive;
  archive.jobs = 1;
  archive.segments(wal, 1, 5);
  const auto taken = ArchiveBuilder::name(wal, 3);
  int opened = 0;
  archive.disk.set_hook([&](const sim::SimDisk::Call& call) {
    if (call.operation == sim::SimDisk::Operation::open && call.name == taken && ++opened == 2)
      archive.disk.erase(taken);
    return sim::SimDisk::Effect::proceed();
  });
  const auto report = archive.verify();
  EXPECT_FALSE(report.sound()) << to_text(report);
}

// ---- timelines

/// Timeline 1 in segments 1 to 5, 2 from within 5, 3 from within 7, each with a record of its own
/// where it begins.
struct Family {
  Family() {
    one.grow_to(kSize.start(8));
    first_switch = one.fork_point(kSize.start(5) + 432'100);
    two.emplace(promote(one, first_switch, 2, 21));
    two->grow_to(kSize.start(9));
    second_switch = two->fork_point(kSize.start(7) + 123'456);
    three.emplace(promote(*two, second_switch, 3, 31));
    three->grow_to(kSize.start(10));
  }
  ArchiveBuilder& build(ArchiveBuilder& archive) {
    archive.segments(one, 1, 5).partial(one, first_switch);
    archive.segments(*two, 5, 7).partial(*two, second_switch);
    archive.segments(*three, 7, 9);
    archive.history(2, history_line(1, first_switch));
    archive.history(3, history_line(1, first_switch) + history_line(2, second_switch));
    return archive;
  }
  WalBuilder one = make_wal(20);
  std::optional<WalBuilder> two, three;
  Lsn first_switch, second_switch;
};

TEST(Verify, FollowsAHistoryOverTwoSwitches) {
  Family family;
  for (const unsigned jobs : {1u, 8u}) {
    ArchiveBuilder archive;
    archive.jobs = jobs;
    family.build(archive);
    const auto report = archive.verify();
    EXPECT_THAT(report.findings, IsEmpty()) << to_text(report);
    ASSERT_THAT(report.histories, SizeIs(1));
    EXPECT_EQ(report.histories[0].timeline, 3u);
    EXPECT_THAT(report.histories[0].sound, ElementsAre(range(1, 9)));
  }
}

/// The first segment of a timeline has no older one of its own timeline.
TEST(Verify, TellsTheFirstSegmentOfATimelineThatSomebodyTookOut) {
  for (const bool pruned : {false, true}) {
    SCOPED_TRACE(pruned);
    Family family;
    ArchiveBuilder archive;
    archive.jobs = 1;
    family.build(archive);
    const auto taken = ArchiveBuilder::name(*family.two, 5);
    int opened = 0;
    archive.disk.set_hook([&](const sim::SimDisk::Call& call) {
      if (call.operation == sim::SimDisk::Operation::open && call.name == taken && ++opened == 2) {
        archive.disk.erase(taken);
        for (std::uint64_t segno = 1; pruned && segno < 5; ++segno)
          archive.disk.erase(ArchiveBuilder::name(family.one, segno));
        if (pruned) archive.disk.erase(ArchiveBuilder::name(family.one, 5, Method::none, true));
      }
      return sim::SimDisk::Effect::proceed();
    });
    const auto report = archive.verify();
    EXPECT_GE(opened, 2);
    const auto is_told = [&](const Finding& finding) {
      return finding.kind == FindingKind::gap && finding.file == taken;
    };
    EXPECT_EQ(std::any_of(report.findings.begin(), report.findings.end(), is_told), !pruned)
        << to_text(report);
  }
}

/// Both switches are in one segment.
TEST(Verify, FindsThatTheHistoryOfATimelineWithoutSegmentsIsMissing) {
  auto one = make_wal(20);
  one.grow_to(kSize.start(8));
  const auto first = one.fork_point(kSize.start(5) + 232'100);
  auto two = promote(one, first, 2, 21);
  two.grow_to(kSize.start(8));
  const auto second = two.fork_point(kSize.start(5) + 700'000);
  auto three = promote(two, second, 3, 31);
  three.grow_to(kSize.start(8));
  ArchiveBuilder archive;
  archive.segments(one, 1, 5).segments(three, 5, 7);
  archive.history(3, history_line(1, first) + history_line(2, second));
  const auto report = archive.verify();
  ASSERT_THAT(report.findings, SizeIs(1)) << to_text(report);
  EXPECT_EQ(report.findings[0].kind, FindingKind::history);
  EXPECT_EQ(report.findings[0].file, "00000002.history");
  EXPECT_THAT(report.findings[0].what, HasSubstr("00000003.history names timeline 2"));
  EXPECT_THAT(report.findings[0].hint, HasSubstr("A receiver stores it"));
  archive.history(2, history_line(1, first));
  EXPECT_THAT(archive.verify().findings, IsEmpty());
}

/// As "pgweir recover" has it, which does not pass that end.
TEST(Verify, NotesThatTheEndOfAParentIsMissing) {
  auto one = make_wal(20);
  one.grow_to(kSize.start(8));
  const auto left = one.fork_point(kSize.start(5) + 500'000);
  ArchiveBuilder archive;
  archive.segments(one, 1, 3);
  archive.history(2, history_line(1, left));
  const auto notes = [&](Options options = {}) {
    const auto report = archive.verify(std::move(options));
    EXPECT_TRUE(report.sound()) << to_text(report);
    return report.notes;
  };
  EXPECT_THAT(notes(), ElementsAre(AllOf(
                           HasSubstr(fmt::format("timeline 1 ends at {}", kSize.start(3))),
                           HasSubstr(fmt::format("00000002.history, the timeline continued up to "
                                                 "{}:",
                                                 left)))));
  archive.history(3, history_line(1, one.fork_point(kSize.start(4) + 500'000)));
  EXPECT_THAT(notes(), ElementsAre(HasSubstr("00000002.history")));
  Options options;
  options.to = kSize.start(3);
  EXPECT_THAT(notes(options), IsEmpty());
  archive.segments(one, 3, 4).partial(one, one.complete_end(kSize.start(4) + 300'000));
  EXPECT_THAT(notes(), ElementsAre(HasSubstr("00000002.history")));
  // Its last segment may exist on the new timeline only.
  archive.disk.erase(ArchiveBuilder::name(one, 4, Method::none, true));
  archive.segments(one, 4, 5);
  EXPECT_THAT(notes(), IsEmpty());
  // With the new timeline's WAL, it is a gap.
  archive.disk.erase(ArchiveBuilder::name(one, 4));
  auto two = promote(one, left, 2, 21);
  two.grow_to(kSize.start(7));
  archive.segments(two, 5, 6);
  const auto report = archive.verify();
  EXPECT_EQ(kinds(report), "gap");
  EXPECT_THAT(report.notes, IsEmpty());
}

/// A recovery to the end of that timeline would end before.
TEST(Verify, FindsThatTheRequestedTimelineEndsBeforeTheSwitchpointOfALaterOne) {
  auto one = make_wal(20);
  one.grow_to(kSize.start(8));
  const auto left = one.fork_point(kSize.start(5) + 500'000);
  auto two = promote(one, left, 2, 21);
  two.grow_to(kSize.start(7));
  ArchiveBuilder archive;
  archive.segments(one, 1, 5).segments(two, 5, 7).history(2, history_line(1, left));
  Options options;
  options.timeline = 1;
  const auto end = [&] {
    const auto report = archive.verify(options);
    EXPECT_TRUE(report.sound() || kinds(report) == "gap") << to_text(report);
    if (report.sound()) return Lsn();
    const auto& gap = report.findings.front();
    EXPECT_EQ(gap.file, ArchiveBuilder::name(one, 5));
    EXPECT_EQ(gap.to_file, gap.file);
    EXPECT_EQ(gap.loss->to, left);
    EXPECT_THAT(gap.what, HasSubstr(fmt::format("before {}, where timeline 2 begins", left)));
    return gap.loss->from;
  };
  EXPECT_EQ(end(), kSize.start(5));
  EXPECT_TRUE(archive.verify().sound());
  const auto early = one.complete_end(kSize.start(5) + 300'000);
  archive.partial(one, early);
  EXPECT_EQ(end(), early);
  options.to = kSize.start(4);
  EXPECT_EQ(end(), Lsn());
  options.to.reset();
  archive.partial(one, left);
  EXPECT_EQ(end(), Lsn());
}

TEST(Verify, FindsWhatIsWrongAboutTimelines) {
  struct Case {
    const char* name;
    void (*damage)(ArchiveBuilder&, Family&);
    const char* kinds;
  };
  const Case cases[] = {
      {"WAL of the old timeline behind its end",
       [](ArchiveBuilder& a, Family& f) {
         a.disk.erase(ArchiveBuilder::name(f.one, 5, Method::none, true));
         a.segments(f.one, 5, 7);
       },
       "lost_branch"},
      {"a missing history", [](ArchiveBuilder& a, Family&) { a.disk.erase("00000003.history"); },
       "history"},
      {"a missing history in the middle",
       [](ArchiveBuilder& a, Family&) { a.disk.erase("00000002.history"); }, "history"},
      {"a broken history", [](ArchiveBuilder& a, Family&) { a.history(3, "rubbish\n"); },
       "history"},
      {"an empty history", [](ArchiveBuilder& a, Family&) { a.history(2, ""); }, "history"},
      {"histories that contradict each other",
       [](ArchiveBuilder& a, Family& f) { a.history(2, history_line(1, f.first_switch + 8)); },
       "history"},
      {"a switchpoint moved by a record in both histories",
       [](ArchiveBuilder& a, Family& f) {
         Lsn before;
         for (const auto& record : f.one.records())
           if (record.end == f.first_switch) before = record.start;
         a.history(2, history_line(1, before));
         a.history(3, history_line(1, before) + history_line(2, f.second_switch));
       },
       "history"},
      {"a switchpoint that is cut off",
       [](ArchiveBuilder& a, Family& f) {
         a.history(2, "1\t0/15");
         a.history(3, "1\t0/15\n" + history_line(2, f.second_switch));
       },
       "history"},
      {"a switchpoint moved by two segments",
       [](ArchiveBuilder& a, Family& f) {
         const Lsn wrong = f.first_switch + kSize.bytes();
         a.history(2, history_line(1, wrong));
         a.history(3, history_line(1, wrong) + history_line(2, f.second_switch));
       },
       "gap"},
      {"a segment before its timeline's first one",
       [](ArchiveBuilder& a, Family& f) {
         a.disk.put("000000030000000000000004", ArchiveBuilder::content(f.one, 4));
       },
       "wrong_name"},
      {"the wrong parent",
       [](ArchiveBuilder& a, Family& f) { a.history(3, history_line(1, f.second_switch)); }, "gap"},
      {"the new timeline's first segment is the old one's",
       [](ArchiveBuilder& a, Family& f) {
         a.disk.put(ArchiveBuilder::name(*f.two, 5), ArchiveBuilder::content(f.one, 5));
       },
       "damage"},
      {"the new timeline's first segment is missing",
       [](ArchiveBuilder& a, Family& f) { a.disk.erase(ArchiveBuilder::name(*f.two, 5)); }, "gap"},
      {"the old timeline's last part is of another life",
       [](ArchiveBuilder& a, Family& f) {
         auto bytes = a.disk.content(ArchiveBuilder::name(f.one, 5, Method::none, true));
         auto stranger = make_wal(77);
         const auto other = ArchiveBuilder::content(stranger, 5);
         std::copy(other.begin(), other.begin() + 400'000, bytes.begin());
         a.disk.put(ArchiveBuilder::name(f.one, 5, Method::none, true), bytes);
       },
       "damage"},
      {"one bit before the switchpoint, in the old timeline's part",
       [](ArchiveBuilder& a, Family& f) {
         a.flip(ArchiveBuilder::name(f.one, 5, Method::none, true), 200'004, 1);
       },
       "damage"},
      {"a second form of a history that tells the same",
       [](ArchiveBuilder& a, Family& f) {
         a.disk.put("00000002.history.gz",
                    packed(Method::gzip, test::as_bytes(history_line(1, f.first_switch))));
       },
       ""},
      {"a second form of a history that is none",
       [](ArchiveBuilder& a, Family&) {
         a.disk.put("00000002.history.gz", packed(Method::gzip, test::as_bytes("rubbish\n")));
       },
       "history"},
      {"a second form of a history that cannot be unpacked",
       [](ArchiveBuilder& a, Family&) {
         a.disk.put("00000002.history.gz", test::as_bytes("rubbish\n"));
       },
       "history"},
      {"a history that names another parent than the WAL does",
       [](ArchiveBuilder& a, Family& f) {
         a.history(2, history_line(1, f.first_switch));
         auto child = f.one.fork(f.first_switch, 2, 5);
         test::Bytes body(2 + 16);
         body[0] = std::byte{255};
         body[1] = std::byte{16};
         const std::uint32_t timelines[] = {2, 7};  // and not 1
         std::memcpy(body.data() + 2 + 8, timelines, sizeof(timelines));
         child.append(0, 0x90, body);
         child.grow_to(kSize.start(6));
         a.segments(child, 5, 6);
       },
       "history"},
      {"a second form of a history that tells something else",
       [](ArchiveBuilder& a, Family& f) {
         a.disk.put("00000002.history.gz",
                    packed(Method::gzip, test::as_bytes(history_line(1, f.first_switch + 8))));
       },
       "history"},
  };
  for (const auto& [name, damage, expected] : cases) {
    for (const unsigned jobs : {1u, 8u}) {
      SCOPED_TRACE(std::string(name) + ", jobs " + std::to_string(jobs));
      Family family;
      ArchiveBuilder archive;
      archive.jobs = jobs;
      family.build(archive);
      damage(archive, family);
      const auto report = archive.verify();
      if (*expected == '\0')
        EXPECT_EQ(kinds(report), "") << to_text(report);
      else
        EXPECT_THAT(kinds(report), HasSubstr(expected)) << to_text(report);
    }
  }
}

TEST(Verify, RecoversABackupOnlyAlongTheTimelineOnWhichItEnded) {
  auto one = make_wal(40);
  one.grow_to(kSize.start(7));
  const auto at = one.fork_point(kSize.start(3) + 500'000);
  auto two = promote(one, at, 2, 41);
  two.grow_to(kSize.start(6));
  ArchiveBuilder archive;
  archive.segments(one, 1, 6).segments(two, 3, 5).history(2, history_line(1, at));
  Options options;
  options.backup.emplace();
  auto& backup = *options.backup;
  backup.timeline = backup.end_timeline = 1;
  backup.start = kSize.start(2) + wal::kLongHeaderSize;
  backup.file = "backup_manifest";
  const auto reaches = [&] {
    std::vector<wal::TimelineId> timelines;
    const auto report = archive.verify(options);
    EXPECT_TRUE(report.backup->reaches_consistency) << to_text(report);
    for (const auto& reach : report.backup->reaches) timelines.push_back(reach.timeline);
    return timelines;
  };
  backup.end = at;
  EXPECT_THAT(reaches(), ElementsAre(2));
  backup.end = kSize.start(5);  // the old primary's, which it ended after the switch
  EXPECT_THAT(reaches(), ElementsAre(1));
  backup.end_timeline = 2;
  EXPECT_THAT(reaches(), ElementsAre(2));
  // Its first byte is the first one after the switchpoint: no other timeline has it.
  backup.end.reset();
  backup.end_timeline = 0;
  const auto on_one = [&](Lsn start) {
    backup.start = start;
    const auto report = archive.verify(options);
    std::vector<wal::TimelineId> timelines;
    for (const auto& reach : report.backup->reaches) timelines.push_back(reach.timeline);
    return timelines;
  };
  EXPECT_THAT(on_one(at), ElementsAre(1));
  EXPECT_THAT(on_one(Lsn(at.byte() - 8)), ElementsAre(2));
}

TEST(Verify, ChecksBothBranchesOfAFork) {
  auto one = make_wal(40);
  one.grow_to(kSize.start(7));
  const auto at = one.fork_point(kSize.start(3) + 500'000);
  auto two = promote(one, at, 2, 41);
  two.grow_to(kSize.start(6));
  const auto later = one.fork_point(kSize.start(4) + 300'000);
  auto three = promote(one, later, 3, 42);
  three.grow_to(kSize.start(6));
  const auto build = [&](ArchiveBuilder& archive) {
    archive.segments(one, 1, 6).segments(two, 3, 5).segments(three, 4, 6);
    archive.history(2, history_line(1, at)).history(3, history_line(1, later));
  };
  {
    ArchiveBuilder archive;
    build(archive);
    const auto report = archive.verify();
    // Nothing is wrong with either; but what timeline 1 has behind the fork is lost to the cluster.
    EXPECT_EQ(kinds(report), "lost_branch") << to_text(report);
    EXPECT_EQ(report.findings[0].loss, (LostRange{1, later, one.complete_end(kSize.start(6))}));
    ASSERT_THAT(report.histories, SizeIs(2));
    EXPECT_THAT(report.histories[0].sound, ElementsAre(range(1, 5)));
    EXPECT_THAT(report.histories[1].sound, ElementsAre(range(1, 6)));
  }
  ArchiveBuilder archive;
  build(archive);
  archive.disk.erase(ArchiveBuilder::name(one, 2));
  const auto report = archive.verify();
  EXPECT_EQ(kinds(report), "gap lost_branch") << "both ways lead through it, and it is told once";
  Options only_two;
  only_two.timeline = 2;
  only_two.from = kSize.start(3);
  EXPECT_TRUE(archive.verify(only_two).sound());
}

/// Timeline 2 has a recorded hole in segments 5 to 7.
TEST(Verify, HidesNothingOfOtherTimelinesBehindARecordedHole) {
  auto one = make_wal(40);
  one.grow_to(kSize.start(9));
  const auto at = one.fork_point(kSize.start(4) + 300'000);
  auto two = promote(one, at, 2, 41);
  two.grow_to(kSize.start(10));
  auto three = promote(one, at, 3, 42);
  three.grow_to(kSize.start(11));
  ArchiveBuilder archive;
  archive.segments(one, 1, 8).segments(two, 4, 5).segments(two, 8, 10);
  archive.history(2, history_line(1, at)).history(3, history_line(1, at));
  archive.segments(three, 4, 10);
  archive.flip(ArchiveBuilder::name(one, 6), 8192 + 4, 1);
  archive::Loss hole;
  hole.timeline = hole.next_timeline = 2;
  hole.begin = hole.sound_end = hole.counted_to = kSize.start(5);
  hole.end = kSize.start(8);
  hole.segment_size = kSize;
  archive::record_loss(*archive.disk.open(), hole);
  using Found = std::tuple<FindingKind, wal::TimelineId, Lsn, Lsn>;
  const auto found = [&] {
    std::vector<Found> all;
    for (const auto& each : archive.verify().findings)
      if (each.kind != FindingKind::lost_branch)
        all.emplace_back(each.kind, each.timeline, kSize.start_of(each.loss.value().from),
                         each.loss->to);
    return all;
  };
  const Found damage{FindingKind::damage, 1, kSize.start(6), kSize.start(7)};
  const Found recorded{FindingKind::gap, 2, kSize.start(5), kSize.start(8)};
  EXPECT_THAT(found(), ElementsAre(damage, recorded));
  archive.disk.erase(ArchiveBuilder::name(three, 6));
  EXPECT_THAT(found(), ElementsAre(damage, recorded,
                                   Found{FindingKind::gap, 3, kSize.start(6), kSize.start(7)}));
  // A longer one than the recorded hole, too.
  for (const std::uint64_t segno : {5, 7, 8})
    archive.disk.erase(ArchiveBuilder::name(three, segno));
  EXPECT_THAT(found(), ElementsAre(damage, recorded,
                                   Found{FindingKind::gap, 3, kSize.start(5), kSize.start(9)}));
}

/// Timelines 2 and 3 both left timeline 1 in segment 5.
TEST(Verify, HidesNoDamageOfASiblingTimelineBehindARecordedHole) {
  auto one = make_wal(43);
  one.grow_to(kSize.start(6));
  const auto at = one.fork_point(kSize.start(5) + 300'000);
  auto two = promote(one, at, 2, 44);
  two.grow_to(kSize.start(7));
  auto three = promote(one, at, 3, 45);
  three.grow_to(kSize.start(8));
  ArchiveBuilder archive;
  archive.segments(one, 1, 5).partial(two, kSize.start(5) + 700'000).segments(three, 6, 8);
  archive.history(2, history_line(1, at)).history(3, history_line(1, at));
  archive::Loss hole;
  hole.timeline = 1;
  hole.next_timeline = 3;
  hole.begin = hole.sound_end = hole.counted_to = kSize.start(5);
  hole.end = kSize.start(6);
  hole.segment_size = kSize;
  archive::record_loss(*archive.disk.open(), hole);
  EXPECT_THAT(kinds(archive.verify()), Not(HasSubstr("damage"))) << to_text(archive.verify());
  // Behind the switchpoint.
  archive.flip(ArchiveBuilder::name(two, 5, Method::none, true), 65 * 8192 + 4, 1);
  EXPECT_THAT(kinds(archive.verify()), HasSubstr("damage")) << to_text(archive.verify());
}

TEST(Verify, TellsARecordedHoleOnceWithTheUnfinishedSegmentInWhichItBegins) {
  auto wal = make_wal();
  wal.grow_to(kSize.start(9));
  const auto end = wal.complete_end(kSize.start(4) + 400'000);
  const auto file = ArchiveBuilder::name(wal, 4, Method::none, true);
  ArchiveBuilder archive;
  archive.segments(wal, 1, 4).partial(wal, end).segments(wal, 7, 9);
  archive::Loss hole;
  hole.timeline = hole.next_timeline = 1;
  hole.begin = hole.counted_to = kSize.start(4);
  hole.sound_end = end;
  hole.end = kSize.start(7);
  hole.segment_size = kSize;
  archive::record_loss(*archive.disk.open(), hole);
  auto report = archive.verify();
  ASSERT_THAT(report.findings, SizeIs(1)) << to_text(report);
  EXPECT_THAT(report.findings[0].what, HasSubstr("a recorded hole"));
  // Before its recorded end, damage is damage.
  archive.flip(file, 8192 + 4, 1);
  report = archive.verify();
  EXPECT_THAT(kinds(report), HasSubstr("damage")) << to_text(report);

  // A receiver that was killed may leave several partial segments.
  archive.disk.erase(file);
  archive.partial(wal, kSize.start(5) + 400'000);
  archive.flip(ArchiveBuilder::name(wal, 5, Method::none, true), 8192 + 4, 1);
  report = archive.verify();
  ASSERT_THAT(report.findings, SizeIs(1)) << to_text(report);
  EXPECT_THAT(report.findings[0].what, HasSubstr("a recorded hole"));
}

/// A server requests it although it replays no WAL of an older timeline, and restore cannot say
/// that it never existed.
TEST(Verify, NeedsTheHistoryOfALaterTimelineOnWhichTheArchiveBegins) {
  WalBuilder::Options options;
  options.timeline = 4;
  WalBuilder wal(options);
  wal.grow_to(kSize.start(4));
  ArchiveBuilder archive;
  const auto report = archive.segments(wal, 1, 4).verify();
  ASSERT_THAT(report.findings, SizeIs(1)) << to_text(report);
  EXPECT_EQ(report.findings[0].kind, FindingKind::history);
  EXPECT_EQ(report.findings[0].file, "00000004.history");
  // Those of the timelines before it are not requested.
  archive.history(4, history_line(2, wal::Lsn(0x40000)) + history_line(3, wal::Lsn(0x80000)));
  const auto mended = archive.verify();
  EXPECT_TRUE(mended.sound()) << to_text(mended);
}

// ---- ranges, accepted losses, backups

TEST(Verify, ChecksOnlyTheRangeItWasAskedFor) {
  auto wal = make_wal();
  wal.grow_to(kSize.start(9));
  ArchiveBuilder archive;
  archive.segments(wal, 1, 8);
  archive.disk.erase(ArchiveBuilder::name(wal, 2));
  archive.flip(ArchiveBuilder::name(wal, 6), 8192 + 4, 1);
  const struct {
    const char* name;
    std::optional<Position> from, to;
    const char* kinds;
  } cases[] = {
      {"all", {}, {}, "gap damage"},
      {"behind the gap", kSize.start(3), {}, "damage"},
      {"between", kSize.start(3), kSize.start(6), ""},
      {"between, by name", wal::SegmentName(1, 3, kSize), wal::SegmentName(1, 5, kSize), ""},
      {"up to the damage", {}, kSize.start(6), "gap"},
      {"a byte too far", kSize.start(3), kSize.start(6) + 1, "damage"},
      {"beyond the end", kSize.start(7), kSize.start(8) + 1, "gap"},
      {"before the beginning", kSize.start(0) + 40, kSize.start(2), "gap"},
  };
  for (const auto& [name, from, to, expected] : cases) {
    SCOPED_TRACE(name);
    Options options;
    options.from = from;
    options.to = to;
    EXPECT_EQ(kinds(archive.verify(options)), expected);
  }
  Options options;
  options.from = kSize.start(5);
  options.to = kSize.start(4);
  EXPECT_THROW(static_cast<void>(archive.verify(options)), Error);
  options = {};
  options.timeline = 9;
  EXPECT_THROW(static_cast<void>(archive.verify(options)), Error);
}

TEST(Verify, KnowsHowFarAPartialReaches) {
  auto wal = make_wal();
  wal.grow_to(kSize.start(4));
  ArchiveBuilder archive;
  const auto end = wal.complete_end(kSize.start(3) + 400'000);
  archive.segments(wal, 1, 3).partial(wal, end);
  Options options;
  options.to = end;
  EXPECT_TRUE(archive.verify(options).sound());
  options.to = end + 8;
  EXPECT_EQ(kinds(archive.verify(options)), "gap");
}

TEST(Verify, KnowsThatNoWalIsInAnUnfinishedSegment) {
  auto wal = make_wal();
  wal.grow_to(kSize.start(4));
  ArchiveBuilder archive;
  archive.partial(wal, kSize.start(3));
  Options options;
  options.from = kSize.start(3);
  options.to = kSize.start(3) + 8;
  const LostRange lost{1, kSize.start(3), kSize.start(3) + 8};
  auto report = archive.verify(options);
  ASSERT_THAT(report.findings, SizeIs(1)) << to_text(report);
  EXPECT_EQ(report.findings[0].loss, lost);
  // What is missing before it is another gap.
  archive.segments(wal, 1, 2);
  options.from = kSize.start(1);
  report = archive.verify(options);
  ASSERT_THAT(report.findings, SizeIs(2)) << to_text(report);
  EXPECT_EQ(report.findings[0].loss, (LostRange{1, kSize.start(2), kSize.start(3)}));
  EXPECT_EQ(report.findings[1].loss, lost);
}

/// It has its full name, as in a server's pg_wal.
TEST(Verify, KnowsThatATimelineEndsBeforeTheEndOfItsLastSegment) {
  Family family;
  ArchiveBuilder archive;
  family.build(archive);
  const auto name = ArchiveBuilder::name(family.one, 5);
  archive.disk.open()->rename_no_replace(name + ".partial", name);
  Options options;
  options.timeline = 1;
  options.to = family.first_switch;
  EXPECT_TRUE(archive.verify(options).sound()) << to_text(archive.verify(options));
  options.to = family.first_switch + 8;
  const auto report = archive.verify(options);
  ASSERT_THAT(report.findings, SizeIs(1)) << to_text(report);
  EXPECT_EQ(report.findings[0].kind, FindingKind::gap);
  EXPECT_EQ(report.findings[0].file, name);
  EXPECT_EQ(report.findings[0].loss, (LostRange{1, family.first_switch, family.first_switch + 8}));
  EXPECT_THAT(report.findings[0].hint, HasSubstr("another timeline"));
}

TEST(Verify, DoesNotNameAPartialThatHoldsNothingAsTheLast) {
  auto wal = make_wal();
  wal.grow_to(kSize.start(4));
  ArchiveBuilder archive;
  archive.segments(wal, 1, 3);
  const auto name = ArchiveBuilder::name(wal, 3) + ".partial";
  archive.disk.put(name, {});
  auto report = archive.verify();
  ASSERT_THAT(report.histories, SizeIs(1));
  EXPECT_EQ(report.histories[0].partial, "");
  // That the place was not reached is found all the same.
  Options options;
  options.to = kSize.start(3) + 8;
  EXPECT_EQ(kinds(archive.verify(options)), "gap");

  archive.disk.erase(name);
  archive.partial(wal, wal.complete_end(kSize.start(3) + 400'000));
  EXPECT_EQ(archive.verify().histories.at(0).partial, name);
}

/// A receiver creates a segment's file before it writes to it, and a power loss leaves it so, next
/// to one that it tears.
TEST(Verify, TakesAPartialSegmentWithoutWalForNoWal) {
  auto wal = make_wal();
  wal.grow_to(kSize.start(6));
  const auto next = ArchiveBuilder::name(wal, 4, Method::none, true);
  ArchiveBuilder archive;
  archive.segments(wal, 1, 3).partial(wal, wal.complete_end(kSize.start(3) + 400'000));
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{kSize.bytes()}}) {
    SCOPED_TRACE(bytes);
    archive.disk.put(next, test::Bytes(bytes));
    const auto report = archive.verify();
    EXPECT_TRUE(report.sound()) << to_text(report);
  }
  archive.partial(wal, wal.complete_end(kSize.start(4) + 300'000));
  const auto report = archive.verify();
  ASSERT_THAT(report.findings, SizeIs(1)) << to_text(report);
  EXPECT_THAT(report.findings[0].what, HasSubstr(next + " exists as well"));
}

TEST(Verify, AcceptsOneKnownLossAndNoOther) {
  auto wal = make_wal();
  wal.grow_to(kSize.start(9));
  ArchiveBuilder archive;
  archive.segments(wal, 1, 8);
  archive.disk.erase(ArchiveBuilder::name(wal, 3));
  Options options;
  const auto lost = LostRange{1, kSize.start(3), kSize.start(4)};
  options.accepted = {{lost, "the disk of 3 May", 1}};
  {
    const auto report = archive.verify(options);
    EXPECT_TRUE(report.sound());
    ASSERT_THAT(report.findings, SizeIs(1));
    EXPECT_EQ(report.findings[0].accepted, "the disk of 3 May");
    EXPECT_THAT(to_text(report), HasSubstr("the disk of 3 May"));
  }
  // A byte more or less, or another timeline, is another loss.
  for (const auto& other : {LostRange{1, kSize.start(3), kSize.start(5)},
                            LostRange{1, kSize.start(3) + 8, kSize.start(4)},
                            LostRange{2, kSize.start(3), kSize.start(4)}}) {
    options.accepted = {{other, "no", 1}};
    const auto report = archive.verify(options);
    EXPECT_FALSE(report.sound());
    EXPECT_THAT(report.notes, ElementsAre(HasSubstr("line 1")));
  }
  archive.disk.erase(ArchiveBuilder::name(wal, 4));  // the loss grew
  options.accepted = {{lost, "the disk of 3 May", 1}};
  EXPECT_FALSE(archive.verify(options).sound());
}

TEST(Verify, SaysHowFarABackupCanBeRecovered) {
  auto wal = make_wal(50);
  wal.grow_to(kSize.start(3) + 5000);
  const auto start = wal.append_random(100).start;
  wal.grow_to(kSize.start(4) + 9000);
  test::Bytes body(2 + 8);
  body[0] = std::byte{255};
  body[1] = std::byte{8};
  const auto start_bytes = start.byte();
  std::memcpy(body.data() + 2, &start_bytes, 8);
  const auto end = wal.append(0, 0x50, body).end;  // XLOG_BACKUP_END
  wal.grow_to(kSize.start(8));
  archive::BackupPoint label;
  label.timeline = 1;
  label.start = start;
  label.file = "backup_label";
  Options options;
  options.backup = label;
  for (const unsigned jobs : {1u, 8u}) {
    ArchiveBuilder archive;
    archive.jobs = jobs;
    archive.segments(wal, 1, 7);
    archive.disk.erase(ArchiveBuilder::name(wal, 2));  // before the backup: of no interest
    auto report = archive.verify(options);
    EXPECT_TRUE(report.sound()) << to_text(report);
    ASSERT_TRUE(report.backup);
    EXPECT_TRUE(report.backup->reaches_consistency);
    EXPECT_EQ(report.backup->consistent_at, end);
    ASSERT_THAT(report.backup->reaches, SizeIs(1));
    EXPECT_EQ(report.backup->reaches[0].end, kSize.start(7));

    auto stranger = options;
    stranger.backup->checkpoint = end;  // where another record is
    EXPECT_EQ(error_of([&] { static_cast<void>(archive.verify(stranger)); }).kind(),
              ErrorKind::conflict);

    archive.disk.erase(ArchiveBuilder::name(wal, 5));
    report = archive.verify(options);
    EXPECT_FALSE(report.sound()) << "a gap behind the consistent point";
    EXPECT_TRUE(report.backup->reaches_consistency);
    EXPECT_EQ(report.backup->reaches[0].end, kSize.start(5));

    archive.disk.erase(ArchiveBuilder::name(wal, 4));
    report = archive.verify(options);
    EXPECT_FALSE(report.backup->reaches_consistency);
    EXPECT_THAT(kinds(report), HasSubstr("backup"));

    archive.disk.erase(ArchiveBuilder::name(wal, 3));
    report = archive.verify(options);
    EXPECT_THAT(report.backup->reaches, IsEmpty());
    EXPECT_THAT(report.backup->verdict, HasSubstr("no sound WAL at its start"));
  }
}

TEST(Verify, TakesTheEndOfABackupFromItsOwnBranchOnly) {
  auto one = make_wal(50);
  one.grow_to(kSize.start(5) + 5000);
  const auto start = one.append_random(100).start;
  one.grow_to(kSize.start(8) + 9000);
  test::Bytes body(2 + 8);
  body[0] = std::byte{255};
  body[1] = std::byte{8};
  const auto start_bytes = start.byte();
  std::memcpy(body.data() + 2, &start_bytes, 8);
  const auto end = one.append(0, 0x50, body).end;  // XLOG_BACKUP_END
  one.grow_to(kSize.start(9));
  Options options;
  options.backup.emplace();
  options.backup->timeline = 1;
  options.backup->start = start;
  options.backup->file = "backup_label";
  // One timeline leaves before that record, which is read for the other one, after a gap.
  const auto before = one.fork_point(kSize.start(6) + 500'000);
  auto two = promote(one, before, 2, 9);
  two.grow_to(kSize.start(20));
  const auto after = one.fork_point(kSize.start(8) + 500'000);
  ASSERT_LT(end, after);
  auto three = promote(one, after, 3, 10);
  three.grow_to(kSize.start(10));
  for (const bool has_gap : {false, true}) {
    SCOPED_TRACE(has_gap);
    ArchiveBuilder archive;
    archive.segments(one, 5, 9).segments(two, 6, 20).segments(three, 8, 10);
    archive.history(2, history_line(1, before)).history(3, history_line(1, after));
    if (has_gap) archive.disk.erase(ArchiveBuilder::name(one, 7));
    const auto report = archive.verify(options);
    ASSERT_TRUE(report.backup);
    EXPECT_EQ(report.backup->reaches_consistency, !has_gap) << to_text(report);
    EXPECT_EQ(report.backup->consistent_at, has_gap ? std::nullopt : std::optional(end));
    EXPECT_THAT(report.backup->reaches, SizeIs(2));
  }
}

TEST(Verify, SaysWhatABackupLacks) {
  auto wal = make_wal(50);
  wal.grow_to(kSize.start(6));
  ArchiveBuilder archive;
  archive.segments(wal, 1, 6);
  archive::BackupPoint point;
  point.timeline = 1;
  point.start = kSize.start(3) + wal::kLongHeaderSize;
  point.file = "backup_manifest";
  Options options;
  options.backup = point;
  options.backup->end = kSize.start(7) + 100;
  auto report = archive.verify(options);
  EXPECT_EQ(kinds(report), "backup");
  EXPECT_THAT(report.backup->verdict,
              HasSubstr("cannot be brought to consistency: that needs WAL up "
                        "to 0/700064, and sound WAL reaches only "));
  EXPECT_EQ(report.findings.at(0).hint, "The findings show the missing or damaged segments.");

  options.backup = point;
  options.backup->from_standby = true;
  report = archive.verify(options);
  EXPECT_EQ(kinds(report), "backup");
  EXPECT_THAT(report.backup->verdict,
              HasSubstr("it is only in the manifest, which was not specified"));
  EXPECT_EQ(report.findings.at(0).hint, "Specify the backup_manifest or the backup's directory.");

  options.backup->system_identifier = wal.options().system_identifier + 1;
  const auto error = error_of([&] { static_cast<void>(archive.verify(options)); });
  EXPECT_EQ(error.kind(), ErrorKind::conflict);
  EXPECT_THAT(error.what(), HasSubstr("the backup and the archive belong to different clusters"));
}

TEST(Verify, RefusesASegmentThatThisSizeDoesNotHave) {
  auto wal = make_wal();
  wal.grow_to(kSize.start(2));
  ArchiveBuilder archive;
  archive.segments(wal, 1, 2);
  Options options;
  options.from = *wal::SegmentName::parse("0000000100000000FFFFFFFF");
  const auto error = error_of([&] { static_cast<void>(archive.verify(options)); });
  EXPECT_EQ(error.kind(), ErrorKind::usage);
  EXPECT_THAT(error.what(), HasSubstr("no such segment with this archive's segment size"));
}

TEST(Verify, TellsARecordOfALossThatCannotBeRead) {
  auto wal = make_wal();
  wal.grow_to(kSize.start(3));
  ArchiveBuilder archive;
  archive.segments(wal, 1, 3);
  archive.disk.put(".pgweir-loss-hole-1-0-300000", test::as_bytes("rubbish"));
  EXPECT_THAT(archive.verify().notes,
              Contains(HasSubstr("the record of a loss, hole-1-0-300000: ")));
}

TEST(Verify, StopsWhenAsked) {
  auto wal = make_wal();
  wal.grow_to(kSize.start(9));
  ArchiveBuilder archive;
  archive.segments(wal, 1, 8);
  Options options;
  options.stop = [] { return true; };
  try {
    static_cast<void>(archive.verify(options));
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::retry);
  }
}

TEST(Verify, ShowsProgressUpToTheEnd) {
  auto wal = make_wal();
  wal.grow_to(kSize.start(9));
  ArchiveBuilder archive;
  archive.segments(wal, 1, 8, Method::zstd);
  std::uint64_t last = 0, all = 0;
  Options options;
  options.progress = [&](std::uint64_t done, std::uint64_t total) {
    EXPECT_GE(done, last);
    last = done;
    all = total;
  };
  EXPECT_TRUE(archive.verify(options).sound());
  EXPECT_EQ(last, all);
  EXPECT_EQ(all, 7 * kSize.bytes());
}

// ---- texts

TEST(AcceptedLosses, AreLinesOfTimelineRangeAndReason) {
  const auto all = parse_accepted(
      "# known\n\n1 0/5000000 0/6000000 lost in the fire\n 2\t0/1 0/2  two words \r\n", "file");
  ASSERT_THAT(all, SizeIs(2));
  EXPECT_EQ(all[0].loss, (LostRange{1, Lsn(0x5000000), Lsn(0x6000000)}));
  EXPECT_EQ(all[0].reason, "lost in the fire");
  EXPECT_EQ(all[0].line, 3);
  EXPECT_EQ(all[1].loss.timeline, 2u);
  for (const auto* const bad :
       {"1", "1 0/5000000", "1 0/5000000 0/6000000", "x 0/5 0/6 reason", "1 0/6 0/5 reason",
        "1 0/5 0/5 reason", "1 5 6 reason", "1x 0/5 0/6 reason"}) {
    SCOPED_TRACE(bad);
    EXPECT_THROW(static_cast<void>(parse_accepted(bad, "file")), Error);
  }
}

TEST(VerifyReport, SaysHowManyFindingsItLeavesOut) {
  Report report;
  for (const char* const file : {"a", "b", "c"}) {
    Finding finding;
    finding.file = file;
    finding.what = "broken";
    report.findings.push_back(finding);
  }
  const auto text = to_text(report, 2);
  EXPECT_THAT(text, HasSubstr("b: broken\n"));
  EXPECT_THAT(text, Not(HasSubstr("c: broken")));
  EXPECT_THAT(text, HasSubstr("… and 1 more; --json lists all of them\n"));
  EXPECT_THAT(text, HasSubstr("NOT SOUND: 3 findings"));
}

TEST(VerifyReport, IsValidJsonEvenWithStrangeNames) {
  auto wal = make_wal();
  wal.grow_to(kSize.start(4));
  ArchiveBuilder archive;
  archive.segments(wal, 1, 4);
  archive.disk.erase(ArchiveBuilder::name(wal, 2));
  archive.disk.put("\xff\xfe\"strange", {});
  const auto json = nlohmann::json::parse(to_json(archive.verify()));
  EXPECT_EQ(json["version"], 1);
  EXPECT_EQ(json["sound"], false);
  EXPECT_EQ(json["findings"][0]["kind"], "gap");
  EXPECT_EQ(json["findings"][0]["file"], "000000010000000000000002");
  EXPECT_EQ(json["findings"][0]["loss"]["from"], "0/200000");
  EXPECT_EQ(json["histories"][0]["sound"].size(), 2u);
}

}  // namespace
}  // namespace weir::verify::verify_test

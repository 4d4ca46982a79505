// Verify and restore against an archive in which one thing is wrong: verify has to find it, and no
// restore may hand out other bytes, or tell a file that ought to be there as absent. And against
// archives full of legal oddities, in which nothing is wrong.
//
// PGWEIR_CAMPAIGN=<n> makes n archives with one damage of each kind instead of a few.

#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "restore/restore.h"
#include "support/archive_builder.h"
#include "support/wal_builder.h"
#include "wal/page.h"

namespace weir::restore::campaign_test {
namespace {

using codec::Method;
using test::Bytes;
using testing::WalBuilder;
using verify::ArchiveBuilder;
using verify::kSize;
using wal::Lsn;

constexpr Method kMethods[] = {Method::none, Method::gzip, Method::lz4, Method::zstd};
constexpr std::uint64_t kFirst = 1, kFork = 4, kBehind = 8;  // segments

Bytes copy(std::span<const std::byte> bytes) { return {bytes.begin(), bytes.end()}; }

/// Two timelines: segments 1 to 3 and a .partial of 4 on the first, 4 to 7 and a .partial of 8 on
/// the second; each segment in a form of its own.
class Archive {
 public:
  explicit Archive(std::uint64_t seed_of_it)
      : seed(seed_of_it), random(seed), first(options(seed)) {
    first.grow_to(kSize.start(kFork) + kSize.bytes() / 2);
    switchpoint = first.fork_point(kSize.start(kFork) + kSize.bytes() / 3);
    // A switch of the WAL in front of it would leave no place in the segment.
    if (kSize.segno(switchpoint) != kFork) switchpoint = kSize.start(kFork);
    second.emplace(verify::promote(first, switchpoint, 2, seed + 1));
    second->grow_to(kSize.start(kBehind) + kSize.bytes() / 2);
    for (auto segno = kFirst; segno < kFork; ++segno) add(first, segno);
    for (auto segno = kFork; segno < kBehind; ++segno) add(*second, segno);
    builder.partial(*second, second->complete_end(kSize.start(kBehind) + kSize.bytes() / 3));
    truth["00000002.history"] = copy(test::as_bytes(verify::history_line(1, switchpoint)));
    builder.disk.put("00000002.history", truth["00000002.history"]);
  }

  struct Segment {
    WalBuilder* wal = nullptr;
    std::uint64_t segno = 0;
    Method method = Method::none;
    std::string file;  ///< its name in the archive
    std::string name;
  };

  Segment any() { return segments[random() % segments.size()]; }
  /// One between others: that the oldest or the newest is gone, nothing in an archive tells.
  Segment any_between() {
    for (;;) {
      auto segment = any();
      if (segment.segno != kBehind - 1 && segment.segno != kFirst) return segment;
    }
  }
  Bytes raw(const Segment& segment) {
    return copy(ArchiveBuilder::content(*segment.wal, segment.segno));
  }
  /// The segment's timeline, written again: the same up to `at`, then otherwise.
  WalBuilder another(const Segment& segment, Lsn at) {
    auto wal = segment.wal == &first ? WalBuilder(options(seed))
                                     : verify::promote(first, switchpoint, 2, seed + 1);
    wal.grow_to(at);
    wal.append_random(777);
    return wal;
  }
  void put(const Segment& segment, const Bytes& raw_content) {
    builder.disk.put(segment.file, verify::packed(segment.method, raw_content));
  }
  /// An address in the segment that a record's checksum covers.
  std::uint64_t covered_offset(const Segment& segment) {
    const auto& records = segment.wal->records();
    for (;;) {
      const auto& record = records[random() % records.size()];
      if (record.kind != WalBuilder::Kind::ordinary) continue;
      const auto at = segment.wal->byte_of_record(record.start, random() % record.length);
      if (kSize.segno(at) != segment.segno) continue;
      // What the segment of a switch says before the switchpoint is the parent's.
      if (segment.wal == &*second && at < switchpoint && kSize.segno(at) == kFork) continue;
      return kSize.offset(at);
    }
  }

  static WalBuilder::Options options(std::uint64_t seed) {
    WalBuilder::Options made;
    made.seed = seed;
    return made;
  }

  std::uint64_t seed;
  std::mt19937_64 random;
  WalBuilder first;
  std::optional<WalBuilder> second;
  Lsn switchpoint;
  ArchiveBuilder builder;
  std::vector<Segment> segments;
  std::map<std::string, Bytes> truth;  ///< what each request must give; nothing else is there

 private:
  void add(WalBuilder& wal, std::uint64_t segno) {
    const auto method = kMethods[random() % 4];
    Segment segment{&wal, segno, method, ArchiveBuilder::name(wal, segno, method),
                    ArchiveBuilder::name(wal, segno)};
    truth[segment.name] = raw(segment);
    put(segment, truth[segment.name]);
    segments.push_back(std::move(segment));
  }
};

struct Verdict {
  bool wrong = false;     ///< other bytes, or an absence of what ought to be there
  bool complete = false;  ///< everything was restored
  std::string text;
};

/// Asks for everything, in the order of a recovery; as the server that knows its cluster and keeps
/// what it was given, or by hand.
Verdict recover(Archive& archive, bool server) {
  Verdict verdict{.complete = true};
  sim::SimDisk target;
  NullLog log;
  Options options;
  if (server) options.system_identifier = archive.first.options().system_identifier;
  std::vector<std::string> requests{"00000002.history", "00000003.history"};
  for (auto segno = kFirst; segno <= kBehind; ++segno)
    requests.push_back(wal::SegmentName(segno < kFork ? 1 : 2, segno, kSize).to_string());
  const auto from = archive.builder.disk.open();
  const auto to = target.open();
  for (const auto& request : requests) {
    const auto truth = archive.truth.find(request);
    const bool there = truth != archive.truth.end();
    try {
      const auto result =
          restore_file(*from, parse_request(request), *to, "RECOVERYXLOG", options, log);
      if (result.restored && (!there || target.content("RECOVERYXLOG") != truth->second)) {
        verdict.wrong = true;
        verdict.text += request + ": other bytes\n";
      }
      if (!result.restored && there) {
        verdict.wrong = true;
        verdict.text += request + ": told as absent: " + result.why + "\n";
      }
      if (result.restored) {
        const auto content = target.content("RECOVERYXLOG");
        target.erase("RECOVERYXLOG");
        if (server) target.put(request, content);
      }
    } catch (const Error& error) {
      verdict.complete = false;
      verdict.text += request + ": " + error.what() + "\n";
      if (server) break;  // it stops
    }
  }
  return verdict;
}

using Damage = std::function<std::string(Archive&)>;  ///< returns what was damaged

Bytes overwrite(Bytes bytes, std::uint64_t at, std::mt19937_64& random, std::size_t count) {
  for (std::size_t i = 0; i < count && at + i < bytes.size(); ++i)
    bytes[at + i] ^= static_cast<std::byte>(random() % 255 + 1);
  return bytes;
}

const std::map<std::string, Damage>& damages() {
  static const std::map<std::string, Damage> all = {
      {"a bit of a record",
       [](Archive& archive) {
         const auto segment = archive.any();
         auto raw = archive.raw(segment);
         raw[archive.covered_offset(segment)] ^= static_cast<std::byte>(1u << archive.random() % 8);
         archive.put(segment, raw);  // in a frame that is sound itself
         return segment.file;
       }},
      {"bytes of the file",
       [](Archive& archive) {
         auto segment = archive.any();
         while (segment.method == Method::none) segment = archive.any();
         auto bytes = archive.builder.disk.content(segment.file);
         archive.builder.disk.put(
             segment.file,
             overwrite(bytes, archive.random() % (bytes.size() - 32), archive.random, 24));
         return segment.file;
       }},
      {"a page that was never written",
       [](Archive& archive) {
         const auto segment = archive.any();
         auto raw = archive.raw(segment);
         const auto page = archive.covered_offset(segment) / wal::kPageSize * wal::kPageSize;
         std::fill_n(raw.begin() + static_cast<std::ptrdiff_t>(page), wal::kPageSize, std::byte{});
         archive.put(segment, raw);
         return segment.file;
       }},
      {"an older page",
       [](Archive& archive) {
         const auto segment = archive.any();
         auto raw = archive.raw(segment);
         const auto page = archive.covered_offset(segment) / wal::kPageSize * wal::kPageSize;
         const auto other = (page + wal::kPageSize * 3) % kSize.bytes();
         std::copy_n(raw.begin() + static_cast<std::ptrdiff_t>(other), wal::kPageSize,
                     raw.begin() + static_cast<std::ptrdiff_t>(page));
         archive.put(segment, raw);
         return segment.file;
       }},
      {"a file cut short",
       [](Archive& archive) {
         const auto segment = archive.any();
         auto bytes = archive.builder.disk.content(segment.file);
         bytes.resize(archive.random() % bytes.size());
         archive.builder.disk.put(segment.file, bytes);
         return segment.file;
       }},
      {"rubbish behind the end",
       [](Archive& archive) {
         const auto segment = archive.any();
         auto bytes = archive.builder.disk.content(segment.file);
         bytes.resize(bytes.size() + archive.random() % 1000 + 1, std::byte{0x5a});
         archive.builder.disk.put(segment.file, bytes);
         return segment.file;
       }},
      {"an empty file",
       [](Archive& archive) {
         const auto segment = archive.any();
         archive.builder.disk.put(segment.file, {});
         return segment.file;
       }},
      {"a segment under another's name",
       [](Archive& archive) {
         const auto segment = archive.any();
         auto other = archive.any();
         while (other.name == segment.name) other = archive.any();
         archive.put(segment, archive.raw(other));
         return segment.file;
       }},
      {"of another cluster",
       [](Archive& archive) {
         const auto segment = archive.any();
         auto options = segment.wal->options();
         options.system_identifier += 1;
         options.seed += 100;
         WalBuilder other(options);
         archive.put(segment, copy(ArchiveBuilder::content(other, segment.segno)));
         return segment.file;
       }},
      {"of another history of the cluster",
       [](Archive& archive) {
         const auto segment = archive.any();
         auto options = segment.wal->options();
         options.seed += 100;
         WalBuilder other(options);
         archive.put(segment, copy(ArchiveBuilder::content(other, segment.segno)));
         return segment.file;
       }},
      {"of another timeline",
       [](Archive& archive) {
         auto segment = archive.any();
         while (segment.segno <= kFork) segment = archive.any();
         archive.put(segment, copy(ArchiveBuilder::content(archive.first, segment.segno)));
         return segment.file;
       }},
      {"missing",
       [](Archive& archive) {
         const auto segment = archive.any_between();
         archive.builder.disk.erase(segment.file);
         return segment.file;
       }},
      {"a second form that is another",
       [](Archive& archive) {
         auto segment = archive.any();
         // The same up to a record in its middle, and sound behind it, too.
         const auto middle = kSize.start(segment.segno) + kSize.bytes() / 2;
         auto other = archive.another(segment, middle);
         const auto file = segment.file;
         segment.method = segment.method == Method::none ? Method::zstd : Method::none;
         segment.file = ArchiveBuilder::name(*segment.wal, segment.segno, segment.method);
         const auto content = copy(ArchiveBuilder::content(other, segment.segno));
         if (content == archive.raw(segment)) return std::string();
         archive.put(segment, content);
         return file + " and " + segment.file;
       }},
      {"a second form that is damaged",
       [](Archive& archive) {
         auto segment = archive.any();
         auto raw = archive.raw(segment);
         raw[archive.covered_offset(segment)] ^= std::byte{0x04};
         segment.method = segment.method == Method::lz4 ? Method::gzip : Method::lz4;
         segment.file = ArchiveBuilder::name(*segment.wal, segment.segno, segment.method);
         archive.put(segment, raw);
         return segment.file;
       }},
      {"no history",
       [](Archive& archive) {
         archive.builder.disk.erase("00000002.history");
         return std::string("00000002.history");
       }},
      {"another history",
       [](Archive& archive) {
         const auto other =
             archive.random() % 2 == 0
                 ? archive.switchpoint + 8 * (archive.random() % 5000 + 1)
                 : Lsn(archive.switchpoint.byte() - 8 * (archive.random() % 5000 + 1));
         archive.builder.disk.put("00000002.history",
                                  test::as_bytes(verify::history_line(1, other)));
         return "00000002.history: " + other.to_string() + " instead of " +
                archive.switchpoint.to_string();
       }},
      {"a broken history",
       [](Archive& archive) {
         auto bytes = archive.truth["00000002.history"];
         bytes.resize(archive.random() % 6);
         archive.builder.disk.put("00000002.history", bytes);
         return std::string("00000002.history");
       }},
  };
  return all;
}

int rounds(int usual) {
  const auto* const text = std::getenv("PGWEIR_CAMPAIGN");
  return text != nullptr ? std::atoi(text) : usual;
}

TEST(DamageCampaign, GivesNoFalseAlarm) {
  const auto seed = testing::test_seed(1120);
  for (int round = 0; round < rounds(4); ++round) {
    SCOPED_TRACE(seed + static_cast<unsigned>(round));
    Archive archive(seed + static_cast<unsigned>(round));
    const auto report = archive.builder.verify();
    EXPECT_TRUE(report.sound()) << verify::to_text(report);
    for (const bool server : {false, true}) {
      const auto verdict = recover(archive, server);
      EXPECT_TRUE(verdict.complete && !verdict.wrong) << verdict.text;
    }
  }
}

TEST(DamageCampaign, FindsEveryKindOfDamageAndRestoresNone) {
  const auto seed = testing::test_seed(1120);
  int made = 0;
  for (int round = 0; round < rounds(2); ++round)
    for (const auto& [kind, damage] : damages()) {
      Archive archive(seed + static_cast<unsigned>(round));
      archive.random.seed(seed + static_cast<unsigned>(made++));
      const auto what = damage(archive);
      if (what.empty()) continue;
      SCOPED_TRACE(kind + ", " + what + ", archive " +
                   std::to_string(seed + static_cast<unsigned>(round)));
      const auto report = archive.builder.verify();
      EXPECT_FALSE(report.sound()) << "verify found nothing";
      for (const bool server : {false, true}) {
        const auto verdict = recover(archive, server);
        EXPECT_FALSE(verdict.wrong) << (server ? "a server: " : "by hand: ") << verdict.text;
      }
    }
}

}  // namespace
}  // namespace weir::restore::campaign_test

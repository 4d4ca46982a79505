// Several archives in one restore: what is told of a file is told of all of them together.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "archive/losses.h"
#include "base/error.h"
#include "restore/archives.h"
#include "restore/fetched.h"
#include "restore/find.h"
#include "restore/restore.h"
#include "support/archive_builder.h"
#include "support/wal_builder.h"

namespace weir::restore::several_archives_test {
namespace {

using codec::Method;
using test::Bytes;
using testing::WalBuilder;
using verify::ArchiveBuilder;
using verify::kSize;
using wal::Lsn;

constexpr Method kMethods[] = {Method::none, Method::gzip, Method::lz4, Method::zstd};

WalBuilder::Options plain() {
  WalBuilder::Options options;
  options.switch_every = 0;
  return options;
}

std::string name_of(wal::TimelineId timeline, std::uint64_t segno) {
  return wal::SegmentName(timeline, segno, kSize).to_string();
}

Bytes copy(std::span<const std::byte> bytes) { return {bytes.begin(), bytes.end()}; }

class Messages final : public Log {
 public:
  void write(LogLevel, std::string_view message) override { text += std::string(message) + "\n"; }
  bool enabled(LogLevel) const override { return true; }
  std::string text;
};

/// A directory of a simulated disk under a path of its own, whose files can be told apart.
class NamedShelf final : public io::Shelf, private io::Identities {
 public:
  NamedShelf(std::string path, std::unique_ptr<io::Directory> directory)
      : path_(std::move(path)), directory_(std::move(directory)) {}
  const std::string& path() const override { return path_; }
  std::vector<io::DirectoryEntry> list() override { return directory_->list(); }
  std::optional<io::DirectoryEntry> find(const std::string& name) override {
    return directory_->find(name);
  }
  std::unique_ptr<io::Bytes> open_bytes(const std::string& name) override {
    return directory_->open_bytes(name);
  }
  io::Identities* identities() override { return this; }

 private:
  std::optional<io::FileIdentity> of(const std::string& name) override {
    const auto found = find(name);
    if (!found) return std::nullopt;
    return io::FileIdentity{.inode = std::hash<std::string>()(name), .size = found->size};
  }
  io::FileIdentity of_directory() override { return {.inode = std::hash<std::string>()(path_)}; }
  bool leads_to(const std::string&, const io::File&) override { return false; }

  const std::string path_;
  const std::unique_ptr<io::Directory> directory_;
};

/// Archives "/a", "/b", "/c", and the directory the server wants its file in.
struct Scene {
  explicit Scene(std::size_t count = 2) : archives(count) {}

  std::vector<ArchiveBuilder> archives;
  sim::SimDisk target;
  Messages log;
  Options options;

  ArchiveBuilder& a = archives[0];
  ArchiveBuilder& b = archives[1];

  struct Outcome {
    std::optional<bool> restored;  ///< nullopt: an error
    std::optional<ErrorKind> error;
    std::string what;
    Bytes content;
  };

  /// Calls `call` with the archives in the order that is asked for.
  template <typename Call>
  auto with_shelves(Call call) {
    std::vector<std::unique_ptr<NamedShelf>> owned;
    std::vector<io::Shelf*> shelves;
    for (std::size_t i = 0; i < archives.size(); ++i)
      owned.push_back(std::make_unique<NamedShelf>(std::string("/") + static_cast<char>('a' + i),
                                                   archives[i].disk.open()));
    for (auto& shelf : owned) shelves.push_back(shelf.get());
    if (reversed) std::reverse(shelves.begin(), shelves.end());
    return call(Shelves(shelves));
  }

  Outcome ask(const std::string& file) {
    Outcome outcome;
    const auto to = target.open();
    try {
      const auto result = with_shelves([&](Shelves shelves) {
        return restore_file(shelves, parse_request(file), *to, "RECOVERYXLOG", options, log);
      });
      outcome.restored = result.restored;
      outcome.what = result.why;
    } catch (const Error& error) {
      outcome.error = error.kind();
      outcome.what = std::string(error.what()) + " | " + error.hint();
    }
    if (target.exists("RECOVERYXLOG")) {
      outcome.content = target.content("RECOVERYXLOG");
      EXPECT_EQ(outcome.restored, true) << "something stands there without success";
      target.erase("RECOVERYXLOG");
    } else {
      EXPECT_NE(outcome.restored, true) << "success, and nothing stands there";
    }
    for (const auto& name : target.names())
      EXPECT_FALSE(name.starts_with(".")) << "left over: " << name;
    return outcome;
  }
  Outcome ask(wal::TimelineId timeline, std::uint64_t segno) {
    return ask(name_of(timeline, segno));
  }
  [[nodiscard]] bool told(const std::string& words) const {
    return log.text.find(words) != std::string::npos;
  }

  bool reversed = false;
};

constexpr bool kBoth[] = {false, true};

TEST(SeveralArchives, RestoreEachSegmentFromWhicheverHasIt) {
  for (const auto method : kMethods)
    for (const bool server : kBoth) {
      SCOPED_TRACE(::testing::Message() << static_cast<int>(method) << server);
      Scene scene;
      WalBuilder wal(plain());
      if (server) scene.options.system_identifier = wal.options().system_identifier;
      for (std::uint64_t segno = 1; segno < 7; ++segno)
        scene.archives[segno % 2].segments(wal, segno, segno + 1, method);
      for (std::uint64_t segno = 1; segno < 7; ++segno) {
        const auto outcome = scene.ask(1, segno);
        EXPECT_EQ(outcome.restored, true) << outcome.what;
        EXPECT_EQ(outcome.content, copy(ArchiveBuilder::content(wal, segno)));
        if (server) scene.target.put(name_of(1, segno), outcome.content);
      }
      EXPECT_EQ(scene.ask(1, 7).restored, false);
      EXPECT_EQ(scene.ask("00000002.history").restored, false);
      EXPECT_EQ(scene.log.text, "");
    }
}

TEST(SeveralArchives, TakeTheSoundCopyAndNameTheDamagedOne) {
  for (const auto method : kMethods)
    for (const std::size_t damaged : {0, 1})
      for (const bool server : kBoth) {
        SCOPED_TRACE(::testing::Message() << static_cast<int>(method) << damaged << server);
        Scene scene;
        WalBuilder wal(plain());
        if (server) scene.options.system_identifier = wal.options().system_identifier;
        scene.a.segments(wal, 1, 4, method);
        scene.b.segments(wal, 1, 4, method);
        auto raw = copy(ArchiveBuilder::content(wal, 2));
        raw[500'000] ^= std::byte{4};
        const auto file = ArchiveBuilder::name(wal, 2, method);
        scene.archives[damaged].disk.put(file, verify::packed(method, raw));
        const auto outcome = scene.ask(1, 2);
        EXPECT_EQ(outcome.restored, true) << outcome.what;
        EXPECT_EQ(outcome.content, copy(ArchiveBuilder::content(wal, 2)));
        EXPECT_TRUE(scene.told((damaged == 0 ? "/a/" : "/b/") + file)) << scene.log.text;
        EXPECT_TRUE(scene.told((damaged == 0 ? "/b/" : "/a/") + file)) << scene.log.text;
        // Nobody has a sound one.
        scene.archives[1 - damaged].disk.erase(file);
        EXPECT_EQ(scene.ask(1, 2).error, ErrorKind::damage);
      }
}

TEST(SeveralArchives, RefuseTwoSoundCopiesThatDiffer) {
  WalBuilder wal(plain());
  wal.grow_to(kSize.start(3));
  auto other = wal.other_branch(wal.fork_point(kSize.start(2) + 500'000), 7, false);
  for (const bool reversed : kBoth)
    for (const bool first_sound : kBoth) {
      Scene scene;
      scene.reversed = reversed;
      scene.options.first_sound = first_sound;
      scene.a.segments(wal, 1, 3);
      scene.b.segments(wal, 1, 2).segments(other, 2, 3, Method::zstd);
      EXPECT_EQ(scene.ask(1, 1).restored, true);
      const auto outcome = scene.ask(1, 2);
      if (first_sound) {
        EXPECT_EQ(outcome.content, copy(ArchiveBuilder::content(reversed ? other : wal, 2)));
        continue;
      }
      EXPECT_EQ(outcome.error, ErrorKind::conflict) << outcome.what;
      EXPECT_NE(outcome.what.find("/a/" + name_of(1, 2)), std::string::npos) << outcome.what;
      EXPECT_NE(outcome.what.find("/b/" + name_of(1, 2) + ".zst"), std::string::npos);
    }
}

TEST(SeveralArchives, DoNotCompareWhatMeansNothing) {
  WalBuilder wal(plain());
  wal.grow_to(kSize.start(2) + 300'000);
  wal.append_switch();
  const auto end = kSize.offset(wal.records().back().end);
  Scene scene;
  scene.a.segments(wal, 1, 3);
  scene.b.segments(wal, 1, 3);
  auto recycled = copy(ArchiveBuilder::content(wal, 2));
  std::fill(recycled.begin() + static_cast<std::ptrdiff_t>(end) + 16, recycled.end(),
            std::byte{0x77});
  scene.b.disk.put(name_of(1, 2), recycled);
  for (const bool reversed : kBoth) {
    scene.reversed = reversed;
    const auto outcome = scene.ask(1, 2);
    EXPECT_EQ(outcome.restored, true) << outcome.what;
  }
  EXPECT_EQ(scene.log.text, "");
}

/// A bit that flips on a disk in a byte that no checksum covers.
TEST(SeveralArchives, DoNotTakeAByteThatNoReaderUsesForAnotherHistory) {
  WalBuilder wal(plain());
  wal.grow_to(kSize.start(4));
  const auto& records = wal.records();
  const auto padded = std::find_if(records.begin(), records.end(), [](const auto& record) {
    return record.start > kSize.start(2) + 400'000 && record.length % 8 == 1 &&
           record.start.byte() / wal::kPageSize == (record.end.byte() - 1) / wal::kPageSize;
  });
  const auto last = kSize.offset(wal::Lsn(padded->end.byte() - 1));
  const std::uint64_t header = 9 * wal::kPageSize + 21;
  const std::vector<std::vector<std::uint64_t>> cases = {{header}, {last, last - 6}, {last - 7}};
  for (const auto& changed : cases) {
    Scene scene;
    scene.a.segments(wal, 1, 4);
    scene.b.segments(wal, 1, 4);
    auto content = copy(ArchiveBuilder::content(wal, 2));
    for (const auto each : changed) content[each] ^= std::byte{16};
    scene.b.disk.put(name_of(1, 2), content);
    for (const bool reversed : kBoth) {
      SCOPED_TRACE(::testing::Message() << changed.back() << reversed);
      scene.reversed = reversed;
      scene.log.text.clear();
      const auto outcome = scene.ask(1, 2);
      EXPECT_EQ(outcome.restored, true) << outcome.what;
      EXPECT_NE(scene.told("differ in bytes that no reader uses"), changed.back() == last - 7)
          << scene.log.text;
    }
  }
}

TEST(SeveralArchives, RefuseAnotherClustersInAnyCase) {
  auto foreign = plain();
  foreign.system_identifier = 99;
  foreign.seed = 4;
  for (const bool reversed : kBoth)
    for (const bool server : kBoth)
      for (const bool has_it : kBoth) {
        SCOPED_TRACE(::testing::Message() << reversed << server << has_it);
        Scene scene;
        scene.reversed = reversed;
        WalBuilder wal(plain());
        WalBuilder other(foreign);
        if (server) scene.options.system_identifier = wal.options().system_identifier;
        scene.a.segments(wal, 1, 5);
        scene.b.segments(other, has_it ? 1 : 7, 9);
        scene.a.history(2, verify::history_line(1, kSize.start(5)));
        for (const auto& file : {name_of(1, 3), name_of(1, 6), std::string("00000002.history"),
                                 std::string("00000003.history")}) {
          // By hand nothing tells whose WAL is wanted, and the first that has it begins.
          const auto outcome = scene.ask(file);
          EXPECT_EQ(outcome.error, ErrorKind::conflict) << file << outcome.what;
          EXPECT_NE(outcome.what.find("cluster"), std::string::npos) << file << outcome.what;
        }
      }
}

TEST(SeveralArchives, LeaveOutWhatDoesNotAnswerIfAsked) {
  for (const bool reversed : kBoth) {
    Scene scene;
    scene.reversed = reversed;
    WalBuilder wal(plain());
    scene.options.system_identifier = wal.options().system_identifier;
    scene.a.segments(wal, 1, 4);
    scene.b.segments(wal, 6, 9);
    scene.b.disk.set_hook([](const auto&) { return sim::SimDisk::Effect::fail(EIO); });
    EXPECT_EQ(scene.ask("00000002.history").restored, std::nullopt);
    EXPECT_EQ(scene.ask(1, 4).restored, std::nullopt);
    scene.options.without_silent = true;
    EXPECT_EQ(scene.ask(1, 3).restored, true);
    EXPECT_EQ(scene.ask("00000002.history").restored, false);
    EXPECT_EQ(scene.ask(1, 4).restored, false);
    // One has to answer.
    scene.a.disk.set_hook([](const auto&) { return sim::SimDisk::Effect::fail(EIO); });
    EXPECT_EQ(scene.ask("00000002.history").restored, std::nullopt);
    EXPECT_EQ(scene.ask(1, 4).restored, std::nullopt);
  }
}

TEST(SeveralArchives, GoWithoutOneThatDoesNotAnswerAndSaySo) {
  struct Silence {
    const char* name;
    std::function<void(ArchiveBuilder&)> strike;
    ErrorKind kind;
  };
  const Silence cases[] = {
      {"its disk fails",
       [](ArchiveBuilder& archive) {
         archive.disk.set_hook([](const auto&) { return sim::SimDisk::Effect::fail(EIO); });
       },
       ErrorKind::io},
      {"it cannot be listed",
       [](ArchiveBuilder& archive) {
         archive.disk.fail_every(sim::SimDisk::Operation::list, EACCES);
       },
       ErrorKind::io},
      {"it is empty",
       [](ArchiveBuilder& archive) {
         for (const auto& name : archive.disk.names()) archive.disk.erase(name);
       },
       ErrorKind::gap},
      {"nothing tells whose it is",
       [](ArchiveBuilder& archive) {
         for (const auto& name : archive.disk.names())
           archive.disk.put(name, Bytes(kSize.bytes(), std::byte{0x11}));
       },
       ErrorKind::damage},
  };
  for (const auto& silence : cases)
    for (const bool reversed : kBoth)
      for (const bool server : kBoth) {
        SCOPED_TRACE(::testing::Message() << silence.name << reversed << server);
        Scene scene;
        scene.reversed = reversed;
        WalBuilder wal(plain());
        if (server) scene.options.system_identifier = wal.options().system_identifier;
        scene.a.segments(wal, 1, 4).partial(wal, kSize.start(4) + 300'000);
        scene.b.segments(wal, 6, 9);
        silence.strike(scene.b);
        const auto outcome = scene.ask(1, 2);
        EXPECT_EQ(outcome.restored, true) << outcome.what;
        EXPECT_TRUE(scene.told(name_of(1, 2) + " was restored without /b, which does not answer"))
            << scene.log.text;
        for (const bool partial : kBoth) {
          scene.options.partial = partial;
          EXPECT_EQ(scene.ask(1, 4).error, silence.kind);
          EXPECT_EQ(scene.ask(1, 5).error, silence.kind);
          EXPECT_EQ(scene.ask("00000002.history").error, silence.kind);
          EXPECT_EQ(scene.ask("000000010000000000000002.00000028.backup").error, silence.kind);
        }
        // Not even where the end is asked for.
        scene.options.up_to_hole = true;
        EXPECT_EQ(scene.ask(1, 5).error, silence.kind);
      }
}

TEST(SeveralArchives, MayHaveAnEmptyOneIfThatIsSaid) {
  Scene scene;
  WalBuilder wal(plain());
  scene.a.segments(wal, 1, 4);
  scene.options.empty_is_absence = true;
  EXPECT_EQ(scene.ask(1, 2).restored, true);
  EXPECT_EQ(scene.ask(1, 4).restored, false);
  EXPECT_EQ(scene.log.text, "");
}

TEST(SeveralArchives, TellAnAbsenceOfAllOfThem) {
  struct Case {
    const char* name;
    std::vector<std::uint64_t> in_a, in_b;  ///< segments
    std::uint64_t asked;
    bool gap;
  };
  const Case cases[] = {
      {"both end before it", {1, 2, 3}, {1, 2}, 4, false},
      {"the one has more behind it", {1, 2}, {1, 2, 5}, 4, true},
      {"between the two", {1, 2}, {4, 5}, 3, true},
      {"before both", {3}, {2}, 1, true},
      {"behind the longer one", {1, 2}, {4, 5}, 6, false},
  };
  for (const auto& c : cases)
    for (const bool reversed : kBoth) {
      SCOPED_TRACE(c.name);
      Scene scene;
      scene.reversed = reversed;
      WalBuilder wal(plain());
      for (const auto segno : c.in_a) scene.a.segments(wal, segno, segno + 1);
      for (const auto segno : c.in_b) scene.b.segments(wal, segno, segno + 1);
      const auto outcome = scene.ask(1, c.asked);
      if (c.gap)
        EXPECT_EQ(outcome.error, ErrorKind::gap) << outcome.what;
      else
        EXPECT_EQ(outcome.restored, false) << outcome.what;
    }
}

TEST(SeveralArchives, TellAGapByWhatAnotherArchiveKnows) {
  WalBuilder wal(plain());
  wal.grow_to(kSize.start(7));
  const auto at = wal.fork_point(kSize.start(5) + 400'000);
  for (const bool reversed : kBoth) {
    SCOPED_TRACE(reversed);
    {
      Scene scene;  // the history is in the other archive
      scene.reversed = reversed;
      scene.a.segments(wal, 1, 3);
      scene.b.segments(wal, 1, 2).history(2, verify::history_line(1, at));
      EXPECT_EQ(scene.ask(1, 3).error, ErrorKind::gap);
      EXPECT_EQ(scene.ask(1, 5).restored, false);  // of timeline 1 not all of it need be there
    }
    {
      Scene scene;  // segments of a timeline, and its history nowhere
      scene.reversed = reversed;
      auto two = verify::promote(wal, at, 2, 9);
      scene.a.segments(wal, 1, 5);
      scene.b.segments(two, 6, 7);
      EXPECT_EQ(scene.ask("00000002.history").error, ErrorKind::gap);
      scene.a.history(2, verify::history_line(1, at));
      EXPECT_EQ(scene.ask("00000002.history").restored, true);
      EXPECT_EQ(scene.ask(2, 5).error, ErrorKind::gap);
      EXPECT_EQ(scene.ask(2, 3).restored, false);  // before the timeline's begin
    }
    {
      Scene scene;  // one receiver's unfinished segments in a row prove nothing, two archives' do
      scene.reversed = reversed;
      scene.a.segments(wal, 1, 3).partial(wal, kSize.start(3) + 300'000);
      scene.a.partial(wal, kSize.start(4) + 1);
      scene.b.segments(wal, 1, 2);
      EXPECT_EQ(scene.ask(1, 3).restored, false);
      scene.a.disk.erase(name_of(1, 4) + ".partial");
      scene.b.partial(wal, kSize.start(4) + 300'000);
      EXPECT_EQ(scene.ask(1, 3).error, ErrorKind::gap);
      scene.b.partial(wal, kSize.start(3) + 200'000);
      EXPECT_EQ(scene.ask(1, 3).restored, false);
    }
  }
}

archive::Loss hole(std::uint64_t first, std::uint64_t behind) {
  archive::Loss loss;
  loss.timeline = loss.next_timeline = 1;
  loss.begin = loss.sound_end = kSize.start(first);
  loss.end = kSize.start(behind);
  loss.segment_size = kSize;
  return loss;
}

/// Timelines 2 and 3 both left timeline 1 in segment 5.
TEST(SeveralArchives, FillNoHoleOnTheWayToOneTimelineWithASegmentOfAnother) {
  for (const bool reversed : kBoth) {
    SCOPED_TRACE(reversed);
    Scene scene;
    scene.reversed = reversed;
    WalBuilder one(plain());
    one.grow_to(kSize.start(6));
    const auto at = one.fork_point(kSize.start(5) + 300'000);
    auto two = verify::promote(one, at, 2, 41);
    two.grow_to(kSize.start(7));
    auto three = verify::promote(one, at, 3, 42);
    three.grow_to(kSize.start(8));
    scene.a.segments(one, 1, 5).history(3, verify::history_line(1, at));
    scene.a.partial(three, kSize.start(5) + 600'000).partial(three, kSize.start(6) + 300'000);
    auto loss = hole(5, 6);
    loss.next_timeline = 3;
    archive::record_loss(*scene.a.disk.open(), loss);
    scene.b.segments(one, 1, 5).history(2, verify::history_line(1, at)).segments(two, 5, 6);
    const auto outcome = scene.ask(3, 5);
    EXPECT_EQ(outcome.error, ErrorKind::gap) << outcome.what;
    scene.b.segments(three, 5, 6);
    EXPECT_EQ(scene.ask(3, 5).restored, true);
  }
}

/// There may be a thousand of them.
TEST(SeveralArchives, ReadHistoryFilesForHolesOnlyIfOneCrossesASwitch) {
  Scene scene;
  WalBuilder wal(plain());
  scene.a.segments(wal, 1, 3).segments(wal, 6, 7);
  scene.b.segments(wal, 1, 4).history(2, "1\t0/600000\tno reason\n");
  std::size_t reads = 0;
  const auto holes = [&] {
    reads = 0;
    return scene.with_shelves([&](Shelves shelves) {
      return Archives(shelves, scene.options, scene.log).known_holes(kSize);
    });
  };
  archive::record_loss(*scene.a.disk.open(), hole(3, 6));
  scene.b.disk.set_hook([&](const sim::SimDisk::Call& call) {
    if (call.operation == sim::SimDisk::Operation::open && call.name.ends_with(".history")) ++reads;
    return sim::SimDisk::Effect::proceed();
  });
  EXPECT_EQ(holes().size(), 1u);
  EXPECT_EQ(reads, 0u);
  auto loss = hole(4, 6);
  loss.next_timeline = 2;
  archive::record_loss(*scene.a.disk.open(), loss);
  EXPECT_EQ(holes().size(), 2u);
  EXPECT_GT(reads, 0u);
}

TEST(SeveralArchives, TakeNoRecordedHoleForOneThatTheOtherFills) {
  for (const bool reversed : kBoth) {
    Scene scene;
    scene.reversed = reversed;
    WalBuilder wal(plain());
    wal.grow_to(kSize.start(7));
    scene.a.segments(wal, 1, 3).partial(wal, kSize.start(6) + 300'000);
    archive::record_loss(*scene.a.disk.open(), hole(3, 6));
    scene.b.segments(wal, 3, 5);
    scene.options.up_to_hole = scene.options.partial = true;
    EXPECT_EQ(scene.ask(1, 3).restored, true);
    EXPECT_EQ(scene.ask(1, 4).restored, true);
    EXPECT_EQ(scene.log.text, "");
    // A part of it is left.
    scene.options.up_to_hole = false;
    EXPECT_EQ(scene.ask(1, 5).error, ErrorKind::gap);
    scene.options.up_to_hole = true;
    EXPECT_EQ(scene.ask(1, 5).restored, false);
    EXPECT_TRUE(scene.told("the recovery ends before this hole"));
    scene.b.segments(wal, 5, 6);
    EXPECT_EQ(scene.ask(1, 5).restored, true);
    const auto rest = scene.ask(1, 6);
    EXPECT_EQ(rest.restored, true) << rest.what;
    EXPECT_EQ(scene.ask(1, 7).restored, false);
  }
}

TEST(SeveralArchives, RestoreTheLongestOfSoundPartials) {
  WalBuilder wal(plain());
  wal.grow_to(kSize.start(4));
  const auto shorter = kSize.start(3) + 200'000;
  const auto longer = kSize.start(3) + 600'000;
  for (const bool reversed : kBoth) {
    SCOPED_TRACE(reversed);
    Scene scene;
    scene.reversed = reversed;
    scene.options.partial = true;
    scene.a.segments(wal, 1, 3).partial(wal, shorter);
    scene.b.segments(wal, 1, 3).partial(wal, longer, ArchiveBuilder::Tail::old);
    const auto cut = wal.complete_end(longer) - kSize.start(3);
    auto expected = copy(ArchiveBuilder::content(wal, 3));
    std::fill(expected.begin() + static_cast<std::ptrdiff_t>(cut), expected.end(), std::byte{});
    auto outcome = scene.ask(1, 3);
    EXPECT_EQ(outcome.restored, true) << outcome.what;
    EXPECT_EQ(outcome.content, expected);
    EXPECT_TRUE(scene.told("/b/" + name_of(1, 3) + ".partial")) << scene.log.text;

    // A finished one comes before all of them.
    scene.a.segments(wal, 3, 4);
    EXPECT_EQ(scene.ask(1, 3).content, copy(ArchiveBuilder::content(wal, 3)));
    scene.a.disk.erase(name_of(1, 3));

    // Damage before the end of what is known to be there: more would be lost.
    const auto file = name_of(1, 3) + ".partial";
    scene.b.flip(file, 300'000, 3);
    outcome = scene.ask(1, 3);
    EXPECT_EQ(outcome.error, ErrorKind::damage) << outcome.what;
    scene.options.partial_damaged = true;
    EXPECT_EQ(scene.ask(1, 3).restored, true);
    scene.options.partial_damaged = false;
    // Damage in the shorter one is passed over.
    scene.b.partial(wal, longer);
    scene.a.flip(file, 100'000, 3);
    scene.log.text.clear();
    outcome = scene.ask(1, 3);
    EXPECT_EQ(outcome.content, expected) << outcome.what;
    EXPECT_TRUE(scene.told("/a/" + file)) << scene.log.text;
    // The longest is damaged, and a shorter one is sound only up to before what is behind it.
    scene.a.partial(wal, kSize.start(3) + 400'000);
    scene.b.flip(file, 300'000, 3);
    EXPECT_EQ(scene.ask(1, 3).error, ErrorKind::damage);
    // The timeline was left before that: nobody wants what is behind.
    const auto switchpoint = wal.fork_point(kSize.start(3) + 350'000);
    scene.a.history(2, verify::history_line(1, switchpoint));
    outcome = scene.ask(1, 3);
    ASSERT_EQ(outcome.restored, true) << outcome.what;
    std::fill(expected.begin() + static_cast<std::ptrdiff_t>(kSize.offset(switchpoint)),
              expected.end(), std::byte{});
    EXPECT_EQ(outcome.content, expected);
  }
}

TEST(SeveralArchives, RefusePartialsOfTwoHistories) {
  WalBuilder wal(plain());
  wal.grow_to(kSize.start(4));
  auto other = wal.other_branch(wal.fork_point(kSize.start(3) + 100'000), 7, false);
  other.grow_to(kSize.start(4));
  Scene scene;
  scene.options.partial = true;
  scene.a.segments(wal, 1, 3).partial(wal, wal.complete_end(kSize.start(3) + 200'000));
  scene.b.segments(wal, 1, 3).partial(other, other.complete_end(kSize.start(3) + 500'000));
  const auto outcome = scene.ask(1, 3);
  EXPECT_EQ(outcome.error, ErrorKind::conflict) << outcome.what;
  EXPECT_NE(outcome.what.find("/a/"), std::string::npos);
  EXPECT_NE(outcome.what.find("/b/"), std::string::npos);
}

TEST(SeveralArchives, DoNotTakeAChangedByteOfAPartialForAnotherHistory) {
  WalBuilder wal(plain());
  wal.grow_to(kSize.start(2) + 1'000'000);
  wal.append_random(70'000);  // over the boundary
  wal.grow_to(kSize.start(4));
  const auto& records = wal.records();
  const auto padded = std::find_if(records.begin(), records.end(), [](const auto& record) {
    return record.start > kSize.start(3) + 100'000 && record.length % 8 == 1 &&
           record.start.byte() / wal::kPageSize == (record.end.byte() - 1) / wal::kPageSize;
  });
  const auto padding = kSize.offset(wal::Lsn(padded->end.byte() - 1));
  constexpr std::uint64_t kHeader = 9 * wal::kPageSize + 21, kOverBoundary = 1'000;
  const auto file = name_of(1, 3) + ".partial";
  for (const bool longest : kBoth)
    for (const auto changed : {padding, kHeader, kOverBoundary})
      for (const bool reversed : kBoth) {
        SCOPED_TRACE(::testing::Message() << longest << changed << reversed);
        Scene scene;
        scene.reversed = reversed;
        scene.options.partial = true;
        scene.a.segments(wal, 1, 3).partial(wal, kSize.start(3) + (longest ? 400'000 : 600'000));
        scene.b.segments(wal, 1, 3).partial(wal, kSize.start(3) + 500'000);
        scene.b.flip(file, changed, 4);
        const auto outcome = scene.ask(1, 3);
        EXPECT_NE(scene.told("differ in bytes that no reader uses"), changed == kOverBoundary);
        if (changed == kOverBoundary && longest) {
          EXPECT_EQ(outcome.error, ErrorKind::damage) << outcome.what;
          EXPECT_NE(outcome.what.find("/b/" + file), std::string::npos) << outcome.what;
          continue;
        }
        EXPECT_EQ(outcome.restored, true) << outcome.what;
        EXPECT_TRUE(scene.told("/b/" + file)) << scene.log.text;
      }
}

TEST(SeveralArchives, HaveOneHistoryOfATimeline) {
  WalBuilder wal(plain());
  wal.grow_to(kSize.start(5));
  const auto at = wal.fork_point(kSize.start(3) + 400'000);
  auto two = verify::promote(wal, at, 2, 9);
  const auto line = verify::history_line(1, at);
  for (const bool reversed : kBoth) {
    Scene scene;
    scene.reversed = reversed;
    scene.a.segments(wal, 1, 3).segments(two, 3, 4);
    scene.b.segments(wal, 1, 3);
    scene.b.history(2, line);
    EXPECT_EQ(scene.ask("00000002.history").content, test::bytes_of(line));
    // Comments are no difference.
    scene.a.history(2, "1\t" + at.to_string() + "\tbefore 2026-11-20\n");
    EXPECT_EQ(scene.ask("00000002.history").restored, true);
    EXPECT_EQ(scene.log.text, "");
    // One that is not what the WAL says.
    scene.a.history(2, verify::history_line(1, at + 8));
    const auto wrong = scene.ask("00000002.history");
    EXPECT_NE(wrong.restored, false) << wrong.what;
    if (wrong.restored) {
      EXPECT_EQ(wrong.content, test::bytes_of(line));
      EXPECT_TRUE(scene.told("/a/00000002.history")) << scene.log.text;
    }
    scene.a.history(2, "rubbish");
    scene.log.text.clear();
    const auto outcome = scene.ask("00000002.history");
    EXPECT_EQ(outcome.content, test::bytes_of(line)) << outcome.what;
    EXPECT_TRUE(scene.told("/a/00000002.history")) << scene.log.text;
  }
  Scene scene;  // nothing of the timeline tells which is right
  scene.a.segments(wal, 1, 3).history(2, line);
  scene.b.segments(wal, 1, 3).history(2, verify::history_line(1, at + 8));
  EXPECT_EQ(scene.ask("00000002.history").error, ErrorKind::conflict);
}

TEST(SeveralArchives, HaveOneBackupHistory) {
  const std::string file = "000000010000000000000002.00000028.backup";
  Scene scene;
  WalBuilder wal(plain());
  scene.a.segments(wal, 1, 3);
  scene.b.segments(wal, 1, 3);
  EXPECT_EQ(scene.ask(file).restored, false);
  scene.b.disk.put(file, test::as_bytes("START WAL LOCATION"));
  EXPECT_EQ(scene.ask(file).content, test::bytes_of("START WAL LOCATION"));
  scene.a.disk.put(file, test::as_bytes("START WAL LOCATION"));
  EXPECT_EQ(scene.ask(file).restored, true);
  scene.a.disk.put(file, test::as_bytes("another one"));
  EXPECT_EQ(scene.ask(file).error, ErrorKind::conflict);
}

/// The segment before is in the one archive, the segment itself in the other.
TEST(SeveralArchives, CheckTheRecordOverABorderBetweenThem) {
  WalBuilder wal(plain());
  wal.append_random(static_cast<std::uint32_t>(kSize.bytes() * 3 / 2));  // crosses into segment 2
  wal.grow_to(kSize.start(5));
  auto other = WalBuilder([] {
    auto options = plain();
    options.seed = 77;
    return options;
  }());
  other.append_random(static_cast<std::uint32_t>(kSize.bytes() * 3 / 2));
  other.grow_to(kSize.start(5));
  for (const bool server : kBoth) {
    SCOPED_TRACE(server);
    Scene scene;
    if (server) scene.options.system_identifier = wal.options().system_identifier;
    scene.a.segments(wal, 1, 2);
    scene.b.segments(other, 2, 3);
    if (server) scene.target.put(name_of(1, 1), ArchiveBuilder::content(wal, 1));
    EXPECT_EQ(scene.ask(1, 2).error, ErrorKind::damage);
    scene.b.segments(wal, 2, 3);
    EXPECT_EQ(scene.ask(1, 2).restored, true);
    EXPECT_EQ(scene.ask(1, 1).restored, true);
    // A neighbour that is damaged in one archive does not speak against a sound copy.
    if (server) continue;
    scene.b.segments(wal, 1, 2);
    scene.a.flip(name_of(1, 1), 900'000, 1);
    scene.a.segments(wal, 2, 3);
    EXPECT_EQ(scene.ask(1, 2).restored, true);
    const auto outcome = scene.ask(1, 1);
    EXPECT_EQ(outcome.content, copy(ArchiveBuilder::content(wal, 1))) << outcome.what;
  }
}

TEST(SeveralArchives, AreNotAllLookedAtIfTheFirstSoundCopyWillDo) {
  Scene scene;
  WalBuilder wal(plain());
  scene.options.first_sound = true;
  scene.options.system_identifier = wal.options().system_identifier;
  scene.a.segments(wal, 1, 4);
  scene.b.segments(wal, 2, 5);
  scene.b.disk.fail_every(sim::SimDisk::Operation::open, EIO);
  EXPECT_EQ(scene.ask(1, 2).restored, true);
  EXPECT_EQ(scene.log.text, "");
  EXPECT_EQ(scene.ask(1, 4).error, ErrorKind::io);
}

TEST(SeveralArchives, AreNotAskedAtAllIfTheFirstSoundCopyWillDo) {
  // One that hangs would be waited for at each call.
  WalBuilder wal(plain());
  wal.grow_to(kSize.start(1) + 900'000);
  wal.append_random(2 * 1024 * 1024);  // a long record, and a border that one alone cannot tell
  wal.grow_to(kSize.start(6));
  for (const bool told : kBoth)
    for (const std::uint64_t segno : {1, 2, 3, 4}) {
      Scene scene;
      scene.options.first_sound = true;
      if (told) scene.options.system_identifier = wal.options().system_identifier;
      scene.a.segments(wal, segno, 6);
      scene.b.segments(wal, 1, 6);
      std::uint64_t calls = 0;
      scene.b.disk.set_hook([&](const sim::SimDisk::Call&) {
        ++calls;
        return sim::SimDisk::Effect::proceed();
      });
      const auto outcome = scene.ask(1, segno);
      EXPECT_EQ(outcome.restored, true) << outcome.what;
      EXPECT_EQ(calls, 0u) << segno;
    }
}

TEST(SeveralArchives, AreFetchedAheadOnlyIfAllCopiesAgree) {
  class Kept final : public Output {
   public:
    void expect(std::uint64_t) override {}
    bool append(std::span<const std::byte> bytes) override {
      content.insert(content.end(), bytes.begin(), bytes.end());
      return true;
    }
    std::size_t read_at(std::uint64_t offset, std::span<std::byte> bytes) override {
      const auto count = std::min<std::size_t>(bytes.size(), content.size() - offset);
      std::copy_n(content.begin() + static_cast<std::ptrdiff_t>(offset), count, bytes.begin());
      return count;
    }
    std::uint64_t size() override { return content.size(); }
    test::Bytes content;
  };
  WalBuilder wal(plain());
  wal.grow_to(kSize.start(4));
  auto other = wal.other_branch(wal.fork_point(kSize.start(2) + 500'000), 7, false);
  Scene scene;
  scene.options.system_identifier = wal.options().system_identifier;
  scene.a.segments(wal, 1, 2).segments(wal, 2, 3);
  scene.b.segments(wal, 2, 4);
  const auto fetch = [&](std::uint64_t segno) -> std::optional<Fetched> {
    Kept kept;
    try {
      auto fetched = scene.with_shelves([&](Shelves shelves) {
        return fetch_segment(shelves, wal::SegmentName(1, segno, kSize), kept, scene.options);
      });
      if (fetched) {
        EXPECT_EQ(kept.content, copy(ArchiveBuilder::content(wal, segno)));
      }
      return fetched;
    } catch (const Error&) {
      return std::nullopt;
    }
  };
  ASSERT_TRUE(fetch(1));
  EXPECT_EQ(fetch(1)->archive, 0u);
  ASSERT_TRUE(fetch(3));
  EXPECT_EQ(fetch(3)->archive, 1u);
  EXPECT_EQ(fetch(3)->silent, 0u);
  EXPECT_TRUE(fetch(2));
  scene.b.segments(other, 2, 3);
  EXPECT_FALSE(fetch(2));
  scene.b.segments(wal, 2, 3).flip(name_of(1, 2), 500'000, 1);
  EXPECT_FALSE(fetch(2)) << "who asks for it is to be told of the damage";
  scene.b.disk.set_hook([](const auto&) { return sim::SimDisk::Effect::fail(EIO); });
  ASSERT_TRUE(fetch(2));
  EXPECT_EQ(fetch(2)->silent, 2u);
  EXPECT_FALSE(fetch(3));
}

// ---- moments

TEST(SeveralArchives, AreSearchedForAMomentTogether) {
  WalBuilder wal(plain());
  std::vector<Commit> commits;
  for (std::int64_t second = 1; wal.end() < kSize.start(9); ++second) {
    for (int i = 0; i < 5; ++i) wal.append_random(20'000);
    std::array<std::byte, 10> body{std::byte{255}, std::byte{8}};
    const std::int64_t time = second * 1'000'000;
    std::memcpy(body.data() + 2, &time, sizeof(time));
    const auto record = wal.append(1, 0, body);
    commits.push_back({record.start, record.end, 0, {time}});
  }
  std::erase_if(commits,
                [](const Commit& commit) { return commit.end > kSize.start(8) + 300'000; });
  Scene scene;
  scene.a.segments(wal, 1, 4).segments(wal, 6, 7).partial(wal, kSize.start(8) + 100'000);
  scene.b.segments(wal, 3, 8).partial(wal, kSize.start(8) + 300'000);
  archive::record_loss(*scene.a.disk.open(), hole(4, 6));
  const auto find = [&](std::size_t i) {
    return scene.with_shelves([&](Shelves shelves) {
      return find_time(shelves, commits[i].time, std::nullopt, nullptr, scene.log);
    });
  };
  const auto expect_all = [&] {
    for (std::size_t i = 0; i < commits.size(); ++i) {
      SCOPED_TRACE(i);
      const auto moment = find(i);
      ASSERT_TRUE(moment && moment->before);
      EXPECT_EQ(moment->before->start, commits[i].start);
      EXPECT_EQ(moment->after.has_value(), i + 1 < commits.size());
      EXPECT_FALSE(moment->hole);
      EXPECT_FALSE(moment->backup_from);
      const auto by_lsn = scene.with_shelves([&](Shelves shelves) {
        return find_lsn(shelves, commits[i].end, std::nullopt, nullptr, scene.log);
      });
      ASSERT_TRUE(by_lsn && by_lsn->before);
      EXPECT_EQ(by_lsn->before->start, commits[i].start);
    }
  };
  expect_all();
  EXPECT_EQ(scene.log.text, "");
  // A damaged copy is passed over.
  scene.a.flip(name_of(1, 3), 400'000, 2);
  expect_all();
  EXPECT_TRUE(scene.told("/a/" + name_of(1, 3))) << scene.log.text;
  // And where nobody has another one, it is told.
  scene.a.flip(name_of(1, 2), 400'000, 2);
  const auto at_damage = [&] {
    return scene.with_shelves([&](Shelves shelves) {
      return find_lsn(shelves, kSize.start(2) + 500'000, std::nullopt, nullptr, scene.log);
    });
  };
  EXPECT_THROW(static_cast<void>(at_damage()), Error);
  // A hole of both is one.
  scene.b.disk.erase(name_of(1, 5));
  const auto last = std::find_if(commits.begin(), commits.end(),
                                 [](const Commit& commit) { return commit.end > kSize.start(5); }) -
                    1;
  const auto before_hole = find(static_cast<std::size_t>(last - commits.begin()));
  ASSERT_TRUE(before_hole && before_hole->before && before_hole->hole);
  EXPECT_EQ(before_hole->hole->end, kSize.start(6));
  EXPECT_TRUE(before_hole->needs_up_to_hole);
  // The end of the recorded hole, which the other one has, is none.
  scene.b.segments(wal, 5, 6).disk.erase(name_of(1, 4));
  const auto later = std::find_if(commits.begin(), commits.end(), [](const Commit& commit) {
    return commit.start >= kSize.start(6);
  });
  const auto behind_hole = scene.with_shelves([&](Shelves shelves) {
    return find_lsn(shelves, later->end, std::nullopt, nullptr, scene.log);
  });
  ASSERT_TRUE(behind_hole && behind_hole->before);
  EXPECT_EQ(behind_hole->before->start, later->start);
  EXPECT_EQ(behind_hole->backup_from, kSize.start(5));
}

TEST(SeveralArchives, TellALostBranchThatOneOfThemKnows) {
  Scene scene;
  WalBuilder wal(plain());
  scene.a.segments(wal, 1, 3);
  scene.b.segments(wal, 1, 3);
  auto loss = hole(2, 3);
  loss.kind = archive::Loss::Kind::lost_branch;
  loss.next_timeline = 2;
  loss.begin = kSize.start(2) + 8;
  archive::record_loss(*scene.b.disk.open(), loss);
  const auto lost = [&](wal::TimelineId timeline) {
    Moment moment;
    moment.timeline = timeline;
    return scene.with_shelves(
        [&](Shelves shelves) { return lost_branches(shelves, moment, scene.log); });
  };
  EXPECT_EQ(lost(2).size(), 1u);
  EXPECT_EQ(lost(1).size(), 0u);
  archive::record_loss(*scene.a.disk.open(), loss);
  EXPECT_EQ(lost(2).size(), 1u) << "each once";
}

// ---- faults

/// A call of one archive's file system fails, whichever it is: the answer is the one that would
/// have been given without the fault, or an error; where the other archive has the file, the file.
TEST(SeveralArchives, FailAtEveryCallWithoutAWrongResult) {
  WalBuilder wal(plain());
  wal.grow_to(kSize.start(7));
  const auto at = wal.fork_point(kSize.start(5) + 400'000);
  Scene scene;
  scene.options.partial = true;
  scene.a.segments(wal, 1, 3).partial(wal, wal.complete_end(kSize.start(5) + 200'000));
  scene.b.segments(wal, 2, 5).partial(wal, wal.complete_end(kSize.start(5) + 300'000));
  scene.a.flip(name_of(1, 2), 500'000, 1);
  scene.b.history(2, verify::history_line(1, at));
  struct Case {
    std::string file;
    bool in_a, in_b;  ///< sound
  };
  const Case cases[] = {{name_of(1, 1), true, false},      {name_of(1, 2), false, true},
                        {name_of(1, 3), false, true},      {name_of(1, 5), true, true},
                        {"00000002.history", false, true}, {name_of(1, 6), false, false},
                        {"00000003.history", false, false}};
  for (const bool server : kBoth)
    for (const auto& c : cases) {
      if (server) scene.options.system_identifier = wal.options().system_identifier;
      const auto right = scene.ask(c.file);
      ASSERT_EQ(right.restored, c.in_a || c.in_b) << c.file << right.what;
      for (const bool in_b : kBoth) {
        auto& disk = (in_b ? scene.b : scene.a).disk;
        std::uint64_t faults = 0;
        for (std::uint64_t call = 1;; ++call) {
          SCOPED_TRACE(::testing::Message() << c.file << server << in_b << call);
          bool failed = false;
          disk.reset_calls();
          disk.set_hook([&](const sim::SimDisk::Call& one) {
            if (one.number != call) return sim::SimDisk::Effect::proceed();
            failed = true;
            return sim::SimDisk::Effect::fail(EIO);
          });
          const auto outcome = scene.ask(c.file);
          disk.set_hook({});
          if (!failed) break;
          ++faults;
          if (outcome.restored) {
            EXPECT_EQ(outcome.restored, right.restored) << outcome.what;
            EXPECT_EQ(outcome.content, right.content);
          }
        }
        EXPECT_GT(faults, 0u);
      }
    }
}

// ---- random damage

/// Two archives of one history: each has some of it, some of that damaged, and a .partial. Whatever
/// is asked for, the answer is what was written, or an error; never other bytes, never an absence
/// of what one of them has or of what was there.
TEST(SeveralArchives, NeverGiveWhatIsWrongWhateverIsDamaged) {
  const auto seed = testing::test_seed(1120);
  constexpr unsigned kRounds = 15;
  int restored = 0, refused = 0, mended = 0;
  for (unsigned round = 0; round < kRounds; ++round) {
    std::mt19937_64 random(seed + round);
    SCOPED_TRACE(seed + round);
    constexpr std::uint64_t kBehind = 7;
    WalBuilder::Options made;
    made.seed = seed + round;
    made.switch_every = 0;  // behind a switch any bytes are legal
    WalBuilder wal(made);
    wal.grow_to(kSize.start(kBehind) + kSize.bytes() / 2);
    auto foreign = made;
    foreign.system_identifier += 1;
    WalBuilder other_cluster(foreign);
    other_cluster.grow_to(wal.end());
    Scene scene;
    scene.options.partial = true;
    const bool server = random() % 2 == 0;
    if (server) scene.options.system_identifier = made.system_identifier;
    std::vector<int> sound(kBehind), there(kBehind);
    for (auto& archive : scene.archives)
      for (std::uint64_t segno = 1; segno < kBehind; ++segno) {
        if (random() % 4 == 0) continue;
        const auto method = kMethods[random() % 4];
        auto raw = copy(ArchiveBuilder::content(wal, segno));
        const auto file = ArchiveBuilder::name(wal, segno, method);
        ++there[segno];
        switch (random() % 12) {
          case 0:
            for (int i = 0; i < 20; ++i) raw[random() % raw.size()] ^= std::byte{1};
            archive.disk.put(file, verify::packed(method, raw));
            break;
          case 1: {
            auto bytes = verify::packed(method, raw);
            bytes.resize(random() % bytes.size());
            archive.disk.put(file, bytes);
            break;
          }
          case 2:
            archive.disk.put(file,
                             verify::packed(method, ArchiveBuilder::content(other_cluster, segno)));
            break;
          case 3: {
            auto branch =
                wal.other_branch(wal.fork_point(kSize.start(segno) + kSize.bytes() / 2), 5, true);
            archive.disk.put(file, verify::packed(method, ArchiveBuilder::content(branch, segno)));
            break;
          }
          default:
            archive.disk.put(file, verify::packed(method, raw));
            ++sound[segno];
        }
      }
    // What lies behind proves each of them.
    scene.archives[random() % 2].partial(
        wal, wal.complete_end(kSize.start(kBehind) + kSize.bytes() / 3));
    for (std::uint64_t segno = 1; segno < kBehind; ++segno) {
      scene.log.text.clear();
      const auto outcome = scene.ask(1, segno);
      const auto truth = copy(ArchiveBuilder::content(wal, segno));
      ASSERT_NE(outcome.restored, false) << segno << ": told as absent: " << outcome.what;
      if (outcome.restored && sound[segno] > 0) {
        ASSERT_EQ(outcome.content, truth) << segno << ": other bytes";
      }
      restored += outcome.restored ? 1 : 0;
      refused += outcome.error ? 1 : 0;
      mended += outcome.restored && sound[segno] < there[segno] ? 1 : 0;
      if (outcome.restored && server) scene.target.put(name_of(1, segno), outcome.content);
      if (!outcome.restored && server) scene.target.put(name_of(1, segno), truth);
    }
  }
  EXPECT_GT(restored, 20);
  EXPECT_GT(refused, 8);
  EXPECT_GT(mended, 2);
}

}  // namespace
}  // namespace weir::restore::several_archives_test

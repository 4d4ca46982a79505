#include "restore/restore.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <functional>
#include <map>
#include <random>

#include "archive/home.h"
#include "archive/losses.h"
#include "archive/own_names.h"
#include "base/error.h"
#include "codec/codec.h"
#include "restore/left.h"
#include "store/ledger/mark.h"
#include "support/archive_builder.h"
#include "support/bytes.h"
#include "support/just_changed.h"
#include "support/sim_disk.h"
#include "support/wal_builder.h"
#include "wal/page.h"

namespace weir::restore::restore_test {
namespace {

using codec::Method;
using test::Bytes;
using weir::testing::WalBuilder;

const wal::SegmentSize kSize = *wal::SegmentSize::of(1 << 20);
constexpr Method kMethods[] = {Method::none, Method::gzip, Method::lz4, Method::zstd};

Bytes pack(std::span<const std::byte> raw, Method method) {
  if (method == Method::none) return {raw.begin(), raw.end()};
  Bytes packed;
  const auto sink = [&](std::span<const std::byte> piece) {
    packed.insert(packed.end(), piece.begin(), piece.end());
  };
  const int level = method == Method::zstd ? 3 : 1;
  const auto compressor = codec::make_compressor({method, level}, raw.size());
  compressor->feed(raw, sink);
  compressor->finish(sink);
  return packed;
}

std::string name_of(wal::TimelineId timeline, std::uint64_t segno) {
  return wal::SegmentName(timeline, segno, kSize).to_string();
}

/// WAL without xlog-switches: behind one, any bytes are legal.
WalBuilder::Options plain() { return {.switch_every = 0}; }

class Messages final : public Log {
 public:
  void write(LogLevel, std::string_view message) override { text += std::string(message) + "\n"; }
  bool enabled(LogLevel) const override { return true; }
  std::string text;
};

/// A directory with the times at which its files were written; any others were written at first.
class Written final : public test::JustChanged {
 public:
  using Times = std::map<std::string, std::chrono::seconds>;
  Written(std::unique_ptr<io::Directory> of, Times times)
      : JustChanged(std::move(of)), times_(std::move(times)) {}
  std::optional<io::DirectoryEntry> find(const std::string& name) override {
    auto entry = JustChanged::find(name);
    if (entry) entry->modified = std::chrono::system_clock::time_point(times_[name]);
    return entry;
  }

 private:
  Times times_;
};

/// An archive, and the directory the server wants its file in.
struct Scene {
  sim::SimDisk archive;
  sim::SimDisk target;
  Written::Times written;
  Messages log;
  Options options;

  struct Outcome {
    std::optional<bool> restored;  ///< nullopt: an error
    std::optional<ErrorKind> error;
    std::string what;
    Bytes content;
  };

  static std::span<const std::byte> segment(WalBuilder& wal, std::uint64_t segno) {
    return wal.bytes(kSize.start(segno), kSize.start(segno + 1));
  }

  void put(WalBuilder& wal, std::uint64_t segno, Method method = Method::none,
           const std::string& suffix = "") {
    archive.put(
        name_of(wal.options().timeline, segno) + std::string(codec::suffix(method)) + suffix,
        pack(segment(wal, segno), method));
  }
  void put_partial(WalBuilder& wal, wal::Lsn end) {
    const auto segno = kSize.segno(end);
    const auto bytes = wal.bytes(kSize.start(segno), end);
    Bytes content(bytes.begin(), bytes.end());
    content.resize(kSize.bytes());
    archive.put(name_of(wal.options().timeline, segno) + ".partial", content);
  }

  Outcome ask(const std::string& file, const std::string& name = "RECOVERYXLOG") {
    Outcome outcome;
    const auto from = archive.open();
    const auto to = std::make_unique<Written>(target.open(), written);
    try {
      const auto result = restore_file(*from, parse_request(file), *to, name, options, log);
      outcome.restored = result.restored;
      outcome.what = result.why;
    } catch (const Error& error) {
      outcome.error = error.kind();
      outcome.what = std::string(error.what()) + " | " + error.hint();
    }
    if (target.exists(name)) {
      outcome.content = target.content(name);
      EXPECT_EQ(outcome.restored, true) << "something stands there without success";
      target.erase(name);
    } else {
      EXPECT_NE(outcome.restored, true) << "success, and nothing stands there";
    }
    for (const auto& left : target.names())
      EXPECT_FALSE(left.starts_with(".")) << "left over: " << left;
    return outcome;
  }
  Outcome ask(wal::TimelineId timeline, std::uint64_t segno) {
    return ask(name_of(timeline, segno));
  }
};

Bytes copy(std::span<const std::byte> bytes) { return {bytes.begin(), bytes.end()}; }

TEST(RestoreFile, RestoresASegmentFromEveryForm) {
  for (const auto method : kMethods) {
    SCOPED_TRACE(static_cast<int>(method));
    Scene scene;
    WalBuilder wal(plain());
    for (std::uint64_t segno = 1; segno < 5; ++segno) scene.put(wal, segno, method);
    for (std::uint64_t segno = 1; segno < 5; ++segno) {
      const auto outcome = scene.ask(1, segno);
      EXPECT_EQ(outcome.restored, true) << outcome.what;
      EXPECT_EQ(outcome.content, copy(Scene::segment(wal, segno)));
    }
    EXPECT_EQ(scene.ask(1, 5).restored, false);
    EXPECT_EQ(scene.log.text, "");
  }
}

TEST(RestoreFile, RestoresSegmentsInWhichNoRecordBegins) {
  Scene scene;
  WalBuilder wal(plain());
  wal.append_random(static_cast<std::uint32_t>(3 * kSize.bytes()));
  for (std::uint64_t segno = 1; segno < 5; ++segno) scene.put(wal, segno, Method::zstd);
  for (std::uint64_t segno = 1; segno < 5; ++segno) {
    const auto outcome = scene.ask(1, segno);
    EXPECT_EQ(outcome.restored, true) << outcome.what;
    EXPECT_EQ(outcome.content, copy(Scene::segment(wal, segno)));
  }
}

TEST(RestoreFile, DoesNotListTheArchiveForASegmentThatIsThere) {
  Scene scene;
  WalBuilder wal(plain());
  scene.options.system_identifier = wal.options().system_identifier;
  scene.put(wal, 1);
  scene.put(wal, 2, Method::zstd);
  scene.archive.fail_every(sim::SimDisk::Operation::list, EIO);
  EXPECT_EQ(scene.ask(1, 1).restored, true);
  EXPECT_EQ(scene.ask(1, 2).restored, true);
  EXPECT_EQ(scene.ask(1, 3).error, ErrorKind::io);
}

TEST(RestoreFile, TellsTheEndFromAGapAndFromAnEmptyDirectory) {
  Scene scene;
  EXPECT_EQ(scene.ask(1, 1).error, ErrorKind::gap);
  EXPECT_EQ(scene.ask("00000002.history").error, ErrorKind::gap);
  EXPECT_EQ(scene.ask("000000010000000000000002.00000028.backup").error, ErrorKind::gap);
  scene.options.empty_is_absence = true;
  EXPECT_EQ(scene.ask(1, 1).restored, false);
  EXPECT_EQ(scene.ask("00000002.history").restored, false);
  scene.options.empty_is_absence = false;

  WalBuilder wal(plain());
  scene.put(wal, 1);
  scene.put(wal, 3);
  EXPECT_EQ(scene.ask(1, 2).error, ErrorKind::gap);
  EXPECT_EQ(scene.ask(1, 4).restored, false);
  EXPECT_EQ(scene.ask("00000002.history").restored, false);
  EXPECT_EQ(scene.ask("000000010000000000000002.00000028.backup").restored, false);
  scene.options.gap_is_absence = true;
  EXPECT_EQ(scene.ask(1, 2).restored, false);
  EXPECT_NE(scene.log.text.find("missing in the archive"), std::string::npos);
}

/// A server renames old segments in its pg_wal for later use.
TEST(RestoreFile, SaysWhatARecycledFileIs) {
  Scene scene;
  WalBuilder wal(plain());
  wal.grow_to(kSize.start(8));
  for (const std::uint64_t segno : {4, 5}) scene.put(wal, segno);
  const auto end = wal.fork_point(kSize.start(6) + 500'000);
  auto last = copy(wal.bytes(kSize.start(6), end));
  const auto old = wal.bytes(kSize.start(3) + last.size(), kSize.start(4));
  last.insert(last.end(), old.begin(), old.end());
  scene.archive.put(name_of(1, 6), last);
  scene.archive.put(name_of(1, 7), copy(Scene::segment(wal, 2)));
  EXPECT_EQ(scene.ask(1, 5).restored, true);
  auto outcome = scene.ask(1, 6);
  EXPECT_EQ(outcome.error, ErrorKind::damage);
  EXPECT_NE(outcome.what.find("rename it to <name>.partial"), std::string::npos) << outcome.what;
  outcome = scene.ask(1, 7);
  EXPECT_EQ(outcome.error, ErrorKind::damage);
  EXPECT_NE(outcome.what.find("(old content of a recycled file)"), std::string::npos)
      << outcome.what;
  EXPECT_NE(outcome.what.find("which prepares files for later use"), std::string::npos)
      << outcome.what;
}

TEST(RestoreFile, SaysThatTheObjectStoreHasAMissingSegment) {
  Scene scene;
  WalBuilder wal(plain());
  for (const std::uint64_t segno : {5, 6, 8}) scene.put(wal, segno);
  const auto names_store = [&](std::uint64_t segno) {
    const auto outcome = scene.ask(1, segno);
    EXPECT_EQ(outcome.error, ErrorKind::gap);
    return outcome.what.find("add --store") != std::string::npos;
  };
  EXPECT_FALSE(names_store(4));
  store::Mark mark{.system_identifier = wal.options().system_identifier, .segment_size = kSize};
  for (const std::uint64_t segno : {3, 4, 5, 6}) mark.add(wal::SegmentName(1, segno, kSize));
  const auto keep = [&] {
    const auto directory = scene.archive.open();
    archive::DirectoryHome home(*directory);
    store::keep_mark(home, mark);
  };
  keep();
  EXPECT_TRUE(names_store(3));
  EXPECT_TRUE(names_store(4));
  EXPECT_FALSE(names_store(2));
  EXPECT_FALSE(names_store(7)) << "it was not uploaded";
  scene.options.store = 0;
  EXPECT_FALSE(names_store(4)) << "the store lacks it";
  scene.options.store.reset();
  ++mark.system_identifier;
  keep();
  EXPECT_FALSE(names_store(4)) << "of another cluster";
}

/// A copy of the archive that is not complete: its records name later files.
TEST(RestoreFile, MissesWhatWasUploadedFromTheArchive) {
  Scene scene;
  WalBuilder wal(plain());
  for (const std::uint64_t segno : {4, 5, 6}) scene.put(wal, segno);
  store::Mark mark{.system_identifier = wal.options().system_identifier, .segment_size = kSize};
  for (const std::uint64_t segno : {3, 4, 5, 6, 7, 8}) mark.add(wal::SegmentName(1, segno, kSize));
  mark.add_history(2);
  const auto keep = [&] {
    const auto directory = scene.archive.open();
    archive::DirectoryHome home(*directory);
    store::keep_mark(home, mark);
  };
  const auto is_gap = [&](const std::string& file) {
    const auto outcome = scene.ask(file);
    EXPECT_TRUE(outcome.restored == false || outcome.error == ErrorKind::gap) << outcome.what;
    return outcome.error == ErrorKind::gap;
  };
  EXPECT_FALSE(is_gap(name_of(1, 7)));
  keep();
  const auto segment = scene.ask(1, 7);
  EXPECT_EQ(segment.error, ErrorKind::gap);
  EXPECT_NE(segment.what.find("according to .pgweir-store, " + name_of(1, 8) + " was uploaded"),
            std::string::npos)
      << segment.what;
  EXPECT_NE(segment.what.find("add --store"), std::string::npos) << segment.what;
  const auto history = scene.ask("00000002.history");
  EXPECT_EQ(history.error, ErrorKind::gap);
  EXPECT_NE(history.what.find("according to .pgweir-store, timeline 2 existed"), std::string::npos)
      << history.what;
  EXPECT_NE(history.what.find("remove .pgweir-store from"), std::string::npos) << history.what;
  EXPECT_TRUE(is_gap(name_of(1, 8)));
  EXPECT_FALSE(is_gap(name_of(1, 9))) << "it was not uploaded";
  EXPECT_FALSE(is_gap("00000003.history"));
  scene.options.standby = true;
  EXPECT_FALSE(is_gap(name_of(1, 7))) << "it requests the segment again";
  EXPECT_TRUE(is_gap("00000002.history"));
  scene.options.standby = false;
  scene.options.gap_is_absence = true;
  EXPECT_FALSE(is_gap(name_of(1, 7)));
  EXPECT_FALSE(is_gap("00000002.history"));
  scene.options.gap_is_absence = false;
  scene.options.store = 0;
  EXPECT_FALSE(is_gap(name_of(1, 7))) << "the store itself is asked";
  scene.options.store.reset();
  scene.archive.put("00000002.history", test::bytes_of("1\t0/600010\tno reason\n"));
  EXPECT_FALSE(is_gap(name_of(1, 7))) << "timeline 2 left timeline 1 before it";
  scene.archive.erase("00000002.history");
  ++mark.system_identifier;
  keep();
  EXPECT_FALSE(is_gap(name_of(1, 7))) << "of another cluster";
  EXPECT_FALSE(is_gap("00000002.history"));
  --mark.system_identifier;
  mark.add(wal::SegmentName(2, 3, kSize));
  keep();
  EXPECT_FALSE(is_gap(name_of(2, 2))) << "it is before the archive's first segment";
  for (const std::uint64_t segno : {7, 8}) scene.put(wal, segno, Method::zstd);
  EXPECT_FALSE(is_gap(name_of(1, 9)));
}

TEST(RestoreFile, MissesTheHistoryThatTheRecordOfALostBranchNames) {
  Scene scene;
  WalBuilder wal(plain());
  for (const std::uint64_t segno : {4, 5, 6}) scene.put(wal, segno);
  archive::Loss loss{.kind = archive::Loss::Kind::lost_branch,
                     .timeline = 1,
                     .next_timeline = 3,
                     .begin = kSize.start(5),
                     .end = kSize.start(7),
                     .system_identifier = wal.options().system_identifier,
                     .segment_size = kSize};
  const auto record = [&] { archive::record_loss(*scene.archive.open(), loss); };
  EXPECT_EQ(scene.ask("00000003.history").restored, false);
  record();
  const auto outcome = scene.ask("00000003.history");
  EXPECT_EQ(outcome.error, ErrorKind::gap);
  const auto name = ".pgweir-loss-" + loss.id();
  EXPECT_NE(outcome.what.find("according to " + name + ", timeline 3 existed"), std::string::npos)
      << outcome.what;
  EXPECT_NE(outcome.what.find("remove " + name), std::string::npos) << outcome.what;
  EXPECT_EQ(scene.ask("00000002.history").restored, false) << "no record of timeline 2";
  EXPECT_EQ(scene.ask(1, 7).restored, false);
  // Also if the copy ends before the branch, so that the loss is not open.
  scene.archive.erase(name_of(1, 5));
  scene.archive.erase(name_of(1, 6));
  EXPECT_EQ(scene.ask("00000003.history").error, ErrorKind::gap);
  ++loss.system_identifier;
  scene.archive.erase(name);
  record();
  EXPECT_EQ(scene.ask("00000003.history").restored, false) << "of another cluster";
}

TEST(RestoreFile, MissesASegmentThatRsyncHasNotCopiedCompletely) {
  Scene scene;
  WalBuilder wal(plain());
  scene.put(wal, 1);
  const auto name = "." + name_of(1, 3) + ".zst.x3F9aQ";
  scene.archive.put(name, test::bytes_of("x"));
  for (const std::uint64_t segno : {2, 3}) {
    const auto outcome = scene.ask(1, segno);
    EXPECT_EQ(outcome.error, ErrorKind::gap);
    EXPECT_NE(outcome.what.find(name + " exists"), std::string::npos) << outcome.what;
  }
  EXPECT_EQ(scene.ask(1, 4).restored, false);
  EXPECT_EQ(scene.ask(2, 3).restored, false);
  scene.options.standby = true;
  EXPECT_EQ(scene.ask(1, 3).restored, false) << "it requests the segment again";
  scene.options.standby = false;
  for (const std::uint64_t segno : {2, 3}) scene.put(wal, segno);
  EXPECT_EQ(scene.ask(1, 3).restored, true);
  // Of a partial segment, that one alone.
  scene.archive.erase(name);
  scene.archive.put("." + name_of(1, 5) + ".partial.x3F9aQ", test::bytes_of("x"));
  EXPECT_EQ(scene.ask(1, 4).restored, false);
  EXPECT_EQ(scene.ask(1, 5).error, ErrorKind::gap);
}

TEST(RestoreFile, LeavesAGapToTheServerIfItHasTheWholeSegmentItself) {
  Scene scene;
  WalBuilder wal(plain());
  scene.put(wal, 3);
  scene.options.system_identifier = wal.options().system_identifier;
  auto own = copy(Scene::segment(wal, 2));
  scene.target.put(name_of(1, 2), own);
  EXPECT_EQ(scene.ask(1, 2).restored, false);
  // A recycled file, or one that was not written to its end, is not it.
  std::fill(own.begin() + 500'000, own.end(), std::byte{0});
  scene.target.put(name_of(1, 2), own);
  EXPECT_EQ(scene.ask(1, 2).error, ErrorKind::gap);
  scene.target.put(name_of(1, 2), Scene::segment(wal, 1));
  EXPECT_EQ(scene.ask(1, 2).error, ErrorKind::gap);
}

TEST(RestoreFile, RefusesWhatIsNotThatSegmentOfThatCluster) {
  WalBuilder wal(plain());
  WalBuilder other({.seed = 2, .system_identifier = 99});
  const auto right = copy(Scene::segment(wal, 2));
  auto short_one = right;
  short_one.resize(right.size() - 8192);
  auto half_zero = right;
  std::fill(half_zero.begin() + static_cast<std::ptrdiff_t>(right.size() / 2), half_zero.end(),
            std::byte{0});
  const std::pair<const char*, Bytes> cases[] = {
      {"empty", {}},
      {"one byte", {std::byte{1}}},
      {"zeros", Bytes(kSize.bytes())},
      {"short", short_one},
      {"the second half zeros", half_zero},
      {"another segment", copy(Scene::segment(wal, 3))},
      {"of another cluster", copy(Scene::segment(other, 2))},
      {"text", test::bytes_of(std::string(kSize.bytes(), 'a'))},
  };
  for (const auto method : kMethods)
    for (const auto& [name, content] : cases) {
      SCOPED_TRACE(fmt::format("{} {}", name, static_cast<int>(method)));
      Scene scene;
      scene.put(wal, 1);
      scene.put(wal, 3);
      scene.archive.put(name_of(1, 2) + std::string(codec::suffix(method)), pack(content, method));
      const auto outcome = scene.ask(1, 2);
      EXPECT_TRUE(outcome.error) << "restored";
      EXPECT_NE(outcome.what.find(name_of(1, 2)), std::string::npos) << outcome.what;
      scene.options.gap_is_absence = scene.options.empty_is_absence = true;
      EXPECT_TRUE(scene.ask(1, 2).error) << "damage is never an absence";
    }
}

TEST(RestoreFile, RefusesWhatNoSegmentSizeHasASegmentFor) {
  Scene scene;
  WalBuilder wal(plain());
  for (std::uint64_t segno = 1; segno < 4; ++segno) scene.put(wal, segno);
  auto bytes = copy(Scene::segment(wal, 2));
  constexpr std::size_t kSegmentSizeAt = 32;  // xlp_seg_size
  const std::uint32_t impossible = 12345;
  std::memcpy(bytes.data() + kSegmentSizeAt, &impossible, sizeof impossible);
  scene.archive.put(name_of(1, 2), bytes);
  auto outcome = scene.ask(1, 2);
  EXPECT_EQ(outcome.error, ErrorKind::damage);
  EXPECT_NE(outcome.what.find("invalid segment size"), std::string::npos) << outcome.what;

  const std::string none = "0000000100000000FFFFFFFF";
  scene.archive.put(none, Scene::segment(wal, 3));
  outcome = scene.ask(none);
  EXPECT_EQ(outcome.error, ErrorKind::damage);
  EXPECT_NE(outcome.what.find("no segment has this name with this segment size"), std::string::npos)
      << outcome.what;
  scene.archive.erase(none);
  outcome = scene.ask(none);
  EXPECT_EQ(outcome.error, ErrorKind::conflict);
  EXPECT_NE(outcome.what.find("no segment has this name with the archive's segment size"),
            std::string::npos)
      << outcome.what;
}

TEST(RestoreFile, JudgesByNamesWhereNothingTellsTheSegmentSize) {
  Scene scene;
  scene.archive.put(name_of(1, 3) + ".partial", {});
  const auto before = scene.ask(1, 2);
  EXPECT_EQ(before.error, ErrorKind::gap) << before.what;
  EXPECT_NE(before.what.find("later segments of this timeline exist"), std::string::npos)
      << before.what;
  EXPECT_EQ(scene.ask(1, 4).restored, false);
  // Files of segments that are written have their size from the beginning.
  scene.archive.put(name_of(1, 3) + ".partial", Bytes(kSize.bytes()));
  EXPECT_EQ(scene.ask("0000000100000000FFFFFFFF").error, ErrorKind::conflict);
  EXPECT_EQ(scene.ask(1, 4).restored, false);
}

TEST(RestoreFile, RefusesAHistoryOrBackupHistoryThatIsNone) {
  Scene scene;
  WalBuilder wal(plain());
  for (std::uint64_t segno = 1; segno < 3; ++segno) scene.put(wal, segno);
  const Bytes large((std::size_t{16} << 20) + 1, std::byte{' '});
  scene.archive.put("00000002.history", large);
  auto outcome = scene.ask("00000002.history");
  EXPECT_EQ(outcome.error, ErrorKind::damage);
  EXPECT_NE(outcome.what.find("too large for a timeline history"), std::string::npos)
      << outcome.what;
  scene.archive.erase("00000002.history");
  scene.archive.put("00000002.history.gz", pack(large, Method::gzip));
  outcome = scene.ask("00000002.history");
  EXPECT_EQ(outcome.error, ErrorKind::damage);
  EXPECT_NE(outcome.what.find("too large for a timeline history"), std::string::npos)
      << outcome.what;

  const auto label = name_of(1, 2) + ".00000028.backup";
  scene.archive.put(label, {});
  outcome = scene.ask(label);
  EXPECT_EQ(outcome.error, ErrorKind::damage);
  EXPECT_NE(outcome.what.find("the backup history file is empty"), std::string::npos)
      << outcome.what;
  scene.archive.put(label, test::as_bytes("START"));
  EXPECT_EQ(scene.ask(label).restored, true);
}

TEST(RestoreFile, RestoresWalOfANewerServerUncheckedAndSaysSo) {
  Scene scene;
  WalBuilder wal(plain());
  for (std::uint64_t segno = 1; segno < 4; ++segno) {
    auto bytes = copy(Scene::segment(wal, segno));
    for (std::size_t page = 0; page < bytes.size(); page += wal::kPageSize) {
      bytes[page] = std::byte{0xFE};
      bytes[page + 1] = std::byte{0xD1};
    }
    scene.archive.put(name_of(1, segno), bytes);
  }
  const auto outcome = scene.ask(1, 2);
  EXPECT_EQ(outcome.restored, true) << outcome.what;
  EXPECT_EQ(outcome.content, scene.archive.content(name_of(1, 2)));
  EXPECT_NE(scene.log.text.find(
                "WAL of a newer PostgreSQL than this pgweir knows, restored without a full check"),
            std::string::npos)
      << scene.log.text;
}

TEST(RestoreFile, RefusesTheArchiveOfAnotherClusterForEveryName) {
  Scene scene;
  WalBuilder wal(plain());
  scene.put(wal, 1);
  scene.options.system_identifier = wal.options().system_identifier + 1;
  EXPECT_EQ(scene.ask(1, 1).error, ErrorKind::conflict);
  EXPECT_EQ(scene.ask(1, 2).error, ErrorKind::conflict);
}

TEST(RestoreFile, RefusesASegmentOfALongRecordThatIsDamagedSomewhere) {
  // Its segments have nothing but the record's checksum, which is in the first one, to tell.
  WalBuilder wal(plain());
  wal.grow_to(kSize.start(2) + kSize.bytes() / 2);
  const auto record = wal.append_random(3 << 20);
  wal.grow_to(kSize.start(7));
  ASSERT_EQ(kSize.segno(record.start), 2U);
  ASSERT_EQ(kSize.segno(record.end), 5U);

  for (const auto method : kMethods)
    for (std::uint64_t damaged = 0; damaged <= 4; ++damaged) {
      if (damaged == 1) continue;
      SCOPED_TRACE(fmt::format("damaged {} {}", damaged, static_cast<int>(method)));
      Scene scene;
      for (std::uint64_t segno = 1; segno <= 6; ++segno) scene.put(wal, segno, method);
      if (damaged != 0) {
        auto content = copy(Scene::segment(wal, damaged));
        content[kSize.bytes() - 300'000] ^= std::byte{8};
        scene.archive.put(name_of(1, damaged) + std::string(codec::suffix(method)),
                          pack(content, method));
      }
      for (std::uint64_t segno = 1; segno <= 6; ++segno) {
        SCOPED_TRACE(segno);
        const auto outcome = scene.ask(1, segno);
        if (damaged != 0 && segno >= 2 && segno <= 5)
          EXPECT_EQ(outcome.error, ErrorKind::damage) << outcome.what;
        else
          EXPECT_EQ(outcome.restored, true) << outcome.what;
      }
    }

  // Another form is the sound one.
  for (const auto damaged : {Method::none, Method::zstd}) {
    Scene scene;
    for (std::uint64_t segno = 1; segno <= 6; ++segno) scene.put(wal, segno);
    scene.put(wal, 3, Method::zstd);
    auto content = copy(Scene::segment(wal, 3));
    content[500'000] ^= std::byte{8};
    scene.archive.put(name_of(1, 3) + std::string(codec::suffix(damaged)), pack(content, damaged));
    for (const std::uint64_t segno : {2U, 3U, 4U, 5U}) {
      SCOPED_TRACE(fmt::format("damaged {}, {}", static_cast<int>(damaged), segno));
      const auto outcome = scene.ask(1, segno);
      EXPECT_EQ(outcome.restored, true) << outcome.what;
      EXPECT_EQ(outcome.content, copy(Scene::segment(wal, segno)));
    }
  }

  // As far as the archive has it: the rest may be on its way.
  Scene scene;
  for (const std::uint64_t segno : {2U, 3U, 4U}) scene.put(wal, segno);
  for (const std::uint64_t segno : {2U, 3U, 4U}) EXPECT_EQ(scene.ask(1, segno).restored, true);
}

TEST(RestoreFile, TakesFormsForEqualThatDifferBehindAnXlogSwitchOnly) {
  WalBuilder wal(plain());
  wal.grow_to(kSize.start(2) + 300'000);
  ASSERT_TRUE(wal.append_switch());
  wal.grow_to(kSize.start(4));
  Scene scene;
  for (const std::uint64_t segno : {1U, 2U, 3U}) scene.put(wal, segno, Method::zstd);
  auto other = copy(Scene::segment(wal, 2));
  other[800'000] = std::byte{1};  // as from another server
  scene.archive.put(name_of(1, 2), other);
  const auto outcome = scene.ask(1, 2);
  EXPECT_EQ(outcome.restored, true) << outcome.what;
}

TEST(RestoreFile, GivesNoneOfTwoClustersWhereNobodyTellsWhichIsWanted) {
  WalBuilder wal(plain());
  WalBuilder other({.seed = 2, .system_identifier = 99});
  Scene scene;
  for (int segno = 1; segno <= 6; ++segno) scene.put(segno <= 3 ? wal : other, segno);
  for (int segno = 1; segno <= 6; ++segno) {
    SCOPED_TRACE(segno);
    EXPECT_EQ(scene.ask(1, segno).error, ErrorKind::conflict);
  }
  // A server that recovers tells.
  scene.options.system_identifier = wal.options().system_identifier;
  EXPECT_EQ(scene.ask(1, 1).restored, true);
  EXPECT_EQ(scene.ask(1, 4).error, ErrorKind::conflict);
}

TEST(RestoreFile, LetsOneStrangeFileKeepNoOtherFromBeingRestored) {
  WalBuilder wal(plain());
  WalBuilder other({.seed = 2, .system_identifier = 99});
  for (int strange = 1; strange <= 9; ++strange) {
    Scene scene;
    for (int segno = 1; segno <= 9; ++segno) scene.put(segno == strange ? other : wal, segno);
    for (int segno = 1; segno <= 9; ++segno) {
      if (segno == strange + 1) continue;  // it is the one before, in which a record may begin
      SCOPED_TRACE(fmt::format("segment {}, strange {}", segno, strange));
      const auto outcome = scene.ask(1, segno);
      if (segno == strange)
        EXPECT_EQ(outcome.error, ErrorKind::conflict);
      else
        EXPECT_EQ(outcome.restored, true) << outcome.what;
    }
  }
}

TEST(RestoreFile, TakesTheSoundOneOfTwoFormsAndTellsTheDamage) {
  WalBuilder wal(plain());
  for (const auto broken : kMethods)
    for (const auto sound : kMethods) {
      if (broken == sound) continue;
      SCOPED_TRACE(fmt::format("{} {}", static_cast<int>(broken), static_cast<int>(sound)));
      Scene scene;
      scene.put(wal, 2, sound);
      auto content = pack(Scene::segment(wal, 2), broken);
      content[content.size() / 2] ^= std::byte{0x10};
      content[content.size() / 2 + 1] ^= std::byte{0x10};
      scene.archive.put(name_of(1, 2) + std::string(codec::suffix(broken)), content);
      const auto outcome = scene.ask(1, 2);
      EXPECT_EQ(outcome.restored, true) << outcome.what;
      EXPECT_EQ(outcome.content, copy(Scene::segment(wal, 2)));
      // The sound one may have come first.
      EXPECT_EQ(scene.log.text.empty(), sound < broken) << scene.log.text;
    }
}

TEST(RestoreFile, RefusesASegmentThatDoesNotGoOnFromTheOneBefore) {
  // One record over the border; its tail in segment 2 is damaged, which segment 2 alone cannot
  // tell. In segment 1 it begins in front of the last zstd frame, or in that one.
  for (const std::uint32_t before : {100'000u, 30'000u}) {
    SCOPED_TRACE(before);
    WalBuilder wal(plain());
    wal.grow_to(kSize.start(2) + (0 - std::uint64_t{before}));
    const auto record = wal.append_random(before + 100'000);
    wal.grow_to(kSize.start(3));
    ASSERT_LT(record.start, kSize.start(2));
    ASSERT_GT(record.end, kSize.start(2));
    auto damaged = copy(Scene::segment(wal, 2));
    damaged[20'000] ^= std::byte{4};

    for (const auto& [at_server, method] :
         {std::pair(false, Method::zstd), std::pair(true, Method::zstd),
          std::pair(false, Method::gzip), std::pair(false, Method::none)}) {
      SCOPED_TRACE(fmt::format("{} {}", at_server, static_cast<int>(method)));
      Scene scene;
      scene.put(wal, 1, method);
      scene.archive.put(name_of(1, 2), damaged);
      if (at_server) {
        scene.options.system_identifier = wal.options().system_identifier;
        // Recovery begins with segment 2: nobody reads the record.
        EXPECT_EQ(scene.ask(1, 2).restored, true);
        scene.target.put(name_of(1, 1), Scene::segment(wal, 1));
      }
      const auto outcome = scene.ask(1, 2);
      EXPECT_EQ(outcome.error, ErrorKind::damage) << outcome.what;
      scene.put(wal, 2);
      EXPECT_EQ(scene.ask(1, 2).restored, true);
      // What lies in pg_wal may be of another life of the server.
      if (at_server) {
        WalBuilder other({.seed = 77});
        scene.target.put(name_of(1, 1), Scene::segment(other, 1));
        EXPECT_EQ(scene.ask(1, 2).restored, true);
      }
    }
  }
}

TEST(RestoreFile, BlamesNoSegmentForDamageOfTheOneBeforeThatChecksumsOfItsFileTell) {
  // That one is read without comparing them: what does not fit then is looked at once more.
  WalBuilder wal(plain());
  wal.grow_to(kSize.start(2) + (0 - std::uint64_t{60'000}));
  wal.append_random(160'000);
  wal.grow_to(kSize.start(3));
  const auto before = pack(Scene::segment(wal, 1), Method::zstd);
  std::mt19937_64 random(test::seed_or(23));
  Scene scene;
  scene.put(wal, 2, Method::zstd);
  for (int i = 0; i < 80; ++i) {
    auto damaged = before;
    // The record lies in the last frame, which is nearly all of what is random here.
    const auto at = before.size() - 1 - (i < 4 ? static_cast<std::size_t>(i) : random() % 60'000);
    damaged[at] ^= static_cast<std::byte>(1u << random() % 8);
    SCOPED_TRACE(fmt::format("byte {} of {}", at, before.size()));
    scene.archive.put(name_of(1, 1) + ".zst", damaged);
    const auto outcome = scene.ask(1, 2);
    EXPECT_EQ(outcome.restored, true) << outcome.what;
    EXPECT_EQ(outcome.content, copy(Scene::segment(wal, 2)));
  }
}

/// The length of a record that begins at `from` and ends at `end`.
std::uint32_t length_between(wal::Lsn from, wal::Lsn end) {
  std::uint64_t length = 0;
  for (auto at = from; at < end;) {
    if (at.byte() % wal::kPageSize == 0)
      at = at + (kSize.offset(at) == 0 ? wal::kLongHeaderSize : wal::kShortHeaderSize);
    const auto page_end = wal::Lsn((at.byte() / wal::kPageSize + 1) * wal::kPageSize);
    length += std::min(page_end, end) - at;
    at = std::min(page_end, end);
  }
  return static_cast<std::uint32_t>(length);
}

TEST(RestoreFile, RefusesADamagedRecordOverTheBorderThatNoOtherRecordNames) {
  // Nothing behind the record says where it began: it ends with its segment, or the next header is
  // split by the next border, or the WAL ends there. A server would take the damage for the end.
  struct Case {
    const char* name;
    wal::Lsn end;    ///< of the record that begins in segment 1
    bool partial;    ///< what it ends in
    bool from_afar;  ///< it fills a segment between
  };
  const Case cases[] = {
      {"ends with its segment", kSize.start(3), false, false},
      {"the next header is split", kSize.start(3) + (0 - std::uint64_t{8}), false, false},
      {"the WAL ends behind it", kSize.start(2) + 300'000, true, false},
      {"fills a segment", kSize.start(4), false, true},
      {"fills a segment, and the WAL ends", kSize.start(3) + 80'000, true, true},
  };
  for (const auto& c : cases)
    for (const bool at_server : {false, true}) {
      SCOPED_TRACE(c.name);
      SCOPED_TRACE(at_server);
      WalBuilder wal(plain());
      wal.grow_to(kSize.start(2) + (0 - std::uint64_t{60'000}));
      const auto record = wal.append_random(length_between(wal.end(), c.end));
      ASSERT_EQ(record.end, c.end);
      const auto last = kSize.segno(c.end + (0 - std::uint64_t{1}));
      ASSERT_EQ(last, c.from_afar ? 3U : 2U);
      if (!c.partial) wal.grow_to(kSize.start(last + 2));

      for (const bool damaged : {true, false}) {
        SCOPED_TRACE(damaged);
        Scene scene;
        scene.options.partial = c.partial;
        if (at_server) scene.options.system_identifier = wal.options().system_identifier;
        auto front = copy(Scene::segment(wal, 1));
        if (damaged) front[front.size() - 30'000] ^= std::byte{16};
        scene.archive.put(name_of(1, 1), front);
        for (auto segno = std::uint64_t{2}; segno < last; ++segno) scene.put(wal, segno);
        if (c.partial)
          scene.put_partial(wal, c.end);
        else
          for (const auto segno : {last, last + 1}) scene.put(wal, segno);
        // The front alone can't be told from a sound one, but if it fills a segment.
        for (std::uint64_t segno = 1; segno < last; ++segno) {
          const auto before = scene.ask(1, segno);
          if (damaged && segno == 2 && !c.partial)
            EXPECT_EQ(before.error, ErrorKind::damage) << before.what;
          else
            EXPECT_EQ(before.restored, true) << before.what;
          if (at_server)
            scene.target.put(name_of(1, segno),
                             segno == 1 ? front : copy(Scene::segment(wal, segno)));
        }
        const auto outcome = scene.ask(1, last);
        if (damaged)
          EXPECT_EQ(outcome.error, ErrorKind::damage) << outcome.what;
        else
          EXPECT_EQ(outcome.restored, true) << outcome.what;
      }
    }
}

TEST(RestoreFile, FollowsATimelineSwitch) {
  WalBuilder parent(plain());
  parent.grow_to(kSize.start(3) + 600'000);
  const auto switchpoint = parent.fork_point(kSize.start(3) + 500'000);
  auto child = parent.fork(switchpoint, 2, 5);
  child.grow_to(kSize.start(6));
  Scene scene;
  scene.put(parent, 1);
  scene.put(parent, 2, Method::zstd);
  scene.put_partial(parent, parent.end());
  scene.put(child, 3, Method::gzip);
  scene.put(child, 4);
  const auto history = fmt::format("1\t{}\tno recovery target specified\n", switchpoint);
  scene.archive.put("00000002.history", test::as_bytes(history));

  EXPECT_EQ(test::text_of(scene.ask("00000002.history").content), history);
  EXPECT_EQ(scene.ask("00000003.history").restored, false);
  EXPECT_EQ(scene.ask(2, 1).restored, false);
  EXPECT_EQ(scene.ask(2, 2).restored, false);
  EXPECT_EQ(scene.ask(1, 3).restored, false);
  for (const auto segno : {3u, 4u}) {
    const auto outcome = scene.ask(2, segno);
    EXPECT_EQ(outcome.restored, true) << outcome.what;
    EXPECT_EQ(outcome.content, copy(Scene::segment(child, segno)));
  }
  EXPECT_EQ(scene.ask(2, 5).restored, false);

  // The parent's WAL behind the switchpoint under the child's name is of the wrong timeline.
  WalBuilder went_on = parent;
  scene.archive.put(name_of(2, 4), Scene::segment(went_on, 4));
  EXPECT_EQ(scene.ask(2, 4).error, ErrorKind::damage);
  scene.archive.erase(name_of(2, 4));
  scene.archive.erase(name_of(1, 2) + ".zst");
  EXPECT_EQ(scene.ask(1, 2).error, ErrorKind::gap);
}

TEST(RestoreFile, EndsAPartialWhereTheTimelineWasLeftUnlessTheRecoveryStaysOnIt) {
  WalBuilder parent(plain());
  parent.grow_to(kSize.start(3) + 600'000);
  const auto switchpoint = parent.fork_point(kSize.start(3) + 500'000);
  const auto end = parent.complete_end(parent.end());
  const auto line = fmt::format("1\t{}\treason\n", switchpoint);
  const auto history = test::as_bytes(line);
  struct Case {
    const char* name;
    bool target_is_chosen;
    const char* server_has;
    wal::Lsn end;
  };
  for (const auto& c : {Case{"a standby, or by hand", false, nullptr, switchpoint},
                        Case{"to timeline 2", true, "00000002.history", switchpoint},
                        Case{"to timeline 1", true, nullptr, end},
                        Case{"a standby on timeline 2", false, "00000002.history", switchpoint}}) {
    SCOPED_TRACE(c.name);
    Scene scene;
    scene.put(parent, 1);
    scene.put(parent, 2);
    scene.put_partial(parent, parent.end());
    scene.archive.put("00000002.history", history);
    if (c.server_has != nullptr) scene.target.put(c.server_has, history);
    scene.options.partial = true;
    scene.options.target_is_chosen = c.target_is_chosen;
    const auto outcome = scene.ask(1, 3);
    ASSERT_EQ(outcome.restored, true) << outcome.what;
    auto expected = copy(parent.bytes(kSize.start(3), c.end));
    expected.resize(kSize.bytes());
    EXPECT_EQ(outcome.content, expected);
  }
}

/// Otherwise it would end before the switchpoint, although the timeline has WAL up to there. What a
/// server that follows the new timeline gets stays as it is.
TEST(RestoreFile, DoesNotEndTheRecoveryOfATimelineBeforeTheSwitchpointOfALaterOne) {
  WalBuilder parent(plain());
  parent.grow_to(kSize.start(5));
  const auto switchpoint = parent.fork_point(kSize.start(3) + 500'000);
  auto child = parent.fork(switchpoint, 2, 5);
  child.grow_to(kSize.start(5));
  struct Case {
    const char* name;
    bool chosen = true, follows_2 = false, parents = false, begun = false, finished = true;
    wal::Lsn own{}, at{};
    std::optional<ErrorKind> error{};
  };
  for (const auto& c :
       {Case{.name = "to timeline 1", .at = switchpoint, .error = ErrorKind::gap},
        Case{.name = "only the history", .finished = false, .at = switchpoint},
        Case{.name = "to timeline 2, only the history",
        .follows_2 = true,
        .finished = false,
        .at = switchpoint},
        Case{.name = "to timeline 2, which was begun",
        .follows_2 = true,
        .begun = true,
        .finished = false,
        .at = switchpoint},
        Case{.name = "to timeline 1, 2 was begun",
        .begun = true,
        .finished = false,
        .at = switchpoint,
        .error = ErrorKind::gap},
        Case{.name = "the parent's is unfinished", .parents = true, .at = switchpoint},
        Case{.name = "the server has it", .own = switchpoint, .at = switchpoint},
        Case{.name = "the server has some",
        .own = parent.complete_end(kSize.start(3) + 400'000),
        .at = switchpoint,
        .error = ErrorKind::gap},
        Case{.name = "a standby, or by hand", .chosen = false, .at = switchpoint},
        Case{.name = "left at its first byte", .at = kSize.start(3)},
        Case{.name = "left before", .at = kSize.start(2) + 80}}) {
    SCOPED_TRACE(c.name);
    Scene scene;
    for (const std::uint64_t segno : {1, 2}) scene.put(parent, segno);
    if (c.parents) scene.put_partial(parent, kSize.start(3) + 300'000);
    if (c.begun) scene.put_partial(child, kSize.start(3) + 600'000);
    if (c.finished) scene.put(child, 3);
    const auto history = fmt::format("1\t{}\treason\n", c.at);
    scene.archive.put("00000002.history", test::as_bytes(history));
    if (c.follows_2) scene.target.put("00000002.history", test::as_bytes(history));
    if (c.own.valid()) {
      auto own = copy(parent.bytes(kSize.start(3), c.own));
      own.resize(kSize.bytes());
      scene.target.put(name_of(1, 3), own);
    }
    scene.options.target_is_chosen = c.chosen;
    scene.options.system_identifier = parent.options().system_identifier;
    const auto outcome = scene.ask(1, 3);
    EXPECT_EQ(outcome.error, c.error) << outcome.what;
    if (!c.error) {
      EXPECT_EQ(outcome.restored, false);
      continue;
    }
    EXPECT_NE(outcome.what.find(fmt::format(
                  "according to 00000002.history, timeline 1 ends only at {}", switchpoint)),
              std::string::npos)
        << outcome.what;
    scene.options.up_to_hole = scene.options.partial = true;
    if (c.begun) continue;
    EXPECT_EQ(scene.ask(1, 3).restored, false) << "--until-gap";
  }
}

/// A receiver begins a new timeline at the first byte of the segment in which it begins, and
/// recovery asks for the newest timeline first.
TEST(RestoreFile, TakesTheAncestorsWalAsLongAsTheNewTimelinesFileHasNotComeToItsBeginning) {
  WalBuilder parent(plain());
  parent.grow_to(kSize.start(3) + 600'000);
  const auto switchpoint = parent.fork_point(kSize.start(3) + 500'000);
  auto child = parent.fork(switchpoint, 2, 5);
  child.grow_to(kSize.start(4));
  parent.grow_to(kSize.start(5));
  const auto line = fmt::format("1\t{}\treason\n", switchpoint);
  const auto early = parent.complete_end(kSize.start(3) + 200'000);
  const auto between = parent.complete_end(kSize.start(3) + 400'000);
  enum class Parents { none, unfinished, behind_it, finished };
  struct Case {
    const char* name;
    wal::Lsn received;
    Parents parents;
    wal::Lsn end;
  };
  for (const auto& c :
       {Case{"nothing received", kSize.start(3), Parents::behind_it, switchpoint},
        Case{"some of it", early, Parents::behind_it, switchpoint},
        Case{"the parent's was left for good", early, Parents::finished, switchpoint},
        Case{"the parent's has a little more", early, Parents::unfinished, between},
        Case{"the parent's is not here", early, Parents::none, early}}) {
    SCOPED_TRACE(c.name);
    Scene scene;
    scene.put(parent, 1);
    scene.put(parent, 2);
    const auto unfinished = [&](wal::TimelineId timeline, wal::Lsn end) {
      auto bytes = copy(parent.bytes(kSize.start(3), end));
      bytes.resize(kSize.bytes());
      scene.archive.put(name_of(timeline, 3) + ".partial", bytes);
    };
    if (c.parents == Parents::finished) scene.put(parent, 3);
    if (c.parents == Parents::behind_it) unfinished(1, kSize.start(3) + 600'000);
    if (c.parents == Parents::unfinished) unfinished(1, between);
    unfinished(2, c.received);
    scene.archive.put("00000002.history", test::as_bytes(line));
    scene.options.partial = true;
    const auto outcome = scene.ask(2, 3);
    ASSERT_EQ(outcome.restored, true) << outcome.what;
    auto expected = copy(parent.bytes(kSize.start(3), c.end));
    expected.resize(kSize.bytes());
    EXPECT_TRUE(outcome.content == expected) << scene.log.text;
  }
}

/// Otherwise it would ask for the ancestor's, and replay what that wrote behind the switchpoint.
TEST(RestoreFile, GivesAServerTheAncestorsWalUpToTheSwitchpointWhereTheNewTimelineHasNoFileYet) {
  WalBuilder parent(plain());
  parent.grow_to(kSize.start(5));
  const auto switchpoint = parent.fork_point(kSize.start(3) + 500'000);
  auto child = parent.fork(switchpoint, 2, 5);
  child.grow_to(kSize.start(6));
  const auto line = fmt::format("1\t{}\treason\n", switchpoint);
  struct Case {
    const char* name;
    bool server = true, finished = true, in_pg_wal = false, goes_on = false, begun = false;
    std::optional<bool> restored{};
  };
  for (const auto& c :
       {Case{.name = "a server", .restored = true},
        Case{.name = "the new file was begun", .begun = true, .restored = true},
        Case{.name = "by hand", .server = false, .restored = false},
        Case{.name = "the server has its own", .in_pg_wal = true, .restored = false},
        Case{.name = "unfinished", .finished = false, .restored = false},
        Case{.name = "a hole", .goes_on = true}}) {
    SCOPED_TRACE(c.name);
    Scene scene;
    for (std::uint64_t segno = 1; segno < 5; ++segno)
      if (segno < 3 || c.finished) scene.put(parent, segno);
    if (!c.finished) scene.put(parent, 3, Method::none, ".partial");
    if (c.goes_on) scene.put(child, 5);
    if (c.begun) scene.put_partial(child, kSize.start(3) + 100'000);
    scene.archive.put("00000002.history", test::as_bytes(line));
    if (c.server) scene.options.system_identifier = parent.options().system_identifier;
    if (c.in_pg_wal) scene.target.put(name_of(2, 3), Scene::segment(child, 3));
    const auto outcome = scene.ask(2, 3);
    ASSERT_EQ(outcome.restored, c.restored) << outcome.what;
    if (c.restored != true) continue;
    auto expected = copy(parent.bytes(kSize.start(3), switchpoint));
    expected.resize(kSize.bytes());
    EXPECT_TRUE(outcome.content == expected) << scene.log.text;
  }
}

/// The ancestor's segment may have been completed after the server was told that the descendant's
/// is absent (seed 534595).
TEST(RestoreFile, EndsACompleteSegmentWhereTheTimelineThatTheServerFollowsLeftIt) {
  WalBuilder parent(plain());
  parent.grow_to(kSize.start(5));
  const auto inside = parent.fork_point(kSize.start(3) + 500'000);
  const auto earlier = parent.fork_point(kSize.start(3) + 200'000);
  enum class Own { none, up_to_it, after_it };
  struct Case {
    const char* name;
    wal::Lsn switchpoint;
    bool server = true, has_history = true, chosen = false;
    Own own = Own::none;
    wal::Lsn of_timeline_3{};  ///< a sibling that branches off there
    wal::Lsn end;              ///< invalid: absent
  };
  const auto whole = kSize.start(4);
  for (const auto& c :
       {Case{.name = "a standby", .switchpoint = inside, .end = inside},
        Case{.name = "a recovery", .switchpoint = inside, .chosen = true, .end = inside},
        Case{.name = "by hand", .switchpoint = inside, .server = false, .end = whole},
        Case{.name = "without the history",
        .switchpoint = inside,
        .has_history = false,
        .end = whole},
        Case{.name = "at the first byte", .switchpoint = kSize.start(3), .end = {}},
        Case{.name = "in the segment before",
        .switchpoint = wal::Lsn(kSize.start(3).byte() - 8),
        .end = whole},
        Case{.name = "in the segment after", .switchpoint = whole, .end = whole},
        Case{.name = "its own ends there",
        .switchpoint = inside,
        .own = Own::up_to_it,
        .end = inside},
        Case{.name = "it is on timeline 1",
        .switchpoint = inside,
        .own = Own::after_it,
        .end = whole},
        Case{.name = "a standby with two",
        .switchpoint = inside,
        .of_timeline_3 = earlier,
        .end = earlier},
        Case{.name = "a recovery to the newest",
        .switchpoint = earlier,
        .chosen = true,
        .of_timeline_3 = inside,
        .end = inside}})
    for (const auto method : {Method::none, Method::zstd}) {
      SCOPED_TRACE(fmt::format("{}, {}", c.name, method == Method::zstd ? "zst" : "raw"));
      Scene scene;
      for (std::uint64_t segno = 1; segno < 5; ++segno) scene.put(parent, segno, method);
      const auto line = fmt::format("1\t{}\treason\n", c.switchpoint);
      scene.archive.put("00000002.history", test::as_bytes(line));
      if (c.server) scene.options.system_identifier = parent.options().system_identifier;
      scene.options.target_is_chosen = c.chosen;
      if (c.has_history) scene.target.put("00000002.history", test::as_bytes(line));
      if (c.of_timeline_3.valid())
        scene.target.put("00000003.history",
                         test::as_bytes(fmt::format("1\t{}\treason\n", c.of_timeline_3)));
      if (c.own != Own::none) {
        auto own = copy(Scene::segment(parent, 3));
        if (c.own == Own::up_to_it)
          std::fill(own.begin() + static_cast<std::ptrdiff_t>(kSize.offset(inside)), own.end(),
                    std::byte{0});
        scene.target.put(name_of(1, 3), own);
      }
      const auto outcome = scene.ask(1, 3);
      ASSERT_EQ(outcome.error, std::nullopt) << outcome.what;
      ASSERT_EQ(outcome.restored, c.end.valid()) << outcome.what;
      if (!c.end.valid()) {
        EXPECT_NE(outcome.what.find("recovery_target_timeline = '1'"), std::string::npos)
            << outcome.what;
        continue;
      }
      auto expected = copy(parent.bytes(kSize.start(3), c.end));
      expected.resize(kSize.bytes());
      EXPECT_TRUE(outcome.content == expected) << scene.log.text;
      if (c.own != Own::none) continue;
      // pg_rewind needs all of it.
      EXPECT_EQ(scene.ask(name_of(1, 3), name_of(1, 3)).content, copy(Scene::segment(parent, 3)));
    }
}

/// A server writes the history of the timeline that it follows first, and then those of the lower
/// numbers (restoreTimeLineHistoryFiles()). One that it rejects later is written last.
TEST(RestoreFile, EndsNoSegmentWhereASiblingOfTheTimelineThatAStandbyFollowsLeftIt) {
  WalBuilder parent(plain());
  parent.grow_to(kSize.start(5));
  const auto early = parent.fork_point(kSize.start(3) + 200'000);
  const auto late = parent.fork_point(kSize.start(3) + 500'000);
  const auto in_the_next = parent.fork_point(kSize.start(4) + 500'000);
  using std::chrono::seconds;
  struct Case {
    const char* name;
    wal::Lsn left_by_2;
    wal::Lsn left_by_3;
    seconds written_2;
    seconds written_3;
    wal::Lsn end;
    seconds written_4{-1};  ///< a child of 3; negative: there is none
  };
  for (const auto& c :
       {Case{"copied", early, late, seconds(1), seconds(0), late},
        Case{"at the same moment", early, late, seconds(1), seconds(1), late},
        Case{"3 left it later", early, in_the_next, seconds(1), seconds(0), kSize.start(4)},
        Case{"3 left it first", late, early, seconds(1), seconds(0), early},
        Case{"3 was rejected", early, late, seconds(0), seconds(1), early},
        Case{"3 was rejected, and left it later", early, in_the_next, seconds(0), seconds(1),
             early},
        Case{"a child of 3 came later", early, late, seconds(1), seconds(0), late, seconds(9)}})
    for (const bool partial : {false, true}) {
      SCOPED_TRACE(fmt::format("{}{}", c.name, partial ? ", partial" : ""));
      Scene scene;
      for (std::uint64_t segno = 1; segno < 5; ++segno)
        if (segno < 3 || !partial) scene.put(parent, segno);
      if (partial) scene.put(parent, 3, Method::none, ".partial");
      const auto put = [&](wal::TimelineId timeline, const std::string& lines, seconds written) {
        const auto name = wal::history_name(timeline);
        scene.archive.put(name, test::as_bytes(lines));
        scene.target.put(name, test::as_bytes(lines));
        scene.written[name] = written;
      };
      const auto of_3 = fmt::format("1\t{}\treason\n", c.left_by_3);
      put(2, fmt::format("1\t{}\treason\n", c.left_by_2), c.written_2);
      put(3, of_3, c.written_3);
      if (c.written_4 >= seconds(0))
        put(4, of_3 + fmt::format("3\t{}\treason\n", kSize.start(9)), c.written_4);
      scene.options.system_identifier = parent.options().system_identifier;
      scene.options.partial = partial;
      const auto outcome = scene.ask(1, 3);
      if (partial && c.left_by_3 == in_the_next) {
        EXPECT_EQ(outcome.error, ErrorKind::gap) << "its rest is missing";
        continue;
      }
      ASSERT_EQ(outcome.restored, true) << outcome.what;
      auto expected = copy(parent.bytes(kSize.start(3), c.end));
      expected.resize(kSize.bytes());
      EXPECT_TRUE(outcome.content == expected) << scene.log.text;
    }
}

/// Regardless of its content: no record need be complete in it, and it may be damaged.
TEST(RestoreFile, RestoresNoSegmentWithWhoseFirstByteTheTimelineThatTheServerFollowsBegins) {
  for (const bool damaged : {false, true}) {
    SCOPED_TRACE(damaged);
    WalBuilder parent(plain());
    parent.grow_to(kSize.start(2) + 500'000);
    ASSERT_TRUE(parent.append_switch());
    ASSERT_EQ(parent.end(), kSize.start(3));
    parent.append_random(static_cast<std::uint32_t>(2 * kSize.bytes()));
    parent.grow_to(kSize.start(6));
    Scene scene;
    for (std::uint64_t segno = 1; segno < 6; ++segno) scene.put(parent, segno);
    if (damaged) {
      auto bytes = copy(Scene::segment(parent, 3));
      bytes[0] ^= std::byte{1};
      scene.archive.put(name_of(1, 3), bytes);
    }
    const auto line = fmt::format("1\t{}\treason\n", kSize.start(3));
    scene.archive.put("00000002.history", test::as_bytes(line));
    scene.target.put("00000002.history", test::as_bytes(line));
    scene.options.system_identifier = parent.options().system_identifier;
    const auto outcome = scene.ask(1, 3);
    ASSERT_EQ(outcome.error, std::nullopt) << outcome.what;
    EXPECT_EQ(outcome.restored, false);
    EXPECT_NE(outcome.what.find("is not restored: the server follows timeline 2"),
              std::string::npos)
        << outcome.what;
  }
}

/// The same of partial segments: the descendant's may exist without a complete record (seeds
/// 171651, 299643, 317787 and 431803 of f3a4f283).
TEST(RestoreFile, EndsAPartialSegmentWhereTheTimelineThatTheServerFollowsLeftIt) {
  WalBuilder parent(plain());
  parent.grow_to(kSize.start(3) + 700'000);
  const auto inside = parent.fork_point(kSize.start(3) + 500'000);
  for (const auto switchpoint : {kSize.start(3), inside})
    for (const bool begun : {false, true})
      for (const bool stays : {false, true}) {
        SCOPED_TRACE(fmt::format("{}, begun {}, stays {}", switchpoint, begun, stays));
        Scene scene;
        scene.put(parent, 1);
        scene.put(parent, 2);
        scene.put_partial(parent, parent.end());
        if (begun)
          scene.archive.put(name_of(2, 3) + ".partial", Bytes(kSize.bytes(), std::byte{0}));
        const auto line = fmt::format("1\t{}\treason\n", switchpoint);
        scene.archive.put("00000002.history", test::as_bytes(line));
        if (!stays) scene.target.put("00000002.history", test::as_bytes(line));
        scene.options.system_identifier = parent.options().system_identifier;
        scene.options.partial = true;
        scene.options.target_is_chosen = true;
        const auto outcome = scene.ask(1, 3);
        ASSERT_EQ(outcome.error, std::nullopt) << outcome.what;
        if (!stays && switchpoint == kSize.start(3)) {
          EXPECT_EQ(outcome.restored, false);
          EXPECT_NE(outcome.what.find("is not restored: the server follows timeline 2"),
                    std::string::npos)
              << outcome.what;
          continue;
        }
        ASSERT_EQ(outcome.restored, true) << outcome.what;
        const auto end = stays ? parent.complete_end(parent.end()) : switchpoint;
        auto expected = copy(parent.bytes(kSize.start(3), end));
        expected.resize(kSize.bytes());
        EXPECT_TRUE(outcome.content == expected) << scene.log.text;
      }
}

/// Those segments are not taken from the helper, which does not know the server's timeline.
TEST(RestoreFile, MayBeLeftInTheSegmentWithTheSwitchpointOfAnySegmentSize) {
  sim::SimDisk server;
  server.put("00000002.history", test::as_bytes("1\t1/3000028\treason\n"));
  server.put("00000003.history", test::as_bytes("not a history"));
  server.put("00000004.history.tmp", test::as_bytes("1\t2/3000028\treason\n"));
  const auto pg_wal = server.open();
  const auto may_be = [&](const char* name) {
    return may_be_left_in(*pg_wal, wal::SegmentName::parse(name).value());
  };
  EXPECT_TRUE(may_be("000000010000000100000003")) << "16 MB";
  EXPECT_TRUE(may_be("000000010000000100000030")) << "1 MB";
  EXPECT_TRUE(may_be("000000010000000100000000")) << "64 MB";
  for (const char* const other :
       {"000000010000000100000002", "000000010000000100000004", "000000010000000000000003",
        "000000010000000200000003", "000000020000000100000003", "000000030000000100000003"})
    EXPECT_FALSE(may_be(other)) << other;
}

/// Two switches in one segment: the complete file of the first timeline ends before the partial one
/// of the second.
TEST(RestoreFile, GivesAServerTheLongestWalOfItsAncestorsAlsoIfThatIsUnfinished) {
  WalBuilder first(plain());
  first.grow_to(kSize.start(5));
  const auto early = first.fork_point(kSize.start(3) + 300'000);
  auto second = first.fork(early, 2, 5);
  second.grow_to(kSize.start(4));
  const auto late = second.fork_point(kSize.start(3) + 700'000);
  for (const bool partial : {false, true}) {
    SCOPED_TRACE(partial ? "with --partial" : "complete segments alone");
    Scene scene;
    for (std::uint64_t segno = 1; segno < 5; ++segno) scene.put(first, segno);
    scene.put_partial(second, late);
    const auto line = fmt::format("1\t{}\treason\n", early);
    scene.archive.put("00000002.history", test::as_bytes(line));
    scene.archive.put("00000003.history",
                      test::as_bytes(line + fmt::format("2\t{}\treason\n", late)));
    scene.options.system_identifier = first.options().system_identifier;
    scene.options.partial = partial;
    const auto outcome = scene.ask(3, 3);
    ASSERT_EQ(outcome.restored, true) << outcome.what;
    auto expected =
        copy(partial ? second.bytes(kSize.start(3), late) : first.bytes(kSize.start(3), early));
    expected.resize(kSize.bytes());
    EXPECT_TRUE(outcome.content == expected) << scene.log.text;
  }
}

/// A server copies the histories of all timelines up to its target's into its pg_wal.
TEST(RestoreFile, EndsAPartialWhereTheTargetLeftTheTimelineAndNotASibling) {
  WalBuilder parent(plain());
  parent.grow_to(kSize.start(4) + 100'000);
  const auto early = parent.fork_point(kSize.start(3) + 300'000);
  const auto late = parent.fork_point(kSize.start(3) + 500'000);
  struct Case {
    const char* name;
    wal::Lsn left_by_2;
    wal::Lsn left_by_3;
    std::vector<wal::TimelineId> server_has;
    wal::Lsn end;
  };
  for (const auto& c :
       {Case{"the sibling left first", early, late, {2, 3}, late},
        Case{"the target left first", late, early, {2, 3}, early},
        Case{"a newer sibling that the server does not know", early, late, {2}, early},
        Case{"by the target's own sibling, which did not leave this timeline",
             early,
             wal::Lsn(),
             {2, 3},
             early}}) {
    SCOPED_TRACE(c.name);
    Scene scene;
    scene.put(parent, 1);
    scene.put(parent, 2);
    scene.archive.put(name_of(1, 3) + ".partial", Scene::segment(parent, 3));
    for (const auto& [timeline, at] : {std::pair(2u, c.left_by_2), std::pair(3u, c.left_by_3)}) {
      // (That of another cluster's timeline 3 does not name this one.)
      const auto line = at.valid() ? fmt::format("1\t{}\treason\n", at) : std::string("# none\n");
      scene.archive.put(wal::history_name(timeline), test::as_bytes(line));
      if (std::ranges::find(c.server_has, timeline) != c.server_has.end())
        scene.target.put(wal::history_name(timeline), test::as_bytes(line));
    }
    scene.options.partial = scene.options.target_is_chosen = true;
    const auto outcome = scene.ask(1, 3);
    ASSERT_EQ(outcome.restored, true) << outcome.what;
    auto expected = copy(parent.bytes(kSize.start(3), c.end));
    expected.resize(kSize.bytes());
    EXPECT_TRUE(outcome.content == expected) << scene.log.text;
  }
}

TEST(RestoreFile, WhatIsTornBehindThePlaceWhereTheTimelineWasLeftIsNoDamage) {
  WalBuilder parent(plain());
  parent.grow_to(kSize.start(4) + 100'000);
  const auto switchpoint = parent.fork_point(kSize.start(3) + 500'000);
  const auto line = fmt::format("1\t{}\treason\n", switchpoint);
  const auto left = kSize.offset(switchpoint);
  const auto next_page = left / wal::kPageSize * wal::kPageSize + wal::kPageSize;
  struct Case {
    const char* name;
    bool stays;  ///< the recovery, on timeline 1
    std::uint64_t torn;
    std::uint64_t torn_to;
    std::optional<ErrorKind> error;
  };
  for (const auto& c :
       {Case{"torn behind it", false, left, next_page, std::nullopt},
        Case{"torn before it", false, left - wal::kPageSize, left, ErrorKind::damage},
        Case{"torn where it goes on", true, left, next_page, ErrorKind::damage},
        Case{"a whole segment", false, 0, 0, std::nullopt}}) {
    SCOPED_TRACE(c.name);
    Scene scene;
    scene.put(parent, 1);
    scene.put(parent, 2);
    // A page that a crash has not written, with later ones behind it.
    auto content = copy(Scene::segment(parent, 3));
    std::fill(content.begin() + static_cast<std::ptrdiff_t>(c.torn),
              content.begin() + static_cast<std::ptrdiff_t>(c.torn_to), std::byte{0});
    scene.archive.put(name_of(1, 3) + ".partial", content);
    scene.archive.put("00000002.history", test::as_bytes(line));
    scene.options.partial = true;
    scene.options.target_is_chosen = c.stays;
    const auto outcome = scene.ask(1, 3);
    if (c.error) {
      EXPECT_EQ(outcome.error, *c.error) << outcome.what;
      continue;
    }
    ASSERT_EQ(outcome.restored, true) << outcome.what;
    auto expected = copy(parent.bytes(kSize.start(3), switchpoint));
    expected.resize(kSize.bytes());
    EXPECT_EQ(outcome.content, expected);
  }
}

TEST(RestoreFile, RefusesAHistoryThatIsWrong) {
  WalBuilder parent(plain());
  parent.grow_to(kSize.start(3) + 600'000);
  const auto switchpoint = parent.fork_point(kSize.start(3) + 500'000);
  auto child = parent.fork(switchpoint, 2, 5);
  child.grow_to(kSize.start(6));
  const auto line = [](wal::Lsn lsn) { return fmt::format("1\t{}\treason\n", lsn); };
  struct Case {
    const char* name;
    std::string content;
    bool right;
  };
  const Case cases[] = {
      {"right", line(switchpoint), true},
      {"right, with comments", "# a\n\n" + line(switchpoint), true},
      {"empty", "", false},
      {"zeros", std::string(40, '\0'), false},
      {"cut in the number", line(switchpoint).substr(0, 5), false},
      {"text", "not a history\n", false},
      {"one byte later", line(switchpoint + 8), false},
      {"a page later", line(switchpoint + 8192), false},
      {"much earlier", line(kSize.start(2) + 8), false},
      {"a segment later", line(switchpoint + kSize.bytes()), false},
      {"its own parent", fmt::format("2\t{}\treason\n", switchpoint), false},
  };
  for (const auto& test : cases)
    for (const bool beside_an_empty_file : {false, true}) {
      SCOPED_TRACE(fmt::format("{}, {}", test.name, beside_an_empty_file));
      Scene scene;
      scene.put(parent, 1);
      scene.put(parent, 2);
      scene.put(child, 3, Method::zstd);
      scene.put(child, 4);
      if (beside_an_empty_file) scene.archive.put(name_of(2, 3), {});
      scene.archive.put("00000002.history", test::as_bytes(test.content));
      const auto outcome = scene.ask("00000002.history");
      if (test.right) {
        EXPECT_EQ(outcome.restored, true) << outcome.what;
        EXPECT_EQ(test::text_of(outcome.content), test.content);
      } else {
        EXPECT_TRUE(outcome.error) << outcome.what;
      }
    }
  Scene scene;
  scene.put(child, 3);
  scene.archive.put("00000002.history", test::as_bytes(line(switchpoint)));
  scene.archive.put("00000003.history",
                    test::as_bytes(line(switchpoint + 8) + "2\t0/9000000\treason\n"));
  EXPECT_EQ(scene.ask("00000003.history").error, ErrorKind::conflict);
  // Without the lines of its parent's history.
  scene.archive.put("00000003.history", test::as_bytes("2\t0/9000000\treason\n"));
  EXPECT_EQ(scene.ask("00000003.history").error, ErrorKind::conflict);
  scene.archive.erase("00000003.history");
  scene.archive.erase("00000002.history");
  EXPECT_EQ(scene.ask("00000002.history").error, ErrorKind::gap);
}

TEST(RestoreFile, HandsOutAPartialOnlyWhenAskedAndOnlyAsTheLastResort) {
  WalBuilder wal(plain());
  wal.grow_to(kSize.start(3) + 400'000);
  const auto end = kSize.start(3) + 300'001;
  const auto cut = wal.complete_end(end);
  const auto expected = [&] {
    const auto bytes = wal.bytes(kSize.start(3), cut);
    Bytes content(bytes.begin(), bytes.end());
    content.resize(kSize.bytes());
    return content;
  }();

  Scene scene;
  scene.put(wal, 1);
  scene.put(wal, 2);
  scene.put_partial(wal, end);
  EXPECT_EQ(scene.ask(1, 3).restored, false);
  scene.options.partial = true;
  auto outcome = scene.ask(1, 3);
  EXPECT_EQ(outcome.restored, true) << outcome.what;
  EXPECT_EQ(outcome.content, expected);
  EXPECT_EQ(scene.ask(1, 4).restored, false);

  // Little is in it: the record over the border and one more.
  {
    WalBuilder over(plain());
    over.grow_to(kSize.start(2) + (0 - std::uint64_t{9'000}));
    over.append_random(20'000);
    over.append_random(100);
    Scene young;
    young.options.partial = true;
    young.put(over, 1);
    young.put_partial(over, over.end());
    const auto result = young.ask(1, 2);
    EXPECT_EQ(result.restored, true) << result.what;
  }

  // As pg_receivewal leaves its compressed one when it is killed.
  {
    const auto method = Method::gzip;
    Scene stock;
    stock.options.partial = true;
    stock.put(wal, 2);
    auto packed = pack(Scene::segment(wal, 3), method);
    packed.resize(packed.size() / 3);
    stock.archive.put(name_of(1, 3) + std::string(codec::suffix(method)) + ".partial", packed);
    const auto result = stock.ask(1, 3);
    EXPECT_EQ(result.restored, true) << result.what;
    EXPECT_EQ(result.content.size(), kSize.bytes());
  }

  // A later segment: that the recovery would not find the rest is a gap.
  scene.put(wal, 4);
  EXPECT_EQ(scene.ask(1, 3).error, ErrorKind::gap);
  scene.archive.erase(name_of(1, 4));
  wal.grow_to(kSize.start(5));
  scene.put_partial(wal, kSize.start(4) + 100'000);
  EXPECT_EQ(scene.ask(1, 3).error, ErrorKind::gap);
  // Both unfinished for a moment, but this one is whole.
  scene.put(wal, 3, Method::none, ".partial");
  outcome = scene.ask(1, 3);
  EXPECT_EQ(outcome.restored, true) << outcome.what;
  EXPECT_EQ(outcome.content, copy(Scene::segment(wal, 3)));
}

/// Segments 1 and 2, the front of 3, a hole, and segments from 6 on.
struct HoleScene : Scene {
  HoleScene() : wal(plain()), end(kSize.start(3) + 300'001) {
    wal.grow_to(kSize.start(9));
    put(wal, 1);
    put(wal, 2);
    put_partial(wal, end);
    cut = wal.complete_end(end);
  }
  void behind(const std::string& suffix) { put(wal, 6, Method::none, suffix); }
  void mark() { archive.put(archive::hole_mark_name(wal::SegmentName(1, 6, kSize)), {}); }
  void record(bool acknowledged) {
    archive::Loss loss;
    loss.timeline = loss.next_timeline = 1;
    loss.begin = kSize.start(3);
    loss.end = kSize.start(6);
    loss.segment_size = kSize;
    loss.sound_end = cut;
    const auto directory = archive.open();
    archive::record_loss(*directory, loss);
    if (acknowledged) archive::acknowledge_loss(*directory, loss, {"now", "me", "known"});
  }
  [[nodiscard]] Bytes front() {
    const auto bytes = wal.bytes(kSize.start(3), cut);
    Bytes content(bytes.begin(), bytes.end());
    content.resize(kSize.bytes());
    return content;
  }
  WalBuilder wal;
  wal::Lsn end;
  wal::Lsn cut;
};

TEST(RestoreFile, EndsBeforeWhatIsNoSegmentByItsSizeOnlyIfAsked) {
  WalBuilder wal(plain());
  wal.grow_to(kSize.start(6));
  const auto whole = Scene::segment(wal, 3);
  auto damaged = copy(whole);
  damaged[500'000] ^= std::byte{1};
  auto longer = copy(whole);
  longer.resize(kSize.bytes() + 8192);
  struct Case {
    const char* name;
    const char* suffix;
    Bytes content;
    bool hole;
  };
  for (const auto& c :
       {Case{"empty", "", {}, true}, Case{"short", "", copy(whole.first(300'000)), true},
        Case{"long", "", longer, true}, Case{"empty zstd", ".zst", {}, true},
        Case{"zstd of too little", ".zst", pack(whole.first(300'000), Method::zstd), true},
        Case{"damaged", "", damaged, false},
        Case{"damaged and compressed", ".zst", pack(damaged, Method::zstd), false}})
    for (const bool up_to_hole : {false, true}) {
      SCOPED_TRACE(::testing::Message() << c.name << up_to_hole);
      Scene scene;
      for (const auto segno : {1, 2, 4, 5}) scene.put(wal, static_cast<std::uint64_t>(segno));
      scene.archive.put(name_of(1, 3) + c.suffix, c.content);
      scene.options.partial = scene.options.up_to_hole = up_to_hole;
      EXPECT_EQ(scene.ask(1, 2).restored, true);
      const auto outcome = scene.ask(1, 3);
      if (up_to_hole && c.hole) {
        EXPECT_EQ(outcome.restored, false) << outcome.what;
        EXPECT_NE(scene.log.text.find("the recovery ends before this hole (--until-gap)"),
                  std::string::npos)
            << scene.log.text;
      } else {
        EXPECT_EQ(outcome.error, ErrorKind::damage) << outcome.what;
      }
    }
}

TEST(RestoreFile, NeverEndsARecoveryAtAHoleUnlessAsked) {
  for (const bool finished : {false, true})
    for (const bool marked : {false, true})
      for (const bool partial : {false, true})
        for (const std::uint64_t segno : {3, 4, 5}) {
          SCOPED_TRACE(::testing::Message() << finished << marked << partial << segno);
          HoleScene scene;
          scene.behind(finished ? "" : ".partial");
          if (marked) scene.mark();
          scene.options.partial = partial;
          const auto outcome = scene.ask(1, segno);
          EXPECT_EQ(outcome.error, ErrorKind::gap) << outcome.what;
          EXPECT_NE(outcome.what.find("--until-gap"), std::string::npos) << outcome.what;
        }
}

TEST(RestoreFile, IsNotSilencedByAHoleThatIsOnRecordAndAcknowledged) {
  for (const bool acknowledged : {false, true})
    for (const bool behind_is_there : {false, true})
      for (const bool partial : {false, true})
        for (const std::uint64_t segno : {3, 4, 5}) {
          SCOPED_TRACE(::testing::Message() << acknowledged << behind_is_there << partial << segno);
          HoleScene scene;
          if (behind_is_there) scene.behind(".partial");
          scene.record(acknowledged);
          scene.options.partial = partial;
          EXPECT_EQ(scene.ask(1, segno).error, ErrorKind::gap);
        }
}

TEST(RestoreFile, RecoversToTheLastByteBeforeAHoleIfAsked) {
  for (const bool finished : {false, true}) {
    SCOPED_TRACE(finished);
    HoleScene scene;
    scene.behind(finished ? "" : ".partial");
    if (!finished) scene.mark();
    scene.options.partial = scene.options.up_to_hole = true;
    EXPECT_EQ(scene.ask(1, 1).restored, true);
    EXPECT_EQ(scene.ask(1, 2).restored, true);
    const auto edge = scene.ask(1, 3);
    EXPECT_EQ(edge.restored, true) << edge.what;
    EXPECT_EQ(edge.content, scene.front());
    EXPECT_NE(scene.log.text.find("before a hole"), std::string::npos) << scene.log.text;
    for (const std::uint64_t segno : {4, 5}) {
      scene.log.text.clear();
      EXPECT_EQ(scene.ask(1, segno).restored, false);
      EXPECT_NE(scene.log.text.find("before this hole"), std::string::npos) << scene.log.text;
    }
    // For a backup that was taken behind the hole there is none on the way.
    EXPECT_EQ(scene.ask(1, 6).restored, true);
    // Damage is no hole, and a lost history is none either.
    auto content = copy(Scene::segment(scene.wal, 2));
    for (std::size_t i = 500'000; i < 500'064; ++i) content[i] ^= std::byte{0xFF};
    scene.archive.put(name_of(1, 2), content);
    EXPECT_EQ(scene.ask(1, 2).error, ErrorKind::damage);
    scene.archive.put(name_of(2, 7), content);
    EXPECT_EQ(scene.ask("00000002.history").error, ErrorKind::gap);
  }
}

TEST(RestoreFile, RecoversToAHoleBehindAFinishedSegment) {
  HoleScene scene;
  scene.archive.erase(name_of(1, 3) + ".partial");
  scene.behind("");
  EXPECT_EQ(scene.ask(1, 3).error, ErrorKind::gap);
  scene.options.partial = scene.options.up_to_hole = true;
  EXPECT_EQ(scene.ask(1, 2).restored, true);
  EXPECT_EQ(scene.ask(1, 3).restored, false);
}

TEST(RestoreFile, TakesNoOlderBranchForWhatIsMissingWhereATimelineBegins) {
  WalBuilder one(plain());
  one.grow_to(kSize.start(7));
  const auto at = one.fork_point(kSize.start(3) + 400'000);
  Scene scene;
  for (std::uint64_t segno = 1; segno < 6; ++segno) scene.put(one, segno);
  auto two = verify::promote(one, at, 2, 9);
  two.grow_to(kSize.start(8));
  scene.put(two, 5);
  const auto history = verify::history_line(1, at);
  scene.archive.put("00000002.history", test::as_bytes(history));
  scene.options.partial = scene.options.up_to_hole = true;
  const auto outcome = scene.ask(2, 3);
  EXPECT_EQ(outcome.error, ErrorKind::gap) << outcome.what;
  EXPECT_NE(outcome.what.find("recovery_target_timeline = '1'"), std::string::npos);
  // Nothing of the older branch could be taken for it.
  scene.archive.erase(name_of(1, 3));
  EXPECT_EQ(scene.ask(2, 3).restored, false);
}

TEST(RestoreFile, ReadsWhatIsBeingWrittenUpToWhatIsDurable) {
  WalBuilder wal(plain());
  wal.grow_to(kSize.start(3) + 400'000);
  const auto end = kSize.start(3) + 300'001;
  Scene scene;
  scene.options.partial = true;
  scene.put(wal, 2);
  // Behind what is durable the pages come in any order.
  const auto bytes = wal.bytes(kSize.start(3), kSize.start(3) + 400'000);
  Bytes content(bytes.begin(), bytes.end());
  content.resize(kSize.bytes());
  std::fill_n(content.begin() + 301'000, 20'000, std::byte{0});
  scene.archive.put(name_of(1, 3) + ".partial", content);
  EXPECT_EQ(scene.ask(1, 3).error, ErrorKind::damage);
  scene.options.durable_end = [&](const std::string&) { return DurableEnd{1, end}; };
  const auto outcome = scene.ask(1, 3);
  EXPECT_EQ(outcome.restored, true) << outcome.what;
  EXPECT_TRUE(std::equal(
      outcome.content.begin(),
      outcome.content.begin() + static_cast<std::ptrdiff_t>(wal.complete_end(end) - kSize.start(3)),
      content.begin()));
  EXPECT_EQ(outcome.content.back(), std::byte{0});
  // It writes elsewhere; or it is not the segment that is being written.
  scene.options.durable_end = [&](const std::string&) {
    return DurableEnd{1, end, kSize.start(3) + 301'000};
  };
  EXPECT_EQ(scene.ask(1, 3).error, ErrorKind::damage);
  scene.options.durable_end = [&](const std::string&) {
    return DurableEnd{1, kSize.start(3) + 350'000, kSize.start(3) + 400'000};
  };
  EXPECT_EQ(scene.ask(1, 3).error, ErrorKind::damage);
  scene.options.durable_end = [&](const std::string&) { return DurableEnd{2, end}; };
  EXPECT_EQ(scene.ask(1, 3).error, ErrorKind::damage);
}

/// A stream begins again at the segment's first byte, and a receiver may tell that as its position
/// though the file holds what was acknowledged before.
TEST(RestoreFile, RestoresAllThatIsSoundWhileItIsReceivedAgain) {
  WalBuilder wal(plain());
  wal.grow_to(kSize.start(5));
  const auto end = wal.complete_end(kSize.start(3) + 400'000);
  Scene scene;
  scene.options.partial = true;
  scene.put(wal, 2);
  scene.put_partial(wal, end);
  for (const std::uint64_t again : {0, 100'000, 399'000}) {
    SCOPED_TRACE(again);
    const auto at = kSize.start(3) + again;
    scene.options.durable_end = [&](const std::string&) { return DurableEnd{1, at, at}; };
    const auto outcome = scene.ask(1, 3);
    EXPECT_EQ(outcome.restored, true) << outcome.what;
    EXPECT_NE(scene.log.text.find(fmt::format("WAL up to {}", end)), std::string::npos)
        << scene.log.text;
    scene.log.text.clear();
  }
  // The one behind it has WAL, too, which the receiver has not come to: this one must be whole.
  scene.put_partial(wal, wal.complete_end(kSize.start(4) + 100'000));
  const auto at = kSize.start(3) + 1000;
  scene.options.durable_end = [&](const std::string&) { return DurableEnd{1, at, at}; };
  EXPECT_EQ(scene.ask(1, 3).error, ErrorKind::gap);
  // It writes into both.
  scene.options.durable_end = [&](const std::string&) {
    return DurableEnd{1, at, kSize.start(4) + 100'000};
  };
  EXPECT_EQ(scene.ask(1, 3).restored, true);
  // Whole, and not given its final name yet.
  scene.archive.put(name_of(1, 3) + ".partial", copy(Scene::segment(wal, 3)));
  scene.options.durable_end = [&](const std::string&) { return DurableEnd{1, at, at}; };
  EXPECT_EQ(scene.ask(1, 3).content, copy(Scene::segment(wal, 3)));
  EXPECT_EQ(scene.ask(1, 4).restored, true);
  // What is durable ends within a record, of which the next page is there, too.
  const auto inside = kSize.start(4) + 100'000;
  ASSERT_LT(wal.complete_end(inside) + wal::kPageSize / 4, inside);
  scene.put_partial(wal, inside);
  EXPECT_EQ(scene.ask(1, 4).restored, true);
  scene.options.durable_end = [&](const std::string&) { return DurableEnd{1, inside, inside}; };
  EXPECT_EQ(scene.ask(1, 4).restored, true);
}

TEST(RestoreFile, IsNotMisledByAPartialThatGrowsWhileItIsRead) {
  WalBuilder wal(plain());
  wal.grow_to(kSize.start(4));
  Scene scene;
  scene.options.partial = true;
  scene.put(wal, 2);
  const auto name = name_of(1, 3) + ".partial";
  std::uint64_t written = 100'000;
  const auto grow = [&](std::uint64_t to) {
    const auto bytes = Scene::segment(wal, 3).first(to);
    Bytes content(bytes.begin(), bytes.end());
    content.resize(kSize.bytes());
    scene.archive.put(name, content);
    written = to;
  };
  grow(written);
  // Behind each piece that is read, the writer is farther on than the reader has seen.
  int reads = 0;
  scene.archive.set_hook([&](const sim::SimDisk::Call& call) {
    if (call.operation == sim::SimDisk::Operation::read && call.name == name && call.offset > 0 &&
        ++reads < 40)
      grow(std::min<std::uint64_t>(written + 300'000, kSize.bytes() - 1000));
    return sim::SimDisk::Effect::proceed();
  });
  const auto outcome = scene.ask(1, 3);
  EXPECT_EQ(outcome.restored, true) << outcome.what;
}

/// The archive changes at the N-th call, for every N: what is told is what was there before, or
/// what is there after.
TEST(RestoreFile, LooksAgainWhenTheArchiveChangesAtAnyCall) {
  WalBuilder wal(plain());
  wal.grow_to(kSize.start(6));
  struct Change {
    const char* name;
    std::function<void(Scene&)> begin;
    std::function<void(Scene&)> change;
    std::string ask;
    bool absent_before = false;
  };
  const auto rename = [](Scene& scene, const std::string& from, const std::string& to) {
    const auto content = scene.archive.content(from);
    scene.archive.put(to, content);
    scene.archive.erase(from);
  };
  const Change changes[] = {
      {"the unfinished one is finished",
       [&](Scene& scene) { scene.put(wal, 3, Method::none, ".partial"); },
       [&](Scene& scene) {
         rename(scene, name_of(1, 3) + ".partial", name_of(1, 3));
         scene.put_partial(wal, kSize.start(4) + 10);
       },
       name_of(1, 3)},
      {"the unfinished one is finished and compressed",
       [&](Scene& scene) { scene.put(wal, 3, Method::none, ".partial"); },
       [&](Scene& scene) {
         scene.put(wal, 3, Method::zstd);
         scene.archive.erase(name_of(1, 3) + ".partial");
       },
       name_of(1, 3)},
      {"a finished one is compressed", [&](Scene& scene) { scene.put(wal, 3); },
       [&](Scene& scene) {
         scene.put(wal, 3, Method::gzip);
         scene.archive.erase(name_of(1, 3));
       },
       name_of(1, 3)},
      {"the one behind is finished",
       [&](Scene& scene) {
         scene.put(wal, 3, Method::none, ".partial");
         scene.put(wal, 4, Method::none, ".partial");
       },
       [&](Scene& scene) {
         rename(scene, name_of(1, 3) + ".partial", name_of(1, 3));
         rename(scene, name_of(1, 4) + ".partial", name_of(1, 4));
       },
       name_of(1, 3)},
      {"a history's first segment is compressed",
       [&](Scene& scene) {
         const auto at = wal.fork_point(kSize.start(3) + 400'000);
         auto two = verify::promote(wal, at, 2, 9);
         two.grow_to(kSize.start(6));
         scene.put(two, 3);
         scene.archive.put("00000002.history", test::as_bytes(verify::history_line(1, at)));
       },
       [&](Scene& scene) {
         scene.archive.put(name_of(2, 3) + ".lz4",
                           pack(scene.archive.content(name_of(2, 3)), Method::lz4));
         scene.archive.erase(name_of(2, 3));
       },
       "00000002.history"},
  };
  for (const auto& test : changes) {
    SCOPED_TRACE(test.name);
    for (std::uint64_t call = 1;; ++call) {
      SCOPED_TRACE(call);
      Scene scene;
      scene.options.partial = true;
      scene.put(wal, 1);
      scene.put(wal, 2);
      test.begin(scene);
      bool changed = false;
      scene.archive.set_hook([&](const sim::SimDisk::Call& now) {
        if (now.number == call && !changed) {
          changed = true;
          test.change(scene);
        }
        return sim::SimDisk::Effect::proceed();
      });
      const auto outcome = scene.ask(test.ask);
      ASSERT_EQ(outcome.restored, true) << outcome.what;
      if (!changed) break;
    }
  }
}

TEST(RestoreFile, RefusesAPartialThatIsDamagedBeforeItsEnd) {
  WalBuilder wal(plain());
  wal.grow_to(kSize.start(2) + 400'000);
  Scene scene;
  scene.options.partial = true;
  scene.put(wal, 1);
  auto content = copy(wal.bytes(kSize.start(2), kSize.start(2) + 400'000));
  content.resize(kSize.bytes());
  content[100'003] ^= std::byte{1};
  scene.archive.put(name_of(1, 2) + ".partial", content);
  const auto outcome = scene.ask(1, 2);
  if (outcome.restored) {
    // The flipped bit may lie in alignment padding, which nobody reads.
    EXPECT_EQ(outcome.content[99'000], content[99'000]);
  } else {
    EXPECT_EQ(outcome.error, ErrorKind::damage);
    scene.options.partial_damaged = true;
    const auto cut = scene.ask(1, 2);
    EXPECT_EQ(cut.restored, true) << cut.what;
    EXPECT_EQ(cut.content.back(), std::byte{0});
  }
}

/// On its last page no page follows that shows it.
TEST(RestoreFile, TellsDamageOnTheLastPageOfAPartialFromItsEnd) {
  WalBuilder wal(plain());
  wal.grow_to(kSize.start(2) + 300'000);
  const wal::Lsn border((wal.end().byte() / wal::kPageSize + 2) * wal::kPageSize);
  while (border - wal.end() > 4000) wal.append_random(400);
  wal.append_up_to(wal::Lsn(border.byte() - 64));
  const auto over = wal.append_random(200);
  const auto second = wal.append_random(200);
  const auto last = wal.append_random(200);
  // Of this one, 3 bytes are in the next sector.
  const wal::Lsn sector((last.end.byte() / 512 + 1) * 512);
  const auto torn = wal.append_random(static_cast<std::uint32_t>(sector + 3 - last.end));
  ASSERT_GT(over.end, border);
  ASSERT_EQ(torn.start, last.end);
  ASSERT_LT(torn.end, border + wal::kPageSize);
  const auto in = [&](const WalBuilder::Record& record, std::uint64_t offset) {
    return wal.byte_of_record(record.start, offset);
  };
  struct Case {
    const char* name;
    std::optional<wal::Lsn> flipped;
    wal::Lsn end;  ///< zeros after it
    wal::Lsn sound;
    bool damage;
    std::optional<wal::Lsn> durable = std::nullopt;
  };
  const Case cases[] = {
      {"the last one but one", in(second, 100), last.end, second.start, true},
      {"the last one", in(last, 100), last.end, last.start, true},
      {"one over two pages", in(over, 30), last.end, over.start, true},
      {"the second part of it", in(over, 150), last.end, over.start, true},
      {"one over two pages that is the last one", in(over, 30), over.end, over.start, true},
      {"nothing", std::nullopt, last.end, last.end, false},
      {"the last one was received in part", std::nullopt, in(last, 160), last.start, false},
      {"only its header", std::nullopt, in(last, 24), last.start, false},
      {"the one over two pages was", std::nullopt, in(over, 160), over.start, false},
      {"nothing of the last sector", std::nullopt, sector, torn.start, false},
      {"confirmed, but not there", std::nullopt, in(last, 160), last.start, true, last.end},
      {"not there, and not confirmed", std::nullopt, in(last, 160), last.start, false, last.start},
      {"damaged, and not confirmed", in(last, 100), last.end, last.start, false, last.start},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    Scene scene;
    scene.options.partial = true;
    if (c.durable)
      scene.options.durable_end = [&](const std::string&) {
        return DurableEnd{1, *c.durable, border + wal::kPageSize};
      };
    scene.put(wal, 1);
    auto content = copy(wal.bytes(kSize.start(2), c.end));
    content.resize(kSize.bytes());
    if (c.flipped) content[*c.flipped - kSize.start(2)] ^= std::byte{1};
    scene.archive.put(name_of(1, 2) + ".partial", content);
    auto outcome = scene.ask(1, 2);
    if (c.damage) {
      EXPECT_EQ(outcome.error, ErrorKind::damage);
      EXPECT_NE(outcome.what.find("more WAL was written"), std::string::npos) << outcome.what;
      scene.options.partial_damaged = true;
      outcome = scene.ask(1, 2);
    }
    ASSERT_EQ(outcome.restored, true) << outcome.what;
    std::fill(content.begin() + static_cast<std::ptrdiff_t>(c.sound - kSize.start(2)),
              content.end(), std::byte{0});
    EXPECT_EQ(outcome.content, content);
  }
}

/// Asked for by --up-to-damage alone: the server finds zeros where the damage is.
TEST(RestoreFile, HandsOutWhatIsSoundBeforeTheDamageIfAsked) {
  for (const auto method : kMethods) {
    SCOPED_TRACE(static_cast<int>(method));
    WalBuilder wal(plain());
    auto content = copy(Scene::segment(wal, 2));
    const wal::Lsn place(kSize.start(2).byte() + 400'000);
    const auto record = std::find_if(wal.records().begin(), wal.records().end(),
                                     [&](const auto& each) { return each.start > place; });
    const auto at = wal.byte_of_record(record->start, 25) - kSize.start(2);
    const auto keep = std::prev(record)->end - kSize.start(2);
    content[at] ^= std::byte{1};
    Scene scene;
    for (const std::uint64_t segno : {1, 3, 4}) scene.put(wal, segno, method);
    scene.archive.put(name_of(1, 2) + std::string(codec::suffix(method)), pack(content, method));
    EXPECT_EQ(scene.ask(1, 2).error, ErrorKind::damage);
    scene.options.up_to_hole = scene.options.partial = true;
    EXPECT_EQ(scene.ask(1, 2).error, ErrorKind::damage) << "a hole is another thing";
    scene.options = {};
    scene.options.up_to_damage = true;
    const auto outcome = scene.ask(1, 2);
    ASSERT_EQ(outcome.restored, true) << outcome.what;
    ASSERT_EQ(outcome.content.size(), kSize.bytes());
    EXPECT_TRUE(std::equal(content.begin(), content.begin() + static_cast<std::ptrdiff_t>(keep),
                           outcome.content.begin()));
    EXPECT_TRUE(std::all_of(outcome.content.begin() + static_cast<std::ptrdiff_t>(keep),
                            outcome.content.end(), [](std::byte b) { return b == std::byte{}; }));
    EXPECT_NE(scene.log.text.find("(--up-to-damage)"), std::string::npos) << scene.log.text;
    // What is sound is handed out as it is.
    EXPECT_EQ(scene.ask(1, 3).content, copy(Scene::segment(wal, 3)));
    // Where nothing is sound before it, the recovery ends before the segment.
    content[9] ^= std::byte{1};
    scene.archive.put(name_of(1, 2) + std::string(codec::suffix(method)), pack(content, method));
    EXPECT_EQ(scene.ask(1, 2).restored, false);
  }
}

TEST(RestoreFile, LeavesADamagedSegmentToAServerThatHasAValidOne) {
  WalBuilder wal(plain());
  auto content = copy(Scene::segment(wal, 2));
  content[content.size() / 2] ^= std::byte{1};
  Scene scene;
  for (const std::uint64_t segno : {1, 3}) scene.put(wal, segno);
  scene.archive.put(name_of(1, 2), content);
  scene.options.up_to_damage = true;
  scene.options.system_identifier = wal.options().system_identifier;
  EXPECT_EQ(scene.ask(1, 2).restored, true);
  scene.target.put(name_of(1, 2), content);
  EXPECT_EQ(scene.ask(1, 2).restored, true);
  scene.target.put(name_of(1, 2), Scene::segment(wal, 2));
  EXPECT_EQ(scene.ask(1, 2).restored, false);
  EXPECT_NE(scene.log.text.find("valid copy in its pg_wal"), std::string::npos) << scene.log.text;
}

/// Recovery replaces its own file of the segment by the one that it gets.
TEST(RestoreFile, LeavesASegmentToAServerThatHasMoreOfItThanTheUnfinishedFile) {
  WalBuilder wal(plain());
  wal.grow_to(kSize.start(4));
  const auto archived = wal.complete_end(kSize.start(3) + 300'000);
  const auto between = wal.fork_point(kSize.start(3) + 450'000);
  const auto saved = wal.complete_end(kSize.start(3) + 600'000);
  auto other = wal.other_branch(wal.fork_point(kSize.start(3) + 100'000), 7, true);
  const auto up_to = [](WalBuilder& of, wal::Lsn end) {
    auto own = copy(of.bytes(kSize.start(3), end));
    own.resize(kSize.bytes());
    return own;
  };
  const auto recycled = copy(Scene::segment(wal, 2));
  auto overwritten = recycled;
  std::ranges::copy(wal.bytes(kSize.start(3), archived), overwritten.begin());
  struct Case {
    const char* name;
    Bytes own;
    bool restored;
    bool server = true;
    wal::Lsn left{};  ///< by timeline 2, which the archive knows; invalid: there is none
  };
  for (const auto& c :
       {Case{"more", up_to(wal, saved), false},
        Case{"all of it", copy(Scene::segment(wal, 3)), false},
        Case{"the same", up_to(wal, archived), true},
        Case{"less", up_to(wal, kSize.start(3) + 200'000), true}, Case{"recycled", recycled, true},
        Case{"the same in a recycled file", overwritten, true},
        Case{"zeros", Bytes(kSize.bytes()), true}, Case{"too short", Bytes(1000), true},
        Case{"another history", up_to(other, saved), true},
        Case{"by hand", up_to(wal, saved), true, false},
        Case{"more, up to a switchpoint", up_to(wal, between), false, true, between},
        Case{"more, after a switchpoint", up_to(wal, saved), true, true, between}})
    for (const bool up_to_hole : {false, true}) {
      SCOPED_TRACE(fmt::format("{}{}", c.name, up_to_hole ? ", --until-gap" : ""));
      Scene scene;
      for (const std::uint64_t segno : {1, 2}) scene.put(wal, segno);
      scene.put_partial(wal, archived);
      scene.target.put(name_of(1, 3), c.own);
      if (c.left.valid())
        scene.archive.put("00000002.history",
                          test::as_bytes(fmt::format("1\t{}\treason\n", c.left)));
      (up_to_hole ? scene.options.up_to_hole : scene.options.partial) = true;
      if (c.server) scene.options.system_identifier = wal.options().system_identifier;
      const auto outcome = scene.ask(1, 3);
      ASSERT_EQ(outcome.restored, c.restored) << outcome.what;
      if (c.restored)
        EXPECT_TRUE(outcome.content == up_to(wal, archived)) << scene.log.text;
      else
        EXPECT_NE(scene.log.text.find("in its pg_wal"), std::string::npos) << scene.log.text;
      EXPECT_EQ(scene.target.content(name_of(1, 3)), c.own);
    }
}

/// The damaged byte may be in the segment after the one in which the record begins.
TEST(RestoreFile, HandsOutWhatPrecedesADamagedRecordOverABoundaryIfAsked) {
  for (const bool is_long : {false, true}) {
    SCOPED_TRACE(is_long);
    WalBuilder wal(plain());
    wal.grow_to(wal::Lsn(kSize.start(3).byte() - (is_long ? 500'000U : 30'000U)));
    const auto before = wal.complete_end(wal.end());
    const auto record = wal.append_random(is_long ? 3U << 20 : 60'000U);
    wal.grow_to(kSize.start(8));
    ASSERT_EQ(kSize.segno(record.start), 2U);
    ASSERT_GT(record.end, kSize.start(3));
    const auto whole = copy(Scene::segment(wal, 2));
    Scene scene;
    for (std::uint64_t segno = 1; segno <= 7; ++segno) scene.put(wal, segno);
    auto content = copy(Scene::segment(wal, 3));
    content[100] ^= std::byte{8};
    scene.archive.put(name_of(1, 3), content);
    EXPECT_EQ(scene.ask(1, 3).error, ErrorKind::damage);
    scene.options.up_to_damage = true;
    const auto outcome = scene.ask(1, 2);
    ASSERT_EQ(outcome.restored, true) << outcome.what;
    auto expected = whole;
    if (is_long)
      std::fill(expected.begin() + static_cast<std::ptrdiff_t>(before - kSize.start(2)),
                expected.end(), std::byte{});
    EXPECT_EQ(outcome.content, expected);
    // The server has what it was given.
    scene.options.system_identifier = wal.options().system_identifier;
    scene.target.put(name_of(1, 2), outcome.content);
    EXPECT_EQ(scene.ask(1, 3).restored, false);
  }
}

/// A full disk or a crash has cut off a file that another program copied to its final name.
TEST(RestoreFile, HandsOutWhatAFileThatIsTooShortHasIfAsked) {
  for (const auto method : {Method::none, Method::zstd}) {
    SCOPED_TRACE(static_cast<int>(method));
    WalBuilder wal(plain());
    wal.grow_to(kSize.start(5));
    const auto front = copy(Scene::segment(wal, 2).first(600'000));
    const auto keep = wal.complete_end(kSize.start(2) + front.size()) - kSize.start(2);
    Scene scene;
    for (const std::uint64_t segno : {1, 3, 4}) scene.put(wal, segno);
    scene.archive.put(name_of(1, 2) + std::string(codec::suffix(method)), pack(front, method));
    EXPECT_EQ(scene.ask(1, 2).error, ErrorKind::damage);
    scene.options.up_to_damage = true;
    const auto outcome = scene.ask(1, 2);
    ASSERT_EQ(outcome.restored, true) << outcome.what;
    ASSERT_EQ(outcome.content.size(), kSize.bytes());
    EXPECT_TRUE(std::equal(front.begin(), front.begin() + static_cast<std::ptrdiff_t>(keep),
                           outcome.content.begin()));
    EXPECT_TRUE(std::all_of(outcome.content.begin() + static_cast<std::ptrdiff_t>(keep),
                            outcome.content.end(), [](std::byte b) { return b == std::byte{}; }));
    scene.archive.put(name_of(1, 2) + std::string(codec::suffix(method)), {});
    EXPECT_EQ(scene.ask(1, 2).restored, false);
  }
}

TEST(RestoreFile, HandsOutNothingOfAnEmptyPartial) {
  WalBuilder wal(plain());
  Scene scene;
  scene.options.partial = true;
  scene.put(wal, 1);
  scene.archive.put(name_of(1, 2) + ".partial", Bytes(kSize.bytes()));
  EXPECT_EQ(scene.ask(1, 2).restored, false);
  scene.archive.put(name_of(1, 2) + ".partial", Bytes());
  EXPECT_EQ(scene.ask(1, 2).restored, false);
}

TEST(RestoreFile, LeavesNothingBehindWhenTheTargetsDiskIsFull) {
  WalBuilder wal(plain());
  Scene scene;
  scene.put(wal, 1);
  scene.target.set_capacity(300'000);
  const auto outcome = scene.ask(1, 1);
  EXPECT_EQ(outcome.error, ErrorKind::disk_full) << outcome.what;
  EXPECT_NE(outcome.what.find("pg_wal"), std::string::npos) << outcome.what;
}

TEST(RestoreFile, FailsAtEveryCallWithoutAWrongResult) {
  WalBuilder wal(plain());
  wal.grow_to(kSize.start(4));
  const auto right = copy(Scene::segment(wal, 2));
  for (const bool at_archive : {true, false}) {
    bool passed = false;
    for (std::uint64_t call = 1; !passed; ++call) {
      SCOPED_TRACE(fmt::format("{} {}", at_archive, call));
      ASSERT_LT(call, 1000u);
      Scene scene;
      scene.put(wal, 1);
      scene.put(wal, 2, Method::zstd);
      auto& disk = at_archive ? scene.archive : scene.target;
      disk.reset_calls();
      disk.fail_at(call, EIO);
      const auto from = scene.archive.open();
      const auto to = scene.target.open();
      try {
        const auto result = restore_file(*from, parse_request(name_of(1, 2)), *to, "RECOVERYXLOG",
                                         scene.options, scene.log);
        EXPECT_TRUE(result.restored) << "an I/O error became an absence: " << result.why;
        EXPECT_EQ(scene.target.content("RECOVERYXLOG"), right);
        passed = disk.calls() < call;
      } catch (const Error& error) {
        EXPECT_FALSE(scene.target.exists("RECOVERYXLOG")) << error.what();
      }
    }
  }
}

/// Bytes of a segment that mean something: changing any other changes nothing for a reader.
std::vector<bool> meaningful(const WalBuilder& wal, std::uint64_t segno) {
  std::vector<bool> means(kSize.bytes());
  const auto begin = kSize.start(segno);
  const auto end = kSize.start(segno + 1);
  const auto mark = [&](wal::Lsn at) {
    if (at >= begin && at < end) means[at - begin] = true;
  };
  wal::Lsn filler_end;
  for (const auto& record : wal.records()) {
    if (record.kind == WalBuilder::Kind::aborted) continue;
    if (record.end < begin || record.start >= end) continue;
    for (std::uint64_t i = 0; i < record.length; ++i)
      // Two bytes of padding in the header are covered by the checksum, too.
      mark(wal.byte_of_record(record.start, i));
    if (record.kind == WalBuilder::Kind::xlog_switch && kSize.segno(record.start) == segno)
      filler_end = record.end;
  }
  for (auto page = begin; page < end; page = page + 8192) {
    if (filler_end.valid() && page >= filler_end) break;
    for (std::uint64_t i = 0; i < (page == begin ? 40u : 20u); ++i)
      if (i < 20 || i >= 24) mark(page + i);
  }
  return means;
}

TEST(RestoreFile, RestoresNoneOfManyRandomDamages) {
  const auto seed = test::seed_or(20261120);
  std::mt19937_64 random(seed);
  constexpr int kRounds = 700;
  int found = 0;
  WalBuilder wal({});
  for (int round = 0; round < kRounds; ++round) {
    if (round % 100 == 0) {
      wal = WalBuilder({.seed = seed % 1000 + static_cast<std::uint64_t>(round),
                        .server_major = 13 + round / 100 % 6});
      wal.grow_to(kSize.start(5));
    }
    const std::uint64_t segno = 2;
    const auto raw = copy(Scene::segment(wal, segno));
    const auto method = kMethods[random() % 4];
    auto file = pack(raw, method);
    const auto kind = random() % 6;
    std::string what;
    switch (kind) {
      case 0: {  // one bit
        const auto at = random() % file.size();
        file[at] ^= static_cast<std::byte>(1u << (random() % 8));
        what = fmt::format("bit at {}", at);
        break;
      }
      case 1: {  // cut off
        const auto size = random() % file.size();
        file.resize(size);
        what = fmt::format("cut at {}", size);
        break;
      }
      case 2: {  // a sector of zeros
        const auto at = random() % file.size();
        const auto length = std::min<std::size_t>(512, file.size() - at);
        std::fill_n(file.begin() + static_cast<std::ptrdiff_t>(at), length, std::byte{0});
        what = fmt::format("zeros at {}", at);
        break;
      }
      case 3: {  // a page of another segment in its place, damaged before it was compressed
        auto content = raw;
        const auto page = random() % (kSize.bytes() / 8192) * 8192;
        const auto other = wal.bytes(kSize.start(3) + page, kSize.start(3) + page + 8192);
        std::copy(other.begin(), other.end(), content.begin() + static_cast<std::ptrdiff_t>(page));
        file = pack(content, method);
        what = fmt::format("other page at {}", page);
        break;
      }
      case 4: {  // some bytes shifted in
        const auto at = random() % file.size();
        file.insert(file.begin() + static_cast<std::ptrdiff_t>(at), 1 + random() % 16,
                    std::byte{0x5A});
        what = fmt::format("inserted at {}", at);
        break;
      }
      default: {  // a bit of the WAL before it was compressed: the frame is right
        auto content = raw;
        const auto at = random() % content.size();
        content[at] ^= static_cast<std::byte>(1u << (random() % 8));
        file = pack(content, method);
        what = fmt::format("bit of the WAL at {}", at);
      }
    }
    SCOPED_TRACE(
        fmt::format("seed {} round {} form {}: {}", seed, round, static_cast<int>(method), what));
    Scene scene;
    scene.put(wal, 1);
    scene.put(wal, 3);
    scene.archive.put(name_of(1, segno) + std::string(codec::suffix(method)), file);
    const auto outcome = scene.ask(1, segno);
    EXPECT_NE(outcome.restored, false) << "damage became an absence: " << outcome.what;
    if (!outcome.restored) {
      ++found;
      continue;
    }
    if (outcome.content == raw) continue;  // what was damaged means nothing (a time in a header)
    ASSERT_EQ(outcome.content.size(), raw.size());
    const auto means = meaningful(wal, segno);
    for (std::size_t i = 0; i < raw.size(); ++i) {
      if (outcome.content[i] == raw[i] || !means[i]) continue;
      // XLP_BKP_REMOVABLE is a hint.
      if (i % 8192 == 2 && (outcome.content[i] ^ raw[i]) == std::byte{4}) continue;
      // The record over the border to the next segment is found when that one is asked for.
      scene.target.put(name_of(1, segno), outcome.content);
      scene.options.system_identifier = wal.options().system_identifier;
      scene.archive.put(name_of(1, segno) + std::string(codec::suffix(method)), file);
      EXPECT_TRUE(scene.ask(1, segno + 1).error) << "restored with a wrong byte at " << i;
      break;
    }
  }
  EXPECT_GT(found, kRounds / 2);
}

}  // namespace
}  // namespace weir::restore::restore_test

#include "store/send/push.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <random>
#include <set>
#include <utility>

#include "archive/home.h"
#include "archive/listing.h"
#include "archive/losses.h"
#include "archive/own_names.h"
#include "crypto/primitives.h"
#include "store/ledger/lost_segments.h"
#include "store/ledger/manifest_reader.h"
#include "store/ledger/manifest_writer.h"
#include "store/ledger/mark.h"
#include "store/memory_bytes.h"
#include "store/sealed/age_file.h"
#include "store/send/padded.h"
#include "support/archive_builder.h"
#include "support/error_of.h"
#include "support/just_changed.h"
#include "support/memory_store.h"
#include "support/recorded_begin.h"

namespace weir::store::push_test {
namespace {

using codec::Method;
using test::error_of;
using test::MemoryStore;
using testing::WalBuilder;
using verify::ArchiveBuilder;
using verify::kSize;
using Fault = MemoryStore::Fault;

const Layout kLayout(Layout::Form::barman, {"memory", "p"}, "main");

std::string key(std::uint64_t segno, const std::string& form = "", wal::TimelineId timeline = 1) {
  return kLayout.key(wal::SegmentName(timeline, segno, kSize)) + form;
}

test::Bytes unpacked(Method method, std::span<const std::byte> packed) {
  test::Bytes raw;
  const auto decompressor = codec::make_decompressor(method);
  static_cast<void>(decompressor->feed(packed, [&](std::span<const std::byte> piece) {
    raw.insert(raw.end(), piece.begin(), piece.end());
    return true;
  }));
  decompressor->finish();
  return raw;
}

test::Bytes content_of_segment(WalBuilder& wal, std::uint64_t segno) {
  const auto bytes = ArchiveBuilder::content(wal, segno);
  return {bytes.begin(), bytes.end()};
}

/// An archive with some segments, and what is to be sent of it.
class PushTest : public ::testing::Test {
 protected:
  void SetUp() override {
    wal_.grow_to(wal::Lsn(6 * kSize.bytes() + 200'000));
    builder_.segments(wal_, 1, 3);
    builder_.segments(wal_, 3, 6, Method::zstd);
    builder_.partial(wal_, wal::Lsn(6 * kSize.bytes() + 100'000));
  }
  PushResult push(std::size_t jobs = 3, const std::string& place = "here") {
    const auto directory = builder_.disk.open();
    NullLog log;
    return store::push(*directory, store_, kLayout,
                       {.store_name = place,
                        .jobs = jobs,
                        .retry_for = retry_for_,
                        .sealing = sealing_,
                        .compression = compression_,
                        .seed = 7},
                       machine_threads(), log);
  }
  void forget_mark() {
    const auto directory = builder_.disk.open();
    directory->remove(std::string(kMarkName));
    directory->sync();
  }
  std::optional<Mark> mark() { return read_mark(*builder_.disk.open()); }
  /// What the mark says is so.
  void expect_mark_is_true() {
    const auto found = mark();
    if (!found) return;
    for (const std::uint64_t segno : {1, 2, 3, 4, 5}) {
      const bool there = store_.objects.contains(key(segno, segno < 3 ? "" : ".zst"));
      EXPECT_TRUE(there || !found->has(wal::SegmentName(1, segno, kSize))) << segno;
    }
  }
  void expect_all_there() {
    for (const std::uint64_t segno : {1, 2, 3, 4, 5}) {
      const std::string form = segno < 3 ? "" : ".zst";
      const auto found = store_.objects.find(key(segno, form));
      ASSERT_NE(found, store_.objects.end()) << segno;
      EXPECT_EQ(found->second.bytes,
                builder_.disk.content(wal::SegmentName(1, segno, kSize).to_string() + form));
      EXPECT_EQ(store_.puts[found->first], 1u) << "written once";
    }
    EXPECT_EQ(mark()->sent.size(), 1u);
    expect_manifest_is_whole();
  }
  /// What is marked is told by a line, and the lines have no hole.
  void expect_manifest_is_whole() {
    const auto chains = read_manifests(store_, kLayout, {}, {});
    const auto objects = list_stored(store_, kLayout, {});
    const auto report = check_manifests(chains, objects, {});
    EXPECT_THAT(report.findings, ::testing::IsEmpty());
    const auto told = told_objects(chains, false);
    const auto found = mark();
    for (const std::uint64_t segno : {1, 2, 3, 4, 5})
      if (const wal::SegmentName segment(1, segno, kSize); found && found->has(segment)) {
        EXPECT_TRUE(told.contains(segment.to_string() + (segno < 3 ? "" : ".zst"))) << segno;
      }
  }

  WalBuilder wal_{WalBuilder::Options{}};
  ArchiveBuilder builder_;
  MemoryStore store_;
  std::chrono::milliseconds retry_for_{20'000};
  Sealing sealing_;
  std::optional<codec::Compression> compression_;
};

TEST_F(PushTest, SendsWhatIsFinishedOnce) {
  const auto first = push();
  EXPECT_EQ(first.segments, 5u);
  EXPECT_EQ(first.pending, 0u);
  EXPECT_TRUE(first.failures.empty());
  expect_all_there();
  // Nothing but the segments, the record of the cluster and a manifest: no probe is left, no
  // .partial is there.
  EXPECT_EQ(store_.objects.size(), 7u);
  const auto requests = store_.calls.size();
  EXPECT_EQ(push().segments, 0u);
  EXPECT_EQ(store_.calls.size(), requests + 1) << "one listing: the store has what the mark knows";
  EXPECT_EQ(store_.calls.back().what, "list");
}

TEST_F(PushTest, SendsAgainWhatTheStoreHasLost) {
  builder_.disk.put("00000002.history", test::bytes_of("1\t0/6000000\tno reason\n"));
  push();
  for (const auto& lost : {key(3, ".zst"), key(5, ".zst"), kLayout.history_key(2)})
    store_.objects.erase(lost);
  const auto result = push();
  EXPECT_EQ(result.vanished, 3u);
  EXPECT_EQ(result.segments, 2u);
  EXPECT_EQ(result.histories, 1u);
  EXPECT_TRUE(result.failures.empty());
  for (const auto& lost : {key(3, ".zst"), key(5, ".zst"), kLayout.history_key(2)})
    EXPECT_TRUE(store_.objects.contains(lost)) << lost;
  EXPECT_EQ(mark()->sent.size(), 1u);
  expect_manifest_is_whole();
  EXPECT_EQ(push().vanished, 0u);
}

/// Such as in a bucket with versioning, with a million delete markers before the first object.
TEST_F(PushTest, SendsThoughNotAllObjectsCanBeListed) {
  push();
  builder_.segments(wal_, 6, 7);
  bool listed = false;
  store_.fault = [&](const MemoryStore::Call& call) {
    return call.what == "list" && !std::exchange(listed, true) ? Fault::lost_request : Fault::none;
  };
  retry_for_ = {};
  const auto result = push();
  EXPECT_EQ(result.segments, 1u);
  ASSERT_EQ(result.failures.size(), 1u);
  EXPECT_EQ(result.failures.front().kind(), ErrorKind::retry);
  EXPECT_TRUE(mark()->has(wal::SegmentName(1, 6, kSize)));
}

TEST_F(PushTest, DoesNotCountAsSentWhatCouldNotBeSentAgain) {
  push();
  store_.objects.erase(key(3, ".zst"));
  store_.fault = [](const MemoryStore::Call& call) {
    return call.what == "put" && call.key == key(3, ".zst") ? Fault::refused : Fault::none;
  };
  const auto result = push();
  EXPECT_EQ(result.failures.size(), 1u);
  EXPECT_EQ(result.pending, 1u);
  EXPECT_FALSE(mark()->has(wal::SegmentName(1, 3, kSize)));
  EXPECT_TRUE(mark()->has(wal::SegmentName(1, 4, kSize)));
}

TEST_F(PushTest, TakesWhatIsGoneFromTheBeginningForPruned) {
  push();
  store_.objects.erase(key(1));
  store_.objects.erase(key(2));
  const auto result = push();
  EXPECT_EQ(result.vanished, 0u);
  EXPECT_FALSE(store_.objects.contains(key(1)));
}

TEST_F(PushTest, TakesNothingForPrunedInAStoreThatWasEmptied) {
  push();
  // Another archiver was quicker.
  const auto later = store_.objects.at(key(5, ".zst"));
  store_.objects.clear();
  store_.objects[key(5, ".zst")] = later;
  const auto result = push();
  EXPECT_TRUE(result.failures.empty());
  EXPECT_EQ(result.vanished, 4u);
  EXPECT_EQ(result.segments, 4u);
  EXPECT_TRUE(store_.objects.contains(key(1)));
  EXPECT_TRUE(store_.objects.contains(kLayout.own_key("pgweir.json")));
}

/// The run that notices it fails, after it has written the record of the cluster again.
TEST_F(PushTest, RemembersThatTheStoreWasEmptied) {
  push();
  const auto later = store_.objects.at(key(5, ".zst"));
  store_.objects.clear();
  store_.objects[key(5, ".zst")] = later;
  store_.fault = [](const MemoryStore::Call& call) {
    return call.what == "put" && call.key != kLayout.own_key("pgweir.json") ? Fault::refused
                                                                            : Fault::none;
  };
  EXPECT_EQ(error_of([&] { push(); }).kind(), ErrorKind::refused);
  ASSERT_TRUE(store_.objects.contains(kLayout.own_key("pgweir.json")));
  store_.fault = nullptr;
  const auto result = push();
  EXPECT_TRUE(result.failures.empty());
  EXPECT_EQ(result.vanished, 4u);
  EXPECT_TRUE(store_.objects.contains(key(1)));
  EXPECT_EQ(push().vanished, 0u);
  EXPECT_FALSE(mark()->emptied);
}

/// The store kept the first one.
TEST_F(PushTest, TakesWhatAPruneHasRecordedForPruned) {
  push();
  test::record_begin(store_, kLayout, wal::SegmentName(1, 4, kSize));
  for (const auto& lost : {key(2), key(3, ".zst"), key(5, ".zst")}) store_.objects.erase(lost);
  {
    const auto directory = builder_.disk.open();
    directory->remove(wal::SegmentName(1, 3, kSize).to_string() + ".zst");
    directory->sync();
  }
  const auto result = push();
  EXPECT_TRUE(result.failures.empty());
  EXPECT_EQ(result.vanished, 1u);
  EXPECT_FALSE(store_.objects.contains(key(2)));
  EXPECT_TRUE(store_.objects.contains(key(5, ".zst")));
}

TEST_F(PushTest, ReportsWhatIsGoneFromBothPlaces) {
  push();
  store_.objects.erase(key(3, ".zst"));
  {
    const auto directory = builder_.disk.open();
    directory->remove(wal::SegmentName(1, 3, kSize).to_string() + ".zst");
    directory->sync();
  }
  for (int i = 0; i < 2; ++i) {
    const auto result = push();
    ASSERT_EQ(result.failures.size(), 1u);
    EXPECT_EQ(result.failures[0].kind(), ErrorKind::gap);
  }
  const auto directory = builder_.disk.open();
  const auto losses = archive::read_losses(*directory, archive::list_archive(*directory));
  ASSERT_EQ(losses.size(), 1u);
  EXPECT_EQ(losses[0].begin, wal::Lsn(3 * kSize.bytes()));
  EXPECT_TRUE(store_.objects.contains(kLayout.records_prefix() + "loss-" + losses[0].id()));
  archive::acknowledge_loss(*directory, losses[0],
                            {.time = "2026-11-24 00:00:00Z", .who = "me", .reason = "known"});
  EXPECT_TRUE(push().failures.empty());
}

/// A run has requests for a thousand of them; those that are recorded need none.
TEST_F(PushTest, RecordsThousandsThatAreGoneFromBothPlaces) {
  push();
  {
    auto known = *mark();
    for (std::uint64_t segno = 11; segno <= 1'510; ++segno)
      known.add(wal::SegmentName(1, segno, kSize));
    known.add(wal::SegmentName(2, 1'600, kSize));
    const auto directory = builder_.disk.open();
    const auto memory = read_manifest_memory(*directory);
    archive::DirectoryHome home(*directory);
    keep_mark(home, known, memory.value_or(ManifestMemory()));
  }
  builder_.disk.put(wal::SegmentName(2, 1'600, kSize).to_string(), {});
  store_.objects.erase(kLayout.own_key("pgweir.json"));  // not pruned: the store was emptied
  EXPECT_EQ(push().vanished, 1u);
  EXPECT_EQ(push().failures.size(), 1'001u) << "the last one is the empty file";
  const auto directory = builder_.disk.open();
  const auto losses = archive::read_losses(*directory, archive::list_archive(*directory));
  ASSERT_EQ(losses.size(), 1u);
  EXPECT_EQ(losses[0].begin, wal::Lsn(11 * kSize.bytes()));
  EXPECT_EQ(losses[0].end, wal::Lsn(1'511 * kSize.bytes()));
}

/// Those that the archive has take none of the requests for the rest.
TEST_F(PushTest, RecordsWhatIsGoneFromBothPlacesBehindThousandsThatAreSentAgain) {
  const auto switchpoint = wal_.fork_point(wal::Lsn(5 * kSize.bytes() + 500'000));
  auto second = wal_.fork(switchpoint, 2, 5);
  second.grow_to(wal::Lsn(6 * kSize.bytes() + 200'000));
  builder_.segments(second, 5, 6);  // the newest file shows the cluster
  builder_.history(2, fmt::format("1\t{}\tno reason\n", switchpoint));
  push();
  {
    auto known = *mark();
    for (std::uint64_t segno = 11; segno <= 1'012; ++segno)
      known.add(wal::SegmentName(1, segno, kSize));
    const auto directory = builder_.disk.open();
    const auto memory = read_manifest_memory(*directory);
    archive::DirectoryHome home(*directory);
    keep_mark(home, known, memory.value_or(ManifestMemory()));
  }
  for (std::uint64_t segno = 11; segno <= 1'011; ++segno)
    builder_.disk.put(wal::SegmentName(1, segno, kSize).to_string(), {});
  const auto result = push();
  EXPECT_EQ(result.vanished, 1'001u);
  EXPECT_EQ(std::count_if(result.failures.begin(), result.failures.end(),
                          [](const Error& each) { return each.kind() == ErrorKind::gap; }),
            1);
  const auto directory = builder_.disk.open();
  const auto losses = archive::read_losses(*directory, archive::list_archive(*directory));
  ASSERT_EQ(losses.size(), 1u);
  EXPECT_EQ(losses[0].begin, wal::Lsn(1'012 * kSize.bytes()));
}

TEST_F(PushTest, RecordsAsLostWhatLeavesTheArchiveBeforeItIsSent) {
  const auto name = wal::SegmentName(1, 2, kSize).to_string();
  builder_.disk.set_hook([&](const sim::SimDisk::Call& call) {
    if (call.operation == sim::SimDisk::Operation::open && call.name == name &&
        builder_.disk.exists(name))
      builder_.disk.erase(name);
    return sim::SimDisk::Effect::proceed();
  });
  const auto result = push();
  ASSERT_EQ(result.failures.size(), 1u);
  EXPECT_EQ(result.failures[0].kind(), ErrorKind::gap);
  EXPECT_THAT(result.failures[0].what(), ::testing::HasSubstr(name));
  const auto directory = builder_.disk.open();
  const auto losses = archive::read_losses(*directory, archive::list_archive(*directory));
  ASSERT_EQ(losses.size(), 1u);
  EXPECT_EQ(losses[0].begin, wal::Lsn(2 * kSize.bytes()));
  EXPECT_TRUE(push().failures.empty());
  EXPECT_TRUE(store_.objects.contains(kLayout.records_prefix() + "loss-" + losses[0].id()));
}

/// The rest of a copy comes between the look at the content and the look at the time.
TEST_F(PushTest, SendsASegmentWhoseCopyEndsWhileItIsFoundTooShort) {
  for (const bool damaged : {false, true}) {
    SCOPED_TRACE(damaged);
    const auto name = wal::SegmentName(1, 2, kSize).to_string();
    const auto whole = builder_.disk.content(name);
    auto part = whole;
    part.resize(part.size() / 2);
    builder_.disk.put(name, part);
    std::atomic<bool> was_opened = false;
    builder_.disk.set_hook([&](const sim::SimDisk::Call& call) {
      using Operation = sim::SimDisk::Operation;
      if (call.name == name && call.operation == Operation::open) was_opened = true;
      if (call.name == name && call.operation == Operation::find && was_opened) {
        auto bytes = whole;
        if (damaged) bytes[100'004] ^= std::byte{1};
        builder_.disk.put(name, bytes);
      }
      return sim::SimDisk::Effect::proceed();
    });
    test::JustChanged directory(builder_.disk.open());
    NullLog log;
    const auto result = store::push(directory, store_, kLayout,
                                    {.store_name = "here",
                                     .jobs = 1,
                                     .retry_for = std::chrono::seconds(20),
                                     .sealing = sealing_,
                                     .compression = compression_,
                                     .seed = 7},
                                    machine_threads(), log);
    builder_.disk.set_hook({});
    if (damaged) {
      ASSERT_EQ(result.failures.size(), 1u);
      EXPECT_EQ(result.failures[0].kind(), ErrorKind::damage);
      continue;
    }
    EXPECT_TRUE(result.failures.empty());
    expect_all_there();
    forget_mark();
    builder_.disk.put(name, whole);
    store_.objects.clear();
    store_.puts.clear();
  }
}

TEST_F(PushTest, ReportsAnObjectThatIsNoSegmentByItsSize) {
  push();
  store_.place(key(2), test::bytes_of("short"));
  const auto result = push();
  ASSERT_EQ(result.failures.size(), 1u);
  EXPECT_EQ(result.failures[0].kind(), ErrorKind::conflict);
}

TEST_F(PushTest, TellsOfEachObjectWhatItIs) {
  push();
  const auto& metadata = store_.objects[key(3, ".zst")].metadata;
  EXPECT_EQ(metadata.at("pgweir-system-id"), std::to_string(wal_.options().system_identifier));
  EXPECT_EQ(metadata.at("pgweir-segment-size"), std::to_string(kSize.bytes()));
  EXPECT_EQ(metadata.at("pgweir-sha256").size(), 64u);
}

TEST_F(PushTest, TellsInTheManifestWhatIsStored) {
  const auto result = push();
  const auto chains = read_manifests(store_, kLayout, {}, {});
  ASSERT_EQ(chains.size(), 1u);
  EXPECT_EQ(chains[0].id, result.manifest);
  EXPECT_EQ(chains[0].head(), result.head);
  EXPECT_EQ(read_manifest_memory(*builder_.disk.open())->head, result.head);
  ASSERT_EQ(chains[0].lines.size(), 5u);
  const auto told = told_objects(chains, false);
  for (const std::uint64_t segno : {1, 3}) {
    const wal::SegmentName segment(1, segno, kSize);
    const auto name = segment.to_string() + (segno < 3 ? "" : ".zst");
    const auto& entry = *told.at(name).front();
    const auto& object = store_.objects[key(segno, segno < 3 ? "" : ".zst")];
    EXPECT_EQ(entry.kind, ManifestEntry::Kind::put);
    EXPECT_EQ(entry.size, object.bytes.size());
    EXPECT_EQ(entry.md5, object.etag);
    EXPECT_EQ(entry.sha256, object.metadata.at("pgweir-sha256"));
    EXPECT_EQ(entry.system_identifier, wal_.options().system_identifier);
    EXPECT_LE(segment.start(kSize), entry.first);
    EXPECT_LT(entry.first, entry.last);
    EXPECT_LE(entry.last, segment.start(kSize) + kSize.bytes());
  }
}

TEST_F(PushTest, MarksNothingOfWhichNoLineTells) {
  store_.fault = [](const MemoryStore::Call& call) {
    return call.what == "put" && call.key.find("/manifest/") != std::string::npos ? Fault::refused
                                                                                  : Fault::none;
  };
  EXPECT_EQ(error_of([&] { push(); }).kind(), ErrorKind::refused);
  EXPECT_TRUE(mark()->empty());
  EXPECT_TRUE(store_.objects.contains(key(1)));
  store_.fault = nullptr;
  EXPECT_GE(push().were_there, 1u);
  expect_all_there();
}

TEST_F(PushTest, BeginsAnotherManifestWhenTheMarkIsLost) {
  const auto first = push();
  forget_mark();
  const auto second = push();
  EXPECT_NE(first.manifest, second.manifest);
  const auto chains = read_manifests(store_, kLayout, {}, {});
  ASSERT_EQ(chains.size(), 2u);
  for (const auto& line : chains[chains[0].id == second.manifest ? 0 : 1].lines)
    EXPECT_EQ(line.entry.kind, ManifestEntry::Kind::same);
  expect_all_there();
}

TEST_F(PushTest, FindsOutAgainWhatIsThereWhenTheMarkIsLost) {
  push();
  forget_mark();
  const auto again = push();
  EXPECT_EQ(again.segments, 0u);
  EXPECT_EQ(again.were_there, 5u);
  expect_all_there();
}

TEST_F(PushTest, TakesAnotherPlaceForOneThatHasNothing) {
  push();
  store_.objects.clear();
  EXPECT_EQ(push(3, "elsewhere").segments, 5u);
}

TEST_F(PushTest, TakesALostAnswerForNoError) {
  std::set<std::string> lost;
  store_.fault = [&](const MemoryStore::Call& call) {
    return call.what == "put" && lost.insert(call.key).second ? Fault::lost_answer : Fault::none;
  };
  const auto result = push();
  EXPECT_EQ(result.segments, 0u);
  EXPECT_EQ(result.were_there, 5u);
  EXPECT_TRUE(result.failures.empty());
  expect_all_there();
}

TEST_F(PushTest, GoesOnThroughThrottlingAndLostRequests) {
  std::mt19937_64 random(test::seed_or(43));
  store_.fault = [&](const MemoryStore::Call&) {
    const auto dice = random() % 12;
    return dice < 2 ? Fault::throttled : dice == 2 ? Fault::lost_request : Fault::none;
  };
  EXPECT_TRUE(push().failures.empty());
  store_.fault = nullptr;
  expect_all_there();
}

TEST_F(PushTest, StopsAtARefusalAndKeepsWhatIsSent) {
  std::size_t puts = 0;
  store_.fault = [&](const MemoryStore::Call& call) {
    return call.what == "put" && call.key.find("/wals/") != std::string::npos && ++puts > 2
               ? Fault::refused
               : Fault::none;
  };
  const auto result = push(1);
  ASSERT_EQ(result.failures.size(), 1u);
  EXPECT_EQ(result.failures.front().kind(), ErrorKind::refused);
  EXPECT_EQ(result.segments, 2u);
  EXPECT_EQ(result.pending, 3u);
  expect_mark_is_true();
  store_.fault = nullptr;
  EXPECT_EQ(push().segments, 3u);
  expect_all_there();
}

TEST_F(PushTest, OverwritesNothing) {
  const auto other = test::bytes_of("somebody else's");
  store_.place(key(2), other);
  const auto result = push();
  ASSERT_EQ(result.failures.size(), 1u);
  EXPECT_EQ(result.failures.front().kind(), ErrorKind::conflict);
  EXPECT_THAT(result.failures.front().what(), ::testing::HasSubstr(key(2)));
  EXPECT_EQ(store_.objects[key(2)].bytes, other);
  EXPECT_TRUE(mark()->has(wal::SegmentName(1, 1, kSize)));
  EXPECT_FALSE(mark()->has(wal::SegmentName(1, 2, kSize)));
  EXPECT_FALSE(mark()->has(wal::SegmentName(1, 3, kSize))) << "not behind what is not there";
}

TEST_F(PushTest, TakesTheSameWalInAnotherFormForTheSame) {
  store_.place(key(1, ".zst"), verify::packed(Method::zstd, ArchiveBuilder::content(wal_, 1)));
  store_.place(key(3), ArchiveBuilder::content(wal_, 3));
  // The same form, packed by somebody else.
  store_.place(key(2, ".gz"), verify::packed(Method::gzip, ArchiveBuilder::content(wal_, 2)));
  const auto result = push();
  EXPECT_TRUE(result.failures.empty());
  EXPECT_EQ(result.were_there, 3u);
  EXPECT_EQ(result.segments, 2u);
  EXPECT_FALSE(store_.objects.contains(key(1))) << "a second form helps nobody";
}

/// A process was killed, or may not remove objects, when it had stored the complete segment in
/// another form than the padded one: readers would use that one.
TEST_F(PushTest, RemovesAPaddedSegmentNextToTheCompleteOne) {
  const auto start = wal::SegmentName(1, 3, kSize).start(kSize);
  const auto end = wal_.complete_end(start + 100'000);
  auto padded = content_of_segment(wal_, 3);
  std::fill(padded.begin() + static_cast<std::ptrdiff_t>(end - start), padded.end(), std::byte{});
  store_.place(key(3), padded);
  store_.objects[key(3)].metadata = {{kPaddedMetadata, end.to_string()}};
  const auto complete = builder_.disk.content(wal::SegmentName(1, 3, kSize).to_string() + ".zst");
  store_.place(key(3, ".zst"), complete);
  const auto result = push();
  EXPECT_TRUE(result.failures.empty());
  EXPECT_EQ(result.were_there, 1u);
  EXPECT_FALSE(store_.objects.contains(key(3)));
  EXPECT_EQ(store_.objects.at(key(3, ".zst")).bytes, complete);
  // In the other order, too: the complete one is found first.
  forget_mark();
  auto packed = test::Bytes();
  const auto compressor = codec::make_compressor({Method::gzip, 1}, padded.size());
  const auto take = [&](std::span<const std::byte> piece) {
    packed.insert(packed.end(), piece.begin(), piece.end());
  };
  auto front = content_of_segment(wal_, 2);
  const auto end_of_front = wal_.complete_end(wal::SegmentName(1, 2, kSize).start(kSize) + 100'000);
  std::fill(front.begin() + static_cast<std::ptrdiff_t>(kSize.offset(end_of_front)), front.end(),
            std::byte{});
  compressor->feed(front, take);
  compressor->finish(take);
  store_.place(key(2, ".gz"), packed);
  store_.objects[key(2, ".gz")].metadata = {{kPaddedMetadata, end_of_front.to_string()}};
  EXPECT_TRUE(push().failures.empty());
  EXPECT_FALSE(store_.objects.contains(key(2, ".gz")));
  EXPECT_TRUE(store_.objects.contains(key(2)));
}

TEST_F(PushTest, SeesOtherWalInAnotherForm) {
  WalBuilder other(WalBuilder::Options{.seed = 4711});
  other.grow_to(wal::Lsn(2 * kSize.bytes()));
  store_.place(key(1, ".zst"), verify::packed(Method::zstd, ArchiveBuilder::content(other, 1)));
  const auto result = push();
  ASSERT_EQ(result.failures.size(), 1u);
  EXPECT_EQ(result.failures.front().kind(), ErrorKind::conflict);
  EXPECT_TRUE(mark().value_or(Mark{}).sent.empty());
}

TEST_F(PushTest, SendsTheFormatThatIsWanted) {
  for (const auto& [form, suffix] : {std::pair("gzip", ".gz"), {"zstd", ".zst"}, {"none", ""}}) {
    SCOPED_TRACE(form);
    store_.objects.clear();
    compression_ = codec::Compression::parse(form);
    const auto result = push(3, form);
    EXPECT_TRUE(result.failures.empty());
    EXPECT_EQ(result.segments, 5u);
    EXPECT_EQ(store_.objects.size(), 7u) << "each once, in one format";
    for (const std::uint64_t segno : {1, 2, 3, 4, 5}) {
      const auto found = store_.objects.find(key(segno, suffix));
      ASSERT_NE(found, store_.objects.end()) << segno;
      EXPECT_EQ(unpacked(compression_->method, found->second.bytes),
                content_of_segment(wal_, segno));
    }
    const auto chains = read_manifests(store_, kLayout, {}, {});
    EXPECT_THAT(check_manifests(chains, list_stored(store_, kLayout, {}), {}).findings,
                ::testing::IsEmpty());
    EXPECT_TRUE(
        told_objects(chains, false).contains("000000010000000000000003" + std::string(suffix)));
    EXPECT_EQ(mark()->sent.size(), 1u);
    EXPECT_EQ(push(3, form).segments, 0u);
    // Found again without the mark, and the objects are not fetched: their MD5 is the same.
    forget_mark();
    store_.calls.clear();
    EXPECT_EQ(push(3, form).were_there, 5u);
    EXPECT_EQ(std::count_if(store_.calls.begin(), store_.calls.end(),
                            [&](const auto& call) {
                              return call.what == "get" && call.key.find("/wals/") != call.key.npos;
                            }),
              0);
  }
}

TEST_F(PushTest, SendsNothingAgainInAnotherFormat) {
  push();
  const auto before = store_.objects.size();
  compression_ = codec::Compression::parse("gzip");
  EXPECT_EQ(push().segments, 0u);
  forget_mark();
  const auto result = push();
  EXPECT_TRUE(result.failures.empty());
  EXPECT_EQ(result.were_there, 5u);
  EXPECT_EQ(result.segments, 0u);
  EXPECT_FALSE(store_.objects.contains(key(3, ".gz"))) << "a second form helps nobody";
  EXPECT_EQ(store_.objects.size(), before + 1) << "another manifest";
}

TEST_F(PushTest, EncryptsTheFormatThatIsWanted) {
  crypto::X25519 key_of_age{};
  crypto::random_bytes(key_of_age);
  const AgeIdentity identity(key_of_age);
  sealing_ = {.recipients = {identity.recipient()},
              .compare_key = std::vector<std::byte>(32, std::byte{3})};
  compression_ = codec::Compression::parse("gzip");
  EXPECT_EQ(push().segments, 5u);
  for (const std::uint64_t segno : {1, 2, 3, 4, 5}) {
    const auto found = store_.objects.find(key(segno, ".gz.age"));
    ASSERT_NE(found, store_.objects.end()) << segno;
    AgeOpened opened(std::make_unique<MemoryBytes>(found->second.bytes), std::span(&identity, 1),
                     found->first);
    test::Bytes packed(opened.size());
    ASSERT_EQ(opened.read_at(0, packed), packed.size());
    EXPECT_EQ(unpacked(Method::gzip, packed), content_of_segment(wal_, segno));
    EXPECT_EQ(found->second.metadata.at("pgweir-plain-size"), std::to_string(packed.size()));
  }
  forget_mark();
  const auto again = push();
  EXPECT_EQ(again.were_there, 5u);
  EXPECT_EQ(again.not_compared, 0u);
  // Readers use the oldest version, whose metadata do not tell its content.
  store_.versions_kept = true;
  store_.older[key(1, ".gz.age")] = test::bytes_of("somebody else's");
  ++store_.puts[key(1, ".gz.age")];
  forget_mark();
  EXPECT_EQ(push().not_compared, 1u);
}

TEST_F(PushTest, SeesOtherWalInTheFormatThatIsWanted) {
  WalBuilder other(WalBuilder::Options{.seed = 4711});
  other.grow_to(wal::Lsn(4 * kSize.bytes()));
  const auto theirs = verify::packed(Method::gzip, ArchiveBuilder::content(other, 3));
  store_.place(key(3, ".gz"), theirs);
  compression_ = codec::Compression::parse("gzip");
  const auto result = push();
  ASSERT_EQ(result.failures.size(), 1u);
  EXPECT_EQ(result.failures.front().kind(), ErrorKind::conflict);
  EXPECT_EQ(store_.objects[key(3, ".gz")].bytes, theirs);
  EXPECT_FALSE(mark()->has(wal::SegmentName(1, 3, kSize)));
}

TEST_F(PushTest, TakesALostAnswerForNoErrorInTheFormatThatIsWanted) {
  compression_ = codec::Compression::parse("gzip");
  bool lost = false;
  store_.fault = [&](const MemoryStore::Call& call) {
    if (lost || call.what != "put" || call.key != key(4, ".gz")) return Fault::none;
    lost = true;
    return Fault::lost_answer;
  };
  const auto result = push(1);
  EXPECT_TRUE(lost);
  EXPECT_TRUE(result.failures.empty());
  EXPECT_EQ(result.pending, 0u);
  EXPECT_EQ(store_.puts[key(4, ".gz")], 1u);
}

TEST_F(PushTest, SendsNoDamagedSegmentInTheFormatThatIsWanted) {
  compression_ = codec::Compression::parse("gzip");
  auto bytes = builder_.disk.content(wal::SegmentName(1, 2, kSize).to_string());
  for (std::size_t at = 8192; at < bytes.size(); at += 997) bytes[at] ^= std::byte{1};
  builder_.disk.put(wal::SegmentName(1, 2, kSize).to_string(), bytes);
  const auto result = push();
  ASSERT_EQ(result.failures.size(), 1u);
  EXPECT_EQ(result.failures.front().kind(), ErrorKind::damage);
  EXPECT_FALSE(store_.objects.contains(key(2, ".gz")));
}

TEST_F(PushTest, RefusesThePlaceOfAnotherCluster) {
  push();
  WalBuilder other(WalBuilder::Options{.system_identifier = 4711});
  other.grow_to(wal::Lsn(2 * kSize.bytes()));
  ArchiveBuilder archive;
  archive.segments(other, 1, 2);
  const auto directory = archive.disk.open();
  const auto before = store_.objects.size();
  NullLog log;
  const auto error = error_of([&] {
    static_cast<void>(
        store::push(*directory, store_, kLayout, {.store_name = "here"}, machine_threads(), log));
  });
  EXPECT_EQ(error.kind(), ErrorKind::conflict);
  EXPECT_THAT(error.what(), ::testing::HasSubstr("4711"));
  EXPECT_EQ(store_.objects.size(), before);
}

/// Not even if nothing else is to be sent.
TEST_F(PushTest, PutsNoRecordOfALossAtThePlaceOfAnotherCluster) {
  push();
  WalBuilder other(WalBuilder::Options{.system_identifier = 4711});
  other.grow_to(wal::Lsn(2 * kSize.bytes()));
  ArchiveBuilder archive;
  archive.partial(other, wal::Lsn(kSize.bytes() + 100'000));
  const auto directory = archive.disk.open();
  NullLog log;
  archive::Identity cluster;
  cluster.system_identifier = 4711;
  cluster.segment_size = kSize;
  record_lost(*directory, {wal::SegmentName(1, 0, kSize)}, cluster, "s3://memory", log);
  const auto before = store_.objects.size();
  const auto error = error_of([&] {
    static_cast<void>(
        store::push(*directory, store_, kLayout, {.store_name = "here"}, machine_threads(), log));
  });
  EXPECT_EQ(error.kind(), ErrorKind::conflict);
  EXPECT_EQ(store_.objects.size(), before);
}

/// Barman or WAL-G filled it, so there is no pgweir.json: the WAL itself says whose it is.
TEST_F(PushTest, RefusesThePlaceThatAnotherProgramFilledWithAnotherClustersWal) {
  WalBuilder other(WalBuilder::Options{.system_identifier = 4711});
  other.grow_to(wal::Lsn(10 * kSize.bytes()));
  for (const std::uint64_t segno : {8, 9})
    store_.place(key(segno, ".zst"),
                 verify::packed(Method::zstd, ArchiveBuilder::content(other, segno)));
  const auto error = error_of([&] { static_cast<void>(push()); });
  EXPECT_EQ(error.kind(), ErrorKind::conflict);
  EXPECT_THAT(error.what(), ::testing::HasSubstr("4711"));
  EXPECT_EQ(store_.objects.size(), 2u) << "nothing was sent, and no pgweir.json was written";
  // The same cluster's is taken over.
  store_.objects.clear();
  store_.place(key(1), ArchiveBuilder::content(wal_, 1));
  EXPECT_TRUE(push().failures.empty());
  EXPECT_TRUE(store_.objects.contains(kLayout.own_key("pgweir.json")));
}

/// Somebody has removed the other cluster's WAL and pgweir.json: by the lines that are left, a
/// recovery to the end of ours would miss WAL.
TEST_F(PushTest, RefusesThePlaceWithRecordsOfAnotherClustersWal) {
  NullLog log;
  ManifestWriter writer(store_, kLayout, nullptr, log);
  writer.start({}, "0123456789abcdef");
  writer.append({.name = wal::SegmentName(1, 90, kSize).to_string(),
                 .size = 1,
                 .sha256 = std::string(64, 'a'),
                 .md5 = std::string(32, 'b'),
                 .system_identifier = 4711});
  writer.put();
  const auto error = error_of([&] { static_cast<void>(push()); });
  EXPECT_EQ(error.kind(), ErrorKind::conflict);
  EXPECT_THAT(error.what(), ::testing::HasSubstr("4711"));
  EXPECT_EQ(store_.objects.size(), 1u) << "nothing was sent, and no pgweir.json was written";
  store_.objects.clear();
  sim::SimDisk disk;
  const auto theirs = disk.open();
  archive::Loss hole;
  hole.timeline = hole.next_timeline = 1;
  hole.begin = hole.sound_end = hole.counted_to = kSize.start(90);
  hole.end = kSize.start(91);
  hole.system_identifier = 4711;
  hole.segment_size = kSize;
  archive::record_loss(*theirs, hole);
  const auto name = archive::loss_record_name(hole.id());
  store_.place(*kLayout.key_of(name), disk.content(name));
  EXPECT_EQ(error_of([&] { static_cast<void>(push()); }).kind(), ErrorKind::conflict);
  store_.objects.clear();
  EXPECT_TRUE(push().failures.empty());
  // Ours that are left do not matter: the store was emptied.
  std::erase_if(store_.objects, [](const auto& each) {
    return each.first.find("/manifest/") == std::string::npos;
  });
  forget_mark();
  EXPECT_TRUE(push().failures.empty());
  EXPECT_TRUE(store_.objects.contains(kLayout.own_key("pgweir.json")));
}

TEST_F(PushTest, SendsNoDamagedSegment) {
  auto bytes = builder_.disk.content(wal::SegmentName(1, 2, kSize).to_string());
  for (std::size_t at = 8192; at < bytes.size(); at += 997) bytes[at] ^= std::byte{1};
  builder_.disk.put(wal::SegmentName(1, 2, kSize).to_string(), bytes);
  const auto result = push();
  ASSERT_EQ(result.failures.size(), 1u);
  EXPECT_EQ(result.failures.front().kind(), ErrorKind::damage);
  EXPECT_FALSE(store_.objects.contains(key(2)));
  EXPECT_FALSE(mark()->has(wal::SegmentName(1, 3, kSize)));
}

TEST_F(PushTest, LooksBeforeItPutsWhereConditionsAreNotHeeded) {
  for (const auto conditions :
       {MemoryStore::Conditions::ignored, MemoryStore::Conditions::refused}) {
    store_.objects.clear();
    store_.puts.clear();
    forget_mark();
    store_.conditions = conditions;
    const auto other = test::bytes_of("somebody else's");
    store_.place(key(2), other);
    const auto result = push();
    ASSERT_EQ(result.failures.size(), 1u);
    EXPECT_EQ(store_.objects[key(2)].bytes, other);
    EXPECT_EQ(store_.puts[key(1)], 1u);
  }
}

TEST_F(PushTest, TellsOfTwoWritersThatAVersionedBucketHasLetThrough) {
  store_.conditions = MemoryStore::Conditions::ignored;
  store_.versions_kept = true;
  store_.before_put = [&](const std::string& what) {
    if (what == key(2)) ++store_.puts[what];
  };
  const auto result = push();
  ASSERT_EQ(result.failures.size(), 1u);
  EXPECT_EQ(result.failures.front().kind(), ErrorKind::conflict);
  EXPECT_THAT(result.failures.front().what(), ::testing::HasSubstr("v1, v0"));
  EXPECT_FALSE(mark()->has(wal::SegmentName(1, 2, kSize)));
}

/// An object was removed, but not permanently: its version stays below a delete marker.
TEST_F(PushTest, SeesTheVersionThatReadersUse) {
  store_.versions_kept = true;
  const auto history = kLayout.history_key(2);
  builder_.history(2, "1\t0/100000\tno reason\n");
  store_.older[key(2)] = test::bytes_of("somebody else's");
  store_.older[history] = test::bytes_of("1\t0/200000\tno reason\n");
  for (const auto& each : {key(2), history}) store_.puts[each] = 1;
  for (int i = 0; i < 2; ++i) {
    SCOPED_TRACE(i);  // at once, and whenever they are compared
    const auto result = push();
    ASSERT_EQ(result.failures.size(), 2u);
    for (const auto& failure : result.failures) {
      EXPECT_EQ(failure.kind(), ErrorKind::conflict);
      EXPECT_THAT(failure.what(), ::testing::HasSubstr("which readers use"));
      EXPECT_THAT(failure.what(), ::testing::HasSubstr("v0")) << "no ordinary listing shows it";
      EXPECT_THAT(failure.hint(), ::testing::HasSubstr("by its version ID"));
    }
    EXPECT_FALSE(mark()->has(wal::SegmentName(1, 2, kSize)));
    EXPECT_FALSE(mark()->has_history(2));
  }
  // Removed for good.
  for (const auto& each : {key(2), history}) store_.puts[each] = 1;
  EXPECT_TRUE(push().failures.empty());
  EXPECT_TRUE(mark()->has(wal::SegmentName(1, 2, kSize)));
  EXPECT_TRUE(mark()->has_history(2));
}

/// That they may be listed does not mean that they may be read.
TEST_F(PushTest, NeedsNoRightToReadVersions) {
  store_.versions_kept = true;
  store_.versions_readable = false;
  const auto history = kLayout.history_key(2);
  builder_.history(2, "1\t0/100000\tno reason\n");
  for (const auto& each : {key(2), history}) store_.puts[each] = 1;
  const auto sent = push();
  EXPECT_TRUE(sent.failures.empty());
  EXPECT_EQ(sent.segments, 5u);
  EXPECT_EQ(sent.histories, 1u);
  forget_mark();
  const auto again = push();
  EXPECT_TRUE(again.failures.empty());
  EXPECT_EQ(again.were_there, 6u);
  EXPECT_EQ(again.not_compared, 2u);
  EXPECT_TRUE(mark()->has(wal::SegmentName(1, 5, kSize)));
  // Encrypted, it is compared by its metadata, which must not be read, either.
  store_.objects.clear();
  store_.puts.clear();
  forget_mark();
  crypto::X25519 key_of_age{};
  crypto::random_bytes(key_of_age);
  sealing_ = {.recipients = {AgeIdentity(key_of_age).recipient()},
              .compare_key = std::vector<std::byte>(32, std::byte{3})};
  store_.puts[key(2, ".age")] = 1;
  EXPECT_TRUE(push().failures.empty());
  forget_mark();
  EXPECT_EQ(push().not_compared, 1u);
}

TEST_F(PushTest, SendsAHistoryBeforeTheSegmentsOfItsTimeline) {
  const auto switchpoint = wal_.fork_point(wal::Lsn(kSize.bytes() + 500'000));
  auto second = wal_.fork(switchpoint, 2, 5);
  second.grow_to(wal::Lsn(3 * kSize.bytes()));
  builder_.segments(second, 1, 2);
  builder_.history(2, fmt::format("1\t{}\tno reason\n", switchpoint));
  const auto result = push();
  EXPECT_EQ(result.histories, 1u);
  std::vector<std::string> puts;
  for (const auto& call : store_.calls)
    if (call.what == "put") puts.push_back(call.key);
  const auto history = std::find(puts.begin(), puts.end(), kLayout.history_key(2));
  const auto first = std::find(puts.begin(), puts.end(), key(1, "", 2));
  ASSERT_NE(history, puts.end());
  EXPECT_LT(history, first);
  EXPECT_TRUE(mark()->has_history(2));
}

TEST_F(PushTest, SendsTheHistoryOfASkippedTimelineLast) {
  builder_.history(2, "1\t0/500000\tno reason\n");
  builder_.history(3, "1\t0/600000\tno reason\n");
  EXPECT_EQ(push(1).histories, 2u);
  std::vector<std::string> puts;
  for (const auto& call : store_.calls)
    if (call.what == "put") puts.push_back(call.key);
  const auto skipped = std::find(puts.begin(), puts.end(), kLayout.history_key(2));
  ASSERT_NE(skipped, puts.end());
  EXPECT_LT(std::find(puts.begin(), puts.end(), kLayout.history_key(3)), skipped);
}

TEST_F(PushTest, SeesAnotherHistoryOfATimeline) {
  builder_.history(2, "1\t0/100000\tno reason\n");
  store_.place(kLayout.history_key(2), test::as_bytes("1\t0/200000\tno reason\n"));
  const auto result = push();
  ASSERT_EQ(result.failures.size(), 1u);
  EXPECT_EQ(result.failures.front().kind(), ErrorKind::conflict);
  EXPECT_FALSE(mark()->has_history(2));
}

TEST_F(PushTest, NeverMarksWhatIsNotThereWhereverThePowerFails) {
  std::mt19937_64 random(test::seed_or(41));
  for (std::uint64_t call = 1;; call += 1 + random() % 3) {
    SCOPED_TRACE(call);
    SetUp();
    store_.objects.clear();
    store_.puts.clear();
    forget_mark();
    builder_.disk.lose_power_at(builder_.disk.calls() + call);
    bool done = false;
    try {
      push(2);
      done = true;
    } catch (const sim::MachineDown&) {
    }
    builder_.disk.set_hook({});
    builder_.disk.crash(random);
    expect_mark_is_true();
    expect_manifest_is_whole();
    if (done || HasFailure()) break;
    // The next process brings the rest, and puts nothing twice.
    const auto rest = push();
    EXPECT_TRUE(rest.failures.empty());
    expect_all_there();
  }
}

TEST_F(PushTest, GivesUpWithoutTheMarkWhenADiskFails) {
  // The empty mark, or that of the first upload.
  for (const int good : {0, 1}) {
    SCOPED_TRACE(good);
    forget_mark();
    std::atomic<int> syncs = 0;
    builder_.disk.set_hook([&](const sim::SimDisk::Call& call) {
      return call.operation == sim::SimDisk::Operation::sync &&
                     call.name.find("pgweir-store") != std::string::npos && ++syncs > good
                 ? sim::SimDisk::Effect::fail(EIO)
                 : sim::SimDisk::Effect::proceed();
    });
    EXPECT_EQ(error_of([&] { push(); }).kind(), ErrorKind::durability);
    builder_.disk.set_hook({});
  }
}

}  // namespace
}  // namespace weir::store::push_test

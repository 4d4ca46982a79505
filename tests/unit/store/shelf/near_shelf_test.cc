#include "store/shelf/near_shelf.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

#include "archive/record_file.h"
#include "codec/codec.h"
#include "status/report.h"
#include "store/shelf/open_object.h"
#include "store/shelf/store_files.h"
#include "support/archive_builder.h"
#include "support/error_of.h"
#include "support/memory_store.h"

namespace weir::store::near_shelf_test {
namespace {

using codec::Method;
using test::error_of;
using test::MemoryStore;
using testing::WalBuilder;
using verify::ArchiveBuilder;
using verify::kSize;
using Fault = MemoryStore::Fault;

const Layout kLayout(Layout::Form::barman, {"memory", "p"}, "main");

archive::SegmentFileName file(std::uint64_t segno, Method method = Method::none) {
  return {wal::SegmentName(1, segno, kSize), method};
}

class NearShelfTest : public ::testing::Test {
 protected:
  void SetUp() override {
    wal_.grow_to(wal::Lsn(4 * kSize.bytes()));
    store_.place(kLayout.key(file(1)), ArchiveBuilder::content(wal_, 1));
    store_.place(kLayout.key(file(2, Method::zstd)),
                 verify::packed(Method::zstd, ArchiveBuilder::content(wal_, 2)));
    store_.place(kLayout.key(file(3, Method::gzip)),
                 verify::packed(Method::gzip, ArchiveBuilder::content(wal_, 3)));
    store_.place(kLayout.history_key(2), test::as_bytes("1\t0/200000\tno reason\n"));
    store_.place(kLayout.own_key("pgweir.json"), test::as_bytes("{}"));
    store_.place(kLayout.wal_prefix() + "somebody's", test::as_bytes("else"));
  }
  WalBuilder wal_{WalBuilder::Options{.switch_every = 0}};
  MemoryStore store_;
  NearShelf make(std::chrono::milliseconds retry_for = std::chrono::milliseconds(0)) {
    return {
        [this]() -> ObjectStore& { return store_; }, "s3://memory/p", kLayout, {retry_for, 0}, 1};
  }
  NearShelf shelf_ = make();
};

TEST_F(NearShelfTest, ShowsTheArchiveAsADirectoryWould) {
  const auto listing = archive::list_archive(shelf_);
  EXPECT_EQ(listing.segments.size(), 3u);
  EXPECT_EQ(listing.histories.size(), 1u);
  EXPECT_TRUE(listing.foreign.empty());
  EXPECT_EQ(shelf_.find(file(1).to_string())->size, kSize.bytes());
  EXPECT_EQ(shelf_.find("PG_VERSION"), std::nullopt);
  EXPECT_EQ(shelf_.find(".pgweir-slots"), std::nullopt);
  EXPECT_EQ(shelf_.open_bytes(file(2).to_string()), nullptr);
}

/// Otherwise a recovery would end before it.
TEST_F(NearShelfTest, ShowsWhatExistsInAFormatThatIsNotSupported) {
  store_.place(kLayout.key(wal::SegmentName(1, 4, kSize)) + ".bz2", test::as_bytes("packed"));
  store_.place(kLayout.history_key(3) + ".xz", test::as_bytes("packed"));
  store_.place(kLayout.key(wal::SegmentName(1, 5, kSize)) + ".tmp", test::as_bytes("unknown"));
  const std::vector<std::string> names{file(4).to_string() + ".bz2", "00000003.history.xz"};
  EXPECT_EQ(archive::list_archive(shelf_).foreign, names);
  auto around = make();
  around.look_around(wal::SegmentName(1, 4, kSize));
  const auto listing = archive::list_archive_names(around);
  EXPECT_EQ(std::count(listing.foreign.begin(), listing.foreign.end(), names.front()), 1);
}

TEST_F(NearShelfTest, HidesWhatWasPruned) {
  store_.place(OpenObject{wal::SegmentName(1, 2, kSize), kSize.start(2) + 8192, "a-1"}.key(kLayout),
               test::bytes_of("of a segment that is complete"));
  store_.place(kLayout.key({wal::SegmentName(2, 2, kSize), Method::none}),
               ArchiveBuilder::content(wal_, 2));
  EXPECT_EQ(archive::list_archive(shelf_).segments.size(), 4u);
  shelf_.hide_before({wal::SegmentName(1, 3, kSize)});
  EXPECT_EQ(archive::list_archive(shelf_).segments.size(), 2u) << "timeline 2 may have begun since";
  shelf_.hide_before({wal::SegmentName(2, 3, kSize)});
  const auto listing = archive::list_archive(shelf_);
  ASSERT_EQ(listing.segments.size(), 1u);
  EXPECT_EQ(listing.segments.front().name.segment, wal::SegmentName(1, 3, kSize));
  EXPECT_EQ(listing.histories.size(), 1u);
  EXPECT_TRUE(shelf_.find(file(1).to_string())) << "it is still there";
}

TEST_F(NearShelfTest, GivesTheBytesWhereverOneReads) {
  const auto bytes = shelf_.open_bytes(file(1).to_string());
  const auto content = ArchiveBuilder::content(wal_, 1);
  ASSERT_EQ(bytes->size(), content.size());
  for (const auto& [offset, size] : {std::pair<std::uint64_t, std::size_t>{0, 8192},
                                     {8192, 70'000},
                                     {500'000, 300'000},
                                     {16, 100},
                                     {content.size() - 10, 50}}) {
    test::Bytes read(size);
    read.resize(bytes->read_at(offset, read));
    const auto expected = content.subspan(offset, std::min(size, content.size() - offset));
    EXPECT_EQ(read, test::Bytes(expected.begin(), expected.end())) << offset;
  }
  std::byte none{};
  EXPECT_EQ(bytes->read_at(content.size(), std::span(&none, 1)), 0u);
}

TEST_F(NearShelfTest, NeedsFewRequestsForAWholeFile) {
  const auto bytes = shelf_.open_bytes(file(1).to_string());
  const auto before = store_.calls.size();
  test::Bytes piece(32 * 1024);
  for (std::uint64_t offset = 0; offset < kSize.bytes(); offset += piece.size())
    ASSERT_EQ(bytes->read_at(offset, piece), piece.size());
  EXPECT_LE(store_.calls.size() - before, 3u);
}

TEST_F(NearShelfTest, IsVerifiedAsADirectoryIs) {
  store_.objects.erase(kLayout.history_key(2));
  EXPECT_TRUE(verify::verify(shelf_, {}).sound());
  store_.objects[kLayout.key(file(2, Method::zstd))].bytes.resize(1000);
  auto again = make();
  EXPECT_FALSE(verify::verify(again, {}).sound());
}

TEST_F(NearShelfTest, NeverTellsTroubleAsAbsence) {
  for (const auto fault : {Fault::lost_answer, Fault::throttled, Fault::refused}) {
    store_.fault = [&](const MemoryStore::Call&) { return fault; };
    static_cast<void>(error_of([&] { static_cast<void>(shelf_.list()); }));
    static_cast<void>(error_of([&] { static_cast<void>(shelf_.find(file(9).to_string())); }));
    static_cast<void>(error_of([&] { static_cast<void>(shelf_.open_bytes(file(9).to_string())); }));
  }
}

TEST_F(NearShelfTest, AsksAgainWhatMayPass) {
  int left = 3;
  store_.fault = [&](const MemoryStore::Call&) {
    return left-- > 0 ? Fault::throttled : Fault::none;
  };
  auto patient = make(std::chrono::seconds(20));
  EXPECT_EQ(patient.list().size(), 4u);
}

TEST_F(NearShelfTest, SaysThatAFileHasGoneWhileItWasRead) {
  const auto bytes = shelf_.open_bytes(file(1).to_string());
  store_.objects.erase(kLayout.key(file(1)));
  test::Bytes piece(100);
  EXPECT_EQ(error_of([&] { static_cast<void>(bytes->read_at(500'000, piece)); }).system_code(),
            ENOENT);
}

/// Segment 4 is open: objects of its front.
class OpenSegmentTest : public NearShelfTest {
 protected:
  void SetUp() override {
    NearShelfTest::SetUp();
    wal_.grow_to(kSize.start(5));
  }
  std::string place(std::uint64_t bytes, const std::string& id, WalBuilder& wal) {
    const auto content = wal.bytes(kSize.start(4), kSize.start(4) + bytes);
    const auto key = OpenObject{name_.segment, kSize.start(4) + bytes, id}.key(kLayout);
    store_.place(key, verify::packed(Method::zstd, content));
    return key;
  }
  std::string place(std::uint64_t bytes, const std::string& id) { return place(bytes, id, wal_); }
  /// The WAL that it is there with.
  test::Bytes read(NearShelf& shelf) {
    const auto file = shelf.open_bytes(name_.to_string());
    if (!file) return {};
    test::Bytes packed(file->size());
    packed.resize(file->read_at(0, packed));
    test::Bytes wal;
    const auto unpacker = codec::make_decompressor(Method::zstd);
    unpacker->feed(packed, [&](std::span<const std::byte> piece) {
      wal.insert(wal.end(), piece.begin(), piece.end());
      return true;
    });
    unpacker->finish();
    return wal;
  }
  test::Bytes front(std::uint64_t bytes) {
    const auto wal = wal_.bytes(kSize.start(4), kSize.start(4) + bytes);
    return {wal.begin(), wal.end()};
  }
  const archive::SegmentFileName name_{wal::SegmentName(1, 4, kSize), Method::zstd, true};
};

TEST_F(OpenSegmentTest, IsThereAsAnUnfinishedFile) {
  place(100'000, "a-1");
  EXPECT_EQ(read(shelf_), front(100'000));
  auto again = make();
  const auto listing = archive::list_archive(again);
  ASSERT_EQ(listing.segments.size(), 4u);
  EXPECT_EQ(listing.segments.back().name, name_);
  EXPECT_EQ(again.find(archive::SegmentFileName{name_.segment, Method::none, true}.to_string()),
            std::nullopt);
  EXPECT_TRUE(verify::verify(again, {}).sound());
  // Not beside the whole one.
  store_.place(kLayout.key(file(4)), ArchiveBuilder::content(wal_, 4));
  auto whole = make();
  EXPECT_EQ(archive::list_archive(whole).segments.size(), 4u);
  EXPECT_FALSE(archive::list_archive(whole).segments.back().name.partial);
}

TEST_F(OpenSegmentTest, TheSoundOneThatGoesFurthestIsTaken) {
  const auto least = place(100'000, "a-1");
  const auto furthest = place(200'000, "b-7");
  EXPECT_EQ(read(shelf_), front(200'000));
  // Removed since it was listed.
  const auto gone = place(300'000, "a-2");
  auto before = make();
  ASSERT_TRUE(before.find(name_.to_string()));
  store_.objects.erase(gone);
  EXPECT_EQ(read(before), front(200'000));
  // One that is damaged, but has no more than another.
  store_.objects[least].bytes.resize(store_.objects[least].bytes.size() - 30);
  place(200'000, "c-1");
  store_.place(furthest, test::as_bytes("damaged"));
  auto without = make();
  EXPECT_EQ(read(without), front(200'000));
}

TEST_F(OpenSegmentTest, DamageOfTheOneThatGoesFurthestIsTold) {
  const auto sound = place(200'000, "b-7");
  const auto key = place(300'000, "a-2");
  const auto expect_damage = [&](const char* what) {
    SCOPED_TRACE(what);
    auto shelf = make();
    const auto error = error_of([&] { static_cast<void>(read(shelf)); });
    EXPECT_EQ(error.kind(), ErrorKind::damage);
    const std::string text = error.what();
    for (const auto& part : {key, sound, (kSize.start(4) + 200'000).to_string()})
      EXPECT_NE(text.find(part), std::string::npos) << text;
    EXPECT_FALSE(verify::verify(shelf, {}).sound());
    EXPECT_FALSE(status::make_report(shelf, 0).timelines.empty());
  };
  auto& bytes = store_.objects[key].bytes;
  bytes.resize(bytes.size() - 30);
  expect_damage("cut off");
  store_.place(key, verify::packed(Method::zstd, front(150'000)));
  expect_damage("shorter than its name says");
  auto damaged = front(300'000);
  damaged[250'000] ^= std::byte{1};
  store_.place(key, verify::packed(Method::zstd, damaged));
  expect_damage("a damaged record");
  // One that has as much is enough.
  place(300'000, "c-1");
  auto other = make();
  EXPECT_EQ(read(other), front(300'000));
  store_.objects.erase(key);
  auto without = make();
  EXPECT_EQ(read(without), front(300'000));
}

/// Manifests do not list them.
TEST_F(OpenSegmentTest, IsNotThereForAKeyThatProvesFiles) {
  place(100'000, "a-1");
  NearShelf proved([this]() -> ObjectStore& { return store_; }, "s3://memory/p", kLayout, {}, 1, {},
                   {SignifyKey::make().public_key()});
  EXPECT_EQ(proved.find(name_.to_string()), std::nullopt);
  EXPECT_EQ(proved.open_bytes(name_.to_string()), nullptr);
  for (const auto& entry : archive::list_archive(proved).segments) EXPECT_FALSE(entry.name.partial);
  EXPECT_TRUE(proved.has_unproved(name_.segment));
  EXPECT_FALSE(proved.has_unproved(wal::SegmentName(1, 3, kSize)));
  EXPECT_FALSE(shelf_.has_unproved(name_.segment));
}

TEST_F(OpenSegmentTest, TwoThatDisagreeAreTold) {
  WalBuilder other{WalBuilder::Options{.seed = 99, .switch_every = 0}};
  other.grow_to(kSize.start(5));
  const auto ours = place(100'000, "a-1");
  const auto theirs = place(200'000, "b-7", other);
  const auto error = error_of([&] { static_cast<void>(read(shelf_)); });
  EXPECT_EQ(error.kind(), ErrorKind::conflict);
  EXPECT_NE(std::string(error.what()).find(ours), std::string::npos) << error.what();
  EXPECT_NE(std::string(error.what()).find(theirs), std::string::npos) << error.what();
}

TEST_F(OpenSegmentTest, TroubleIsNotAbsence) {
  place(100'000, "a-1");
  for (const auto fault : {Fault::lost_answer, Fault::throttled, Fault::refused}) {
    auto shelf = make();
    store_.fault = [&](const MemoryStore::Call&) { return fault; };
    static_cast<void>(error_of([&] { static_cast<void>(shelf.find(name_.to_string())); }));
    static_cast<void>(error_of([&] { static_cast<void>(shelf.open_bytes(name_.to_string())); }));
    store_.fault = nullptr;
    static_cast<void>(shelf.find(name_.to_string()));
    store_.fault = [&](const MemoryStore::Call&) { return fault; };
    static_cast<void>(error_of([&] { static_cast<void>(shelf.open_bytes(name_.to_string())); }));
    store_.fault = nullptr;
  }
}

TEST_F(OpenSegmentTest, CostsNothingWhereASegmentIsLookedFor) {
  place(100'000, "a-1");
  shelf_.look_around(wal::SegmentName(1, 3, kSize));
  static_cast<void>(shelf_.list());
  for (const auto& call : store_.calls) EXPECT_EQ(call.key.find("open/"), std::string::npos);
}

TEST_F(NearShelfTest, ReadsTheOldestVersionOfAKey) {
  // Somebody has put other bytes over it, in a bucket that keeps both.
  store_.versions_kept = true;
  const auto key = kLayout.key(file(1));
  store_.older[key] = store_.objects[key].bytes;
  store_.place(key, test::as_bytes("somebody else's"));
  for (const bool whole : {false, true}) {
    auto shelf = make();
    if (whole) shelf.expect(file(1).segment);
    const auto bytes = shelf.open_bytes(file(1).to_string());
    const auto content = ArchiveBuilder::content(wal_, 1);
    test::Bytes read(content.size());
    ASSERT_EQ(bytes->size(), read.size());
    ASSERT_EQ(bytes->read_at(0, read), read.size());
    EXPECT_TRUE(std::equal(read.begin(), read.end(), content.begin()));
  }
}

/// By verify --deep: it would check the start of one version and the rest of another one.
TEST_F(NearShelfTest, ReadsTheStartOfASegmentFromTheVersionOfTheRest) {
  const auto key = kLayout.key(file(1));
  store_.older[key] = store_.objects[key].bytes;
  store_.place(key, test::Bytes(kSize.bytes(), std::byte{7}));
  const auto content = ArchiveBuilder::content(wal_, 1);
  for (const bool known : {true, false}) {
    SCOPED_TRACE(known);
    store_.versions_kept = known;
    // Otherwise the first answer shows it.
    store_.fault = [&](const MemoryStore::Call& call) {
      if (call.what == "get") store_.versions_kept = true;
      return Fault::none;
    };
    auto shelf = make();
    shelf.read_whole_segments(2, {});
    const auto bytes = shelf.open_bytes(file(1).to_string());
    ASSERT_EQ(bytes->size(), content.size());
    for (const auto& [offset, size] :
         {std::pair<std::uint64_t, std::size_t>{0, 8192}, {8192, 100'000}}) {
      test::Bytes read(size);
      ASSERT_EQ(bytes->read_at(offset, read), size);
      EXPECT_TRUE(std::equal(read.begin(), read.end(), content.subspan(offset).begin())) << offset;
    }
  }
}

TEST_F(NearShelfTest, AsksOnceForOtherVersionsOfASegmentOfWhichTheStartIsRead) {
  store_.versions_kept = true;
  auto shelf = make();
  shelf.read_whole_segments(2, {});
  const auto bytes = shelf.open_bytes(file(1).to_string());
  test::Bytes read(8192);
  ASSERT_EQ(bytes->read_at(0, read), read.size());
  EXPECT_EQ(store_.count("versions"), 1u);
}

/// A hole has grown, or a period of wal_level=minimal has ended: the record was replaced.
TEST_F(NearShelfTest, ReadsTheNewestVersionOfARecord) {
  store_.versions_kept = true;
  const std::vector<std::string> names = {".pgweir-loss-minimal-1-0-34B2D40",
                                          ".pgweir-loss-minimal-1-0-34B2D40.ack",
                                          ".pgweir-published-000000010000000000000004"};
  for (const auto& name : names) {
    SCOPED_TRACE(name);
    const auto key = kLayout.key_of(name).value();
    store_.place(key, test::as_bytes("it goes on"));
    store_.older[key] = store_.objects[key].bytes;
    store_.place(key, test::as_bytes("it has ended"));
    auto shelf = make();
    EXPECT_EQ(archive::read_record_file(shelf, name), "it has ended");
    store_.objects.erase(key);
    auto later = make();
    EXPECT_EQ(archive::read_record_file(later, name), std::nullopt);
  }
}

TEST_F(NearShelfTest, ListsMoreThanOnePage) {
  for (std::uint64_t segno = 10; segno < 2510; ++segno) store_.place(kLayout.key(file(segno)), {});
  EXPECT_EQ(shelf_.list().size(), 2504u);
}

}  // namespace
}  // namespace weir::store::near_shelf_test

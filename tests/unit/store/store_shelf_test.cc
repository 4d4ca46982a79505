#include "store/store_shelf.h"

#include <gtest/gtest.h>

#include "store/store_files.h"
#include "support/archive_builder.h"
#include "support/error_of.h"
#include "support/memory_store.h"

namespace weir::store {
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

class StoreShelfTest : public ::testing::Test {
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
  StoreShelf shelf_{store_, kLayout, {.retry_for = std::chrono::milliseconds(0)}};
};

TEST_F(StoreShelfTest, ShowsTheArchiveAsADirectoryWould) {
  const auto listing = archive::list_archive(shelf_);
  EXPECT_EQ(listing.segments.size(), 3u);
  EXPECT_EQ(listing.histories.size(), 1u);
  EXPECT_TRUE(listing.foreign.empty());
  EXPECT_EQ(shelf_.find(file(1).to_string())->size, kSize.bytes());
  EXPECT_EQ(shelf_.find("PG_VERSION"), std::nullopt);
  EXPECT_EQ(shelf_.find(".pgweir-slots"), std::nullopt);
  EXPECT_EQ(shelf_.open_bytes(file(2).to_string()), nullptr);
}

TEST_F(StoreShelfTest, GivesTheBytesWhereverOneReads) {
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

TEST_F(StoreShelfTest, NeedsFewRequestsForAWholeFile) {
  const auto bytes = shelf_.open_bytes(file(1).to_string());
  const auto before = store_.calls.size();
  test::Bytes piece(32 * 1024);
  for (std::uint64_t offset = 0; offset < kSize.bytes(); offset += piece.size())
    ASSERT_EQ(bytes->read_at(offset, piece), piece.size());
  EXPECT_LE(store_.calls.size() - before, 3u);
}

TEST_F(StoreShelfTest, IsVerifiedAsADirectoryIs) {
  store_.objects.erase(kLayout.history_key(2));
  EXPECT_TRUE(verify::verify(shelf_, {}).sound());
  store_.objects[kLayout.key(file(2, Method::zstd))].bytes.resize(1000);
  EXPECT_FALSE(verify::verify(shelf_, {}).sound());
}

TEST_F(StoreShelfTest, NeverTellsTroubleAsAbsence) {
  for (const auto fault : {Fault::lost_answer, Fault::throttled, Fault::refused}) {
    store_.fault = [&](const MemoryStore::Call&) { return fault; };
    static_cast<void>(error_of([&] { static_cast<void>(shelf_.list()); }));
    static_cast<void>(error_of([&] { static_cast<void>(shelf_.find(file(9).to_string())); }));
    static_cast<void>(error_of([&] { static_cast<void>(shelf_.open_bytes(file(9).to_string())); }));
  }
}

TEST_F(StoreShelfTest, AsksAgainWhatMayPass) {
  int left = 3;
  store_.fault = [&](const MemoryStore::Call&) {
    return left-- > 0 ? Fault::throttled : Fault::none;
  };
  StoreShelf patient(store_, kLayout, {.retry_for = std::chrono::seconds(20)});
  EXPECT_EQ(patient.list().size(), 4u);
}

TEST_F(StoreShelfTest, SaysThatAFileHasGoneWhileItWasRead) {
  const auto bytes = shelf_.open_bytes(file(1).to_string());
  store_.objects.erase(kLayout.key(file(1)));
  test::Bytes piece(100);
  EXPECT_EQ(error_of([&] { static_cast<void>(bytes->read_at(0, piece)); }).kind(), ErrorKind::io);
}

TEST_F(StoreShelfTest, ListsMoreThanOnePage) {
  for (std::uint64_t segno = 10; segno < 2510; ++segno) store_.place(kLayout.key(file(segno)), {});
  EXPECT_EQ(shelf_.list().size(), 2504u);
}

}  // namespace
}  // namespace weir::store

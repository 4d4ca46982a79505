#include "store/shelf/store_files.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "archive/published_open.h"
#include "base/error.h"
#include "support/archive_builder.h"
#include "support/error_of.h"
#include "support/memory_store.h"

namespace weir::store::store_files_test {
namespace {

using codec::Method;
using testing::WalBuilder;
using verify::ArchiveBuilder;
using verify::kSize;

const Layout kLayout(Layout::Form::barman, {"memory", "p"}, "main");
const wal::SegmentName kSegment(1, 3, kSize);

struct FetchFile : ::testing::Test {
  void SetUp() override {
    wal.grow_to(kSize.start(4));
    const auto content = ArchiveBuilder::content(wal, 3);
    whole.assign(content.begin(), content.end());
    end = wal.complete_end(kSize.start(3) + 500'000);
    padded = whole;
    std::fill(padded.begin() + (end - kSize.start(3)), padded.end(), std::byte{0});
  }
  void place(const test::Bytes& raw) {
    store.place(kLayout.key(kSegment) + ".gz", verify::packed(Method::gzip, raw));
  }
  void record(wal::Lsn recorded) {
    const auto text = archive::published_open_record(
        {.segment = kSegment, .end = recorded, .object = {}, .time = {}});
    store.place(*kLayout.key_of(archive::published_open_name(kSegment)), test::as_bytes(text));
  }
  std::optional<Fetched> fetch(const JudgePadded& judge = nullptr) {
    const auto directory = disk.open();
    archive::DirectoryHome home(*directory);
    return fetch_file(store, kLayout, kSegment.to_string(), home, "target", {}, judge);
  }
  void expect_damage(const std::string& what) {
    SCOPED_TRACE(what);
    const auto error = test::error_of([&] { static_cast<void>(fetch()); });
    EXPECT_EQ(error.kind(), ErrorKind::damage) << error.what();
    EXPECT_FALSE(disk.open()->find("target"));
  }

  WalBuilder wal{{.switch_every = 0}};
  test::Bytes whole, padded;
  wal::Lsn end;
  test::MemoryStore store;
  sim::SimDisk disk;
};

TEST_F(FetchFile, UnpacksAndVerifiesASegment) {
  EXPECT_FALSE(fetch());
  place(whole);
  const auto fetched = fetch();
  ASSERT_TRUE(fetched);
  EXPECT_FALSE(fetched->padded_from);
  EXPECT_EQ(disk.content("target"), whole);
  EXPECT_FALSE(std::any_of(store.calls.begin(), store.calls.end(), [](const auto& call) {
    return call.key.find("published") != std::string::npos;
  })) << "a request of which nothing depends";
}

/// As restore does, and nothing else that ends in zeros.
TEST_F(FetchFile, TakesAPublishedPartialSegmentForWhatItIs) {
  place(padded);
  expect_damage("without its record");
  record(wal::Lsn(end.byte() - 8));
  expect_damage("recorded to a place within a record");
  record(end + 8);
  expect_damage("recorded further than it has WAL");
  record(end);
  auto changed = padded;
  changed.back() = std::byte{1};
  place(changed);
  expect_damage("not only zeros");
  changed = padded;
  changed[200'000] ^= std::byte{1};
  place(changed);
  expect_damage("damaged before its zeros");
  place(padded);
  const auto fetched = fetch();
  ASSERT_TRUE(fetched);
  EXPECT_EQ(fetched->padded_from, end);
  EXPECT_EQ(disk.content("target"), padded);
}

TEST_F(FetchFile, APaddedOneCanBeRefusedBeforeItAppears) {
  record(end);
  const JudgePadded refuses = [this](wal::SegmentName segment, wal::SegmentSize size,
                                     wal::Lsn padded_from) {
    EXPECT_EQ(segment, kSegment);
    EXPECT_EQ(size, kSize);
    EXPECT_EQ(padded_from, end);
    throw Error(ErrorKind::damage, "not the last one");
  };
  place(padded);
  const auto error = test::error_of([&] { static_cast<void>(fetch(refuses)); });
  EXPECT_EQ(error.message(), "not the last one");
  EXPECT_FALSE(disk.open()->find("target"));
  place(whole);
  EXPECT_TRUE(fetch(refuses)) << "it is not padded";
}

/// Another archiver has stored the complete one in another form.
TEST_F(FetchFile, TakesTheFormThatIsWhole) {
  record(end);
  for (const auto& unusable : {padded, test::Bytes(whole.size())}) {
    store.place(kLayout.key(kSegment), unusable);
    place(whole);
    const auto fetched = fetch([](wal::SegmentName, wal::SegmentSize, wal::Lsn) { FAIL(); });
    ASSERT_TRUE(fetched);
    EXPECT_FALSE(fetched->padded_from);
    ASSERT_TRUE(fetched->damage);
    EXPECT_EQ(disk.content("target"), whole);
    disk.erase("target");
  }
}

}  // namespace
}  // namespace weir::store::store_files_test

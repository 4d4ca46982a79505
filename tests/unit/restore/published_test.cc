#include "restore/published.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "store/ledger/manifest_writer.h"
#include "store/shelf/near_shelf.h"
#include "support/archive_builder.h"
#include "support/memory_store.h"

namespace weir::restore::published_test {
namespace {

using ::testing::HasSubstr;
using verify::history_line;

const wal::SegmentSize kSize;
const store::Layout kLayout(store::Layout::Form::barman, {"memory", "p"}, "main");

wal::SegmentName segment(std::uint64_t segno, wal::TimelineId timeline = 1) {
  return {timeline, segno, kSize};
}

/// The store has 1 to 3; 3 was published.
class WalAfterPublished : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const std::uint64_t segno : {1, 2, 3}) place(segment(segno));
  }
  void place(wal::SegmentName name, const std::string& form = "") {
    store_.place(kLayout.key(name) + form, test::as_bytes("whatever"));
  }
  void place_history(wal::TimelineId timeline, wal::Lsn end) {
    store_.place(kLayout.history_key(timeline), test::as_bytes(history_line(1, end)));
  }
  /// Empty: there is none.
  std::string found() {
    store::NearShelf shelf([this]() -> store::ObjectStore& { return store_; }, "s3://memory/p",
                           kLayout, store::kOnce, 1);
    const auto gap = wal_after_published(shelf, segment(3), kSize);
    return gap ? gap->what : "";
  }
  test::MemoryStore store_;
  NullLog log_;
};

TEST_F(WalAfterPublished, IsNoneAtTheEnd) {
  EXPECT_EQ(found(), "");
  store::ManifestWriter manifest(store_, kLayout, nullptr, log_);
  manifest.start({}, "0123456789abcdef");
  manifest.append({.kind = store::ManifestEntry::Kind::padded, .name = segment(3).to_string()});
  manifest.put();
  EXPECT_EQ(found(), "") << "its own line";
  place_history(2, kSize.start(3) + 5000);
  place(segment(3, 2));
  place(segment(4, 2));
  EXPECT_EQ(found(), "") << "its timeline ends in it";
}

TEST_F(WalAfterPublished, IsALaterSegmentInAnyForm) {
  place(segment(4), ".zst");
  EXPECT_THAT(found(), HasSubstr(segment(4).to_string() + ".zst"));
}

TEST_F(WalAfterPublished, IsToldByAnotherTimeline) {
  place_history(2, kSize.start(5));
  EXPECT_THAT(found(), HasSubstr("00000002.history"));
}

TEST_F(WalAfterPublished, IsToldByTheManifest) {
  store::ManifestWriter manifest(store_, kLayout, nullptr, log_);
  manifest.start({}, "0123456789abcdef");
  manifest.append({.name = segment(4).to_string()});
  manifest.put();
  EXPECT_THAT(found(), HasSubstr("according to the store's manifest"));
}

}  // namespace
}  // namespace weir::restore::published_test

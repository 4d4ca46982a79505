#include "store/send/audit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace weir::store::audit_test {
namespace {

const wal::SegmentSize kSize;

wal::SegmentName segment(std::uint64_t segno, wal::TimelineId timeline = 1) {
  return {timeline, segno, kSize};
}
using Names = std::vector<wal::SegmentName>;

class AuditTest : public ::testing::TestWithParam<Layout::Form> {
 protected:
  AuditTest() {
    mark_.segment_size = kSize;
    for (std::uint64_t segno = 254; segno < 260; ++segno) add(segno);
  }
  void add(std::uint64_t segno, wal::TimelineId timeline = 1) {
    mark_.add(segment(segno, timeline));
    place(segno, timeline);
  }
  void place(std::uint64_t segno, wal::TimelineId timeline = 1, const std::string& form = ".zst") {
    keys_.insert(layout_.key(segment(segno, timeline)) + form);
  }
  void lose(std::uint64_t segno, wal::TimelineId timeline = 1) {
    keys_.erase(layout_.key(segment(segno, timeline)) + ".zst");
  }
  /// With pages of each size the same.
  Names missing(const std::vector<wal::SegmentName>& begins = {}, bool emptied = false) {
    std::optional<Names> found;
    for (const std::size_t page_size : {1, 2, 3, 100}) {
      Audit audit(mark_, layout_, begins, emptied);
      int pages = 0;
      while (const auto after = audit.after()) {
        ObjectPage page;
        for (auto key = keys_.upper_bound(*after); key != keys_.end(); ++key) {
          if (page.objects.size() == page_size) {
            page.more = true;
            break;
          }
          page.objects.push_back({*key, 1});
        }
        audit.take(page);
        if (++pages > 100) {
          ADD_FAILURE() << "no end";
          break;
        }
      }
      if (found) {
        EXPECT_EQ(*found, audit.missing()) << page_size;
      }
      found = audit.missing();
    }
    return *found;
  }

  Layout layout_{GetParam(), {"bucket", "p"}, "main"};
  Mark mark_;
  std::set<std::string> keys_;
};

TEST_P(AuditTest, MissesNothingWhereAllIsThere) {
  EXPECT_EQ(missing(), Names());
  place(300);  // somebody else's, or not in the mark yet
  place(256, 1, ".gz");
  keys_.insert(layout_.history_key(2));
  EXPECT_EQ(missing(), Names());
}

TEST_P(AuditTest, TakesNothingForPrunedInAStoreThatWasEmptied) {
  for (std::uint64_t segno = 254; segno < 258; ++segno) lose(segno);
  EXPECT_EQ(missing(), Names());
  EXPECT_EQ(missing({}, true), Names({segment(254), segment(255), segment(256), segment(257)}));
  EXPECT_EQ(missing({segment(256)}, true), Names({segment(256), segment(257)}))
      << "a prune has recorded that";
  keys_.clear();
  place(300);
  EXPECT_EQ(missing({}, true).size(), 6u);
}

TEST_P(AuditTest, MissesWhatIsGone) {
  lose(256);
  lose(258);
  EXPECT_EQ(missing(), Names({segment(256), segment(258)}));
  lose(259);
  EXPECT_EQ(missing(), Names({segment(256), segment(258), segment(259)}));
}

TEST_P(AuditTest, DoesNotMissWhatAPruneHasRemoved) {
  lose(254);
  lose(255);
  lose(256);
  lose(258);
  EXPECT_EQ(missing(), Names({segment(258)}));
}

TEST_P(AuditTest, MissesTheMarksFirstWhereTheStoreBeginsBeforeIt) {
  lose(254);
  EXPECT_EQ(missing(), Names());
  place(200);
  EXPECT_EQ(missing(), Names({segment(254)}));
}

TEST_P(AuditTest, MissesEverythingOfAnEmptyStore) {
  keys_.clear();
  EXPECT_EQ(missing().size(), 6u);
}

TEST_P(AuditTest, LooksAtEachTimeline) {
  for (std::uint64_t segno = 258; segno < 263; ++segno) add(segno, 2);
  EXPECT_EQ(missing(), Names());
  lose(258, 2);
  lose(260, 2);
  EXPECT_EQ(missing(), Names({segment(258, 2), segment(260, 2)}));
  for (std::uint64_t segno = 254; segno < 260; ++segno) lose(segno);
  EXPECT_EQ(missing(), Names({segment(260, 2)})) << "the first timeline was pruned";
}

/// A prune goes by position, so of the branch that overlaps it takes as much.
TEST_P(AuditTest, DoesNotMissWhatAPruneHasRemovedOfABranch) {
  for (std::uint64_t segno = 256; segno < 263; ++segno) add(segno, 2);
  for (std::uint64_t segno = 254; segno < 258; ++segno) {
    lose(segno);
    lose(segno, 2);
  }
  EXPECT_EQ(missing(), Names());
  lose(259, 2);
  EXPECT_EQ(missing(), Names({segment(259, 2)}));
}

TEST_P(AuditTest, DoesNotMissWhatAPruneRemovesMeanwhile) {
  Audit audit(mark_, layout_);
  const auto list = [&] {
    ObjectPage page;
    for (const auto& key : keys_)
      if (key > *audit.after()) page.objects.push_back({key, 1});
    return page;
  };
  audit.take(list());
  lose(254);
  lose(255);
  while (audit.after()) audit.take(list());
  EXPECT_EQ(audit.missing(), Names());
}

/// Some of it is locked, or the prune was killed.
TEST_P(AuditTest, DoesNotMissWhatAPruneHasRecordedAsRemoved) {
  for (std::uint64_t segno = 258; segno < 263; ++segno) add(segno, 2);
  for (const std::uint64_t segno : {255, 256, 258}) lose(segno);
  lose(258, 2);
  lose(261, 2);
  EXPECT_EQ(missing(),
            Names({segment(255), segment(256), segment(258), segment(258, 2), segment(261, 2)}));
  EXPECT_EQ(missing({segment(258)}), Names({segment(258), segment(258, 2), segment(261, 2)}));
  EXPECT_EQ(missing({segment(259, 2)}), Names({segment(261, 2)})) << "on all timelines";
  EXPECT_EQ(missing({segment(259)}), Names({segment(258, 2), segment(261, 2)}))
      << "but not on one that may have begun since";
}

TEST_P(AuditTest, AMarkWithGapsMissesNothingInThem) {
  add(270);
  add(271);
  place(265);
  lose(270);
  EXPECT_EQ(missing(), Names({segment(270)}));
  EXPECT_FALSE(Audit(Mark{}, layout_).after());
}

INSTANTIATE_TEST_SUITE_P(Layouts, AuditTest,
                         ::testing::Values(Layout::Form::barman, Layout::Form::wal_g));

}  // namespace
}  // namespace weir::store::audit_test

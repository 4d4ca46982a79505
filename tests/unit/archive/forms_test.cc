#include "archive/forms.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/bytes.h"
#include "support/sim_disk.h"

namespace weir::archive::forms_test {
namespace {

using codec::Method;
using ::testing::ElementsAre;

const wal::SegmentSize kSize = *wal::SegmentSize::of(1 << 20);
const wal::SegmentName kSegment(1, 3, kSize);

std::vector<std::string> texts(const std::vector<SegmentEntry>& entries) {
  std::vector<std::string> texts;
  for (const auto& entry : entries) texts.push_back(entry.name.to_string());
  return texts;
}

TEST(Forms, OfOneSegmentAreAskedForRawFirstAndZstdLast) {
  const std::string name = kSegment.to_string();
  std::vector<std::string> finished;
  for (const auto& form : finished_names(kSegment)) finished.push_back(form.to_string());
  EXPECT_THAT(finished, ElementsAre(name, name + ".gz", name + ".lz4", name + ".zst"));
  std::vector<std::string> partial;
  for (const auto& form : partial_names(kSegment)) partial.push_back(form.to_string());
  EXPECT_THAT(partial, ElementsAre(name + ".partial", name + ".gz.partial", name + ".lz4.partial",
                                   name + ".zst.partial"));
  std::vector<std::string> histories;
  for (const auto& [history, method] : history_names(2)) histories.push_back(history);
  EXPECT_THAT(histories, ElementsAre("00000002.history", "00000002.history.gz",
                                     "00000002.history.lz4", "00000002.history.zst"));
}

/// Whatever becomes of a segment while it is looked for: one that is finished is found.
TEST(Forms, AreFoundAtEveryMomentOfAChange) {
  struct Change {
    Method from;
    Method to;
  };
  for (const auto [from, to] :
       {Change{Method::none, Method::gzip}, Change{Method::none, Method::lz4},
        Change{Method::none, Method::zstd}, Change{Method::gzip, Method::zstd},
        Change{Method::lz4, Method::zstd}})
    for (int moment = 0; moment <= 8; ++moment) {
      const std::string old_name = SegmentFileName{kSegment, from, false}.to_string();
      const std::string new_name = SegmentFileName{kSegment, to, false}.to_string();
      SCOPED_TRACE(old_name + " to " + new_name + " before look " + std::to_string(moment));
      sim::SimDisk disk;
      disk.put(old_name, test::pattern(10, 1));
      int calls = 0;
      disk.set_hook([&](const sim::SimDisk::Call&) {
        if (calls++ == moment) {
          disk.put(new_name, test::pattern(10, 1));
          disk.erase(old_name);
        }
        return sim::SimDisk::Effect::proceed();
      });
      EXPECT_TRUE(find_finished(*disk.open(), kSegment));
    }
}

TEST(Forms, OfAListingStandTogetherAndTheOneThatCountsFirst) {
  sim::SimDisk disk;
  const std::string three = kSegment.to_string();
  const std::string four = wal::SegmentName(1, 4, kSize).to_string();
  for (const auto& name : {three + ".partial", three + ".zst", three + ".gz", three + ".gz.partial",
                           four + ".lz4.partial", four + ".partial"})
    disk.put(name, test::pattern(10, 1));
  const auto listing = list_archive(*disk.open());
  std::vector<SegmentForms> forms;
  for (const auto& each : segment_forms(listing)) forms.push_back(each);
  ASSERT_EQ(forms.size(), 2u);
  EXPECT_EQ(forms[0].segment(), kSegment);
  EXPECT_THAT(texts(forms[0].finished), ElementsAre(three + ".gz", three + ".zst"));
  EXPECT_THAT(texts(forms[0].partial), ElementsAre(three + ".partial", three + ".gz.partial"));
  EXPECT_EQ(forms[0].best().name.to_string(), three + ".gz");
  EXPECT_EQ(forms[1].best().name.to_string(), four + ".partial");
  EXPECT_TRUE(forms[1].finished.empty());
  for (const auto& one : forms[0].finished)
    for (const auto& other : forms[0].partial) {
      EXPECT_TRUE(counts_before(one.name, other.name));
      EXPECT_FALSE(counts_before(other.name, one.name));
    }
}

}  // namespace
}  // namespace weir::archive::forms_test

#include <gtest/gtest.h>

#include <sstream>

#include "status/text.h"

namespace weir::status::picture_test {
namespace {

StatusReport::Timeline row(wal::TimelineId timeline, std::vector<SegnoRange> finished,
                           std::vector<SegnoRange> missing = {},
                           std::vector<SegnoRange> unfinished = {}) {
  StatusReport::Timeline one;
  one.timeline = timeline;
  one.finished = std::move(finished);
  one.missing = std::move(missing);
  one.unfinished = std::move(unfinished);
  return one;
}

StatusReport report_of(std::vector<StatusReport::Timeline> rows) {
  StatusReport report;
  report.segment_size = wal::SegmentSize();
  report.timelines = std::move(rows);
  return report;
}

TEST(Picture, ShowsTimelinesHolesAndTheUnfinishedEnd) {
  const auto report =
      report_of({row(1, {{2, 4}, {6, 8}}, {{4, 6}}, {{8, 9}}), row(2, {{8, 11}}, {}, {{11, 12}})});
  EXPECT_EQ(picture(report, 30, false),
            "  1 |####xxxx####~~......|\n"
            "  2 |............######~~|\n"
            "     0/2000000  0/C000000\n"
            "     x segments missing\n"
            "     ~ unfinished\n");
  EXPECT_NE(picture(report, 30, true).find("████××××████░░······|"), std::string::npos);
}

TEST(Picture, NeverHidesASmallHole) {
  for (const int width : {24, 80, 200})
    for (const std::uint64_t at : {1u, 49'999u, 99'998u}) {
      SCOPED_TRACE(::testing::Message() << width << ' ' << at);
      const auto text =
          picture(report_of({row(1, {{0, at}, {at + 1, 100'000}}, {{at, at + 1}})}), width, false);
      EXPECT_NE(text.substr(0, text.find('\n')).find('x'), std::string::npos) << text;
    }
}

TEST(Picture, FitsTheTerminal) {
  for (const int width : {24, 30, 79, 80, 133}) {
    for (const std::uint64_t count : {1u, 2u, 17u, 70u, 71u, 1000u, 1'000'000u}) {
      SCOPED_TRACE(::testing::Message() << width << ' ' << count);
      std::istringstream text(picture(report_of({row(12, {{5, 5 + count}})}), width, false));
      std::size_t lines = 0;
      for (std::string line; std::getline(text, line); ++lines)
        EXPECT_LE(line.size(), static_cast<std::size_t>(width)) << line;
      EXPECT_GE(lines, 1u);
    }
  }
}

TEST(Picture, IsNothingWithoutSegments) {
  EXPECT_EQ(picture(report_of({}), 80, true), "");
  EXPECT_EQ(picture(report_of({row(2, {})}), 80, true), "");
  EXPECT_EQ(picture(StatusReport(), 80, true), "");
}

}  // namespace
}  // namespace weir::status::picture_test

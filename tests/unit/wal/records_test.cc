#include "wal/records.h"

#include <gtest/gtest.h>

#include <initializer_list>
#include <string>
#include <vector>

namespace weir::wal::records_test {
namespace {

using Body = std::vector<std::byte>;

Body body(std::initializer_list<int> head, std::size_t data, int fill = 7) {
  Body bytes;
  for (const int byte : head) bytes.push_back(static_cast<std::byte>(byte));
  bytes.insert(bytes.end(), data, static_cast<std::byte>(fill));
  return bytes;
}

TEST(Records, AreKnownByManagerAndTheHighHalfOfTheirInfo) {
  RecordHeader header;
  header.resource_manager = kXlogManager;
  header.info = 0x4F;
  EXPECT_TRUE(is_xlog(header));
  EXPECT_TRUE(is_xlog(header, XlogRecord::segment_switch));
  EXPECT_FALSE(is_xlog(header, XlogRecord::backup_end));
  EXPECT_FALSE(names_timeline(header));
  for (const int info : {0x00, 0x0F, 0x90, 0x9F}) {
    header.info = static_cast<std::uint8_t>(info);
    EXPECT_TRUE(names_timeline(header)) << info;
  }
  for (const int info : {0x00, 0x1F}) {
    header.info = static_cast<std::uint8_t>(info);
    EXPECT_TRUE(is_checkpoint(header)) << info;
  }
  header.info = 0x90;
  EXPECT_FALSE(is_checkpoint(header));
  header.resource_manager = kTransactionManager;
  EXPECT_FALSE(is_xlog(header));
  EXPECT_FALSE(names_timeline(header));
}

TEST(Records, TellWhetherWalLevelIsMinimal) {
  // xl_parameter_change as 13 to 19 write it: five integers, wal_level, two booleans.
  const auto change = [](int level) {
    Body bytes = body({255, 26}, 20);
    for (const int byte : {level, 0, 0, 0, 0, 1}) bytes.push_back(static_cast<std::byte>(byte));
    return bytes;
  };
  EXPECT_EQ(sets_wal_level_minimal(change(0)), true);
  EXPECT_EQ(sets_wal_level_minimal(change(1)), false);
  EXPECT_EQ(sets_wal_level_minimal(change(2)), false);
  EXPECT_EQ(sets_wal_level_minimal(body({255, 23}, 23, 0)), std::nullopt) << "cut in wal_level";
  EXPECT_EQ(sets_wal_level_minimal({}), std::nullopt);
}

TEST(Records, GiveTheirOwnData) {
  struct Case {
    const char* name;
    Body body;
    std::optional<std::size_t> size;
  };
  const Case cases[] = {
      {"short", body({255, 12}, 12), 12},
      {"short and empty", body({255, 0}, 0), 0},
      {"short, longer than there is", body({255, 13}, 12), std::nullopt},
      {"long", body({254, 44, 1, 0, 0}, 300), 300},
      {"long, longer than there is", body({254, 45, 1, 0, 0}, 300), std::nullopt},
      {"its length cut", body({254, 44, 1}, 0), std::nullopt},
      {"behind an origin", body({253, 1, 0, 255, 5}, 5), 5},
      {"behind a toplevel xid", body({252, 1, 0, 0, 0, 255, 5}, 5), 5},
      {"behind both", body({253, 1, 0, 252, 1, 0, 0, 0, 254, 5, 0, 0, 0}, 5), 5},
      {"an origin that is cut", body({253, 1}, 0), std::nullopt},
      {"with a reference to a block", body({0, 255, 5}, 5), std::nullopt},
      {"nothing", {}, std::nullopt},
      {"one byte", body({255}, 0), std::nullopt},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const auto data = main_data(c.body);
    ASSERT_EQ(data.has_value(), c.size.has_value());
    if (!data) continue;
    EXPECT_EQ(data->size(), *c.size);
    EXPECT_EQ(data->data() + data->size(), c.body.data() + c.body.size());
  }
}

TEST(Records, TellWhichTimelineBegins) {
  auto begin = body({255, 16}, 8);
  for (const int byte : {3, 0, 0, 0, 2, 0, 0, 0}) begin.push_back(static_cast<std::byte>(byte));
  const auto told = timeline_begin(begin);
  ASSERT_TRUE(told);
  EXPECT_EQ(told->timeline, 3u);
  EXPECT_EQ(told->previous, 2u);
  begin.pop_back();
  begin[1] = std::byte{15};
  EXPECT_FALSE(timeline_begin(begin));
  EXPECT_FALSE(timeline_begin({}));
}

TEST(Records, TellPositions) {
  Body end = body({255, 8}, 0);
  for (const int byte : {0x28, 0, 0, 2, 5, 0, 0, 0}) end.push_back(static_cast<std::byte>(byte));
  EXPECT_EQ(start_of_ended_backup(end), Lsn(0x5'0200'0028));
  EXPECT_FALSE(start_of_ended_backup(body({255, 7}, 7)));
  EXPECT_EQ(redo_position(end), Lsn(0x5'0200'0028));
  EXPECT_FALSE(redo_position(body({255, 7}, 7)));

  // With a time behind it.
  auto overwritten = end;
  overwritten[1] = std::byte{16};
  EXPECT_FALSE(overwritten_record(overwritten));
  overwritten.insert(overwritten.end(), 8, std::byte{1});
  EXPECT_EQ(overwritten_record(overwritten), Lsn(0x5'0200'0028));
  overwritten[1] = std::byte{17};
  overwritten.push_back(std::byte{1});
  EXPECT_FALSE(overwritten_record(overwritten)) << "of a form that no version has";
}

}  // namespace
}  // namespace weir::wal::records_test

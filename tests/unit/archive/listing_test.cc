#include "archive/listing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "io/posix_directory.h"
#include "support/bytes.h"
#include "support/sim_disk.h"

namespace weir::archive::listing_test {
namespace {

using ::testing::ElementsAre;

TEST(SegmentFileName, ReadsAndWritesEveryForm) {
  struct Case {
    const char* text;
    codec::Method method;
    bool partial;
  };
  for (const Case& c : {Case{"000000010000000A000000FF", codec::Method::none, false},
                        Case{"000000010000000A000000FF.gz", codec::Method::gzip, false},
                        Case{"000000010000000A000000FF.lz4", codec::Method::lz4, false},
                        Case{"000000010000000A000000FF.zst", codec::Method::zstd, false},
                        Case{"000000010000000A000000FF.partial", codec::Method::none, true},
                        Case{"000000010000000A000000FF.gz.partial", codec::Method::gzip, true},
                        Case{"000000010000000A000000FF.lz4.partial", codec::Method::lz4, true}}) {
    SCOPED_TRACE(c.text);
    const auto name = SegmentFileName::parse(c.text);
    ASSERT_TRUE(name);
    EXPECT_EQ(name->segment, *wal::SegmentName::parse("000000010000000A000000FF"));
    EXPECT_EQ(name->method, c.method);
    EXPECT_EQ(name->partial, c.partial);
    EXPECT_EQ(name->to_string(), c.text);
  }
}

TEST(SegmentFileName, RefusesEverythingElse) {
  for (const char* text :
       {"", "x", ".partial", "000000010000000A000000F", "000000010000000A000000FF.",
        "000000010000000A000000FFF", "000000010000000a000000ff", "000000010000000A000000FF.bz2",
        "000000010000000A000000FF.partial.gz", "000000010000000A000000FF.partial.partial",
        "000000010000000A000000FF.tmp", "000000010000000A000000FF.gz.zst",
        "000000010000000A000000FF.PARTIAL", "000000000000000A000000FF", "00000001.history",
        "000000010000000A000000FF.00000028.backup"}) {
    SCOPED_TRACE(text);
    EXPECT_EQ(SegmentFileName::parse(text), std::nullopt);
  }
}

TEST(Listing, SortsNamesIntoKindsAndOrder) {
  sim::SimDisk disk;
  for (const char* name :
       {"000000020000000000000001.partial", "000000010000000100000000", "000000010000000000000002",
        "000000010000000000000002.zst", "0000000100000000000000FF.gz",
        "000000010000000000000002.partial", "00000003.history", "00000002.history.gz",
        "00000002.history", "000000010000000000000002.00000028.backup", ".pgweir-spare", ".nfs0001",
        "README", "000000010000000000000002.tmp", "000000010000000000000002.0000002.backup",
        "00000002.history.tmp"})
    disk.put(name, test::bytes_of(name));
  const auto directory = disk.open();
  const Listing listing = list_archive(*directory);
  std::vector<std::string> segments;
  for (const auto& entry : listing.segments) {
    segments.push_back(entry.name.to_string());
    EXPECT_EQ(entry.bytes, segments.back().size());
  }
  EXPECT_THAT(segments,
              ElementsAre("000000010000000000000002", "000000010000000000000002.partial",
                          "000000010000000000000002.zst", "0000000100000000000000FF.gz",
                          "000000010000000100000000", "000000020000000000000001.partial"));
  std::vector<std::pair<wal::TimelineId, codec::Method>> histories;
  for (const auto& entry : listing.histories) histories.emplace_back(entry.timeline, entry.method);
  EXPECT_THAT(histories,
              ElementsAre(std::pair(2u, codec::Method::none), std::pair(2u, codec::Method::gzip),
                          std::pair(3u, codec::Method::none)));
  EXPECT_THAT(listing.backup_histories, ElementsAre("000000010000000000000002.00000028.backup"));
  EXPECT_THAT(listing.hidden, ElementsAre(".nfs0001", ".pgweir-spare"));
  EXPECT_THAT(listing.foreign,
              ElementsAre("000000010000000000000002.0000002.backup", "000000010000000000000002.tmp",
                          "00000002.history.tmp", "README"));
}

/// A directory with one entry that a simulated disk does not have.
class OneEntry final : public io::Directory {
 public:
  explicit OneEntry(io::DirectoryEntry entry) : entry_(std::move(entry)) {}
  const std::string& path() const override { return path_; }
  std::unique_ptr<io::File> create(const std::string&) override { return nullptr; }
  std::unique_ptr<io::File> open(const std::string&) override { return nullptr; }
  std::unique_ptr<io::File> open_for_reading(const std::string&) override { return nullptr; }
  void rename_no_replace(const std::string&, const std::string&) override {}
  void rename_replace(const std::string&, const std::string&) override {}
  void remove(const std::string&) override {}
  void sync() override {}
  std::vector<io::DirectoryEntry> list() override { return {entry_}; }
  std::optional<io::DirectoryEntry> find(const std::string&) override { return entry_; }
  bool try_lock() override { return true; }
  std::uint64_t free_bytes() override { return 0; }

 private:
  std::string path_ = "/archive";
  io::DirectoryEntry entry_;
};

/// Of those files in a directory: the complete order.
void expect_sorted(std::vector<std::string> names) {
  sim::SimDisk disk;
  for (const auto& name : names) disk.put(name, test::bytes_of(name));
  std::vector<std::string> listed;
  for (const auto& entry : list_archive(*disk.open()).segments)
    listed.push_back(entry.name.to_string());
  // In the order of codec::Method.
  const auto key = [](const std::string& text) {
    const auto name = *SegmentFileName::parse(text);
    return std::tuple(name.segment, name.method, name.partial);
  };
  std::sort(names.begin(), names.end(),
            [&](const auto& a, const auto& b) { return key(a) < key(b); });
  EXPECT_EQ(listed, names);
}

/// Few names are sorted in another way than many.
TEST(Listing, SortsByTimelineThenNumberThenForm) {
  std::vector<std::string> names;
  for (const char* timeline : {"00000001", "0000000A", "00000100", "FFFFFFFF"})
    for (const char* log : {"00000000", "00000001", "000000FF", "00010000", "80000000"})
      for (const char* seg : {"00000000", "0000000F", "00000010", "000000FF"})
        for (const char* form : {"", ".partial", ".gz", ".gz.partial", ".lz4", ".zst"})
          names.push_back(std::string(timeline) + log + seg + form);
  std::shuffle(names.begin(), names.end(), std::mt19937(7));
  for (const std::size_t count :
       {names.size(), std::size_t{65}, std::size_t{64}, std::size_t{20}}) {
    names.resize(count);
    expect_sorted(names);
  }
}

TEST(Listing, TakesADirectoryNamedLikeASegmentForForeign) {
  for (const auto type : {io::DirectoryEntry::Type::directory, io::DirectoryEntry::Type::other}) {
    io::DirectoryEntry entry;
    entry.name = "000000010000000000000002";
    entry.type = type;
    OneEntry directory(entry);
    for (const auto& listing : {list_archive(directory), list_archive_names(directory)}) {
      EXPECT_TRUE(listing.segments.empty());
      EXPECT_THAT(listing.foreign, ElementsAre(entry.name));
    }
  }
}

TEST(Listing, LooksAtUnfinishedFilesOnlyWhereNamesAreAskedFor) {
  sim::SimDisk disk;
  for (const char* name :
       {"000000010000000000000001", "000000010000000000000002.zst",
        "000000010000000000000003.partial", "00000002.history", ".nfs0001", "README"})
    disk.put(name, test::bytes_of(name));
  const auto directory = disk.open();
  const auto full = list_archive(*directory);
  const auto names = list_archive_names(*directory);
  ASSERT_EQ(names.segments.size(), full.segments.size());
  for (std::size_t i = 0; i < names.segments.size(); ++i) {
    SCOPED_TRACE(names.segments[i].name.to_string());
    EXPECT_EQ(names.segments[i].name, full.segments[i].name);
    EXPECT_EQ(names.segments[i].bytes,
              names.segments[i].name.partial ? full.segments[i].bytes : std::nullopt);
  }
  EXPECT_EQ(names.histories.size(), 1u);
  EXPECT_EQ(names.hidden, full.hidden);
  EXPECT_EQ(names.foreign, full.foreign);
}

}  // namespace
}  // namespace weir::archive::listing_test

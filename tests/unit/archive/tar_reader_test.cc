#include "archive/tar_reader.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "support/backup_builder.h"

namespace weir::archive::tar_reader_test {
namespace {

using test::tar;
using test::TarEntry;

class Collector final : public TarReader::Visitor {
 public:
  bool on_entry(const TarReader::Entry& entry) override {
    entries.push_back(entry);
    contents.emplace_back();
    return entries.size() < enough;
  }
  void on_content(std::span<const std::byte> bytes) override {
    contents.back().append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  std::vector<TarReader::Entry> entries;
  std::vector<std::string> contents;
  std::size_t enough = 1000;
};

/// Feeds the text in pieces of that size; returns whether the end was seen.
bool read(Collector& collector, const std::string& text, std::size_t piece) {
  TarReader reader(collector);
  const auto bytes = std::as_bytes(std::span(text));
  for (std::size_t at = 0; at < bytes.size(); at += piece)
    if (!reader.feed(bytes.subspan(at, std::min(piece, bytes.size() - at)))) break;
  return reader.ended();
}

std::string pax(const std::string& name, const std::string& value) {
  const auto rest = " " + name + "=" + value + "\n";
  for (std::size_t length = rest.size();; ++length)
    if (std::to_string(length).size() + rest.size() == length) return std::to_string(length) + rest;
}

TEST(TarReader, GivesEachEntryHoweverTheBytesCome) {
  const auto text = tar({{"backup_label", "START"},
                         {"base/", "", '5'},
                         {"base/1/1259", std::string(1000, 'x')},
                         {"empty", ""},
                         {"pg_tblspc/16385", "", '2'}});
  for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, std::size_t{512}, text.size()}) {
    SCOPED_TRACE(piece);
    Collector collector;
    EXPECT_TRUE(read(collector, text, piece));
    ASSERT_EQ(collector.entries.size(), 5U);
    EXPECT_EQ(collector.entries[0].name, "backup_label");
    EXPECT_EQ(collector.contents[0], "START");
    EXPECT_EQ(collector.entries[1].type, TarReader::Type::directory);
    EXPECT_EQ(collector.contents[2], std::string(1000, 'x'));
    EXPECT_EQ(collector.entries[3].size, 0U);
    EXPECT_EQ(collector.entries[4].type, TarReader::Type::symbolic_link);
  }
}

TEST(TarReader, KnowsWhetherItSawTheEnd) {
  const std::vector<TarEntry> entries = {{"a", "1234"}, {"b", std::string(700, 'y')}};
  const auto whole = tar(entries);
  for (std::size_t size = 0; size < whole.size() - 1024 + 512; ++size) {
    Collector collector;
    EXPECT_FALSE(read(collector, whole.substr(0, size), 300)) << size;
  }
  Collector collector;
  EXPECT_TRUE(read(collector, whole, 300));
}

TEST(TarReader, UnderstandsLongNames) {
  const std::string name(180, 'n');
  const std::string link(150, 'l');
  for (const auto& text :
       {tar({{"././@LongLink", name + '\0', 'L'}, {"cut", "content"}, {"next", "other"}}),
        tar({{"PaxHeaders/cut", pax("mtime", "1.5") + pax("path", name), 'x'},
             {"cut", "content"},
             {"next", "other"}})}) {
    Collector collector;
    EXPECT_TRUE(read(collector, text, 100));
    ASSERT_EQ(collector.entries.size(), 2U);
    EXPECT_EQ(collector.entries[0].name, name);
    EXPECT_EQ(collector.contents[0], "content");
    EXPECT_EQ(collector.entries[1].name, "next") << "the name is for one entry";
  }
  Collector collector;
  EXPECT_TRUE(
      read(collector, tar({{"././@LongLink", link + '\0', 'K'}, {"pg_tblspc/1", "", '2'}}), 100));
  ASSERT_EQ(collector.entries.size(), 1U);
  EXPECT_EQ(collector.entries[0].link, link);
}

/// A map of what is stored, then that ("Storing Sparse Files" in GNU tar's manual).
TEST(TarReader, TakesNoSparseFileForItsContent) {
  const std::string stored = "1\n0\n512\n" + std::string(504, '\0') + std::string(512, 'x');
  Collector collector;
  EXPECT_TRUE(read(collector,
                   tar({{"PaxHeaders/1259", pax("GNU.sparse.major", "1"), 'x'},
                        {"base/1/GNUSparseFile.7/1259", stored},
                        {"next", "other"}}),
                   100));
  ASSERT_EQ(collector.entries.size(), 2U);
  EXPECT_EQ(collector.entries[0].type, TarReader::Type::other);
  EXPECT_EQ(collector.contents[0], "");
  EXPECT_EQ(collector.entries[1].type, TarReader::Type::file);
  EXPECT_EQ(collector.contents[1], "other");
}

/// GNU tar writes what octal digits have no room for so: the highest bit, then the number itself.
TEST(TarReader, UnderstandsSizesInBinary) {
  const std::string content(700, 'x');
  auto text = tar({{"a", content}, {"b", ""}});
  const std::string size("\x80\0\0\0\0\0\0\0\0\0\x02\xbc", 12);
  unsigned sum = 0;
  text.replace(124, 12, size);
  text.replace(148, 8, "        ");
  for (std::size_t i = 0; i < 512; ++i) sum += static_cast<unsigned char>(text[i]);
  text.replace(148, 8, fmt::format("{:06o} ", sum) + " ");
  Collector collector;
  EXPECT_TRUE(read(collector, text, 100));
  ASSERT_EQ(collector.entries.size(), 2U);
  EXPECT_EQ(collector.entries[0].size, 700U);
  EXPECT_EQ(collector.contents[0], content);
}

TEST(TarReader, RefusesWhatIsNoTar) {
  auto flipped = tar({{"a", "1234"}});
  flipped[3] = 'x';  // the checksum no longer fits
  for (const auto& text :
       {std::string(1024, 'x'), flipped, tar({{"h", "7 path=\n", 'x'}, {"a", ""}}),
        tar({{"h", "999 path=a\n", 'x'}, {"a", ""}}), tar({{"h", "nonsense", 'x'}, {"a", ""}}),
        tar({{"long", std::string(100'000, 'n'), 'L'}, {"a", ""}})}) {
    Collector collector;
    EXPECT_THROW(read(collector, text, 512), Error);
  }
}

TEST(TarReader, StopsWhereTheVisitorHasEnough) {
  Collector collector;
  collector.enough = 1;
  EXPECT_FALSE(read(collector, tar({{"a", "1"}, {"b", "2"}}), 4096));
  EXPECT_EQ(collector.entries.size(), 1U);
}

}  // namespace
}  // namespace weir::archive::tar_reader_test

#include "import/sources.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "archive/segment_reader.h"
#include "base/error.h"
#include "crypto/digest.h"
#include "import/import.h"
#include "io/posix_directory.h"
#include "support/archive_builder.h"
#include "support/error_of.h"

namespace weir::importing::sources_test {
namespace {

using codec::Method;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using testing::WalBuilder;
using verify::ArchiveBuilder;
using verify::kSize;

std::string name_of(std::uint64_t segno) { return wal::SegmentName(1, segno, kSize).to_string(); }

/// WAL of segments 1 to 10, made once.
WalBuilder& whole_wal() {
  static auto made = [] {
    WalBuilder wal{WalBuilder::Options{}};
    wal.grow_to(kSize.start(11));
    return wal;
  }();
  return made;
}

/// An archive with segments 1 to 3 and 8 to 10, and a directory for sources.
class SourcesTest : public ::testing::Test {
 protected:
  SourcesTest() {
    std::string pattern = "/tmp/pgweir-sources-XXXXXX";
    EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
    place = pattern;
    std::filesystem::create_directories(place / "archive");
    for (const auto segno : {1, 2, 3, 8, 9, 10}) put("archive", name_of(segno), content(segno));
  }
  ~SourcesTest() override { std::filesystem::remove_all(place); }

  static std::span<const std::byte> content(std::uint64_t segno) {
    return ArchiveBuilder::content(whole_wal(), segno);
  }
  static std::string sha1(std::uint64_t segno) {
    return crypto::digest_of(crypto::Digest::Kind::sha1, content(segno));
  }
  void put(const std::string& folder, const std::string& file, std::span<const std::byte> bytes) {
    std::filesystem::create_directories(place / folder);
    std::ofstream(place / folder / file, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  }
  Result import(const std::vector<std::string>& words, bool dry_run = false) {
    const auto archive = io::open_existing_directory(place / "archive");
    std::vector<LeftOut> left_out;
    Sources found(*archive, left_out);
    for (const auto& word : words) found.add(place / word);
    Options options;
    options.left_out = left_out;
    options.dry_run = dry_run;
    return import_wal(*archive, found.take(), options);
  }
  static std::string told(const Result& result) {
    std::string text;
    for (const auto& each : result.left_out)
      text += each.path + ": " + each.what + " (" + each.hint + ")\n";
    for (const auto& each : result.open) text += each + "\n";
    for (const auto& each : result.touched) text += each + "\n";
    return text;
  }
  /// The hole is closed with what the server wrote.
  void expect_mended(const Result& result) {
    EXPECT_TRUE(result.done()) << told(result);
    EXPECT_THAT(result.came, SizeIs(4)) << told(result);
    EXPECT_THAT(result.holes, IsEmpty());
    for (const auto& each : result.came)
      EXPECT_TRUE(std::filesystem::exists(each.from)) << each.from;
    // What is published under a form's name has that form.
    const auto archive = io::open_existing_directory(place / "archive");
    const auto again = import_wal(*archive, {}, Options{});
    EXPECT_THAT(again.holes, IsEmpty());
    for (const auto& each : result.came) {
      const auto name = archive::SegmentFileName::parse(each.name).value();
      test::Bytes bytes;
      archive::read_segment(*archive, name, kSize, [&](auto wal) {
        bytes.insert(bytes.end(), wal.begin(), wal.end());
        return true;
      });
      const auto wanted = content(name.segment.segno(kSize));
      EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), wanted.begin(), wanted.end()))
          << each.name;
    }
  }

  std::filesystem::path place;
};

TEST_F(SourcesTest, ReadsBarmansFolders) {
  const auto folder = name_of(4).substr(0, 16);
  for (const auto* const top : {"barman", "barman/wals", "again/0000000100000000"}) {
    for (const auto segno : {4, 5, 6, 7})
      std::filesystem::remove(place / "archive" / name_of(segno));
    for (const auto* const suffix : {".gz", ".lz4", ".zst"})
      for (const auto segno : {4, 5, 6, 7})
        std::filesystem::remove(place / "archive" / (name_of(segno) + suffix));
    const auto where =
        std::string(top).starts_with("again") ? std::string(top) : "barman/wals/" + folder;
    put(where, name_of(4), verify::packed(Method::gzip, content(4)));
    put(where, name_of(5), verify::packed(Method::lz4, content(5)));
    put(where, name_of(6), verify::packed(Method::zstd, content(6)));
    put(where, name_of(7), content(7));
    put("barman/wals", "xlog.db", test::as_bytes("not WAL"));
    std::filesystem::create_directories(place / "barman/base");
    const auto result = import({top});
    expect_mended(result);
    EXPECT_THAT(result.came, Contains(Field(&Result::Came::name, name_of(4) + ".gz"))) << top;
  }
}

/// Its cron moves segments into wals once a minute, and a server that has failed has no cron.
TEST_F(SourcesTest, ReadsWhatBarmanHasNotSortedYet) {
  put("barman/wals/" + name_of(4).substr(0, 16), name_of(4),
      verify::packed(Method::gzip, content(4)));
  put("barman/incoming", name_of(5), content(5));
  put("barman/streaming", name_of(6), content(6));
  put("barman/streaming", name_of(7), content(7));
  put("barman/errors", name_of(7) + ".error", content(6));
  expect_mended(import({"barman"}));
  std::filesystem::remove(place / "barman/incoming" / name_of(5));  // empty now
  EXPECT_TRUE(import({"barman"}).done());
}

TEST_F(SourcesTest, IsNoSourceOfItsOwnAsBarmansReceiver) {
  for (const auto segno : {4, 5, 6, 7})
    put("barman/wals/0000000100000000", name_of(segno), content(segno));
  std::filesystem::create_directory_symlink(place / "archive", place / "barman/streaming");
  expect_mended(import({"barman"}));
}

TEST_F(SourcesTest, ReadsPgbackrestsArchiveAndChecksItsDigests) {
  const auto folder = "archive2/main/15-1/" + name_of(4).substr(0, 16);
  put("archive2/main", "archive.info", test::as_bytes("x"));
  put(folder, name_of(4) + "-" + sha1(4), content(4));
  put(folder, name_of(5) + "-" + sha1(5) + ".gz", verify::packed(Method::gzip, content(5)));
  put(folder, name_of(6) + "-" + sha1(5) + ".zst", verify::packed(Method::zstd, content(6)));
  put(folder, name_of(7) + "-" + sha1(7) + ".lz4", verify::packed(Method::lz4, content(7)));
  auto result = import({"archive2/main"}, true);
  EXPECT_FALSE(result.done());
  EXPECT_THAT(told(result),
              HasSubstr("its SHA-1 is " + sha1(6) + ", which differs from the one in its name"));
  EXPECT_THAT(result.touched, SizeIs(1));
  // A second file of the segment, which is what it says.
  put(folder, name_of(6) + "-" + sha1(6) + ".zst", verify::packed(Method::zstd, content(6)));
  expect_mended(import({"archive2/main/15-1"}));
}

TEST_F(SourcesTest, TellsOfSeveralClustersOfAStanza) {
  for (const auto* const cluster : {"14-1", "15-2"})
    put("main/" + std::string(cluster) + "/0000000100000000", name_of(4) + "-" + sha1(4),
        content(4));
  const auto result = import({"main"});
  EXPECT_FALSE(result.done());
  EXPECT_THAT(told(result), HasSubstr("WAL of several clusters (Specify the directory"));
  EXPECT_THAT(result.came, IsEmpty());
}

TEST_F(SourcesTest, ReadsWalG) {
  for (const auto segno : {4, 5, 6, 7})
    put("walg/wal_005", name_of(segno) + ".lz4", verify::packed(Method::lz4, content(segno)));
  std::filesystem::create_directories(place / "walg/basebackups_005");
  expect_mended(import({"walg"}));
}

TEST_F(SourcesTest, NamesWhatOthersUnpack) {
  put("walg/wal_005", name_of(4) + ".br", content(4));
  put("walg/wal_005", name_of(5) + ".lzo", content(5));
  put("walg/wal_005", name_of(6) + ".bz2", content(6));
  put("walg/wal_005", name_of(7), test::as_bytes("BZh91AY&SY not really"));
  auto result = import({"walg"});
  EXPECT_FALSE(result.done());
  for (const auto* const program : {"brotli -d", "lzop -d", "bunzip2"})
    EXPECT_THAT(told(result), HasSubstr(program));
  EXPECT_THAT(result.touched, SizeIs(1));
  put("encrypted/0000000100000000", name_of(4) + "-" + sha1(4) + ".gz",
      test::as_bytes("Salted__ and so on"));
  result = import({"encrypted"});
  EXPECT_THAT(told(result), HasSubstr("it is encrypted"));
  EXPECT_FALSE(result.done());
  // Barman and WAL-G add no suffix for encryption.
  for (const auto* const begin : {"\x85\x02\x0c\x03key", "\x84\x5e\x03key", "\x8c\x0d\x04key"}) {
    put("barman/wals/0000000100000000", name_of(4), test::as_bytes(begin));
    put("gpg/wal_005", name_of(4) + ".lz4", test::as_bytes(begin));
    for (const auto* const source : {"barman", "gpg"}) {
      result = import({source});
      EXPECT_THAT(told(result), HasSubstr("gpg --decrypt")) << source;
      EXPECT_FALSE(result.done());
    }
  }
}

TEST_F(SourcesTest, ReadsTheWalOfADataDirectory) {
  for (const auto segno : {4, 5, 6, 7}) put("data/pg_wal", name_of(segno), content(segno));
  for (const auto* const other : {"data/base", "data/global", "data/pg_wal/archive_status"})
    std::filesystem::create_directories(place / other);
  const auto result = import({"data"});
  expect_mended(result);
  EXPECT_THAT(result.left_out, IsEmpty()) << told(result);
}

TEST_F(SourcesTest, PassesOverTheBlockListsOfWalG) {
  for (const auto segno : {4, 5, 6, 7})
    put("walg/wal_005", name_of(segno) + ".lz4", verify::packed(Method::lz4, content(segno)));
  put("walg/wal_005", "000000010000000000000000_delta.lz4", test::as_bytes("blocks"));
  const auto result = import({"walg"});
  expect_mended(result);
  EXPECT_THAT(result.left_out, IsEmpty()) << told(result);
}

TEST_F(SourcesTest, TakesFilesThatWereNamed) {
  const auto folder = std::string("barman/wals/") + name_of(4).substr(0, 16);
  put(folder, name_of(4), verify::packed(Method::gzip, content(4)));
  put(folder, name_of(5) + "-" + sha1(5) + ".zst", verify::packed(Method::zstd, content(5)));
  put(folder, name_of(6) + ".partial.gz", verify::packed(Method::gzip, content(6)));
  put(folder, name_of(7), content(7));
  const auto result =
      import({folder + "/" + name_of(4), folder + "/" + name_of(5) + "-" + sha1(5) + ".zst",
              folder + "/" + name_of(6) + ".partial.gz", folder + "/" + name_of(7)});
  expect_mended(result);
  EXPECT_EQ(result.named, 4u);
  EXPECT_EQ(result.named_in, 4u);
}

TEST_F(SourcesTest, NeverEndsWellWithoutASource) {
  std::filesystem::create_directories(place / "empty");
  std::filesystem::create_directories(place / "folders/some/where");
  std::filesystem::create_directories(place / "folder" / name_of(4));
  std::filesystem::create_directories(place / "fifo");
  std::filesystem::create_directories(place / "link");
  ASSERT_EQ(::mkfifo((place / "fifo" / name_of(4)).c_str(), 0600), 0);
  std::filesystem::create_symlink("/nowhere/at/all", place / "link" / name_of(4));
  std::filesystem::create_symlink("/nowhere/at/all", place / "dead");
  put("case", "00000001000000000000000a", content(10));
  put("other", "README", test::as_bytes("x"));
  const auto four = "/" + name_of(4);
  for (const auto& word :
       {std::string("empty"), std::string("absent"), std::string("dead"), std::string("folders"),
        std::string("folder"), "folder" + four, std::string("fifo"), "fifo" + four,
        std::string("link"), "link" + four, std::string("case"),
        std::string("case/00000001000000000000000a"), std::string("other"),
        std::string("other/README"), std::string("other") + four}) {
    SCOPED_TRACE(word);
    const auto result = import({word});
    EXPECT_FALSE(result.done());
    EXPECT_THAT(result.open, Contains("1 source has no WAL that can be read")) << told(result);
    EXPECT_THAT(result.came, IsEmpty());
  }
  // What can be read comes in all the same.
  for (const auto segno : {4, 5, 6, 7}) put("good", name_of(segno), content(segno));
  const auto result = import({"good", "absent"});
  EXPECT_FALSE(result.done());
  EXPECT_THAT(result.came, SizeIs(4));
  EXPECT_TRUE(import({"good"}).done());
}

TEST_F(SourcesTest, RefusesTheArchiveItself) {
  EXPECT_EQ(test::error_of([&] { static_cast<void>(import({"archive"})); }).kind(),
            ErrorKind::usage);
}

TEST_F(SourcesTest, SaysWhetherWhatWasAskedForIsDone) {
  for (const auto segno : {1, 4, 5, 6}) put("some", name_of(segno), content(segno));
  put("some", name_of(4) + ".00000028.backup", test::as_bytes("label"));
  auto result = import(
      {"some/" + name_of(4), "some/" + name_of(1), "some/" + name_of(4) + ".00000028.backup"});
  EXPECT_EQ(result.named, 2u);
  EXPECT_EQ(result.named_in, 2u);
  EXPECT_THAT(result.touched, ElementsAre("0/500000 to 0/800000 on timeline 1")) << told(result);
  EXPECT_FALSE(result.done());
  // One that the archive had, and that lies beside the hole.
  result = import({"some/" + name_of(1)});
  EXPECT_TRUE(result.done()) << told(result);
  // A directory reaches into the hole.
  result = import({"some"});
  EXPECT_THAT(result.touched, ElementsAre("0/700000 to 0/800000 on timeline 1"));
  EXPECT_FALSE(result.done());
  // One whose WAL lies around the hole, and nothing in it.
  for (const auto segno : {6, 8}) put("around", name_of(segno), content(segno));
  EXPECT_FALSE(import({"around"}).done());
  // Damaged, and there is another copy of it: nothing is left to wish for.
  auto damaged = test::Bytes(content(7).begin(), content(7).end());
  damaged[5000] ^= std::byte{1};
  put("bad", name_of(7), damaged);
  put("good", name_of(7), content(7));
  EXPECT_FALSE(import({"bad"}).done());
  EXPECT_FALSE(import({"bad/" + name_of(7)}).done());
  EXPECT_TRUE(import({"bad", "good"}).done());
}

}  // namespace
}  // namespace weir::importing::sources_test

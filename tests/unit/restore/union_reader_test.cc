#include "restore/union_reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "archive/published_open.h"
#include "base/error.h"
#include "support/archive_builder.h"
#include "support/wal_builder.h"

namespace weir::restore::union_reader_test {
namespace {

using archive::WalSource;
using test::Bytes;
using testing::WalBuilder;
using verify::ArchiveBuilder;
using verify::kSize;
using wal::Lsn;
using State = WalSource::State;

class NoLog final : public Log {
 public:
  void write(LogLevel, std::string_view) override {}
  bool enabled(LogLevel) const override { return false; }
};

/// A directory whose files with this name fail to open.
class FailingShelf final : public io::Shelf {
 public:
  FailingShelf(std::string path, std::unique_ptr<io::Directory> directory)
      : path_(std::move(path)), directory_(std::move(directory)) {}
  const std::string& path() const override { return path_; }
  std::vector<io::DirectoryEntry> list() override { return directory_->list(); }
  std::optional<io::DirectoryEntry> find(const std::string& name) override {
    return directory_->find(name);
  }
  std::unique_ptr<io::Bytes> open_bytes(const std::string& name) override {
    if (name == failing) throw Error(ErrorKind::io, "it cannot be read");
    return directory_->open_bytes(name);
  }

  std::string failing;

 private:
  const std::string path_;
  const std::unique_ptr<io::Directory> directory_;
};

class UnionReaderTest : public ::testing::Test {
 protected:
  UnionReaderTest() {
    WalBuilder::Options options;
    options.switch_every = 0;
    wal_.emplace(options);
    wal_->grow_to(kSize.start(5));
  }

  /// With the archives as they are now.
  UnionReader& open(std::size_t count = 2) {
    reader_.reset();
    std::vector<io::Shelf*> shelves;
    for (std::size_t i = 0; i < count; ++i) {
      shelves_[i] = std::make_unique<FailingShelf>(std::string("/") + static_cast<char>('a' + i),
                                                   builders_[i].disk.open());
      shelves.push_back(shelves_[i].get());
    }
    archives_.emplace(Shelves(shelves), options_, log_);
    reader_.emplace(*archives_,
                    UnionReader::Options{.segment_size = kSize, .timeline = 1, .unfinished = true});
    return *reader_;
  }
  WalSource::Read read(Lsn at) {
    std::vector<std::byte> buffer(1000);
    return reader_->read(at, buffer);
  }

  /// The end of a record in that segment.
  [[nodiscard]] Lsn end_in(std::uint64_t segno, std::uint64_t offset) const {
    const auto& records = wal_->records();
    return std::find_if(records.begin(), records.end(),
                        [&](const auto& each) { return each.end > kSize.start(segno) + offset; })
        ->end;
  }
  void publish(ArchiveBuilder& archive, Lsn end) {
    const auto segno = kSize.segno(end);
    const auto start = kSize.start(segno);
    Bytes bytes(kSize.bytes());
    const auto wal = wal_->bytes(start, end);
    std::copy(wal.begin(), wal.end(), bytes.begin());
    archive.disk.put(ArchiveBuilder::name(*wal_, segno), bytes);
    const wal::SegmentName segment(1, segno, kSize);
    archive.disk.put(archive::published_open_name(segment),
                     test::as_bytes(archive::published_open_record(
                         {.segment = segment, .end = end, .object = {}, .time = {}})));
  }

  std::optional<WalBuilder> wal_;
  ArchiveBuilder builders_[2];
  std::unique_ptr<FailingShelf> shelves_[2];
  NoLog log_;
  const restore::Options options_;
  std::optional<Archives> archives_;
  std::optional<UnionReader> reader_;
};

TEST_F(UnionReaderTest, NamesTheCopyThatCannotBeReadBeforeADamagedOne) {
  for (const std::size_t failing : {0, 1}) {
    SCOPED_TRACE(failing);
    for (auto& each : builders_) each.segments(*wal_, 1, 5);
    builders_[1 - failing].disk.put(ArchiveBuilder::name(*wal_, 2), Bytes(100));
    open();
    EXPECT_EQ(read(kSize.start(2)).state, State::bytes) << "the valid one";
    open();
    shelves_[failing]->failing = ArchiveBuilder::name(*wal_, 2);
    EXPECT_EQ(read(kSize.start(1)).state, State::bytes);
    const auto result = read(kSize.start(2));
    EXPECT_EQ(result.state, State::damaged);
    ASSERT_TRUE(result.error);
    EXPECT_EQ(result.error->kind(), ErrorKind::io);
  }
}

TEST_F(UnionReaderTest, KnowsAPublishedSegment) {
  const auto end = end_in(3, 400'000);
  for (const std::size_t count : {1, 2}) {
    SCOPED_TRACE(count);
    builders_[0].segments(*wal_, 1, 3);
    publish(builders_[count - 1], end);
    auto& reader = open(count);
    EXPECT_EQ(read(end + 8).state, State::bytes);
    EXPECT_FALSE(reader.padded(kSize.start(2)));
    const auto padded = reader.padded(end);
    ASSERT_TRUE(padded);
    EXPECT_EQ(padded->end, end);
    EXPECT_FALSE(padded->continues);
    builders_[0].disk.erase(ArchiveBuilder::name(*wal_, 3));
  }
  // A bit after its end.
  builders_[1].flip(ArchiveBuilder::name(*wal_, 3), kSize.bytes() - 1, 0);
  EXPECT_FALSE(open().padded(end));
}

TEST_F(UnionReaderTest, ReadsThePartialFileThatContinuesAPublishedSegment) {
  const auto end = end_in(3, 400'000);
  const auto farther = end_in(3, 600'000);
  for (const std::size_t count : {1, 2}) {
    SCOPED_TRACE(count);
    builders_[0].segments(*wal_, 1, 3);
    publish(builders_[count - 1], end);
    builders_[0].partial(*wal_, end);
    EXPECT_FALSE(open(count).padded(end)->continues) << "it has the same";
    builders_[0].partial(*wal_, farther);
    auto& reader = open(count);
    EXPECT_EQ(read(end).state, State::bytes);
    EXPECT_FALSE(reader.copy()->name.partial);
    EXPECT_TRUE(reader.padded(end)->continues);
    std::vector<std::byte> buffer(1000);
    ASSERT_EQ(reader.read(end, buffer).count, 1000);
    EXPECT_TRUE(std::equal(buffer.begin(), buffer.end(), wal_->bytes(end, end + 1000).begin()));
    EXPECT_TRUE(reader.copy()->name.partial);
    builders_[0].disk.erase(ArchiveBuilder::name(*wal_, 3));
  }
}

}  // namespace
}  // namespace weir::restore::union_reader_test

#include "logical/output.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>

#include "io/posix_directory.h"
#include "logical/json_text.h"
#include "support/sim_disk.h"

namespace weir::logical::output_test {
namespace {

namespace fs = std::filesystem;

class ExactOutputTest : public ::testing::Test {
 protected:
  ExactOutputTest() {
    std::string pattern = fs::temp_directory_path() / "pgweir-output-XXXXXX";
    place_ = mkdtemp(pattern.data());
    directory_ = io::open_directory(place_);
  }
  ~ExactOutputTest() override { fs::remove_all(place_); }

  std::unique_ptr<ExactOutput> open(ExactOutput::Rotation rotation = {}) {
    auto output = prepare(rotation);
    output->begin();
    return output;
  }
  std::unique_ptr<ExactOutput> prepare(ExactOutput::Rotation rotation = {}) {
    State state;
    state.system_identifier = 42;
    state.database = "d";
    state.slot = slot_;
    state.plugin = "p";
    state.position = wal::Lsn(10);
    return std::make_unique<ExactOutput>(*directory_, "out", state, rotation, log_);
  }
  [[nodiscard]] std::string text(const std::string& name = "out") const {
    std::ifstream file(place_ / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(place_ / name, std::ios::binary) << text;
  }

  fs::path place_;
  std::unique_ptr<io::Directory> directory_;
  std::string slot_ = "s";
  NullLog log_;
};

/// What a write did not take would be missing if the next stream started after it.
TEST(PlainOutput, GoesBackToWhatIsDurableAfterAFailedWrite) {
  PlainOutput output("/dev/full", 0600, wal::Lsn(10));
  output.begin();
  output.border(wal::Lsn(20));
  output.make_durable();
  for (const std::size_t size : {std::size_t{1}, std::size_t{2} << 20}) {
    SCOPED_TRACE(size);
    EXPECT_THROW(
        {
          output.append(std::string(size, 'x'));
          output.border(wal::Lsn(30));
          output.flush();
        },
        Error);
    EXPECT_EQ(output.last_border(), wal::Lsn(20));
    EXPECT_EQ(output.start(), wal::Lsn(20));
    EXPECT_FALSE(output.buffered());
  }
  output.make_durable();
  EXPECT_EQ(output.durable(), wal::Lsn(20));
}

/// The file is moved away from a full disk, and the request must not be lost with the error.
TEST_F(ExactOutputTest, APlainOneIsReopenedAlsoIfItsDiskIsFull) {
  const auto path = place_ / "plain";
  fs::create_symlink("/dev/full", path);
  PlainOutput output(path.string(), 0600, wal::Lsn(10));
  output.begin();
  output.append("lost");
  output.border(wal::Lsn(20));
  fs::remove(path);
  EXPECT_THROW(output.reopen(), Error);
  EXPECT_EQ(output.start(), wal::Lsn(10));
  output.begin();
  output.append("sent again");
  output.border(wal::Lsn(20));
  output.make_durable();
  EXPECT_EQ(output.durable(), wal::Lsn(20));
  EXPECT_EQ(text("plain"), "sent again");
}

TEST_F(ExactOutputTest, CutsOffAtAStartWhatIsBehindTheState) {
  {
    auto output = open();
    EXPECT_EQ(output->start(), wal::Lsn(10));
    EXPECT_EQ(output->durable(), wal::Lsn(10));
    output->append("one\n");
    output->border(wal::Lsn(20));
    output->append("half of tw");
    EXPECT_EQ(output->durable(), wal::Lsn(10));
    output->make_durable();
    EXPECT_EQ(output->durable(), wal::Lsn(20));
    output->append("o\n");
    output->border(wal::Lsn(30));
    output->flush();
  }  // killed
  EXPECT_EQ(text(), "one\nhalf of two\n");
  auto output = open();
  EXPECT_EQ(text(), "one\n");
  EXPECT_EQ(output->start(), wal::Lsn(20));
  output->append("two\n");
  output->border(wal::Lsn(30));
  output->append("th");
  output->close();
  EXPECT_EQ(text(), "one\ntwo\n");
  EXPECT_EQ(open()->start(), wal::Lsn(30));
}

TEST_F(ExactOutputTest, KeepsTheTimelineOfItsPosition) {
  {
    auto output = prepare();
    EXPECT_EQ(output->timeline(), 0u);
    output->on_timeline(2);
    output->begin();
    output->append("one\n");
    output->border(wal::Lsn(20));
    output->make_durable();
    EXPECT_EQ(prepare()->timeline(), 2u);
    output->on_timeline(3);
    output->append("two\n");
    output->border(wal::Lsn(30));
  }  // killed
  EXPECT_EQ(prepare()->start(), wal::Lsn(20));
  EXPECT_EQ(prepare()->timeline(), 2u);
}

TEST_F(ExactOutputTest, TakesBackWhatAlreadyWentToTheFile) {
  auto output = open();
  output->append("one\n");
  output->border(wal::Lsn(20));
  const std::string large(3 << 20, 'x');
  output->append(large);
  output->append("more");
  output->undo();
  output->append("two\n");
  output->border(wal::Lsn(30));
  output->make_durable();
  EXPECT_EQ(text(), "one\ntwo\n");
}

TEST_F(ExactOutputTest, TellsOfEachPartOfALargeWrite) {
  auto output = open();
  std::vector<std::uint64_t> sizes;
  output->set_advances([&] { sizes.push_back(fs::file_size(place_ / "out") >> 20); });
  output->append(std::string(3 << 20, 'x'));
  EXPECT_EQ(sizes, (std::vector<std::uint64_t>{1, 2, 3}));
  output->border(wal::Lsn(20));
  output->make_durable();
  EXPECT_EQ(text(), std::string(3 << 20, 'x'));
}

TEST(ExactOutputSync, WaitsForABorder) {
  sim::SimDisk disk;
  const auto directory = disk.open();
  NullLog log;
  State state;
  state.position = wal::Lsn(10);
  ExactOutput output(*directory, "out", state, {}, log);
  output.begin();
  int syncs = 0;
  disk.set_hook([&](const sim::SimDisk::Call& call) {
    if (call.operation == sim::SimDisk::Operation::sync && call.name == "out") ++syncs;
    return sim::SimDisk::Effect::proceed();
  });
  const auto syncs_of = [&](auto&& work) {
    syncs = 0;
    work();
    output.make_durable();
    EXPECT_FALSE(output.dirty());
    return syncs;
  };
  const std::string large(3 << 20, 'x');
  EXPECT_EQ(syncs_of([&] { output.append(large); }), 0) << "half a transaction";
  EXPECT_EQ(syncs_of([&] { output.border(wal::Lsn(20)); }), 1);
  EXPECT_EQ(syncs_of([&] { output.append(large); }), 0);
  EXPECT_EQ(syncs_of([&] { output.undo(); }), 1) << "it was cut";
  EXPECT_EQ(syncs_of([&] { output.border(wal::Lsn(30)); }), 0) << "a position alone";
  EXPECT_EQ(output.durable(), wal::Lsn(30));
}

TEST_F(ExactOutputTest, RefusesFilesItDoesNotKnow) {
  write("out", "somebody's");
  EXPECT_THROW(open(), Error);
  EXPECT_EQ(text(), "somebody's");
  fs::remove(place_ / "out");
  {
    auto output = open();
    output->append("one\n");
    output->border(wal::Lsn(20));
    output->close();
  }
  const struct {
    const char* name;
    std::string content;
    ErrorKind kind;
  } cases[] = {{"shorter", "on", ErrorKind::damage},
               {"another", "two\n", ErrorKind::conflict},
               {"another and longer", "two\nthree\n", ErrorKind::conflict}};
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    write("out", each.content);
    try {
      open();
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), each.kind);
    }
    EXPECT_EQ(text(), each.content);
  }
  write("out", "one\n");
  slot_ = "other";
  EXPECT_THROW(open(), Error);
  slot_ = "s";
  write("out.state", "{}");
  EXPECT_THROW(open(), Error);
  fs::remove(place_ / "out.state");
  EXPECT_THROW(open(), Error);
}

TEST_F(ExactOutputTest, LetsOnlyOneProcessWrite) {
  auto output = open();
  output->append("one\n");
  output->border(wal::Lsn(20));
  output->make_durable();
  EXPECT_THROW(open(), Error);
}

/// The server has given the slot to the second process; the first one still has the file.
TEST_F(ExactOutputTest, LeavesTheFileAloneUntilTheOtherProcessHasEnded) {
  auto first = open();
  first->append("one\n");
  first->border(wal::Lsn(20));
  first->make_durable();
  first->append("two\n");
  first->flush();
  const auto second = prepare();
  const auto begins = [&] {
    try {
      second->begin();
      return true;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::retry) << error.what();
      return false;
    }
  };
  EXPECT_FALSE(begins());
  EXPECT_EQ(text(), "one\ntwo\n") << "not cut";
  first->border(wal::Lsn(30));
  first->make_durable();
  EXPECT_FALSE(begins()) << "tried again";
  first.reset();
  EXPECT_FALSE(begins()) << "the file holds more than was known when the stream was begun";
  second->look_again();
  EXPECT_EQ(second->start(), wal::Lsn(30));
  EXPECT_TRUE(begins());
  second->append("three\n");
  second->border(wal::Lsn(40));
  second->make_durable();
  EXPECT_EQ(text(), "one\ntwo\nthree\n");
}

TEST_F(ExactOutputTest, BeginsANewFileAtABorder) {
  {
    auto output = open({.bytes = 6, .time = {}});
    output->append("one\n");
    output->border(wal::Lsn(0x20));
    output->append("two\n");
    output->border(wal::Lsn(0x30));
    EXPECT_EQ(text("out.0000000000000030"), "one\ntwo\n");
    output->append("three");
    output->flush();
  }
  auto output = open();
  EXPECT_EQ(text(), "");
  EXPECT_EQ(text("out.0000000000000030"), "one\ntwo\n");
  EXPECT_EQ(output->start(), wal::Lsn(0x30));
}

/// By logrotate, whose SIGHUP comes later; "create" has left an empty file.
TEST_F(ExactOutputTest, DoesNotRenameAnotherFileThanItsOwn) {
  auto output = open({.bytes = 4, .time = {}});
  output->append("one\n");
  fs::rename(place_ / "out", place_ / "out.1");
  output->border(wal::Lsn(0x20));
  EXPECT_EQ(text("out.1"), "one\n");
  ASSERT_TRUE(fs::exists(place_ / "out"));
  EXPECT_EQ(output->durable(), wal::Lsn(0x20));
  output->append("two\n");
  fs::rename(place_ / "out", place_ / "out.2");
  write("out", "");
  output->border(wal::Lsn(0x30));
  output->reopen();  // now it comes
  EXPECT_EQ(text("out.2"), "two\n");
  EXPECT_EQ(text(), "");
  output->append("three\n");
  output->border(wal::Lsn(0x40));
  EXPECT_EQ(text("out.0000000000000040"), "three\n");
  EXPECT_FALSE(fs::exists(place_ / "out.0000000000000020"));
  EXPECT_FALSE(fs::exists(place_ / "out.0000000000000030"));
  output->append("four\n");
  fs::rename(place_ / "out", place_ / "out.4");
  write("out", "of another program");
  EXPECT_THROW(output->border(wal::Lsn(0x50)), Error);
  EXPECT_EQ(text("out.4"), "four\n");
  EXPECT_EQ(text(), "of another program");
}

TEST_F(ExactOutputTest, FindsAFileThatWasMovedBeforeACrash) {
  {
    auto output = open();
    output->append("one\n");
    output->border(wal::Lsn(0x20));
    output->make_durable();
    output->append("tw");
    output->flush();
  }
  fs::copy(place_ / "out", place_ / "out.copy");  // not the file itself
  fs::rename(place_ / "out", place_ / "out.1");
  auto output = open();
  EXPECT_EQ(text("out.1"), "one\n");
  EXPECT_EQ(text("out.copy"), "one\ntw");
  EXPECT_EQ(text(), "");
  EXPECT_EQ(output->start(), wal::Lsn(0x20));
}

TEST_F(ExactOutputTest, PutsAsideAMovedFileOfWhichNothingWasConfirmed) {
  {
    auto output = open();
    output->append("one\n");
    output->border(wal::Lsn(0x20));
    output->flush();
  }
  write("out.copy", "one\n");  // not the file itself
  fs::rename(place_ / "out", place_ / "out.1");
  auto output = open();
  EXPECT_EQ(output->start(), wal::Lsn(10));
  EXPECT_FALSE(fs::exists(place_ / "out.1"));
  EXPECT_EQ(text(".out.1.discarded"), "one\n");
  EXPECT_EQ(text("out.copy"), "one\n");
  EXPECT_EQ(text(), "");
  output->append("one\n");
  output->flush();
  // Once more, by a program that also creates the next one.
  output.reset();
  fs::rename(place_ / "out", place_ / "out.2");
  write("out", "");
  output = open();
  EXPECT_FALSE(fs::exists(place_ / "out.2"));
  EXPECT_EQ(text(".out.2.discarded"), "one\n");
  EXPECT_EQ(text(), "");
}

TEST_F(ExactOutputTest, OpensItsFileAnewAtABorder) {
  auto output = open();
  output->append("one\n");
  fs::rename(place_ / "out", place_ / "out.1");
  output->reopen();
  output->append("two\n");
  output->border(wal::Lsn(0x20));
  EXPECT_EQ(text("out.1"), "one\ntwo\n");
  output->append("three\n");
  output->border(wal::Lsn(0x30));
  output->make_durable();
  EXPECT_EQ(text(), "three\n");
  output->reopen();  // nobody moved it
  output->append("four\n");
  output->border(wal::Lsn(0x40));
  output->make_durable();
  EXPECT_EQ(text(), "three\nfour\n");
}

TEST_F(ExactOutputTest, OpensItsFileAnewAtOnceBetweenTwoTransactions) {
  auto output = open();
  output->append("one\n");
  output->border(wal::Lsn(0x20));
  fs::rename(place_ / "out", place_ / "out.1");
  output->reopen();
  EXPECT_EQ(output->durable(), wal::Lsn(0x20));
  EXPECT_EQ(text("out.1"), "one\n");
  ASSERT_TRUE(fs::exists(place_ / "out"));
  EXPECT_EQ(text(), "");
  output->append("two\n");
  output->border(wal::Lsn(0x30));
  output->make_durable();
  EXPECT_EQ(text("out.1"), "one\n");
  EXPECT_EQ(text(), "two\n");
  // Within a transaction, whose part is undone since the connection is lost.
  output->append("thr");
  fs::rename(place_ / "out", place_ / "out.2");
  output->reopen();
  output->undo();
  output->append("three\n");
  output->border(wal::Lsn(0x40));
  output->make_durable();
  EXPECT_EQ(text("out.2"), "two\n");
  EXPECT_EQ(text(), "three\n");
}

TEST(StateText, ComesBackAndIsNothingElse) {
  State state;
  state.system_identifier = ~0ull;
  state.database = "d\"\n\xc3\xa9";
  state.slot = "s";
  state.position = wal::Lsn(0x1'00000002);
  state.offset = ~0ull >> 1;
  state.timeline = 3;
  state.tail = 7;
  const auto text = to_text(state);
  EXPECT_EQ(parse_state(text), state);
  for (std::size_t i = 0; i + 2 < text.size(); ++i) {
    EXPECT_EQ(parse_state(text.substr(0, i)), std::nullopt);
    auto changed = text;
    changed[i] = changed[i] == '7' ? '8' : '7';
    EXPECT_EQ(parse_state(changed), std::nullopt) << changed;
  }
}

TEST(StateText, WithoutATimelineIsThatOfAnEarlierVersion) {
  const std::string members =
      R"({"pgweir_logical_state":1,"system_identifier":"42","database":"d","slot":"s",)"
      R"("plugin":"p","position":"0/14","offset":4,"tail_crc32c":"00000007","inode":5)";
  const auto all = members + "}";
  const auto crc = checksum(std::as_bytes(std::span(all.data(), all.size())));
  const auto state = parse_state(fmt::format(R"({},"crc32c":"{:08x}"}})", members, crc));
  ASSERT_TRUE(state);
  EXPECT_EQ(state->position, wal::Lsn(0x14));
  EXPECT_EQ(state->timeline, 0u);
}

TEST(JsonText, KnowsUtf8) {
  for (const char* good : {"", "abcdefghijk", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80",
                           "12345678\xc3\xa9", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"})
    EXPECT_TRUE(is_utf8(good)) << good;
  for (const char* bad : {"\x80", "\xc3", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80",
                          "\xf5\x80\x80\x80", "\xf4\x90\x80\x80", "12345678\xff", "\xe2\x82"})
    EXPECT_FALSE(is_utf8(bad));
  std::string out;
  append_json_text(out, "a\"\\\n\t\r\x01\x7f/");
  append_json_text(out, "\xff\xfe\xfd\xfc");
  EXPECT_EQ(out, R"("a\"\\\n\t\r\u0001\u007f/"{"base64":"//79/A=="})");
}

}  // namespace
}  // namespace weir::logical::output_test

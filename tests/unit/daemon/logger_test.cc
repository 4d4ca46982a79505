#include "daemon/logger.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace weir::daemon::logger_test {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

class LoggerTest : public ::testing::Test {
 protected:
  LoggerTest() {
    std::string pattern = fs::temp_directory_path() / "pgweir-log-XXXXXX";
    directory_ = ::mkdtemp(pattern.data());
    EXPECT_EQ(::pipe2(pipe_, O_CLOEXEC), 0);
  }
  ~LoggerTest() override {
    ::close(pipe_[0]);
    if (pipe_[1] >= 0) ::close(pipe_[1]);
    fs::remove_all(directory_);
  }

  /// What was written to the screen; ends it.
  std::string shown() {
    ::close(std::exchange(pipe_[1], -1));
    std::string text;
    char piece[4096];
    for (ssize_t count = 0; (count = ::read(pipe_[0], piece, sizeof piece)) > 0;)
      text.append(piece, static_cast<std::size_t>(count));
    return text;
  }
  static std::string content(const std::string& path) {
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }

  std::string directory_;
  int pipe_[2];
};

TEST_F(LoggerTest, WritesTimeLevelAndText) {
  {
    Screen screen(pipe_[1]);
    Logger logger(screen, LogLevel::info, std::nullopt);
    Log& log = logger;
    log.debug("not this");
    log.info("one {}", 1);
    log.error(Error(ErrorKind::io, "broken").hint("Mend it."));
    EXPECT_TRUE(logger.close(10s));
  }
  const std::string time = "[0-9-]+ [0-9:]+[.][0-9]+ UTC ";
  EXPECT_THAT(shown(), MatchesRegex(time + "INFO  one 1\n" + time + "ERROR broken\n" + time +
                                    "ERROR hint: Mend it.\n"));
}

/// As systemd names the stream that it gives a service.
class JournalStream {
 public:
  explicit JournalStream(int fd) {
    struct stat status {};
    EXPECT_EQ(::fstat(fd, &status), 0);
    const auto name = std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino);
    ::setenv("JOURNAL_STREAM", name.c_str(), 1);
  }
  ~JournalStream() { ::unsetenv("JOURNAL_STREAM"); }
  JournalStream(const JournalStream&) = delete;
  JournalStream& operator=(const JournalStream&) = delete;
};

TEST_F(LoggerTest, GivesTheJournalPrioritiesAndNoTime) {
  const JournalStream journal(pipe_[1]);
  {
    Screen screen(pipe_[1]);
    Logger logger(screen, LogLevel::debug, std::nullopt);
    Log& log = logger;
    log.debug("quiet");
    log.info("one\ntwo");
    log.warning("look");
    log.error(Error(ErrorKind::io, "broken").hint("Mend it."));
    EXPECT_TRUE(logger.close(10s));
  }
  EXPECT_EQ(shown(),
            "<7>DEBUG quiet\n<6>INFO  one\n<6>    two\n<4>WARN  look\n<3>ERROR broken\n"
            "<3>ERROR hint: Mend it.\n");
}

TEST_F(LoggerTest, GivesTheJournalItsLastWordsAndJsonWithPriorities) {
  const JournalStream journal(pipe_[1]);
  {
    Screen screen(pipe_[1]);
    Logger logger(screen, LogLevel::info, directory_ + "/log", {}, LogFormat::json);
    logger.last_words(Error(ErrorKind::durability, "lost"), 10s);
    EXPECT_TRUE(logger.close(10s));
  }
  EXPECT_THAT(shown(), MatchesRegex(R"(<3>\{"time":".*"level":"error".*"message":"lost".*\}.)"));
}

TEST_F(LoggerTest, TakesNoOtherStreamForTheJournal) {
  int other[2];
  ASSERT_EQ(::pipe2(other, O_CLOEXEC), 0);
  const JournalStream journal(other[1]);
  {
    Screen screen(pipe_[1]);
    Logger logger(screen, LogLevel::info, std::nullopt);
    logger.write(LogLevel::info, "one");
    EXPECT_TRUE(logger.close(10s));
  }
  ::close(other[0]);
  ::close(other[1]);
  EXPECT_THAT(shown(), Not(::testing::StartsWith("<")));
}

TEST_F(LoggerTest, DoesNotWaitForAReaderThatDoesNotRead) {
  Screen screen(pipe_[1]);
  Logger logger(screen, LogLevel::info, std::nullopt);
  // More than the pipe and the queue hold: the test hangs if a caller had to wait.
  const std::string text(1000, 'x');
  for (int i = 0; i < 2000; ++i) logger.write(LogLevel::info, text);
  EXPECT_FALSE(logger.drain(10ms));
  logger.last_words(Error(ErrorKind::durability, "lost"), 10ms);
  EXPECT_TRUE(logger.close(10ms));
}

TEST_F(LoggerTest, KeepsTheNewestOfTooMany) {
  Screen screen(pipe_[1]);
  Logger logger(screen, LogLevel::info, std::nullopt);
  const std::string text(1000, 'x');
  for (int i = 0; i < 2000; ++i) logger.write(LogLevel::info, text);
  logger.write(LogLevel::info, "the last one");
  std::string read;
  char piece[4096];
  while (read.find("the last one\n") == std::string::npos) {
    const auto count = ::read(pipe_[0], piece, sizeof piece);
    ASSERT_GT(count, 0);
    read.append(piece, static_cast<std::size_t>(count));
  }
  EXPECT_TRUE(logger.close(10s));
}

TEST_F(LoggerTest, WritesToAFileAndOpensItAnew) {
  const auto path = directory_ + "/log";
  {
    Screen screen(pipe_[1]);
    Logger logger(screen, LogLevel::info, path);
    Log& log = logger;
    log.info("before");
    ASSERT_TRUE(logger.drain(10s));
    fs::rename(path, path + ".1");
    log.info("still the old one");
    ASSERT_TRUE(logger.drain(10s));
    logger.reopen();
    log.info("the new one");
    EXPECT_TRUE(logger.close(10s));
  }
  EXPECT_THAT(content(path + ".1"), HasSubstr("still the old one"));
  EXPECT_THAT(content(path), HasSubstr("the new one"));
  EXPECT_THAT(content(path), Not(HasSubstr("before")));
  EXPECT_EQ(shown(), "");
}

TEST_F(LoggerTest, GoesOnInTheOldFileIfTheNewOneCannotBeOpened) {
  fs::create_directory(directory_ + "/sub");
  const auto path = directory_ + "/sub/log";
  {
    Screen screen(pipe_[1]);
    Logger logger(screen, LogLevel::info, path);
    fs::rename(directory_ + "/sub", directory_ + "/gone");
    logger.reopen();
    logger.write(LogLevel::info, "after");
    EXPECT_TRUE(logger.close(10s));
  }
  EXPECT_THAT(content(directory_ + "/gone/log"), HasSubstr("after"));
  EXPECT_THAT(shown(), HasSubstr("could not open the log file"));
}

// A named pipe without a reader: opening it hangs, as on a network file system that is away.
TEST_F(LoggerTest, ReopensAFileLaterThatHangs) {
  const auto path = directory_ + "/log";
  Screen screen(pipe_[1]);
  Logger logger(screen, LogLevel::info, path);
  fs::remove(path);
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  logger.reopen();
  EXPECT_FALSE(logger.drain(1ms));
  logger.info("after");
  const int reader = ::open(path.c_str(), O_RDONLY | O_NONBLOCK);
  ASSERT_GE(reader, 0);
  EXPECT_TRUE(logger.close(10s));
  std::string text(1000, '\0');
  const auto count = ::read(reader, text.data(), text.size());
  ::close(reader);
  EXPECT_THAT(text.substr(0, count > 0 ? static_cast<std::size_t>(count) : 0), HasSubstr("after"));
}

TEST_F(LoggerTest, RefusesAFileThatCannotBeOpened) {
  Screen screen(pipe_[1]);
  EXPECT_THROW(Logger(screen, LogLevel::info, directory_ + "/missing/log"), Error);
}

TEST_F(LoggerTest, SaysTheLastWordsOnTheScreenToo) {
  const auto path = directory_ + "/log";
  {
    Screen screen(pipe_[1]);
    Logger logger(screen, LogLevel::info, path);
    logger.last_words(Error(ErrorKind::durability, "lost").hint("Look."), 10s);
    EXPECT_THAT(content(path), HasSubstr("ERROR lost"));
  }
  EXPECT_EQ(shown(), "pgweir: error: lost\npgweir: hint: Look.\n");
}

TEST_F(LoggerTest, ChangesItsLevel) {
  Screen screen(pipe_[1]);
  Logger logger(screen, LogLevel::info, std::nullopt);
  EXPECT_FALSE(logger.enabled(LogLevel::debug));
  logger.set_level(LogLevel::debug);
  EXPECT_TRUE(logger.enabled(LogLevel::debug));
}

TEST_F(LoggerTest, WritesAnObjectOnEachLineIfAskedTo) {
  {
    Screen screen(pipe_[1]);
    Logger logger(screen, LogLevel::info, std::nullopt, {}, LogFormat::json);
    Log& log = logger;
    log.info("two\nlines and a \"quote\", {}", "\xff\x01");
    log.debug("not shown");
    log.error(Error(ErrorKind::gap, "missing").with("lsn", "0/1").hint("Do it."));
    log.error(Error(ErrorKind::retry, "bare"));
  }
  std::istringstream lines(shown());
  std::vector<nlohmann::json> objects;
  for (std::string line; std::getline(lines, line);) objects.push_back(nlohmann::json::parse(line));
  ASSERT_EQ(objects.size(), 3u);
  EXPECT_EQ(objects[0].at("message"), "two\nlines and a \"quote\", \xEF\xBF\xBD\x01");
  EXPECT_EQ(objects[0].at("level"), "info");
  EXPECT_EQ(objects[0].at("pid"), ::getpid());
  EXPECT_THAT(objects[0].at("time").get<std::string>(),
              MatchesRegex("20[0-9-]+T[0-9:]+\\.[0-9][0-9][0-9]Z"));
  EXPECT_FALSE(objects[0].contains("error"));
  EXPECT_EQ(objects[1].at("message"), "missing");
  EXPECT_EQ(objects[1].at("error"), "gap");
  EXPECT_EQ(objects[1].at("context"), "lsn 0/1");
  EXPECT_EQ(objects[1].at("hint"), "Do it.");
  EXPECT_FALSE(objects[2].contains("hint"));
}

}  // namespace
}  // namespace weir::daemon::logger_test

#include "net/directory_socket.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <new>
#include <string>

#include "base/error.h"

namespace weir::net::directory_socket_test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using Client = DirectorySocket::Client;
using Name = DirectorySocket::Name;

constexpr const char* kName = ".asked.sock";

class DirectorySocketTest : public ::testing::Test {
 protected:
  DirectorySocketTest() {
    std::string pattern = fs::temp_directory_path() / "pgweir-asked-XXXXXX";
    directory_ = ::mkdtemp(pattern.data());
  }
  ~DirectorySocketTest() override { fs::remove_all(directory_); }

  DirectorySocket::Reply ask(const std::string& line) const {
    return DirectorySocket::ask(directory_, kName, &line, 30s);
  }

  std::string directory_;
};

TEST_F(DirectorySocketTest, AnswersTheLineThatItGets) {
  const DirectorySocket socket(directory_, kName, Name::may_be_in_use, Client::sends_line,
                               [](const std::string& line) { return "answer to " + line; });
  EXPECT_EQ(ask("one").answer, "answer to one");
  EXPECT_EQ(ask("").answer, "answer to ");
  EXPECT_EQ(ask(std::string(200, 'x')).answer, "answer to " + std::string(200, 'x'));
}

TEST_F(DirectorySocketTest, DoesNotAnswerALineThatIsTooLong) {
  const DirectorySocket socket(directory_, kName, Name::may_be_in_use, Client::sends_line,
                               [](const std::string& line) { return "answer to " + line; });
  EXPECT_FALSE(ask(std::string(1000, 'x')).answer);
  EXPECT_EQ(ask("one").answer, "answer to one");
}

TEST_F(DirectorySocketTest, AnswersNothingWhereTheAnswerFails) {
  std::atomic<bool> fails = true;
  const DirectorySocket socket(directory_, kName, Name::may_be_in_use, Client::sends_line,
                               [&](const std::string&) -> std::string {
                                 if (fails) throw Error(ErrorKind::io, "no disk");
                                 return "yes";
                               });
  const auto reply = ask("one");
  EXPECT_FALSE(reply.answer);
  EXPECT_EQ(reply.code, 0);
  fails = false;
  EXPECT_EQ(ask("one").answer, "yes");
}

TEST_F(DirectorySocketTest, AnswersAgainAfterAnAnswerForWhichThereWasNoMemory) {
  std::atomic<bool> fails = true;
  const DirectorySocket socket(directory_, kName, Name::may_be_in_use, Client::sends_line,
                               [&](const std::string&) -> std::string {
                                 if (fails) throw std::bad_alloc();
                                 return "yes";
                               });
  EXPECT_FALSE(ask("one").answer);
  fails = false;
  EXPECT_EQ(ask("one").answer, "yes");
}

TEST_F(DirectorySocketTest, LeavesANameThatIsInUse) {
  const auto answer = [](const std::string&) { return std::string("first"); };
  const DirectorySocket socket(directory_, kName, Name::may_be_in_use, Client::sends_line, answer);
  try {
    const DirectorySocket other(directory_, kName, Name::may_be_in_use, Client::sends_line, answer);
    ADD_FAILURE() << "took the name";
  } catch (const Error& error) {
    EXPECT_EQ(error.system_code(), EADDRINUSE);
  }
  EXPECT_EQ(ask("one").answer, "first");
}

TEST_F(DirectorySocketTest, ReplacesWhatHasItsNameIfThatIsItsOwn) {
  const auto answer = [](const std::string& word) {
    return [word](const std::string&) { return word; };
  };
  const DirectorySocket left(directory_, kName, Name::is_ours, Client::reads, answer("left"));
  DirectorySocket socket(directory_, kName, Name::is_ours, Client::reads, answer("new"));
  EXPECT_EQ(DirectorySocket::ask(directory_, kName, nullptr, 30s).answer, "new");
  EXPECT_EQ(socket.close(), 0);
  EXPECT_TRUE(fs::is_empty(directory_));
  EXPECT_EQ(socket.close(), 0);
  EXPECT_FALSE(DirectorySocket::ask(directory_, kName, nullptr, 30s).answer);
}

}  // namespace
}  // namespace weir::net::directory_socket_test

#include "receive/status_socket.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <mutex>
#include <string>
#include <vector>

#include "base/error.h"

namespace weir::receive::status_socket_test {
namespace {

namespace fs = std::filesystem;

class RecordingLog final : public Log {
 public:
  void write(LogLevel, std::string_view message) override {
    const std::lock_guard lock(mutex_);
    messages_.emplace_back(message);
  }
  bool enabled(LogLevel) const override { return true; }
  std::vector<std::string> messages() {
    const std::lock_guard lock(mutex_);
    return messages_;
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> messages_;
};

class StatusSocketTest : public ::testing::Test {
 protected:
  StatusSocketTest() {
    std::string pattern = fs::temp_directory_path() / "pgweir-status-XXXXXX";
    directory_ = ::mkdtemp(pattern.data());
  }
  ~StatusSocketTest() override { fs::remove_all(directory_); }

  std::string socket_path() const { return directory_ + "/.pgweir.sock"; }

  /// A client that connects and never reads.
  int connect_silently() const {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socket_path().copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return fd;
  }

  std::string directory_;
  RecordingLog log_;
};

TEST_F(StatusSocketTest, AnswersEachTimeItIsAsked) {
  int asked = 0;
  const StatusSocket socket(
      directory_, [&] { return "answer " + std::to_string(++asked); }, log_);
  EXPECT_EQ(StatusSocket::ask(directory_), "answer 1");
  EXPECT_EQ(StatusSocket::ask(directory_), "answer 2");
  EXPECT_TRUE(log_.messages().empty());
}

TEST_F(StatusSocketTest, IsNotThereWithoutAReceiver) {
  EXPECT_EQ(StatusSocket::ask(directory_), std::nullopt);
}

TEST_F(StatusSocketTest, LeavesNothingBehind) {
  {
    const StatusSocket socket(
        directory_, [] { return std::string("x"); }, log_);
  }
  EXPECT_TRUE(fs::is_empty(directory_));
  EXPECT_EQ(StatusSocket::ask(directory_), std::nullopt);
}

TEST_F(StatusSocketTest, ReplacesASocketLeftByACrash) {
  const int dead = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socket_path().copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(dead, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ::close(dead);
  EXPECT_EQ(StatusSocket::ask(directory_), std::nullopt);
  const StatusSocket socket(
      directory_, [] { return std::string("alive"); }, log_);
  EXPECT_EQ(StatusSocket::ask(directory_), "alive");
}

TEST_F(StatusSocketTest, LetsNobodyElseAsk) {
  const auto before = ::umask(0);
  const StatusSocket socket(
      directory_, [] { return std::string("x"); }, log_);
  ::umask(before);
  struct stat status {};
  ASSERT_EQ(::stat(socket_path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST_F(StatusSocketTest, WorksWhereThePathIsTooLongForASocket) {
  auto deep = fs::path(directory_);
  for (int i = 0; i < 5; ++i) deep /= std::string(100, 'd');
  fs::create_directories(deep);
  const StatusSocket socket(
      deep, [] { return std::string("deep"); }, log_);
  EXPECT_EQ(StatusSocket::ask(deep), "deep");
  EXPECT_TRUE(log_.messages().empty());
}

TEST_F(StatusSocketTest, SendsAnswersThatFitInNoBuffer) {
  const std::string large(2'000'000, 'x');
  const StatusSocket socket(
      directory_, [&] { return large; }, log_);
  EXPECT_EQ(StatusSocket::ask(directory_), large);
}

TEST_F(StatusSocketTest, GivesUpOneWhoDoesNotRead) {
  const std::string large(2'000'000, 'x');
  const StatusSocket socket(
      directory_, [&] { return large; }, log_);
  const int silent = connect_silently();
  EXPECT_EQ(StatusSocket::ask(directory_), large);
  ::close(silent);
}

TEST_F(StatusSocketTest, EndsAtOnceWhileSomebodyDoesNotRead) {
  const std::string large(2'000'000, 'x');
  int silent = -1;
  {
    const StatusSocket socket(
        directory_, [&] { return large; }, log_);
    silent = connect_silently();
  }
  ::close(silent);
  EXPECT_TRUE(fs::is_empty(directory_));
}

TEST_F(StatusSocketTest, TellsAReceiverThatHangsFromNone) {
  // Listens and never takes a call, as a stopped process does.
  const int hung = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socket_path().copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(hung, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(hung, 1), 0);
  try {
    static_cast<void>(StatusSocket::ask(directory_));
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::retry);
  }
  ::close(hung);
}

TEST_F(StatusSocketTest, SaysSoOnceWhereThereCanBeNoSocket) {
  const StatusSocket socket(
      directory_ + "/missing", [] { return std::string(); }, log_);
  ASSERT_EQ(log_.messages().size(), 1u);
  EXPECT_NE(log_.messages()[0].find("could not open the archive directory"), std::string::npos);
}

TEST_F(StatusSocketTest, RefusesToAskInADirectoryThatIsNotThere) {
  EXPECT_THROW(static_cast<void>(StatusSocket::ask(directory_ + "/missing")), Error);
}

}  // namespace
}  // namespace weir::receive::status_socket_test

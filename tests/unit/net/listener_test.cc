#include "net/listener.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <optional>
#include <thread>

#include "base/error.h"
#include "net/connect.h"
#include "net/pass_descriptor.h"

namespace weir::net::listener_test {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

Deadline soon() { return std::chrono::steady_clock::now() + 60s; }

std::string read_all(int socket) {
  std::string text;
  std::array<char, 64> piece;
  while (const auto count = receive_some(socket, piece, soon(), nullptr))
    text.append(piece.data(), count);
  return text;
}

/// Who connects stays in the queue then, and a poll() returns at once.
TEST(Listener, WaitsForWhateverAcceptLacksButNotForAClientThatHasGone) {
  for (const int lacks : {EMFILE, ENFILE, ENOBUFS, ENOMEM, EPERM}) EXPECT_TRUE(is_shortage(lacks));
  for (const int passes : {EAGAIN, EINTR, ECONNABORTED}) EXPECT_FALSE(is_shortage(passes));
}

TEST(Address, ReadsNumbersAndWritesThemAgain) {
  for (const std::string text : {"127.0.0.1:9187", "0.0.0.0:5432", "[::1]:5432", "@a name", "/a/b"})
    EXPECT_EQ((text.front() == '@' || text.front() == '/' ? Address::unix_socket(text)
                                                          : Address::tcp(text))
                  .to_string(),
              text);
  for (const std::string wrong :
       {"", "9187", "db1:5432", "127.0.0.1:", "127.0.0.1:x", "300.0.0.1:1"})
    EXPECT_THROW(static_cast<void>(Address::tcp(wrong)), Error) << wrong;
  for (const std::string& wrong : {std::string("name"), std::string(), "/" + std::string(107, 'x')})
    EXPECT_THROW(static_cast<void>(Address::unix_socket(wrong)), Error) << wrong;
}

TEST(Listener, TakesOverANameThatNobodyListensAt) {
  const auto directory = fs::temp_directory_path() / ("pgweir-" + std::to_string(::getpid()));
  fs::create_directory(directory);
  const auto address = Address::unix_socket((directory / "socket").string());
  {
    auto first = Listener::bind_over_stale(address, 0777);
    first.listen();
    const auto status = fs::status(directory / "socket");
    EXPECT_EQ(static_cast<unsigned>(status.permissions()), 0777u);
    EXPECT_THROW(static_cast<void>(Listener::bind_over_stale(address, 0777)), Error);
    EXPECT_EQ(connect(address, Kind::bytes, soon()).code, 0);
  }
  auto second = Listener::bind_over_stale(address, 0777);
  second.listen();
  EXPECT_EQ(connect(address, Kind::bytes, soon()).code, 0);
  // What is no socket is nobody's to remove.
  fs::remove(directory / "socket");
  fs::create_directory(directory / "socket");
  EXPECT_THROW(static_cast<void>(Listener::bind_over_stale(address, 0777)), Error);
  EXPECT_TRUE(fs::exists(directory / "socket"));
  fs::remove_all(directory);
}

TEST(Listener, TakesConnectionsByTcpAtThePortThatItGot) {
  auto listener = Listener::bind(Address::tcp("127.0.0.1:0"), Kind::bytes);
  listener.listen();
  const auto client = connect(listener.address(), Kind::bytes, soon());
  ASSERT_EQ(client.code, 0);
  const Wake never;
  auto server = listener.accept(never);
  ASSERT_TRUE(server);
  EXPECT_TRUE(send_all(server->get(), "welcome", soon(), nullptr));
  server.reset();
  EXPECT_EQ(read_all(client.socket.get()), "welcome");
}

TEST(Listener, HasItsAddressAlone) {
  auto listener = Listener::bind(Address::tcp("127.0.0.1:0"), Kind::bytes);
  EXPECT_EQ(connect(listener.address(), Kind::bytes, soon()).code, ECONNREFUSED);
  listener.listen();
  try {
    Listener::bind(listener.address(), Kind::bytes).listen();
    ADD_FAILURE() << "taken twice";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::io);
    EXPECT_EQ(error.message(), "could not bind a socket to its address: Address already in use");
  }
}

TEST(Listener, GivesTheNameInADirectoryItsModeWhateverTheLengthOfThePath) {
  std::string pattern = fs::temp_directory_path() / "pgweir-net-XXXXXX";
  const fs::path top = ::mkdtemp(pattern.data());
  const auto deep = top / std::string(100, 'd') / std::string(100, 'd');
  fs::create_directories(deep);
  const Descriptor directory(::open(deep.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  const auto address = Address::in_directory(directory.get(), "socket");
  auto listener = Listener::bind(address, Kind::bytes, 0600);
  listener.listen();
  struct stat status {};
  ASSERT_EQ(::stat((deep / "socket").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777u, 0600u);
  EXPECT_EQ(connect(address, Kind::bytes, soon()).code, 0);
  EXPECT_EQ(connect(Address::in_directory(directory.get(), "none"), Kind::bytes, soon()).code,
            ENOENT);
  fs::remove_all(top);
}

TEST(Listener, StopsWaitingWhenTheWakeIsRaised) {
  auto listener = Listener::bind(Address::tcp("127.0.0.1:0"), Kind::bytes);
  listener.listen();
  Wake stop;
  std::thread signal([&] { stop.raise(); });
  EXPECT_FALSE(listener.accept(stop));
  signal.join();
  EXPECT_FALSE(listener.accept_now());
}

TEST(Listener, WaitsForADescriptorThatItCannotHave) {
  auto listener = Listener::bind(Address::tcp("127.0.0.1:0"), Kind::bytes);
  listener.listen();
  const auto client = connect(listener.address(), Kind::bytes, soon());
  ASSERT_EQ(client.code, 0);
  const Wake never;
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  // It runs before there is no descriptor any more: a sanitizer wants one when a thread begins.
  std::atomic<int> stage = 0;
  const auto reach = [&](int now) {
    stage = now;
    stage.notify_all();
  };
  std::thread relief([&] {
    reach(1);
    stage.wait(1);
    ::setrlimit(RLIMIT_NOFILE, &before);
  });
  stage.wait(0);
  // As many as there are: the lowest that is free is the limit.
  const Descriptor next(::dup(client.socket.get()));
  rlimit none = before;
  none.rlim_cur = static_cast<rlim_t>(next.get()) + 1;
  EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  EXPECT_FALSE(listener.accept_now());
  EXPECT_EQ(errno, EMFILE);
  reach(2);
  EXPECT_TRUE(listener.accept(never));
  relief.join();
}

TEST(Packets, CarryADescriptor) {
  const auto address = Address::unix_socket("@pgweir-net-test-" + std::to_string(::getpid()));
  auto listener = Listener::bind(address, Kind::packets);
  listener.listen();
  const auto client = connect(address, Kind::packets, soon());
  ASSERT_EQ(client.code, 0);
  auto server = listener.accept_now();
  ASSERT_TRUE(server);
  EXPECT_EQ(same_users_process(server.get()), ::getpid());
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  const Descriptor out(ends[0]);
  Descriptor in(ends[1]);
  const std::string text = "a pipe";
  ASSERT_TRUE(send_packet(client.socket.get(), std::as_bytes(std::span(text)), in.get()));
  in.close();
  std::array<std::byte, 64> bytes;
  auto packet = receive_packet(server.get(), bytes);
  EXPECT_EQ(packet.size, text.size());
  ASSERT_TRUE(packet.descriptor);
  EXPECT_EQ(::write(packet.descriptor.get(), "x", 1), 1);
  char byte = 0;
  EXPECT_EQ(::read(out.get(), &byte, 1), 1);
  server.close();
  EXPECT_EQ(receive_packet(client.socket.get(), bytes).size, 0u);
}

}  // namespace
}  // namespace weir::net::listener_test

#include "daemon/service_manager.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <string>

namespace weir::daemon::service_manager_test {
namespace {

receive::ReceiverView streaming() {
  receive::ReceiverView view;
  view.state = "streaming";
  view.server = "db1:5432";
  view.stream = receive::StreamSnapshot{.timeline = 3,
                                        .start = wal::Lsn(0x1000000),
                                        .write = wal::Lsn(0x1800000),
                                        .flush = wal::Lsn(0x1400000),
                                        .server_end = wal::Lsn(0x1800000)};
  return view;
}

TEST(StatusLine, TellsStatePositionAndLagInOneLine) {
  using View = receive::ReceiverView;
  const struct {
    const char* name;
    std::function<void(View&)> change;
    const char* line;
  } cases[] = {
      {"behind", [](View&) {},
       "streaming timeline 3 from db1:5432, durable up to 0/1400000, 4 MB behind"},
      {"caught up", [](View& view) { view.stream->flush = view.stream->server_end; },
       "streaming timeline 3 from db1:5432, durable up to 0/1800000, caught up"},
      {"disk full", [](View& view) { view.disk_full_since.emplace(); },
       "disk full: holding timeline 3 from db1:5432, durable up to 0/1400000, 4 MB behind"},
      {"waiting",
       [](View& view) {
         view.stream.reset();
         view.state = "waiting";
         view.server.clear();
         view.last_error = "no\nserver";
       },
       "waiting; last error: no     server"},
      {"hole and slot",
       [](View& view) {
         view.losses.resize(2);
         view.losses[1].acknowledged = archive::Loss::Acknowledgement{};
         view.slot_warning = "the slot is ill";
       },
       "streaming timeline 3 from db1:5432, durable up to 0/1400000, 4 MB behind; 1 loss(es) of "
       "WAL, see pgweir status; the slot is ill"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    auto view = streaming();
    each.change(view);
    EXPECT_EQ(status_line(view), each.line);
  }
}

/// A service manager's socket that nobody reads before the test does.
class Mailbox {
 public:
  Mailbox() : socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    // An abstract address that the kernel chooses.
    EXPECT_EQ(::bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(sa_family_t)), 0);
    socklen_t size = sizeof address;
    EXPECT_EQ(::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    name_ = "@" + std::string(address.sun_path + 1, size - offsetof(sockaddr_un, sun_path) - 1);
    ::setenv("NOTIFY_SOCKET", name_.c_str(), 1);
  }
  ~Mailbox() {
    for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) ::unsetenv(name);
    ::close(socket_);
  }
  /// The next message, waited for.
  std::string next(int milliseconds = 30'000) {
    std::string text(4096, '\0');
    pollfd fd{socket_, POLLIN, 0};
    if (::poll(&fd, 1, milliseconds) != 1) return "(nothing came)";
    text.resize(static_cast<std::size_t>(::recv(socket_, text.data(), text.size(), 0)));
    return text;
  }

 private:
  int socket_;
  std::string name_;
};

TEST(ServiceManager, IsNotHeldUpWhereNobodyReadsAndTellsItAllTheSame) {
  Mailbox mailbox;
  NullLog log;
  ServiceManager manager(log);
  manager.start();
  // The kernel keeps some ten messages for a reader.
  for (int i = 0; i < 200; ++i) {
    manager.ready("line " + std::to_string(i));
    manager.reloaded();
  }
  manager.status("the last line");
  EXPECT_EQ(mailbox.next(), "READY=1");
  while (true) {
    const auto message = mailbox.next();
    ASSERT_NE(message, "(nothing came)");
    if (message == "STATUS=the last line") break;
  }
  manager.stop();
}

TEST(ServiceManager, FeedsTheWatchdogWhileItHearsAHeartbeatOrIsExcused) {
  Mailbox mailbox;
  ::setenv("WATCHDOG_USEC", "100000", 1);
  NullLog log;
  ServiceManager manager(log);
  EXPECT_EQ(manager.heartbeat_interval(), std::chrono::milliseconds(25));
  manager.start();
  for (int i = 0; i < 5; ++i) EXPECT_EQ(mailbox.next(), "WATCHDOG=1");  // excused at first
  manager.excuse(false);
  // No heartbeat any more: what is under way arrives, and then no more comes.
  const auto silent_for = [&] { return mailbox.next(300) == "(nothing came)"; };
  bool silent = false;
  for (int i = 0; i < 50 && !silent; ++i) silent = silent_for();
  EXPECT_TRUE(silent);
  // One that is seen too late, on a busy machine, does not count.
  std::string said;
  for (int i = 0; i < 300 && said != "WATCHDOG=1"; ++i) {
    manager.heartbeat();
    said = mailbox.next(100);
  }
  EXPECT_EQ(said, "WATCHDOG=1");
  manager.stop();
}

TEST(ServiceManager, LeavesTheWatchdogOfAnotherProcessAlone) {
  Mailbox mailbox;
  ::setenv("WATCHDOG_USEC", "100000", 1);
  ::setenv("WATCHDOG_PID", "1", 1);
  NullLog log;
  EXPECT_EQ(ServiceManager(log).heartbeat_interval(), std::nullopt);
}

TEST(ServiceManager, DoesNothingWhereNobodyWantsToBeNotified) {
  ::unsetenv("NOTIFY_SOCKET");
  NullLog log;
  ServiceManager manager(log);
  receive::Feed feed;
  const receive::StatusBoard board(&feed);
  manager.start(board, feed);
  EXPECT_EQ(manager.heartbeat_interval(), std::nullopt);
  manager.stop();
}

}  // namespace
}  // namespace weir::daemon::service_manager_test

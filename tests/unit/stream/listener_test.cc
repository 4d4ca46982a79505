// The public class against a real server.

#include "pgweir/listener.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <csignal>
#include <thread>

#include "pq/connection.h"
#include "unit/pq/test_server.h"

namespace weir::listener_test {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

template <typename Function>
Error error_of(Function function) {
  try {
    function();
  } catch (const Error& error) {
    return error;
  }
  throw std::runtime_error("nothing was thrown");
}

#define REQUIRE_SERVER() \
  if (!pq::TestServer::programs()) GTEST_SKIP() << "no PostgreSQL server programs on this machine"

TEST(Listener, RefusesWhatCannotBe) {
  const auto listen = [](std::vector<std::string> channels) {
    return
        [channels] { Listener listener({.conninfo = "host=/nonexistent", .channels = channels}); };
  };
  EXPECT_EQ(error_of(listen({})).kind(), ErrorKind::usage);
  EXPECT_EQ(error_of(listen({""})).kind(), ErrorKind::usage);
  EXPECT_EQ(error_of(listen({std::string(64, 'x')})).kind(), ErrorKind::usage);
  EXPECT_EQ(error_of(listen({std::string("a\0b", 3)})).kind(), ErrorKind::usage);
  EXPECT_EQ(
      error_of([] { Listener listener({.conninfo = "nonsense=1", .channels = {"a"}}); }).kind(),
      ErrorKind::usage);
  EXPECT_EQ(error_of(listen({std::string(63, 'x')})).kind(), ErrorKind::retry) << "no server there";
}

TEST(Listener, HearsWhatWasSentBothByItselfAndByOthers) {
  REQUIRE_SERVER();
  const pq::TestServer server;
  Listener listener({.conninfo = server.conninfo(), .channels = {"Shop", "it's \"odd\""}});
  EXPECT_FALSE(listener.read());
  EXPECT_FALSE(listener.read(10ms));
  server.sql("SELECT pg_notify('Shop', 'one')");
  server.sql("NOTIFY shop, 'another channel'");
  pollfd fd{listener.fd(), POLLIN, 0};
  ASSERT_EQ(poll(&fd, 1, 30'000), 1);
  auto notification = listener.read(30s);
  ASSERT_TRUE(notification);
  EXPECT_EQ(notification->channel, "Shop");
  EXPECT_EQ(notification->payload, "one");
  EXPECT_GT(notification->server_pid, 0);
  listener.notify("it's \"odd\"", std::string(kMaxPayloadBytes, 'x'));
  notification = listener.read(30s);
  ASSERT_TRUE(notification);
  EXPECT_EQ(notification->channel, "it's \"odd\"");
  EXPECT_EQ(notification->payload.size(), kMaxPayloadBytes);
  EXPECT_EQ(error_of([&] { listener.notify("a", std::string(kMaxPayloadBytes + 1, 'x')); }).kind(),
            ErrorKind::usage);
  int seen = 0;
  for (int i = 0; i < 3; ++i) listener.notify("Shop", std::to_string(i));
  listener.consume([&](const Notification& each) {
    EXPECT_EQ(each.payload, std::to_string(seen));
    return ++seen < 3;
  });
}

TEST(Listener, ListensAgainAndSaysSinceWhenItWasDeaf) {
  REQUIRE_SERVER();
  pq::TestServer server;
  std::vector<Listener::Listening> begun;
  int lost = 0;
  Listener listener({.conninfo = server.conninfo(),
                     .channels = {"a"},
                     .on_listening = [&](const auto& each) { begun.push_back(each); },
                     .on_lost = [&](const Error&) { ++lost; }});
  const int fd = listener.fd();
  ASSERT_EQ(begun.size(), 1u);
  EXPECT_FALSE(begun[0].missed_since);
  server.stop(SIGINT);
  EXPECT_FALSE(listener.read(20ms));
  EXPECT_GE(lost, 1);
  EXPECT_FALSE(listener.connected());
  EXPECT_EQ(error_of([&] { static_cast<void>(listener.read()); }).kind(), ErrorKind::retry);
  server.start();
  const auto before = std::chrono::system_clock::now();
  for (int i = 0; i < 2400 && !listener.connected(); ++i) EXPECT_FALSE(listener.read(50ms));
  ASSERT_EQ(begun.size(), 2u);
  ASSERT_TRUE(begun[1].missed_since);
  EXPECT_LT(*begun[1].missed_since, before);
  EXPECT_EQ(listener.fd(), fd);
  server.sql("NOTIFY a, 'again'");
  const auto notification = listener.read(30s);
  ASSERT_TRUE(notification);
  EXPECT_EQ(notification->payload, "again");
}

TEST(Listener, HasMissedWhatWasReceivedAndNotReadWhenItHungUp) {
  REQUIRE_SERVER();
  const pq::TestServer server;
  std::vector<Listener::Listening> begun;
  Listener listener({.conninfo = server.conninfo(),
                     .channels = {"a"},
                     .on_listening = [&](const auto& each) { begun.push_back(each); }});
  const auto listen_again = [&] {
    const auto before = begun.size();
    listener.hang_up();
    for (int i = 0; i < 2400 && begun.size() == before; ++i) EXPECT_FALSE(listener.read(50ms));
  };
  EXPECT_FALSE(listener.read(10ms));
  auto sent = std::chrono::system_clock::now();
  server.sql("SELECT pg_notify('a', number::text) FROM generate_series(1, 3) number");
  auto notification = listener.read(30s);
  ASSERT_TRUE(notification);
  EXPECT_EQ(notification->payload, "1");
  listen_again();
  ASSERT_EQ(begun.size(), 2u);
  ASSERT_TRUE(begun[1].missed_since);
  EXPECT_LT(*begun[1].missed_since, sent);
  // But nothing that was returned.
  sent = std::chrono::system_clock::now();
  server.sql("NOTIFY a, '4'");
  notification = listener.read(30s);
  ASSERT_TRUE(notification);
  EXPECT_EQ(notification->payload, "4");
  EXPECT_FALSE(listener.read(10ms));
  listen_again();
  ASSERT_EQ(begun.size(), 3u);
  ASSERT_TRUE(begun[2].missed_since);
  EXPECT_GT(*begun[2].missed_since, sent);
}

TEST(Listener, GivesUpAServerThatGivesNoSignOfLife) {
  REQUIRE_SERVER();
  const pq::TestServer server;
  std::vector<std::string> reasons;
  int begun = 0;
  Listener listener({.conninfo = server.conninfo() + " application_name=ears",
                     .channels = {"a"},
                     .check_interval = 1s,
                     .on_listening = [&](const auto&) { ++begun; },
                     .on_lost = [&](const Error& error) { reasons.push_back(error.what()); }});
  // Signs of life keep the connection, for longer than it is waited for one.
  EXPECT_FALSE(listener.read(4s));
  EXPECT_EQ(begun, 1);
  const int pid =
      std::stoi(server.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'ears'"));
  ASSERT_EQ(::kill(pid, SIGSTOP), 0);
  for (int i = 0; i < 1200 && begun < 2; ++i) EXPECT_FALSE(listener.read(100ms));
  ::kill(pid, SIGCONT);
  EXPECT_EQ(begun, 2);
  ASSERT_GE(reasons.size(), 1u);
  EXPECT_THAT(reasons[0], HasSubstr("no message from the server"));
}

TEST(Listener, WaitsForItsServerAndCanBeInterrupted) {
  int attempts = 0;
  Listener* self = nullptr;
  Listener listener({.conninfo = "host=127.0.0.1 port=" + std::to_string(pq::free_port()),
                     .channels = {"a"},
                     .wait_for_server = true,
                     .on_lost = [&](const Error&) {
                       if (++attempts == 2) self->interrupt();
                     }});
  self = &listener;
  EXPECT_FALSE(listener.connected());
  listener.consume([](const Notification&) { return true; });  // ends by the interruption
  EXPECT_EQ(attempts, 2);
  std::thread other([&] { listener.interrupt(); });
  EXPECT_FALSE(listener.read(1h));
  other.join();
  EXPECT_EQ(error_of([&] { listener.reconnect(); }).kind(), ErrorKind::retry);
}

TEST(Listener, ThrowsWhatEndedTheConnectionIfItIsNotToReconnect) {
  REQUIRE_SERVER();
  pq::TestServer server;
  Listener listener({.conninfo = server.conninfo(), .channels = {"a"}, .reconnect = false});
  server.stop(SIGINT);
  EXPECT_EQ(error_of([&] { static_cast<void>(listener.read(30s)); }).kind(), ErrorKind::retry);
  EXPECT_THAT(error_of([&] { static_cast<void>(listener.read(30s)); }).what(),
              HasSubstr("not connected"));
  server.start();
  listener.reconnect();
  listener.notify("a", "again");
  EXPECT_EQ(listener.read(30s)->payload, "again");
}

TEST(Listener, IsToldThatAStandbyHasNoNotifications) {
  REQUIRE_SERVER();
  pq::TestServer primary;
  primary.stop(SIGINT);
  pq::TestServer standby(primary);
  standby.start();
  const auto error =
      error_of([&] { Listener listener({.conninfo = standby.conninfo(), .channels = {"a"}}); });
  EXPECT_EQ(error.kind(), ErrorKind::refused);
  EXPECT_EQ(error.sqlstate(), "25006");
  EXPECT_THAT(error.hint(), HasSubstr("primary"));
}

}  // namespace
}  // namespace weir::listener_test

#include "http/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>
#include <future>
#include <stdexcept>
#include <thread>

#include "net/connect.h"
#include "net/stream.h"

namespace weir::http::server_test {
namespace {

using namespace std::chrono_literals;
using ::testing::EndsWith;
using ::testing::StartsWith;

class HttpServer : public ::testing::Test {
 protected:
  void serve(Server::Handler handler, Server::Limits limits = {}) {
    auto listener = net::Listener::bind(net::Address::tcp("127.0.0.1:0"), net::Kind::bytes);
    address_ = net::Address::of(listener.fd()).to_string();
    server_.emplace(std::move(listener), std::move(handler), limits);
  }
  Descriptor connect() {
    auto connected = net::connect(net::Address::tcp(address_), net::Kind::bytes, soon());
    EXPECT_TRUE(connected.socket);
    return std::move(connected.socket);
  }
  static net::Deadline soon() { return std::chrono::steady_clock::now() + 20s; }
  static std::string rest(const Descriptor& socket) {
    std::string all;
    std::array<char, 4096> bytes{};
    while (net::wait_for_socket(socket.get(), true, false, nullptr, soon())) {
      const auto count = net::receive_now(socket.get(), bytes);
      if (!count) return all;
      all.append(bytes.data(), *count);
    }
    ADD_FAILURE() << "no end came, but: " << all;
    return all;
  }
  std::string ask(const std::string& request) {
    const auto socket = connect();
    EXPECT_TRUE(net::send_all(socket.get(), request, soon(), nullptr));
    return rest(socket);
  }

  std::string address_;
  std::optional<Server> server_;
};

constexpr const char* kGet = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

TEST_F(HttpServer, AnswersEachRequestAndEndsItsConnection) {
  serve([](const Request& request) -> Server::Reply {
    return Answer{.body = request.method + " " + request.path};
  });
  EXPECT_THAT(ask(kGet), EndsWith("\r\n\r\nGET /"));
  EXPECT_THAT(ask("HEAD /x HTTP/1.1\r\n\r\n"), EndsWith("\r\n\r\n"));
  EXPECT_THAT(ask("GET /a/../b HTTP/1.0\r\n\r\n"), EndsWith("GET /a/../b"));
  EXPECT_THAT(ask("nonsense\r\n\r\n"), StartsWith("HTTP/1.1 400 "));
}

TEST_F(HttpServer, TellsNothingOfAnErrorButThatThereWasOne) {
  serve([](const Request& request) -> Server::Reply {
    if (request.path == "/later")
      return Server::Later([]() -> Answer { throw std::runtime_error("secret"); });
    throw std::runtime_error("secret");
  });
  for (const char* const path : {"/", "/later"}) {
    const auto answer = ask(std::string("GET ") + path + " HTTP/1.1\r\n\r\n");
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 500 "));
    EXPECT_THAT(answer, ::testing::Not(::testing::HasSubstr("secret")));
  }
}

TEST_F(HttpServer, AnswersOthersWhileAnAnswerTakesLong) {
  std::promise<void> go_on;
  auto may_go_on = go_on.get_future().share();
  serve([may_go_on](const Request& request) -> Server::Reply {
    if (request.path != "/slow") return Answer{.body = "quick"};
    return Server::Later([may_go_on] {
      may_go_on.wait();
      return Answer{.body = "slow"};
    });
  });
  const auto slow = connect();
  ASSERT_TRUE(net::send_all(slow.get(), "GET /slow HTTP/1.1\r\n\r\n", soon(), nullptr));
  EXPECT_THAT(ask(kGet), EndsWith("quick"));
  go_on.set_value();
  EXPECT_THAT(rest(slow), EndsWith("slow"));
}

TEST_F(HttpServer, LetsTheOldestGoWhereThereAreTooMany) {
  serve([](const Request&) -> Server::Reply { return Answer{.body = "here"}; }, {.connections = 4});
  std::vector<Descriptor> silent;
  for (int i = 0; i < 4; ++i) silent.push_back(connect());
  EXPECT_THAT(ask(kGet), EndsWith("here"));
  EXPECT_EQ(rest(silent.front()), "");  // it was let go
}

TEST_F(HttpServer, WaitsForNobodyLongerThanItSays) {
  serve([](const Request&) -> Server::Reply { return Answer{.body = std::string(64 << 20, 'x')}; },
        {.request = 500ms, .answer = 100ms});
  const auto silent = connect();
  EXPECT_THAT(rest(silent), StartsWith("HTTP/1.1 408 "));
  // One that asks and does not read: what the kernel has taken comes, and then the end.
  const auto deaf = connect();
  ASSERT_TRUE(net::send_all(deaf.get(), kGet, soon(), nullptr));
  const auto other = ask("GET / HTTP/1.1\r\n");  // half a request, until its time is over
  EXPECT_THAT(other, StartsWith("HTTP/1.1 408 "));
  EXPECT_LT(rest(deaf).size(), std::size_t{64} << 20);
}

}  // namespace
}  // namespace weir::http::server_test

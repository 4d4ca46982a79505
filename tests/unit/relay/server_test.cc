#include "relay/server.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <array>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <new>
#include <optional>
#include <string>
#include <thread>

#include "net/connect.h"
#include "net/wait.h"
#include "support/archive_builder.h"
#include "unit/relay/client_script.h"

namespace weir::relay::server_test {
namespace {

using namespace std::chrono_literals;
using testing::WalBuilder;
using verify::kSize;

/// Has no memory for the client "poor", and perhaps not even to tell that.
class PoorLog final : public Log {
 public:
  void write(LogLevel, std::string_view message) override {
    const auto has = [&](std::string_view part) {
      return message.find(part) != std::string_view::npos;
    };
    if (has("\"poor\"") || (cannot_tell && has("could not serve a client"))) throw std::bad_alloc();
  }
  bool enabled(LogLevel) const override { return true; }

  std::atomic<bool> cannot_tell = false;
};

class Client {
 public:
  Client(const net::Address& address, const std::string& name, const std::string& user = "repl")
      : connection_(net::connect(address, net::Kind::bytes, soon())) {
    const auto words =
        startup({{"user", user}, {"replication", "true"}, {"application_name", name}});
    EXPECT_TRUE(net::send_all(connection_.socket.get(), words, soon(), nullptr));
  }
  /// The type of the last message: 'Z' once it may ask, 0 if it is disconnected before.
  char hear_until_ready() {
    for (;;) {
      for (const auto& each : hear(unread_))
        if (each.type == 'Z') return 'Z';
      if (!read_more()) return 0;
    }
  }
  bool is_disconnected() {
    while (read_more()) {
    }
    return true;
  }

 private:
  static net::Deadline soon() { return std::chrono::steady_clock::now() + 20s; }
  /// Throws Error if nothing comes in time.
  bool read_more() {
    std::array<char, 4096> bytes;
    const auto count = net::receive_some(connection_.socket.get(), bytes, soon(), nullptr);
    unread_.append(bytes.data(), count);
    return count > 0;
  }

  net::Connected connection_;
  std::string unread_;
};

class ServerTest : public ::testing::Test {
 protected:
  ServerTest() {
    std::string pattern = std::filesystem::temp_directory_path() / "pgweir-server-XXXXXX";
    place_ = ::mkdtemp(pattern.data());
    wal_.grow_to(kSize.start(3));
    archive_.segments(wal_, 1, 3);
    directory_ = archive_.disk.open();
    auto access = std::make_shared<Access>();
    access->rules = Rules::parse(
        "local replication all trust\n"
        "host replication near samehost trust\n",
        "rules");
    access_.set(std::move(access));
    hub_.emplace(Served{wal::TimelineHistory(1), kSize.start(2)});
    slots_.emplace(*directory_, cluster_, Slots::Options{}, *hub_, log_);
    server_.emplace(*directory_, cluster_, *hub_, *slots_, clients_, access_, Server::Options{},
                    log_);
    listeners_.push_back(net::Listener::bind(address(), net::Kind::bytes));
    listeners_.push_back(net::Listener::bind(net::Address::tcp("127.0.0.1:0"), net::Kind::bytes));
    for (auto& each : listeners_) each.listen(8);
    tcp_ = listeners_.back().address();
    thread_ = std::thread([this] {
      try {
        server_->run(listeners_, stop_);
      } catch (const std::bad_alloc&) {
        failed_ = true;
      }
    });
  }
  ~ServerTest() override {
    stop_.raise();
    hub_->stop();
    thread_.join();
    server_.reset();
    slots_.reset();
    std::filesystem::remove_all(place_);
  }
  net::Address address() const { return net::Address::unix_socket(place_ + "/socket"); }

  std::optional<net::Address> tcp_;
  PoorLog log_;
  std::atomic<bool> failed_ = false;
  net::Wake stop_;

 private:
  WalBuilder wal_{{}};
  verify::ArchiveBuilder archive_;
  Cluster cluster_{WalBuilder::Options().system_identifier, kSize, 18};
  std::unique_ptr<io::Directory> directory_;
  Clients clients_{{}, [](const Feedback&) {}};
  AccessBoard access_;
  std::string place_;
  std::vector<net::Listener> listeners_;
  std::optional<Hub> hub_;
  std::optional<Slots> slots_;
  std::optional<Server> server_;
  std::thread thread_;
};

TEST_F(ServerTest, DisconnectsOnlyTheClientThatItHasNoMemoryFor) {
  Client first(address(), "first");
  ASSERT_EQ(first.hear_until_ready(), 'Z');
  Client poor(address(), "poor");
  EXPECT_EQ(poor.hear_until_ready(), 0);
  Client next(address(), "next");
  EXPECT_EQ(next.hear_until_ready(), 'Z');
  EXPECT_FALSE(failed_);
}

/// The rules were read before, and an interface may have been configured since.
TEST_F(ServerTest, LooksForTheAddressesOfThisHostWhenAClientConnects) {
  Client near(*tcp_, "one", "near");
  EXPECT_EQ(near.hear_until_ready(), 'Z');
  Client other(*tcp_, "two", "other");
  EXPECT_EQ(other.hear_until_ready(), 0);
}

/// Otherwise its thread would be waited for, while no new client is accepted.
TEST_F(ServerTest, DisconnectsItsClientsIfItCannotGoOn) {
  Client first(address(), "first");
  ASSERT_EQ(first.hear_until_ready(), 'Z');
  log_.cannot_tell = true;
  Client poor(address(), "poor");
  EXPECT_TRUE(first.is_disconnected());
  EXPECT_TRUE(poor.is_disconnected());
}

}  // namespace
}  // namespace weir::relay::server_test

#include "receive/slot_guard.h"

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/log.h"
#include "receive/machine.h"
#include "receive/server.h"
#include "receive/status_board.h"

namespace weir::receive::slot_guard_test {
namespace {

using namespace std::chrono_literals;

class SilentLog final : public Log {
 public:
  void write(LogLevel, std::string_view) override {}
  bool enabled(LogLevel) const override { return false; }
};

/// Remembers whose slot was read.
class Monitored final : public Servers {
 public:
  SlotReading read_slot_view(const std::string&, const std::string& server, const std::string&,
                             const net::Wake&) override {
    SlotReading reading{.view = {}, .server_major = 18};
    reading.view.exists = reading.view.active = true;
    const std::lock_guard lock(mutex_);
    servers_.push_back(server);
    changed_.notify_all();
    return reading;
  }
  [[nodiscard]] bool reads(const std::string& server) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 10s,
                             [&] { return !servers_.empty() && servers_.back() == server; });
  }

  HostList hosts(const Options&) override { throw unasked(); }
  std::unique_ptr<Server> connect_to(const Options&, std::size_t,
                                     std::function<void(const std::string&)>,
                                     const net::Wake&) override {
    throw unasked();
  }
  std::unique_ptr<Server> connect(const Options&, std::size_t,
                                  std::function<void(const std::string&)>,
                                  const net::Wake&) override {
    throw unasked();
  }
  std::unique_ptr<Server> visit(const Options&, const Visit&, const net::Wake&) override {
    throw unasked();
  }

 private:
  static std::logic_error unasked() { return std::logic_error("only the slot is read"); }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> servers_;
};

TEST(SlotGuard, MonitorsTheSlotOfTheServerThatStreams) {
  // Not always that of the first host: after a failover, this one may be a standby, on which the
  // slot is not in use.
  Monitored servers;
  SilentLog log;
  StatusBoard board;
  SlotGuard guard(servers, this_machine(), "host=db1,db2 dbname=postgres", "weir", true, log,
                  board);
  EXPECT_TRUE(servers.reads("")) << "none streams yet";
  guard.expect(true, "db2:5432");
  EXPECT_TRUE(servers.reads("db2:5432"));
  guard.expect(true, "db1:5432");
  EXPECT_TRUE(servers.reads("db1:5432"));
}

}  // namespace
}  // namespace weir::receive::slot_guard_test

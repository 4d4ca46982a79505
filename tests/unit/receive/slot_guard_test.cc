#include "receive/slot_guard.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/threads.h"
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
    reading.cut_off_at = cut_off_at_;
    if (fails_) throw Error(ErrorKind::retry, "no pg_hba.conf entry");
    servers_.push_back(server);
    changed_.notify_all();
    return reading;
  }
  [[nodiscard]] bool reads(const std::string& server) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 10s,
                             [&] { return !servers_.empty() && servers_.back() == server; });
  }

  void fail(bool fails) {
    const std::lock_guard lock(mutex_);
    fails_ = fails;
  }

  void cut_off_at(std::optional<std::string> position) {
    const std::lock_guard lock(mutex_);
    cut_off_at_ = std::move(position);
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
  bool fails_ = false;
  std::optional<std::string> cut_off_at_;
};

/// The machine's, with a clock that is a minute later each time.
class LeapingThreads final : public Threads {
 public:
  std::unique_ptr<Mutex> make_mutex() override { return machine_threads().make_mutex(); }
  std::unique_ptr<Condition> make_condition() override {
    return machine_threads().make_condition();
  }
  std::unique_ptr<Thread> start(std::string_view name, std::function<void()> body,
                                Priority priority) override {
    return machine_threads().start(name, std::move(body), priority);
  }
  void yield() override {}
  Time now() override { return Time(std::chrono::minutes(++minutes_)); }

 private:
  std::atomic<int> minutes_ = 0;
};

class LeapingMachine final : public Machine {
 public:
  Threads& threads() override { return own_; }
  std::chrono::system_clock::time_point wall_clock() override {
    return std::chrono::system_clock::now();
  }
  std::unique_ptr<WakeUp> make_wake_up() override { return nullptr; }
  void poll(std::span<pollfd>, std::optional<Time>) override {}
  std::optional<io::MemoryLimit> memory_limit() override { return std::nullopt; }
  unsigned processors() override { return 1; }
  std::chrono::nanoseconds run_delay() override { return {}; }
  void release_memory() override {}

 private:
  LeapingThreads own_;
};

/// Waits until the status shows that warning, or none.
bool warns(const StatusBoard& board, const std::optional<std::string>& words) {
  const auto deadline = std::chrono::steady_clock::now() + 10s;
  do {
    const auto warning = board.view().slot_warning;
    if (warning.has_value() == words.has_value() &&
        (!words || warning->find(*words) != std::string::npos))
      return true;
    std::this_thread::yield();
  } while (std::chrono::steady_clock::now() < deadline);
  return false;
}

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

/// Otherwise nothing but a line in the log would tell that no warning will come.
TEST(SlotGuard, WarnsIfTheSlotCannotBeCheckedForLong) {
  Monitored servers;
  servers.fail(true);
  LeapingMachine machine;
  SilentLog log;
  StatusBoard board;
  SlotGuard guard(servers, machine, "host=db1 dbname=postgres", "weir", true, log, board);
  EXPECT_TRUE(warns(board, "could not be checked for more than 10 minutes: no pg_hba.conf entry"));
  EXPECT_FALSE(board.view().slot_view);
  servers.fail(false);
  EXPECT_TRUE(warns(board, std::nullopt));
}

/// A standby that replays from an archive has newer WAL now and then.
TEST(SlotGuard, NotesSinceWhenAStandbyHasHadNoNewerWal) {
  Monitored servers;
  servers.cut_off_at("0/3000000");
  LeapingMachine machine;
  SilentLog log;
  StatusBoard board;
  SlotGuard guard(servers, machine, "host=db1 dbname=postgres", "weir", true, log, board);
  using Since = std::optional<std::chrono::system_clock::time_point>;
  const auto shows = [&](const std::function<bool(Since)>& wanted) {
    const auto deadline = std::chrono::steady_clock::now() + 10s;
    while (!wanted(board.view().cut_off_since) && std::chrono::steady_clock::now() < deadline)
      std::this_thread::yield();
    return board.view().cut_off_since;
  };
  const auto first = shows([](Since since) { return since.has_value(); });
  ASSERT_TRUE(first);
  servers.cut_off_at("0/4000000");
  EXPECT_GT(shows([&](Since since) { return since > first; }), first);
  const auto second = board.view().cut_off_since;
  guard.expect(true, "db2:5432");
  EXPECT_GT(shows([&](Since since) { return since > second; }), second) << "of another server";
  servers.fail(true);
  guard.expect(true, "db3:5432");
  EXPECT_FALSE(shows([](Since since) { return !since; })) << "of a server that cannot be asked";
  servers.fail(false);
  guard.expect(true, "db2:5432");
  EXPECT_TRUE(shows([](Since since) { return since.has_value(); })) << "it is again as it was";
  servers.cut_off_at(std::nullopt);
  EXPECT_FALSE(shows([](Since since) { return !since; }));
}

}  // namespace
}  // namespace weir::receive::slot_guard_test

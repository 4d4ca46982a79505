#include "logical/habits.h"

#include <fmt/format.h>

#include "base/backoff.h"

namespace weir::logical {

namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

class OwnHabits final : public Habits {
 public:
  explicit OwnHabits(std::uint64_t seed) : backoff_(kFirstPause, kLongestPause, seed) {}

  [[nodiscard]] bool asks_first() const override { return true; }
  [[nodiscard]] bool explains() const override { return true; }
  [[nodiscard]] bool waits_out(const Error& error, bool) const override {
    return error.kind() == ErrorKind::retry;
  }
  [[nodiscard]] milliseconds pause_after(const Error& error, Log& log) override {
    const auto pause = backoff_.next();
    log.warning("{}; trying again in {} ms", error.what(), pause.count());
    return pause;
  }
  void on_message() override { backoff_.reset(); }

 private:
  static constexpr milliseconds kFirstPause = 250ms;
  static constexpr milliseconds kLongestPause = 15s;
  Backoff backoff_;
};

/// It waits the same time after whatever ends a stream, but is ended by a first connection that
/// fails; our own rule holds that what the disk has refused is not tried again.
class StockHabits final : public Habits {
 public:
  [[nodiscard]] bool asks_first() const override { return false; }
  [[nodiscard]] bool explains() const override { return false; }
  [[nodiscard]] bool waits_out(const Error& error, bool begun) const override {
    const auto kind = error.kind();
    return begun && kind != ErrorKind::durability && kind != ErrorKind::disk_full &&
           kind != ErrorKind::io;
  }
  [[nodiscard]] milliseconds pause_after(const Error& error, Log& log) override {
    constexpr std::chrono::seconds kPause = 5s;  // RECONNECT_SLEEP_TIME in pg_recvlogical.c
    log.error(error);
    log.info("disconnected; waiting {} seconds to try again", kPause.count());
    return kPause;
  }
  void on_message() override {}
};

}  // namespace

std::unique_ptr<Habits> own_habits(std::uint64_t seed) { return std::make_unique<OwnHabits>(seed); }
std::unique_ptr<Habits> stock_habits() { return std::make_unique<StockHabits>(); }

}  // namespace weir::logical

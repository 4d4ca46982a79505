#include "logical/habits.h"

#include "base/backoff.h"
#include "base/failure_log.h"
#include "base/units.h"

namespace weir::logical {

namespace {

using std::chrono::milliseconds;

class OwnHabits final : public Habits {
 public:
  explicit OwnHabits(std::uint64_t seed) : backoff_(kFirstReconnect, kLongestReconnect, seed) {}

  [[nodiscard]] bool asks_first() const override { return true; }
  [[nodiscard]] bool explains() const override { return true; }
  [[nodiscard]] milliseconds patience(milliseconds) const override {
    return std::chrono::seconds(5);
  }
  [[nodiscard]] bool waits_out(const Error& error, bool) const override {
    return error.kind() == ErrorKind::retry;
  }
  [[nodiscard]] milliseconds pause_after(const Error& error, Log& log) override {
    const auto pause = backoff_.next();
    failures_.write(error, "trying again in " + format_duration(pause), log);
    return pause;
  }
  void on_progress() override {
    backoff_.reset();
    failures_.reset();
  }

 private:
  Backoff backoff_;
  FailureLog failures_;
};

/// It waits the same time after any error that ends a stream, a full disk included, but exits if
/// the first connection fails; our own rule still applies that other failed writes, and failed
/// syncs, are not retried.
class StockHabits final : public Habits {
 public:
  [[nodiscard]] bool asks_first() const override { return false; }
  [[nodiscard]] bool explains() const override { return false; }
  /// It waits, and the server ends the connection after that time.
  [[nodiscard]] milliseconds patience(milliseconds wal_sender_timeout) const override {
    return wal_sender_timeout;
  }
  [[nodiscard]] bool waits_out(const Error& error, bool begun) const override {
    const auto kind = error.kind();
    return begun && kind != ErrorKind::durability && kind != ErrorKind::io;
  }
  [[nodiscard]] milliseconds pause_after(const Error& error, Log& log) override {
    constexpr std::chrono::seconds kPause(5);  // RECONNECT_SLEEP_TIME in pg_recvlogical.c
    log.error(error);
    log.info("disconnected; waiting {} seconds to try again", kPause.count());
    return kPause;
  }
  void on_progress() override {}
};

}  // namespace

std::unique_ptr<Habits> own_habits(std::uint64_t seed) { return std::make_unique<OwnHabits>(seed); }
std::unique_ptr<Habits> stock_habits() { return std::make_unique<StockHabits>(); }

}  // namespace weir::logical

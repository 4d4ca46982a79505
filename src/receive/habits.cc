#include "receive/habits.h"

#include <algorithm>
#include <string_view>

#include "base/failure_log.h"
#include "base/units.h"

namespace weir::receive {

namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;
using Kind = Habits::Reaction::Kind;

class OwnHabits final : public Habits {
 public:
  explicit OwnHabits(const Options& options)
      : loop_(options.loop), on_disk_full_(options.on_disk_full) {}

  [[nodiscard]] Reaction after(const Failure& failure) override;
  [[nodiscard]] bool asks_all_hosts() const override { return true; }
  [[nodiscard]] bool waits_out_refusal(const Error&) const override { return false; }
  [[nodiscard]] milliseconds pause_after(const Error& error, milliseconds pause, Log& log) override;
  void on_message() override { slot_busy_since_.reset(); }
  void on_progress() override { failures_.reset(); }

  [[nodiscard]] bool wants_all_up_to_the_end() const override { return true; }
  [[nodiscard]] bool believes_that_it_streams() const override { return false; }
  [[nodiscard]] bool tells_of_new_slots() const override { return true; }
  [[nodiscard]] bool watches_secrets() const override { return true; }

  [[nodiscard]] bool replaces_wrong_sizes() const override { return false; }
  [[nodiscard]] bool one_segment_at_a_time() const override { return false; }
  [[nodiscard]] bool compresses_older_segments() const override { return true; }
  [[nodiscard]] bool compresses_unfinished() const override { return false; }
  /// At an end position the archive is complete only in its final form. A signal should be obeyed
  /// soon.
  [[nodiscard]] std::optional<milliseconds> time_to_compress(bool well) const override {
    return well ? std::optional<milliseconds>(2s) : std::nullopt;
  }

 private:
  [[nodiscard]] Reaction after_slot_in_use(const Failure& failure);

  const bool loop_;
  const OnDiskFull on_disk_full_;
  std::optional<Time> slot_busy_since_;
  FailureLog failures_;
};

Habits::Reaction OwnHabits::after(const Failure& failure) {
  constexpr std::string_view kSlotInUse = "55006";  // object_in_use
  const auto& error = failure.error;
  if (error.sqlstate() == kSlotInUse) return after_slot_in_use(failure);
  const bool may_pass =
      error.kind() == ErrorKind::retry ||
      // A server that accepted us before and now rejects us may be misconfigured for a moment;
      // giving up would leave a growing gap. Only a first attempt fails at once.
      (error.kind() == ErrorKind::refused && failure.streamed && !failure.connected);
  if (may_pass && loop_) return {Kind::try_again};
  // The archive is fine, only space is lacking: the step's write is retried.
  if (error.kind() == ErrorKind::disk_full && on_disk_full_ == OnDiskFull::wait && loop_)
    return {Kind::wait_for_space};
  // If this host rejects us, another one of the connection string may not.
  if (error.kind() == ErrorKind::refused && failure.connected && failure.hosts > 1)
    return {Kind::next_host};
  return {Kind::stop};
}

/// Used by a walsender whose receiver is gone, which the server has not noticed yet.
Habits::Reaction OwnHabits::after_slot_in_use(const Failure& failure) {
  if (!slot_busy_since_) slot_busy_since_ = failure.now;
  const auto timeout = failure.wal_sender_timeout.value_or(0ms);
  const auto patience = timeout > 0ms ? timeout : 60'000ms;
  if (!loop_ && failure.now - *slot_busy_since_ > patience + 5'000ms) return {Kind::stop};
  return {Kind::try_again, 2'000ms};
}

milliseconds OwnHabits::pause_after(const Error& error, milliseconds pause, Log& log) {
  failures_.write(error, "trying again in " + format_duration(pause), log);
  return pause;
}

/// Waits the same time after every end of a stream, but exits if the first connection fails.
class StockHabits final : public Habits {
 public:
  explicit StockHabits(const Options& options)
      : loop_(options.loop), on_disk_full_(options.on_disk_full) {}

  [[nodiscard]] Reaction after(const Failure& failure) override {
    const auto kind = failure.error.kind();
    const bool may_pass = kind == ErrorKind::retry || kind == ErrorKind::refused ||
                          kind == ErrorKind::gap ||
                          (kind == ErrorKind::disk_full && on_disk_full_ == OnDiskFull::wait);
    return {may_pass && failure.answered_once && loop_ ? Kind::try_again : Kind::stop};
  }
  [[nodiscard]] bool asks_all_hosts() const override { return false; }
  /// Of conflicts it waits out those that the original has, too: a former primary may be back at
  /// this address for a moment.
  [[nodiscard]] bool waits_out_refusal(const Error& error) const override {
    return loop_ && (error.kind() != ErrorKind::conflict || !error.stock_text().empty());
  }
  [[nodiscard]] milliseconds pause_after(const Error& error, milliseconds, Log& log) override {
    constexpr std::chrono::seconds kPause = 5s;  // RECONNECT_SLEEP_TIME in pg_receivewal.c
    log.error(error);
    // Whatever the log's level is: the original prints this line even if it is not verbose.
    log.write(LogLevel::info,
              fmt::format("disconnected; waiting {} seconds to try again", kPause.count()));
    return kPause;
  }
  void on_message() override {}
  void on_progress() override {}

  [[nodiscard]] bool wants_all_up_to_the_end() const override { return false; }
  [[nodiscard]] bool believes_that_it_streams() const override { return true; }
  [[nodiscard]] bool tells_of_new_slots() const override { return false; }
  [[nodiscard]] bool watches_secrets() const override { return false; }

  [[nodiscard]] bool replaces_wrong_sizes() const override { return true; }
  [[nodiscard]] bool one_segment_at_a_time() const override { return true; }
  [[nodiscard]] bool compresses_older_segments() const override { return false; }
  [[nodiscard]] bool compresses_unfinished() const override { return true; }
  [[nodiscard]] std::optional<milliseconds> time_to_compress(bool) const override { return 24h; }

 private:
  const bool loop_;
  const OnDiskFull on_disk_full_;
};

}  // namespace

std::unique_ptr<Habits> make_habits(const Options& options) {
  if (options.stock_habits) return std::make_unique<StockHabits>(options);
  return std::make_unique<OwnHabits>(options);
}

}  // namespace weir::receive

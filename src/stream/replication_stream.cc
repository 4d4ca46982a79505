#include "pgweir/replication_stream.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "net/wake.h"
#include "pq/commands.h"
#include "pq/connection.h"
#include "pq/parameters.h"
#include "pq/replication_stream.h"
#include "pq/slot_view.h"
#include "stream/readiness.h"
#include "wal/pg_time.h"
#include "wire/copy_messages.h"

namespace weir {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

/// SQL may take long; interrupt() ends it.
constexpr milliseconds kQueryTimeout = 24h;
constexpr std::string_view kUndefinedFile = "58P01";
constexpr milliseconds kLongest = 24h * 365 * 20;

/// For a physical slot that retains no WAL the server reports that it was invalidated.
void require_logical(pq::Connection& connection, const std::string& slot, const Error& error) {
  const auto found = pq::find_slot(connection, slot);
  if (!found || found->type != "physical") return;
  throw Error(ErrorKind::refused, "the replication slot is physical")
      .with_sqlstate(error.sqlstate())
      .with("slot", slot)
      .with("server", connection.server_name())
      .hint("Decoding needs a logical slot. Choose another name.");
}

}  // namespace

class ReplicationStream::Impl {
 public:
  explicit Impl(Options options);
  ~Impl() { end_replies(); }

  pq::Connection& for_command();
  Slot create_slot(const std::string& name, const SlotOptions& options);
  void start(const StartOptions& options);
  std::optional<Message> read();
  std::optional<Message> read_until(std::optional<Clock::time_point> deadline);
  void stop(milliseconds timeout);
  void send_feedback(const Feedback& feedback);
  void confirm(Lsn position);

  [[nodiscard]] Feedback confirmed();
  [[nodiscard]] Lsn wal_end() const { return wal_end_; }
  [[nodiscard]] Clock::time_point last_contact() const { return last_contact_; }
  [[nodiscard]] bool streaming() const { return stream_.has_value(); }
  [[nodiscard]] const std::optional<NextTimeline>& next_timeline() const { return next_timeline_; }
  [[nodiscard]] int fd() const { return readiness_.fd(); }
  void interrupt() noexcept { interrupt_.raise(); }

  /// Converts the library's internal interrupt to an error.
  template <typename Function>
  auto unless_interrupted(Function&& function) {
    try {
      return function();
    } catch (const net::Interrupted&) {
      interrupt_.clear();
      throw Error(ErrorKind::retry, "interrupted");
    }
  }

 private:
  void connect();
  std::optional<Message> next_message();
  Message message_of(const wire::XLogData& data);
  void take(const wire::Keepalive& keepalive);
  void advance(const Feedback& feedback);
  void on_confirmed(const Feedback& feedback);
  void send_if_due(Clock::time_point now);
  void send(bool request_reply, Clock::time_point now);
  void flush();
  void begin_replies();
  void end_replies();
  void reply_in_background();
  void end_stream();
  bool wait(std::optional<Clock::time_point> deadline);

  const Options options_;
  net::Wake interrupt_;
  stream::Readiness readiness_;
  std::optional<pq::Connection> connection_;

  // Guarded by the mutex while the thread runs: the stream's sending side and the queued replies.
  // Only the user's thread creates, reads and ends the stream.
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<pq::ReplicationStream> stream_;
  Feedback confirmed_;
  Clock::time_point next_status_{};
  bool end_replies_ = false;
  std::thread replies_;

  milliseconds interval_{};
  bool started_ = false;
  bool reply_wanted_ = false;
  Lsn handed_out_;             // the highest position returned: confirming it confirms everything
  bool all_confirmed_ = true;  // everything returned is confirmed
  Lsn wal_end_;
  Clock::time_point last_contact_ = Clock::now();
  std::optional<NextTimeline> next_timeline_;
};

ReplicationStream::ReplicationStream(Options options)
    : impl_(std::make_unique<Impl>(std::move(options))) {}
ReplicationStream::~ReplicationStream() = default;
ReplicationStream::ReplicationStream(ReplicationStream&&) noexcept = default;
ReplicationStream& ReplicationStream::operator=(ReplicationStream&&) noexcept = default;

// --- Commands

ReplicationStream::Server ReplicationStream::identify() {
  return impl_->unless_interrupted([this] {
    auto& connection = impl_->for_command();
    const auto identity = pq::identify_system(connection);
    return Server{connection.server_name(), connection.server_version(), identity.system_identifier,
                  identity.timeline, identity.flush_position};
  });
}

std::vector<std::vector<std::optional<std::string>>> ReplicationStream::query(
    const std::string& sql) {
  return impl_->unless_interrupted(
      [&] { return impl_->for_command().execute(sql, kQueryTimeout); });
}

ReplicationStream::Slot ReplicationStream::create_slot(const std::string& name) {
  return create_slot(name, SlotOptions());
}

ReplicationStream::Slot ReplicationStream::create_slot(const std::string& name,
                                                       const SlotOptions& options) {
  return impl_->unless_interrupted([&] { return impl_->create_slot(name, options); });
}

void ReplicationStream::drop_slot(const std::string& name) {
  impl_->unless_interrupted([&] { pq::drop_slot(impl_->for_command(), name); });
}

// --- The stream

void ReplicationStream::start(const StartOptions& options) {
  impl_->unless_interrupted([&] { impl_->start(options); });
}

std::optional<ReplicationStream::Message> ReplicationStream::read() { return impl_->read(); }

std::optional<ReplicationStream::Message> ReplicationStream::read(milliseconds timeout) {
  return impl_->read_until(Clock::now() + std::clamp<milliseconds>(timeout, 0ms, kLongest));
}

ReplicationStream::Ended ReplicationStream::consume(
    const std::function<bool(const Message&)>& handle) {
  while (const auto message = impl_->read_until(std::nullopt))
    if (!handle(*message)) return Ended::by_handler;
  return streaming() ? Ended::interrupted : Ended::timeline_over;
}

bool ReplicationStream::streaming() const { return impl_->streaming(); }
const std::optional<ReplicationStream::NextTimeline>& ReplicationStream::next_timeline() const {
  return impl_->next_timeline();
}
void ReplicationStream::send_feedback(const Feedback& feedback) { impl_->send_feedback(feedback); }
void ReplicationStream::confirm(Lsn position) { impl_->confirm(position); }
ReplicationStream::Feedback ReplicationStream::confirmed() const { return impl_->confirmed(); }
Lsn ReplicationStream::wal_end() const { return impl_->wal_end(); }
Clock::time_point ReplicationStream::last_contact() const { return impl_->last_contact(); }
void ReplicationStream::stop(milliseconds timeout) { impl_->stop(timeout); }
int ReplicationStream::fd() const { return impl_->fd(); }
void ReplicationStream::interrupt() noexcept { impl_->interrupt(); }

// --- Implementation

ReplicationStream::Impl::Impl(Options options) : options_(std::move(options)) {
  if (options_.status_interval <= 0ms)
    throw Error(ErrorKind::usage, "the status interval of a stream must be greater than zero");
  connect();
}

void ReplicationStream::Impl::connect() {
  connection_.emplace(pq::Connection::open(
      {.conninfo = options_.conninfo,
       .replication =
           options_.kind == Kind::logical ? pq::Replication::logical : pq::Replication::physical,
       .fallback_application_name = options_.application_name,
       .timeout = options_.connect_timeout,
       .notice = options_.on_notice},
      interrupt_));
}

pq::Connection& ReplicationStream::Impl::for_command() {
  if (stream_)
    throw Error(ErrorKind::usage, "a stream is active, and does not accept commands")
        .hint("Call stop() first.");
  return *connection_;
}

ReplicationStream::Slot ReplicationStream::Impl::create_slot(const std::string& name,
                                                             const SlotOptions& options) {
  auto& connection = for_command();
  const auto exists = [&name] {
    return Error(ErrorKind::refused, "the replication slot exists already")
        .with_sqlstate("42710")
        .with("slot", name);
  };
  if (options_.kind == Kind::physical) {
    if (!options.plugin.empty() || options.two_phase || options.failover ||
        options.snapshot != Snapshot::nothing)
      throw Error(ErrorKind::usage,
                  "a physical slot cannot have a plugin, snapshot, two_phase or failover")
          .with("slot", name)
          .hint("Decoding needs a stream of Kind::logical.");
    if (!pq::create_physical_slot(connection, name, options.reserve_wal, options.temporary))
      throw exists();
    return {.name = name};
  }
  if (options.plugin.empty())
    throw Error(ErrorKind::usage, "a logical slot needs an output plugin")
        .with("slot", name)
        .hint("\"pgoutput\" and \"test_decoding\" come with PostgreSQL.");
  pq::LogicalSlotOptions wanted{.plugin = options.plugin,
                                .temporary = options.temporary,
                                .two_phase = options.two_phase,
                                .failover = options.failover};
  wanted.snapshot = options.snapshot == Snapshot::exported ? pq::Snapshot::export_
                    : options.snapshot == Snapshot::use    ? pq::Snapshot::use
                                                           : pq::Snapshot::nothing;
  std::optional<pq::LogicalSlot> made;
  try {
    made = pq::create_logical_slot(connection, name, wanted);
  } catch (const Error& error) {
    // In a stream the same code means missing WAL.
    if (error.sqlstate() != kUndefinedFile) throw;
    throw Error(ErrorKind::refused, error.message())
        .with_sqlstate(error.sqlstate())
        .with("plugin", options.plugin)
        .with("server", connection.server_name())
        .hint("Check the name of the output plugin, and that it is installed on the server.");
  }
  if (!made) throw exists();
  Slot slot{.name = name, .consistent_point = made->consistent_point, .plugin = options.plugin};
  if (!made->snapshot.empty()) slot.snapshot_name = made->snapshot;
  return slot;
}

void ReplicationStream::Impl::start(const StartOptions& options) {
  const bool logical = options_.kind == Kind::logical;
  static_cast<void>(for_command());
  if (logical && options.slot.empty())
    throw Error(ErrorKind::usage, "a logical stream needs a slot");
  if (logical && options.timeline != 0)
    throw Error(ErrorKind::usage,
                "a logical stream follows timelines automatically, so no "
                "timeline can be given");
  if (!logical && !options.plugin_options.empty())
    throw Error(ErrorKind::usage,
                "a physical stream has no plugin, so no plugin options can be "
                "given");

  // A walsender does not reset streamingDoneSending after a logical stream (walsender.c resets it
  // for physical ones only): it would end the next one at once.
  if (logical && started_) connect();
  auto& connection = *connection_;
  const auto identity = pq::identify_system(connection);
  interval_ = options_.status_interval;
  // Replies must reach the server in time, also if its limit is shorter than usual.
  if (const auto limit = pq::show_wal_sender_timeout(connection); limit > 0ms)
    interval_ = std::min(interval_, std::max<milliseconds>(limit / 3, 10ms));

  if (logical) {
    try {
      stream_.emplace(pq::ReplicationStream::start_logical(connection, options.slot, options.start,
                                                           options.plugin_options, interrupt_));
    } catch (const Error& error) {
      if (!error.sqlstate().empty()) require_logical(connection, options.slot, error);
      throw;
    }
  } else {
    const auto slot = options.slot.empty() ? std::nullopt : std::optional(options.slot);
    stream_.emplace(pq::ReplicationStream::start(
        connection, slot, options.start.valid() ? options.start : identity.flush_position,
        options.timeline != 0 ? options.timeline : identity.timeline, interrupt_));
  }
  started_ = true;
  next_timeline_.reset();
  confirmed_ = {};
  handed_out_ = {};
  all_confirmed_ = true;
  reply_wanted_ = false;
  wal_end_ = std::max(identity.flush_position, options.start);
  last_contact_ = Clock::now();
  next_status_ = last_contact_ + interval_;
  flush();
  begin_replies();  // from here on other threads use it, too
}

std::optional<ReplicationStream::Message> ReplicationStream::Impl::read() {
  if (!stream_) {
    if (started_) return std::nullopt;
    throw Error(ErrorKind::usage, "the stream was not started");
  }
  try {
    return next_message();
  } catch (...) {
    end_stream();
    throw;
  }
}

/// Ends the stream's state in the object if the server has ended it.
std::optional<ReplicationStream::Message> ReplicationStream::Impl::next_message() {
  std::unique_lock lock(mutex_);
  for (bool received = false;;) {
    const auto event = stream_->next();
    if (const auto* data = std::get_if<wire::XLogData>(&event)) {
      auto message = message_of(*data);
      last_contact_ = Clock::now();
      send_if_due(last_contact_);
      return message;
    }
    if (const auto* keepalive = std::get_if<wire::Keepalive>(&event)) {
      take(*keepalive);
      last_contact_ = Clock::now();
    } else if (const auto* end = std::get_if<pq::EndOfStream>(&event)) {
      if (!end->next)
        throw Error(ErrorKind::retry, "the server ended the stream: it shuts down")
            .with("server", connection_->server_name());
      next_timeline_ = NextTimeline{end->next->timeline, end->next->switchpoint};
      lock.unlock();
      end_stream();
      return std::nullopt;
    } else {
      send_if_due(Clock::now());
      flush();
      if (received) return std::nullopt;
      received = true;
      stream_->receive();
    }
  }
}

ReplicationStream::Message ReplicationStream::Impl::message_of(const wire::XLogData& data) {
  Message message;
  message.data = data.wal;
  message.data_start = data.start;
  message.wal_end = data.server_end;
  message.send_time = wal::PgTime{data.server_clock}.system_time();
  // A plugin that writes a message in parts sets no position for the first ones.
  message.end = options_.kind == Kind::logical ? (data.start.valid() ? data.start : handed_out_)
                                               : data.start + data.wal.size();
  // Logical positions go back: those of a transaction's changes, if another one has committed
  // since.
  handed_out_ = std::max(handed_out_, message.end);
  all_confirmed_ = false;
  wal_end_ = std::max({wal_end_, data.server_end, message.end});
  return message;
}

void ReplicationStream::Impl::take(const wire::Keepalive& keepalive) {
  wal_end_ = std::max(wal_end_, keepalive.server_end);
  reply_wanted_ |= keepalive.reply_requested;
  // WAL that the server has skipped is irrelevant to this slot: messages arrive in order, so
  // everything before this position was returned, and is confirmed.
  if (options_.kind == Kind::logical && options_.advance_when_idle && all_confirmed_)
    advance({keepalive.server_end, keepalive.server_end, keepalive.server_end});
}

void ReplicationStream::Impl::advance(const Feedback& feedback) {
  confirmed_.write = std::max(confirmed_.write, feedback.write);
  confirmed_.flush = std::max(confirmed_.flush, feedback.flush);
  confirmed_.apply = std::max(confirmed_.apply, feedback.apply);
}

/// By the user. What counted as confirmed before (advance_when_idle) confirms no later message: one
/// outside of transactions has the position where its record begins, which a keepalive may have
/// had.
void ReplicationStream::Impl::on_confirmed(const Feedback& feedback) {
  advance(feedback);
  if (feedback.flush >= handed_out_) all_confirmed_ = true;
}

void ReplicationStream::Impl::send_feedback(const Feedback& feedback) {
  const std::lock_guard lock(mutex_);
  for (const auto position : {feedback.write, feedback.flush, feedback.apply})
    if (position > wal_end_)
      throw Error(ErrorKind::usage, "a position was confirmed that the server has not reached yet")
          .with("position", position)
          .with("end of WAL", wal_end_);
  on_confirmed(feedback);
  if (!stream_) return;
  send(feedback.request_reply, Clock::now());
  flush();
}

void ReplicationStream::Impl::confirm(Lsn position) {
  const std::lock_guard lock(mutex_);
  if (position > wal_end_)
    throw Error(ErrorKind::usage, "a position was confirmed that the server has not reached yet")
        .with("position", position)
        .with("end of WAL", wal_end_);
  on_confirmed({position, position, position});
}

ReplicationStream::Feedback ReplicationStream::Impl::confirmed() {
  const std::lock_guard lock(mutex_);
  return confirmed_;
}

void ReplicationStream::Impl::send_if_due(Clock::time_point now) {
  if (reply_wanted_ || now >= next_status_) {
    send(false, now);
    flush();
  }
}

void ReplicationStream::Impl::send(bool request_reply, Clock::time_point now) {
  stream_->send({confirmed_.write, confirmed_.flush, confirmed_.apply, request_reply});
  reply_wanted_ = false;
  next_status_ = now + interval_;
}

/// Sends what the socket accepts, and watches for the next event.
void ReplicationStream::Impl::flush() {
  const bool unsent = !stream_->flush();
  readiness_.watch(stream_->socket(), unsent);
  readiness_.set_alarm(options_.background_replies ? std::nullopt : std::optional(next_status_));
}

void ReplicationStream::Impl::begin_replies() {
  if (!options_.background_replies) return;
  end_replies_ = false;
  replies_ = std::thread([this] { reply_in_background(); });
}

void ReplicationStream::Impl::end_replies() {
  {
    const std::lock_guard lock(mutex_);
    end_replies_ = true;
  }
  changed_.notify_all();
  if (replies_.joinable()) replies_.join();
}

void ReplicationStream::Impl::reply_in_background() {
  std::unique_lock lock(mutex_);
  while (!end_replies_) {
    // A reading thread sends its replies on time; a moment later this thread does.
    const auto due = next_status_ + std::min<milliseconds>(interval_ / 10, 100ms);
    if (changed_.wait_until(lock, due, [this] { return end_replies_; })) return;
    const auto now = Clock::now();
    if (now < next_status_) continue;
    try {
      send(false, now);
      flush();
    } catch (const Error&) {
      // Errors here occur in the next read() as well, which reports them.
    }
  }
}

void ReplicationStream::Impl::end_stream() {
  end_replies();
  readiness_.unwatch();
  readiness_.set_alarm(std::nullopt);
  stream_.reset();
}

void ReplicationStream::Impl::stop(milliseconds timeout) {
  if (!stream_) return;
  end_replies();
  try {
    send(false, Clock::now());
    stream_->finish(timeout);
  } catch (...) {
    end_stream();
    throw;
  }
  end_stream();
}

std::optional<ReplicationStream::Message> ReplicationStream::Impl::read_until(
    std::optional<Clock::time_point> deadline) {
  for (;;) {
    if (interrupt_.raised()) {
      interrupt_.clear();
      return std::nullopt;
    }
    if (auto message = read()) return message;
    if (!stream_ || !wait(deadline)) return std::nullopt;
  }
}

/// Waits until there is something to do, or interrupt(); returns false at the deadline.
bool ReplicationStream::Impl::wait(std::optional<Clock::time_point> deadline) {
  for (;;) {
    std::array<pollfd, 2> fds{{{readiness_.fd(), POLLIN, 0}, {interrupt_.fd(), POLLIN, 0}}};
    int timeout = -1;
    if (deadline) {
      const auto left = std::chrono::ceil<milliseconds>(*deadline - Clock::now()).count();
      timeout = static_cast<int>(std::clamp<std::int64_t>(left, 0, 3'600'000));
    }
    const int ready = ::poll(fds.data(), fds.size(), timeout);
    if (ready < 0 && errno != EINTR) throw system_error(errno, "could not wait for the server");
    if (ready > 0) return true;
    if (ready == 0 && deadline && Clock::now() >= *deadline) return false;
  }
}

}  // namespace weir

#include "pgweir/listener.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <random>
#include <utility>

#include "base/backoff.h"
#include "base/error.h"
#include "base/units.h"
#include "net/wake.h"
#include "pq/conninfo.h"
#include "pq/notifications.h"
#include "stream/readiness.h"

namespace weir {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

/// Minimum time for a connection attempt, regardless of read()'s timeout.
constexpr auto kLeastAttempt = 1000ms;
constexpr std::string_view kStandby = "25006";

/// The time in `timeout` from now; a far future one in case of overflow.
Clock::time_point deadline_in(milliseconds timeout) {
  return Clock::now() + std::clamp<milliseconds>(timeout, 0ms, 24h * 365 * 20);
}

}  // namespace

class Listener::Impl {
 public:
  explicit Impl(Options options);
  ~Impl() { hang_up(); }

  std::optional<Notification> read();
  std::optional<Notification> read_until(std::optional<Clock::time_point> deadline);
  void connect(milliseconds timeout);
  void notify(const std::string& channel, const std::string& payload);
  void hang_up();
  [[nodiscard]] bool connected() const { return notifications_.has_value(); }
  [[nodiscard]] int fd() const { return readiness_.fd(); }
  void interrupt() noexcept { interrupt_.raise(); }
  [[nodiscard]] const Options& options() const { return options_; }

  /// Converts the library's internal interrupt to an error.
  template <typename Function>
  void unless_interrupted(Function&& function) {
    try {
      function();
    } catch (const net::Interrupted&) {
      interrupt_.clear();
      throw Error(ErrorKind::retry, "interrupted");
    }
  }

 private:
  std::optional<Notification> next();
  void service();
  void watch();
  void listen_on(pq::Connection connection);
  void lost(const Error& error);
  bool try_connecting(std::optional<Clock::time_point> deadline);
  bool wait(int fd, std::optional<Clock::time_point> deadline);

  Options options_;
  net::Wake interrupt_;
  stream::Readiness readiness_;
  std::optional<pq::Connection> connection_;
  std::optional<pq::Notifications> notifications_;
  Clock::time_point contact_{};  // last message from the server
  std::chrono::system_clock::time_point contact_time_{};
  // Notifications received by then have been returned; hang_up() discards later ones.
  std::chrono::system_clock::time_point all_returned_{};
  Clock::time_point asked_{};
  Backoff backoff_{kFirstReconnect, kLongestReconnect, std::random_device()()};
  Clock::time_point next_attempt_{};
  bool listened_once_ = false;
};

Listener::Listener(Options options) : impl_(std::make_unique<Impl>(std::move(options))) {}
Listener::~Listener() = default;
Listener::Listener(Listener&&) noexcept = default;
Listener& Listener::operator=(Listener&&) noexcept = default;

std::optional<Notification> Listener::read() { return impl_->read(); }

std::optional<Notification> Listener::read(milliseconds timeout) {
  return impl_->read_until(deadline_in(timeout));
}

void Listener::consume(const std::function<bool(const Notification&)>& handle) {
  // Without a deadline only interrupt() makes it return nothing.
  while (const auto notification = impl_->read_until(std::nullopt))
    if (!handle(*notification)) return;
}

void Listener::reconnect() {
  impl_->unless_interrupted([this] { impl_->connect(impl_->options().connect_timeout); });
}
void Listener::hang_up() { impl_->hang_up(); }
bool Listener::connected() const { return impl_->connected(); }
int Listener::fd() const { return impl_->fd(); }
void Listener::interrupt() noexcept { impl_->interrupt(); }
void Listener::notify(const std::string& channel, const std::string& payload) {
  impl_->unless_interrupted([&] { impl_->notify(channel, payload); });
}

Listener::Impl::Impl(Options options) : options_(std::move(options)) {
  if (options_.channels.empty())
    throw Error(ErrorKind::usage, "no channel to listen to")
        .hint("Name at least one: notifications are sent to channels.");
  for (const auto& channel : options_.channels) pq::require_channel(channel);
  static_cast<void>(pq::expand_conninfo(options_.conninfo));  // throws if it is invalid
  if (options_.wait_for_server && !options_.reconnect)
    throw Error(ErrorKind::usage, "a listener that waits for its server has to reconnect, too");
  if (!options_.wait_for_server) connect(options_.connect_timeout);
}

std::optional<Notification> Listener::Impl::read() {
  if (!notifications_)
    throw Error(ErrorKind::retry, "the listener is not connected")
        .hint("Call reconnect(), or read() with a timeout.");
  try {
    if (auto notification = next()) return notification;
    service();
    auto notification = next();
    watch();
    return notification;
  } catch (const Error&) {
    hang_up();
    throw;
  }
}

std::optional<Notification> Listener::Impl::read_until(std::optional<Clock::time_point> deadline) {
  for (;;) {
    if (interrupt_.raised()) {
      interrupt_.clear();
      return std::nullopt;
    }
    try {
      if (!notifications_ && !try_connecting(deadline)) return std::nullopt;
      if (!notifications_) continue;
      if (auto notification = next()) return notification;
      watch();
      if (!wait(readiness_.fd(), deadline)) return std::nullopt;
      service();
    } catch (const net::Interrupted&) {
      interrupt_.clear();
      return std::nullopt;
    } catch (const Error& error) {
      hang_up();
      if (error.kind() != ErrorKind::retry || !options_.reconnect) throw;
      lost(error);
    }
  }
}

std::optional<Notification> Listener::Impl::next() {
  std::optional<pq::ReceivedNotification> received;
  try {
    received = notifications_->next();
  } catch (const Error&) {
    all_returned_ = contact_time_;  // the connection is lost, and nothing is left
    throw;
  }
  if (!received) {
    all_returned_ = contact_time_;
    return std::nullopt;
  }
  return Notification{std::move(received->channel), std::move(received->payload),
                      received->server_pid};
}

/// Handles the descriptor's events: readable, writable, or time for a check.
void Listener::Impl::service() {
  const auto now = Clock::now();
  if (notifications_->unsent()) notifications_->flush();
  const bool ready = [this] {
    pollfd socket{connection_->socket(), POLLIN, 0};
    return socket.fd < 0 || ::poll(&socket, 1, 0) > 0;
  }();
  if (ready && notifications_->receive()) {
    contact_ = now;
    contact_time_ = std::chrono::system_clock::now();
  }
  const auto interval = options_.check_interval;
  if (interval <= 0ms || ready) return;
  if (notifications_->asking()) {
    if (now >= asked_ + interval)
      throw Error(ErrorKind::retry,
                  "no message from the server for " + format_duration(interval) +
                      " after a request for a reply: the connection is considered lost")
          .with("server", connection_->server_name());
  } else if (now >= contact_ + interval) {
    asked_ = now;
    notifications_->ask();
  }
}

void Listener::Impl::watch() {
  readiness_.watch(connection_->socket(), notifications_->unsent());
  const auto interval = options_.check_interval;
  if (interval > 0ms)
    readiness_.set_alarm((notifications_->asking() ? asked_ : contact_) + interval);
}

void Listener::Impl::connect(milliseconds timeout) {
  hang_up();
  // If there are several hosts, use the primary.
  std::size_t host = 0;
  for (std::size_t tried = 1;; ++tried) {
    auto connection = pq::Connection::open({.conninfo = options_.conninfo,
                                            .replication = pq::Replication::none,
                                            .fallback_application_name = options_.application_name,
                                            .timeout = timeout,
                                            .first_host = host},
                                           interrupt_);
    host = connection.host_index() + 1;
    const auto hosts = connection.host_count();
    try {
      listen_on(std::move(connection));
      return;
    } catch (const Error& error) {
      hang_up();
      if (error.sqlstate() != kStandby) throw;
      if (tried < hosts) continue;
      if (!listened_once_) throw;
      // There was a primary: there will be one again.
      throw Error(ErrorKind::retry, "no primary to listen to: " + error.message())
          .hint(error.hint());
    }
  }
}

void Listener::Impl::listen_on(pq::Connection connection) {
  connection_.emplace(std::move(connection));
  // A server that cannot convert sends bytes unchanged, and must not be asked to check them.
  if (!pq::expand_conninfo(options_.conninfo).contains("client_encoding") &&
      connection_->parameter("server_encoding") != "SQL_ASCII")
    connection_->execute("SET client_encoding = 'UTF8'");
  const auto begun = std::chrono::system_clock::now();
  pq::Notifications notifications(*connection_);
  for (const auto& channel : options_.channels) notifications.listen(channel);
  const auto missed_since = listened_once_ ? std::optional(all_returned_) : std::nullopt;
  notifications_.emplace(notifications);
  contact_ = Clock::now();
  contact_time_ = std::chrono::system_clock::now();
  all_returned_ = begun;
  listened_once_ = true;
  backoff_.reset();
  watch();
  if (options_.on_listening) options_.on_listening({connection_->server_name(), missed_since});
}

void Listener::Impl::hang_up() {
  readiness_.unwatch();
  readiness_.set_alarm(std::nullopt);
  notifications_.reset();
  connection_.reset();
}

void Listener::Impl::lost(const Error& error) {
  next_attempt_ = Clock::now() + backoff_.next();
  if (options_.on_lost) options_.on_lost(error);
}

/// Returns false if `deadline` was reached. Throws what connect() throws.
bool Listener::Impl::try_connecting(std::optional<Clock::time_point> deadline) {
  if (!options_.reconnect)
    throw Error(ErrorKind::retry, "the listener is not connected").hint("Call reconnect().");
  if (const auto now = Clock::now(); now < next_attempt_) {
    const auto until = deadline ? std::min(*deadline, next_attempt_) : next_attempt_;
    static_cast<void>(wait(-1, until));
    return !deadline || Clock::now() < *deadline;
  }
  auto timeout = options_.connect_timeout;
  if (deadline) {
    const auto left = std::chrono::ceil<milliseconds>(*deadline - Clock::now());
    timeout =
        std::clamp<milliseconds>(left, std::min<milliseconds>(kLeastAttempt, timeout), timeout);
  }
  connect(timeout);
  return true;
}

/// Waits until `fd` is readable; returns false at `deadline`. Throws Interrupted.
bool Listener::Impl::wait(int fd, std::optional<Clock::time_point> deadline) {
  for (;;) {
    std::array<pollfd, 2> fds{{{fd, POLLIN, 0}, {interrupt_.fd(), POLLIN, 0}}};
    int timeout = -1;
    if (deadline) {
      const auto left = std::chrono::ceil<milliseconds>(*deadline - Clock::now()).count();
      timeout = static_cast<int>(std::clamp<std::int64_t>(left, 0, 3'600'000));
    }
    const int ready = ::poll(fds.data(), fds.size(), timeout);
    if (ready < 0 && errno != EINTR) throw system_error(errno, "could not wait for the server");
    if (fds[1].revents != 0 && ready > 0) throw net::Interrupted{};
    if (fds[0].revents != 0 && ready > 0) return true;
    if (ready == 0 && deadline && Clock::now() >= *deadline) return false;
  }
}

void Listener::Impl::notify(const std::string& channel, const std::string& payload) {
  if (!notifications_) throw Error(ErrorKind::retry, "the listener is not connected");
  // A query in progress is completed first.
  pq::notify(*connection_, channel, payload);
}

}  // namespace weir

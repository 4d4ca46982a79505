#include "relay/session.h"

#include <poll.h>

#include <atomic>
#include <chrono>
#include <utility>

#include "net/wait.h"
#include "net/wake.h"
#include "relay/walsender.h"

namespace weir::relay {

namespace {

using namespace std::chrono_literals;

constexpr auto kLastWords = 2s;
/// A session that only sends checks for input once in this many calls.
constexpr unsigned kMostUnasked = 8;

/// Microseconds since 2000-01-01 UTC.
std::int64_t server_clock() {
  constexpr auto kEpoch = std::chrono::sys_days(std::chrono::year(2000) / 1 / 1);
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now() -
                                                               kEpoch)
      .count();
}

class SocketConnection final : public Connection {
 public:
  explicit SocketConnection(std::unique_ptr<net::Stream> stream) : stream_(std::move(stream)) {}

  std::optional<std::size_t> send_now(std::string_view bytes) override {
    return hung_up_ ? std::nullopt : stream_->send_now(bytes);
  }
  std::optional<std::size_t> send_parts(std::span<const std::string_view> parts) override {
    return hung_up_ ? std::nullopt : stream_->send_parts(parts);
  }
  std::optional<std::size_t> receive_now(std::span<char> bytes) override {
    if (!may_have_come_ && ++unasked_ < kMostUnasked) return 0;
    unasked_ = 0;
    const auto count = stream_->receive_now(bytes);
    may_have_come_ = count != 0;
    return count;
  }
  bool has_unsent() const override { return stream_->has_unsent(); }
  void send_last(std::string_view bytes) override {
    static_cast<void>(
        net::send_all(*stream_, bytes, std::chrono::steady_clock::now() + kLastWords));
  }
  void wait(bool receives, bool sends, std::optional<WalsenderState::Time> until) override {
    const auto events = (receives ? POLLIN : 0) | (sends ? POLLOUT : 0);
    pollfd polls[] = {{stream_->fd(), static_cast<short>(events), 0}, {wake_.fd(), POLLIN, 0}};
    static_cast<void>(::poll(polls, 2, until ? net::milliseconds_until(*until) : -1));
    readable_ = polls[1].revents != 0;
    may_have_come_ = may_have_come_ || polls[0].revents != 0;
    // A session that reads detects the end after the input before it. Otherwise poll() would report
    // it again and again.
    hung_up_ = !receives && (polls[0].revents & (POLLERR | POLLHUP)) != 0;
  }
  void wake() noexcept override {
    if (!woken_.exchange(true)) wake_.raise();
  }
  void clear_wake() noexcept override {
    // If it is raised between the two, the next wait() reports it.
    const bool woken = woken_.exchange(false);
    if (std::exchange(readable_, false) || woken) wake_.clear();
  }
  WalsenderState::Now now() override { return {std::chrono::steady_clock::now(), server_clock()}; }

 private:
  const std::unique_ptr<net::Stream> stream_;
  net::Wake wake_;
  std::atomic<bool> woken_ = false;  ///< without a system call while no thread waits
  bool readable_ = false;            ///< it was, at the end of the last wait()
  bool may_have_come_ = true;        ///< otherwise the socket is empty, or wait() will report input
  unsigned unasked_ = 0;             ///< number of calls since the last check
  bool hung_up_ = false;
};

}  // namespace

void serve_client(std::unique_ptr<net::Stream> stream, Client client, const ServedThings& served) {
  SocketConnection connection(std::move(stream));
  Walsender(std::move(client), connection, served).run();
}

}  // namespace weir::relay

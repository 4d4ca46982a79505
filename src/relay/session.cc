#include "relay/session.h"

#include <poll.h>

#include <chrono>
#include <utility>

#include "net/wait.h"
#include "net/wake.h"
#include "relay/walsender.h"

namespace weir::relay {

namespace {

using namespace std::chrono_literals;

constexpr auto kLastWords = 2s;

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
    return stream_->send_now(bytes);
  }
  std::optional<std::size_t> receive_now(std::span<char> bytes) override {
    return stream_->receive_now(bytes);
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
  }
  void wake() noexcept override { wake_.raise(); }
  void clear_wake() noexcept override { wake_.clear(); }
  WalsenderState::Now now() override { return {std::chrono::steady_clock::now(), server_clock()}; }

 private:
  const std::unique_ptr<net::Stream> stream_;
  net::Wake wake_;
};

}  // namespace

void serve_client(std::unique_ptr<net::Stream> stream, Client client, const ServedThings& served) {
  SocketConnection connection(std::move(stream));
  Walsender(std::move(client), connection, served).run();
}

}  // namespace weir::relay

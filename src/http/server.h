#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <variant>

#include "http/message.h"
#include "net/listener.h"

namespace weir::http {

/// Answers requests over HTTP/1.1, one on each connection. One thread serves all clients and never
/// waits for one of them; a second one computes answers that may take long. Memory and descriptors
/// are bounded regardless of the clients: if there are too many connections the oldest is closed,
/// and none lasts longer than its limits.
class Server {
 public:
  struct Limits {
    std::size_t connections = 128;
    std::chrono::milliseconds request{10'000};  ///< for receiving a whole request
    std::chrono::milliseconds answer{30'000};   ///< for sending the answer
  };
  /// An answer that must be waited for: computed by the second thread, one at a time.
  using Later = std::function<Answer()>;
  using Reply = std::variant<Answer, Later>;
  /// Called by the server's thread; must not block. An exception is answered with 500.
  using Handler = std::function<Reply(const Request&)>;

  /// `listener` is bound, and listened on from now on. Throws Error{io}.
  Server(net::Listener listener, Handler handler, Limits limits);
  Server(net::Listener listener, Handler handler)
      : Server(std::move(listener), std::move(handler), Limits()) {}
  /// Waits for an answer being computed.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

 private:
  class Work;
  std::unique_ptr<Work> work_;
};

}  // namespace weir::http

// A small HTTP server of pgweir's own (`http/server`) serves the web page and the metrics:
// prometheus-cpp uses civetweb, where a slow client occupies a thread, and whose version in Debian
// 12 has a heap overflow (CVE-2025-55763). One thread polls all clients, like the relay's listener;
// a second one computes what may touch the disk. Boost.Beast's parser parses requests.

#include "http/server.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "http/request_reader.h"
#include "net/stream.h"
#include "net/wait.h"
#include "net/wake.h"

namespace weir::http {

namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

/// Maximum number of pending answers; further clients are asked to retry.
constexpr std::size_t kMostLater = 16;
/// Allows the client to see the end, and the server to read what it still sends: a connection that
/// is closed with unread bytes is reset, and the client may lose the answer.
constexpr auto kLinger = 1s;

Answer refusal(int status) {
  return {.status = status, .body = std::string(reason_of(status)) + "\n"};
}

struct Client {
  enum class State { reading, waiting, sending, lingering };
  State state = State::reading;
  Descriptor socket;
  Clock::time_point deadline;
  RequestReader reader{};
  std::string unsent{};
  bool head = false;
};

}  // namespace

class Server::Work {
 public:
  Work(net::Listener listener, Handler handler, Limits limits)
      : listener_(std::move(listener)), handler_(std::move(handler)), limits_(limits) {
    listener_.listen(64);
    serving_ = std::thread([this] { serve(); });
    computing_ = std::thread([this] { compute(); });
  }
  ~Work() {
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    changed_.notify_all();
    wake_.raise();
    serving_.join();
    computing_.join();
  }
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;

 private:
  struct Task {
    std::uint64_t client;
    Later make;
  };

  void serve() {
    for (;;) {
      auto deadline = Clock::now() + 1h;
      std::vector<pollfd> polls{{wake_.fd(), POLLIN, 0}, {listener_.fd(), POLLIN, 0}};
      std::vector<std::uint64_t> ids;
      for (const auto& [id, client] : clients_) {
        const bool sends = client.state == Client::State::sending;
        polls.push_back({client.socket.get(), static_cast<short>(sends ? POLLOUT : POLLIN), 0});
        // A client that is waited for may disconnect; then there is nothing to read, and its end is
        // not an event.
        if (client.state == Client::State::waiting) polls.back().events = 0;
        ids.push_back(id);
        deadline = std::min(deadline, client.deadline);
      }
      if (::poll(polls.data(), polls.size(), net::milliseconds_until(deadline)) < 0) continue;
      if (polls[0].revents != 0) {
        wake_.clear();
        if (!take_answers()) return;
      }
      for (std::size_t i = 0; i < ids.size(); ++i)
        if (polls[i + 2].revents != 0) go_on(ids[i]);
      drop_late();
      if (polls[1].revents != 0) accept();
    }
  }

  void accept() {
    // A few at a time, so that existing clients get their turn.
    for (int i = 0; i < 16; ++i) {
      auto socket = listener_.accept_now();
      if (!socket) {
        const int error = errno;
        const bool descriptors = error == EMFILE || error == ENFILE;
        if (descriptors && !clients_.empty()) clients_.erase(clients_.begin());
        if (net::is_shortage(error)) static_cast<void>(net::pause(wake_, 100ms));
        return;
      }
      net::tune_connection(socket.get());
      if (clients_.size() >= limits_.connections) clients_.erase(clients_.begin());
      clients_.emplace(++last_id_, Client{.socket = std::move(socket),
                                          .deadline = Clock::now() + limits_.request});
    }
  }

  void drop_late() {
    const auto now = Clock::now();
    for (auto at = clients_.begin(); at != clients_.end();) {
      auto& client = at->second;
      if (client.deadline > now) {
        ++at;
      } else if (client.state == Client::State::reading) {
        answer(client, refusal(408));
        ++at;
      } else {
        at = clients_.erase(at);
      }
    }
  }

  void go_on(std::uint64_t id) {
    const auto found = clients_.find(id);
    if (found == clients_.end()) return;
    auto& client = found->second;
    const bool stays = client.state == Client::State::reading   ? read(id, client)
                       : client.state == Client::State::sending ? send(client)
                                                                : linger(client);
    if (!stays) clients_.erase(found);
  }

  bool read(std::uint64_t id, Client& client) {
    std::array<char, 4096> bytes{};
    const auto count = net::receive_now(client.socket.get(), bytes);
    if (!count) return false;
    switch (client.reader.add({bytes.data(), *count})) {
      case RequestReader::State::more:
        break;
      case RequestReader::State::refused:
        return answer(client, refusal(client.reader.status()));
      case RequestReader::State::done:
        return reply(id, client);
    }
    return true;
  }

  bool reply(std::uint64_t id, Client& client) {
    const auto& request = client.reader.request();
    client.head = request.method == "HEAD";
    Reply reply = refusal(500);
    try {
      reply = handler_(request);
    } catch (const std::exception&) {
      // The answer is 500. The error's text may not be intended for clients.
    }
    if (auto* const now = std::get_if<Answer>(&reply)) return answer(client, *now);
    const std::lock_guard lock(mutex_);
    if (tasks_.size() >= kMostLater) {
      auto busy = refusal(503);
      busy.headers.emplace_back("Retry-After", "10");
      return answer(client, busy);
    }
    client.state = Client::State::waiting;
    client.deadline = Clock::now() + limits_.answer;
    tasks_.push_back({id, std::get<Later>(std::move(reply))});
    changed_.notify_all();
    return true;
  }

  bool answer(Client& client, const Answer& what) {
    client.unsent = to_bytes(what, !client.head);
    client.state = Client::State::sending;
    client.deadline = Clock::now() + limits_.answer;
    return send(client);
  }

  bool send(Client& client) {
    const auto sent = net::send_now(client.socket.get(), client.unsent);
    if (!sent) return false;
    client.unsent.erase(0, *sent);
    if (!client.unsent.empty()) return true;
    net::end_sending(client.socket.get());
    client.state = Client::State::lingering;
    client.deadline = Clock::now() + kLinger;
    return true;
  }

  static bool linger(Client& client) {
    std::array<char, 4096> bytes{};
    return net::receive_now(client.socket.get(), bytes).has_value() &&
           client.state == Client::State::lingering;
  }

  /// False: it is over.
  bool take_answers() {
    std::vector<std::pair<std::uint64_t, Answer>> answers;
    {
      const std::lock_guard lock(mutex_);
      if (over_) return false;
      answers.swap(answers_);
    }
    for (const auto& [id, made] : answers)
      if (const auto found = clients_.find(id); found != clients_.end())
        if (!answer(found->second, made)) clients_.erase(found);
    return true;
  }

  void compute() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return over_ || !tasks_.empty(); });
      if (over_) return;
      const auto task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      auto made = refusal(500);
      try {
        made = task.make();
      } catch (const std::exception&) {
        // As above.
      }
      lock.lock();
      answers_.emplace_back(task.client, std::move(made));
      wake_.raise();
    }
  }

  net::Listener listener_;
  const Handler handler_;
  const Limits limits_;
  net::Wake wake_;
  std::uint64_t last_id_ = 0;
  std::map<std::uint64_t, Client> clients_;  ///< by age; of the serving thread
  std::mutex mutex_;                         ///< what follows
  std::condition_variable changed_;
  bool over_ = false;
  std::deque<Task> tasks_;
  std::vector<std::pair<std::uint64_t, Answer>> answers_;
  std::thread serving_;
  std::thread computing_;
};

Server::Server(net::Listener listener, Handler handler, Limits limits)
    : work_(std::make_unique<Work>(std::move(listener), std::move(handler), limits)) {}
Server::~Server() = default;

}  // namespace weir::http

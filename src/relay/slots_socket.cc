#include "relay/slots_socket.h"

#include <fcntl.h>  // check-includes: a socket's directory is opened to name it, nothing is read
#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <utility>

#include "base/error.h"
#include "net/connect.h"
#include "net/wait.h"

namespace weir::relay {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr const char* kName = ".pgweir-slots.sock";
constexpr auto kServeTime = 1s;
/// A slot that is dropped is synced.
constexpr auto kAskTime = 30s;
constexpr std::size_t kLongestLine = 256;
constexpr std::size_t kLongestAnswer = std::size_t{4} << 20;

Descriptor open_to_name_the_socket(const std::string& directory) {
  constexpr int kFlags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  Descriptor opened(::open(directory.c_str(), kFlags));  // check-includes: to name the socket in it
  if (!opened)
    throw system_error(errno, "could not open the archive directory").with("path", directory);
  return opened;
}

}  // namespace

SlotsSocket::SlotsSocket(const std::string& directory,
                         std::function<std::string(const std::string&)> answer, Log& log)
    : answer_(std::move(answer)) {
  try {
    const auto place = open_to_name_the_socket(directory);
    // What is left of a process that was killed is taken over; its descriptor stays with it.
    listener_ =
        net::Listener::bind_over_stale(net::Address::in_directory(place.get(), kName), 0600);
    listener_->listen();
  } catch (const Error& error) {
    listener_.reset();
    log.warning("\"pgweir slot list -D\" cannot ask this process: {}", error.what());
    return;
  }
  thread_ = machine_threads().start("slots-socket", [this] { work(); });
}

SlotsSocket::~SlotsSocket() {
  stop_.raise();
  if (thread_) thread_->join();
}

std::optional<std::string> SlotsSocket::ask(const std::string& directory, const std::string& line) {
  const auto deadline = Clock::now() + kAskTime;
  const auto place = open_to_name_the_socket(directory);
  const auto connection =
      net::connect(net::Address::in_directory(place.get(), kName), net::Kind::bytes, deadline);
  if (connection.code == ENOENT || connection.code == ECONNREFUSED) return std::nullopt;
  if (connection.code != 0) {
    auto error = system_error(connection.code, "could not ask who has the archive's slots")
                     .with("socket", fmt::format("{}/{}", directory, kName));
    if (connection.code == EACCES || connection.code == EPERM)
      error.hint("Ask as the user that \"pgweir serve\" runs as.");
    throw error;
  }
  std::string answer;
  std::array<char, 16 * 1024> piece;
  try {
    if (!net::send_all(connection.socket.get(), line + "\n", deadline, nullptr))
      return std::nullopt;
    while (const auto count =
               net::receive_some(connection.socket.get(), piece, deadline, nullptr)) {
      answer.append(piece.data(), count);
      if (answer.size() > kLongestAnswer) break;
    }
  } catch (const Error&) {
    throw Error(ErrorKind::retry, "the process that has the archive's slots does not answer")
        .with("directory", directory)
        .hint("It may be stopped (SIGSTOP), or its disk hangs.");
  }
  // It ended between taking the call and answering.
  if (answer.empty()) return std::nullopt;
  return answer;
}

void SlotsSocket::work() {
  while (const auto client = listener_->accept(stop_)) serve(client->get());
}

void SlotsSocket::serve(int client) const {
  try {
    const auto deadline = Clock::now() + kServeTime;
    std::string line;
    while (line.find('\n') == std::string::npos) {
      std::array<char, kLongestLine> piece;
      const auto count = net::receive_some(client, piece, deadline, &stop_);
      if (count == 0 || line.size() + count > kLongestLine) return;
      line.append(piece.data(), count);
    }
    const auto answer = answer_(line.substr(0, line.find('\n')));
    net::send_all(client, answer, Clock::now() + kServeTime, &stop_);
  } catch (const Error&) {
    // One who says nothing, or does not read.
  } catch (const net::Interrupted&) {
    // work() ends, too
  }
}

}  // namespace weir::relay

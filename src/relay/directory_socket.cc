#include "relay/directory_socket.h"

#include <fcntl.h>  // check-includes: a socket's directory is opened to name it, nothing is read
#include <fmt/format.h>
#include <unistd.h>

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

constexpr auto kServeTime = 1s;
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

DirectorySocket::DirectorySocket(const std::string& directory, std::string name,
                                 std::function<std::string(const std::string&)> answer)
    : name_(std::move(name)),
      answer_(std::move(answer)),
      place_(open_to_name_the_socket(directory)) {
  listener_ = net::Listener::bind_over_stale(net::Address::in_directory(place_.get(), name_), 0600);
  listener_->listen();
  thread_ = machine_threads().start("directory-socket", [this] { work(); });
}

DirectorySocket::~DirectorySocket() {
  stop_.raise();
  thread_->join();
  // While this process listens no other process can have taken the name.
  static_cast<void>(::unlinkat(place_.get(), name_.c_str(), 0));  // check-includes: a socket's name
}

std::optional<std::string> DirectorySocket::ask(const std::string& directory,
                                                const std::string& name, const std::string& line,
                                                std::chrono::milliseconds time) {
  const auto deadline = Clock::now() + time;
  const auto place = open_to_name_the_socket(directory);
  const auto connection =
      net::connect(net::Address::in_directory(place.get(), name), net::Kind::bytes, deadline);
  if (connection.code == ENOENT || connection.code == ECONNREFUSED) return std::nullopt;
  if (connection.code != 0) {
    auto error = system_error(connection.code, "could not ask who serves the archive")
                     .with("socket", fmt::format("{}/{}", directory, name));
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
    throw Error(ErrorKind::retry, "a process that serves the archive does not answer")
        .with("socket", fmt::format("{}/{}", directory, name))
        .hint("It may be stopped (SIGSTOP), or its disk hangs.");
  }
  // It ended between taking the call and answering.
  if (answer.empty()) return std::nullopt;
  return answer;
}

void DirectorySocket::work() {
  while (const auto client = listener_->accept(stop_)) serve(client->get());
}

void DirectorySocket::serve(int client) const {
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
    // A client that sends nothing, or does not read.
  } catch (const net::Interrupted&) {
    // work() ends, too
  }
}

}  // namespace weir::relay

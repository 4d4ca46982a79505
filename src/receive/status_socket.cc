// The status socket is a socket because a file could not be written when it matters most: when the
// disk is full or hangs.

#include "receive/status_socket.h"

#include <fcntl.h>  // check-includes: a socket's directory is opened to name it, nothing is read
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "net/connect.h"
#include "net/wake.h"

namespace weir::receive {

namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kName = ".pgweir.sock";
/// Maximum wait for a client that does not read.
constexpr std::chrono::milliseconds kServeTime{1000};
constexpr std::chrono::milliseconds kAskTime{2000};
constexpr std::size_t kLongestAnswer = std::size_t{4} * 1024 * 1024;

Descriptor open_to_name_the_socket(const std::string& directory) {
  constexpr int kFlags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  Descriptor opened(::open(directory.c_str(), kFlags));  // check-includes: to name the socket in it
  if (!opened)
    throw system_error(errno, "could not open the archive directory").with("path", directory);
  return opened;
}

/// Returns 0, also if it does not exist, or errno. A network file system may be interrupted.
int remove_name(int directory) {
  while (::unlinkat(directory, kName, 0) != 0)  // check-includes: the socket's own name
    if (errno != EINTR) return errno == ENOENT ? 0 : errno;
  return 0;
}

Error no_answer(const std::string& directory) {
  return Error(ErrorKind::retry, "the receiver that runs on the archive does not answer")
      .with("directory", directory)
      .hint("It may be stopped (SIGSTOP) or hang.");
}

}  // namespace

StatusSocket::StatusSocket(const std::string& directory, std::function<std::string()> answer,
                           Log& log)
    : answer_(std::move(answer)), log_(log) {
  try {
    listen(directory);
  } catch (const Error& error) {
    log_.warning("\"pgweir status\" cannot ask this receiver: {}", error.what());
    return;
  }
  thread_ = std::thread([this] { work(); });
}

StatusSocket::~StatusSocket() {
  stop_.raise();
  if (thread_.joinable()) thread_.join();
  if (!listener_) return;
  if (const int error = remove_name(directory_.get()); error != 0)
    log_.warning("{} could not be removed, the next start will: {}", kName, std::strerror(error));
}

std::optional<std::string> StatusSocket::ask(const std::string& directory) {
  const auto deadline = Clock::now() + kAskTime;
  const auto place = open_to_name_the_socket(directory);
  const auto connection =
      net::connect(net::Address::in_directory(place.get(), kName), net::Kind::bytes, deadline);
  if (connection.code == ENOENT || connection.code == ECONNREFUSED) return std::nullopt;
  if (connection.code == ETIMEDOUT) throw no_answer(directory);
  if (connection.code != 0) {
    auto error = system_error(connection.code, "could not ask the receiver")
                     .with("socket", fmt::format("{}/{}", directory, kName));
    if (connection.code == EACCES || connection.code == EPERM)
      error.hint("Ask as the user the receiver runs as.");
    throw error;
  }

  std::string answer;
  std::array<char, 16 * 1024> piece;
  try {
    while (const auto count =
               net::receive_some(connection.socket.get(), piece, deadline, nullptr)) {
      answer.append(piece.data(), count);
      if (answer.size() > kLongestAnswer) throw no_answer(directory);
    }
  } catch (const Error&) {
    throw no_answer(directory);
  }
  // It ended between accepting the connection and answering.
  if (answer.empty()) return std::nullopt;
  return answer;
}

void StatusSocket::listen(const std::string& directory) {
  auto place = open_to_name_the_socket(directory);
  if (const int error = remove_name(place.get()); error != 0)
    throw system_error(error, "could not remove an old socket")
        .with("path", fmt::format("{}/{}", directory, kName));
  try {
    auto listener =
        net::Listener::bind(net::Address::in_directory(place.get(), kName), net::Kind::bytes, 0600);
    listener.listen();
    listener_ = std::move(listener);
  } catch (Error& error) {
    throw std::move(error).with("path", fmt::format("{}/{}", directory, kName));
  }
  directory_ = std::move(place);
}

void StatusSocket::work() {
  while (const auto client = listener_->accept(stop_)) serve(client->get());
}

void StatusSocket::serve(int client) const {
  std::string answer;
  try {
    answer = answer_();
  } catch (const std::exception& error) {
    log_.warning("could not answer \"pgweir status\": {}", error.what());
    return;
  }
  try {
    net::send_all(client, answer, Clock::now() + kServeTime, &stop_);
  } catch (const Error&) {
    // A client that does not read.
  } catch (const net::Interrupted&) {
    // work() ends, too
  }
}

}  // namespace weir::receive

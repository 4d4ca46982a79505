// A socket is addressed by a descriptor of its directory: its path may be longer than an address
// can be.

#include "net/directory_socket.h"

#include <fcntl.h>  // check-includes: a socket's directory is opened to name it, nothing is read
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <exception>
#include <utility>

#include "base/error.h"
#include "net/connect.h"
#include "net/wait.h"

namespace weir::net {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

/// Maximum wait for a client that does not send, or does not read.
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

/// Returns 0, also if it does not exist, or errno. A network file system may be interrupted.
int remove_name(int directory, const std::string& name) {
  while (::unlinkat(directory, name.c_str(), 0) != 0)  // check-includes: the socket's own name
    if (errno != EINTR) return errno == ENOENT ? 0 : errno;
  return 0;
}

/// The first line; nullopt if it does not come, or is too long.
std::optional<std::string> read_line(int client, const Wake& stop) {
  const auto deadline = Clock::now() + kServeTime;
  std::string line;
  while (line.find('\n') == std::string::npos) {
    std::array<char, kLongestLine> piece;
    const auto count = receive_some(client, piece, deadline, &stop);
    if (count == 0 || line.size() + count > kLongestLine) return std::nullopt;
    line.append(piece.data(), count);
  }
  return line.substr(0, line.find('\n'));
}

}  // namespace

DirectorySocket::DirectorySocket(const std::string& directory, std::string name, Name state,
                                 Client client, Answer answer)
    : name_(std::move(name)),
      client_(client),
      answer_(std::move(answer)),
      place_(open_to_name_the_socket(directory)) {
  const auto address = Address::in_directory(place_.get(), name_);
  if (state == Name::may_be_in_use) {
    listener_ = Listener::bind_over_stale(address, 0600);
    listener_->listen();
  } else {
    if (const int error = remove_name(place_.get(), name_); error != 0)
      throw system_error(error, "could not remove an old socket")
          .with("path", fmt::format("{}/{}", directory, name_));
    try {
      listener_ = Listener::bind(address, Kind::bytes, 0600);
      listener_->listen();
    } catch (Error& error) {
      throw std::move(error).with("path", fmt::format("{}/{}", directory, name_));
    }
  }
  thread_ = machine_threads().start("directory-socket", [this] { work(); });
}

DirectorySocket::~DirectorySocket() { close(); }

int DirectorySocket::close() {
  if (!thread_) return 0;
  stop_.raise();
  thread_->join();
  thread_.reset();
  // While this process listens no other process can have taken the name.
  return remove_name(place_.get(), name_);
}

DirectorySocket::Reply DirectorySocket::ask(const std::string& directory, const std::string& name,
                                            const std::string* line,
                                            std::chrono::milliseconds time) {
  const auto deadline = Clock::now() + time;
  const auto place = open_to_name_the_socket(directory);
  const auto connection = connect(Address::in_directory(place.get(), name), Kind::bytes, deadline);
  if (connection.code == ENOENT || connection.code == ECONNREFUSED) return {};
  if (connection.code != 0) return {.answer = std::nullopt, .code = connection.code};
  std::string answer;
  std::array<char, 16 * 1024> piece;
  try {
    if (line != nullptr && !send_all(connection.socket.get(), *line + "\n", deadline, nullptr))
      return {};
    while (const auto count = receive_some(connection.socket.get(), piece, deadline, nullptr)) {
      answer.append(piece.data(), count);
      if (answer.size() > kLongestAnswer) return {.answer = std::nullopt, .silent = true};
    }
  } catch (const Error&) {
    return {.answer = std::nullopt, .silent = true};
  }
  // It ended between accepting the connection and answering.
  if (answer.empty()) return {};
  return {.answer = std::move(answer)};
}

void DirectorySocket::work() {
  while (const auto client = listener_->accept(stop_)) serve(client->get());
}

void DirectorySocket::serve(int client) const {
  try {
    const auto line = client_ == Client::sends_line ? read_line(client, stop_) : "";
    if (!line) return;
    send_all(client, answer_(*line), Clock::now() + kServeTime, &stop_);
  } catch (const Interrupted&) {
    // work() ends, too
  } catch (const std::exception&) {
    // A client that sends nothing, or does not read; an answer that fails, which the owner reports.
  }
}

}  // namespace weir::net

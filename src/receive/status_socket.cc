#include "receive/status_socket.h"

#include <fcntl.h>  // check-includes: a socket's directory is opened to name it, nothing is read
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>  // check-includes: a local socket, not a server's
#include <sys/stat.h>    // check-includes: fchmod of the socket
#include <sys/un.h>      // check-includes: a local socket, not a server's
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace weir::receive {

namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kName = ".pgweir.sock";
/// How long one who asked and does not read is waited for.
constexpr std::chrono::milliseconds kServeTime{1000};
constexpr std::chrono::milliseconds kAskTime{2000};
constexpr std::size_t kLongestAnswer = std::size_t{4} * 1024 * 1024;

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

/// A socket's address takes 107 bytes, an archive's path may be longer: so it is named through the
/// open directory.
sockaddr_un address_in(int directory_fd) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const auto path = fmt::format("/proc/self/fd/{}/{}", directory_fd, kName);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

int open_directory_path(const std::string& directory) {
  constexpr int kFlags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  return ::open(directory.c_str(), kFlags);  // check-includes: to name the socket in it
}

int make_socket() { return ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); }

/// 0, also if there is none, or errno. A network file system may be interrupted.
int remove_name(int directory) {
  while (::unlinkat(directory, kName, 0) != 0)  // check-includes: the socket's own name
    if (errno != EINTR) return errno == ENOENT ? 0 : errno;
  return 0;
}

int milliseconds_until(Clock::time_point deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
  return left.count() < 0 ? 0 : static_cast<int>(left.count());
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
  if (socket_ >= 0) {
    if (const int error = remove_name(directory_fd_); error != 0)
      log_.warning("{} could not be removed, the next start will: {}", kName, std::strerror(error));
    ::close(socket_);
  }
  if (directory_fd_ >= 0) ::close(directory_fd_);
}

std::optional<std::string> StatusSocket::ask(const std::string& directory) {
  const auto deadline = Clock::now() + kAskTime;
  const Descriptor place(open_directory_path(directory));
  if (place.get() < 0)
    throw system_error(errno, "could not open the archive directory").with("path", directory);
  const Descriptor connection(make_socket());
  if (connection.get() < 0) throw system_error(errno, "could not make a socket");
  const auto address = address_in(place.get());
  while (::connect(connection.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) !=
         0) {
    if (errno == ENOENT || errno == ECONNREFUSED) return std::nullopt;
    if (errno == EACCES || errno == EPERM)
      throw system_error(errno, "could not ask the receiver")
          .with("socket", fmt::format("{}/{}", directory, kName))
          .hint("Ask as the user the receiver runs as.");
    if (errno != EAGAIN && errno != EINTR)
      throw system_error(errno, "could not ask the receiver")
          .with("socket", fmt::format("{}/{}", directory, kName));
    // Its queue is full: many ask at once, or it hangs.
    if (Clock::now() >= deadline) throw no_answer(directory);
    ::poll(nullptr, 0, 20);
  }

  std::string answer;
  std::array<char, 16 * 1024> piece;
  for (;;) {
    pollfd poll{connection.get(), POLLIN, 0};
    if (::poll(&poll, 1, milliseconds_until(deadline)) == 0) throw no_answer(directory);
    const auto count = ::recv(connection.get(), piece.data(), piece.size(), 0);
    if (count == 0) break;
    if (count < 0) {
      if (errno == EINTR || errno == EAGAIN) continue;
      throw no_answer(directory);
    }
    answer.append(piece.data(), static_cast<std::size_t>(count));
    if (answer.size() > kLongestAnswer) throw no_answer(directory);
  }
  // It ended between taking the call and answering.
  if (answer.empty()) return std::nullopt;
  return answer;
}

void StatusSocket::listen(const std::string& directory) {
  Descriptor place(open_directory_path(directory));
  if (place.get() < 0)
    throw system_error(errno, "could not open the archive directory").with("path", directory);
  Descriptor made(make_socket());
  if (made.get() < 0) throw system_error(errno, "could not make a socket");
  // On Linux the name gets the mode of the socket, so there is no moment at which others may ask.
  ::fchmod(made.get(), 0600);
  if (const int error = remove_name(place.get()); error != 0)
    throw system_error(error, "could not remove an old socket")
        .with("path", fmt::format("{}/{}", directory, kName));
  const auto address = address_in(place.get());
  if (::bind(made.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(made.get(), 16) != 0)
    throw system_error(errno, "could not make a socket")
        .with("path", fmt::format("{}/{}", directory, kName));
  directory_fd_ = place.release();
  socket_ = made.release();
}

void StatusSocket::work() {
  for (;;) {
    pollfd polls[] = {{socket_, POLLIN, 0}, {stop_.fd(), POLLIN, 0}};
    if (::poll(polls, 2, -1) < 0) continue;
    if (polls[1].revents != 0) return;
    const Descriptor client(::accept4(socket_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (client.get() >= 0) {
      serve(client.get());
    } else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
      // Out of descriptors or memory: the caller stays in the queue, so poll() would not wait.
      ::poll(&polls[1], 1, 100);
    }
  }
}

void StatusSocket::serve(int client) {
  std::string answer;
  try {
    answer = answer_();
  } catch (const std::exception& error) {
    log_.warning("could not answer \"pgweir status\": {}", error.what());
    return;
  }
  const auto deadline = Clock::now() + kServeTime;
  std::string_view left = answer;
  while (!left.empty()) {
    const auto count = ::send(client, left.data(), left.size(), MSG_NOSIGNAL);
    if (count >= 0) {
      left.remove_prefix(static_cast<std::size_t>(count));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return;
    pollfd polls[] = {{client, POLLOUT, 0}, {stop_.fd(), POLLIN, 0}};
    if (::poll(polls, 2, milliseconds_until(deadline)) == 0 || polls[1].revents != 0) return;
  }
}

}  // namespace weir::receive

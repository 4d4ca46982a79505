// The status socket is a socket because a file could not be written when it matters most: when the
// disk is full or hangs.

#include "receive/status_socket.h"

#include <fmt/format.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <exception>
#include <utility>

#include "base/error.h"

namespace weir::receive {

namespace {

using net::DirectorySocket;

constexpr const char* kName = ".pgweir.sock";
constexpr std::chrono::milliseconds kAskTime{2000};

}  // namespace

StatusSocket::StatusSocket(const std::string& directory, std::function<std::string()> answer,
                           Log& log)
    : log_(log) {
  const auto told = [this, answer = std::move(answer)](const std::string& /*line*/) {
    try {
      return answer();
    } catch (const std::exception& error) {
      log_.warning("could not answer \"pgweir status\": {}", error.what());
      return std::string();
    }
  };
  try {
    socket_.emplace(directory, kName, DirectorySocket::Name::is_ours,
                    DirectorySocket::Client::reads, told);
  } catch (const std::exception& error) {  // or there is no thread for it
    log_.warning("\"pgweir status\" cannot query this receiver: {}", error.what());
  }
}

StatusSocket::~StatusSocket() {
  if (!socket_) return;
  if (const int error = socket_->close(); error != 0)
    log_.warning("{} could not be removed, the next start will: {}", kName, std::strerror(error));
}

std::optional<std::string> StatusSocket::ask(const std::string& directory) {
  auto reply = DirectorySocket::ask(directory, kName, nullptr, kAskTime);
  if (reply.silent || reply.code == ETIMEDOUT)
    throw Error(ErrorKind::retry, "the receiver that runs on the archive does not answer")
        .with("directory", directory)
        .hint("It may be stopped (SIGSTOP) or hanging.");
  if (reply.code != 0) {
    auto error = system_error(reply.code, "could not query the receiver")
                     .with("socket", fmt::format("{}/{}", directory, kName));
    if (reply.code == EACCES || reply.code == EPERM)
      error.hint("Run the command as the user the receiver runs as.");
    throw error;
  }
  return std::move(reply.answer);
}

}  // namespace weir::receive

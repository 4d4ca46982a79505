// The slots' lock is not the archive's. A receiver holds that one, and serving alongside a receiver
// has slots, too. The holder of `.pgweir-slots.lock` answers `pgweir slot -D` on a socket. A
// process that does not get it retries every second: when a relay is restarted, the previous one
// may still be running.

#include "relay/slots_socket.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace weir::relay {

namespace {

constexpr const char* kName = ".pgweir-slots.sock";

/// A slot of an earlier version may have a line's end in its name; none has a zero.
std::string with(std::string line, char one, char instead) {
  std::replace(line.begin(), line.end(), one, instead);
  return line;
}

}  // namespace

SlotsSocket::SlotsSocket(const std::string& directory,
                         std::function<std::string(const std::string&)> answer, Log& log) {
  try {
    socket_.emplace(directory, kName, [answer = std::move(answer)](const std::string& line) {
      return answer(with(line, '\0', '\n'));
    });
  } catch (const Error& error) {
    log.warning("\"pgweir slot list -D\" cannot ask this process: {}", error.what());
  }
}

std::optional<std::string> SlotsSocket::ask(const std::string& directory, const std::string& line,
                                            std::chrono::milliseconds time) {
  return DirectorySocket::ask(directory, kName, with(line, '\n', '\0'), time);
}

}  // namespace weir::relay

#include "relay/slots_socket.h"

#include <utility>

#include "base/error.h"

namespace weir::relay {

namespace {

constexpr const char* kName = ".pgweir-slots.sock";

}  // namespace

SlotsSocket::SlotsSocket(const std::string& directory,
                         std::function<std::string(const std::string&)> answer, Log& log) {
  try {
    socket_.emplace(directory, kName, std::move(answer));
  } catch (const Error& error) {
    log.warning("\"pgweir slot list -D\" cannot ask this process: {}", error.what());
  }
}

std::optional<std::string> SlotsSocket::ask(const std::string& directory, const std::string& line,
                                            std::chrono::milliseconds time) {
  return DirectorySocket::ask(directory, kName, line, time);
}

}  // namespace weir::relay

#include "store/http/secret_command.h"

#include <unistd.h>

#include <algorithm>
#include <array>

namespace weir::store {

namespace {

/// A user may be there to type a password.
bool at_a_terminal() {
  return std::ranges::any_of(std::array{STDIN_FILENO, STDERR_FILENO},
                             [](int file) { return ::tcgetpgrp(file) == ::getpgrp(); });
}

}  // namespace

SecretOutput run_for_secret(const std::string& command, std::uint64_t most,
                            const std::optional<SecretBound>& bound) {
  io::Capture capture{.most = most};
  if (bound) {
    capture.time = bound->time;
    capture.stop = bound->stop;
  }
  auto done =
      io::run_captured(io::shell_command(command),
                       {.own_input = true, .own_group = bound && !at_a_terminal()}, capture);
  return {Secret(std::move(done.output)), done.end, done.cut};
}

}  // namespace weir::store

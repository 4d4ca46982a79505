#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "io/child_process.h"
#include "store/http/credentials.h"

namespace weir::store {

/// Output of a user's command that prints a secret.
struct SecretOutput {
  Secret text{};
  io::ProcessEnd end;
  io::Captured::Cut cut = io::Captured::Cut::none;  ///< if not none, the output is invalid
};

/// Timeout of a command that others wait for. When it expires, the command is terminated, with its
/// process group. (When started from a terminal, it stays in the terminal's group, since it could
/// not ask for a password otherwise; then only the command is terminated.)
struct SecretBound {
  std::chrono::milliseconds time{};
  std::function<bool()> stop = nullptr;  ///< polled: true terminates it at once
};

/// Runs `sh -c command` and waits for it; without a bound indefinitely, since a user may have to
/// type a password. Output beyond `most` bytes is not read. Throws Error{retry} if it cannot be
/// started.
[[nodiscard]] SecretOutput run_for_secret(const std::string& command, std::uint64_t most,
                                          const std::optional<SecretBound>& bound = std::nullopt);

}  // namespace weir::store

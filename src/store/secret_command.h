#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "store/credentials.h"

namespace weir::store {

/// What a user's command has printed that gives a secret.
struct SecretOutput {
  enum class End {
    itself,
    too_late,  ///< it was ended, and what it printed is worth nothing
    stopped,   ///< likewise
  };
  Secret text{};
  int status = -1;  ///< its exit status, or that of wait() if it did not exit
  End end = End::itself;
};

/// How long a command may take that others wait for. Then it is ended, with all processes of its
/// group. (Started from a terminal it stays in the terminal's group, or it could not ask there for
/// a password; then it is ended alone.)
struct SecretBound {
  std::chrono::milliseconds time{};
  std::function<bool()> stop = nullptr;  ///< asked meanwhile: true, and it is ended at once
};

/// Runs `sh -c command` and waits for it; without a bound as long as it takes: somebody may have to
/// type a password. What it prints behind `most` bytes is not read. Throws Error{retry} if it
/// cannot be started.
[[nodiscard]] SecretOutput run_for_secret(const std::string& command, std::uint64_t most,
                                          const std::optional<SecretBound>& bound = std::nullopt);

}  // namespace weir::store

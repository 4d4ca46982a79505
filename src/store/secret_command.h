#pragma once

#include <cstdint>
#include <string>

#include "store/credentials.h"

namespace weir::store {

/// What a user's command prints that gives a secret, and its exit status (that of wait() if it did
/// not exit). No more than `most` bytes. Throws Error{retry} if it cannot be started.
struct SecretOutput {
  Secret text{};
  int status = -1;
};
[[nodiscard]] SecretOutput run_for_secret(const std::string& command, std::uint64_t most);

}  // namespace weir::store

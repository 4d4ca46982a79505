#pragma once

#include <optional>
#include <string>

#include "archive/durable_end.h"

namespace weir::cli {

/// What the receiver that streams into the archive says, if there is one. nullopt also if it cannot
/// be asked: nobody waits for it.
[[nodiscard]] std::optional<archive::DurableEnd> durable_end_of(const std::string& directory);

}  // namespace weir::cli

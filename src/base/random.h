#pragma once

#include <cstdint>

namespace weir {

/// 64 random bits from the machine, for names and pauses; not for secrets. Thread-safe.
[[nodiscard]] std::uint64_t random_bits();

}  // namespace weir

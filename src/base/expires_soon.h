#pragma once

#include <chrono>

namespace weir {

/// A certificate that expires sooner than this is reported: automatic renewal would have renewed it
/// by then.
inline constexpr std::chrono::seconds kExpiresSoon = std::chrono::days(14);

}  // namespace weir

#pragma once

#include <chrono>

namespace weir {

/// A certificate that is valid for less than this is told, by whoever sees it: who renews by itself
/// has renewed by then.
inline constexpr std::chrono::seconds kExpiresSoon = std::chrono::days(14);

}  // namespace weir

#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "archive/serving_view.h"
#include "metrics/family.h"
#include "receive/status_board.h"

namespace weir::cli {

using SystemTime = std::chrono::system_clock::time_point;

/// What a receiver exports beside what its board says.
struct ReceiverExtras {
  std::string archive;  ///< its directory
  bool up = true;       ///< false: the last words of one that ends
  std::optional<std::chrono::milliseconds> lag_time;
  std::optional<std::uint64_t> free_bytes;
  std::optional<std::uint64_t> size_bytes;
};
[[nodiscard]] std::vector<metrics::Family> receiver_metrics(const receive::StatusBoard::View& view,
                                                            const ReceiverExtras& extras,
                                                            SystemTime now);

/// Of `pgweir serve`. `up`: as in ReceiverExtras.
[[nodiscard]] std::vector<metrics::Family> serve_metrics(const archive::ServingView& view,
                                                         SystemTime started,
                                                         const std::string& archive, bool up,
                                                         SystemTime now);

}  // namespace weir::cli

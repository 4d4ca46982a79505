#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "wal/segment.h"

namespace weir::restore {

/// "Certainly not in the archive" is a result. Anything else except success is an Error.
struct Result {
  bool restored = false;
  std::string why;  ///< of an absence
  /// Set if it was a complete segment.
  std::optional<wal::SegmentSize> segment_size = std::nullopt;
  bool prefetched = false;      ///< a helper had it ready
  std::string unfinished = {};  ///< the WAL of an absent segment is in this file, which was not
                                ///< requested
  std::uint64_t silent = 0;     ///< archives that did not answer, one bit for each
  bool first_of_many = false;   ///< there was no helper of this recovery yet
};

}  // namespace weir::restore

#pragma once

#include <cstddef>

#include "archive/listing.h"

namespace weir::restore {

/// One file of a segment in one of the archives.
struct Copy {
  std::size_t archive = 0;  ///< by its place in the order of the archives
  archive::SegmentFileName name;
  bool operator==(const Copy&) const = default;
};

}  // namespace weir::restore

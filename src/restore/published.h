#pragma once

#include <optional>

#include "restore/archives.h"
#include "restore/partial.h"
#include "wal/segment.h"

namespace weir::restore {

/// An open segment that was put into a store under its final name ("pgweir store publish-partial"):
/// the copy that is what a record says of it, valid up to its end and zeros behind. Anything else
/// that ends in zeros is damaged. nullopt: there is none. Throws as find_partial() does.
[[nodiscard]] std::optional<Partial> find_published(Archives& archives, wal::SegmentName segment);

}  // namespace weir::restore

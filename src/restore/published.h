#pragma once

#include <optional>

#include "restore/archives.h"
#include "restore/partial.h"
#include "wal/segment.h"

namespace weir::restore {

/// Returns a partial segment that was uploaded to a store under its final name ("pgweir store
/// publish-partial"): the copy that matches its record, valid up to its end and followed by zeros.
/// Any other segment that ends in zeros is damaged. nullopt: there is none. Throws as
/// find_partial() does.
[[nodiscard]] std::optional<Partial> find_published(Archives& archives, wal::SegmentName segment);

}  // namespace weir::restore

#pragma once

#include <optional>
#include <string>

#include "base/error.h"
#include "restore/absence.h"
#include "restore/archives.h"
#include "restore/partial.h"
#include "wal/lsn.h"
#include "wal/segment.h"

namespace weir::restore {

/// Returns a partial segment that was uploaded to a store under its final name ("pgweir store
/// publish-partial"): the copy that matches its record, valid up to its end and followed by zeros.
/// Any other segment that ends in zeros is damaged. nullopt: there is none. Throws as
/// find_partial() does.
[[nodiscard]] std::optional<Partial> find_published(Archives& archives, wal::SegmentName segment);

/// Such a segment is for the end of its timeline only: a recovery that gets it ends there. Returns
/// the WAL after it in the store, or its trace, like that of a segment that is missing. `stored`:
/// to be asked for this segment only. Throws StoreError, Error{damage}.
[[nodiscard]] std::optional<Gap> wal_after_published(store::NearShelf& stored,
                                                     wal::SegmentName segment,
                                                     wal::SegmentSize size);
/// The error for that. `name`: of its file.
[[nodiscard]] Error not_the_last(const std::string& name, const Gap& gap, wal::Lsn sound_to);

}  // namespace weir::restore

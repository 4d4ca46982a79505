#pragma once

#include <optional>

#include "archive/listing.h"
#include "io/directory.h"
#include "wal/lsn.h"

// Where the WAL of an archive begins that only an object store still has, because
// --local-retention removed it here. The archive's own files do not show it, and a recovery that
// uses the store passes that WAL: losses after this position stay open (losses.h). The record is
// ".pgweir-stored-from" (docs/archive-directory.md).

namespace weir::archive {

/// nullopt if `listing` has no such record: nothing was removed. A damaged record counts as 0/0: no
/// loss is then closed because the local files begin after it. Throws Error{io}.
[[nodiscard]] std::optional<wal::Lsn> read_stored_begin(io::Shelf& archive, const Listing& listing);

/// Called before local WAL from `begin` on is removed. Keeps an earlier position. Durable when it
/// returns. Throws Error{disk_full, io, durability}.
void extend_stored_begin(io::Directory& archive, wal::Lsn begin);

/// The store's WAL was found to begin at `begin`. Changes nothing if no local WAL was removed.
/// Durable, and throws, likewise.
void correct_stored_begin(io::Directory& archive, wal::Lsn begin);

}  // namespace weir::archive
